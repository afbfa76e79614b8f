"""Special functions beside mpmath's, to 30 digits, far out and near their edges; and bad input."""

import mpmath as mp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import chainrule as cr
from chainrule.errors import ChainruleError
from chainrule.ops.incomplete import betainc_by_shapes, gammainc_by_shape

S = cr.special


def wide(x):
    return np.asarray(x, np.float64)


def agree(found, wanted, rtol, atol=0.0):
    np.testing.assert_allclose(float(found), float(wanted), rtol, atol)


VALUES = {
    "gammaln": (mp.loggamma, [0.1, 1.5, 40.0, 1e6]),
    "gamma": (mp.gamma, [-1.5, 0.1, 4.0, 20.5]),
    "digamma": (mp.digamma, [-2.3, 1e-3, 1.0, 50.0]),
    "erfcx": (lambda x: mp.exp(x * x) * mp.erfc(x), [-2.0, 0.0, 3.0, 100.0]),
    "ndtr": (mp.ncdf, [-20.0, -1.0, 0.0, 3.0]),
    "log_ndtr": (lambda x: mp.log(mp.ncdf(x)), [-60.0, -20.0, -1.0, 0.0, 3.0]),
    "ndtri": (lambda p: mp.sqrt(2) * mp.erfinv(2 * mp.mpf(p) - 1), [1e-6, 0.02, 0.5, 0.99]),
    "erfcinv": (lambda x: mp.erfinv(1 - mp.mpf(x)), [1e-6, 0.5, 1.0, 1.9]),
    "bessel_j0": (lambda x: mp.besselj(0, x), [-3.0, 0.0, 1.0, 30.0]),
    "bessel_j1": (lambda x: mp.besselj(1, x), [-3.0, 0.0, 1.0, 30.0]),
    "bessel_y0": (lambda x: mp.bessely(0, x), [0.01, 1.0, 30.0]),
    "bessel_y1": (lambda x: mp.bessely(1, x), [0.01, 1.0, 30.0]),
    "i0": (lambda x: mp.besseli(0, x), [-3.0, 0.0, 20.0]),
    "i0e": (lambda x: mp.exp(-abs(x)) * mp.besseli(0, x), [-3.0, 0.0, 700.0]),
    "i1": (lambda x: mp.besseli(1, x), [-3.0, 0.0, 20.0]),
    "i1e": (lambda x: mp.exp(-abs(x)) * mp.besseli(1, x), [-3.0, 0.0, 700.0]),
    "k0": (lambda x: mp.besselk(0, x), [0.01, 1.0, 30.0]),
    "k0e": (lambda x: mp.exp(x) * mp.besselk(0, x), [0.01, 1.0, 300.0]),
    "k1": (lambda x: mp.besselk(1, x), [0.01, 1.0, 30.0]),
    "k1e": (lambda x: mp.exp(x) * mp.besselk(1, x), [0.01, 1.0, 300.0]),
    "sinc": (mp.sincpi, [-1.5, 0.0, 1e-9, 0.3, 7.2]),
    "spherical_bessel_j0": (mp.sinc, [-1.5, 0.0, 1e-9, 0.3, 7.2]),
    "entr": (lambda x: -x * mp.log(x), [1e-6, 0.3, 4.0]),
    "logit": (lambda p: mp.log(mp.mpf(p) / (1 - mp.mpf(p))), [1e-6, 0.3, 0.5001, 0.9]),
    "expi": (mp.ei, [-2.0, 0.1, 5.0]),
    "exp1": (mp.e1, [0.01, 1.0, 50.0]),
    "lambertw": (mp.lambertw, [-0.36, 0.0, 1.0, 1e6]),
    "airy_ai": (mp.airyai, [-5.0, 0.0, 3.0]),
}


@pytest.mark.parametrize("name", VALUES)
def test_values_and_slopes(name):
    reference, points = VALUES[name]
    function = getattr(S, name)
    with mp.workdps(36):
        for x in points:
            found = function(wide(x))
            wanted = reference(mp.mpf(x))
            agree(found, mp.re(wanted), 1e-12, 1e-15)
            slope = mp.diff(reference, mp.mpf(x), h=mp.mpf("1e-14"))
            agree(cr.grad(function)(cr.asarray(wide(x))), mp.re(slope), 1e-10, 1e-14)


