"""Images of odd sizes, fitted by coordinator/image/preprocess.c and by the processors that the models were trained with.

Bounds, fixed before the first run:
    Pillow (LLaVA's own code, transformers' Pillow processors of CLIP, LLaVA and Gemma 3, Med-PaLM M's switches): every pixel equal.
    PyTorch's 8-bit kernels (what torchvision and transformers' default processors call): 2 levels, 9 of 10 samples equal: weights of fewer
    bits, so that sums fit 16-bit instructions; each of the two passes may round to the other side.
    PyTorch's float kernel (the phantom's training): 1 level, 999 of 1000 equal.

Columns are filtered before rows, as Pillow did when the models were trained and PyTorch does.  Pillow 13 turns that round for images whose
height shrinks much more than their width, which moves single levels: here it is held to the older order, one dimension at a time."""

import struct
import subprocess
import sys

import numpy as np
import torch
from PIL import Image
from transformers.models.clip.image_processing_pil_clip import CLIPImageProcessorPil
from transformers.models.gemma3.image_processing_pil_gemma3 import Gemma3ImageProcessorPil
from transformers.models.llava.image_processing_pil_llava import LlavaImageProcessorPil

import engine

TOOL = engine.BUILD / "tests/conformance/fit_tool"
KINDS = {"pad": 0, "square": 1, "stretch": 2, "crop": 3}
FILTERS = {"float": 0, "bilinear": 1, "bicubic": 2}
SIDES = {"centre": 0, "after": 1, "before": 2}
PILLOW = {"bilinear": Image.BILINEAR, "bicubic": Image.BICUBIC}
MEAN = (122, 116, 104)  # int(255 * CLIP's mean)
# width, height
SHAPES = [(1, 1), (2, 3), (5, 333), (333, 5), (31, 32), (97, 61), (61, 97), (224, 224), (336, 336), (337, 335), (448, 300), (301, 640), (641, 479), (896, 896), (1001, 777), (63, 1400)]


resize_both = Image.Image.resize


def resize_columns_first(self, size, resample=None, *rest, **more):
    return resize_both(resize_both(self, (size[0], self.height), resample, *rest, **more), size, resample, *rest, **more)


Image.Image.resize = resize_columns_first


class Tool:
    def __init__(self):
        self.process = subprocess.Popen([TOOL], stdin=subprocess.PIPE, stdout=subprocess.PIPE)

    def fit(self, pixels, size, kind, scaling, side="centre", value=(0, 0, 0)):
        """pixels [height][width][channels] u8; [size][size][3]"""
        height, width, channels = pixels.shape
        self.process.stdin.write(struct.pack("=10I", KINDS[kind], FILTERS[scaling], SIDES[side], *value, size, width, height, channels))
        self.process.stdin.write(np.ascontiguousarray(pixels).tobytes())
        self.process.stdin.flush()
        status = struct.unpack("=I", self.process.stdout.read(4))[0]
        if status != 0:
            raise RuntimeError(f"status {status}")
        return np.frombuffer(self.process.stdout.read(size * size * 3), np.uint8).reshape(size, size, 3)


def image(width, height, channels, seed):
    """Noise over a ramp: no smooth place hides a wrong tap."""
    generator = np.random.default_rng(seed)
    ramp = (np.arange(height)[:, None] * 3 + np.arange(width)[None, :] * 2) % 256
    return np.clip(ramp[..., None] * 0.6 + generator.integers(0, 110, (height, width, channels)), 0, 255).astype(np.uint8)


def rgb(pixels):
    return Image.fromarray(pixels[..., 0] if pixels.shape[2] == 1 else pixels).convert("RGB")


def processed(processor, pixels):
    """What a transformers processor makes of it, before scaling to floats."""
    out = processor(rgb(pixels), do_rescale=False, do_normalize=False, return_tensors="np")["pixel_values"][0]
    return out.transpose(1, 2, 0)


