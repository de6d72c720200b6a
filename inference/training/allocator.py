"""Set the C library's allocator to keep the memory that a training step frees."""

from __future__ import annotations

import ctypes
import sys

__all__ = ["keep_freed_memory"]

# Parameters of glibc's mallopt.
M_TRIM_THRESHOLD = -1
M_TOP_PAD = -2
M_MMAP_MAX = -4

TRIM_THRESHOLD_BYTES = 2**31 - 1
TOP_PAD_BYTES = 64 * 2**20


def keep_freed_memory() -> bool:
    """Keep freed activations in this process rather than return them to the kernel at every step.

    For programs that train on the CPU with glibc. The setting holds for the whole process; it
    costs some memory, and saves the page faults of large batches.

    Returns:
        Whether the allocator took the setting; false on systems without glibc.
    """
    if not sys.platform.startswith("linux"):
        return False
    try:
        mallopt = ctypes.CDLL("libc.so.6").mallopt
    except (OSError, AttributeError):
        return False
    return all(
        [
            mallopt(M_MMAP_MAX, 0),
            mallopt(M_TRIM_THRESHOLD, TRIM_THRESHOLD_BYTES),
            mallopt(M_TOP_PAD, TOP_PAD_BYTES),
        ]
    )
