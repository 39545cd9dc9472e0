#!/usr/bin/env python3
"""Writes all_types.gguf and all_types.safetensors: GGUF files as gguf-py writes them, and the values gguf-py reads from them.

    python3 make_goldens.py        (needs gguf, numpy, safetensors, torch; checked with gguf 0.19.0, torch 2.13)

all_types.gguf: metadata of every kind, alignment 64, one tensor "TYPE.weight" of two or three rows for each type that is computed with,
one 1-d, one 3-d and one integer tensor.  Quantised blocks are random bits with finite scales (also zero, negative and subnormal ones),
so every code meets every scale.
all_types.safetensors: under the same names what gguf.quants.dequantize makes of them, f32; and "f8_e4m3", "f8_e5m2" [256]: the value of
every byte, by torch.
"""
import pathlib

import gguf
import numpy as np
import safetensors.numpy
import torch
from gguf import GGMLQuantizationType as T

HERE = pathlib.Path(__file__).resolve().parent
RNG = np.random.default_rng(20231)

# type: the places of the f16 scales in a block
SCALES = {
    T.Q8_0: [0], T.Q4_0: [0], T.Q4_1: [0, 2], T.Q5_0: [0], T.Q5_1: [0, 2],
    T.Q2_K: [80, 82], T.Q3_K: [108], T.Q4_K: [0, 2], T.Q5_K: [0, 2], T.Q6_K: [208],
}


def scale_bits(n):
    """f16 bits that are no infinity and no NaN; the first few are awkward."""
    bits = RNG.integers(0, 1 << 16, n, dtype=np.uint16)
    bits[(bits & 0x7C00) == 0x7C00] &= 0xBFFF
    awkward = np.array([0x0000, 0x8000, 0x0001, 0x83FF, 0x7BFF, 0x0400], dtype=np.uint16)[:n]
    bits[: len(awkward)] = awkward
    return bits


def random_blocks(kind, n_rows, n_blocks):
    _, size = gguf.GGML_QUANT_SIZES[kind]
    blocks = RNG.integers(0, 256, (n_rows * n_blocks, size), dtype=np.uint8)
    for at in SCALES[kind]:
        blocks[:, at : at + 2] = RNG.permutation(scale_bits(len(blocks))).view(np.uint8).reshape(-1, 2)
    return blocks.reshape(n_rows, n_blocks * size)


def tensors():
    """(name, array, raw type or None, f32 values)"""
    for kind in SCALES:
        small = gguf.GGML_QUANT_SIZES[kind][0] == 32
        data = random_blocks(kind, 3 if small else 2, 3)
        yield f"{kind.name}.weight", data, kind, gguf.quants.dequantize(data, kind)
    values = RNG.standard_normal((3, 7)).astype(np.float32)
    yield "F32.weight", values, None, values
    halves = scale_bits(21).view(np.float16).reshape(3, 7)
    yield "F16.weight", halves, None, gguf.quants.dequantize(halves, T.F16)
    brain = gguf.quants.quantize(values, T.BF16)
    yield "BF16.weight", brain, T.BF16, gguf.quants.dequantize(brain, T.BF16)
    # Halfway between two f32, just off it, beyond f32's subnormals.
    wide = np.array([[1 + 2.0**-24, 1 + 3 * 2.0**-24, 1 + 2.0**-24 + 2.0**-50], [-np.pi, 2.0**-149, 2.0**-150]])
    yield "F64.weight", wide, None, wide.astype(np.float32)
    yield "vector", values[0], None, values[0]
    cube = np.arange(2 * 3 * 4, dtype=np.float32).reshape(2, 3, 4)
    yield "cube", cube, None, cube
    yield "integers", np.arange(5, dtype=np.int32), None, None


def write_metadata(writer):
    writer.add_custom_alignment(64)
    writer.add_uint8("int.u8", 255)
    writer.add_int8("int.i8", -128)
    writer.add_uint16("int.u16", 65535)
    writer.add_int16("int.i16", -32768)
    writer.add_uint32("int.u32", 4294967295)
    writer.add_int32("int.i32", -2147483648)
    writer.add_uint64("int.u64", 18446744073709551615)
    writer.add_int64("int.i64", -9223372036854775808)
    writer.add_float32("float.f32", 1e-6)
    writer.add_float64("float.f64", 0.1)
    writer.add_bool("flag", True)
    writer.add_string("text", "two\nlines, Stra\u00dfe, \u6771\u4eac, \U0001f9ec")
    writer.add_array("words", ["", "a", "\u2581the", "<0x0A>", "\U0001f9ec"])
    writer.add_array("scores", [0.5, -1.25, 3.0])
    writer.add_array("types", [1, -2, 3])
    writer.add_array("flags", [True, False, True])


def main():
    writer = gguf.GGUFWriter(HERE / "all_types.gguf", "test")
    write_metadata(writer)
    expected = {}
    for name, data, kind, values in tensors():
        writer.add_tensor(name, data, raw_dtype=kind)
        if values is not None:
            expected[name] = np.ascontiguousarray(values, dtype=np.float32)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    every = torch.arange(256, dtype=torch.uint8)
    expected["f8_e4m3"] = every.view(torch.float8_e4m3fn).float().numpy()
    expected["f8_e5m2"] = every.view(torch.float8_e5m2).float().numpy()
    safetensors.numpy.save_file(expected, HERE / "all_types.safetensors")


if __name__ == "__main__":
    main()