def expand_to_square(pixels, size):
    """LLaVA's expand2square, then its CLIP processor's resize."""
    img = rgb(pixels)
    side = max(img.size)
    square = Image.new("RGB", (side, side), MEAN)
    square.paste(img, ((side - img.width) // 2, (side - img.height) // 2))
    return np.asarray(square.resize((size, size), Image.BICUBIC))


def padded(pixels, size, scaling, side, value):
    """Med-PaLM M: the aspect kept, then padding."""
    img = rgb(pixels)
    longest = max(img.size)
    width, height = (max(1, round(size * s / longest)) for s in img.size)
    room = size - width, size - height
    at = tuple({"centre": r // 2, "after": 0, "before": r}[side] for r in room)
    out = Image.new("RGB", (size, size), value)
    out.paste(img.resize((width, height), PILLOW[scaling]), at)
    return np.asarray(out)


def by_torch(pixels, size, scaling, floats):
    values = torch.from_numpy(np.array(rgb(pixels))).permute(2, 0, 1)[None]
    out = torch.nn.functional.interpolate(values.float() if floats else values, size=(size, size), mode=scaling, antialias=True, align_corners=False)
    return out.round().clamp(0, 255).to(torch.uint8)[0].permute(1, 2, 0).numpy()


def cases():
    """name, arguments of Tool.fit after the pixels, reference, largest difference, part that may differ"""
    llava = LlavaImageProcessorPil(size={"shortest_edge": 56}, crop_size={"height": 56, "width": 56}, do_pad=True)
    clip = CLIPImageProcessorPil(size={"shortest_edge": 56}, crop_size={"height": 56, "width": 56})
    yield "LLaVA's own code, 336", (336, "square", "bicubic", "centre", MEAN), lambda p: expand_to_square(p, 336), 0, 0
    yield "LlavaImageProcessorPil, 56", (56, "square", "bicubic", "centre", MEAN), lambda p: processed(llava, p), 0, 0
    yield "CLIPImageProcessorPil, 56", (56, "crop", "bicubic"), lambda p: processed(clip, p), 0, 0
    for size in (896, 70):
        gemma = Gemma3ImageProcessorPil(size={"height": size, "width": size})
        yield f"Gemma3ImageProcessorPil, {size}", (size, "stretch", "bilinear"), lambda p, g=gemma: processed(g, p), 0, 0
    for scaling in PILLOW:
        for side in SIDES:
            for value in ((0, 0, 0), (255, 127, 3)):
                arguments = (224, "pad", scaling, side, value)
                yield f"Med-PaLM M {scaling} {side} {value}", arguments, lambda p, a=arguments: padded(p, a[0], a[2], a[3], a[4]), 0, 0
    for scaling in PILLOW:
        yield f"PyTorch u8 {scaling}, 896", (896, "stretch", scaling), lambda p, s=scaling: by_torch(p, 896, s, False), 2, 0.1
    yield "PyTorch float bilinear, 224", (224, "stretch", "float"), lambda p: by_torch(p, 224, "bilinear", True), 1, 0.001


def main():
    tool, failed, n = Tool(), 0, 0
    for name, arguments, reference, bound, may_differ in cases():
        worst, differing, samples = 0, 0, 0
        for i, (width, height) in enumerate(SHAPES):
            pixels = image(width, height, 1 if i % 3 == 1 else 3, i)
            difference = np.abs(tool.fit(pixels, *arguments).astype(int) - reference(pixels).astype(int))
            worst = max(worst, int(difference.max()))
            differing += int((difference > 0).sum())
            samples += difference.size
        holds = worst <= bound and differing <= may_differ * samples
        failed, n = failed + (not holds), n + 1
        print(f"{'ok    ' if holds else 'NOT OK'} {name}: {len(SHAPES)} images, {samples - differing} of {samples} samples equal, largest difference {worst}", flush=True)
    print(f"{n - failed} passed, {failed} failed")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
