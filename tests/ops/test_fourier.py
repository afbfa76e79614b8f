"""Fourier transforms beside NumPy's, by the laws that they have, and with wrong arguments."""

import numpy as np
import pytest

import chainrule as cr
from chainrule.errors import ChainruleError

RNG = np.random.default_rng(0)
X = RNG.standard_normal((3, 4, 5))
Z = X + 1j * RNG.standard_normal((3, 4, 5))
NORMS = ["backward", "ortho", "forward"]
ONE = {"fft": Z, "ifft": Z, "rfft": X, "irfft": Z, "hfft": Z, "ihfft": X}
MANY = {"fftn": Z, "ifftn": Z, "rfftn": X, "irfftn": Z}
TWO = {"fft2": Z, "ifft2": Z, "rfft2": X, "irfft2": Z}


def close(found, wanted):
    assert found.dtype == wanted.dtype
    np.testing.assert_allclose(np.asarray(found), wanted, 1e-12, 1e-13)


@pytest.mark.parametrize("norm", NORMS)
@pytest.mark.parametrize("n", [None, 1, 2, 4, 5, 8])
@pytest.mark.parametrize("axis", [-1, 0, 1])
@pytest.mark.parametrize("name", ONE)
def test_along_an_axis(name, axis, n, norm):
    arguments = {"n": n, "axis": axis, "norm": norm}
    found = getattr(cr.fft, name)(ONE[name], **arguments)
    close(found, getattr(np.fft, name)(ONE[name], **arguments))


@pytest.mark.parametrize("norm", NORMS)
@pytest.mark.parametrize(
    ("s", "axes"), [(None, None), (None, (0, 2)), ((2, 8), (1, 0)), ((4, 6, 7), (2, 0, 1))]
)
@pytest.mark.parametrize("name", MANY)
def test_along_several_axes(name, s, axes, norm):
    arguments = {"s": s, "axes": axes, "norm": norm}
    found = getattr(cr.fft, name)(MANY[name], **arguments)
    close(found, getattr(np.fft, name)(MANY[name], **arguments))


@pytest.mark.parametrize("name", TWO)
def test_along_two_axes(name):
    close(getattr(cr.fft, name)(TWO[name]), getattr(np.fft, name)(TWO[name]))
    close(getattr(cr.fft, name)(TWO[name], s=(2, 6)), getattr(np.fft, name)(TWO[name], s=(2, 6)))


@pytest.mark.parametrize("norm", NORMS)
def test_there_and_back(norm):
    close(cr.fft.ifftn(cr.fft.fftn(Z, norm=norm), norm=norm), Z)
    close(cr.fft.irfftn(cr.fft.rfftn(X, norm=norm), s=X.shape, norm=norm), X)
    close(cr.fft.hfft(cr.fft.ihfft(X, norm=norm), n=5, norm=norm), X)


def test_parsevals_law():
    """The squared length is kept, and its gradient is that of the numbers themselves."""
    y = cr.fft.fftn(Z, norm="ortho")
    assert np.isclose((abs(y) ** 2).sum().item(), np.sum(np.abs(Z) ** 2))
    gradient = cr.grad(lambda z: (abs(cr.fft.fftn(z, norm="ortho")) ** 2).sum())(cr.asarray(Z))
    np.testing.assert_allclose(gradient.numpy(), 2 * Z, 1e-12)


@pytest.mark.parametrize("name", [*ONE, *MANY])
def test_gradients(name):
    x = {**ONE, **MANY}[name][:2, :3]
    transform = getattr(cr.fft, name)
    size = {"n": 6} if name in ONE else {"s": (3, 6), "axes": (0, 2)}
    for norm in NORMS:
        cr.check_gradients(lambda x, norm=norm: transform(x, norm=norm, **size), x)


def test_a_convolution_is_a_product_of_spectra():
    a, b = RNG.standard_normal(6), RNG.standard_normal(4)
    n = len(a) + len(b) - 1

    def convolve(a, b):
        return cr.fft.irfft(cr.fft.rfft(a, n=n) * cr.fft.rfft(b, n=n), n=n)

    close(convolve(a, b), np.convolve(a, b))
    cr.check_gradients(convolve, a, b, order=2)