TWO = {
    "betaln": (lambda a, b: mp.log(mp.beta(a, b)), [(0.3, 2.0), (1e4, 1e-3), (50.0, 60.0)]),
    "beta": (mp.beta, [(0.3, 2.0), (5.0, 1e-3), (5.0, 6.0)]),
    "gammainc": (
        lambda a, x: mp.gammainc(a, 0, x, regularized=True),
        [(1e-3, 1e-5), (0.5, 0.2), (1.0, 3.0), (30.0, 10.0), (30.0, 55.0), (1e4, 1.01e4)],
    ),
    "gammaincc": (
        lambda a, x: mp.gammainc(a, x, mp.inf, regularized=True),
        [(1e-3, 1e-5), (0.5, 9.0), (1.0, 3.0), (30.0, 10.0), (30.0, 90.0), (1e4, 1.03e4)],
    ),
    "xlog1py": (lambda a, b: a * mp.log1p(b), [(2.0, 1e-12), (0.5, 3.0)]),
}  # fmt: skip


@pytest.mark.parametrize("name", TWO)
def test_values_and_slopes_of_two(name):
    reference, points = TWO[name]
    function = getattr(S, name)
    with mp.workdps(40):
        for a, b in points:
            agree(function(wide(a), wide(b)), reference(mp.mpf(a), mp.mpf(b)), 1e-11)
            found = cr.grad(function, argnums=(0, 1))(cr.asarray(wide(a)), cr.asarray(wide(b)))
            for slope, order in zip(found, ((1, 0), (0, 1)), strict=True):
                point = (mp.mpf(a), mp.mpf(b))
                wanted = mp.diff(reference, point, order, h=mp.mpf("1e-14"))
                agree(slope, wanted, 1e-10, 1e-14)


@pytest.mark.parametrize("n", [1, 2, 3])
@pytest.mark.parametrize("a", [1e-3, 0.05, 0.9, 1.0, 5.0, 100.0, 800.0])
def test_gammainc_by_its_shape(n, a):
    """Over seven sizes of the shape, in the middle and in both tails."""
    for factor in (0.3, 0.97, 1.03, 1.5) if a > 1 else (1e-6, 0.3, 1.0, 20.0, 300.0):
        x = a * factor
        # The small tail: of 1 − Q there would be nothing left of Q's digits.
        low = x <= a + 1
        with mp.workdps(50):

            def tail(a, x=x, low=low):
                ends = (0, mp.mpf(x)) if low else (mp.mpf(x), mp.inf)
                return (1 if low else -1) * mp.gammainc(a, *ends, regularized=True)

            wanted = mp.diff(tail, mp.mpf(a), n, h=mp.mpf("1e-12"))
        agree(gammainc_by_shape(n, wide(a), wide(x)), wanted, 1e-11, 1e-300)


@pytest.mark.parametrize("orders", [(1, 0), (0, 1), (1, 1), (2, 0)])
@pytest.mark.parametrize("shapes", [(0.05, 0.3), (1, 1), (2, 5), (30, 2), (0.3, 40), (60, 80)])
def test_betainc_by_its_shapes(orders, shapes):
    a, b = map(float, shapes)
    mean = a / (a + b)
    for x in (mean * 0.1, mean, mean + 0.4 * (1 - mean)):
        with mp.workdps(60):
            wanted = mp.diff(
                lambda a, b, x=x: mp.betainc(a, b, 0, mp.mpf(x), regularized=True),
                (mp.mpf(a), mp.mpf(b)), orders, h=mp.mpf("1e-12"),
            )  # fmt: skip
        # At (1, 1) and ½ the mixed one is 0 by symmetry.
        agree(betainc_by_shapes(*orders, wide(a), wide(b), wide(x)), wanted, 1e-11, 1e-14)


def test_a_large_shape_keeps_its_digits():
    """P is nearly normal there: ∂P/∂a = −density to 1/√a, and the density is Stirling's."""
    for a in (1e6, 1e9):
        x = cr.asarray(wide(a))
        found = cr.grad(S.gammainc, argnums=(0, 1))(x, x)
        peak = 1 / np.sqrt(2 * np.pi * a)
        np.testing.assert_allclose(float(found[1]), peak * (1 - 1 / (12 * a)), 1e-9)
        np.testing.assert_allclose(float(found[0]), -peak, 1e-5)


def test_quantiles_undo_distributions():
    a, b, p = wide([0.3, 2.0, 40.0]), wide([1.5, 0.4, 7.0]), wide([0.1, 0.5, 0.93])
    np.testing.assert_allclose(S.gammainc(a, S.gammaincinv(a, p)).numpy(), p, 1e-12)
    np.testing.assert_allclose(S.gammaincc(a, S.gammainccinv(a, p)).numpy(), p, 1e-12)
    np.testing.assert_allclose(S.betainc(a, b, S.betaincinv(a, b, p)).numpy(), p, 1e-12)
    # d/da of P(a, x(a, p)) = p is 0.
    along = cr.grad(lambda a: S.gammainc(a, S.gammaincinv(a, cr.asarray(p))).sum())
    np.testing.assert_allclose(along(cr.asarray(a)).numpy(), 0, 0, 1e-12)


