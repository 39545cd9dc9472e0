"""Two halves of a batch on two threads, gradients summed in place.

Threads of one operator meet after every operator, so on a busy machine each waits for the other's lost time slices.
Halves meet once per step.  Run with OMP_NUM_THREADS=1; autograd guards the accumulation of gradients with a lock."""

from concurrent.futures import ThreadPoolExecutor

import torch

_pool = ThreadPoolExecutor(2)


def _run(task, piece):
    with torch.autocast("cpu", torch.bfloat16):  # the setting belongs to a thread
        return task(piece)


def both(task, first, second):
    """[task(first), task(second)], at the same time."""
    return list(_pool.map(lambda piece: _run(task, piece), (first, second)))
