"""Goldens of the PaLM-E family from tools/phantom/model.py, computed in f32 from bf16-rounded weights.

    python make_goldens.py tiny              tiny_layernorm/ and tiny_rmsnorm/: random checkpoints of odd sizes
    python make_goldens.py state             tiny_state/: the same with vector encoders
    python make_goldens.py phantom MODEL     phantom_trace_{0,1}.safetensors and phantom_greedy.jsonl of a trained model

One prompt each: text, image (vectors), text.  To stay small, only some rows are kept.

    tensor       shape                tiny: rows            phantom: rows
    input_ids    [n] i32              all (-1: an image vector stands there, -2: the next of `vectors`)
    vectors      [n, 1 + width] f32   all; kind (0 embedding, 1 + e encoder e), then its numbers, then zeros
    image        [3, 224, 224] u8     all
    tower.N      [256, w]             every eighth          last four       output of tower block N
    projector    [256, d]             every eighth          last four       the image vectors
    decoder.N    [n, d]               decoder_positions     last four       output of decoder block N
    logits       [n, V]               decoder_positions     last four
"""

import pathlib
import sys

import safetensors.torch
import torch

HERE = pathlib.Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parents[2] / "tools" / "phantom"))

import model  # noqa: E402
import reference  # noqa: E402

N_IMAGE = 256
N_PROMPTS = 60
LAST = 4  # positions kept of a phantom's layers
STATE_POSITIONS = [0, 2, 3, 4, 5, 6, 100, 261, 262, 263, 264, 265, 270]
POSITIONS = [0, 4, 5, 6, 100, 200, 260, 261, 264, 267]  # of a tiny prompt: around the image and within
ODD_TEXT = {
    "hidden_size": 40,
    "num_hidden_layers": 3,
    "num_attention_heads": 3,
    "head_dim": 10,
    "intermediate_size": 100,
    "max_position_embeddings": 512,
}
ODD_VISION = {
    "hidden_size": 36,
    "num_hidden_layers": 2,
    "num_attention_heads": 3,
    "head_dim": 14,
    "intermediate_size": 72,
    "image_mean": [0.48, 0.5, 0.52],
    "image_std": [0.25, 0.26, 0.27],
}


@torch.no_grad()
def trace(net, parts, image):
    """All tensors of one prompt; parts are id lists and None for the image."""
    towers, decoders = [], []
    features = net.vision_tower(image.unsqueeze(0), towers)
    vectors = net.projector(features)
    logits = net.run(parts, vectors, decoders)
    ids = [i for part in parts for i in ([-1] * N_IMAGE if part is None else [-2] if isinstance(part, tuple) else part)]
    out = {"input_ids": torch.tensor(ids, dtype=torch.int32), "image": image.contiguous(), "projector": vectors[0]}
    out |= {f"tower.{i}": t[0] for i, t in enumerate(towers)}
    out |= {f"decoder.{i}": t[0] for i, t in enumerate(decoders)}
    return out | {"logits": logits[0]}


class WithEncoders(model.PalmE):
    """PaLM-E's other inputs (arXiv 2303.03378 section 4): an MLP for each kind of vector, and vectors that are embeddings already."""

    def __init__(self, config):
        super().__init__(config)
        width = config["text_config"]["hidden_size"]
        self.vector_encoders = torch.nn.ModuleList(
            torch.nn.ModuleDict({"fc1": torch.nn.Linear(e["input_size"], e["hidden_size"]), "fc2": torch.nn.Linear(e["hidden_size"], width)})
            for e in config["vector_encoders"]
        )

    def encode(self, kind, values):
        if kind == 0:
            return values
        mlp = self.vector_encoders[kind - 1]
        return mlp["fc2"](torch.nn.functional.gelu(mlp["fc1"](values), approximate="tanh"))

    def embed(self, parts, images):
        image = iter(images)
        rows = [
            next(image) if part is None
            else self.encode(*part).unsqueeze(0) if isinstance(part, tuple)
            else self.language_model.embed_tokens(torch.tensor(part))
            for part in parts
        ]
        return torch.cat(rows).unsqueeze(0)


