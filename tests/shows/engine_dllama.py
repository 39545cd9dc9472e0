#!/usr/bin/env python3
"""The model of engine_model.py in distributed-llama's form: engine_dllama.py FILE.gguf OUT.m OUT.t (a model and a tokenizer).

Its Q40 and Q80 blocks are GGUF's Q4_0 and Q8_0, and its rotary embedding pairs neighbours as GGUF's Llama does, so matrices are copied byte by byte:
the same bits a weight and the same numbers.  Only the embedding is widened to f32, which is the one form it takes there.  Format: src/llm.cpp and
src/tokenizer.cpp of distributed-llama (v0.16).  The tokenizer has a token for each letter and no longer word made of letters, so a prompt of n
letters is n tokens.  Needs numpy and the `gguf` package (tests/conformance/requirements.txt)."""
import struct
import sys

import gguf
import numpy as np

TYPES = {gguf.GGMLQuantizationType.F16: 1, gguf.GGMLQuantizationType.Q4_0: 2, gguf.GGMLQuantizationType.Q8_0: 3}
LLAMA, SILU, EPSILON_1E5 = 0xABCD00, 1, 5
VERSION, ARCH, DIM, HIDDEN_DIM, LAYERS, HEADS, KV_HEADS, EXPERTS, ACTIVE_EXPERTS, VOCAB, CONTEXT, ACTIVATION, THETA, WEIGHTS = range(14)
HEAD_DIM, EPSILON = 19, 20
MODEL_MAGIC, TOKENIZER_MAGIC = 0xA00ABCD, 0x567124


def header(magic, pairs):
    body = b"".join(struct.pack("<ii", key, value) for key, value in pairs)
    return struct.pack("<ii", magic, 8 + len(body)) + body


def layer_names(i):
    yield from (f"blk.{i}.{name}.weight" for name in ("attn_q", "attn_k", "attn_v", "attn_output", "ffn_gate", "ffn_down", "ffn_up", "attn_norm", "ffn_norm"))


def write_model(reader, path):
    tensors = {tensor.name: tensor for tensor in reader.tensors}

    def field(name):
        return int(reader.fields[f"llama.{name}"].parts[-1][0])

    embedding, n_layers = tensors["token_embd.weight"], field("block_count")
    vocab = int(embedding.shape[1])
    with open(path, "wb") as out:
        out.write(header(MODEL_MAGIC, (
            (VERSION, 0), (ARCH, LLAMA), (DIM, field("embedding_length")), (HIDDEN_DIM, field("feed_forward_length")), (LAYERS, n_layers),
            (HEADS, field("attention.head_count")), (KV_HEADS, field("attention.head_count_kv")), (EXPERTS, 0), (ACTIVE_EXPERTS, 0), (VOCAB, vocab),
            (CONTEXT, field("context_length")), (ACTIVATION, SILU), (THETA, int(reader.fields["llama.rope.freq_base"].parts[-1][0])),
            (WEIGHTS, TYPES[embedding.tensor_type]), (HEAD_DIM, field("rope.dimension_count")), (EPSILON, EPSILON_1E5))))
        out.write(gguf.quants.dequantize(embedding.data, embedding.tensor_type).astype(np.float32).tobytes())
        for i in range(n_layers):
            for name in layer_names(i):
                out.write(tensors[name].data.tobytes())
        for name in ("output_norm.weight", "output.weight"):
            out.write(tensors[name].data.tobytes())
    return vocab


def write_tokenizer(vocab, path):
    """The begin-of-text token divides words from special tokens, so both of those stand at the end."""
    letters = [bytes([c]) for c in range(ord("a"), ord("z") + 1)]
    words = letters + [b"#%d#" % i for i in range(vocab - 2 - len(letters))] + [b"<s>", b"</s>"]
    with open(path, "wb") as out:
        out.write(header(TOKENIZER_MAGIC, ((0, 1), (1, vocab), (2, max(map(len, words))), (3, vocab - 2), (9, 1), (10, 0))))
        out.write(struct.pack("<i", vocab - 1))
        for i, word in enumerate(words):
            out.write(struct.pack("<fI", -float(i), len(word)) + word)


def main():
    reader = gguf.GGUFReader(sys.argv[1])
    write_tokenizer(write_model(reader, sys.argv[2]), sys.argv[3])


if __name__ == "__main__":
    main()
