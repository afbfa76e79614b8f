"""Every registered operation compiled, against the same operation eager.

Elementwise operations are compared in units in the last place on hard numbers of every dtype, and
in every layout of memory; the others on the samples of their declarations, by the bound that
`comparing.assert_close` states; and so are the gradients of all that have one.
"""

import itertools

import mpmath
import numpy as np
import pytest

import chainrule as cr
from chainrule.compile.compiled import Compiled
from chainrule.errors import ChainruleError
from chainrule.ops.composite import Composite
from chainrule.ops.elementwise import Elementwise
from tests.compile.comparing import (
    ULPS,
    array,
    assert_close,
    assert_units,
    bounded,
    silent,
    units_apart,
)
from tests.compile.graphs import plain
from tests.compile.magnitudes import Bounded
from tests.ops.each import on_each
from tests.ops.test_registry import OURS, at, floats, put, samples


@pytest.fixture(autouse=True, scope="module")
def own_cache(tmp_path_factory):
    """Object code of this run alone."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("CHAINRULE_CACHE", str(tmp_path_factory.mktemp("cache")))
        yield


def both(function, *args):
    """(what a function of arrays gives compiled, what it gives eagerly), lists."""
    with silent():
        eager = function(*map(cr.asarray, args))
        mine = cr.compile(function)(*map(cr.asarray, args))
    return list(mine), list(eager)


def traced(function, *args):
    """The program of a function of arrays."""
    compiled = Compiled(function, backend=Bounded)
    with silent():
        compiled(*map(cr.asarray, args))
    return compiled._latest().program


# Elementwise: hard numbers in every dtype

DTYPES = ["float32", "float64", "float16", "bfloat16", "complex64", "complex128", "bool",
          "int8", "int16", "int32", "int64", "uint8", "uint16", "uint32", "uint64"]  # fmt: skip
ELEMENTWISE = {name: op for name, op in OURS.items() if isinstance(op, Elementwise)}


def hard_numbers(dtype, seed=0):
    """Numbers of all sizes, and those that are apt to go wrong; as many as fill no vectors."""
    rng = np.random.default_rng(seed)
    dtype = cr.tensor.dtypes.as_dtype(dtype)
    if dtype.kind == "b":
        return rng.random(37) > 0.5
    if dtype.kind in "iu":
        info = np.iinfo(dtype)
        edges = [0, 1, 2, 3, 7, info.min, info.min + 1, info.max, info.max - 1]
        return np.array([*edges, *rng.integers(info.min, info.max, 30, dtype)], dtype)
    if dtype.kind == "c":
        x = rng.standard_normal(41) + 1j * rng.standard_normal(41)
        return np.array([0, 1, -1, 1j, -1j, 3, 0.5, *x], dtype)
    info = np.finfo(dtype) if dtype.kind == "f" else None
    big = float(info.max) if info else 3e38
    small = float(info.smallest_normal) if info else 2.0**-126
    few = [0.0, 0.5, 1.0, 1.5, 2.0, 2.5, 3.0, 1e-3, 10.0, 89.0, 104.0, small, small / 4, big,
           np.inf, np.pi, np.pi / 2, 0.1, 4.0]  # fmt: skip
    drawn = [*rng.uniform(0, 4, 60), *np.exp2(rng.uniform(np.log2(small), np.log2(big), 60))]
    with silent():
        return np.array([*few, *(-x for x in few), np.nan, *drawn, *(-x for x in drawn)]).astype(
            dtype
        )


def pairs(dtype):
    """Two arrays in which all kinds of numbers meet."""
    x = hard_numbers(dtype)
    if len(x) > 60:
        meet = np.array(list(itertools.product(x[:39:2], x[:39:3])), x.dtype)
        rng = np.random.default_rng(1)
        a = np.concatenate([meet[:, 0], rng.permutation(x)])
        return a, np.concatenate([meet[:, 1], rng.permutation(x)])
    return x, np.random.default_rng(1).permutation(x)


def taken(op, *args):
    """Whether eager takes these operands."""
    try:
        with silent():
            op(*map(cr.asarray, args))
    except (ChainruleError, TypeError):
        return False
    return True


TRUTH = {"erfc": mpmath.erfc, "logaddexp": lambda a, b: mpmath.log(mpmath.exp(a) + mpmath.exp(b))}
"""Of what eager is not always right about."""


def assert_elementwise(op, found, wanted, args):
    found, wanted = array(found), array(wanted).copy()
    if wanted.dtype != found.dtype and found.dtype.itemsize == 2:
        wanted = wanted.astype(found.dtype)  # SciPy's functions widen halves
    if op.name in TRUTH and wanted.dtype in (np.float32, np.float64):
        for i in np.flatnonzero(units_apart(found, wanted) > ULPS):
            with mpmath.workdps(40):
                wanted[i] = TRUTH[op.name](*(mpmath.mpf(float(x[i])) for x in args))
    assert_units(found, wanted, what=f"{op.name} of {found.dtype}")
    if found.dtype in (np.float32, np.float64):
        zero = (found == 0) & (wanted == 0)
        assert (np.signbit(found) == np.signbit(wanted))[zero].all(), f"{op.name}: the sign of 0"


def batched(items, n):
    return [items[i : i + n] for i in range(0, len(items), n)]


@pytest.mark.parametrize("arity", [1, 2])
@pytest.mark.parametrize("dtype", DTYPES)
def test_elementwise(dtype, arity):
    args = pairs(dtype) if arity == 2 else (hard_numbers(dtype),)
    ops = [op for op in ELEMENTWISE.values() if op.arity == arity and taken(op, *args)]
    for some in batched(ops, 6):
        mine, eager = both(lambda *xs, some=some: [op(*xs) for op in some], *args)
        for op, found, wanted in zip(some, mine, eager, strict=True):
            assert_elementwise(op, found, wanted, args)


@pytest.mark.parametrize("target", DTYPES)
def test_conversions(target):
    for dtypes in batched(DTYPES, 5):
        args = [hard_numbers(d) for d in dtypes]
        if not target.startswith("complex"):
            args = [x for x in args if x.dtype.kind != "c"]
        if np.dtype(np.float32 if target == "bfloat16" else target).kind in "iu":
            # What no integer of the target can hold, C leaves open.
            args = [np.clip(np.nan_to_num(x), 0, 100) if x.dtype.kind in "fV" else x for x in args]
        mine, eager = both(lambda *xs: [cr.astype(x, target) for x in xs], *args)
        for found, wanted in zip(mine, eager, strict=True):
            assert_units(found, wanted, 0, f"astype to {target}")


# Elementwise: layouts of memory


def unaligned(x):
    """The same numbers at an odd address."""
    raw = np.frombuffer(b"?" + x.tobytes() + b"?", np.uint8)
    return np.frombuffer(raw, x.dtype, x.size, 1).reshape(x.shape)


LAYOUTS = {
    "packed": lambda x: x,
    "transposed": lambda x: x.T.copy().T,
    "backwards": lambda x: np.flip(np.flip(x).copy()),
    "every third": lambda x: np.repeat(x[..., None], 3, -1)[..., 1],
    "unaligned": unaligned,
}
SHAPES = [
    ((), ()), ((1,), ()), ((0,), (1,)), ((0, 3), (3,)), ((3, 0), (1, 1)), ((17,), (17,)),
    ((16,), (1,)), ((5, 33), (33,)), ((5, 33), (5, 1)), ((3, 1, 17), (5, 1)), ((1, 1, 1), (1,)),
    ((2, 1, 3, 1, 5), (4, 1, 7, 1)), ((2, 3, 2, 3, 2), (2, 3, 2)), ((7, 1), (1, 9)),
    ((2, 0, 3), (2, 1, 1)), ((1, 40), (4, 1)),
]  # fmt: skip


def laid_out(a, b, c):
    y = cr.where(c > 0, a * b + 1, cr.exp(a) - b)
    return [y, cr.flip(y).sum(), -a, cr.mean(y * y, axis=-1) if y.ndim and y.size else b]


@pytest.mark.parametrize("shapes", SHAPES, ids=str)
def test_layouts_of_memory(shapes):
    rng = np.random.default_rng(0)
    a, b = (rng.uniform(-2, 2, s).astype(np.float32) for s in shapes)
    c = rng.integers(-2, 2, np.broadcast_shapes(*shapes)).astype(np.int16)
    compiled = cr.compile(laid_out)
    eager = laid_out(*map(cr.asarray, (a, b, c)))
    exact, magnitudes = bounded(laid_out, a, b, c)
    for layout in LAYOUTS.values():
        mine = compiled(*(np.asarray(layout(x)) for x in (a, b, c)))
        assert_close(mine, eager, exact, magnitudes, 2)
    assert compiled.traces == 1


def test_what_is_spread_with_strides_of_zero():
    x = np.broadcast_to(np.float32([[1], [2]]), (2, 19))
    compiled = cr.compile(lambda x: (x + 1, x.sum(axis=0)))
    np.testing.assert_array_equal(compiled(x)[0].numpy(), x + 1)
    np.testing.assert_array_equal(compiled(x)[1].numpy(), x.sum(0))


# All other operations: on the declarations' samples

OTHERS = [
    pytest.param(op, args, kwargs, id=f"{name}-{i}")
    for name, op in OURS.items()
    if not isinstance(op, Elementwise)
    for i, (args, kwargs) in enumerate(samples(op))
]


def as_function(op, args, kwargs, dtype):
    """(the operation as a function of its floating-point operands, those operands)."""
    places = [p for p in floats(args) if not (op.name in ("getitem", "setitem") and p == (1,))]

    def function(*values):
        return [op(*put(args, places, values), **kwargs)]

    return function, [np.asarray(at(args, p)).astype(dtype) for p in places]


def assert_compiled(function, arrays):
    mine, eager = both(function, *arrays)
    exact, magnitudes = bounded(function, *arrays)
    dtype = arrays[0].dtype
    assert_close(mine, eager, exact, magnitudes, 4 if dtype == np.float32 else 16, dtype)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@on_each(OTHERS)
def test_on_samples(op, args, kwargs, dtype):
    function, arrays = as_function(op, args, kwargs, dtype)
    if arrays:
        assert_compiled(function, arrays)
    else:
        mine, eager = both(function)
        assert_units(mine[0], eager[0])


@pytest.mark.parametrize("dtype", ["int32", "bool", "float16", "complex64"])
@on_each(OTHERS)
def test_on_samples_of_other_dtypes(op, args, kwargs, dtype):
    function, arrays = as_function(op, args, kwargs, np.float64)
    finite = [np.nan_to_num(x, posinf=9, neginf=-9) for x in arrays]  # for integers, too
    arrays = [np.round(4 * x).astype(cr.tensor.dtypes.as_dtype(dtype)) for x in finite]
    if not arrays or not taken(function, *arrays):
        return
    if dtype == "complex64" and isinstance(op, Composite):
        return  # formulas for real numbers
    if op.name == "attention_gradient":
        return  # its last operand is what came out, not any number
    mine, eager = both(function, *arrays)
    found, wanted = array(mine[0]), array(eager[0])
    declared = traced(function, *arrays).outputs[0].dtype
    assert found.dtype == declared
    if wanted.dtype != declared:
        return  # a kernel of eager's that widens, against its own rule
    if wanted.dtype.kind in "fcV":
        eps = 2.0**-8 if dtype == "bfloat16" else 2.0**-11 if wanted.dtype.itemsize == 2 else 1e-6
        assert found.shape == wanted.shape
        wide = np.complex128 if wanted.dtype.kind == "c" else np.float64
        size = np.max(
            np.abs(wanted.astype(wide)), initial=0, where=np.isfinite(wanted.astype(wide))
        )
        np.testing.assert_allclose(found.astype(wide), wanted.astype(wide), 8 * eps, 8 * eps * size)
    else:
        assert_units(found, wanted)


SMOOTH = [case for case in OTHERS if case.values[0].differentiable]


def gradient(function, count):
    """The gradients of a function's results, with weights that differ from place to place."""

    def total(*xs):
        return sum(
            (y * cr.asarray(np.cos(np.arange(y.size)).reshape(y.shape).astype("f4"))).sum()
            for y in function(*xs)
            if y.dtype.kind == "f"
        )

    found = cr.grad(total, argnums=tuple(range(count)))
    return lambda *xs: list(found(*xs))


@on_each(SMOOTH)
def test_gradients(op, args, kwargs):
    function, arrays = as_function(op, args, kwargs, np.float32)
    if arrays and array(function(*map(cr.asarray, arrays))[0]).dtype.kind == "f":
        assert_compiled(gradient(function, len(arrays)), arrays)


@pytest.mark.parametrize("arity", [1, 2])
def test_gradients_of_elementwise_operations(arity):
    rng = np.random.default_rng(0)
    smooth = [
        op for op in ELEMENTWISE.values()
        if op.differentiable and op.arity == arity and op.accepts not in ("bool", "bits")
        and plain(op)  # the others are SciPy's in compiled code, too
    ]  # fmt: skip
    for some in batched(smooth, 6):
        # One operand after the other is drawn from the domain of the operation that it is for.
        arrays = [
            np.concatenate([op.domain[i].sample(rng, (19,)) for op in some]).astype(np.float32)
            for i in range(arity)
        ]

        def function(*xs, some=some):
            parts = [slice(19 * i, 19 * (i + 1)) for i in range(len(some))]
            return [op(*(x[p] for x in xs)) for op, p in zip(some, parts, strict=True)]

        assert_compiled(gradient(function, arity), arrays)
