"""Device, threads and seeds: the few places where a run meets its machine."""

import ctypes
import hashlib
import os
import sys
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor

import torch

from mlproject import torchrun
from mlproject.errors import UserError

# M_MMAP_THRESHOLD at the largest that glibc takes, M_TRIM_THRESHOLD at the largest int (mallopt(3))
_GLIBC_MEMORY = ((-3, 2**25), (-1, 2**31 - 1))


def seed_for(seed: int, *keys: int | str) -> int:
    """A stable 63-bit seed for one stream of one run.

    Randomness keyed by counters (stream, step, index) has no hidden state: the step number is all that a resumed
    run needs, and batches do not depend on how many processes draw them.
    """
    text = "\x1f".join(str(key) for key in (seed, *keys))
    return int.from_bytes(hashlib.sha256(text.encode("utf-8")).digest()[:8], "big") >> 1


def torch_generator(seed: int, *keys: int | str) -> torch.Generator:
    """A CPU generator at `seed_for(seed, *keys)`; drawn on the CPU, numbers are the same on every device."""
    return torch.Generator().manual_seed(seed_for(seed, *keys))


def resolve_device(name: str) -> torch.device:
    """`auto` is CUDA where there is one.

    Raises:
        UserError: CUDA is asked for and absent.
    """
    available = torch.cuda.is_available()
    if name == "cuda" and not available:
        raise UserError("device: cuda was asked for, but torch finds no CUDA device; use --device cpu or auto")
    return torch.device("cuda" if name == "cuda" or (name == "auto" and available) else "cpu")


def fused_step(device: torch.device) -> bool | None:
    """An optimiser's `fused`: on a CPU one pass over the weights, which is not PyTorch's own choice there."""
    return True if device.type == "cpu" else None


def set_threads(threads: int) -> int:
    """Give torch this many threads, keep the memory that they free, and return the number.

    0 stands for every core this process may use, shared with the processes that torchrun started beside it.
    """
    count = threads or max(1, available_cores() // torchrun.local_size())
    torch.set_num_threads(count)
    keep_freed_memory()
    return count


def keep_freed_memory() -> bool:
    """Have glibc keep freed maps for the next pass and return True; where there is no glibc, leave all as it is.

    As its heap happens to lie, a process gives large blocks back to the system in every pass, which then hands them
    out anew page by page, each filled with zeros: up to a quarter of the time of drawing images. Now it keeps what it
    needed at most.
    """
    if not sys.platform.startswith("linux"):
        return False
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    return mallopt is not None and all(mallopt(*setting) for setting in _GLIBC_MEMORY)


def spread(work: Callable[[int], None], items: Sequence[int], device: torch.device) -> None:
    """Call `work` for each item; on a CPU on as many Python threads as torch has, each of which gives torch one thread.

    Networks of small maps gain little from several threads at one operation. Several passes at a time gain nearly all
    of them, and the numbers of a pass do not depend on how many there are. `work` is to write its result where no
    other item's goes; what it raises is raised here.
    """
    threads = torch.get_num_threads()
    if device.type != "cpu" or min(threads, len(items)) <= 1:
        for item in items:
            work(item)
        return
    try:
        with ThreadPoolExecutor(threads, initializer=torch.set_num_threads, initargs=(1,)) as pool:
            for _ in pool.map(work, items):
                pass
    finally:
        torch.set_num_threads(threads)


def available_cores() -> int:
    """Cores that this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1
