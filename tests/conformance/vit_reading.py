"""PaLM-E with ViT-22B or ViT-e, read from the papers into PyTorch and sharing nothing with tools/phantom or the engine.

ViT-22B (arXiv 2302.05442): parallel blocks, RMS norms, QK norm, biases in the MLP alone (attention's output may have one: not printed).  ViT-e (arXiv
2209.06794, big_vision): sequential pre-norm blocks with layer norms and biases everywhere.  Decoder: PaLM (arXiv 2204.02311)."""

import math

import torch
from torch.nn import functional as F

TEXT = {
    "vocab_size": 101, "hidden_size": 40, "num_hidden_layers": 2, "num_attention_heads": 3, "num_key_value_heads": 1, "head_dim": 10,
    "intermediate_size": 150, "max_position_embeddings": 512, "rope_theta": 10000.0, "norm_type": "layernorm", "norm_eps": 1e-6,
    "hidden_act": "silu", "tie_word_embeddings": True, "logit_scale": 0.15, "bos_token_id": 1, "eos_token_id": 2,
}  # fmt: skip
VISION = {
    "image_size": 42, "patch_size": 14, "num_channels": 3, "hidden_size": 36, "num_hidden_layers": 3, "num_attention_heads": 3, "head_dim": 14,
    "intermediate_size": 150, "norm_eps": 1e-6, "hidden_act": "gelu_tanh", "image_mean": [0.48, 0.5, 0.52], "image_std": [0.25, 0.26, 0.27],
}  # fmt: skip


def rms(x, gain, eps):
    return x / torch.sqrt((x * x).mean(-1, keepdim=True) + eps) * gain


def rotated(x, positions, theta):
    half = x.shape[-1] // 2
    angles = positions[:, None] * theta ** (-torch.arange(half, dtype=torch.float64) / half)
    cos, sin = angles.cos().float(), angles.sin().float()
    a, b = x[..., :half], x[..., half:]
    return torch.cat([a * cos - b * sin, b * cos + a * sin], -1)


