"""Reuse of freed memory by the C allocator."""

import ctypes
import sys

M_TRIM_THRESHOLD, M_MMAP_THRESHOLD = -1, -3  # of mallopt(3)


def keep_freed_memory() -> bool:
    """Tell glibc to keep freed memory for the next tensor. Returns whether it did (Linux with glibc only).

    By default a tensor of megabytes is given back to the system when it is freed, and the next one's pages are mapped
    and zeroed anew at every step: a tenth of a training step of the small convolutional network on a CPU. The process
    may stay at its peak of memory, which a training step would ask for again anyhow.
    """
    if not sys.platform.startswith("linux"):
        return False
    try:
        mallopt = ctypes.CDLL("libc.so.6").mallopt
    except (OSError, AttributeError):  # another C library
        return False
    return bool(mallopt(M_MMAP_THRESHOLD, 2**30) and mallopt(M_TRIM_THRESHOLD, 2**31 - 1))
