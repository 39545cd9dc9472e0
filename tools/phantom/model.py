"""The phantom model in PyTorch: a ViT-22B-shaped tower, an affine projector and a PaLM-shaped decoder.

Module names are the tensor names of docs/PALM_E_CHECKPOINT.md, so `state_dict()` is the checkpoint."""

import json
import math
import pathlib

import safetensors.torch
import torch
from torch import nn
from torch.nn import functional as F


def config(vocab_size, text=None, vision=None):
    """config.json of the phantom; `text` and `vision` override single entries (the goldens' odd sizes)."""
    t = {
        "model_type": "palm",
        "vocab_size": vocab_size,
        "hidden_size": 192,
        "num_hidden_layers": 4,
        "num_attention_heads": 6,
        "num_key_value_heads": 1,
        "head_dim": 48,
        "intermediate_size": 768,
        "max_position_embeddings": 1024,
        "rope_theta": 10000.0,
        "rope_interleaved": False,
        "norm_type": "layernorm",
        "norm_eps": 1e-6,
        "hidden_act": "silu",
        "tie_word_embeddings": True,
        "bos_token_id": 1,
        "eos_token_id": 2,
    } | (text or {})
    t["logit_scale"] = 1.0 / math.sqrt(t["hidden_size"])
    v = {
        "model_type": "vit_22b",
        "image_size": 224,
        "patch_size": 14,
        "num_channels": 3,
        "hidden_size": 192,
        "num_hidden_layers": 6,
        "num_attention_heads": 4,
        "head_dim": 48,
        "intermediate_size": 768,
        "norm_eps": 1e-6,
        "hidden_act": "gelu_tanh",
        "image_mean": [0.5, 0.5, 0.5],
        "image_std": [0.5, 0.5, 0.5],
    } | (vision or {})
    return {
        "architectures": ["PalmEForConditionalGeneration"],
        "model_type": "palm_e",
        "torch_dtype": "bfloat16",
        "text_config": t,
        "vision_config": v,
        "projector_config": {"type": "affine"},
    }


class ScaleNorm(nn.Module):
    """A norm with a gain and no bias; `centre` subtracts the mean first (layernorm), else it is RMSNorm."""

    def __init__(self, width, eps, centre):
        super().__init__()
        self.weight = nn.Parameter(torch.ones(width))
        self.eps, self.centre = eps, centre

    def forward(self, x):
        x = x.float()
        if self.centre:
            x = x - x.mean(-1, keepdim=True)
        return x * torch.rsqrt(x.square().mean(-1, keepdim=True) + self.eps) * self.weight


def linear(n_in, n_out, bias, depth=1):
    """A layer with N(0, 1/n_in) weights; layers that write to the residual are scaled down by its depth."""
    layer = nn.Linear(n_in, n_out, bias=bias)
    nn.init.normal_(layer.weight, std=1.0 / math.sqrt(n_in * depth))
    if bias:
        nn.init.zeros_(layer.bias)
    return layer


def split_heads(x, head_dim):
    return x.unflatten(-1, (-1, head_dim)).transpose(1, 2)  # [batch, heads, position, head_dim]


# ------------------------------------------------------------------------------------------------- tower


class TowerAttention(nn.Module):
    def __init__(self, c):
        super().__init__()
        inner = c["num_attention_heads"] * c["head_dim"]
        self.head_dim = c["head_dim"]
        self.q_proj = linear(c["hidden_size"], inner, False)
        self.k_proj = linear(c["hidden_size"], inner, False)
        self.v_proj = linear(c["hidden_size"], inner, False)
        self.o_proj = linear(inner, c["hidden_size"], False, 2 * c["num_hidden_layers"])
        self.q_norm = ScaleNorm(self.head_dim, c["norm_eps"], centre=False)
        self.k_norm = ScaleNorm(self.head_dim, c["norm_eps"], centre=False)

    def forward(self, y):
        v = split_heads(self.v_proj(y), self.head_dim)
        q = self.q_norm(split_heads(self.q_proj(y), self.head_dim)).to(v.dtype)
        k = self.k_norm(split_heads(self.k_proj(y), self.head_dim)).to(v.dtype)
        mixed = F.scaled_dot_product_attention(q, k, v)
        return self.o_proj(mixed.transpose(1, 2).flatten(2))


class TowerMlp(nn.Module):
    def __init__(self, c):
        super().__init__()
        self.fc1 = linear(c["hidden_size"], c["intermediate_size"], True)
        self.fc2 = linear(c["intermediate_size"], c["hidden_size"], True, 2 * c["num_hidden_layers"])

    def forward(self, y):
        return self.fc2(F.gelu(self.fc1(y), approximate="tanh"))


