"""Random bits from a counter: Philox4x32-10.

The n-th block of bits is a function of the key and of n alone, so that bits can be drawn in any
order, by any number of threads, eagerly or compiled, and are the same. Salmon, Moraes, Dror, Shaw,
"Parallel random numbers: as easy as 1, 2, 3", SC11.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np

from chainrule.errors import CompileError, DTypeError
from chainrule.tensor.graph import state
from chainrule.tensor.locate import Explained, explained

_MULTIPLIERS = np.uint64(0xD2511F53), np.uint64(0xCD9E8D57)
_WEYL = 0x9E3779B9, 0xBB67AE85
_LOW = np.uint64(0xFFFFFFFF)
_SHIFT = np.uint64(32)


_CYCLE = 2**62  # blocks; a draw of a size that no memory holds moves the counter, too


def philox(key: tuple[int, int], counter: np.ndarray) -> np.ndarray:
    """Philox4x32-10: (n, 4) words of 32 bits from (n, 4) counter words, all as uint64.

    Args:
        key: two words of 32 bits.
        counter: four words of 32 bits for each block, least significant first.
    """
    c0, c1, c2, c3 = (np.ascontiguousarray(counter[:, i]) for i in range(4))
    k0, k1 = key
    for _ in range(10):
        p0, p1 = c0 * _MULTIPLIERS[0], c2 * _MULTIPLIERS[1]
        c0 = (p1 >> _SHIFT) ^ c1 ^ np.uint64(k0)
        c2 = (p0 >> _SHIFT) ^ c3 ^ np.uint64(k1)
        c1, c3 = p1 & _LOW, p0 & _LOW
        k0, k1 = (k0 + _WEYL[0]) & 0xFFFFFFFF, (k1 + _WEYL[1]) & 0xFFFFFFFF
    return np.stack([c0, c1, c2, c3], axis=1)


def bits(key: tuple[int, int], counter: int, words: int) -> np.ndarray:
    """`words` random words of 32 bits, from block number `counter` on."""
    blocks = -(-words // 4)
    numbers = np.zeros((blocks, 4), np.uint64)
    index = np.arange(blocks, dtype=np.uint64) + np.uint64(counter)
    numbers[:, 0], numbers[:, 1] = index & _LOW, index >> _SHIFT
    return philox(key, numbers).reshape(-1)[:words].astype(np.uint32)


@dataclass(frozen=True)
class Stream:
    """Stands for the key of a generator while a function is traced; counters then count from the
    generator's at the call."""

    index: int


class Generator(Explained):
    """A stream of random numbers: a key, and how many blocks of it were used.

    Args:
        seed: a whole number; equal seeds give equal streams.

    >>> import chainrule as cr
    >>> a, b = cr.Generator(3), cr.Generator(3)
    >>> bool((cr.random.normal((2,), generator=a) == cr.random.normal((2,), generator=b)).all())
    True
    """

    def __init__(self, seed: int = 0) -> None:
        self._lock = threading.Lock()
        self._begin(seed)

    def seed(self, seed: int) -> None:
        """Start again from a seed."""
        self._refuse_in_trace("seeded")
        self._begin(seed)

    def _begin(self, seed: int) -> None:
        if isinstance(seed, bool) or not hasattr(seed, "__index__"):
            raise DTypeError(f"a seed is a whole number, not {seed!r}")
        number = int(seed) % 2**64
        self._key = number & 0xFFFFFFFF, number >> 32
        self._counter = 0

    @property
    def state(self) -> tuple[int, int, int]:
        """Both words of the key and the counter: all that there is to save."""
        return (*self._key, self._counter)

    @state.setter
    def state(self, value: Any) -> None:
        self._refuse_in_trace("set")
        first, second, counter = map(int, value)
        self._key, self._counter = (first, second), counter % _CYCLE

    def take(self, words: int) -> tuple[tuple[int, int], int]:
        """(key, counter) of the next `words` words of bits, which nobody else will be given."""
        if state.draws is not None:
            return state.draws.take(self, words)
        return self._next(words)

    def _next(self, words: int) -> tuple[Any, int]:
        if state.tracer is not None:
            return state.tracer.take(self, words)
        with self._lock:
            counter = self._counter
            self._counter = (counter - (-words // 4)) % _CYCLE
            return self._key, counter

    def _refuse_in_trace(self, what: str) -> None:
        if state.tracer is not None:
            raise CompileError(
                f"a generator is {what} while a function is compiled, and would not be at its "
                "later calls. Do it before the call."
            )

    def split(self, n: int = 2) -> list[Generator]:
        """`n` generators whose streams have nothing to do with one another."""
        self._refuse_in_trace("split")
        key, counter = self.take(4 * n)
        found = []
        for first, second, *_ in bits(key, counter, 4 * n).reshape(n, 4).tolist():
            child = Generator()
            child._key = first, second
            found.append(child)
        return found


class Draws:
    """What is drawn while a function runs, so that the same can be drawn when it runs once more."""

    def __init__(self) -> None:
        self.found: list[tuple[Any, int]] = []
        self.again: Iterator[tuple[Any, int]] | None = None
        self._outer: Draws | None = None

    def take(self, generator: Generator, words: int) -> tuple[Any, int]:
        if self.again is not None:
            return next(self.again)
        outer = self._outer
        drawn = generator._next(words) if outer is None else outer.take(generator, words)
        self.found.append(drawn)
        return drawn

    @contextmanager
    def recorded(self) -> Iterator[None]:
        """What is drawn inside of the block is noted."""
        self._outer, state.draws = state.draws, self
        try:
            yield
        finally:
            state.draws = self._outer

    @contextmanager
    def replayed(self) -> Iterator[None]:
        """What is drawn inside of the block is what was noted; nothing is written to cells."""
        before, state.draws = state.draws, self
        self.again = iter(self.found)
        try:
            yield
        finally:
            state.draws, self.again = before, None


default = Generator(0)
"""What random operations draw from where no generator is given."""


@explained
def seed(seed: int) -> None:
    """Start the default generator from a seed: the same numbers come again.

    >>> import chainrule as cr
    >>> cr.seed(1); first = cr.random.uniform((2,))
    >>> cr.seed(1); bool((cr.random.uniform((2,)) == first).all())
    True
    """
    default.seed(seed)
