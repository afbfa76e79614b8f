"""Every registered operation, on all of its samples: its parts, its value, its derivatives.

The samples and domains are the declarations' own. Values are compared with NumPy and SciPy
(`references.py`) and with the declared formula, evaluated by code that the operations do not share;
derivatives with differences of the forward pass, in float64 along random directions.
"""

import importlib
import pkgutil

import numpy as np
import pytest

import chainrule as cr
import chainrule.ops
from chainrule.ops.composite import Composite
from chainrule.ops.declare import ConstantOp, elementwise
from chainrule.ops.elementwise import Elementwise
from chainrule.ops.operation import registry
from chainrule.tensor.graph import FULL, OFF, leaf, recording
from chainrule.tensor.tensor import Tensor
from tests.ops.each import on_each
from tests.ops.references import REFERENCES

for info in pkgutil.iter_modules(chainrule.ops.__path__):
    importlib.import_module(f"chainrule.ops.{info.name}")
OURS = {n: op for n, op in registry.items() if op.__module__.startswith("chainrule.")}


# Samples


def elementwise_samples(op, seed=0):
    rng = np.random.default_rng(seed)
    if op.accepts == "bool":
        return [tuple(rng.random((2, 3)) > 0.5 for _ in range(op.arity))]
    if op.accepts in ("bits", "integer"):
        return [tuple(rng.integers(0, 9, (2, 3)) for _ in range(op.arity))]
    draw = [lambda shape, d=d: d.sample(rng, shape) for d in op.domain]
    shapes = [[(2, 3)], [()], [(0, 3)], [(4,)]]
    if op.arity > 1:
        shapes += [[(2, 1), (3,)], [(), (2, 2)], [(1, 3), (2, 3)]]
    found = [tuple(d(s[i % len(s)]) for i, d in enumerate(draw)) for s in shapes]
    found.append(tuple(d((6, 4))[::2, ::-1].T for d in draw))  # strided
    return found


def samples(op):
    if isinstance(op, Elementwise):
        return [(args, {}) for args in elementwise_samples(op)]
    return list(op.samples()) if op.samples is not None else []


CASES = [
    pytest.param(op, args, kwargs, id=f"{name}-{i}")
    for name, op in sorted(OURS.items())
    for i, (args, kwargs) in enumerate(samples(op))
]
SMOOTH = [case for case in CASES if case.values[0].differentiable]


def floats(args):
    """The places of the floating-point arrays among the arguments, in a list of them too."""
    for i, a in enumerate(args):
        if isinstance(a, np.ndarray) and a.dtype.kind == "f":
            yield (i,)
        elif isinstance(a, (list, tuple)):
            for j, b in enumerate(a):
                if isinstance(b, np.ndarray) and b.dtype.kind == "f":
                    yield (i, j)


def at(args, place):
    for i in place:
        args = args[i]
    return args


def put(args, places, values):
    """The arguments with other values at these places."""
    result = [list(a) if isinstance(a, (list, tuple)) else a for a in args]
    for place, value in zip(places, values, strict=True):
        if len(place) == 1:
            result[place[0]] = value
        else:
            result[place[0]][place[1]] = value
    return [tuple(r) if isinstance(a, tuple) else r for r, a in zip(result, args, strict=True)]


def function(op, args, kwargs):
    """(f of the floating-point arrays, those arrays)."""
    places = list(floats(args))

    def f(*values):
        return op(*put(args, places, values), **kwargs)

    return f, [np.array(at(args, place)) for place in places]


def direction(rng, x):
    v = rng.standard_normal(x.shape)
    return v / max(np.linalg.norm(v), 1e-300) if v.size else v


def difference(f, xs, vs, h=1e-4):
    """d/dt f(x + t v) at 0 by the five-point stencil, with an error of h⁴."""

    def value(t):
        # As arrays: a sum of zero dimensions is NumPy's scalar, which counts as a plain number.
        return np.asarray(f(*[np.asarray(x + t * v) for x, v in zip(xs, vs, strict=True)]))

    return (8 * (value(h) - value(-h)) - (value(2 * h) - value(-2 * h))) / (12 * h)


def close(found, wanted, rtol=1e-7, atol=1e-8):
    np.testing.assert_allclose(np.asarray(found), np.asarray(wanted), rtol, atol)


# Parts