class TowerLayer(nn.Module):
    def __init__(self, c):
        super().__init__()
        self.norm = ScaleNorm(c["hidden_size"], c["norm_eps"], centre=False)
        self.attn = TowerAttention(c)
        self.mlp = TowerMlp(c)

    def forward(self, x):
        y = self.norm(x)
        return x + self.attn(y) + self.mlp(y)


class Tower(nn.Module):
    """ViT-22B (arXiv 2302.05442): parallel blocks, normed queries and keys, no class token."""

    def __init__(self, c):
        super().__init__()
        self.c = c
        side = c["image_size"] // c["patch_size"]
        self.patch_embed = linear(c["num_channels"] * c["patch_size"] ** 2, c["hidden_size"], True)
        self.pos_embed = nn.Parameter(torch.randn(side * side, c["hidden_size"]) * 0.1)
        self.layers = nn.ModuleList(TowerLayer(c) for _ in range(c["num_hidden_layers"]))
        self.norm = ScaleNorm(c["hidden_size"], c["norm_eps"], centre=False)

    def patches(self, images):
        """[batch, 3, y, x] u8 -> [batch, patches, channel * y * x], patches row by row."""
        p = self.c["patch_size"]
        mean = torch.tensor(self.c["image_mean"]).view(3, 1, 1)
        std = torch.tensor(self.c["image_std"]).view(3, 1, 1)
        x = (images.float() / 255.0 - mean) / std
        x = x.unfold(2, p, p).unfold(3, p, p)  # [batch, channel, row, column, y, x]
        return x.permute(0, 2, 3, 1, 4, 5).flatten(3).flatten(1, 2)

    def forward(self, images, trace=None):
        x = self.patch_embed(self.patches(images)).float() + self.pos_embed
        for layer in self.layers:
            x = layer(x)
            if trace is not None:
                trace.append(x)
        return self.norm(x)


# ----------------------------------------------------------------------------------------------- decoder


def rotate(x, positions, theta):
    """RoPE over the whole head, pairs (i, i + head_dim / 2).  x: [batch, heads, position, head_dim]."""
    half = x.shape[-1] // 2
    frequency = theta ** (-torch.arange(half, dtype=torch.float32) / half)
    angle = positions.float().unsqueeze(-1) * frequency  # [batch or 1, position, half]
    cosine, sine = angle.cos().unsqueeze(1), angle.sin().unsqueeze(1)
    a, b = x.float().chunk(2, dim=-1)
    return torch.cat([a * cosine - b * sine, b * cosine + a * sine], dim=-1).to(x.dtype)


class DecoderAttention(nn.Module):
    def __init__(self, c):
        super().__init__()
        self.head_dim, self.theta = c["head_dim"], c["rope_theta"]
        self.n_heads, self.n_kv = c["num_attention_heads"], c["num_key_value_heads"]
        inner = self.n_heads * self.head_dim
        self.q_proj = linear(c["hidden_size"], inner, False)
        self.k_proj = linear(c["hidden_size"], self.n_kv * self.head_dim, False)
        self.v_proj = linear(c["hidden_size"], self.n_kv * self.head_dim, False)
        self.o_proj = linear(inner, c["hidden_size"], False, 2 * c["num_hidden_layers"])

    def forward(self, y, positions, mask, cache):
        q = rotate(split_heads(self.q_proj(y), self.head_dim), positions, self.theta)
        k = rotate(split_heads(self.k_proj(y), self.head_dim), positions, self.theta)
        v = split_heads(self.v_proj(y), self.head_dim)
        if cache is not None:
            k, v = cache.append(self, k, v)
        group = self.n_heads // self.n_kv
        k, v = k.repeat_interleave(group, 1), v.repeat_interleave(group, 1)
        mixed = F.scaled_dot_product_attention(q, k, v, attn_mask=mask)
        return self.o_proj(mixed.transpose(1, 2).flatten(2))


class DecoderMlp(nn.Module):
    def __init__(self, c):
        super().__init__()
        self.gate_proj = linear(c["hidden_size"], c["intermediate_size"], False)
        self.up_proj = linear(c["hidden_size"], c["intermediate_size"], False)
        self.down_proj = linear(c["intermediate_size"], c["hidden_size"], False, 2 * c["num_hidden_layers"])

    def forward(self, y):
        return self.down_proj(F.silu(self.gate_proj(y)) * self.up_proj(y))


class DecoderLayer(nn.Module):
    def __init__(self, c):
        super().__init__()
        self.norm = ScaleNorm(c["hidden_size"], c["norm_eps"], centre=c["norm_type"] == "layernorm")
        self.attn = DecoderAttention(c)
        self.mlp = DecoderMlp(c)

    def forward(self, x, positions, mask, cache=None):
        y = self.norm(x)
        return x + self.attn(y, positions, mask, cache) + self.mlp(y)


