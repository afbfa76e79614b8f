"""The memory that a program's intermediate values live in."""

from __future__ import annotations

import ctypes
import mmap

import numpy as np

from chainrule.errors import OutOfMemoryError

_ALIGNMENT = 64  # bytes: a line of the cache, and the widest vector


def arena(size: int, *, guarded: bool = False) -> np.ndarray:
    """Fresh bytes, zero, that start at a line of the cache.

    Guarded, the pages before and behind them cannot be touched, and they end (up to a line of the
    cache) where those behind begin: what reads or writes past the end is killed at once. Tests run
    programs so.
    """
    if guarded:
        return _guarded(size)
    try:
        room = np.zeros(size + _ALIGNMENT, np.uint8)
    except (MemoryError, ValueError):  # the latter beyond what an address can name
        raise OutOfMemoryError(
            f"what is computed on the way takes {size} bytes at a time, which do not fit into "
            "memory; take smaller sizes"
        ) from None
    start = -room.ctypes.data % _ALIGNMENT
    return room[start : start + size]


def _guarded(size: int) -> np.ndarray:
    page = mmap.PAGESIZE
    room = -(-size // _ALIGNMENT) * _ALIGNMENT
    pages = -(-room // page) * page
    whole = mmap.mmap(-1, pages + 2 * page)
    data = np.frombuffer(whole, np.uint8)
    for fence in (data.ctypes.data, data.ctypes.data + page + pages):
        _forbid(fence, page)
    start = page + pages - room
    return data[start : start + size]


def _forbid(address: int, size: int) -> None:
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.mprotect(ctypes.c_void_p(address), ctypes.c_size_t(size), 0):  # PROT_NONE
        raise OSError(ctypes.get_errno(), "mprotect")
