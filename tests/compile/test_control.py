"""cond and scan: eager against loops written out, compiled against eager."""

import functools

import numpy as np
import pytest

import chainrule as cr
from chainrule import nn
from chainrule.compile.compiled import compile as compile_with
from chainrule.tree import flatten
from tests.compile.interpreter import interpret

compiled = functools.partial(compile_with, backend=interpret)


def assert_same(found, expected, rtol=1e-6):
    mine, others = flatten(found)[0], flatten(expected)[0]
    assert len(mine) == len(others)
    for a, b in zip(mine, others, strict=True):
        assert a.dtype == b.dtype
        np.testing.assert_allclose(a.numpy(), b.numpy(), rtol=rtol, atol=1e-7)


def floats(*shape, seed=0):
    return cr.asarray(np.random.default_rng(seed).normal(size=shape))


# cond


def branching(x, y):
    return cr.cond(
        x.sum() > 0,
        lambda x, y: {"a": x * y, "b": [y.sum()]},
        lambda x, y: {"a": -x, "b": [(x / 3).sum()]},
        x,
        y,
    )


@pytest.mark.parametrize("sign", [1.0, -1.0])
def test_cond(sign):
    x, y = cr.asarray([1.0, 2.0]) * sign, cr.asarray([5.0, 7.0])
    expected = {"a": x * y, "b": [y.sum()]} if sign > 0 else {"a": -x, "b": [(x / 3).sum()]}
    f = compiled(branching)
    assert_same(branching(x, y), expected)
    assert_same(f(x, y), expected)
    assert_same(f(-x, y), branching(-x, y))
    assert f.traces == 1


@pytest.mark.parametrize("sign", [1.0, -1.0])
@pytest.mark.parametrize(
    "transform",
    [
        lambda f: cr.grad(f, (0, 1)),
        lambda f: cr.grad(lambda x, y: (cr.grad(f)(x, y) ** 2).sum(), (0, 1)),
        lambda f: lambda x, y: cr.jvp(f, (x, y), (y, x)),
        lambda f: lambda x, y: cr.jvp(cr.grad(f), (x, y), (y, x)),
    ],
)
def test_derivatives_of_cond(sign, transform):
    def f(x, y):
        found = branching(x * x * sign, y)
        return (found["a"] ** 2).sum() + found["b"][0]

    x, y = cr.asarray([1.0, 2.0]), cr.asarray([5.0, 7.0])
    assert_same(compiled(transform(f))(x, y), transform(f)(x, y))


def test_the_derivative_of_the_branch_that_is_not_taken_is_not_computed():
    f = cr.grad(lambda x: cr.cond(x > 0, cr.sqrt, lambda x: x * 0, x))
    assert compiled(f)(cr.asarray(-1.0)).item() == 0.0
    assert compiled(f)(cr.asarray(0.0)).item() == 0.0


def test_cond_reads_what_is_around_it_and_integers_pass():
    w = nn.Parameter(cr.asarray([2.0, 3.0]))
    n = cr.asarray(3)

    def f(x, flag):
        y = x * w
        a, b = cr.cond(flag, lambda: (y * w, n + 1), lambda: (y, n - 1))
        a.sum().backward()
        return a, b

    for flag in (True, False):
        found = []
        for g in (f, compiled(f)):
            w.grad = None
            results = g(cr.asarray([1.0, 1.0]), cr.asarray(flag))
            found.append([r.numpy() for r in results] + [w.grad.numpy()])
        for a, b in zip(*found, strict=True):
            np.testing.assert_array_equal(a, b)
            assert a.dtype == b.dtype


def test_cond_refuses_what_cannot_be():
    x = cr.ones(2)
    with pytest.raises(cr.ShapeError, match="single boolean"):
        cr.cond(x > 0, lambda: x, lambda: x)

    def choose(first, second):
        return compiled(lambda x: cr.cond(x.sum() > 0, first, second, x))(x)

    with pytest.raises(cr.ShapeError, match="shapes"):
        choose(lambda x: x, lambda x: x[:1])
    with pytest.raises(cr.DTypeError, match="float32 and int64"):
        choose(lambda x: x, lambda x: x.astype(cr.int64))
    with pytest.raises(cr.DTypeError, match="structure"):
        choose(lambda x: x, lambda x: (x, x))
    with pytest.raises(cr.CompileError, match="random"):
        choose(lambda x: cr.dropout(x), lambda x: x)
    cell = nn.Buffer(cr.zeros(2))
    with pytest.raises(cr.CompileError, match="written inside"):
        choose(lambda x: cell.assign(x) or x, lambda x: x)


# scan


def step(carry, x):
    h, n = carry["h"], carry["n"]
    h = cr.tanh(h * 0.5 + x)
    return {"h": h, "n": n + 1}, (h.sum(), n, h * x)


@pytest.mark.parametrize("reverse", [False, True])
@pytest.mark.parametrize("length", [1, 5, 100])
def test_scan_is_the_loop(reverse, length):
    xs = floats(length, 3)
    start = {"h": cr.zeros(3, dtype=cr.float64), "n": cr.asarray(0)}
    carry, rows = start, [None] * length
    for i in range(length)[:: -1 if reverse else 1]:
        carry, rows[i] = step(carry, xs[i])
    expected = carry, tuple(cr.stack(list(c)) for c in zip(*rows, strict=True))

    def run(start, xs):
        return cr.scan(step, start, xs, reverse=reverse)

    assert_same(run(start, xs), expected)
    f = compiled(run)
    assert_same(f(start, xs), expected)
    assert len(f._last.program.nodes()) < 60