def missing_parts(op):
    """What a declaration lacks."""
    missing = []
    try:
        op.formula.plain(), op.formula.latex(), op.formula.mathml()
        if not op.formula_text:
            missing.append("formula")
    except Exception as error:
        missing.append(f"formula that can be read ({error})")
    if not samples(op):
        missing.append("samples")
    if not isinstance(op, ConstantOp):
        derivative = ("derivative", "transpose", "vjp", "definition")
        has = any(getattr(op, part, None) for part in derivative)
        if not has and not (isinstance(op, Elementwise) and op.derivative == ()):
            missing.append("derivative")
    elif not op.reason:
        missing.append("reason for having no derivative")
    if not op.__doc__:
        missing.append("docstring")
    if not isinstance(op, Composite) and not op.lower:
        missing.append("lowering")
    if op.display_only and op.name not in REFERENCES:
        missing.append("reference for a formula that is only shown")
    return missing


@pytest.mark.parametrize("op", OURS.values(), ids=OURS)
def test_every_part_is_declared(op):
    assert missing_parts(op) == [], f"`{op.name}` lacks {', '.join(missing_parts(op))}"


@pytest.fixture
def declare():
    """Declare operations that are forgotten afterwards."""
    before = dict(registry)
    yield elementwise
    registry.clear()
    registry.update(before)


def test_a_missing_part_is_seen(declare):
    bare = declare("bare", np.tanh, formula="", derivative=lambda x, y: 1 - y * y)
    found = missing_parts(bare)
    assert any("formula" in part for part in found)
    assert "docstring" in found


def test_a_wrong_derivative_is_seen(declare):
    wrong = declare("wrong", np.tanh, formula="tanh(x)", derivative=lambda x, y: 1 + y * y)
    with pytest.raises(AssertionError):
        test_reverse_against_differences.__wrapped__(wrong, (np.array([0.3, -1.0]),), {})


def test_a_wrong_formula_is_seen(declare):
    wrong = declare("wrong", np.tanh, formula="sinh(x)", derivative=lambda x, y: 1 - y * y)
    with pytest.raises(AssertionError):
        test_forward_against_the_formula.__wrapped__(wrong, (np.array([0.3, -1.0]),), {})


def test_a_derivative_that_is_wrong_in_second_order_is_seen(declare):
    # Right in value, but cut off from x: the derivative's own derivative is lost.
    cut = declare("cut", np.exp, formula="exp(x)", derivative=lambda x, y: cr.stop_gradient(y))
    with pytest.raises(AssertionError):
        test_second_derivative.__wrapped__(cut, (np.array([0.3, -1.0]),), {})


# Values


# A formula that is only shown has a reference instead: `missing_parts` sees to it.
@on_each([c for c in CASES if not c.values[0].display_only])
def test_forward_against_the_formula(op, args, kwargs):
    with recording(FULL):
        y = op(*args, **kwargs)
    node = y._node
    arrays = node.saved[: len(node.inputs)]
    if op.formula_view is not None:
        operands, result = op.formula_view(*arrays, y=node.value, **node.attrs)
    else:
        operands, result = dict(zip(op.operand_names, arrays, strict=False)), node.value
    wanted = op.formula.evaluate(operands, result.shape)
    close(result, wanted, 1e-12, 1e-13 * max(1.0, np.max(np.abs(wanted), initial=0.0)))


@on_each([c for c in CASES if c.values[0].name in REFERENCES])
def test_forward_against_numpy_and_scipy(op, args, kwargs):
    found, wanted = op(*args, **kwargs), np.asarray(REFERENCES[op.name](*args, **kwargs))
    assert found.shape == wanted.shape
    eps = 1e-12 if found.dtype != np.float32 else 1e-6
    close(found, wanted, eps, eps / 10)


EXTREME = [
    pytest.param(op, id=name)
    for name, op in sorted(OURS.items())
    if isinstance(op, Elementwise)
    and name in REFERENCES
    and op.accepts not in ("bool", "bits")
    and op.arity == 1
]


@pytest.mark.parametrize("op", EXTREME)
def test_extreme_values(op):
    x = np.array(op.domain[0].extremes)
    with np.errstate(all="ignore"):
        wanted = REFERENCES[op.name](x)
    close(op(x), wanted, 1e-12, 1e-300)


@on_each(CASES)
def test_traced_shape_and_dtype(op, args, kwargs):
    """What the shape rule says of tensors without values is what comes out."""
    inputs, attrs = (
        op.arguments(*args, **kwargs)
        if not isinstance(op, Elementwise)
        else ([cr.asarray(a) for a in args], {})
    )
    y = op.apply(inputs, attrs)
    probes = [
        Tensor(None, leaf(o.shape, o.dtype)) if isinstance(o, Tensor) and o.dtype.kind == "f" else o
        for o in inputs
    ]
    if not any(isinstance(p, Tensor) and p._value is None for p in probes):
        return
    with recording(OFF):
        traced = op.apply(probes, attrs)
    assert (traced.shape, traced.dtype) == (y.shape, y.dtype)