class PalmE:
    def __init__(self, seed, **switches):
        self.vision = VISION | switches
        self.generator = torch.Generator().manual_seed(seed)
        self.t = {}
        self.draw_decoder()
        self.draw_tower()

    def weight(self, name, *shape):
        self.t[name] = torch.randn(shape, generator=self.generator) / math.sqrt(shape[-1])

    def bias(self, name, n):
        self.t[name] = torch.randn(n, generator=self.generator) * 0.3

    def gain(self, name, n):
        self.t[name] = torch.randn(n, generator=self.generator) * 0.2 + 1

    def draw_decoder(self):
        d, h, kv, dh, f = (TEXT[k] for k in ("hidden_size", "num_attention_heads", "num_key_value_heads", "head_dim", "intermediate_size"))
        self.t["language_model.embed_tokens.weight"] = torch.randn((TEXT["vocab_size"], d), generator=self.generator)
        self.gain("language_model.norm.weight", d)
        for i in range(TEXT["num_hidden_layers"]):
            at = f"language_model.layers.{i}."
            self.gain(at + "norm.weight", d)
            for part, rows, columns in (("attn.q", h * dh, d), ("attn.k", kv * dh, d), ("attn.v", kv * dh, d), ("attn.o", d, h * dh),
                                        ("mlp.gate", f, d), ("mlp.up", f, d), ("mlp.down", d, f)):  # fmt: skip
                self.weight(f"{at}{part}_proj.weight", rows, columns)

    def draw_tower(self):
        v = self.vision
        w, width, f = v["hidden_size"], v["num_attention_heads"] * v["head_dim"], v["intermediate_size"]
        self.is_22b = v["model_type"] == "vit_22b"
        self.weight("vision_tower.patch_embed.weight", w, 3 * v["patch_size"] ** 2)
        self.bias("vision_tower.patch_embed.bias", w)
        self.t["vision_tower.pos_embed"] = torch.randn(((v["image_size"] // v["patch_size"]) ** 2, w), generator=self.generator) * 0.5
        for i in range(v["num_hidden_layers"]):
            at = f"vision_tower.layers.{i}."
            for norm in ("norm",) if self.is_22b else ("norm", "mlp_norm"):
                self.gain(f"{at}{norm}.weight", w)
                if not self.is_22b:
                    self.bias(f"{at}{norm}.bias", w)
            for part, rows, columns in (("q", width, w), ("k", width, w), ("v", width, w), ("o", w, width)):
                self.weight(f"{at}attn.{part}_proj.weight", rows, columns)
                if not self.is_22b or (part == "o" and v.get("out_proj_bias")):
                    self.bias(f"{at}attn.{part}_proj.bias", rows)
            if self.is_22b:
                self.gain(at + "attn.q_norm.weight", v["head_dim"])
                self.gain(at + "attn.k_norm.weight", v["head_dim"])
            self.weight(at + "mlp.fc1.weight", f, w)
            self.bias(at + "mlp.fc1.bias", f)
            self.weight(at + "mlp.fc2.weight", w, f)
            self.bias(at + "mlp.fc2.bias", w)
        if v.get("final_norm", True):
            self.gain("vision_tower.norm.weight", w)
            if not self.is_22b:
                self.bias("vision_tower.norm.bias", w)
        self.weight("projector.weight", TEXT["hidden_size"], w)
        self.bias("projector.bias", TEXT["hidden_size"])

    def config(self):
        return {"model_type": "palm_e", "text_config": {"model_type": "palm"} | TEXT, "vision_config": self.vision, "projector_config": {"type": "affine"}}

    def tensors(self):
        return self.t

    # --- computing ---

    def norm(self, x, name):
        eps = self.vision["norm_eps"]
        gain = self.t[name + ".weight"]
        return rms(x, gain, eps) if self.is_22b else F.layer_norm(x, gain.shape, gain, self.t[name + ".bias"], eps)

    def linear(self, x, name):
        return F.linear(x, self.t[name + ".weight"], self.t.get(name + ".bias"))

    def attention(self, y, at):
        h, dh, eps = self.vision["num_attention_heads"], self.vision["head_dim"], self.vision["norm_eps"]
        q, k, v = (self.linear(y, f"{at}attn.{part}_proj").unflatten(-1, (h, dh)).transpose(1, 2) for part in "qkv")
        if self.is_22b:
            q, k = rms(q, self.t[at + "attn.q_norm.weight"], eps), rms(k, self.t[at + "attn.k_norm.weight"], eps)
        out = torch.softmax(q @ k.transpose(-1, -2) / math.sqrt(dh), -1) @ v
        return self.linear(out.transpose(1, 2).flatten(-2), at + "attn.o_proj")

    def mlp(self, y, at):
        return self.linear(F.gelu(self.linear(y, at + "mlp.fc1"), approximate="tanh"), at + "mlp.fc2")

    def see(self, pixels):
        v = self.vision
        patches = F.unfold(pixels, v["patch_size"], stride=v["patch_size"]).transpose(1, 2)
        x = self.linear(patches, "vision_tower.patch_embed") + self.t["vision_tower.pos_embed"]
        for i in range(v["num_hidden_layers"]):
            at = f"vision_tower.layers.{i}."
            y = self.norm(x, at + "norm")
            if self.is_22b:
                x = x + self.attention(y, at) + self.mlp(y, at)
            else:
                x = x + self.attention(y, at)
                x = x + self.mlp(self.norm(x, at + "mlp_norm"), at)
        if v.get("final_norm", True):
            x = self.norm(x, "vision_tower.norm")
        return self.linear(x, "projector")

    def layer(self, x, at):
        h, dh, n = TEXT["num_attention_heads"], TEXT["head_dim"], len(x)
        y = F.layer_norm(x, (len(x[0]),), self.t[at + "norm.weight"], None, TEXT["norm_eps"])
        q, k, v = (self.linear(y, f"{at}attn.{part}_proj").unflatten(-1, (-1, dh)).transpose(0, 1) for part in "qkv")
        q, k = (rotated(z, torch.arange(n, dtype=torch.float64), TEXT["rope_theta"]) for z in (q, k))
        hidden = torch.full((n, n), -math.inf).triu(1)
        out = torch.softmax(q @ k.expand(h, -1, -1).transpose(-1, -2) / math.sqrt(dh) + hidden, -1) @ v.expand(h, -1, -1)
        gated = F.silu(self.linear(y, at + "mlp.gate_proj")) * self.linear(y, at + "mlp.up_proj")
        return x + self.linear(out.transpose(0, 1).flatten(-2), at + "attn.o_proj") + self.linear(gated, at + "mlp.down_proj")

    def run(self, ids, pixels):
        """(vectors, logits); ids below 0 are rows of the images."""
        vectors = self.see(pixels)
        flat, words = vectors.flatten(0, 1), self.t["language_model.embed_tokens.weight"]
        x = torch.stack([words[i] if i >= 0 else flat[-1 - i] for i in ids])
        for i in range(TEXT["num_hidden_layers"]):
            x = self.layer(x, f"language_model.layers.{i}.")
        x = F.layer_norm(x, (len(x[0]),), self.t["language_model.norm.weight"], None, TEXT["norm_eps"])
        return vectors, TEXT["logit_scale"] * x @ words.T


CASES = {
    "palm_e_vit_22b": lambda: PalmE(31, model_type="vit_22b"),
    "palm_e_vit_22b_output_bias": lambda: PalmE(32, model_type="vit_22b", out_proj_bias=True),
    "palm_e_vit_e": lambda: PalmE(33, model_type="vit_e"),
    "palm_e_vit_e_no_final_norm": lambda: PalmE(34, model_type="vit_e", final_norm=False),
}
