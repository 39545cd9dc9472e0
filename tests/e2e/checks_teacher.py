"""`palmgrove perplexity` and `palmgrove calibrate` on the demonstration model: figures that depend on no layout, dumps, refusals."""
import pathlib
import re
import struct
import subprocess
import tempfile

import harness

TEXT = harness.ROOT / "tools/phantom/general.txt"
WINDOW = ("--text", TEXT, "--context", 100, "--tokens", 250)


def figures(ranks, *arguments):
    """The figures of a run as a dictionary of their words."""
    command = [harness.PALMGROVE, "perplexity", harness.MODEL, *map(str, WINDOW), *map(str, arguments)]
    if ranks > 1:
        command = [*harness.MPIRUN, "-n", str(ranks), *command]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, env=harness.environment(OMP_NUM_THREADS="1"))
    assert done.returncode == 0, done.stderr
    return dict(line.split() for line in done.stdout.splitlines())


def same_in_every_layout(dump):
    exact = figures(1, "--weights", "f32", "--dump-logits", dump)
    magic, n, vocab, zero = struct.unpack("<8sQII", dump.read_bytes()[:24])
    assert magic == b"PGLOGP1\n" and n == int(exact["tokens"]) and zero == 0
    assert dump.stat().st_size == 24 + n * 4 + n * vocab * 4, "a dump has its targets and a row for each"
    itself = figures(1, "--weights", "f32", "--step-tokens", 7, "--against", dump)
    assert float(itself["kl"]) == 0.0 and float(itself["top1"]) == 1.0, itself
    int4 = figures(1, "--weights", "int4", "--against", dump)
    assert 0.0 < float(int4["kl"]) < 0.1, int4
    for ranks, tp, pp in ((2, 2, 1), (2, 1, 2), (3, 3, 1), (4, 2, 2)):
        other = figures(ranks, "--weights", "int4", "--against", dump, "--tp", tp, "--pp", pp)
        for name in ("tokens", "perplexity", "bits-per-byte", "kl", "top1"):
            assert other[name] == int4[name], f"{tp}x{pp}: {name} {other[name]}, on one rank {int4[name]}"
    return int4


def importance_is_used(folder, plain, dump):
    """A sane file is taken and changes the codes; the same text gives the same bytes."""
    files = [folder / "a.safetensors", folder / "b.safetensors"]
    for file, step in zip(files, (64, 9)):
        code, _, error = harness.run_palmgrove("calibrate", harness.MODEL, *WINDOW, "--step-tokens", step, "--output", file)
        assert code == 0, error
    assert files[0].read_bytes() == files[1].read_bytes(), "the steps' size shows in the importance"
    steered = figures(1, "--weights", "int4", "--importance", files[0], "--against", dump)
    assert steered["kl"] != plain["kl"]


def refused(folder, dump):
    cut, other = folder / "cut.logp", folder / "other.logp"
    cut.write_bytes(dump.read_bytes()[:-1])
    other.write_bytes(b"x" * 100)
    cases = [(("--weights", "int5"), "unknown weights 'int5'"), (("--context", 1), "--context 1"), (("--step-tokens", 0), "--step-tokens 0"),
             (("--against", cut), "not what its header says"), (("--against", other), "no dump"), (("--tokens", 200, "--against", dump), "positions"),
             (("--importance", other), "other.logp"), (("--tp", 7), "")]
    for arguments, text in cases:
        code, out, error = harness.run_palmgrove("perplexity", harness.MODEL, *WINDOW, *arguments)
        assert code == 1 and out == "" and text in error, (arguments, code, out, error)
    code, _, error = harness.run_palmgrove("calibrate", harness.MODEL, *WINDOW, "--output", folder / "no" / "file")
    assert code == 1 and re.search("cannot write", error), error


def teacher():
    with tempfile.TemporaryDirectory() as name:
        folder = pathlib.Path(name)
        dump = folder / "exact.logp"
        plain = same_in_every_layout(dump)
        importance_is_used(folder, plain, dump)
        refused(folder, dump)
    return True, f"int4: KL {plain['kl']} in five layouts; importance steers; wrong calls refused"
