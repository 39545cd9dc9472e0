"""Every family against an outside reading: random checkpoints (checkpoints.py) in every written form, logits of all positions.

    families.py [--only NAME]... [--quick]

Forms: Hugging Face f32; bf16 with an older config.json and an index of two files; f16; GGUF F32, F16, and mixed block types with rows of
256.  conceptofmind's .pt files go through tools/convert.  The f32 form also runs in chunks of 1 (decoding), 7, 33 and whole, and in
layouts 2x1, 1x2 and 3x1: those give the same bits or fail.

Tolerance, fixed before the first run: 1e-4 of the largest logit.  Both sides round f32 sums of some hundred products in different
orders, about 1e-6; angles of rotary positions are f32 products there and here, about 1e-5 at position 500."""

import argparse
import logging
import pathlib
import subprocess
import sys
import tempfile

import numpy as np
import torch

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent))

import checkpoints  # noqa: E402
import engine  # noqa: E402
import gguf_forms  # noqa: E402

TOLERANCE = 1e-4
CHUNKS = (1, 7, 33, None)
LAYOUTS = ((2, 1), (1, 2), (3, 1))
BLOCK_MIXES = {
    "legacy": ("Q8_0", "Q4_0", "Q4_1", "Q5_0", "Q5_1", "BF16"),
    "k": ("Q2_K", "Q3_K", "Q4_K", "Q5_K", "Q6_K", "Q8_0"),
}


class Tally:
    """One line a form; what failed is told at once."""

    def __init__(self):
        self.passed = self.failed = 0
        self.worst = 0.0

    def line(self, name, holds, figure):
        self.passed += holds
        self.failed += not holds
        print(f"{'ok    ' if holds else 'NOT OK'} {name}: {figure}", flush=True)

    def compare(self, name, ours, reference):
        largest = np.abs(reference).max()
        difference = float(np.abs(ours - reference).max() / largest) if ours.shape == reference.shape else float("nan")
        holds = difference <= TOLERANCE
        self.worst = max(self.worst, difference)
        self.line(name, holds, f"difference {difference:.1e} of the largest of {reference.shape[0]} x {reference.shape[1]} logits")


def check_ways(tally, name, model, ids, every, layouts, ends, images=None):
    """Chunks, whose last positions are ends(chunk), and layouts: bits, not tolerances."""
    wrong, vocab = [], every.shape[1]
    for chunk in CHUNKS:
        if not np.array_equal(engine.run(model, ids, vocab, chunk=chunk, images=images), every[ends(chunk)]):
            wrong.append(f"chunks of {chunk or 'all'}")
    for tp, pp in layouts:
        if not np.array_equal(engine.run(model, ids, vocab, every=True, tp=tp, pp=pp, images=images), every):
            wrong.append(f"layout {tp}x{pp}")
    told = " ".join(f"{tp}x{pp}" for tp, pp in layouts)
    tally.line(f"{name}, chunks 1 7 33 all, layouts {told}", not wrong, "bits differ: " + ", ".join(wrong) if wrong else "same bits")


def check_form(tally, name, model, ids, vocab, reference, ways=False, weights="auto"):
    try:
        every = engine.run(model, ids, vocab, every=True, weights=weights)
        tally.compare(name, every, reference)
        if ways:
            check_ways(tally, name, model, ids, every, LAYOUTS, lambda chunk: engine.chunk_ends(len(ids), chunk or len(ids)))
    except engine.EngineError as error:
        tally.line(name, False, str(error))


def with_weights(case, stored):
    """The model of `case` with the values that a GGUF file holds."""
    net = checkpoints.build(case)
    net.load_state_dict({name: torch.from_numpy(values) for name, values in stored.items()}, strict=False)
    net.tie_weights()
    return net


