#!/usr/bin/python3
"""golden.families.hostile: tools/convert refuses hostile and broken .pt files, by name and with nothing but its own error.

The committed palm/model.pt with bytes changed, cut or pickles swapped: each is read to the end or refused; no pickle runs anything."""
import os
import pathlib
import pickle
import random
import sys
import tempfile
import zipfile

sys.dont_write_bytecode = True
HERE = pathlib.Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parents[2] / "tools/convert"))

import conceptofmind  # noqa: E402
import torch_file  # noqa: E402

MUTATIONS = 400


class Runs:
    """A pickle of it calls `function` when a trusting reader loads it."""

    def __init__(self, function, *arguments):
        self.call = (function, arguments)

    def __reduce__(self):
        return self.call


def archive(path, data, compression=zipfile.ZIP_STORED):
    with zipfile.ZipFile(path, "w", compression) as out:
        out.writestr("model/data.pkl", data)


def hostile(mark):
    """name, pickle, words of the refusal"""
    yield "os.system", pickle.dumps({"a": Runs(os.system, f"touch {mark}")}), "posix.system"
    yield "eval", pickle.dumps(Runs(eval, f"open({str(mark)!r}, 'w')"), protocol=0), "eval"
    yield "dotted name", pickle.dumps({"a": 1}, protocol=4)[:-1] + b"\x8c\x0bcollections\x8c\x14OrderedDict.__init__\x93.", "OrderedDict.__init__"
    yield "huge memo index", b"\x80\x02}r\xff\xff\xff\x7f.", "not a state dict"
    yield "huge integer", b"\x8b\xff\xff\xff\x7f.", "broken pickle"
    yield "no tensors", pickle.dumps({"a": 1}), "maps names to tensors"
    yield "cut", pickle.dumps({"a": 1})[:-2], "broken pickle"
    yield "empty", b"", "broken pickle"


def refusal(path):
    """What was wrong; "" when the file was read to its end."""
    try:
        pt = torch_file.TorchFile(path)
        model = conceptofmind.Model(pt)
        for part in conceptofmind.parts_of(model, True):
            sum(map(len, part.pieces(pt)))
        pt.close()
        return ""
    except torch_file.Refused as reason:
        return str(reason)


def mutated(data, generator):
    out = bytearray(data)
    for _ in range(generator.randint(1, 5)):
        near_end = len(out) - 1 - generator.randrange(min(5000, len(out)))
        out[generator.choice((generator.randrange(len(out)), generator.randrange(min(5000, len(out))), near_end))] = generator.randrange(256)
    return out[: generator.randrange(len(out))] if generator.random() < 0.2 else out


def repacked(path, whole, generator):
    """The whole archive with a mutated pickle and checksums that fit."""
    with zipfile.ZipFile(whole) as source, zipfile.ZipFile(path, "w") as out:
        for name in source.namelist():
            data = source.read(name)
            out.writestr(name, mutated(data, generator) if name.endswith("data.pkl") else data)


def main():
    wrong, refused = [], 0
    whole = (HERE / "palm/model.pt").read_bytes()
    generator = random.Random(7)
    with tempfile.TemporaryDirectory(prefix="palmgrove-hostile-") as folder:
        path, mark = pathlib.Path(folder, "hostile.pt"), pathlib.Path(folder, "mark")
        for name, data, words in hostile(mark):
            archive(path, data)
            if words not in refusal(path) or mark.exists():
                wrong.append(f"{name}: {refusal(path) or 'accepted'}")
        archive(path, pickle.dumps({"a": 1}), zipfile.ZIP_DEFLATED)
        if "compressed" not in refusal(path):
            wrong.append("a compressed entry")
        for i in range(MUTATIONS):
            if i % 2:
                path.write_bytes(mutated(whole, generator))
            else:
                repacked(path, HERE / "palm/model.pt", generator)
            refused += refusal(path) != ""
        path.write_bytes(whole)
        if refusal(path) != "":
            wrong.append(f"the whole file: {refusal(path)}")
    print(f"{MUTATIONS} mutations, {refused} refused; wrong: {wrong or 'none'}")
    return 1 if wrong or refused < MUTATIONS // 4 else 0


if __name__ == "__main__":
    sys.exit(main())
