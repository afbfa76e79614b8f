"""Random numbers in lanes against the generator and the random operations, bit for bit."""

from __future__ import annotations

import numpy as np
import pytest

from chainrule.compile.emit import philox
from chainrule.compile.emit.lanes import I32, I64
from chainrule.ops.random import _keep, _normal, _unit
from chainrule.tensor import generator
from tests.compile.running import over_arrays

KEY = 0xDEADBEEF, 0x12345678
KEY_VALUES = tuple(I32(k) for k in KEY)
COUNTERS = [0, 5, 2**32 - 3, 2**40 + 7]
COUNT = 203


def draw(emit, counter, dtype, width, start=0):
    """What emit(lanes, key, counter, index) gives for the numbers from `start` on."""

    def body(lanes, i, _):
        index = lanes.builder.add(i, I64(start))
        return emit(lanes, KEY_VALUES, I64(counter), index)

    body.wants_index = True
    return over_arrays(body, ["int8"], dtype, width)(np.zeros(COUNT, np.int8))


@pytest.mark.parametrize("width", [1, 4, 8, 16])
@pytest.mark.parametrize("counter", COUNTERS)
def test_words(counter, width):
    expected = generator.bits(KEY, counter, COUNT + 12)
    for start, aligned in ((0, True), (0, False), (12, True), (5, False)):
        found = draw(
            lambda *args, aligned=aligned: philox.random_words(*args, aligned=aligned),
            counter, "uint32", width, start,
        )  # fmt: skip
        np.testing.assert_array_equal(found, expected[start : start + COUNT])


@pytest.mark.parametrize("aligned", [False, True])
@pytest.mark.parametrize("width", [1, 4, 16])
@pytest.mark.parametrize("dtype", ["float16", "float32", "float64"])
def test_uniform(dtype, width, aligned):
    kind = np.dtype(dtype)
    found = draw(lambda *args: philox.uniform(*args, kind, aligned), 11, kind, width)
    np.testing.assert_array_equal(found, _unit(KEY, 11, COUNT, kind))


@pytest.mark.parametrize("p", [0.0, 0.3, 0.9999999999, 1.0])
@pytest.mark.parametrize("width", [1, 16])
def test_keep(p, width):
    found = draw(lambda *args: philox.keep(*args, p, aligned=True), 3, "bool", width)
    np.testing.assert_array_equal(found, _keep(key=KEY, counter=3, shape=(COUNT,), p=p))


@pytest.mark.parametrize("width", [1, 16])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_normal(dtype, width):
    kind = np.dtype(dtype)
    half = I64((COUNT + 1) // 2)
    found = draw(lambda *args: philox.normal(*args, half, kind), 9, kind, width)
    expected = _normal(key=KEY, counter=9, shape=(COUNT,), dtype=kind)
    np.testing.assert_allclose(found, expected, rtol=8 * np.finfo(kind).eps, atol=1e-7**2)
