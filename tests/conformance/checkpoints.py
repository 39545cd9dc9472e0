"""Random small checkpoints of odd sizes of every family, and what transformers computes from them.

Weights are drawn so that nothing can be left out unseen: attention is not uniform, norms' gains and biases differ from 1 and 0."""

import dataclasses
import json
import typing

import conceptofmind_palm
import safetensors.torch
import torch
import transformers


@dataclasses.dataclass
class Case:
    """`config`: the arguments of transformers' configuration class; `tokens`: prompt length, beyond windows and trained positions."""

    name: str
    kind: str  # "llama", "mistral", "qwen2", "gemma3_text"
    config: dict
    tokens: int = 200
    gguf: bool = True
    seed: int = 1


CLASSES = {
    "llama": (transformers.LlamaConfig, transformers.LlamaForCausalLM),
    "mistral": (transformers.MistralConfig, transformers.MistralForCausalLM),
    "qwen2": (transformers.Qwen2Config, transformers.Qwen2ForCausalLM),
    "gemma3_text": (transformers.Gemma3TextConfig, transformers.Gemma3ForCausalLM),
}


def sizes(d, h, kv, f, layers, vocab, **more):
    return {
        "hidden_size": d, "num_attention_heads": h, "num_key_value_heads": kv, "intermediate_size": f, "num_hidden_layers": layers,
        "vocab_size": vocab, "bos_token_id": 1, "eos_token_id": 2, "pad_token_id": 0, "max_position_embeddings": 512, **more,
    }  # fmt: skip


def rope(theta, **more):
    return {"rope_parameters": {"rope_theta": theta, "rope_type": "default", **more}}


LLAMA3 = {"rope_type": "llama3", "factor": 8.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0, "original_max_position_embeddings": 64}
YARN = {"rope_type": "yarn", "factor": 4.0, "original_max_position_embeddings": 64}


def gemma_rope(factor):
    full = {"rope_theta": 1e6, "rope_type": "linear", "factor": factor} if factor else {"rope_theta": 1e6, "rope_type": "default"}
    return {"rope_parameters": {"full_attention": full, "sliding_attention": {"rope_theta": 1e4, "rope_type": "default"}}}


# At least 3 heads, 3 groups of 64 MLP columns and 3 panels of 32 vocabulary rows: 3 ranks can hold them.
CASES = [
    Case("llama_gqa", "llama", sizes(60, 6, 2, 150, 3, 101, rms_norm_eps=1e-5) | rope(1e4)),
    Case("llama_head_dim", "llama", sizes(45, 5, 1, 195, 2, 131, head_dim=14, tie_word_embeddings=True) | rope(5e5)),
    Case("llama_llama3", "llama", sizes(48, 3, 3, 140, 3, 97) | rope(5e5, **LLAMA3)),
    Case("llama_linear", "llama", sizes(42, 3, 1, 130, 2, 65, tie_word_embeddings=True) | rope(1e4, rope_type="linear", factor=4.0)),
    Case("llama_yarn", "llama", sizes(80, 5, 5, 133, 2, 97) | rope(1e4, **YARN)),
    Case("mistral_window", "mistral", sizes(40, 5, 1, 145, 3, 101, head_dim=12, sliding_window=17) | rope(1e6), gguf=False),
    Case("mistral_full", "mistral", sizes(40, 4, 2, 175, 2, 101, sliding_window=None) | rope(1e6)),
    Case("qwen2", "qwen2", sizes(48, 6, 3, 166, 3, 101, tie_word_embeddings=True) | rope(1e6)),
    Case("qwen2_untied", "qwen2", sizes(42, 3, 1, 133, 2, 67) | rope(1e6)),
    # GGUF has no place for another attention scale than 1/sqrt(head_dim)
    Case("gemma3_scalar", "gemma3_text", sizes(44, 4, 1, 188, 7, 101, head_dim=18, query_pre_attn_scalar=20, sliding_window=13) | gemma_rope(8.0), gguf=False),
    Case("gemma3", "gemma3_text", sizes(36, 3, 3, 150, 7, 67, head_dim=16, query_pre_attn_scalar=16, sliding_window=40) | gemma_rope(None)),
    Case("gemma3_linear", "gemma3_text", sizes(45, 5, 1, 135, 6, 97, head_dim=14, query_pre_attn_scalar=14, sliding_window=13) | gemma_rope(8.0)),
]  # fmt: skip

# Rows of blocks: 32 and 256 columns.
BLOCK_CASES = [
    Case("llama_blocks", "llama", sizes(256, 4, 2, 512, 3, 97) | rope(1e4)),
    Case("qwen2_blocks", "qwen2", sizes(256, 4, 2, 256, 3, 97) | rope(1e6)),
    Case("gemma3_blocks", "gemma3_text", sizes(256, 2, 1, 256, 6, 97, head_dim=128, query_pre_attn_scalar=128, sliding_window=32) | gemma_rope(None)),
]  # fmt: skip


