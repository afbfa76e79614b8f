"""What mpmath, to 40 digits, makes of the special functions whose formula is only shown."""

import mpmath as mp
import numpy as np
from scipy import special


def each(function):
    """A function of mpmath's numbers, element by element of broadcast arrays."""

    def whole(*arrays):
        with mp.workdps(40):
            return np.vectorize(lambda *v: float(function(*v)), otypes=[float])(*arrays)

    return whole


def derivative(function, orders, at):
    return mp.diff(function, tuple(at), tuple(int(n) for n in orders), h=mp.mpf("1e-10"))


def gamma_density(n, a, x):
    return derivative(lambda a, x: x ** (a - 1) * mp.exp(-x) / mp.gamma(a), (n, 0), (a, x))


def gammainc_by_shape(n, a, x):
    return derivative(lambda a, x: mp.gammainc(a, 0, x, regularized=True), (n, 0), (a, x))


def beta_density(m, n, a, b, x):
    def density(a, b, x):
        return x ** (a - 1) * (1 - x) ** (b - 1) / mp.beta(a, b)

    return derivative(density, (m, n, 0), (a, b, x))


def betainc_by_shapes(m, n, a, b, x):
    return derivative(
        lambda a, b, x: mp.betainc(a, b, 0, x, regularized=True), (m, n, 0), (a, b, x)
    )


def dft(x, axes, inverse, norm):
    """By the matrix of the transform, axis after axis."""
    for axis in axes:
        n = max(x.shape[axis], 1)
        j = np.arange(x.shape[axis])
        matrix = np.exp((2j if inverse else -2j) * np.pi * np.outer(j, j) / n)
        scale = {
            "ortho": n**-0.5,
            "forward": n ** (inverse - 1.0),
            "backward": n ** -(inverse + 0.0),
        }
        x = np.moveaxis(np.moveaxis(x, axis, -1) @ matrix * scale[norm], -1, axis)
    return x


def rdft(x, axis, norm):
    return dft(x, (axis,), False, norm).take(range(x.shape[axis] // 2 + 1), axis)


def irdft(x, n, axis, norm):
    x = np.moveaxis(x, axis, -1)
    x = np.concatenate([x[..., :1].real, x[..., 1:]], -1)
    if n % 2 == 0:
        x = np.concatenate([x[..., :-1], x[..., -1:].real], -1)
    rest = np.conj(x[..., 1 : n - x.shape[-1] + 1])[..., ::-1]
    whole = dft(np.concatenate([x, rest], -1), (-1,), True, norm)
    assert np.allclose(whole.imag, 0)
    return np.moveaxis(whole.real, -1, axis)


REFERENCES = {
    "dft": dft,
    "rdft": rdft,
    "irdft": irdft,
    "gamma_density": each(gamma_density),
    "gammainc_by_shape": each(gammainc_by_shape),
    "beta_density": each(beta_density),
    "betainc_by_shapes": each(betainc_by_shapes),
    "multigammaln": special.multigammaln,
    "view_as_real": lambda x: np.stack([x.real, x.imag], -1),
    "view_as_complex": lambda x: x[..., 0] + 1j * x[..., 1],
    "polar": lambda r, theta: r * np.exp(1j * theta),
    "lambertw": lambda x: special.lambertw(x).real,
    "airy_ai": lambda x: special.airy(x)[0],
    "airy_ai_slope": lambda x: special.airy(x)[1],
    "chebyshev_polynomial_t": lambda x, n: special.eval_chebyt(n, x),
    "chebyshev_polynomial_u": lambda x, n: special.eval_chebyu(n, x),
    "hermite_polynomial_h": lambda x, n: special.eval_hermite(n, x),
    "hermite_polynomial_he": lambda x, n: special.eval_hermitenorm(n, x),
    "laguerre_polynomial_l": lambda x, n: special.eval_laguerre(n, x),
    "legendre_polynomial_p": lambda x, n: special.eval_legendre(n, x),
}
