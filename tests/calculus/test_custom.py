"""Derivatives that the author of a function gives: one rule, both modes, every transform."""

import numpy as np
import pytest

import chainrule as cr

X = cr.asarray(np.array([0.3, -1.2, 2.0]))


def close(found, wanted, rtol=1e-10, atol=1e-12):
    found, wanted = np.asarray(found), np.asarray(wanted)
    assert found.shape == wanted.shape
    np.testing.assert_allclose(found, wanted, rtol, atol)


def plain(x, w):
    return cr.sin(x) * w.sum() + cr.log1p(w * w)[0]


def summed(f):
    return lambda *args: f(*args).sum()


def _pull(g, x, w, y):
    onto = (g * cr.sin(x)).sum() * cr.ones(3, dtype=cr.float64)
    first = g.sum() * 2 * w[0] / (1 + w[0] ** 2)
    return g * cr.cos(x) * w.sum(), onto + cr.concat([first.reshape(1), w[1:] * 0])


def _push(t, x, w, y):
    tx, tw = t
    return tx * cr.cos(x) * w.sum() + tw.sum() * cr.sin(x) + 2 * w[0] / (1 + w[0] ** 2) * tw[0]


RULES = {
    "vjp": cr.custom_derivative(vjp=_pull)(plain),
    "jvp": cr.custom_derivative(jvp=_push)(plain),
    "both": cr.custom_derivative(vjp=_pull, jvp=_push)(plain),
}
W = cr.asarray(np.array([0.5, 1.5, -0.7]))


@pytest.mark.parametrize("f", RULES.values(), ids=RULES)
def test_one_rule_serves_everything(f):
    """Against the same function without a rule, whose derivative the chain rule finds."""
    total = lambda f: lambda x, w: (f(x, w) ** 2).sum()  # noqa: E731
    every = (0, 1)
    for mine, other in zip(cr.grad(total(f), every)(X, W), cr.grad(total(plain), every)(X, W),
                           strict=True):  # fmt: skip
        close(mine, other)
    v = (cr.asarray(np.cos(np.arange(3.0))), cr.asarray(np.sin(np.arange(3.0))))
    close(cr.jvp(f, (X, W), v)[1], cr.jvp(plain, (X, W), v)[1])
    for mode in ("forward", "reverse"):
        close(cr.jacobian(f, 1, mode=mode)(X, W), cr.jacobian(plain, 1, mode="forward")(X, W))
    close(cr.hessian(total(f))(X, W), cr.hessian(total(plain))(X, W))
    close(cr.hessian(total(f), 1)(X, W), cr.hessian(total(plain), 1)(X, W))
    xs = cr.stack([X, X * 2, -X, X + 1])
    for axes, args in (((0, None), (xs, W)), ((0, 0), (xs, xs * 0.5)), ((None, 0), (X, xs))):
        close(cr.vmap(f, axes)(*args), cr.vmap(plain, axes)(*args))
        for n in every:
            each = [cr.vmap(cr.grad(total(g), n), axes)(*args) for g in (f, plain)]
            close(*each)
            outer = [cr.grad(summed(cr.vmap(total(g), axes)), n)(*args) for g in (f, plain)]
            close(*outer)
    nested = [cr.vmap(lambda x, g=g: cr.vmap(cr.grad(total(g)), (None, 0))(x, xs))(xs)
              for g in (f, plain)]  # fmt: skip
    close(*nested)
    compiled = cr.compile(cr.value_and_grad(total(f), every))
    value, gradients = compiled(X, W)
    close(value, total(plain)(X, W))
    for mine, other in zip(gradients, cr.grad(total(plain), every)(X, W), strict=True):
        close(mine, other, 1e-9)
    assert cr.check_gradients(f, X, W, order=2).max_error < 1e-6


def test_in_a_compiled_training_step():
    w = cr.asarray([0.5, 1.5], requires_grad=True)

    @cr.custom_derivative(vjp=lambda g, x, y: 2 * g)
    def twice_the_slope(x):
        return x * 1.0

    @cr.compile
    def step():
        loss = (twice_the_slope(w) ** 2).sum()
        loss.backward()
        return loss

    step()
    close(w.grad, [2.0, 6.0])


def test_the_rule_is_what_counts():
    clipped = cr.custom_derivative(vjp=lambda g, x, y: cr.clip(g, -0.1, 0.1))(lambda x: x * 1.0)
    close(cr.grad(lambda x: (clipped(x) * 5).sum())(X), [0.1] * 3)
    x = cr.asarray([1.0, 2.0], requires_grad=True)
    (clipped(x) * 7).sum().backward()
    close(x.grad, [0.1, 0.1], 1e-6)


