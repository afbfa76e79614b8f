"""grad, value_and_grad, vjp, jvp and their nesting, against closed forms and mpmath."""

import math

import mpmath
import numpy as np
import pytest

import chainrule as cr
from chainrule import nn

X = cr.asarray(np.array(0.7))


def test_nested_to_fourth_order_against_mpmath():
    def f(x):
        return cr.exp(cr.sin(x)) / (1 + x * x)

    g = f
    for order in range(1, 5):
        g = cr.grad(g)
        wanted = mpmath.diff(lambda x: mpmath.exp(mpmath.sin(x)) / (1 + x * x), 0.7, order)
        assert g(X).item() == pytest.approx(float(wanted), rel=1e-10)


def test_forward_over_forward_and_every_mixture():
    def forward(f):
        return lambda x: cr.jvp(f, (x,), (cr.ones_like(x),))[1]

    def reverse(f):
        return lambda x: cr.vjp(f, x)[1](cr.ones_like(x))[0]

    def f(x):
        return cr.tanh(x) * x

    t = math.tanh(0.7)
    wanted = 2 * (1 - t * t) - 2 * 0.7 * t * (1 - t * t)
    for outer in (forward, reverse, cr.grad):
        for inner in (forward, reverse, cr.grad):
            assert outer(inner(f))(X).item() == pytest.approx(wanted, rel=1e-12)


def test_perturbations_are_not_confused():
    """Siskind and Pearlmutter 2005: d/dx (x · d/dy (x + y)) is 1, not 2."""
    one = cr.grad(lambda x: x * cr.grad(lambda y: x + y)(cr.asarray(1.0)))
    assert one(cr.asarray(3.0)).item() == 1.0

    def inner(x):
        return cr.jvp(lambda y: x * y, (cr.asarray(2.0),), (cr.asarray(1.0),))[1]

    assert cr.jvp(lambda x: x * inner(x), (cr.asarray(3.0),), (cr.asarray(1.0),))[1].item() == 6.0


def test_argnums_and_structures():
    def f(p, x, scale):
        return cr.sum(p["w"] * x + p["b"][0]) * scale

    p = {"w": cr.asarray([1.0, 2.0]), "b": [cr.asarray(0.5)]}
    x = cr.asarray([3.0, 4.0])
    bare = cr.grad(f)(p, x, 2.0)
    assert bare["w"].tolist() == [6, 8]
    assert bare["b"][0].item() == 4
    both = cr.grad(f, argnums=(1, 0))(p, x, 2.0)
    assert both[0].tolist() == [2, 4]
    assert both[1]["w"].tolist() == [6, 8]
    value, (gradient,) = cr.value_and_grad(f, argnums=(1,))(p, x, 2.0)
    assert value.item() == 24
    assert gradient.tolist() == [2, 4]
    y, pull = cr.vjp(lambda a, b: {"s": a + b, "p": a * b}, x, x)
    da, db = pull({"s": cr.ones(2), "p": cr.ones(2)})
    assert da.tolist() == db.tolist() == [4, 5]
    assert sorted(y) == ["p", "s"]


def test_stop_gradient_and_no_grad():
    assert cr.grad(lambda x: x * cr.stop_gradient(x))(X).item() == pytest.approx(0.7)
    w = nn.Parameter(cr.ones(2))
    with cr.no_grad():
        assert not (w * 2).requires_grad
    assert (w * 2).requires_grad


def test_what_cannot_be_differentiated_says_so():
    w = nn.Parameter(cr.ones(3))
    with pytest.raises(cr.GradientError, match=r"single number.*\(3,\)"):
        (w * 2).backward()
    with pytest.raises(cr.GradientError, match=r"argmax|without a derivative"):
        cr.argmax(w).backward()
    with pytest.raises(cr.GradientError, match=r"no derivative flows|requires gradients"):
        cr.ones(1).sum().backward()
    with pytest.raises(cr.DTypeError, match="floating"):
        cr.grad(lambda n: n * 2)(cr.asarray(3))
    with pytest.raises(cr.GradientError, match="argument 2"):
        cr.grad(lambda x: x, argnums=2)(X)
    with pytest.raises(cr.ShapeError, match="cotangent"):
        cr.vjp(lambda x: x, cr.ones(3))[1](cr.ones(2))
    with pytest.raises(cr.GradientError, match="tuples"):
        cr.jvp(cr.exp, X, X)


