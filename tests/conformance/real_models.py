"""The real checkpoints, teacher-forced over a text: against llama.cpp on the same file, or one weight type against f32.

    real_models.py llama MODEL.gguf        mean KL(llama.cpp || ours), top-1 agreement, perplexities
    real_models.py weights MODEL.gguf      bf16, int8, int4 against f32: perplexity, mean KL(f32 || type), bytes of weights

Prints one JSON object.  The first N_TOKENS tokens of texts/origin.txt, as llama.cpp's tokenizer gives them, in one context, so that
Gemma's window of 512 is left behind.  Logits of ours come from tests/golden/logits_tool.  Logits of a large vocabulary are gigabytes: they
lie in files and are compared some rows at a time."""

import json
import os
import pathlib
import subprocess
import sys
import tempfile

import engine
import llama_cpp
import numpy as np

N_TOKENS = 2112
ROWS = 64  # at a time
THREADS = int(os.environ.get("OMP_NUM_THREADS", os.cpu_count()))
TEXT = pathlib.Path(__file__).resolve().parent / "texts/origin.txt"


def log_softmax(rows):
    rows = rows.astype(np.float64)
    rows -= rows.max(axis=1, keepdims=True)
    return rows - np.log(np.exp(rows).sum(axis=1, keepdims=True))


def ids_of(model):
    reader = llama_cpp.Llama(str(model), vocab_only=True, verbose=False, n_ctx=N_TOKENS)
    ids = reader.tokenize(TEXT.read_bytes(), add_bos=reader.metadata.get("tokenizer.ggml.add_bos_token") == "true", special=False)
    if len(ids) < N_TOKENS:
        sys.exit(f"{TEXT} has {len(ids)} tokens, not {N_TOKENS}")
    return ids[:N_TOKENS]


def llama_logits(model, ids, path):
    """[n][V] in a file, flash attention off, keys and values in f32 so that only the weights' products differ."""
    net = llama_cpp.Llama(str(model), n_ctx=N_TOKENS, n_batch=ROWS, n_ubatch=ROWS, logits_all=False, verbose=False, n_threads=THREADS,
                          type_k=llama_cpp.GGML_TYPE_F32, type_v=llama_cpp.GGML_TYPE_F32, flash_attn=False)  # fmt: skip
    batch, vocab = net._batch, net.n_vocab()
    with open(path, "wb") as out:
        for at in range(0, len(ids), ROWS):
            piece = ids[at : at + ROWS]
            batch.set_batch(batch=piece, n_past=at, logits_all=True)
            net._ctx.decode(batch)
            np.ctypeslib.as_array(net._ctx.get_logits(), shape=(len(piece) * vocab,)).tofile(out)
    return vocab


def our_logits(model, ids, path, weights):
    """Returns the bytes of weights."""
    tokens = pathlib.Path(path).with_suffix(".tokens")
    tokens.write_text(" ".join(map(str, ids)))
    command = ["mpirun", "--oversubscribe", "--bind-to", "none", "-np", "1", engine.TOOL, model, tokens, path, "--every", "--chunk", str(ROWS), "--weights", weights]
    done = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, text=True, env={**os.environ, **engine.MPI, "OMP_NUM_THREADS": str(THREADS)})
    if done.returncode != 0:
        sys.exit(done.stderr.strip()[-400:])
    return int(done.stdout.split()[1])


def compare(reference, other, ids, vocab):
    """Means over all positions; the last has no successor."""
    a, b = (np.memmap(path, dtype="<f4", mode="r").reshape(-1, vocab) for path in (reference, other))
    n = len(ids) - 1
    kl = same = nll_a = nll_b = 0.0
    for at in range(0, n, ROWS):
        end = min(at + ROWS, n)
        p, q = log_softmax(a[at:end]), log_softmax(b[at:end])
        kl += float((np.exp(p) * (p - q)).sum())
        same += int((p.argmax(axis=1) == q.argmax(axis=1)).sum())
        nexts = ids[at + 1 : end + 1]
        nll_a -= float(p[np.arange(end - at), nexts].sum())
        nll_b -= float(q[np.arange(end - at), nexts].sum())
    return {"tokens": n, "kl": kl / n, "top1": same / n, "perplexity_reference": float(np.exp(nll_a / n)), "perplexity": float(np.exp(nll_b / n))}


def main():
    what, model = sys.argv[1], pathlib.Path(sys.argv[2])
    ids = ids_of(model)
    with tempfile.TemporaryDirectory(prefix="palmgrove-logits-", dir=os.environ.get("PALMGROVE_SCRATCH")) as folder:
        reference, ours = pathlib.Path(folder, "reference"), pathlib.Path(folder, "ours")
        if what == "llama":
            vocab = llama_logits(model, ids, reference)
            our_logits(model, ids, ours, "auto")
            print(json.dumps(compare(reference, ours, ids, vocab)))
            return
        f32_bytes = our_logits(model, ids, reference, "f32")
        vocab = reference.stat().st_size // 4 // len(ids)
        table = {"f32": {"bytes": f32_bytes}}
        for weights in ("auto", "bf16", "int8", "int4"):
            n_bytes = our_logits(model, ids, ours, weights)
            table[weights] = compare(reference, ours, ids, vocab) | {"bytes": n_bytes}
        print(json.dumps(table))


if __name__ == "__main__":
    main()
