#!/usr/bin/env python3
"""Writes resize.bin: pictures and what PyTorch's antialiased bilinear resize makes of them; and fit.bin: what Pillow makes of pictures that are
fitted into a square.

    tests/conformance/run tests/golden/image/make_goldens.py        (needs torch and Pillow; checked with 2.13 and 13.0)

resize.bin, little-endian: u32 number of cases; per case u32 channels, height, width, out height, out width, the input
[height][width][channels] u8, the output [out height][out width][channels] u8. Output: float interpolate, round half to even, clamp.

fit.bin: u32 number of cases; per case u32 kind, filter, padding side, red, green, blue, size (numbers of coordinator/image/preprocess.h), width,
height, channels, the input [height][width][channels] u8, the output [size][size][3] u8.  Columns are filtered before rows.
"""
import pathlib
import struct

import torch
from PIL import Image

# channels, height, width, out height, out width
CASES = [
    (1, 60, 45, 140, 105), (3, 21, 31, 48, 71), (1, 7, 5, 50, 36), (3, 1, 1, 9, 9),          # enlarged
    (1, 110, 80, 56, 42), (3, 61, 47, 33, 21), (1, 64, 64, 32, 32), (3, 60, 30, 20, 10),      # reduced
    (1, 40, 90, 50, 30), (3, 50, 20, 20, 50), (1, 33, 33, 33, 33), (1, 3, 200, 1, 56),         # mixed, equal, flat
]


def picture(generator, channels, height, width, smooth):
    pixels = torch.randint(0, 256, (channels, height, width), generator=generator, dtype=torch.uint8)
    if smooth:
        y, x = torch.meshgrid(torch.arange(height), torch.arange(width), indexing="ij")
        pixels = ((x * 7 + y * 3)[None] % 256 + pixels % 8).clamp(0, 255).to(torch.uint8)
    return pixels


# kind, filter, side, value, size, width, height, channels
PAD, SQUARE, STRETCH, CROP = range(4)
BILINEAR, BICUBIC = 1, 2
FIT_CASES = [
    (PAD, BILINEAR, 0, (0, 0, 0), 28, 45, 60, 3), (PAD, BICUBIC, 1, (9, 99, 255), 28, 60, 45, 1), (PAD, BILINEAR, 2, (1, 2, 3), 30, 7, 90, 3),
    (SQUARE, BICUBIC, 0, (122, 116, 104), 42, 97, 61, 3), (SQUARE, BICUBIC, 0, (122, 116, 104), 42, 20, 33, 1), (SQUARE, BILINEAR, 1, (5, 6, 7), 21, 3, 50, 3),
    (STRETCH, BILINEAR, 0, (0, 0, 0), 35, 70, 41, 3), (STRETCH, BICUBIC, 0, (0, 0, 0), 35, 12, 80, 1), (STRETCH, BILINEAR, 0, (0, 0, 0), 24, 24, 24, 3),
    (CROP, BICUBIC, 0, (0, 0, 0), 28, 75, 40, 3), (CROP, BILINEAR, 0, (0, 0, 0), 29, 40, 76, 1), (CROP, BICUBIC, 0, (0, 0, 0), 14, 5, 6, 3),
    (PAD, BICUBIC, 0, (0, 0, 0), 8, 1, 1, 3), (PAD, BICUBIC, 0, (7, 7, 7), 16, 300, 2, 3),
]  # fmt: skip


def columns_first(img, size, scaling):
    return img.resize((size[0], img.height), scaling).resize(size, scaling)


def fitted(img, kind, scaling, side, value, size):
    longest, shortest = max(img.size), min(img.size)
    before = lambda room: (room // 2, 0, room)[side]  # noqa: E731
    if kind == STRETCH:
        return columns_first(img, (size, size), scaling)
    if kind == CROP:
        large = columns_first(img, tuple(size * s // shortest for s in img.size), scaling)
        left, top = (large.width - size) // 2, (large.height - size) // 2
        return large.crop((left, top, left + size, top + size))
    small = img if kind == SQUARE else columns_first(img, tuple(max(1, round(size * s / longest)) for s in img.size), scaling)
    edge = longest if kind == SQUARE else size
    out = Image.new("RGB", (edge, edge), value)
    out.paste(small, (before(edge - small.width), before(edge - small.height)))
    return columns_first(out, (size, size), scaling)


def write_fits(generator):
    out = struct.pack("<I", len(FIT_CASES))
    for i, (kind, scaling, side, value, size, width, height, channels) in enumerate(FIT_CASES):
        pixels = picture(generator, channels, height, width, i % 3 == 0).permute(1, 2, 0).contiguous().numpy()
        img = Image.fromarray(pixels[..., 0] if channels == 1 else pixels).convert("RGB")
        out += struct.pack("<10I", kind, scaling, side, *value, size, width, height, channels) + pixels.tobytes()
        out += fitted(img, kind, (None, Image.BILINEAR, Image.BICUBIC)[scaling], side, value, size).tobytes()
    pathlib.Path(__file__).with_name("fit.bin").write_bytes(out)


def main():
    generator = torch.Generator().manual_seed(1)
    out = struct.pack("<I", len(CASES))
    for i, (channels, height, width, out_height, out_width) in enumerate(CASES):
        pixels = picture(generator, channels, height, width, i % 3 == 0)
        resized = torch.nn.functional.interpolate(
            pixels[None].float(), size=(out_height, out_width), mode="bilinear", antialias=True, align_corners=False)
        resized = resized[0].round().clamp(0, 255).to(torch.uint8)
        out += struct.pack("<5I", channels, height, width, out_height, out_width)
        out += pixels.permute(1, 2, 0).contiguous().numpy().tobytes()
        out += resized.permute(1, 2, 0).contiguous().numpy().tobytes()
    pathlib.Path(__file__).with_name("resize.bin").write_bytes(out)
    write_fits(generator)


if __name__ == "__main__":
    main()