def test_a_wrong_shape_of_a_cotangent_is_seen():
    from chainrule.ops.declare import operation
    from chainrule.ops.operation import registry

    before = dict(registry)
    try:

        @operation(
            formula="y = a + b", display_only=True,
            shape=lambda a, b: (a.shape, a.dtype),
            forward=lambda a, b: a + b,
            vjp=lambda g, a, b, y: (g, g),
            jvp=lambda t, a, b, y: t[0] + t[1],
        )  # fmt: skip
        def forgetful(a, b, /):
            return (cr.asarray(a), cr.asarray(b)), {}

    finally:
        registry.clear()
        registry.update(before)
    with pytest.raises(cr.GradientError, match=r"`forgetful`.*operand 1.*broadcast was not summed"):
        cr.grad(lambda b: forgetful(cr.ones((4, 3)), b).sum())(cr.ones(3))


def test_gradients_through_functional_call():
    cr.seed(0)
    model = nn.Sequential(nn.Linear(3, 4), nn.Tanh(), nn.Linear(4, 1))
    x = cr.random.normal((5, 3))
    parameters = dict(model.named_parameters())

    def loss(p):
        return (nn.functional_call(model, p, x) ** 2).mean()

    found = cr.grad(loss)(parameters)
    loss(parameters).backward()
    for name, p in model.named_parameters():
        assert found[name].numpy() == pytest.approx(p.grad.numpy(), rel=1e-6)


# Against closed forms

POINTS = {
    "tanh": (cr.tanh, mpmath.tanh, 0.4),
    "exp of sine": (lambda x: cr.exp(cr.sin(x)), lambda x: mpmath.exp(mpmath.sin(x)), 0.7),
    "power": (lambda x: x**2.5, lambda x: x ** mpmath.mpf("2.5"), 1.3),
    "x to the x": (lambda x: x**x, lambda x: x**x, 1.3),
    "sigmoid": (cr.sigmoid, lambda x: 1 / (1 + mpmath.exp(-x)), -0.8),
    "softplus": (cr.softplus, lambda x: mpmath.log(1 + mpmath.exp(x)), 0.6),
    "erf": (cr.erf, mpmath.erf, 0.5),
    "gelu": (cr.gelu, lambda x: x * (1 + mpmath.erf(x / mpmath.sqrt(2))) / 2, 0.5),
    "quotient": (lambda x: cr.log(x) / x, lambda x: mpmath.log(x) / x, 1.7),
    "square root": (lambda x: cr.sqrt(1 + x * x), lambda x: mpmath.sqrt(1 + x * x), 0.9),
    "arctangent": (lambda x: cr.atan2(x, 1 + x), lambda x: mpmath.atan2(x, 1 + x), 0.9),
    "log sum": (
        lambda x: cr.logsumexp(cr.stack([x, x * x, cr.sin(x)])),
        lambda x: mpmath.log(mpmath.exp(x) + mpmath.exp(x * x) + mpmath.exp(mpmath.sin(x))),
        0.9,
    ),
    "largest": (lambda x: cr.max(cr.stack([x, x**3, x * 0])), lambda x: x**3, 1.2),
    "product": (
        lambda x: cr.prod(cr.stack([x, cr.sin(x), x + 1])),
        lambda x: x * mpmath.sin(x) * (x + 1),
        0.8,
    ),
}


@pytest.mark.parametrize("name", POINTS)
def test_to_the_fourth_order_in_both_modes(name):
    ours, theirs, at = POINTS[name]
    x = cr.asarray(np.array(at))
    one = cr.ones_like(x)

    def forward(f):
        return lambda x: cr.jvp(f, (x,), (one,))[1]

    reverse, pushed, mixed = ours, ours, ours
    with mpmath.workdps(40):
        for order in range(1, 5):
            wanted = float(mpmath.diff(theirs, mpmath.mpf(at), order))
            reverse, pushed = cr.grad(reverse), forward(pushed)
            mixed = forward(mixed) if order % 2 else cr.grad(mixed)
            for f in (reverse, pushed, mixed):
                assert f(x).item() == pytest.approx(wanted, rel=1e-9, abs=1e-11)


