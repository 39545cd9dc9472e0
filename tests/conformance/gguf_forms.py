"""The GGUF form of transformers' models, as llama.cpp's converter writes it: its tensor names, the rows of Llama's q and k permuted so that
rotary pairs are neighbours, Gemma's norms with 1 added, the divisors of Llama 3's long wavelengths as a tensor."""

import math
import re

import gguf
import numpy as np

NAMES = {
    "model.embed_tokens.weight": "token_embd.weight",
    "model.norm.weight": "output_norm.weight",
    "lm_head.weight": "output.weight",
    "self_attn.q_proj": "attn_q",
    "self_attn.k_proj": "attn_k",
    "self_attn.v_proj": "attn_v",
    "self_attn.o_proj": "attn_output",
    "self_attn.q_norm": "attn_q_norm",
    "self_attn.k_norm": "attn_k_norm",
    "mlp.gate_proj": "ffn_gate",
    "mlp.up_proj": "ffn_up",
    "mlp.down_proj": "ffn_down",
    "input_layernorm": "attn_norm",
    "post_attention_layernorm": "ffn_norm",
}
GEMMA_NAMES = {"post_attention_layernorm": "post_attention_norm", "pre_feedforward_layernorm": "ffn_norm", "post_feedforward_layernorm": "post_ffw_norm"}
ARCHITECTURES = {"llama": "llama", "mistral": "llama", "qwen2": "qwen2", "gemma3_text": "gemma3"}
TYPES = {name: getattr(gguf.GGMLQuantizationType, name) for name in
         ("F32", "F16", "BF16", "Q8_0", "Q4_0", "Q4_1", "Q5_0", "Q5_1", "Q2_K", "Q3_K", "Q4_K", "Q5_K", "Q6_K")}  # fmt: skip


def gguf_name(kind, name):
    if name in NAMES:
        return NAMES[name]
    layer, what, end = re.fullmatch(r"model\.layers\.(\d+)\.(.+)\.(weight|bias)", name).groups()
    names = NAMES | (GEMMA_NAMES if kind == "gemma3_text" else {})
    return f"blk.{layer}.{names[what]}.{end}"


