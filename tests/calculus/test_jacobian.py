"""jacobian, hessian, hvp, and products with Gauss–Newton and Fisher matrices."""

import numpy as np
import pytest

import chainrule as cr
from chainrule import nn

RNG = np.random.default_rng(5)
A = cr.asarray(RNG.standard_normal((4, 3)))
X = cr.asarray(RNG.standard_normal((2, 3)))


def close(found, wanted, rtol=1e-9, atol=1e-11):
    found, wanted = np.asarray(found), np.asarray(wanted)
    assert found.shape == wanted.shape
    np.testing.assert_allclose(found, wanted, rtol, atol)


def differences(f, x, h=1e-5):
    """∂f/∂x by central differences."""
    x = np.asarray(x)
    columns = []
    for i in range(x.size):
        e = np.zeros(x.size)
        e[i] = h
        e = e.reshape(x.shape)
        ahead, behind = (np.asarray(f(cr.asarray(x + s * e))) for s in (1, -1))
        columns.append((ahead - behind) / (2 * h))
    shape = np.asarray(f(cr.asarray(x))).shape
    if not columns:
        return np.zeros((*shape, *x.shape))
    return np.stack(columns, -1).reshape(*shape, *x.shape)


FUNCTIONS = {
    "wide": lambda x: cr.softmax(x @ A.mT),
    "narrow": lambda x: cr.tanh(x).sum(0)[:1],
    "scalar": lambda x: cr.logsumexp(x),
    "scan": lambda x: cr.scan(lambda c, row: (cr.tanh(c + row), c.sum()), x[0], x)[1],
    "norm": lambda x: nn.layer_norm(x, 3) * x[..., ::-1],
    "does not depend": lambda x: cr.asarray(np.array([1.0, 2.0])),
    "empty result": lambda x: x[:0],
}


@pytest.mark.parametrize("mode", ["auto", "forward", "reverse"])
@pytest.mark.parametrize("f", FUNCTIONS.values(), ids=FUNCTIONS)
def test_against_differences(f, mode):
    close(cr.jacobian(f, mode=mode)(X), differences(f, X), 1e-7, 1e-9)


@pytest.mark.parametrize("f", FUNCTIONS.values(), ids=FUNCTIONS)
def test_compiled(f):
    if f is FUNCTIONS["does not depend"]:
        return
    close(cr.compile(cr.jacobian(f))(X), cr.jacobian(f)(X), 1e-9)


def test_of_an_empty_argument():
    x = cr.zeros((0, 3), dtype=cr.float64)
    for mode in ("auto", "forward", "reverse"):
        assert cr.jacobian(lambda x: x.sum(0), mode=mode)(x).shape == (3, 0, 3)


@pytest.mark.parametrize("mode", ["forward", "reverse"])
def test_structures_and_argnums(mode):
    def f(p, s, n):
        return {"y": p["w"] * s, "z": (p["w"].sum() ** n, s)}

    w, s = cr.asarray([1.0, 2.0]), cr.asarray(3.0)
    found = cr.jacobian(f, (0, 1), mode=mode)({"w": w}, s, 2)
    close(found["y"][0]["w"], 3 * np.eye(2))
    close(found["y"][1], [1.0, 2.0])
    close(found["z"][0][0]["w"], [6.0, 6.0])
    close(found["z"][1][1], 1.0)
    bare = cr.jacobian(f, 1, mode=mode)({"w": w}, s, 2)
    close(bare["z"][0], 0.0)


def test_a_hessian_is_the_jacobian_of_the_gradient_in_both_modes():
    f = lambda x: cr.logsumexp(cr.sin(x @ A.mT)) * x[0, 0]  # noqa: E731
    h = cr.hessian(f)(X)
    close(h, differences(cr.grad(f), X), 1e-7, 1e-8)
    close(cr.jacobian(cr.jacobian(f, mode="forward"), mode="reverse")(X), h)
    close(cr.jacobian(cr.jacobian(f, mode="forward"), mode="forward")(X), h)
    close(cr.jacobian(cr.jacobian(f, mode="reverse"), mode="reverse")(X), h)
    flat = np.asarray(h).reshape(6, 6)
    close(flat, flat.T)
    third = cr.jacobian(cr.hessian(f))(X)
    close(third, differences(cr.hessian(f), X), 1e-6, 1e-7)


def test_blocks_of_a_hessian():
    f = lambda a, b: (a * b).sum() ** 2  # noqa: E731
    a, b = cr.asarray([1.0, 2.0]), cr.asarray([3.0, 4.0])
    (aa, ab), (ba, bb) = cr.hessian(f, (0, 1))(a, b)
    va, vb = np.asarray(a), np.asarray(b)
    close(aa, 2 * np.outer(vb, vb), 1e-5)
    close(bb, 2 * np.outer(va, va), 1e-5)
    close(ab, 2 * np.outer(vb, va) + 2 * (va @ vb) * np.eye(2), 1e-5)
    close(ba, np.asarray(ab).T)


def test_hvp():
    f = lambda x: cr.logsumexp(cr.sin(x @ A.mT)) * x[0, 0]  # noqa: E731
    v = cr.asarray(RNG.standard_normal((2, 3)))
    wanted = np.tensordot(np.asarray(cr.hessian(f)(X)), np.asarray(v), 2)
    close(cr.hvp(f, (X,), (v,)), wanted)
    close(cr.compile(lambda x, v: cr.hvp(f, (x,), (v,)))(X, v), wanted)
    p = {"w": X}
    close(cr.hvp(lambda p: f(p["w"]), (p,), ({"w": v},))["w"], wanted)
    two = cr.hvp(lambda a, b: (a * a * b).sum(), (cr.asarray(2.0), cr.asarray(3.0)),
                 (cr.asarray(1.0), cr.asarray(0.0)))  # fmt: skip
    assert [t.item() for t in two] == [6.0, 4.0]