@on_each(CASES)
def test_float32_stays_float32(op, args, kwargs):
    f, xs = function(op, args, kwargs)
    if not xs:
        return
    y = f(*[x.astype(np.float32) for x in xs])
    wide = f(*xs)
    if wide.dtype == np.float64 and op.name not in ("astype",):
        assert y.dtype == np.float32


# Derivatives


@on_each(SMOOTH)
def test_reverse_against_differences(op, args, kwargs):
    f, xs = function(op, args, kwargs)
    rng = np.random.default_rng(1)
    y, pull = cr.vjp(f, *map(cr.asarray, xs))
    if y.dtype.kind != "f":
        return
    g = rng.standard_normal(y.shape)
    cotangents = pull(g)
    for i, (x, c) in enumerate(zip(xs, cotangents, strict=True)):
        assert c.shape == x.shape
        assert c.dtype == x.dtype
        for _ in range(2):
            vs = [direction(rng, x) if j == i else np.zeros_like(z) for j, z in enumerate(xs)]
            close(np.sum(np.asarray(c) * vs[i]), np.sum(g * difference(f, xs, vs)), 1e-7, 1e-8)


@on_each(SMOOTH)
def test_forward_mode_against_reverse(op, args, kwargs):
    """⟨g, J v⟩ = ⟨Jᵀ g, v⟩."""
    f, xs = function(op, args, kwargs)
    rng = np.random.default_rng(2)
    inputs = tuple(map(cr.asarray, xs))
    vs = [rng.standard_normal(x.shape) for x in xs]
    y, tangent = cr.jvp(f, inputs, tuple(map(cr.asarray, vs)))
    assert tangent.shape == y.shape
    if y.dtype.kind != "f":
        return
    g = rng.standard_normal(y.shape)
    cotangents = cr.vjp(f, *inputs)[1](g)
    backward = sum(np.sum(np.asarray(c) * v) for c, v in zip(cotangents, vs, strict=True))
    close(np.sum(g * np.asarray(tangent)), backward, 1e-10, 1e-10)


@on_each(SMOOTH)
def test_second_derivative(op, args, kwargs):
    """∇(g · f) itself against differences, by reverse over reverse and by forward over reverse."""
    f, xs = function(op, args, kwargs)
    rng = np.random.default_rng(3)
    y = f(*xs)
    if y.dtype.kind != "f" or not xs:
        return
    g = rng.standard_normal(y.shape)
    every = tuple(range(len(xs)))

    def gradient(*values):
        return cr.grad(lambda *v: cr.sum(f(*v) * g), argnums=every)(*map(cr.asarray, values))

    us = [rng.standard_normal(x.shape) for x in xs]

    def along(*values):
        found = gradient(*values)
        return cr.stack([cr.sum(c * u) for c, u in zip(found, us, strict=True)]).sum()

    vs = [direction(rng, x) for x in xs]
    wanted = difference(along, xs, vs, 1e-3 if op.name in ("erfinv",) else 1e-4)
    inputs = tuple(map(cr.asarray, xs))
    reverse = cr.grad(along, argnums=every)(*inputs)
    found = sum(np.sum(np.asarray(c) * v) for c, v in zip(reverse, vs, strict=True))
    close(found, wanted, 1e-6, 1e-7)
    _, tangent = cr.jvp(along, inputs, tuple(map(cr.asarray, vs)))
    close(tangent, found, 1e-9, 1e-9)


KERNELS = [c for c in CASES if isinstance(c.values[0], Composite) and c.values[0].kernel]


@pytest.mark.parametrize(("op", "args", "kwargs"), KERNELS)
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_kernel_against_definition(op, args, kwargs, dtype):
    """The fused operation and the composition that it stands for, forward and back."""
    xs = [x.astype(dtype) for x in function(op, args, kwargs)[1]]
    places = list(floats(args))
    inputs, attrs = op.arguments(*put(args, places, xs), **kwargs)
    tolerance = 20 * np.finfo(dtype).eps

    def both(run):
        fresh = [
            cr.asarray(o.numpy(), requires_grad=o.dtype.kind == "f") if o is not None else None
            for o in inputs
        ]
        y = run(fresh)
        y.backward(np.cos(np.arange(y.size, dtype=dtype)).reshape(y.shape))
        return y, [o.grad for o in fresh if o is not None and o.dtype.kind == "f"]

    y, gradients = both(lambda fresh: op.apply(fresh, attrs))
    z, wanted = both(lambda fresh: op.expand(fresh, attrs))
    scale = max(1.0, np.max(np.abs(z.numpy()), initial=0))
    close(y.numpy(), z.numpy(), tolerance, tolerance * scale)
    for a, b in zip(gradients, wanted, strict=True):
        size = max(1.0, np.max(np.abs(b.numpy()), initial=0))
        close(a.numpy(), b.numpy(), 10 * tolerance, 10 * tolerance * size)