def test_a_hessian_of_a_quadratic_form():
    rng = np.random.default_rng(0)
    matrix = rng.normal(size=(4, 4))
    x, v = rng.normal(size=4), rng.normal(size=4)

    def f(x):
        return x @ cr.asarray(matrix) @ x

    _, product = cr.jvp(cr.grad(f), (cr.asarray(x),), (cr.asarray(v),))
    np.testing.assert_allclose(product.numpy(), (matrix + matrix.T) @ v, rtol=1e-12)
    _, pull = cr.vjp(cr.grad(f), cr.asarray(x))
    np.testing.assert_allclose(pull(cr.asarray(v))[0].numpy(), (matrix + matrix.T) @ v, rtol=1e-12)


def test_jvp_and_vjp_are_adjoint():
    """⟨g, J v⟩ = ⟨Jᵀ g, v⟩."""
    rng = np.random.default_rng(0)
    x, v = (cr.asarray(rng.normal(size=(3, 4))) for _ in range(2))

    def f(x):
        return cr.softmax(x @ x.T, axis=1) * cr.cumulative_sum(x, axis=1)[:, :3]

    y, tangent = cr.jvp(f, (x,), (v,))
    g = cr.asarray(rng.normal(size=y.shape))
    (cotangent,) = cr.vjp(f, x)[1](g)
    assert (g * tangent).sum().item() == pytest.approx((cotangent * v).sum().item(), rel=1e-12)


def test_a_complex_step_agrees():
    """Squire and Trapp 1998: Im f(x + ih)/h, with no difference to lose digits in."""
    h = 1e-30
    wanted = (np.exp(0.7 + 1j * h) / np.sqrt(0.7 + 1j * h)).imag / h
    assert cr.grad(lambda x: cr.exp(x) / cr.sqrt(x))(X).item() == pytest.approx(wanted, rel=1e-14)


# Perturbations


def test_more_perturbations_are_not_confused():
    a, one = cr.asarray(np.array(3.0)), cr.asarray(np.array(1.0))

    def push(f, x):
        return cr.jvp(f, (x,), (cr.ones_like(x),))[1]

    takes = (lambda f, x: cr.grad(f)(x), push)
    for outer in takes:
        for inner in takes:
            assert outer(lambda x, i=inner: x * i(lambda y: x + y, one), a).item() == 1
            assert outer(lambda x, i=inner: x * i(lambda y: x * y, one), a).item() == 6
            assert outer(lambda x, i=inner: x * i(lambda y: x * y * y, x), a).item() == 54
            # ∂/∂x of ∂(y x + x)/∂y = x
            assert outer(lambda x, i=inner: i(lambda y: y * x + x, a), one).item() == 1


def test_an_inner_gradient_reaches_an_outer_parameter():
    w = nn.Parameter(np.array([2.0, 3.0]))
    x = cr.asarray(np.array([0.5, 0.7]))
    inner = cr.grad(lambda x: (w * x**2).sum())(x)  # 2 w x
    (inner**2).sum().backward()
    np.testing.assert_allclose(w.grad.numpy(), 8 * w.numpy() * x.numpy() ** 2)


def test_a_transform_leaves_parameters_alone():
    w = nn.Parameter(np.array([2.0]))
    cr.grad(lambda x: (w * x).sum())(cr.asarray(np.array([3.0])))
    assert w.grad is None
    assert cr.grad(lambda v: (v * v).sum())(w).tolist() == [4]
    assert w.grad is None


def test_stop_gradient_at_every_order():
    def f(x):
        return cr.stop_gradient(x * x) * x

    assert cr.grad(f)(X).item() == pytest.approx(0.49)
    assert cr.grad(cr.grad(f))(X).item() == 0
    assert cr.jvp(f, (X,), (cr.ones_like(X),))[1].item() == pytest.approx(0.49)


def test_a_transform_works_within_no_grad():
    with cr.no_grad():
        gradient = cr.grad(lambda x: x**3)(X)
        assert gradient.item() == pytest.approx(3 * 0.49)
        assert not gradient.requires_grad
        assert cr.grad(cr.grad(lambda x: x**3))(X).item() == pytest.approx(4.2)


# Arguments


