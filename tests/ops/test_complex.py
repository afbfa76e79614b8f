"""Every operation that accepts complex numbers, on complex forms of all of its samples.

PyTorch's convention: of a real loss L the gradient is ∂L/∂Re + i ∂L/∂Im, so that the loss grows by
Re⟨gradient, v⟩ along v. An operand of which a complex result is made is drawn as x + i x′, with x′
another draw; an operation that refuses complex operands says so.
"""

import numpy as np
import pytest

import chainrule as cr
from chainrule._index import EXTENSIONS, NAMES
from chainrule.errors import ChainruleError
from chainrule.ops.elementwise import Elementwise
from chainrule.tensor.graph import FULL, recording
from tests.ops.each import on_each
from tests.ops.test_registry import OURS, at, close, difference, floats, put, samples

SKEW = 0.3
"""The imaginary parts: small beside the domains, so that branch cuts stay away."""


def skewed(x, number):
    """x + i x′ with distinct imaginary parts."""
    parts = np.cos(np.arange(x.size) * 2.3 + number).reshape(x.shape) + 1.5
    return np.asarray(x + 1j * SKEW * parts)


def complex_cases(op):
    """(operands, keywords) with all of the floating-point operands complex, and once with each."""
    for number, (args, kwargs) in enumerate(samples(op)):
        places = list(floats(args))
        own = [a.dtype.kind == "c" for a in args if isinstance(a, np.ndarray)]
        if any(own):
            yield args, kwargs
        choices = [places] if len(places) < 2 or number else [places, *([p] for p in places)]
        for chosen in choices:
            if chosen:
                values = [skewed(at(args, p), i) for i, p in enumerate(chosen)]
                yield put(args, chosen, values), kwargs


def accepts(op, args, kwargs):
    """The result; None where the operation refuses."""
    try:
        return op(*args, **kwargs)
    except ChainruleError:
        return None


# What is no public name is a part of one that is, and is handed what that one takes.
PUBLIC = {*NAMES, *(name for names in EXTENSIONS.values() for name in names)}
# Of these the vectors of a complex matrix have a phase that no loss may depend on: test_linalg.
OF_A_PHASE = {"eig", "eigh", "svd"}
# Their formulas are those of real numbers: squares stand for squared moduli.
OF_REAL_NUMBERS = {
    "angle", "cov", "var", "std", "batch_norm", "instance_norm",
    "lp_pool1d", "lp_pool2d", "lp_pool3d",
}  # fmt: skip


def is_complex(*arrays):
    return any(getattr(getattr(a, "dtype", None), "kind", "") == "c" for a in arrays)


CASES = []
for name, op in sorted(OURS.items()):
    if name in OF_A_PHASE or not (name in PUBLIC or op.kind == "linear"):
        continue
    found = complex_cases(op) if name in PUBLIC else samples(op)
    for i, (args, kwargs) in enumerate(found):
        y = accepts(op, args, kwargs)
        if y is not None and is_complex(y, *args):
            CASES.append(pytest.param(op, args, kwargs, id=f"{name}-{i}"))
SMOOTH = [case for case in CASES if case.values[0].differentiable]


def numbers(args):
    """The places of the real and complex arrays among the arguments."""
    for i, a in enumerate(args):
        if isinstance(a, np.ndarray) and a.dtype.kind in "fc":
            yield (i,)
        elif isinstance(a, (list, tuple)):
            for j, b in enumerate(a):
                if isinstance(b, np.ndarray) and b.dtype.kind in "fc":
                    yield (i, j)


def function(op, args, kwargs):
    places = list(numbers(args))

    def f(*values):
        return op(*put(args, places, values), **kwargs)

    return f, [np.array(at(args, place)) for place in places]


def draw(rng, like):
    """Standard normal numbers, complex where `like` is."""
    v = rng.standard_normal(like.shape)
    return np.asarray(v + 1j * rng.standard_normal(like.shape) if like.dtype.kind == "c" else v)


def inner(a, b):
    """Re⟨a, b⟩: the inner product of pairs of real numbers."""
    return float(np.sum(np.real(np.conj(np.asarray(a)) * np.asarray(b))))


def unit(rng, x):
    v = draw(rng, x)
    return np.asarray(v / max(np.linalg.norm(v), 1e-300)) if v.size else v


def test_there_are_such_operations():
    names = {case.values[0].name for case in CASES}
    some = {"multiply", "matmul", "exp", "abs", "sum", "where", "pow", "conj", "angle", "dft"}
    assert some <= names
    assert len(names) >= 60


@on_each(CASES)
def test_forward_against_the_formula(op, args, kwargs):
    if op.display_only or op.name in OF_REAL_NUMBERS:
        return
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


@on_each(SMOOTH)
def test_reverse_against_differences(op, args, kwargs):
    f, xs = function(op, args, kwargs)
    rng = np.random.default_rng(1)
    y, pull = cr.vjp(f, *map(cr.asarray, xs))
    g = draw(rng, y)
    for i, (x, c) in enumerate(zip(xs, pull(g), strict=True)):
        assert c.shape == x.shape
        assert c.dtype == x.dtype
        for _ in range(2):
            vs = [unit(rng, x) if j == i else np.zeros_like(z) for j, z in enumerate(xs)]
            close(inner(c, vs[i]), inner(g, difference(f, xs, vs)), 1e-7, 1e-8)


