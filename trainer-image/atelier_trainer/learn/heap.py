"""How the C library treats memory of the host that is given back to it, as far as a trainer has a say in it.

glibc learns from what a process frees: the larger a piece, the larger the pieces that it keeps from then on. A trainer
has two lives, for which one lesson is wrong. Its steps free what the next step takes again, and must keep it. Between
steps it handles larger pieces that no step takes: files, pictures, activations of encoders and of measurements.

In: which of the two begins. Out: nothing. Knows nothing of training. Other C libraries are left as they are.
"""

from __future__ import annotations

import ctypes
from collections.abc import Iterator
from contextlib import contextmanager

_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD = -1, -3
"""Names of the settings in glibc's malloc.h; see mallopt(3)."""
_SMALL_BYTES = 128 * 1024
"""What glibc begins with. Steps of a narrow denoiser on the CPU take 40 % longer with it than with the largest: the
system fills each page with zeros anew."""
_LARGE_BYTES = 32 * 1024 * 1024
"""The most that glibc learns to keep (DEFAULT_MMAP_THRESHOLD_MAX, 64 bits); as there, twice as much lies idle at most.
"""


@contextmanager
def giving_back() -> Iterator[None]:
    """Give large pieces back to the system as they are freed, in this block; keep them from its end on.

    What lay idle before is given back as well.
    """
    library = ctypes.CDLL(None)
    if not hasattr(library, "mallopt"):
        yield
        return
    _tune(library, _SMALL_BYTES)
    library.malloc_trim(0)
    try:
        yield
    finally:
        _tune(library, _LARGE_BYTES)


def _tune(library: ctypes.CDLL, threshold_bytes: int) -> None:
    library.mallopt(_M_MMAP_THRESHOLD, threshold_bytes)
    library.mallopt(_M_TRIM_THRESHOLD, 2 * threshold_bytes)