def test_structures_numbers_and_keywords():
    def forward(p, n, scale=1.0, name=None):
        return {"y": p["a"] * p["b"] ** n * scale, "count": cr.asarray(3)}

    def pull(g, p, n, y, scale=1.0, name=None):
        g = g["y"]
        power = p["b"] ** n
        return {
            "a": g * power * scale,
            "b": g * p["a"] * n * p["b"] ** (n - 1) * scale,
        }, None

    f = cr.custom_derivative(vjp=pull)(forward)
    p = {"a": X, "b": W}
    one = cr.grad(lambda p: f(p, 3, scale=2.0, name="x")["y"].sum())(p)
    two = cr.grad(lambda p: forward(p, 3, scale=2.0)["y"].sum())(p)
    close(one["a"], two["a"])
    close(one["b"], two["b"])
    assert f(p, 2)["count"].item() == 3
    close(cr.jvp(lambda a: f({"a": a, "b": W}, 3)["y"], (X,), (X,))[1], X * W**3)


def test_several_results():
    both = cr.custom_derivative(vjp=lambda g, x, y: g[0] * 2 + g[1] * 3)(lambda x: (x * 2, x * 3))
    close(cr.grad(lambda x: (both(x)[0] * both(x)[1]).sum())(X), 12 * np.asarray(X))
    first, second = cr.jacobian(both)(X)
    close(first, 2 * np.eye(3))
    close(second, 3 * np.eye(3))


def test_a_wrong_rule_is_caught_and_named():
    @cr.custom_derivative(vjp=lambda g, x, y: g * cr.where(x > 1, 3.0, 2 * x))
    def square(x):
        return x * x

    with pytest.raises(cr.GradientError) as error:
        cr.check_gradients(square, X)
    assert "argument 0 [2]" in str(error.value)
    assert "`square`" in str(error.value)

    @cr.custom_derivative(jvp=lambda t, x, y: -2 * x * t)
    def turned(x):
        return x * x

    with pytest.raises(cr.GradientError, match="turned"):
        cr.check_gradients(turned, X)

    @cr.custom_derivative(vjp=lambda g, x, y: 2 * x * g, jvp=lambda t, x, y: 3 * x * t)
    def modes_differ(x):
        return x * x

    with pytest.raises(cr.GradientError, match="forward mode"):
        cr.check_gradients(modes_differ, X)


def test_a_right_rule_is_not_blamed_for_another_operation():
    right = cr.custom_derivative(vjp=lambda g, x, y: 2 * x * g)(lambda x: x * x)
    wrong = cr.custom_derivative(vjp=lambda g, x, y: g)(lambda x: x * x)
    wrong.__name__ = "the_wrong_one"
    with pytest.raises(cr.GradientError, match="the_wrong_one"):
        cr.check_gradients(lambda x: wrong(right(x)), X)


PARAMETER = cr.asarray([1.0, 2.0, 3.0], requires_grad=True)


def wrapped(**rules):
    return cr.custom_derivative(**rules)(lambda x: x * x)


REFUSED = {
    "no rule": (lambda: cr.custom_derivative(), "vjp="),
    "no rule but a function": (lambda: cr.custom_derivative(plain), "vjp="),
    "no function": (lambda: cr.custom_derivative(vjp=3), "vjp="),
    "around": (
        lambda: cr.custom_derivative(vjp=lambda g, x, y: g)(lambda x: x * PARAMETER)(X),
        "Make it an argument",
    ),
    "count": (
        lambda: cr.grad(lambda x: wrapped(vjp=lambda g, x, y: (g, g))(x).sum())(X), "1 arguments"),
    "shape": (
        lambda: cr.grad(lambda x: wrapped(vjp=lambda g, x, y: g.sum())(x).sum())(X),
        "a cotangent of shape",
    ),
    "tangent": (
        lambda: cr.jvp(wrapped(jvp=lambda t, x, y: t.sum()), (X,), (X,)), "a tangent of shape"),
    "results": (
        lambda: cr.jvp(wrapped(jvp=lambda t, x, y: (t, t)), (X,), (X,)), "1 results"),
}  # fmt: skip


@pytest.mark.parametrize("name", REFUSED)
def test_what_cannot_be_is_refused(name):
    call, message = REFUSED[name]
    with pytest.raises(cr.GradientError, match=message):
        call()


def test_a_method_is_refused():
    class Layer:
        @cr.custom_derivative(vjp=lambda g, x, y: g)
        def forward(self, x):
            return x

    with pytest.raises(cr.DTypeError, match="method"):
        Layer().forward(X)
