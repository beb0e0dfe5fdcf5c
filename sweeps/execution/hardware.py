"""The machine that a cell runs on: its threads, and what a finished cell notes of it."""

from __future__ import annotations

import os


def peak_mebibytes() -> float:
    """Most memory that this process has held so far."""
    import resource

    return round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024, 1)


def accelerators() -> list[str]:
    """Names of the GPUs."""
    import torch

    return [torch.cuda.get_device_name(index) for index in range(torch.cuda.device_count())]


def limit_threads(threads: int) -> None:
    """Fixes the number of threads, which decides the order of sums and so belongs to the science at CPU scales."""
    import torch

    torch.set_num_threads(threads)
    os.environ["OMP_NUM_THREADS"] = str(threads)
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
