"""split: a partition, stratified as exactly as whole rows allow, a function of the seed."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split

from chainrule.data import split
from chainrule.errors import DataError

SHARES = st.sampled_from([(0.6, 0.2, 0.2), (0.8, 0, 0.2), (0.64, 0.16, 0.2), (1 / 3, 1 / 3, 1 / 3)])


def check_partition(parts, n):
    rows = np.concatenate(parts)
    assert len(rows) == n
    assert (np.sort(rows) == np.arange(n)).all()
    for part in parts:
        assert part.dtype == np.int64
        assert (np.diff(part) > 0).all()


@given(st.integers(3, 300), SHARES, st.integers(0, 2**64))
def test_a_plain_split_is_a_partition_in_the_fractions(n, fractions, seed):
    parts = split(n, fractions=fractions, seed=seed)
    check_partition(parts, n)
    for part, fraction in zip(parts, fractions, strict=True):
        assert abs(len(part) - n * fraction) < 1 or (n < 5 and len(part) == 1)
        assert bool(len(part)) == bool(fraction)
    for part, again in zip(parts, split(n, fractions=fractions, seed=seed), strict=True):
        assert (part == again).all()


@given(st.lists(st.integers(2, 12), min_size=1, max_size=25), SHARES, st.integers(0, 100))
def test_a_stratified_split_is_exact_to_one_row(sizes, fractions, seed):
    labels = np.random.default_rng(seed).permutation(np.repeat(np.arange(len(sizes)), sizes))
    n = len(labels)
    if n < 5:
        return
    parts = split(n, stratify=labels, fractions=fractions, seed=seed)
    check_partition(parts, n)
    for part, fraction in zip(parts, fractions, strict=True):
        counts = np.bincount(labels[part], minlength=len(sizes))
        assert (np.abs(counts - np.array(sizes) * fraction) < 1 + 1e-9).all()
        # Classes whose share of training is less than a row get a whole one there.
        if min(sizes) * fractions[0] >= 1 and n >= 6:
            assert abs(len(part) - n * fraction) < 1 + 1e-9
        assert bool(len(part)) == bool(fraction)
    assert (np.bincount(labels[parts.train], minlength=len(sizes)) > 0).all()


def test_against_scikit_learn_on_digits():
    y = load_digits().target
    ours = split(len(y), stratify=y, fractions=(0.8, 0, 0.2), seed=3)
    train, test = train_test_split(np.arange(len(y)), test_size=0.2, stratify=y, random_state=3)
    assert abs(len(ours.test) - len(test)) <= 1
    for mine, theirs in ((ours.train, train), (ours.test, test)):
        assert np.abs(np.bincount(y[mine]) - np.bincount(y[theirs])).max() <= 1


def test_text_labels():
    parts = split(20, stratify=["b", "a"] * 10)
    assert [len(part) for part in parts] == [12, 4, 4]


def test_seeds_give_different_rows_and_every_row_is_drawn_alike():
    splits = [split(50, seed=seed).test for seed in range(400)]
    assert len({rows.tobytes() for rows in splits}) > 390
    drawn = np.bincount(np.concatenate(splits), minlength=50)
    # Each row is in the test 80 times of 400, with a standard deviation of 8.
    assert (np.abs(drawn - 80) < 5 * 8).all()


def test_a_class_with_one_row_is_trained_on():
    labels = [0] * 9 + [1]
    for seed in range(20):
        assert 9 in split(10, stratify=labels, seed=seed).train


def test_a_class_is_not_taken_out_of_training_to_fill_another_part():
    labels = np.array([0, 0, 1])
    assert set(labels[split(3, stratify=labels).train]) == {0, 1}


def test_training_keeps_a_row_of_each_class_though_its_fraction_is_small():
    labels = np.repeat(np.arange(4), 3)
    parts = split(12, stratify=labels, fractions=(0.1, 0.1, 0.8))
    assert np.bincount(labels[parts.train]).tolist() == [1, 1, 1, 1]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"n": 2}, "2 rows cannot be split into 3 parts"),
        ({"n": 1}, "1 row cannot be split into 3 parts"),
        ({"n": 10, "fractions": (0.5, 0.2, 0.2)}, "add up to 1"),
        ({"n": 10, "fractions": (1.2, -0.2, 0)}, "add up to 1"),
        ({"n": 10, "fractions": (0, 0.5, 0.5)}, "the first of them not 0"),
        ({"n": 10, "fractions": (0.5, 0.5)}, "three numbers"),
        ({"n": 10, "stratify": [0, 1]}, "stratify has 2 labels for 10 rows"),
        ({"n": 10, "seed": -1}, "the seed is -1"),
        ({"n": 10, "seed": 0.5}, "the seed is 0.5"),
    ],
)
def test_splits_that_cannot_be_made(arguments, message):
    with pytest.raises(DataError, match=message):
        split(**arguments)
