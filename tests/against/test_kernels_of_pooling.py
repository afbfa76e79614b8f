"""Max pooling kernels against PyTorch, and against NumPy where windows look beyond the edge."""

import dataclasses

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from chainrule.compile.emit.pooling import Pooling, max_pool, pick, spread
from chainrule.compile.machine import machine
from chainrule.ops.pooling import place_dtype, pool_pick, pool_places, pool_spread
from tests.compile.routines import run

FLOAT, DOUBLE = np.dtype(np.float32), np.dtype(np.float64)


def last(x):
    """Channels last."""
    return np.ascontiguousarray(np.moveaxis(x, 1, -1))


def first(x):
    return np.moveaxis(x, -1, 1)


def window(of):
    return {
        "kernel": of.kernel, "stride": of.stride, "dilation": of.dilation, "padding": of.padding,
    }  # fmt: skip


def image(of, seed=0):
    """Few different numbers, so that windows have several largest."""
    rng = np.random.default_rng(seed)
    return rng.integers(-4, 4, (of.images, of.channels, *of.size)).astype(of.dtype)


def check(of, x, on=None):
    """The three kernels against the operations' own forward passes, exactly."""
    on = on or machine()
    shape = (of.images, of.channels, *of.places)
    which = pool_places(x, **window(of)).numpy()
    assert which.shape == shape
    assert which.dtype == of.which
    empty = {"which": np.zeros_like(last(which)), "y": np.full(last(which).shape, 7, of.dtype)}
    found = run(max_pool(of, on), {"x": last(x), **empty})
    np.testing.assert_array_equal(first(found["which"]), which)
    np.testing.assert_array_equal(first(found["y"]), pool_pick(x, which, **window(of)).numpy())
    v = np.random.default_rng(1).standard_normal(x.shape).astype(of.dtype)
    found = run(pick(of, on), {"x": last(v), "which": last(which), "y": empty["y"]})
    np.testing.assert_array_equal(first(found["y"]), pool_pick(v, which, **window(of)).numpy())
    g = np.random.default_rng(2).integers(-9, 9, shape).astype(of.dtype)
    empty = np.full(last(x).shape, 7, of.dtype)
    found = run(spread(of, on), {"g": last(g), "which": last(which), "dx": empty})
    wanted = pool_spread(g, which, size=of.size, **window(of)).numpy()
    np.testing.assert_array_equal(first(found["dx"]), wanted)


BASE = Pooling(FLOAT, np.dtype(np.uint8), 2, (8, 12), 21, (2, 2), (2, 2))
CASES = {
    "tiles": {},
    "float64": {"dtype": DOUBLE},
    "whole vectors": {"channels": 32, "images": 20},
    "one channel": {"channels": 1},
    "rows and columns left over": {"size": (9, 13)},
    "overlapping": {"kernel": (3, 3), "size": (9, 13)},
    "overlapping and padded": {"kernel": (3, 3), "padding": ((1, 1), (1, 1))},
    "far apart": {"kernel": (2, 2), "stride": (3, 4)},
    "dilated": {"dilation": (2, 3), "padding": ((1, 0), (1, 1)), "stride": (1, 2)},
    "hanging over": {"size": (7, 9), "padding": ((0, 1), (0, 1))},
    "a large window": {"kernel": (5, 4), "stride": (1, 1)},
    "a window of more than 256": {"kernel": (17, 16), "size": (20, 20), "stride": (2, 2),
                                  "which": np.dtype(np.uint16)},
    "no image": {"images": 0},
}  # fmt: skip


@pytest.mark.parametrize("changes", CASES.values(), ids=CASES)
def test_against_the_operations(changes):
    of = dataclasses.replace(BASE, **changes)
    check(of, image(of))


@pytest.mark.parametrize("lanes", [4, 8])
def test_with_the_vectors_of_another_machine(lanes):
    of = dataclasses.replace(BASE, kernel=(3, 3), padding=((1, 1), (1, 1)))
    check(of, image(of), dataclasses.replace(machine(), lanes=lanes, vector_bits=32 * lanes))


@st.composite
def poolings(draw):
    def two(low, high):
        number = st.integers(low, high)
        return draw(number), draw(number)

    kernel = two(1, 4)
    padding = tuple((draw(st.integers(0, k // 2)), draw(st.integers(0, k // 2))) for k in kernel)
    size = tuple(k + draw(st.integers(0, 12)) for k in kernel)
    return Pooling(
        draw(st.sampled_from([FLOAT, DOUBLE])), place_dtype(kernel), draw(st.integers(0, 3)), size,
        draw(st.integers(1, 40)), kernel, two(1, 4), (1, 1), padding,
    )  # fmt: skip


@settings(max_examples=15, deadline=None)
@given(poolings())
def test_any_pooling_against_the_operations(of):
    check(of, image(of))


def test_against_pytorch_with_nan_and_infinity():
    of = dataclasses.replace(BASE, kernel=(3, 2), stride=(2, 1), padding=((1, 1), (1, 1)))
    x = image(of)
    x[0, ::2, 3, 4], x[1, 3] = np.nan, -np.inf
    y, places = torch.nn.functional.max_pool2d(
        torch.tensor(x), of.kernel, of.stride, padding=1, return_indices=True
    )
    which = np.zeros(last(y.numpy()).shape, np.uint8)
    found = run(
        max_pool(of, machine()), {"x": last(x), "which": which, "y": np.zeros_like(last(y.numpy()))}
    )
    np.testing.assert_array_equal(first(found["y"]), y.numpy())
    # PyTorch numbers the pixels of the image, and not those of the window.
    row, column = np.divmod(first(found["which"]).astype(int), of.kernel[1])
    rows, columns = (np.arange(n) for n in of.places)
    row = row + rows[:, None] * of.stride[0] - 1
    np.testing.assert_array_equal(row * of.size[1] + column + columns - 1, places.numpy())
