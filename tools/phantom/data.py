"""Batches for the training: drawings as the engine sees them, and what is true of them."""

import numpy as np
import torch
from torch.nn import functional as F

import corpus

# Facts with more than two values become one softmax head each: (name, number of values).
HEADS = {
    "view": 2,
    "tube": 2,
    "line": 3,
    "pacemaker": 3,
    "consolidation": 3,
    "consolidation_zone": 4,
    "nodule": 3,
    "nodule_zone": 4,
    "nodule_size": 4,
    "effusion_right": 4,
    "effusion_left": 4,
    "pneumothorax": 3,
    "pneumothorax_size": 4,
    "heart": 4,
    "fracture": 3,
}


def fit(width, height, grey, size=corpus.IMAGE_SIZE):
    """The engine's preprocessing: longer side to `size`, antialiased bilinear, rounded, centred on black, 3 channels."""
    x = torch.frombuffer(bytearray(grey), dtype=torch.uint8).view(1, 1, height, width).float()
    longer = max(width, height)
    w, h = max(1, round(width * size / longer)), max(1, round(height * size / longer))
    x = F.interpolate(x, size=(h, w), mode="bilinear", antialias=True, align_corners=False).round().clamp(0, 255)
    left, top = (size - w) // 2, (size - h) // 2
    return F.pad(x, (left, size - w - left, top, size - h - top)).to(torch.uint8).expand(1, 3, size, size)[0]


def head_values(facts):
    """One class index per head.  A zone is 0 when its finding is absent, else 1 + zone."""
    values = []
    for name in HEADS:
        value = getattr(facts, name)
        if name.endswith("_zone"):
            value = 1 + value if getattr(facts, name.removesuffix("_zone")) else 0
        values.append(value)
    return values


class Drawings(torch.utils.data.IterableDataset):
    """Endless drawings of a namespace from `start` on: (index, image [3, 224, 224] u8, patch labels [256], heads)."""

    def __init__(self, space, start, library):
        self.space, self.start, self.library = space, start, str(library)

    def __iter__(self):
        phantom = corpus.Phantom(self.library)
        info = torch.utils.data.get_worker_info()
        step = info.num_workers if info else 1
        index = self.start + (info.id if info else 0)
        while True:
            facts = phantom.case(self.space, index)
            width, height, grey, patches = phantom.draw(facts)
            labels = np.frombuffer(patches, np.uint32).astype(np.int32)
            yield index, fit(width, height, grey), torch.from_numpy(labels), torch.tensor(head_values(facts))
            index += step


def batches(space, start, size, library, workers=1):
    return torch.utils.data.DataLoader(
        Drawings(space, start, library), batch_size=size, num_workers=workers, prefetch_factor=4 if workers else None
    )
