"""An independent reading of conceptofmind's PaLM in PyTorch: parallel blocks, one key and value head, fused rows q | k | v | value | gate,
layer norms with plain gains and eps 1e-5, rotary positions with xPos scales of base 512, tied embeddings, logits not scaled.

`state_dict()` has the names of the public files (buffers included), so that torch.save(net.state_dict(), path) writes such a file."""

import torch
import torch.nn.functional as F


class Norm(torch.nn.Module):
    def __init__(self, d):
        super().__init__()
        self.gamma = torch.nn.Parameter(torch.ones(d))
        self.register_buffer("beta", torch.zeros(d))

    def forward(self, x):
        return F.layer_norm(x, x.shape[-1:], self.gamma, self.beta)


class Rotary(torch.nn.Module):
    """Angles and scales; xPos scales queries by s^p and keys by s^-p with p = (position - n/2) / 512."""

    def __init__(self, dim, with_xpos):
        super().__init__()
        self.register_buffer("inv_freq", 10000.0 ** (-torch.arange(0, dim, 2) / dim))
        if with_xpos:
            self.register_buffer("scale", (torch.arange(0, dim, 2) + 0.4 * dim) / (1.4 * dim))

    def forward(self, n):
        positions = torch.arange(n, dtype=self.inv_freq.dtype)
        angles = torch.outer(positions, self.inv_freq).repeat(1, 2)
        if not hasattr(self, "scale"):
            return angles, torch.ones_like(angles)
        powers = (positions - n // 2) / 512
        return angles, (self.scale ** powers[:, None]).repeat(1, 2)


def rotate(x, angles, scale):
    first, second = x.chunk(2, dim=-1)
    return (x * angles.cos() + torch.cat((-second, first), dim=-1) * angles.sin()) * scale


class Block(torch.nn.Module):
    def __init__(self, d, heads, head_dim, f, with_xpos):
        super().__init__()
        self.sizes = (heads * head_dim, head_dim, head_dim, f, f)
        self.heads, self.head_dim = heads, head_dim
        self.norm = Norm(d)
        self.rotary_emb = Rotary(head_dim, with_xpos)
        self.fused_attn_ff_proj = torch.nn.Linear(d, sum(self.sizes), bias=False)
        self.attn_out = torch.nn.Linear(heads * head_dim, d, bias=False)
        self.ff_out = torch.nn.Sequential(torch.nn.Identity(), torch.nn.Identity(), torch.nn.Linear(f, d, bias=False))

    def forward(self, x):
        n = x.shape[0]
        q, k, v, value, gate = self.fused_attn_ff_proj(self.norm(x)).split(self.sizes, dim=-1)
        angles, scale = self.rotary_emb(n)
        q = rotate(q.view(n, self.heads, self.head_dim).transpose(0, 1), angles, scale)
        k = rotate(k, angles, 1 / scale)
        scores = q @ k.T * self.head_dim**-0.5
        scores = scores.masked_fill(torch.ones(n, n, dtype=torch.bool).triu(1), float("-inf"))
        attended = (scores.softmax(dim=-1) @ v).transpose(0, 1).reshape(n, -1)
        return self.attn_out(attended) + self.ff_out(F.silu(gate) * value)


class Residual(torch.nn.Module):
    def __init__(self, fn):
        super().__init__()
        self.fn = fn

    def forward(self, x):
        return x + self.fn(x)


class Palm(torch.nn.Module):
    def __init__(self, vocab, d, n_layers, heads, head_dim, f, with_xpos=True):
        super().__init__()
        self.token_emb = torch.nn.Embedding(vocab, d)
        self.layers = torch.nn.ModuleList(Residual(Block(d, heads, head_dim, f, with_xpos)) for _ in range(n_layers))
        self.norm = Norm(d)
        self.to_logits = torch.nn.Linear(d, vocab, bias=False)
        self.to_logits.weight = self.token_emb.weight

    def forward(self, ids):
        """ids [n] to logits [n][V]."""
        x = self.token_emb(ids)
        for layer in self.layers:
            x = layer(x)
        return self.to_logits(self.norm(x))