@torch.no_grad()
def state(seed):
    torch.manual_seed(seed)
    config = model.config(97, ODD_TEXT | {"norm_type": "layernorm"}, ODD_VISION)
    config["vector_encoders"] = [
        {"name": "state", "input_size": 14, "hidden_size": 50, "hidden_act": "gelu_tanh"},
        {"name": "pulse", "input_size": 3, "hidden_size": 70, "hidden_act": "gelu_tanh"},
    ]
    net = WithEncoders(config)
    folder = HERE / "tiny_state"
    model.save(net, folder)
    net.load_state_dict({name: t.float() for name, t in safetensors.torch.load_file(folder / "model.safetensors").items()})
    image = torch.randint(0, 256, (3, 224, 224), dtype=torch.uint8)
    vectors = [(1, 2 * torch.randn(14)), (0, torch.randn(ODD_TEXT["hidden_size"])), (2, torch.randn(3)), (1, torch.randn(14))]
    parts = [[1, 5, 17], vectors[0], [42, 96], None, *vectors[1:], [3, 60, 8, 77, 2, 11]]
    golden = trace(net, parts, image)
    thin(golden, STATE_POSITIONS)
    golden["vectors"] = torch.zeros(len(vectors), 1 + ODD_TEXT["hidden_size"])
    for row, (kind, values) in zip(golden["vectors"], vectors):
        row[0] = kind
        row[1 : 1 + len(values)] = values
    safetensors.torch.save_file(contiguous(golden), folder / "golden.safetensors")


def thin(golden, positions):
    """Keep every eighth row of the image's tensors and those `positions` of the prompt's."""
    for name in list(golden):
        if name.startswith("tower.") or name == "projector":
            golden[name] = golden[name][::8]
        elif name.startswith("decoder.") or name == "logits":
            golden[name] = golden[name][positions]
    golden["decoder_positions"] = torch.tensor(positions, dtype=torch.int32)


def contiguous(tensors):
    return {name: t.contiguous() for name, t in tensors.items()}


def tiny(norm_type, seed):
    """A random checkpoint and its goldens.  Gains and biases are random too, so that none can be left out unseen."""
    torch.manual_seed(seed)
    text = ODD_TEXT | {"norm_type": norm_type}
    net = model.PalmE(model.config(97, text, ODD_VISION))
    with torch.no_grad():
        for name, p in net.named_parameters():
            if name.endswith("bias"):
                p.normal_(std=0.1)
            elif p.ndim == 1:
                p.normal_(mean=1.0, std=0.2)
    folder = HERE / f"tiny_{norm_type}"
    model.save(net, folder)
    net = model.load(folder)
    image = torch.randint(0, 256, (3, 224, 224), dtype=torch.uint8)
    image = (image // 8) + torch.arange(224, dtype=torch.uint8)  # a ramp under noise: every patch differs
    parts = [[1, 5, 17, 42, 96], None, [3, 3, 60, 8, 77, 2, 11]]
    golden = trace(net, parts, image)
    thin(golden, POSITIONS)
    safetensors.torch.save_file(contiguous(golden), folder / "golden.safetensors")


def phantom(folder):
    net = model.load(folder)
    lines = list(reference.greedy_lines(folder, N_PROMPTS))
    (HERE / "phantom_greedy.jsonl").write_text("\n".join(lines) + "\n")
    for number, (parts, image) in enumerate(reference.prompts_as_ids(folder, 2)):
        golden = trace(net, parts, image)
        for name in list(golden):
            if name.startswith(("tower.", "decoder.")) or name in ("projector", "logits"):
                golden[name] = golden[name][-LAST:]
        safetensors.torch.save_file(contiguous(golden), HERE / f"phantom_trace_{number}.safetensors")


def main():
    if sys.argv[1:] == ["tiny"]:
        tiny("layernorm", seed=11)
        tiny("rmsnorm", seed=12)
    elif sys.argv[1:] == ["state"]:
        state(seed=13)
    elif len(sys.argv) == 3 and sys.argv[1] == "phantom":
        phantom(sys.argv[2])
    else:
        sys.exit(__doc__)


if __name__ == "__main__":
    main()