def test_polygamma_of_negative_numbers():
    with mp.workdps(30):
        for n in (0, 1, 2, 5):
            for x in (-0.3, -4.6, -100.5, 0.2, 7.0):
                agree(S.polygamma(n, wide(x)), mp.polygamma(n, mp.mpf(x)), 1e-10)
    assert np.isnan(S.polygamma(1.5, wide(2.0)).item())
    assert np.isnan(S.polygamma(-1, wide(2.0)).item())


def test_orders():
    x = wide([0.5, 2.0, 9.0])
    for name, reference in (
        ("jv", mp.besselj), ("yv", mp.bessely), ("iv", mp.besseli), ("kv", mp.besselk),
    ):  # fmt: skip
        for v in (0, 1, 2.5):
            wanted = [float(reference(v, float(z))) for z in x]
            function = getattr(S, name)
            np.testing.assert_allclose(function(v, x).numpy(), wanted, 1e-11)
            cr.check_gradients(lambda x, v=v, f=function: f(v, x), x, order=2)


def test_no_derivative_in_an_order():
    with pytest.raises(cr.GradientError, match="operand 0"):
        cr.grad(lambda v: S.jv(v, wide(2.0)))(cr.asarray(wide(1.0)))


def test_edges():
    inf, nan = np.inf, np.nan
    assert S.gammainc(wide([2, 2, 0]), wide([0, inf, 1])).tolist() == [0, 1, 1]
    slopes = gammainc_by_shape(1, wide([2, 2, -1, nan, 2]), wide([0, inf, 1, 1, -1])).numpy()
    np.testing.assert_array_equal(slopes, [0, 0, nan, nan, nan])
    found = betainc_by_shapes(1, 0, wide([2, 2, 0, 2]), wide([1, 1, 1, 1]), wide([0, 1, 0.5, 2]))
    np.testing.assert_array_equal(found.numpy(), [0, 0, nan, nan])
    assert S.entr(wide([0, -1])).tolist() == [0, -inf]
    assert S.logit(wide([0, 1])).tolist() == [-inf, inf]
    assert np.isnan(S.logit(wide([-0.5, 1.5])).numpy()).all()
    assert np.isnan(S.lambertw(wide(-0.5)).item())


UNARY = [n for n in VALUES if n != "spherical_bessel_j0"]


@pytest.mark.parametrize("name", UNARY)
@pytest.mark.parametrize("dtype", [cr.float16, "bfloat16", cr.float32])
def test_narrow_dtypes_stay(name, dtype):
    x = cr.asarray([0.5, 0.75]).astype(dtype)
    y = getattr(S, name)(x)
    assert y.dtype == x.dtype
    assert cr.grad(lambda x: getattr(S, name)(x).sum())(x).dtype == x.dtype
    wanted = getattr(S, name)(wide([0.5, 0.75])).numpy()
    eps = {"float16": 1e-3, "bfloat16": 8e-3, "float32": 2e-7}[x.dtype.name]
    np.testing.assert_allclose(y.numpy().astype(float), wanted, 2 * eps, eps)


def test_whole_numbers_become_floats_and_others_are_refused():
    assert S.gammaln(np.arange(1, 4)).dtype == cr.float32
    for wrong in (1j, "x", None, np.array([1j])):
        with pytest.raises(ChainruleError):
            S.gammaln(wrong)
    for n in (-1, 1.5, "2", None, 10**9):
        with pytest.raises(ChainruleError):
            S.chebyshev_polynomial_t(wide(0.5), n)
    for d in (0, 1.5, None):
        with pytest.raises(ChainruleError):
            S.multigammaln(wide(5.0), d)


ANY = st.floats(allow_nan=True, allow_infinity=True)


@settings(deadline=None, max_examples=60)
@given(a=ANY, b=ANY, x=ANY)
def test_any_numbers_give_a_number(a, b, x):
    """No warning, no hang and no error, of the functions and of their derivatives."""
    found = cr.grad(S.gammainc, argnums=(0, 1))(cr.asarray(wide(a)), cr.asarray(wide(x)))
    assert all(isinstance(g.item(), float) for g in found)
    found = cr.grad(S.betainc, argnums=(0, 1, 2))(*(cr.asarray(wide(v)) for v in (a, b, x)))
    assert all(isinstance(g.item(), float) for g in found)
    for name in UNARY:
        assert isinstance(getattr(S, name)(wide(x)).item(), float)
    assert isinstance(S.polygamma(2, wide(x)).item(), float)
