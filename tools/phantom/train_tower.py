"""Stage 1: pre-train the tower by classification, as ViT-22B was.

Two heads that the checkpoint does not keep: which findings touch each patch (from the patch's own vector), and the facts
of the case (from the mean of all vectors), so that the decoder later finds both where and what."""

import time

import torch
from torch import nn
from torch.nn import functional as F

import corpus
import data
import halves

PEAK_RATE = 2e-3
DENSE_WEIGHT = 8.0  # the mean over patches is small, most patches show nothing
FRACTURE_WEIGHT = 4.0  # the smallest finding: without it, nothing pulls towards it before the others are learnt


class Heads(nn.Module):
    def __init__(self, width):
        super().__init__()
        self.patch = nn.Linear(width, corpus.N_LABELS)
        self.facts = nn.Linear(width, sum(data.HEADS.values()))
        self.label_weight = torch.ones(corpus.N_LABELS)
        self.label_weight[-2:] = FRACTURE_WEIGHT
        self.fact_weight = torch.tensor([FRACTURE_WEIGHT if name == "fracture" else 1.0 for name in data.HEADS])

    def forward(self, features, patch_labels, heads):
        """-> (loss, share of right answers per head)."""
        bits = (patch_labels.unsqueeze(-1) >> torch.arange(corpus.N_LABELS)) & 1
        dense = F.binary_cross_entropy_with_logits(self.patch(features).float(), bits.float(), weight=self.label_weight)
        logits = self.facts(features.mean(1)).float().split(list(data.HEADS.values()), dim=-1)
        losses = [F.cross_entropy(part, heads[:, i]) for i, part in enumerate(logits)]
        right = torch.stack([(part.argmax(-1) == heads[:, i]).float().mean() for i, part in enumerate(logits)])
        return DENSE_WEIGHT * dense + (torch.stack(losses) * self.fact_weight).mean(), right


def optimizers(modules, rate, embedding_rate=0.0):
    """Muon for the matrices of the layers, AdamW for embeddings (N(0, 1), so at a higher rate), heads, gains and biases."""
    named = [(name, p) for module in modules for name, p in module.named_parameters()]
    embeddings = [p for name, p in named if name == "embed_tokens.weight"]
    matrices = [p for name, p in named if p.ndim == 2 and name.startswith("layers.")]
    taken = {id(p) for p in embeddings + matrices}
    groups = [{"params": [p for _, p in named if id(p) not in taken], "lr": rate}]
    if embeddings:
        groups.append({"params": embeddings, "lr": embedding_rate})
    return [
        torch.optim.Muon(matrices, lr=rate, weight_decay=0.01, momentum=0.95, adjust_lr_fn="match_rms_adamw"),
        torch.optim.AdamW(groups, betas=(0.9, 0.98), weight_decay=0.0),
    ]


def set_rate(opts, step, total, warmup=100):
    """Linear warm-up, flat, then a linear fall to zero over the last 45 %."""
    factor = min(1.0, (step + 1) / warmup, max(0.0, (total - step) / (0.45 * total)))
    for opt in opts:
        for group in opt.param_groups:
            group.setdefault("peak", group["lr"])
            group["lr"] = group["peak"] * factor


def run(model, library, state, steps, batch, log):
    """Train model.vision_tower; `state` (see train.py) makes it restartable."""
    tower, heads = model.vision_tower, Heads(model.config["vision_config"]["hidden_size"])
    opts = optimizers([tower, heads], PEAK_RATE)
    first = state.restore("tower", tower=tower, heads=heads, opt0=opts[0], opt1=opts[1])
    validation = next(iter(data.batches(corpus.VALIDATION, 0, 256, library, workers=0)))
    stream = iter(data.batches(corpus.TRAIN, first * batch, batch, library))
    started = time.time()
    for step in range(first, steps):
        _, images, patch_labels, facts = next(stream)
        set_rate(opts, step, steps)

        def backward(piece):
            loss, right = heads(tower(images[piece]), patch_labels[piece], facts[piece])
            (loss / 2).backward()
            return torch.cat([loss.detach().view(1), right])

        half = len(images) // 2
        results = sum(halves.both(backward, slice(0, half), slice(half, None))) / 2
        loss, right = results[0], results[1:]
        nn.utils.clip_grad_norm_(tower.parameters(), 1.0)
        for opt in opts:
            opt.step()
            opt.zero_grad(set_to_none=True)
        if step % 20 == 0:
            log(f"tower {step}/{steps} loss {loss.item():.4f} right {right.mean():.3f} {time.time() - started:.0f} s")
        if step % 100 == 99 or step == steps - 1:
            validate(tower, heads, validation, log)
            state.keep("tower", step + 1, tower=tower, heads=heads, opt0=opts[0], opt1=opts[1])


@torch.no_grad()
def validate(tower, heads, batch, log):
    _, images, patch_labels, facts = batch
    right = []
    for part in range(0, len(images), 64):
        piece = slice(part, part + 64)
        with torch.autocast("cpu", torch.bfloat16):
            right.append(heads(tower(images[piece]), patch_labels[piece], facts[piece])[1])
    means = torch.stack(right).mean(0)
    log("validation " + " ".join(f"{name} {value:.3f}" for name, value in zip(data.HEADS, means)))