def test_argnums_counts_from_both_ends_and_may_repeat():
    def f(a, b, c):
        return a * b**2 * c**3

    at = [cr.asarray(np.array(v)) for v in (2.0, 3.0, 5.0)]
    wanted = (9 * 125.0, 2 * 6 * 125.0, 2 * 9 * 75.0)
    for n in range(3):
        assert cr.grad(f, argnums=n)(*at).item() == wanted[n]
        assert cr.grad(f, argnums=n - 3)(*at).item() == wanted[n]
    assert [g.item() for g in cr.grad(f, argnums=[2, 0])(*at)] == [wanted[2], wanted[0]]
    same = cr.grad(f, argnums=(0, 1))(at[0], at[0], at[2])
    assert [g.item() for g in same] == [4 * 125, 2 * 4 * 125]


def test_structures_keep_their_shape():
    tree = {"a": [cr.ones(2), (cr.ones(3), {"b": cr.ones(())})], "c": cr.ones((2, 2))}

    def f(t):
        return (t["a"][0].sum() * 2 + (t["a"][1][0] ** 2).sum() + t["a"][1][1]["b"]) * t["c"].sum()

    found = cr.grad(f)(tree)
    assert found["a"][0].tolist() == [8, 8]
    assert isinstance(found["a"][1], tuple)
    assert found["a"][1][0].tolist() == [8, 8, 8]
    assert found["a"][1][1]["b"].item() == 4
    assert found["c"].tolist() == [[8, 8], [8, 8]]
    y, tangent = cr.jvp(f, (tree,), (found,))
    assert y.item() == 32
    assert tangent.item() == 2 * 64 + 3 * 64 + 16 + 4 * 64


def test_what_an_argument_does_not_reach_has_a_zero_gradient():
    a, b = cr.ones(2), cr.ones((2, 3))
    first, second = cr.grad(lambda a, b: a.sum(), argnums=(0, 1))(a, b)
    assert first.tolist() == [1, 1]
    assert second.tolist() == [[0, 0, 0], [0, 0, 0]]
    assert cr.jvp(lambda x: cr.ones(2), (a,), (a,))[1].tolist() == [0, 0]


def test_has_aux_carries_the_rest():
    def f(x):
        return (x**2).sum(), {"twice": x * 2, "note": "kept"}

    (value, aux), gradient = cr.value_and_grad(f, has_aux=True)(X)
    assert value.item() == pytest.approx(0.49)
    assert gradient.item() == pytest.approx(1.4)
    assert aux["note"] == "kept"
    assert aux["twice"].item() == pytest.approx(1.4)
    assert not aux["twice"].requires_grad
    assert cr.grad(f, has_aux=True)(X)[1]["note"] == "kept"


def test_pull_may_be_called_again():
    _, pull = cr.vjp(lambda x: cr.sin(x) * x, X)
    first = pull(cr.ones_like(X))[0].item()
    assert pull(cr.ones_like(X) * 2)[0].item() == 2 * first


def test_gradients_are_handles_of_their_own():
    x = cr.ones(2)
    a, b = cr.grad(lambda a, b: (a + b).sum(), argnums=(0, 1))(x, x)
    a[0] = 9.0
    assert b.tolist() == [1, 1]
    v = cr.ones(2)
    y, tangent = cr.jvp(lambda x: x, (x,), (v,))
    tangent[0] = 9.0
    y[0] = 9.0
    assert v.tolist() == x.tolist() == [1, 1]


@pytest.mark.parametrize(
    ("call", "error", "says"),
    [
        (lambda: cr.grad(lambda x: x)(cr.ones(3)), cr.GradientError, r"single number.*\(3,\)"),
        (lambda: cr.grad(lambda x: None)(X), cr.GradientError, "NoneType"),
        (lambda: cr.grad(lambda x: (x, x))(X), cr.GradientError, "has_aux|single number"),
        (lambda: cr.grad(lambda x: cr.argmax(x))(cr.ones(3)), cr.GradientError, "real floating"),
        (lambda: cr.grad(lambda x: x, argnums=-2)(X), cr.GradientError, "argument -2"),
        (lambda: cr.jvp(cr.exp, (X,), (X, X)), cr.ShapeError, "1 primals and 2 tangents"),
        (lambda: cr.jvp(cr.exp, (X,), (cr.ones(2),)), cr.ShapeError, "tangent"),
        (lambda: cr.vjp(cr.exp, X)[1]((X, X)), cr.ShapeError, "1 results, not 2"),
    ],
)
def test_what_a_transform_cannot_take_says_why(call, error, says):
    with pytest.raises(error, match=says):
        call()
