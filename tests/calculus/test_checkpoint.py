"""checkpoint: the same derivatives, and less that is kept; fixed_point: those of the solution."""

import gc
import tracemalloc

import numpy as np
import pytest

import chainrule as cr
from chainrule import nn

RNG = np.random.default_rng(4)
X = cr.asarray(RNG.standard_normal((4, 3)))


def close(found, wanted, rtol=1e-10, atol=1e-12):
    found, wanted = np.asarray(found), np.asarray(wanted)
    assert found.shape == wanted.shape
    np.testing.assert_allclose(found, wanted, rtol, atol)


def gradients(model, run, x):
    model.zero_grad() if hasattr(model, "zero_grad") else None
    for p in model.parameters():
        p.grad = None
    x = cr.asarray(x.numpy(), requires_grad=True)
    loss = (run(x) ** 2).sum()
    loss.backward()
    return loss, [x.grad, *(p.grad for p in model.parameters())]


def test_the_gradients_of_a_network_have_the_same_bits():
    cr.seed(0)
    model = nn.Sequential(
        nn.Linear(3, 8), nn.GELU(), nn.Dropout(0.3), nn.BatchNorm1d(8), nn.Linear(8, 3)
    )
    x = X.astype(cr.float32)
    model.train()
    cr.seed(1)
    loss, wanted = gradients(model, model, x)
    running = model[3].running_mean.numpy(copy=True)
    model[3].running_mean.assign(cr.zeros(8))
    model[3].running_var.assign(cr.ones(8))
    block = cr.checkpoint(model)
    cr.seed(1)
    again, found = gradients(model, block, x)
    assert again.item() == loss.item()
    for a, b in zip(found, wanted, strict=True):
        assert np.array_equal(a.numpy(), b.numpy())
    close(model[3].running_mean, running)  # written once
    assert not np.array_equal(cr.random.uniform((2,)).numpy(), np.zeros(2))


def test_blocks_inside_of_blocks():
    cr.seed(2)
    layers = [nn.Sequential(nn.Linear(3, 3), nn.Tanh(), nn.Dropout(0.5)) for _ in range(4)]
    model = nn.Sequential(*layers)
    inner = [cr.checkpoint(layer) for layer in layers]
    half = cr.checkpoint(lambda x: inner[1](inner[0](x)))
    x = X.astype(cr.float32)
    cr.seed(5)
    _, wanted = gradients(model, model, x)
    cr.seed(5)
    _, found = gradients(model, lambda x: inner[3](inner[2](half(x))), x)
    for a, b in zip(found, wanted, strict=True):
        close(a, b, 1e-6, 1e-7)


def f(x):
    return {"y": cr.sin(x) * x.sum(), "z": (cr.exp(-x * x), cr.argmax(x))}


def total(g):
    return lambda x: (g(x)["y"] ** 2).sum() + g(x)["z"][0].sum()


def test_every_transform():
    g = cr.checkpoint(f)
    close(cr.grad(total(g))(X), cr.grad(total(f))(X))
    close(cr.hessian(total(g))(X), cr.hessian(total(f))(X))
    close(cr.grad(lambda x: (cr.grad(total(g))(x) ** 3).sum())(X),
          cr.grad(lambda x: (cr.grad(total(f))(x) ** 3).sum())(X))  # fmt: skip
    close(cr.jvp(total(g), (X,), (X,))[1], cr.jvp(total(f), (X,), (X,))[1])
    close(cr.jacobian(lambda x: g(x)["y"])(X), cr.jacobian(lambda x: f(x)["y"])(X))
    close(cr.vmap(cr.grad(total(g)))(X), cr.vmap(cr.grad(total(f)))(X))
    close(cr.grad(lambda x: cr.checkpoint(cr.vmap(total(f)))(x).sum())(X),
          cr.grad(lambda x: cr.vmap(total(f))(x).sum())(X))  # fmt: skip
    close(cr.compile(cr.grad(total(g)))(X), cr.grad(total(f))(X), 1e-9)
    close(g(X)["y"], f(X)["y"])
    _, pull = cr.vjp(cr.checkpoint(lambda x: cr.sin(x) * x[0]), X)
    close(cr.vmap(pull)(cr.stack([X, X * 2]))[0][1], 2 * np.asarray(pull(X)[0]))
    assert g(X)["z"][1].item() == np.argmax(np.asarray(X))