def test_parameters_from_around_are_seen_through():
    w = cr.asarray([1.0, 2.0], requires_grad=True)
    cr.jacobian(lambda x: x * w * x.sum())(cr.asarray([1.0, 1.0])).sum().backward()
    close(w.grad, [4.0, 4.0])  # ∂/∂w_i of Σ_ij (δ_ij 2 w_i + w_i) = 4


def parts(kind):
    model = nn.Sequential(nn.Linear(3, 4), nn.Tanh(), nn.Linear(4, 2))
    p = {n: cr.asarray(RNG.standard_normal(q.shape)) for n, q in model.named_parameters()}
    x = cr.asarray(RNG.standard_normal((5, 3)))
    f = lambda p: nn.functional_call(model, p, (x,))  # noqa: E731
    v = {n: cr.asarray(RNG.standard_normal(q.shape)) for n, q in p.items()}
    return f, p, v


def flat(tree, front=0):
    return np.concatenate(
        [np.asarray(t).reshape(*np.asarray(t).shape[:front], -1) for t in tree.values()], -1
    )


def explicit(f, p):
    """The Jacobian as one matrix."""
    return flat(cr.jacobian(f)(p), 2).reshape(10, -1)


def test_gauss_newton_against_the_matrices():
    f, p, v = parts("mse")
    target = cr.asarray(RNG.standard_normal((5, 2)))
    loss = lambda y: (cr.log(cr.cosh(y - target))).sum()  # noqa: E731
    j = explicit(f, p)
    h = np.asarray(cr.hessian(loss)(f(p))).reshape(10, 10)
    found = cr.gauss_newton_product(f, loss, (p,), (v,))
    close(flat(found), j.T @ h @ j @ flat(v), 1e-9)
    compiled = cr.compile(lambda p, v: cr.gauss_newton_product(f, loss, (p,), (v,)))(p, v)
    close(flat(compiled), flat(found), 1e-8)


def information(kind, z):
    """The Fisher information of each likelihood, as the expected outer product of its score."""
    z = np.asarray(z)
    if kind == "categorical":
        blocks = np.zeros((10, 10))
        for i, row in enumerate(z):
            p = np.exp(row) / np.exp(row).sum()
            total = np.zeros((2, 2))
            for label in range(2):
                score = np.eye(2)[label] - p
                total += p[label] * np.outer(score, score)
            blocks[2 * i : 2 * i + 2, 2 * i : 2 * i + 2] = total
        return blocks
    flat_z = z.reshape(-1)
    if kind == "bernoulli":
        s = 1 / (1 + np.exp(-flat_z))
        return np.diag(s * (1 - s) ** 2 + (1 - s) * s**2)
    if kind == "poisson":
        rate = np.exp(flat_z)
        k = np.arange(200)[:, None]
        logs = k * flat_z - rate - np.cumsum(np.log(np.maximum(k, 1)), 0)
        return np.diag((np.exp(logs) * (k - rate) ** 2).sum(0))
    return np.eye(10)


@pytest.mark.parametrize("kind", ["categorical", "bernoulli", "poisson", "gaussian"])
def test_fisher_against_the_expected_outer_product_of_scores(kind):
    f, p, v = parts(kind)
    j, inner = explicit(f, p), information(kind, f(p))
    found = cr.fisher_product(f, kind, (p,), (v,))
    close(flat(found), j.T @ inner @ j @ flat(v), 1e-7)
    own = cr.fisher_product(
        f, lambda z, u: cr.reshape(cr.asarray(inner) @ cr.reshape(u, (-1,)), u.shape), (p,), (v,)
    )
    close(flat(own), flat(found), 1e-7)


REFUSED = {
    "no function": (lambda: cr.jacobian(3), "a function"),
    "argnums of another kind": (lambda: cr.jacobian(cr.exp, "x")(X), "whole number"),
    "mode": (lambda: cr.jacobian(cr.exp, mode="both")(X), "mode"),
    "integers": (lambda: cr.jacobian(cr.exp)(cr.asarray([1, 2])), "floating-point"),
    "integer result": (lambda: cr.jacobian(cr.argmax)(X), "real floating-point"),
    "complex": (lambda: cr.jacobian(cr.exp)(cr.asarray([1j])), "real and imaginary"),
    "argnums": (lambda: cr.jacobian(cr.exp, 1)(X), "argnums"),
    "no scalar": (lambda: cr.hessian(cr.exp)(X), "single number"),
    "no tuples": (lambda: cr.hvp(cr.sum, X, X), "tuples"),
    "shape": (lambda: cr.hvp(cr.sum, (X,), (X[0],)), "shape"),
    "likelihood": (lambda: cr.fisher_product(cr.exp, "laplace", (X,), (X,)), "categorical"),
    "gauss newton": (lambda: cr.gauss_newton_product(cr.exp, cr.sum, X, X), "tuples"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_cannot_be_is_refused(name):
    call, message = REFUSED[name]
    with pytest.raises(cr.ChainruleError, match=message):
        call()


def test_the_function_runs_once():
    calls = []

    def f(x):
        calls.append(1)
        return cr.sin(x) * x.sum()

    cr.jacobian(f)(X)
    assert len(calls) == 1
    cr.hessian(lambda x: f(x).sum())(X)
    assert len(calls) == 2
