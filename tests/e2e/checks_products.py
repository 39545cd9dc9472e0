"""OpenBLAS as the provider of products: reports are made and name it, and a library that computes wrong sums is refused."""
import pathlib
import subprocess
import tempfile

import harness
import wire

FAKE = harness.BUILD / "tests/unit/libfake_openblas.so"


def library():
    """Environment for a server: the fake library, which computes correctly, where the real one is not installed."""
    installed = subprocess.run(["ldconfig", "-p"], capture_output=True, text=True).stdout
    return {} if "libopenblas.so.0" in installed else {"PALMGROVE_OPENBLAS_LIBRARY": str(FAKE)}


def reports(cases, options, variables):
    """What a server answers to every case, each asked twice: [(text, provenance)]."""
    with harness.Server(2, 1, options=options, variables=variables) as server, wire.Connection(server.endpoint) as connection:
        results = [connection.generate(wire.report(case)) for case in cases for _ in range(2)]
    return [(result.text, result.provenance) for result in results]


def refused(name, words, options, **variables):
    """A server that must not start: None, or what went wrong."""
    endpoint = f"ipc://{tempfile.gettempdir()}/palmgrove-refused"
    done = subprocess.run([harness.PALMGROVE, "serve", harness.MODEL, "--endpoint", endpoint, *options], capture_output=True, text=True,
                          timeout=60, env=harness.environment(**variables))
    said = done.stdout + done.stderr
    pathlib.Path(endpoint[6:]).unlink(missing_ok=True)
    if done.returncode != 0 and all(word in said for word in words):
        return None
    return f"{name}: exit code {done.returncode}, {said.strip()[-200:]!r}"


def products_check():
    openblas = ["--products", "openblas"]
    with tempfile.TemporaryDirectory() as folder:
        cases = harness.draw(folder, 0, 3)
        ours, theirs = reports(cases, [], {}), reports(cases, openblas, library())
    names = {provenance.isa for _, provenance in theirs}
    wrong = [] if len(names) == 1 and "+openblas-" in min(names) else [f"provenance names {names}"]
    wrong += ["our provenance names a provider"] * any("+" in provenance.isa for _, provenance in ours)
    wrong += ["both have one model digest"] * (ours[0][1].model_digest == theirs[0][1].model_digest)
    wrong += ["the same request, asked again alone, has another text"] * (theirs[0::2] != theirs[1::2] and
                                                                         [t for t, _ in theirs[0::2]] != [t for t, _ in theirs[1::2]])
    wrong += ["an empty report"] * (not all(text for text, _ in theirs))
    wrong += [one for one in (
        refused("a library with wrong sums", ["computes wrong products", "Fake"], openblas, PALMGROVE_OPENBLAS_LIBRARY=str(FAKE), FAKE_OPENBLAS="corner"),
        refused("no library", ["cannot load OpenBLAS"], openblas, PALMGROVE_OPENBLAS_LIBRARY="/nowhere/libopenblas.so"),
        refused("an unknown provider", ["abacus", "openblas"], ["--products", "abacus"]),
    ) if one]
    alike = sum(a == b for (a, _), (b, _) in zip(ours, theirs))
    return not wrong, (f"{len(theirs)} reports by {min(names)}, {alike} with the text of {ours[0][1].isa}; 3 servers that must not start: "
                       f"{len(wrong)} faults" + "".join(f"; {one}" for one in wrong))