def test_scan_by_length_and_nothing_to_stack():
    def f(x):
        return cr.scan(lambda c, _: (c * 2, None), x, length=10)

    for g in (f, compiled(f)):
        carry, ys = g(cr.asarray(1.0))
        assert carry.item() == 1024.0
        assert ys is None


def test_scan_of_no_steps():
    def f(xs):
        return cr.scan(lambda c, x: (c + x.sum(), x * 2), cr.asarray(1.0, dtype=cr.float64), xs)

    for g in (f, compiled(f)):
        carry, ys = g(floats(0, 3))
        assert carry.item() == 1.0
        assert ys.shape == (0, 3)


@pytest.mark.parametrize("reverse", [False, True])
@pytest.mark.parametrize(
    "transform",
    [
        lambda f: cr.grad(f, (0, 1, 2)),
        lambda f: cr.grad(lambda a, b, c: (cr.grad(f, 2)(a, b, c) ** 2).sum(), (0, 1, 2)),
        lambda f: lambda a, b, c: cr.jvp(f, (a, b, c), (a * 2, b, c + 1)),
        lambda f: lambda a, b, c: cr.jvp(lambda b: f(a, b, c), (b,), (b,)),
        lambda f: lambda a, b, c: cr.jvp(cr.grad(f), (a, b, c), (a * 2, b, c + 1)),
        lambda f: cr.grad(lambda a, b, c: cr.jvp(f, (a, b, c), (c[0], b, c))[1]),
    ],
)
def test_derivatives_of_scan(reverse, transform):
    def f(w, h, xs):
        def inner(carry, x):
            h, n = carry
            h = cr.tanh(h * w + x)
            return (h, n + 1), (h**2 * n, n)

        (h, _), (ys, _) = cr.scan(inner, (h, cr.asarray(1)), xs, reverse=reverse)
        return (h * w).sum() + ys.sum()

    w, h, xs = floats(3), floats(3, seed=1), floats(4, 3, seed=2)
    assert_same(compiled(transform(f))(w, h, xs), transform(f)(w, h, xs), rtol=1e-9)


def test_a_scan_within_a_scan_and_a_cond():
    def f(x, rows):
        def outer(carry, row):
            def inner(total, value):
                value = cr.cond(value > 0, lambda v: v * total, lambda v: v - total, value)
                return total + value * x, value

            carry, ys = cr.scan(inner, carry, row)
            return carry, ys.sum()

        carry, ys = cr.scan(outer, x, rows)
        return carry * ys.sum()

    x, rows = cr.asarray(0.3, dtype=cr.float64), floats(3, 4)
    for transform in (lambda f: f, lambda f: cr.grad(f, (0, 1))):
        assert_same(compiled(transform(f))(x, rows), transform(f)(x, rows), rtol=1e-9)


def test_derivatives_of_a_compiled_scan_from_outside():
    w = nn.Parameter(cr.asarray([0.5, 0.2]))
    f = compiled(lambda x: cr.scan(lambda c, x: (c * w + x, c), cr.zeros(2), x)[0])
    x = cr.asarray([[1.0, 2.0], [3.0, 4.0], [5.0, 6.0]], requires_grad=True)
    f(x).sum().backward()
    np.testing.assert_allclose(w.grad.numpy(), [2 * 0.5 + 3, 2 * 2 * 0.2 + 4], rtol=1e-6)
    np.testing.assert_allclose(x.grad.numpy()[:, 0], [0.25, 0.5, 1.0])
    second = cr.grad(lambda x: (cr.grad(lambda x: (f(x) ** 2).sum())(x) ** 2).sum())
    plain = cr.grad(lambda x: (cr.grad(lambda x: (f.__wrapped__(x) ** 2).sum())(x) ** 2).sum())
    assert_same(second(x.detach()), plain(x.detach()))


def test_no_grad_inside_of_a_body_stays():
    def f(x):
        def inner(c, x):
            with cr.no_grad():
                frozen = x * 2
            return c + frozen * x, None

        return cr.scan(inner, cr.asarray(0.0), x)[0]

    x = cr.asarray([1.0, 3.0])
    assert_same(compiled(cr.grad(f))(x), cr.asarray([2.0, 6.0]))


def test_scan_refuses_what_cannot_be():
    x = cr.ones((3, 2))
    for wrap in (lambda f: f, compiled):
        with pytest.raises(cr.ShapeError, match="keeps its shape"):
            wrap(lambda x: cr.scan(lambda c, x: (x, None), cr.zeros(()), x))(x)
        with pytest.raises(cr.DTypeError, match="keeps its dtype"):
            wrap(lambda x: cr.scan(lambda c, x: (c + 0.5, None), cr.asarray(1), x))(x)
        with pytest.raises(cr.DTypeError, match="keeps its structure"):
            wrap(lambda x: cr.scan(lambda c, x: ((c, c), None), cr.asarray(1.0), x))(x)
        with pytest.raises(cr.DTypeError, match="a pair"):
            wrap(lambda x: cr.scan(lambda c, x: c, cr.asarray(1.0), x))(x)
        with pytest.raises(cr.ShapeError, match="first axis"):
            wrap(lambda x: cr.scan(lambda c, x: (c, None), cr.asarray(1.0), (x, x[:2])))(x)
        with pytest.raises(cr.ShapeError, match="first axis"):
            wrap(lambda x: cr.scan(lambda c, x: (c, None), x))(x)
    with pytest.raises(cr.CompileError, match="random"):
        compiled(lambda x: cr.scan(lambda c, x: (c, cr.dropout(x)), cr.asarray(1.0), x))(x)
    with pytest.raises(cr.CompileError, match="needs the value"):
        compiled(lambda x: cr.scan(lambda c, x: (c, x if x[0] > 0 else c), x[0], x))(x)
