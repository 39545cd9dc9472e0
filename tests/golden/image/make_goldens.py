#!/usr/bin/env python3
"""Writes resize.bin: pictures and what PyTorch's antialiased bilinear resize makes of them.

    python3 make_goldens.py        (needs torch; checked with 2.13)

resize.bin, little-endian: u32 number of cases; per case u32 channels, height, width, out height, out width, the input
[height][width][channels] u8, the output [out height][out width][channels] u8. Output: float interpolate, round half to even, clamp.
"""
import pathlib
import struct

import torch

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


if __name__ == "__main__":
    main()
