"""Lanes against NumPy, bit for bit: memory, conversion, arithmetic, reductions."""

from __future__ import annotations

import warnings

import numpy as np
import pytest

from chainrule.compile.emit.lanes import I64, Lanes, Unsupported
from chainrule.compile.emit.vector import BOOL
from chainrule.tensor import dtypes
from tests.compile.running import elementwise, over_arrays

INTEGERS = ["int8", "uint8", "int16", "uint16", "int32", "uint32", "int64", "uint64"]
FLOATS = ["float16", "float32", "float64"]
HARD = [0.0, -0.0, 1.0, -1.0, 0.5, -0.5, 1.5, 2.5, -2.5, 3.7, -3.7, 1e-45, -1e-45, 1e30, -1e30]
ODD = [np.inf, -np.inf, np.nan, 300.0, -300.0, 7e4, 3e9, -3e9, 5e18, 1e19, 2.0**31, -(2.0**63)]


@pytest.fixture(autouse=True)
def _quiet():
    with np.errstate(all="ignore"), warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)
        yield


def values(dtype, seed=0):
    """Hard numbers of a dtype, and some at random; 97 of them, so that a tail is left."""
    rng = np.random.default_rng(seed)
    dtype = np.dtype(dtype)
    if dtype == BOOL:
        return rng.random(97) < 0.5
    if dtype.kind in "iu":
        info = np.iinfo(dtype)
        some = [0, 1, 2, 3, 7, info.min, info.max, info.max - 1, info.min + 1, info.max // 2]
        some += [-1, -2, -3] if dtype.kind == "i" else []
        drawn = rng.integers(info.min, info.max, 97, dtype=dtype, endpoint=True)
        drawn[: len(some)] = some
        drawn[60:] = rng.integers(0, 20, 37)
    else:
        hard = np.array(HARD + ODD).astype(dtype)
        drawn = np.concatenate([hard, (4 * rng.standard_normal(97 - hard.size)).astype(dtype)])
    rng.shuffle(drawn)
    return drawn


def same(found, expected):
    """Equal bit for bit, but for the sign and payload of NaN, and float16's sign of 0."""
    assert found.dtype == expected.dtype
    np.testing.assert_array_equal(found, expected)
    if expected.dtype.kind == "f" and expected.dtype.itemsize > 2:
        number = ~np.isnan(expected)
        np.testing.assert_array_equal(np.signbit(found[number]), np.signbit(expected[number]))


@pytest.mark.parametrize("width", [1, 4, 16])
@pytest.mark.parametrize("dtype", ["bool", "float16", "float32", "float64", "int8", "int64"])
def test_load_and_store(dtype, width):
    x = values(dtype)
    same(over_arrays(lambda lanes, v: v, [dtype], dtype, width)(x), x)


def test_bfloat16_rounds_to_even():
    bfloat16 = dtypes.bfloat16()
    x = values("float32")
    cast = over_arrays(
        lambda lanes, v: lanes.cast(v, dtypes.float32, bfloat16), ["float32"], bfloat16
    )
    np.testing.assert_array_equal(cast(x).astype(np.float32), x.astype(bfloat16).astype(np.float32))
    add = elementwise("add", bfloat16, 2)
    a, b = x.astype(bfloat16), values("float32", 1).astype(bfloat16)
    np.testing.assert_array_equal(add(a, b).astype(np.float32), (a + b).astype(np.float32))


@pytest.mark.parametrize("target", ["bool", *INTEGERS, *FLOATS])
@pytest.mark.parametrize("source", ["bool", *INTEGERS, *FLOATS])
def test_cast(source, target):
    x = values(source)
    f, t = np.dtype(source), np.dtype(target)
    if source == "float16":
        x = np.where(np.isfinite(x), x, 0)  # NumPy itself is of two minds there
    found = over_arrays(lambda lanes, v: lanes.cast(v, f, t), [f], t)(x)
    if target == "float16" and source in ("int64", "uint64", "int32", "uint32"):
        x = x.astype(np.float32)  # NumPy too rounds twice, but not everywhere by the same way
    same(found, x.astype(target))


UNARY = {
    "negative": np.negative, "positive": np.positive, "abs": np.abs, "sign": np.sign,
    "floor": np.floor, "ceil": np.ceil, "round": np.round, "trunc": np.trunc,
    "square": np.square, "isnan": np.isnan, "isinf": np.isinf, "isfinite": np.isfinite,
    "relu": lambda x: np.maximum(x, np.zeros_like(x)),
}  # fmt: skip
OF_FLOATS = {
    "reciprocal": np.reciprocal, "sqrt": np.sqrt,
    "rsqrt": lambda x: 1 / np.sqrt(x),
}  # fmt: skip


def floor_divide(a, b):
    """NumPy's; of infinities what division gives, as the Array API standard has it."""
    y = np.floor_divide(a, b)
    if y.dtype.kind != "f":
        return y
    return np.where(np.isinf(a) | np.isinf(b), np.divide(a, b), y).astype(y.dtype)


BINARY = {
    "add": np.add, "subtract": np.subtract, "multiply": np.multiply,
    "floor_divide": floor_divide, "remainder": np.remainder,
    "maximum": np.maximum, "minimum": np.minimum,
    "equal": np.equal, "not_equal": np.not_equal, "less": np.less,
    "less_equal": np.less_equal, "greater": np.greater, "greater_equal": np.greater_equal,
}  # fmt: skip
BITS = {
    "bitwise_and": np.bitwise_and, "bitwise_or": np.bitwise_or, "bitwise_xor": np.bitwise_xor,
}  # fmt: skip


@pytest.mark.parametrize("dtype", ["int8", "uint32", "int64", *FLOATS])
@pytest.mark.parametrize("name", [*UNARY, *OF_FLOATS])
def test_unary(name, dtype):
    x = values(dtype)
    if name in OF_FLOATS and x.dtype.kind != "f":
        with pytest.raises(Unsupported):
            elementwise(name, dtype, 1)
        return
    expected = {**UNARY, **OF_FLOATS}[name](x)
    if dtype == "float16" and name == "rsqrt":
        expected = (1 / np.sqrt(x.astype(np.float32))).astype(np.float16)
    same(elementwise(name, dtype, 1, expected.dtype)(x), expected)


@pytest.mark.parametrize("dtype", ["int8", "uint8", "int32", "int64", "uint64", *FLOATS])
@pytest.mark.parametrize("name", BINARY)
def test_binary(name, dtype):
    a, b = (x.ravel() for x in np.meshgrid(values(dtype), values(dtype, 1)))
    if dtype == "float16" and name in ("floor_divide", "remainder"):
        expected = BINARY[name](a.astype(np.float32), b.astype(np.float32)).astype(dtype)
    else:
        expected = BINARY[name](a, b)
    same(elementwise(name, dtype, 2, expected.dtype)(a, b), expected)


def test_divide():
    a, b = (x.ravel() for x in np.meshgrid(values("float32"), values("float32", 1)))
    same(elementwise("divide", "float32", 2)(a, b), a / b)


@pytest.mark.parametrize("dtype", ["bool", "int32", "uint8"])
@pytest.mark.parametrize("name", BITS)
def test_bits(name, dtype):
    a, b = values(dtype), values(dtype, 1)
    same(elementwise(name, dtype, 2)(a, b), BITS[name](a, b))


def test_logic():
    a, b = values("bool"), values("bool", 1)
    for name in ("logical_and", "logical_or", "logical_xor", "equal", "maximum", "less"):
        same(elementwise(name, "bool", 2)(a, b), getattr(np, name)(a, b))
    same(elementwise("logical_not", "bool", 1)(a), ~a)
    same(elementwise("bitwise_invert", "int32", 1)(values("int32")), ~values("int32"))


@pytest.mark.parametrize("width", [1, 16])
def test_a_user_writes_an_operation_of_vectors(width):
    run = elementwise(lambda lanes, x: x * x + 1, "float32", 1, width=width)
    x = np.linspace(-2, 2, 50, dtype=np.float32)
    same(run(x), x * x + 1)


@pytest.mark.parametrize("width", [1, 4, 16])
@pytest.mark.parametrize("dtype", ["float32", "int64", "bool", "int8"])
def test_gather_and_scatter(dtype, width):
    x = values(dtype)
    index = np.random.default_rng(3).permutation(97)
    kind = np.dtype(dtype)

    def reversed_elements(lanes, i, v):
        # Lane l of a turn reads its element through the addresses of the operand itself.
        base = lanes.builder.function.args[1]
        places = lanes.builder.add(lanes.splat(i), lanes.iota(dtypes.int64))
        mask = lanes.mask_first(lanes.builder.sub(lanes.builder.function.args[0], i))
        index = lanes.gather(lanes.builder.function.args[2], places, dtypes.int64, mask)
        return lanes.gather(base, index, kind, mask)

    def body(lanes, i, v, w):
        return reversed_elements(lanes, i, v)

    body.wants_index = True
    same(over_arrays(body, [dtype, "int64"], dtype, width)(x, index), x[index])


@pytest.mark.parametrize("width", [1, 4, 8, 16])
@pytest.mark.parametrize("dtype", ["float32", "float64", "int64", "int8"])
@pytest.mark.parametrize("name", ["add", "multiply", "maximum", "minimum"])
def test_reduction_over_lanes(name, dtype, width):
    x = values(dtype)[: 96 // width * width]
    kind = np.dtype(dtype)

    def body(lanes: Lanes, v):
        return lanes.splat(lanes.reduce(name, v, kind))

    found = over_arrays(body, [dtype], dtype, width)(x)[::width]
    halves = x.reshape(-1, width)
    while halves.shape[1] > 1:
        half = halves.shape[1] // 2
        halves = getattr(np, name)(halves[:, :half], halves[:, half:])
    same(found, halves[:, 0].astype(dtype))


@pytest.mark.parametrize("width", [1, 4, 16])
def test_reduction_of_masks(width):
    x = np.repeat([True, False, True], [32, 32, 16])
    x[-1] = False
    for name, expected in (("reduce_and", np.all), ("reduce_or", np.any)):
        run = over_arrays(
            lambda lanes, v, name=name: lanes.splat(getattr(lanes, name)(v)),
            ["bool"],
            "bool",
            width,
        )
        same(run(x)[::width], expected(x.reshape(-1, width), axis=1))


def test_mask_of_no_lane_and_of_all():
    def body(lanes, i, v):
        count = lanes.builder.sub(I64(20), i)
        return lanes.select(lanes.mask_first(count), v, lanes.constant(-1, dtypes.int32))

    body.wants_index = True
    x = np.arange(64, dtype=np.int32)
    same(over_arrays(body, ["int32"], "int32")(x), np.where(x < 20, x, -1).astype(np.int32))