class Cache:
    """Keys and values of the positions seen so far, per attention module."""

    def __init__(self):
        self.kept = {}

    def append(self, module, k, v):
        if module in self.kept:
            old_k, old_v = self.kept[module]
            k, v = torch.cat([old_k, k], dim=2), torch.cat([old_v, v], dim=2)
        self.kept[module] = (k, v)
        return k, v


class Decoder(nn.Module):
    """PaLM (arXiv 2204.02311 section 2)."""

    def __init__(self, c):
        super().__init__()
        self.c = c
        self.embed_tokens = nn.Embedding(c["vocab_size"], c["hidden_size"])  # N(0, 1), not scaled
        self.layers = nn.ModuleList(DecoderLayer(c) for _ in range(c["num_hidden_layers"]))
        self.norm = ScaleNorm(c["hidden_size"], c["norm_eps"], centre=c["norm_type"] == "layernorm")

    def forward(self, x, positions, mask, trace=None, cache=None):
        """x: [batch, position, width] mixed token and image vectors -> the last norm's output."""
        for layer in self.layers:
            x = layer(x, positions, mask, cache)
            if trace is not None:
                trace.append(x)
        return self.norm(x)

    def logits(self, x):
        return self.c["logit_scale"] * F.linear(x, self.embed_tokens.weight)


def causal(n):
    return torch.ones(n, n, dtype=torch.bool).tril().view(1, 1, n, n)


class PalmE(nn.Module):
    def __init__(self, c):
        super().__init__()
        self.config = c
        self.vision_tower = Tower(c["vision_config"])
        self.projector = linear(c["vision_config"]["hidden_size"], c["text_config"]["hidden_size"], True)
        self.language_model = Decoder(c["text_config"])

    def embed(self, parts, images):
        """One prompt: a list of id lists and None (the next image's vectors) -> [1, position, width]."""
        vectors = iter(images)
        rows = [next(vectors) if ids is None else self.language_model.embed_tokens(torch.tensor(ids)) for ids in parts]
        return torch.cat(rows).unsqueeze(0)

    def run(self, parts, images, trace=None):
        x = self.embed(parts, images)
        n = x.shape[1]
        x = self.language_model(x, torch.arange(n).unsqueeze(0), causal(n), trace)
        return self.language_model.logits(x)


def greedy(model, prompts, max_tokens):
    """Greedy continuation of prompts given as rows [position, width]; ids without the end token.

    Prompts are padded on the left; a padded position sees only itself, and nobody sees it."""
    decoder, longest = model.language_model, max(len(p) for p in prompts)
    pad = torch.tensor([longest - len(p) for p in prompts])
    x = torch.stack([F.pad(p, (0, 0, longest - len(p), 0)) for p in prompts])
    at = torch.arange(longest)
    real = at.view(1, 1, 1, -1) >= pad.view(-1, 1, 1, 1)
    mask = causal(longest) & (real | torch.eye(longest, dtype=torch.bool))
    positions = (at - pad.unsqueeze(1)).clamp(min=0)
    cache, ids, alive = Cache(), [[] for _ in prompts], [True] * len(prompts)
    for _ in range(max_tokens):
        chosen = decoder.logits(decoder(x, positions, mask, cache=cache)[:, -1]).float().argmax(-1)
        for row, token in enumerate(chosen.tolist()):
            alive[row] = alive[row] and token != model.config["text_config"]["eos_token_id"]
            if alive[row]:
                ids[row].append(token)
        if not any(alive):
            break
        x = decoder.embed_tokens(chosen).unsqueeze(1)
        positions = positions[:, -1:] + 1
        real = F.pad(real, (0, 1), value=True)
        mask = real
    return ids


def save(model, folder, dtype=torch.bfloat16):
    folder = pathlib.Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "config.json").write_text(json.dumps(model.config, indent=2) + "\n")
    tensors = {name: value.detach().to(dtype).contiguous() for name, value in model.state_dict().items()}
    path = folder / "model.safetensors"
    safetensors.torch.save_file(tensors, path, metadata={"format": "pt"})
    path.chmod(0o644)  # the library writes files that only their owner can read


def load(folder):
    """The model of a checkpoint directory, weights widened to f32."""
    folder = pathlib.Path(folder)
    model = PalmE(json.loads((folder / "config.json").read_text()))
    tensors = safetensors.torch.load_file(folder / "model.safetensors")
    model.load_state_dict({name: value.float() for name, value in tensors.items()})
    return model.eval()