def test_keywords_and_what_is_no_tensor():
    g = cr.checkpoint(lambda x, n, *, w: x**n * w)
    found = cr.grad(lambda x, w: g(x, 3, w=w).sum(), (0, 1))(X, X * 2)
    close(found[0], 6 * np.asarray(X) ** 3)
    close(found[1], np.asarray(X) ** 3)


def test_less_is_kept():
    """Of ten blocks, each of which makes ten arrays, ten arrays are kept and not a hundred."""
    x0 = cr.asarray(np.ones(20000))

    def block(x):
        for _ in range(10):
            x = cr.sin(x)
        return x

    def peak(g):
        x = cr.asarray(x0.numpy(), requires_grad=True)
        gc.collect()
        tracemalloc.start()
        y = x
        for _ in range(10):
            y = g(y)
        y.sum().backward()
        found = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        return found / x0.numpy().nbytes, x.grad

    plain, wanted = peak(block)
    less, found = peak(cr.checkpoint(block))
    close(found, wanted)
    assert plain > 95
    assert less < 35


def test_a_parameter_that_was_written_to_is_refused():
    model = nn.Linear(3, 3)
    loss = cr.checkpoint(model)(X.astype(cr.float32)).sum()
    with cr.no_grad():
        model.weight.assign(model.weight * 2)
    with pytest.raises(cr.GradientError, match="written to since"):
        loss.backward()


# Fixed points


def newton(x, a):
    return (x + a / x) / 2


def affine(x, m, b):
    return cr.tanh(m @ x + b)


M = cr.asarray(RNG.standard_normal((5, 5)) * 0.2)
B = cr.asarray(RNG.standard_normal(5))


def solution(m, b):
    return cr.fixed_point(affine, cr.zeros(5, dtype=cr.float64), m, b, tolerance=1e-14)


def test_the_square_root_and_its_derivatives():
    root = lambda a: cr.fixed_point(newton, a * 0 + 1, a)  # noqa: E731
    a = cr.asarray(np.float64(2.0))
    close(root(a), np.sqrt(2))
    close(cr.grad(root)(a), 0.5 * 2**-0.5)
    close(cr.grad(cr.grad(root))(a), -0.25 * 2**-1.5)
    close(cr.grad(cr.grad(cr.grad(root)))(a), 0.375 * 2**-2.5, 1e-8)
    close(cr.jvp(root, (a,), (a * 0 + 1,))[1], 0.5 * 2**-0.5)
    close(cr.jvp(cr.grad(root), (a,), (a * 0 + 1,))[1], -0.25 * 2**-1.5)


def test_against_the_implicit_function_theorem():
    x = np.asarray(solution(M, B))
    d = np.diag(1 - x**2)
    wanted = np.linalg.solve(np.eye(5) - d @ np.asarray(M), d)
    close(cr.vjp(lambda b: solution(M, b), B)[1](np.ones(5))[0], wanted.sum(0), 1e-9)
    v = np.arange(5.0)
    close(cr.jvp(lambda b: solution(M, b), (B,), (cr.asarray(v),))[1], wanted @ v, 1e-9)
    for mode in ("forward", "reverse"):
        close(cr.jacobian(lambda b: solution(M, b), mode=mode)(B), wanted, 1e-9)
    curved = lambda b: (solution(M, b) ** 2).sum()  # noqa: E731
    rows = [cr.hvp(curved, (B,), (cr.asarray(e),)) for e in np.eye(5)]
    close(cr.hessian(curved)(B), np.stack(rows), 1e-8, 1e-10)
    assert cr.check_gradients(solution, M, B, order=2).max_error < 1e-6


def test_parameters_that_the_function_uses_from_around_it():
    b = cr.asarray(B.numpy(), requires_grad=True)
    x = cr.fixed_point(lambda x: cr.tanh(M @ x + b), cr.zeros(5, dtype=cr.float64))
    x.sum().backward()
    close(b.grad, cr.grad(lambda b: solution(M, b).sum())(B), 1e-8)


