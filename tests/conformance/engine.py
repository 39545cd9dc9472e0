"""Running tests/golden/logits_tool: logits of a checkpoint in a layout and a chunking."""

import os
import pathlib
import subprocess
import tempfile

import numpy as np

ROOT = pathlib.Path(__file__).resolve().parents[2]
BUILD = pathlib.Path(os.environ.get("PALMGROVE_BUILD_DIR", ROOT / "build/release"))
TOOL = BUILD / "tests/golden/logits_tool"
MPI = {
    "OMPI_ALLOW_RUN_AS_ROOT": "1", "OMPI_ALLOW_RUN_AS_ROOT_CONFIRM": "1", "OMPI_MCA_mpi_yield_when_idle": "1", "OMP_NUM_THREADS": "1",
    "OMPI_MCA_btl_base_warn_component_unused": "0", "OMPI_MCA_btl_vader_single_copy_mechanism": "none",
}  # fmt: skip


class EngineError(Exception):
    pass


def run(model, ids, vocab, chunk=None, every=False, tp=1, pp=1, weights="auto", images=None, vectors=False):
    """f32 [rows][vocab]: a row for the last token of every chunk, with `every` for each token.  `images`: u8 [n][side][side][3]; `vectors`: give
    (logits, what the images became, f32 flat)."""
    with tempfile.TemporaryDirectory(prefix="palmgrove-logits-") as folder:
        tokens, out = pathlib.Path(folder, "tokens"), pathlib.Path(folder, "logits")
        tokens.write_text(" ".join(map(str, ids)))
        command = ["mpirun", "--oversubscribe", "--bind-to", "none", "-np", str(tp * pp), TOOL, model, tokens, out, "--weights", weights]
        if images is not None:
            pathlib.Path(folder, "images").write_bytes(np.ascontiguousarray(images, dtype=np.uint8).tobytes())
            command += ["--images", pathlib.Path(folder, "images"), "--vectors", pathlib.Path(folder, "vectors")]
        command += ["--tp", str(tp), "--pp", str(pp)] + (["--every"] if every else []) + (["--chunk", str(chunk)] if chunk else [])
        done = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, text=True, env={**os.environ, **MPI})
        if done.returncode != 0:
            raise EngineError((done.stderr or done.stdout).strip()[-400:])
        logits = np.fromfile(out, dtype="<f4").reshape(-1, vocab)
        return (logits, np.fromfile(pathlib.Path(folder, "vectors"), dtype="<f4")) if vectors else logits


def chunk_ends(n, chunk):
    """The positions whose logits a run in chunks gives."""
    return [min(begin + chunk, n) - 1 for begin in range(0, n, chunk or n)]