def draw(net, kind, seed):
    generator = torch.Generator().manual_seed(seed)
    for name, p in net.named_parameters():
        values = torch.randn(p.shape, generator=generator)
        if name.endswith("norm.weight") or name.endswith("gamma"):
            p.copy_(values * 0.2 + (0.0 if kind == "gemma3_text" else 1.0))
        elif name.endswith("bias"):
            p.copy_(values * 0.3)
        elif "embed" in name or "token_emb" in name:
            p.copy_(values * (0.2 if kind == "gemma3_text" else 1.0))
        else:
            sharp = 1.5 if "q_proj" in name or "k_proj" in name else 1.0
            p.copy_(values * sharp / p.shape[-1] ** 0.5)


def build(case):
    """The model in f32."""
    config_class, model_class = CLASSES[case.kind]
    net = model_class(config_class(**case.config, attn_implementation="eager")).eval()
    draw(net, case.kind, case.seed)
    return net


def rounded(net, dtype):
    """The same model with weights rounded to `dtype`, still computing in f32."""
    for p in net.parameters():
        p.copy_(p.to(dtype).float())
    scale = getattr(net.get_input_embeddings(), "embed_scale", None)
    if isinstance(scale, torch.Tensor):  # Gemma multiplies by the square root of d in the weights' type
        scale.copy_(scale.to(dtype).float())
    return net


def prompt(case):
    generator = torch.Generator().manual_seed(case.seed + 1000)
    return torch.randint(3, case.config["vocab_size"], (case.tokens,), generator=generator)


def logits(net, ids):
    """[n][V] of all positions in one forward pass."""
    return net(input_ids=ids[None], use_cache=False).logits[0].float()


# --- writing ---

def old_config(config):
    """The configuration as published before transformers 5: rope_theta and rope_scaling at the top."""
    parameters = config.pop("rope_parameters")
    config.pop("layer_types", None)
    if "full_attention" in parameters:
        config["rope_local_base_freq"] = parameters["sliding_attention"]["rope_theta"]
        config["sliding_window_pattern"] = 6
        parameters = parameters["full_attention"]
    config["rope_theta"] = parameters.pop("rope_theta")
    config["rope_scaling"] = None if parameters.get("rope_type") == "default" else parameters
    config["torch_dtype"] = config.pop("dtype", None)
    return config


def save(net, folder, dtype, as_old=False):
    """A Hugging Face directory; `as_old` with the older configuration and two files under an index."""
    folder.mkdir(parents=True, exist_ok=True)
    config = json.loads(net.config.to_json_string(use_diff=False))
    config["dtype"] = str(dtype).removeprefix("torch.")
    config["architectures"] = [type(net).__name__]
    config.pop("_attn_implementation", None)
    (folder / "config.json").write_text(json.dumps(old_config(config) if as_old else config, indent=1) + "\n")
    tied = {"lm_head.weight"} if net.config.tie_word_embeddings else set()
    tensors = {name: t.to(dtype).contiguous() for name, t in net.state_dict().items() if name not in tied}
    if not as_old:
        safetensors.torch.save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})
        return
    names = list(tensors)
    weight_map = {}
    for i, part in enumerate((names[::2], names[1::2])):
        file = f"model-{i + 1:05}-of-00002.safetensors"
        safetensors.torch.save_file({name: tensors[name] for name in part}, folder / file, metadata={"format": "pt"})
        weight_map |= dict.fromkeys(part, file)
    (folder / "model.safetensors.index.json").write_text(json.dumps({"metadata": {}, "weight_map": weight_map}))


# --- conceptofmind's PaLM ---

@dataclasses.dataclass
class PalmCase:
    name: str
    arguments: dict
    dtype: typing.Any = torch.float32
    plus_one: bool = False  # the file holds gamma - 1, as packages since 2025 write
    tokens: int = 200
    seed: int = 3


PALM_SIZES = {"vocab": 97, "d": 44, "n_layers": 3, "heads": 3, "head_dim": 14, "f": 176}
PALM_CASES = [
    PalmCase("palm_xpos_f32", PALM_SIZES),
    PalmCase("palm_xpos_f16", PALM_SIZES, torch.float16),
    PalmCase("palm_xpos_bf16", PALM_SIZES, torch.bfloat16),
    PalmCase("palm_plain", PALM_SIZES | {"with_xpos": False, "heads": 5, "d": 33}),
    PalmCase("palm_plus_one", PALM_SIZES, torch.bfloat16, plus_one=True),
    PalmCase("palm_long", PALM_SIZES | {"n_layers": 2}, tokens=1500),  # s^p far from 1 at both ends
]


def build_palm(case):
    net = conceptofmind_palm.Palm(**case.arguments).eval()
    draw(net, "palm", case.seed)
    for name, p in net.named_parameters():
        if case.plus_one and name.endswith("gamma"):
            p.copy_((p - 1).to(case.dtype).float() + 1)
        else:
            p.copy_(p.to(case.dtype).float())
    return net


def save_palm(net, case, path):
    state = {name: t if t.dtype != torch.float32 else t.to(case.dtype) for name, t in net.state_dict().items()}
    if case.plus_one:
        state |= {name: (t.float() - 1).to(case.dtype) for name, t in net.state_dict().items() if name.endswith("gamma")}
    state["to_logits.weight"] = state["token_emb.weight"]
    torch.save(state, path)


def palm_prompt(case):
    generator = torch.Generator().manual_seed(case.seed + 1000)
    return torch.randint(0, case.arguments["vocab"], (case.tokens,), generator=generator)