def check_case(tally, case, folder, quick):
    ids = checkpoints.prompt(case)
    vocab = case.config["vocab_size"]

    def reference(net):
        return checkpoints.logits(net, ids).numpy()

    net = checkpoints.build(case)
    checkpoints.save(net, folder / "f32", torch.float32)
    check_form(tally, f"{case.name} safetensors f32", folder / "f32", ids.tolist(), vocab, reference(net), ways=not quick)
    for dtype, as_old in ((torch.bfloat16, True), (torch.float16, False)):
        net = checkpoints.rounded(checkpoints.build(case), dtype)
        kind = str(dtype).removeprefix("torch.")
        checkpoints.save(net, folder / kind, dtype, as_old)
        check_form(tally, f"{case.name} safetensors {kind}", folder / kind, ids.tolist(), vocab, reference(net))
    for kind in ("F32", "F16") if case.gguf else ():
        check_gguf(tally, case, folder / f"{kind}.gguf", (kind,), ids, ways=not quick and kind == "F16")


def check_gguf(tally, case, path, types, ids, ways=False, name=None):
    """In f32: some types expand to f16 by default, which rounds."""
    stored = gguf_forms.write(checkpoints.build(case), case.kind, path, types)
    reference = checkpoints.logits(with_weights(case, stored), ids).numpy()
    weights = "auto" if types in (("F32",), ("F16",)) else "f32"
    check_form(tally, f"{case.name} GGUF {name or types[0]}", path, ids.tolist(), case.config["vocab_size"], reference, ways, weights)


def check_blocks(tally, case, folder, _quick):
    ids = checkpoints.prompt(case)
    for name, types in BLOCK_MIXES.items():
        check_gguf(tally, case, folder / f"{name}.gguf", types, ids, name=name + " mix")
    for kind in ("Q8_0", "Q4_0"):  # taken as they are
        path = folder / f"{kind}.gguf"
        stored = gguf_forms.write(checkpoints.build(case), case.kind, path, (kind,))
        reference = checkpoints.logits(with_weights(case, stored), ids).numpy()
        check_form(tally, f"{case.name} GGUF {kind}", path, ids.tolist(), case.config["vocab_size"], reference)


def check_palm(tally, case, folder, quick):
    net = checkpoints.build_palm(case)
    checkpoints.save_palm(net, case, folder / "palm.pt")
    command = [sys.executable, engine.ROOT / "tools/convert/conceptofmind.py", folder / "palm.pt", folder / "palm"]
    done = subprocess.run(command + (["--gamma", "plus-one"] if case.plus_one else []), capture_output=True, text=True)
    if done.returncode != 0:
        tally.line(case.name, False, done.stderr.strip())
        return
    ids = checkpoints.palm_prompt(case)
    ways = not quick and case.dtype == torch.float32 and case.tokens < 1000
    check_form(tally, case.name, folder / "palm", ids.tolist(), case.arguments["vocab"], net(ids).numpy(), ways)


def run_checks(description, jobs):
    """`jobs`: (name, check, case), check(tally, case, folder, quick).  The exit code."""
    cli = argparse.ArgumentParser(description=description.split("\n")[0])
    cli.add_argument("--only", action="append", metavar="NAME", help="the cases whose names begin so")
    cli.add_argument("--quick", action="store_true", help="one chunking and one layout")
    args = cli.parse_args()
    torch.set_grad_enabled(False)
    torch.set_num_threads(1)
    logging.getLogger("transformers").setLevel(logging.ERROR)
    tally = Tally()
    for name, check, case in jobs:
        if args.only and not any(name.startswith(only) for only in args.only):
            continue
        with tempfile.TemporaryDirectory(prefix="palmgrove-family-") as folder:
            check(tally, case, pathlib.Path(folder), args.quick)
    print(f"largest difference {tally.worst:.1e} (bound {TOLERANCE:g})")
    print(f"{tally.passed} passed, {tally.failed} failed")
    return 1 if tally.failed else 0


def main():
    kinds = ((check_case, checkpoints.CASES), (check_blocks, checkpoints.BLOCK_CASES), (check_palm, checkpoints.PALM_CASES))
    return run_checks(__doc__, [(case.name, check, case) for check, cases in kinds for case in cases])


if __name__ == "__main__":
    sys.exit(main())