def test_narrow_numbers_stay_narrow():
    assert cr.fft.fft(X.astype(np.float32)).dtype == cr.complex64
    assert cr.fft.rfft(X.astype(np.float32)).dtype == cr.complex64
    assert cr.fft.irfft(Z.astype(np.complex64)).dtype == cr.float32
    assert cr.fft.fft(np.arange(4)).dtype == cr.complex64


def test_empty_and_strided():
    assert cr.fft.fft(np.zeros((0, 4))).shape == (0, 4)
    assert cr.fft.rfft(np.zeros((0, 4))).shape == (0, 3)
    assert cr.fft.irfft(np.zeros((0, 3))).shape == (0, 4)
    close(cr.fft.fft(Z[::2, ::-1, ::2]), np.fft.fft(Z[::2, ::-1, ::2]))


@pytest.mark.parametrize("n", [1, 2, 5, 8])
def test_frequencies_and_shifts(n):
    np.testing.assert_allclose(cr.fft.fftfreq(n, d=0.5), np.fft.fftfreq(n, 0.5), 1e-6)
    np.testing.assert_allclose(cr.fft.rfftfreq(n, d=0.5), np.fft.rfftfreq(n, 0.5), 1e-6)
    x = RNG.standard_normal((n, 3))
    close(cr.fft.fftshift(x), np.fft.fftshift(x))
    close(cr.fft.fftshift(x, axes=0), np.fft.fftshift(x, axes=0))
    close(cr.fft.ifftshift(x, axes=(1,)), np.fft.ifftshift(x, axes=(1,)))
    close(cr.fft.ifftshift(cr.fft.fftshift(x)), x)


def test_vmap_and_compile():
    np.testing.assert_allclose(cr.vmap(cr.fft.fft)(cr.asarray(Z)).numpy(), np.fft.fft(Z))
    several = cr.vmap(lambda x: cr.fft.rfftn(x, axes=(1, 0)))(cr.asarray(X))
    np.testing.assert_allclose(several.numpy(), np.fft.rfftn(X, axes=(2, 1)))
    filtered = cr.compile(lambda x: cr.fft.irfft(cr.fft.rfft(x) * 0.5, n=5))
    np.testing.assert_allclose(filtered(cr.asarray(X)).numpy(), X / 2, 1e-12)


@pytest.mark.parametrize(
    "wrong",
    [
        lambda: cr.fft.fft(X, n=0),
        lambda: cr.fft.fft(X, n=-3),
        lambda: cr.fft.fft(X, n=2.5),
        lambda: cr.fft.fft(X, n="4"),
        lambda: cr.fft.fft(X, axis=3),
        lambda: cr.fft.fft(X, axis="x"),
        lambda: cr.fft.fft(X, norm="unitary"),
        lambda: cr.fft.fft(X, norm=["ortho"]),
        lambda: cr.fft.fft(1.0),
        lambda: cr.fft.fft(X > 0),
        lambda: cr.fft.fft(X.astype(np.float16)),
        lambda: cr.fft.fft("abc"),
        lambda: cr.fft.rfft(Z),
        lambda: cr.fft.rfftn(X, axes=()),
        lambda: cr.fft.irfft(Z[..., :1]),
        lambda: cr.fft.irfftn(Z, s=(2, 0), axes=(0, 1)),
        lambda: cr.fft.fftn(X, s=(2, 2, 2, 2)),
        lambda: cr.fft.fftn(X, s=(2,), axes=(0, 1)),
        lambda: cr.fft.fftn(X, axes=(0, 0)),
        lambda: cr.fft.fftn(X, s=(2, None)),
        lambda: cr.fft.fftn(X, s=3),
        lambda: cr.fft.fftn(X, axes=1.5),
        lambda: cr.fft.fft(np.zeros((2, 0))),
        lambda: cr.fft.hfft(X, norm=None),
        lambda: cr.fft.fftfreq(0),
        lambda: cr.fft.fftfreq(4, d=0.0),
        lambda: cr.fft.fftfreq(4, d="1"),
        lambda: cr.fft.fftfreq(4, dtype=cr.int64),
        lambda: cr.fft.fftshift(X, axes=5),
    ],
)
def test_wrong_arguments(wrong):
    with pytest.raises(ChainruleError):
        wrong()
