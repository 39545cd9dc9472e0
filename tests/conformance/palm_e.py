"""The stored goldens against a PyTorch run of today: run by tests/conformance/run inside its environment.

Traces are f32 sums whose order belongs to PyTorch's build, so tensors agree within the tolerance the engine is held to; greedy texts
are equal."""

import json
import pathlib
import sys

import safetensors.torch
import torch

ROOT = pathlib.Path(__file__).resolve().parents[2]
GOLDEN = ROOT / "tests" / "golden" / "palm_e"
sys.path[:0] = [str(GOLDEN), str(ROOT / "tools" / "phantom")]

import make_goldens  # noqa: E402
import model  # noqa: E402
import reference  # noqa: E402

TOLERANCE = 2e-4  # of a tensor's largest element, as in tests/golden/test_palm_e.c


def parts_of(ids):
    """Id lists, and None where the image stands."""
    ids = ids.tolist()
    first = ids.index(-1)
    return [ids[:first], None, ids[first + make_goldens.N_IMAGE :]]


def kept_rows(name, golden, full):
    """The rows of `full` that the golden file keeps."""
    positions = golden.get("decoder_positions")
    if positions is None:
        return full[-len(golden[name]) :]
    return full[positions.long()] if name.startswith(("decoder.", "logits")) else full[:: len(full) // len(golden[name])]


def compare_trace(folder, path):
    golden = safetensors.torch.load_file(path)
    today = make_goldens.trace(model.load(folder), parts_of(golden["input_ids"]), golden["image"])
    worst = 0.0
    for name, kept in golden.items():
        if name.startswith(("tower.", "decoder.")) or name in ("projector", "logits"):
            difference = (kept_rows(name, golden, today[name]) - kept).abs().max() / kept.abs().max()
            worst = max(worst, difference.item())
    return worst <= TOLERANCE, f"{path.relative_to(ROOT)}: largest difference {worst:.1e} of a tensor's largest element"


def compare_texts(folder, path):
    stored = [json.loads(line) for line in path.read_text().splitlines()]
    today = [json.loads(line) for line in reference.greedy_lines(folder, len(stored))]
    same = sum(a["text"] == b["text"] and a["ids"] == b["ids"] for a, b in zip(stored, today))
    return same == len(stored), f"{path.relative_to(ROOT)}: {same} of {len(stored)} greedy texts equal"


def main():
    phantom = ROOT / "models" / "phantom"
    checks = [lambda n=n: compare_trace(GOLDEN / n, GOLDEN / n / "golden.safetensors") for n in ("tiny_layernorm", "tiny_rmsnorm")]
    checks += [lambda p=p: compare_trace(phantom, p) for p in sorted(GOLDEN.glob("phantom_trace_*.safetensors"))]
    checks.append(lambda: compare_texts(phantom, GOLDEN / "phantom_greedy.jsonl"))
    failed = 0
    for check in checks:
        holds, figure = check()
        failed += not holds
        print("ok    " if holds else "NOT OK", figure, flush=True)
    print(f"{len(checks) - failed} passed, {failed} failed")
    return 1 if failed else 0


if __name__ == "__main__":
    torch.set_grad_enabled(False)
    sys.exit(main())
