"""Batches: minibatches of arrays, in an order that is a function of seed and epoch alone."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np

from chainrule.data.splits import generator
from chainrule.errors import DataError
from chainrule.tensor.locate import Explained


class Batches(Explained):
    """Minibatches of several equally long arrays, reshuffled in every epoch.

    `batches.epoch(k)` gives the batches of epoch k, always the same ones for the same seed, so that
    a run can be taken up where it stopped. A plain `for` over the object goes through epoch 0, the
    next one through epoch 1, and so on. Each batch is a tuple of arrays of shape (batch_size, ...),
    the last one smaller unless `drop_last`. Without `shuffle` they are views in the arrays' order.

    Raises DataError for arrays of different lengths and for a batch size that gives no batch.

    >>> x = np.arange(6).reshape(3, 2)
    >>> for rows, names in Batches((x, np.array(["a", "b", "c"])), batch_size=2, shuffle=False):
    ...     print(rows.shape, names)
    (2, 2) ['a' 'b']
    (1, 2) ['c']
    """

    def __init__(
        self,
        arrays: Sequence[np.ndarray],
        batch_size: int,
        shuffle: bool = True,
        seed: int = 0,
        drop_last: bool = False,
    ) -> None:
        self.arrays = tuple(map(np.asarray, arrays))
        self.batch_size, self.shuffle, self.seed, self.drop_last = (
            batch_size,
            shuffle,
            seed,
            drop_last,
        )
        self.next_epoch = 0
        lengths = [len(array) for array in self.arrays]
        if not lengths or len(set(lengths)) > 1:
            raise DataError(
                f"batches are taken from arrays of the same number of rows; these have {lengths}"
            )
        self.rows = lengths[0]
        if not isinstance(batch_size, (int, np.integer)) or batch_size < 1:
            raise DataError(f"batch_size is {batch_size!r}; it must be a whole number, 1 or more")
        if not len(self):
            raise DataError(
                f"{self.rows} rows give no batch of {batch_size}"
                + (" with drop_last=True, which leaves out the incomplete one" if drop_last else "")
            )
        generator(seed)

    def __len__(self) -> int:
        """The number of batches in an epoch."""
        whole, rest = divmod(self.rows, self.batch_size)
        return whole + (rest > 0 and not self.drop_last)

    def __iter__(self) -> Iterator[tuple[np.ndarray, ...]]:
        self.next_epoch += 1
        return self.epoch(self.next_epoch - 1)

    def epoch(self, number: int) -> Iterator[tuple[np.ndarray, ...]]:
        """The batches of epoch `number`, counted from 0."""
        starts = range(0, len(self) * self.batch_size, self.batch_size)
        if not self.shuffle:
            for start in starts:
                yield tuple(array[start : start + self.batch_size] for array in self.arrays)
            return
        order = generator(self.seed, number).permutation(self.rows)
        for start in starts:
            rows = order[start : start + self.batch_size]
            yield tuple(array.take(rows, axis=0) for array in self.arrays)
