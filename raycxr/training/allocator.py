"""Memory of a training step on the CPU: kept by the process in place of returned to the kernel and fetched again.

Every step allocates the same feature maps of some megabytes again. By default glibc takes blocks of that size from the
kernel one by one and hands each back, so that each step pays for clearing every page anew: 16 per cent of the step of a
U-Net with a ResNet18 encoder at batch 8 and 256 x 256 pixels on two cores.
"""

from __future__ import annotations

import ctypes

# Options of mallopt(3): environment variable, number in malloc.h, value.
_SETTINGS = (
    ("MALLOC_MMAP_MAX_", -4, 0),  # no block straight from the kernel
    ("MALLOC_TRIM_THRESHOLD_", -1, 2**31 - 1),  # nothing back to it
    ("MALLOC_TOP_PAD_", -2, 64 * 2**20),
    ("MALLOC_ARENA_MAX", -8, 1),  # the heaps of further arenas are small, and returned whole
)
# For a process that is yet to start, such as a Ray worker, whose training thread has an arena of its own otherwise.
KEEP_FREED_MEMORY = {name: str(value) for name, _, value in _SETTINGS}


def keep_freed_memory() -> bool:
    """Let this process keep the memory that it frees from now on.

    Returns
    -------
    bool
        Whether it is so; False where the C library is another one than glibc.
    """
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (AttributeError, OSError):
        return False
    return all(mallopt(option, value) == 1 for _, option, value in _SETTINGS)