def permuted(rows, n_heads):
    """[n_heads * dh][...]: within a head, row i of the first half next to row i of the second."""
    dh = rows.shape[0] // n_heads
    return rows.reshape(n_heads, 2, dh // 2, *rows.shape[1:]).swapaxes(1, 2).reshape(rows.shape)


def unpermuted(rows, n_heads):
    dh = rows.shape[0] // n_heads
    return rows.reshape(n_heads, dh // 2, 2, *rows.shape[1:]).swapaxes(1, 2).reshape(rows.shape)


def heads_to_permute(kind, config, name):
    if ARCHITECTURES[kind] != "llama":
        return 0
    return config.num_attention_heads if ".q_proj." in name else config.num_key_value_heads if ".k_proj." in name else 0


def is_gain(name):
    return name.endswith("norm.weight")


def random_blocks(kind, shape, generator):
    """Random bytes as K-quants: gguf writes these types only from bytes.  The f16 scales at their places are small numbers."""
    block_size, type_size = gguf.GGML_QUANT_SIZES[kind]
    n_blocks = shape[0] * shape[1] // block_size
    blocks = generator.integers(0, 256, (n_blocks, type_size), dtype=np.uint8)
    at = {"Q2_K": (80, 82), "Q3_K": (108,), "Q4_K": (0, 2), "Q5_K": (0, 2), "Q6_K": (208,)}[kind.name]
    spread = {"Q2_K": 1.5 * 8, "Q3_K": 2.3 * 18, "Q4_K": 7 * 36, "Q5_K": 15 * 36, "Q6_K": 18 * 74}[kind.name]
    for i, offset in enumerate(at):
        scale = generator.uniform(0.5, 1.5, n_blocks) / spread / math.sqrt(shape[1])
        scale *= {"Q2_K": 1.5, "Q4_K": 7.0, "Q5_K": 15.0}[kind.name] if i == 1 else 1.0  # the minimum: the mean of the codes
        blocks[:, offset : offset + 2] = scale.astype(np.float16)[:, None].view(np.uint8)
    return blocks.reshape(shape[0], -1)


def llama3_divisors(config):
    """What llama.cpp stores as rope_freqs.weight."""
    p = config.rope_parameters
    dh = config.head_dim
    out = []
    for i in range(0, dh, 2):
        wavelength = 2 * math.pi * p["rope_theta"] ** (i / dh)
        turns = p["original_max_position_embeddings"] / wavelength
        if turns > p["high_freq_factor"]:
            out.append(1.0)
        elif turns < p["low_freq_factor"]:
            out.append(p["factor"])
        else:
            smooth = (turns - p["low_freq_factor"]) / (p["high_freq_factor"] - p["low_freq_factor"])
            out.append(1.0 / ((1 - smooth) / p["factor"] + smooth))
    return np.array(out, dtype=np.float32)


def write_metadata(writer, kind, config):
    head_dim = getattr(config, "head_dim", None) or config.hidden_size // config.num_attention_heads
    writer.add_block_count(config.num_hidden_layers)
    writer.add_context_length(config.max_position_embeddings)
    writer.add_embedding_length(config.hidden_size)
    writer.add_feed_forward_length(config.intermediate_size)
    writer.add_head_count(config.num_attention_heads)
    writer.add_head_count_kv(config.num_key_value_heads)
    writer.add_layer_norm_rms_eps(config.rms_norm_eps)
    writer.add_key_length(head_dim)
    writer.add_value_length(head_dim)
    if ARCHITECTURES[kind] == "llama":
        writer.add_vocab_size(config.vocab_size)
        writer.add_rope_dimension_count(head_dim)
    if kind == "gemma3_text":
        writer.add_sliding_window(config.sliding_window)
    rope = config.rope_parameters.get("full_attention", config.rope_parameters)
    writer.add_rope_freq_base(rope["rope_theta"])
    if rope["rope_type"] in ("linear", "yarn"):
        writer.add_rope_scaling_type(gguf.RopeScalingType(rope["rope_type"]))
        writer.add_rope_scaling_factor(rope["factor"])
    if rope["rope_type"] == "yarn":
        writer.add_rope_scaling_orig_ctx_len(rope["original_max_position_embeddings"])


def write_vocabulary(writer, size):
    """A vocabulary of its size; the comparisons begin at ids."""
    pieces = ["<unk>", "<s>", "</s>"] + [f"<0x{byte:02X}>" for byte in range(min(size - 3, 256))]
    pieces += [f"w{i}" for i in range(size - len(pieces))]
    kinds = [2, 3, 3] + [6] * min(size - 3, 256) + [1] * (size - 3 - min(size - 3, 256))
    writer.add_tokenizer_model("llama")
    writer.add_token_list(pieces)
    writer.add_token_scores([0.0] * size)
    writer.add_token_types(kinds)
    writer.add_bos_token_id(1)
    writer.add_eos_token_id(2)


def write(net, kind, path, types, seed=5):
    """Write `net` with its matrices in `types`, taken in turn.  Returns the values that the file holds, under transformers' names."""
    config, generator = net.config, np.random.default_rng(seed)
    writer = gguf.GGUFWriter(path, ARCHITECTURES[kind])
    write_metadata(writer, kind, config)
    write_vocabulary(writer, config.vocab_size)
    stored, turn = {}, 0
    if config.rope_parameters.get("rope_type") == "llama3":
        writer.add_tensor("rope_freqs.weight", llama3_divisors(config))
    for name, tensor in net.state_dict().items():
        if name == "lm_head.weight" and config.tie_word_embeddings:
            continue
        values = tensor.numpy().astype(np.float32)
        n_heads = heads_to_permute(kind, config, name)
        if n_heads:
            values = permuted(values, n_heads)
        if values.ndim == 1:
            plus = np.float32(1.0 if kind == "gemma3_text" and is_gain(name) else 0.0)
            writer.add_tensor(gguf_name(kind, name), values + plus)
            stored[name] = unpermuted(values, n_heads) if n_heads else (values + plus) - plus
            continue
        type_ = TYPES[types[turn % len(types)]]
        turn += 1
        if type_.name.endswith("_K"):
            data = random_blocks(type_, values.shape, generator)
        else:
            data = gguf.quants.quantize(values, type_)
        writer.add_tensor(gguf_name(kind, name), data, raw_dtype=type_)
        back = gguf.quants.dequantize(data, type_).astype(np.float32).reshape(values.shape)
        stored[name] = unpermuted(back, n_heads) if n_heads else back
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return stored
