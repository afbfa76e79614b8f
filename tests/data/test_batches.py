"""Batches: every row once an epoch, in an order that seed and epoch alone decide."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from chainrule.data import Batches
from chainrule.errors import DataError


@given(
    n=st.integers(1, 60),
    batch_size=st.integers(1, 70),
    shuffle=st.booleans(),
    seed=st.integers(0, 2**70),
    epoch=st.integers(0, 5),
)
def test_an_epoch_has_every_row_once(n, batch_size, shuffle, seed, epoch):
    x, y = np.arange(2 * n).reshape(n, 2), np.arange(n)
    batches = Batches((x, y), batch_size, shuffle=shuffle, seed=seed)
    seen = list(batches.epoch(epoch))
    assert len(seen) == len(batches) == -(-n // batch_size)
    assert all(len(rows) == batch_size for rows, _ in seen[:-1])
    rows, labels = (np.concatenate(part) for part in zip(*seen, strict=True))
    assert (np.sort(labels) == y).all()
    assert (rows == x[labels]).all()
    if not shuffle:
        assert (labels == y).all()


@given(st.integers(1, 60), st.integers(1, 60), st.integers(0, 100))
def test_drop_last_gives_whole_batches_of_the_same_order(n, batch_size, seed):
    y = np.arange(n)
    if batch_size > n:
        with pytest.raises(DataError, match=r"rows give no batch of .* with drop_last=True"):
            Batches((y,), batch_size, drop_last=True)
        return
    whole = [b for (b,) in Batches((y,), batch_size, seed=seed, drop_last=True)]
    every = [b for (b,) in Batches((y,), batch_size, seed=seed)]
    assert len(whole) == n // batch_size == len(Batches((y,), batch_size, drop_last=True))
    for a, b in zip(whole, every, strict=False):
        assert len(a) == batch_size
        assert (a == b).all()


def order(batches, epoch):
    return np.concatenate([labels for (labels,) in batches.epoch(epoch)])


def test_epochs_differ_and_come_again():
    y = np.arange(100)
    batches = Batches((y,), 7, seed=5)
    epochs = [order(batches, k) for k in range(3)]
    assert not (epochs[0] == epochs[1]).all()
    assert not (order(Batches((y,), 7, seed=6), 0) == epochs[0]).all()
    assert not (order(Batches((y,), 7, seed=6), 0) == epochs[1]).all()
    # Taken up at epoch 2, in another order and batch size, as after a run that was stopped.
    assert (order(Batches((y,), 9, seed=5), 2) == epochs[2]).all()
    for epoch in epochs:
        assert (np.concatenate([labels for (labels,) in batches]) == epoch).all()


def test_without_shuffling_the_batches_are_views():
    x = np.zeros((10, 3))
    assert all(np.shares_memory(rows, x) for (rows,) in Batches((x,), 4, shuffle=False))


@pytest.mark.parametrize(
    ("arrays", "batch_size", "message"),
    [
        ((), 2, "the same number of rows"),
        ((np.zeros(3), np.zeros(4)), 2, r"these have \[3, 4\]"),
        ((np.zeros(3),), 0, "batch_size is 0"),
        ((np.zeros(3),), 1.5, "batch_size is 1.5"),
        ((np.zeros(0),), 4, "0 rows give no batch of 4"),
    ],
)
def test_batches_that_cannot_be_made(arrays, batch_size, message):
    with pytest.raises(DataError, match=message):
        Batches(arrays, batch_size)


def test_a_seed_that_is_none():
    with pytest.raises(DataError, match="the seed is -3"):
        Batches((np.zeros(3),), 2, seed=-3)
