"""Keep freed memory in the process instead of handing it back to the system at every step.

A training step of a small network allocates and frees the same few large tensors. glibc
serves blocks of that size from fresh pages and returns them at once, so every step pays
thousands of page faults again; on the thesis's CNN they were some 40 % of a step. This
module changes nothing but that, and does nothing where the C library is not glibc.
"""

from __future__ import annotations

import ctypes
import ctypes.util
import platform

# Parameters of mallopt(3), from glibc's malloc.h.
_M_TRIM_THRESHOLD, _M_TOP_PAD, _M_MMAP_MAX = -1, -2, -4
_GIB = 2**30


def keep_freed_memory() -> bool:
    """Tell glibc to serve every block from a heap that it keeps; return whether that was possible.

    The heap grows in steps of 256 MiB of address space (not of memory, until touched) and is
    given back only when more than 1 GiB at its top is free.
    """
    if platform.libc_ver()[0] != "glibc":
        return False
    mallopt = ctypes.CDLL(None).mallopt
    settings = ((_M_MMAP_MAX, 0), (_M_TRIM_THRESHOLD, _GIB), (_M_TOP_PAD, _GIB // 4))
    return all([mallopt(parameter, value) == 1 for parameter, value in settings])