@on_each(SMOOTH)
def test_forward_mode_against_reverse(op, args, kwargs):
    f, xs = function(op, args, kwargs)
    rng = np.random.default_rng(2)
    inputs = tuple(map(cr.asarray, xs))
    vs = [draw(rng, x) for x in xs]
    y, tangent = cr.jvp(f, inputs, tuple(map(cr.asarray, vs)))
    assert (tangent.shape, tangent.dtype) == (y.shape, y.dtype)
    g = draw(rng, y)
    backward = sum(inner(c, v) for c, v in zip(cr.vjp(f, *inputs)[1](g), vs, strict=True))
    close(inner(g, tangent), backward, 1e-10, 1e-10)


@on_each(SMOOTH)
def test_second_derivative(op, args, kwargs):
    f, xs = function(op, args, kwargs)
    rng = np.random.default_rng(3)
    every = tuple(range(len(xs)))
    g = draw(rng, f(*xs))
    us = [draw(rng, x) for x in xs]

    def loss(*values):
        return cr.sum(cr.real(f(*values) * np.conj(g)))

    def along(*values):
        found = cr.grad(loss, argnums=every)(*map(cr.asarray, values))
        parts = [cr.sum(cr.real(c * np.conj(u))) for c, u in zip(found, us, strict=True)]
        return cr.stack(parts).sum()

    vs = [unit(rng, x) for x in xs]
    wanted = difference(along, xs, vs)
    inputs = tuple(map(cr.asarray, xs))
    found = cr.grad(along, argnums=every)(*inputs)
    for x, c in zip(xs, found, strict=True):
        assert (c.shape, c.dtype) == (x.shape, x.dtype)
    total = sum(inner(c, v) for c, v in zip(found, vs, strict=True))
    close(total, wanted, 1e-6, 1e-7)
    _, tangent = cr.jvp(along, inputs, tuple(map(cr.asarray, vs)))
    close(tangent, total, 1e-9, 1e-9)


@on_each(CASES)
def test_complex64_stays(op, args, kwargs):
    f, xs = function(op, args, kwargs)
    if any(isinstance(a, np.ndarray) for a in kwargs.values()):  # which stay wide
        return
    narrow = [x.astype(np.complex64 if x.dtype.kind == "c" else np.float32) for x in xs]
    y = f(*narrow)
    if op.name != "astype" and y.dtype.kind in "fc":
        assert y.dtype in (np.complex64, np.float32)
        assert y.dtype.kind == f(*xs).dtype.kind


@pytest.mark.parametrize(
    "op", [op for op in OURS.values() if isinstance(op, Elementwise) and op.arity == 1]
)
def test_a_complex_number_is_computed_with_or_refused(op):
    """Never a number of another kind, and never NumPy's own error."""
    x = cr.asarray([0.3 + 0.2j])
    try:
        y = op(x)
    except ChainruleError:
        return
    assert y.dtype.kind in ("bfc" if op.result != "same" else "c")


def test_a_wrong_conjugate_is_seen():
    def wrong(x):
        return cr.conj(cr.exp(cr.conj(x)))  # is exp, and its derivative must be so, too

    z = np.array([0.3 + 0.4j])
    right = cr.grad(lambda z: cr.exp(z).real.sum())(cr.asarray(z))
    close(cr.grad(lambda z: wrong(z).real.sum())(cr.asarray(z)), right)
    close(right, np.conj(np.exp(z)))


@pytest.mark.parametrize("f", [cr.abs, cr.sign, cr.angle])
def test_at_0_as_in_pytorch(f):
    zero = cr.asarray([0j])
    assert cr.grad(lambda z: cr.real(f(z)).sum())(zero).tolist() == [0j]


def test_a_complex_loss_is_refused_with_a_way_out():
    z = cr.asarray([1j])
    with pytest.raises(cr.GradientError, match=r"\.real"):
        cr.grad(lambda z: (z * z).sum())(z)
    w = cr.asarray([1j], requires_grad=True)
    with pytest.raises(cr.GradientError, match="gradient="):
        (w * w).sum().backward()
    (w * w).sum().backward(1 + 0j)
    assert w.grad.tolist() == [-2j]


def test_a_complex_cotangent_of_a_real_result_is_refused():
    _, pull = cr.vjp(cr.abs, cr.asarray([3 + 4j]))
    with pytest.raises(cr.DTypeError, match="real"):
        pull(cr.asarray([1j]))
    assert np.allclose(pull(cr.asarray([1.0]))[0].numpy(), [0.6 + 0.8j])


def test_pairs_and_numbers():
    pairs = cr.asarray([[1.0, 2.0], [3.0, 4.0]])
    z = cr.view_as_complex(pairs)
    assert z.dtype == cr.complex64
    assert cr.view_as_real(z).tolist() == pairs.tolist()
    for wrong in ([1.0, 2.0, 3.0], [1, 2]):
        with pytest.raises(ChainruleError):
            cr.view_as_complex(cr.asarray(wrong))
    with pytest.raises(cr.DTypeError):
        cr.view_as_real(pairs)
    with pytest.raises(cr.DTypeError):
        cr.polar(z, 1.0)
