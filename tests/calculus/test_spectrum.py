"""Lanczos, power iteration and Hutchinson's traces against matrices that are known."""

import numpy as np
import pytest

import chainrule as cr
from chainrule import nn


def symmetric(n, seed=0):
    m = np.random.default_rng(seed).standard_normal((n, n))
    return (m + m.T) / 2


@pytest.mark.parametrize("n", [1, 2, 7, 40])
def test_all_eigenvalues(n):
    m = symmetric(n)
    a = cr.asarray(m)
    found = cr.lanczos(lambda v: a @ v, cr.zeros(n, dtype=cr.float64), n)
    np.testing.assert_allclose(found.eigenvalues.numpy(), np.linalg.eigvalsh(m), 1e-10, 1e-11)
    vectors = found.eigenvectors.numpy()
    np.testing.assert_allclose(vectors @ vectors.T, np.eye(n), atol=1e-12)
    np.testing.assert_allclose(m @ vectors.T, vectors.T * found.eigenvalues.numpy(), atol=1e-9)


def test_extreme_eigenvalues_of_a_large_matrix():
    n, k = 400, 60
    values = np.concatenate([[-50.0, -30.0], np.linspace(-1, 1, n - 4), [40.0, 90.0]])
    q, _ = np.linalg.qr(np.random.default_rng(1).standard_normal((n, n)))
    m = cr.asarray(q * values @ q.T)
    found = cr.lanczos(lambda v: m @ v, cr.zeros(n, dtype=cr.float64), k)
    got = found.eigenvalues.numpy()
    np.testing.assert_allclose(got[[0, 1, -2, -1]], [-50, -30, 40, 90], 1e-12)
    # What it says of its own error is true: an eigenvalue lies that near.
    apart = np.abs(got[:, None] - values).min(1)
    assert (apart <= found.residuals.numpy() + 1e-10).all()


def test_repeated_eigenvalues_end_the_space():
    found = cr.lanczos(lambda v: v * 3.0, 50, 20)
    assert found.eigenvalues.shape == (1,)
    np.testing.assert_allclose(found.eigenvalues.numpy(), 3.0, 1e-6)
    zero = cr.lanczos(lambda v: v * 0.0, 5, 5)
    assert zero.eigenvalues.tolist() == [0.0]


def test_the_hessian_of_a_network_in_its_own_structure():
    model = nn.Sequential(nn.Linear(3, 4), nn.Tanh(), nn.Linear(4, 1))
    rng = np.random.default_rng(2)
    p = {n: cr.asarray(rng.standard_normal(q.shape)) for n, q in model.named_parameters()}
    x = cr.asarray(rng.standard_normal((6, 3)))
    loss = lambda p: (nn.functional_call(model, p, (x,)) ** 2).sum()  # noqa: E731
    blocks = cr.hessian(loss)(p)
    full = np.block([
        [np.asarray(blocks[a][b]).reshape(p[a].size, p[b].size) for b in p] for a in p
    ])  # fmt: skip
    wanted = np.linalg.eigvalsh(full)
    product = lambda v: cr.hvp(loss, (p,), (v,))  # noqa: E731
    found = cr.lanczos(product, p, len(full))
    np.testing.assert_allclose(found.eigenvalues.numpy(), wanted, 1e-8, 1e-9)
    assert found.eigenvectors["0.weight"].shape == (len(full), 4, 3)
    power = cr.power_iteration(product, p, tolerance=1e-9, max_steps=5000)
    largest = wanted[np.argmax(np.abs(wanted))]
    np.testing.assert_allclose(power.eigenvalue.item(), largest, 1e-9)
    estimate = cr.hutchinson_trace(product, p, 400)
    distance = abs(estimate.trace.item() - np.trace(full))
    assert distance < 4 * estimate.standard_error.item()


def test_power_iteration_of_a_matrix_that_is_not_symmetric():
    m = np.array([[2.0, 1.0, 0.0], [0.0, -5.0, 1.0], [0.3, 0.0, 1.0]])
    a = cr.asarray(m)
    found = cr.power_iteration(lambda v: a @ v, cr.zeros(3, dtype=cr.float64), tolerance=1e-10)
    values = np.linalg.eigvals(m)
    np.testing.assert_allclose(found.eigenvalue.item(), values[np.argmax(np.abs(values))].real)
    v = found.eigenvector.numpy()
    np.testing.assert_allclose(m @ v, found.eigenvalue.item() * v, atol=1e-8)
    zero = cr.power_iteration(lambda v: v * 0, 3)
    assert (zero.eigenvalue.item(), zero.steps) == (0.0, 1)


def test_the_standard_error_of_a_trace_is_right():
    """Of many estimates, so many lie within one and two standard errors as of a normal variable,
    and their spread is √(2 (‖A‖² − Σ a_ii²) / samples) (Hutchinson 1990, of random signs)."""
    m = symmetric(12, 3)
    a = cr.asarray(m)
    errors, claimed = [], []
    for seed in range(200):
        estimate = cr.hutchinson_trace(
            lambda v: a @ v, cr.zeros(12, dtype=cr.float64), 30, generator=cr.Generator(seed)
        )
        errors.append(estimate.trace.item() - np.trace(m))
        claimed.append(estimate.standard_error.item())
    exact = np.sqrt(2 * (np.sum(m**2) - np.sum(np.diag(m) ** 2)) / 30)
    assert abs(np.std(errors) / exact - 1) < 0.15  # the spread of 200 has an error of 5 %
    assert abs(np.mean(claimed) / exact - 1) < 0.05
    assert abs(np.mean(errors)) < 4 * exact / np.sqrt(200)
    within = np.abs(errors) < np.asarray(claimed)
    assert 0.55 < within.mean() < 0.80


def test_the_generator_decides():
    a = cr.asarray(symmetric(5).astype(np.float32))
    first, second = (cr.hutchinson_trace(lambda v: a @ v, 5, 4, generator=cr.Generator(7)).trace
                     for _ in range(2))  # fmt: skip
    assert first.item() == second.item()


REFUSED = {
    "no function": (lambda: cr.lanczos(3, 2, 2), "a function"),
    "tolerance is no number": (
        lambda: cr.power_iteration(lambda v: v, 3, tolerance="a"),
        "positive",
    ),
    "like": (lambda: cr.lanczos(lambda v: v, 2.5, 2), "length of a vector"),
    "shape": (lambda: cr.lanczos(lambda v: v[:2], 3, 2), "square"),
    "nothing": (lambda: cr.lanczos(lambda v: v, 0, 2), "at least one"),
    "k": (lambda: cr.lanczos(lambda v: v, 3, 0), "at least 1"),
    "k is no number": (lambda: cr.lanczos(lambda v: v, 3, 2.5), "whole number"),
    "integers": (lambda: cr.lanczos(lambda v: v, cr.asarray([1, 2]), 2), "floating-point"),
    "nan": (lambda: cr.lanczos(lambda v: v * float("nan"), 3, 2), "not finite"),
    "samples": (lambda: cr.hutchinson_trace(lambda v: v, 3, 1), "at least 2"),
    "tolerance": (lambda: cr.power_iteration(lambda v: v, 3, tolerance=-1.0), "positive"),
    "two of one modulus": (
        lambda: cr.power_iteration(lambda v: v * cr.asarray([1.0, -1.0]), 2, max_steps=50),
        "lanczos",
    ),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_cannot_be_is_refused(name):
    call, message = REFUSED[name]
    with pytest.raises(cr.ChainruleError, match=message):
        call()
