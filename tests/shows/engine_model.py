#!/usr/bin/env python3
"""A Llama-shaped model of 1.24 billion parameters with random weights, as GGUF: engine_model.py TYPE FILE, TYPE one of F16, BF16, Q8_0, Q4_0.

Every matrix has that type, so all programs read the same bits for a weight; its weights do not fit a processor's caches.  Needs numpy and the `gguf`
package (tests/conformance/requirements.txt)."""
import sys

import gguf
import numpy as np

HIDDEN, LAYERS, HEADS, KV_HEADS, HEAD_DIM, MLP, VOCAB, CONTEXT = 2048, 16, 32, 8, 64, 8192, 64000, 4096


def matrices():
    yield "token_embd", VOCAB, HIDDEN
    for i in range(LAYERS):
        yield f"blk.{i}.attn_q", HEADS * HEAD_DIM, HIDDEN
        yield f"blk.{i}.attn_k", KV_HEADS * HEAD_DIM, HIDDEN
        yield f"blk.{i}.attn_v", KV_HEADS * HEAD_DIM, HIDDEN
        yield f"blk.{i}.attn_output", HIDDEN, HEADS * HEAD_DIM
        yield f"blk.{i}.ffn_gate", MLP, HIDDEN
        yield f"blk.{i}.ffn_up", MLP, HIDDEN
        yield f"blk.{i}.ffn_down", HIDDEN, MLP
    yield "output", VOCAB, HIDDEN


def describe(writer):
    writer.add_context_length(CONTEXT)
    writer.add_embedding_length(HIDDEN)
    writer.add_block_count(LAYERS)
    writer.add_feed_forward_length(MLP)
    writer.add_head_count(HEADS)
    writer.add_head_count_kv(KV_HEADS)
    writer.add_rope_dimension_count(HEAD_DIM)
    writer.add_rope_freq_base(10000.0)
    writer.add_layer_norm_rms_eps(1e-5)
    writer.add_vocab_size(VOCAB)
    tokens = ["<unk>", "<s>", "</s>"] + [f"<0x{i:02X}>" for i in range(256)] + [f"\u2581word{i}" for i in range(VOCAB - 259)]
    kinds = [gguf.TokenType.UNKNOWN, gguf.TokenType.CONTROL, gguf.TokenType.CONTROL] + [gguf.TokenType.BYTE] * 256 + [gguf.TokenType.NORMAL] * (VOCAB - 259)
    writer.add_tokenizer_model("llama")
    writer.add_token_list(tokens)
    writer.add_token_scores([-float(i) for i in range(VOCAB)])
    writer.add_token_types([int(kind) for kind in kinds])
    writer.add_bos_token_id(1)
    writer.add_eos_token_id(2)


def main():
    kind = gguf.GGMLQuantizationType[sys.argv[1]]
    writer = gguf.GGUFWriter(sys.argv[2], "llama", use_temp_file=True)
    describe(writer)
    random = np.random.default_rng(1)
    for i in range(LAYERS):
        writer.add_tensor(f"blk.{i}.attn_norm.weight", np.ones(HIDDEN, dtype=np.float32))
        writer.add_tensor(f"blk.{i}.ffn_norm.weight", np.ones(HIDDEN, dtype=np.float32))
    writer.add_tensor("output_norm.weight", np.ones(HIDDEN, dtype=np.float32))
    for name, rows, columns in matrices():
        weights = random.standard_normal((rows, columns), dtype=np.float32) / np.sqrt(np.float32(columns))
        if kind == gguf.GGMLQuantizationType.F16:
            writer.add_tensor(f"{name}.weight", weights.astype(np.float16))
        else:
            writer.add_tensor(f"{name}.weight", gguf.quants.quantize(weights, kind), raw_dtype=kind)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


if __name__ == "__main__":
    main()