def test_structures():
    found = cr.fixed_point(
        lambda s, a: {"x": (s["x"] + a / s["x"]) / 2, "y": (s["x"].sum() + s["y"]) / 2},
        {"x": cr.ones(2), "y": cr.zeros(())},
        cr.asarray([4.0, 9.0]),
    )
    np.testing.assert_allclose(found["x"].numpy(), [2.0, 3.0], 1e-6)
    np.testing.assert_allclose(found["y"].item(), 5.0, 1e-3)


REFUSED = {
    "nothing": (lambda: cr.fixed_point(lambda x: x, None), "at least one tensor"),
    "no function": (lambda: cr.fixed_point(None, cr.ones(2)), "a function"),
    "steps": (lambda: cr.fixed_point(lambda x: x, cr.ones(2), max_steps="a"), "whole number"),
    "checkpoint of nothing": (lambda: cr.checkpoint(3), "a function"),
    "no contraction": (lambda: cr.fixed_point(lambda x: -x, cr.ones(2), max_steps=20), "damp"),
    "runs away": (lambda: cr.fixed_point(lambda x: x * x, cr.ones(2) * 3), "ran away"),
    "shape": (lambda: cr.fixed_point(lambda x: x.sum(), cr.ones(2)), "leads to the same"),
    "integers": (lambda: cr.fixed_point(lambda x: x, cr.asarray([1])), "floating-point"),
    "tolerance": (lambda: cr.fixed_point(lambda x: x, cr.ones(1), tolerance=0), "positive"),
    "one of many": (
        lambda: cr.vmap(lambda a: cr.fixed_point(lambda x: a * x * x, a))(cr.asarray([0.1, 9.0])),
        "ran away",
    ),
    "compile": (lambda: cr.compile(lambda a: cr.fixed_point(newton, a, a))(cr.ones(2)), "compile"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_cannot_be_is_refused(name):
    call, message = REFUSED[name]
    with pytest.raises(cr.ChainruleError, match=message):
        call()


def test_many_at_once():
    a = cr.asarray(np.array([1.0, 4.0, 9.0]))
    found = cr.fixed_point(cr.vmap(newton), a, a)
    close(found, [1.0, 2.0, 3.0])


def test_inside_of_vmap():
    a = cr.asarray(np.array([1.0, 4.0, 9.0]))
    root = lambda a: cr.fixed_point(newton, a * 0 + 1, a)  # noqa: E731
    close(cr.vmap(root)(a), [1.0, 2.0, 3.0])
    close(cr.vmap(cr.grad(root))(a), 0.5 / np.sqrt(np.asarray(a)))
    close(cr.grad(lambda a: cr.vmap(root)(a).sum())(a), 0.5 / np.sqrt(np.asarray(a)))
    close(cr.vmap(cr.grad(cr.grad(root)))(a), -0.25 * np.asarray(a) ** -1.5)
    close(cr.vmap(cr.vmap(root))(cr.stack([a, a * 4])), [[1.0, 2.0, 3.0], [2.0, 4.0, 6.0]])
    close(cr.jacobian(cr.vmap(root))(a), np.diag(0.5 / np.sqrt(np.asarray(a))))
    close(cr.jvp(cr.vmap(root), (a,), (a,))[1], 0.5 * np.sqrt(np.asarray(a)))
    close(cr.vmap(lambda a: cr.jvp(root, (a,), (a,))[1])(a), 0.5 * np.sqrt(np.asarray(a)))
    bs = cr.stack([B, B * 0.5])
    f = lambda b: (solution(M, b) ** 2).sum()  # noqa: E731
    close(cr.vmap(lambda b: solution(M, b))(bs), np.stack([solution(M, b) for b in bs]), 1e-9)
    close(cr.vmap(cr.grad(f))(bs), np.stack([cr.grad(f)(b) for b in bs]), 1e-9)
    close(cr.vmap(cr.hessian(f))(bs), np.stack([cr.hessian(f)(b) for b in bs]), 1e-8, 1e-10)
    shared = cr.grad(lambda m: cr.vmap(lambda b: f2(m, b))(bs).sum())(M)
    close(shared, np.asarray(cr.grad(lambda m: f2(m, bs[0]))(M))
          + np.asarray(cr.grad(lambda m: f2(m, bs[1]))(M)), 1e-8)  # fmt: skip


def f2(m, b):
    return (solution(m, b) ** 2).sum()
