#!/usr/bin/python3
"""golden.families: the engine against the committed logits of one tiny checkpoint; needs nothing but Python.

    check.py CASE LOGITS_TOOL MPIRUN

All tokens at once on 1x1 agrees with the reference within the tolerance; chunks of 7, decoding, and layouts 3x1 and 1x2 give the same bits
as that.  With images.u8 (raw pixels) tokens below 0 are their rows; a chunk that would cut an image goes to its end.  Tolerance, fixed before the first run: 1e-4 of the largest logit (tests/conformance/families.py gives the reason)."""
import array
import json
import pathlib
import subprocess
import sys
import tempfile

HERE = pathlib.Path(__file__).resolve().parent
TOLERANCE = 1e-4


def floats(path):
    values = array.array("f", path.read_bytes())
    if sys.byteorder == "big":
        values.byteswap()
    return values


class Runs:
    def __init__(self, case, prompt, tool, mpirun, folder):
        tokens = prompt["tokens"]
        self.model, self.n, self.folder = model_of(case, folder), len(tokens), folder
        self.ids, self.rows_per_image = tokens, prompt.get("rows_per_image", 1)
        self.images = ["--images", case / "images.u8"] if (case / "images.u8").exists() else []
        self.command = [mpirun, "--oversubscribe", "--bind-to", "none", "-np"]
        self.tool = tool
        self.tokens = folder / "tokens"
        self.tokens.write_text(" ".join(map(str, tokens)))

    def rows(self, tp, pp, *options):
        """{position: logits}"""
        out = self.folder / "out"
        command = [*self.command, str(tp * pp), self.tool, self.model, self.tokens, out, "--tp", str(tp), "--pp", str(pp), *options]
        subprocess.run(command + self.images, check=True)
        ends = list(range(self.n)) if "--every" in options else self.ends(int(options[1]) if options else self.n)
        values = floats(out)
        width = len(values) // len(ends)
        return {end: values[i * width : (i + 1) * width] for i, end in enumerate(ends)}

    def ends(self, chunk):
        """The last positions of chunks."""
        out, begin = [], 0
        while begin < self.n:
            end = min(begin + chunk, self.n)
            while end < self.n and self.ids[end - 1] < 0 and self.ids[end] == self.ids[end - 1] - 1 and (-1 - self.ids[end]) % self.rows_per_image:
                end += 1
            out.append(end - 1)
            begin = end
        return out


def model_of(case, folder):
    if (case / "mmproj.gguf").exists():
        return case  # the directory's only decoder and only tower
    if (case / "model.gguf").exists():
        return case / "model.gguf"
    if not (case / "model.pt").exists():
        return case
    convert = HERE.parents[2] / "tools/convert/conceptofmind.py"
    subprocess.run([sys.executable, convert, case / "model.pt", folder / "converted"], check=True, stdout=subprocess.DEVNULL)
    return folder / "converted"


def worst_difference(ours, expected, positions):
    width = len(expected) // len(positions)
    largest = max(map(abs, expected))
    rows = [(ours[position], expected[i * width : (i + 1) * width]) for i, position in enumerate(positions)]
    if any(len(a) != width for a, _ in rows):
        return float("inf")
    differences = [abs(x - y) for a, b in rows for x, y in zip(a, b)]
    return float("inf") if any(d != d for d in differences) else max(differences) / largest


def main():
    name, tool, mpirun = sys.argv[1:]
    case = HERE / name
    prompt = json.loads((case / "prompt.json").read_text())
    with tempfile.TemporaryDirectory(prefix="palmgrove-golden-") as folder:
        folder = pathlib.Path(folder)
        runs = Runs(case, prompt, tool, mpirun, folder)
        every = runs.rows(1, 1, "--every")
        difference = worst_difference(every, floats(case / "logits.f32"), prompt["positions"])
        failed = difference > TOLERANCE
        print(f"{name}: difference {difference:.1e} of the largest logit (bound {TOLERANCE:g})")
        for tp, pp, *options in ((1, 1), (1, 1, "--chunk", "1"), (1, 1, "--chunk", "7"), (3, 1), (1, 2, "--chunk", "33")):
            if any(row != every[position] for position, row in runs.rows(tp, pp, *options).items()):
                failed = True
                print(f"{name}: {tp}x{pp} {' '.join(options)}: other bits than 1x1")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
