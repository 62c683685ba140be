"""Reuse of freed memory by the C allocator."""

import ctypes
import sys

M_TRIM_THRESHOLD, M_MMAP_THRESHOLD = -1, -3  # of mallopt(3)
INITIAL = 128 * 1024  # bytes: both thresholds where a process starts


def keep_freed_memory() -> bool:
    """Tell glibc to keep freed memory for the next tensor. Returns whether it did (Linux with glibc only).

    By default a tensor of megabytes is given back to the system when it is freed, and the next one's pages are mapped
    and zeroed anew at every step: a tenth of a training step of the small convolutional network on a CPU. The process
    may stay at its peak of memory, which a training step would ask for again anyhow.
    """
    libc = _glibc()
    return bool(libc and libc.mallopt(M_MMAP_THRESHOLD, 2**30) and libc.mallopt(M_TRIM_THRESHOLD, 2**31 - 1))


def return_freed_memory() -> bool:
    """Tell glibc to give freed memory back to the system again, and what it has kept, at once. Returns whether it did.

    The thresholds are those that a process starts with; glibc does not adapt them any longer.
    """
    libc = _glibc()
    if not (libc and libc.mallopt(M_MMAP_THRESHOLD, INITIAL) and libc.mallopt(M_TRIM_THRESHOLD, INITIAL)):
        return False
    libc.malloc_trim(0)
    return True


def _glibc() -> ctypes.CDLL | None:
    """None where the C library is another one."""
    if not sys.platform.startswith("linux"):
        return None
    try:
        libc = ctypes.CDLL("libc.so.6")
        return libc if libc.mallopt and libc.malloc_trim else None
    except (OSError, AttributeError):
        return None
