"""Weights that are not finite: no answer may look normal."""
import json
import pathlib
import shutil
import struct
import tempfile

import harness
import wire

NAN, INF, MINUS_INF = b"\xc0\x7f", b"\x80\x7f", b"\x80\xff"  # bf16
PROMPTS = ["Findings:", "Is there an effusion?", "The heart is", "Answer with one word.", "x"]


def spoiled(folder, tensor, places, value):
    """The demo model with `value` in some places (row, column) of a tensor; column None: the whole row."""
    model = pathlib.Path(folder) / "model"
    shutil.rmtree(model, ignore_errors=True)
    shutil.copytree(harness.MODEL, model)
    file = model / "model.safetensors"
    data = bytearray(file.read_bytes())
    n, = struct.unpack("<Q", data[:8])
    entry = json.loads(data[8:8 + n])[tensor]
    width = entry["shape"][-1]
    for row, column in places:
        at = 8 + n + entry["data_offsets"][0] + 2 * (row * width + (column or 0))
        data[at:at + 2 * (width if column is None else 1)] = value * (width if column is None else 1)
    file.write_bytes(data)
    return model


def outcomes(model, options):
    """What becomes of the prompts, greedy and sampled: names of errors, or "result".  Refusing to load is fine too."""
    try:
        with harness.Server(2, 1, model=model, options=options) as server, wire.Connection(server.endpoint) as connection:
            seen = []
            for prompt in PROMPTS:
                for sampling in (None, {"temperature": 1.0, "top_p": 0.9}):
                    last = list(connection.replies(wire.generate([wire.text(prompt)], sampling, max_tokens=8)))[-1]
                    seen.append(last.error.name if last.WhichOneof("body") == "error" else "result")
            return seen
    except AssertionError as error:
        return ["refused"] if "finite" in str(error) else [f"no server: {error}"]


def not_finite_check():
    """NaN and infinity in embeddings (also the head), norms and projections end requests with numeric_overflow."""
    embedding = "language_model.embed_tokens.weight"
    cases = [
        ("half of the embedding rows NaN", embedding, [(row, None) for row in range(1, 1024, 2)], NAN),
        ("an unused embedding row NaN", embedding, [(1023, None)], NAN),
        ("an element of the head infinite", embedding, [(1023, 7)], INF),
        ("an element of the head minus infinite", embedding, [(1023, 7)], MINUS_INF),
        ("an element of the last norm NaN", "language_model.norm.weight", [(0, 3)], NAN),
        ("an element of a layer's norm NaN", "language_model.layers.3.norm.weight", [(0, 3)], NAN),
    ]
    wrong = []
    with tempfile.TemporaryDirectory() as folder:
        for what, tensor, places, value in cases:
            seen = set(outcomes(spoiled(folder, tensor, places, value), []))
            if not seen <= {"numeric_overflow", "refused"}:
                wrong.append(f"{what}: {', '.join(sorted(seen))}")
    return not wrong, f"{len(cases)} models with weights that are not finite: {len(wrong)} answered" + "".join(f"; {one}" for one in wrong)
