"""What the tests of single operations do not reach, of those beyond the standard: half precision
keeps its dtype, and `vmap` is what a loop gives."""

import numpy as np
import pytest

import chainrule as cr
from chainrule import nn

rng = np.random.default_rng(0)
IDS = np.array([0, 2, 0])


def d(*shape):
    return rng.standard_normal(shape)


def between(x, values):
    return cr.interp(x, cr.asarray([-1.0, 0.0, 1.0]).astype(x.dtype), values)


def scattered(reduce):
    return lambda x, src: cr.scatter_reduce(x, 0, IDS, src, reduce)


def segments(kind):
    return lambda x: getattr(cr, f"segment_{kind}")(x, IDS, 4)[np.array([0, 2])]


CASES = {
    "conv1d": (nn.conv1d, d(2, 3, 5), d(4, 3, 2)),
    "conv2d": (nn.conv2d, d(2, 3, 5, 5), d(4, 3, 2, 2)),
    "conv3d": (nn.conv3d, d(2, 3, 4, 4, 4), d(4, 3, 2, 2, 2)),
    "ct1": (nn.conv_transpose1d, d(2, 3, 5), d(3, 4, 2)),
    "ct2": (
        lambda x, w: nn.conv_transpose2d(x, w, stride=2, output_padding=1),
        d(2, 3, 5, 5),
        d(3, 4, 2, 2),
    ),
    "ct3": (nn.conv_transpose3d, d(2, 3, 2, 3, 3), d(3, 4, 2, 2, 2)),
    "mp1": (lambda x: nn.max_pool1d(x, 2), d(2, 3, 6)),
    "mp3": (lambda x: nn.max_pool3d(x, 2), d(2, 3, 4, 4, 4)),
    "ap1": (lambda x: nn.avg_pool1d(x, 2), d(2, 3, 6)),
    "ap3": (lambda x: nn.avg_pool3d(x, 2), d(2, 3, 4, 4, 4)),
    "lp": (lambda x: nn.lp_pool2d(x, 2, 2), d(2, 3, 4, 4)),
    "aa": (lambda x: nn.adaptive_avg_pool1d(x, 3), d(2, 3, 7)),
    "aa3": (lambda x: nn.adaptive_avg_pool3d(x, 3), d(2, 3, 7, 4, 4)),
    "am": (lambda x: nn.adaptive_max_pool2d(x, 3), d(2, 3, 7, 7)),
    "interp_b": (lambda x: nn.interpolate(x, 7, mode="bilinear"), d(2, 3, 4, 4)),
    "interp_c": (lambda x: nn.interpolate(x, 7, mode="bicubic"), d(2, 3, 4, 4)),
    "near": (lambda x: nn.interpolate(x, 7), d(2, 3, 4, 4)),
    "unfold": (lambda x: nn.unfold(x, 2), d(2, 3, 4, 4)),
    "fold": (lambda x: nn.fold(x, 4, 2), d(2, 12, 9)),
    "ps": (lambda x: nn.pixel_shuffle(x, 2), d(2, 4, 3, 3)),
    "pad": (lambda x: nn.pad(x, 2, mode="circular"), d(4, 4)),
    "gs": (nn.grid_sample, d(2, 3, 4, 4), d(2, 3, 3, 2)),
    "ag": (lambda t: nn.affine_grid(t, (2, 1, 3, 3)), d(2, 2, 3)),
    "einsum": (lambda a, b: cr.einsum("ij,kj->ik", a, b), d(3, 4), d(2, 4)),
    "einsumd": (lambda a: cr.einsum("...ii->...i", a), d(2, 3, 3)),
    "topk": (lambda x: cr.topk(x, 2).values, d(3, 5)),
    "topkbig": (lambda x: cr.topk(x, 2).values, d(3, 40)),
    "kth": (lambda x: cr.kthvalue(x, 2).values, d(3, 5)),
    "median": (lambda x: cr.median(x, 1), d(3, 4)),
    "quant": (lambda x: cr.quantile(x, 0.3, 1), d(3, 4)),
    "nanq": (lambda x: cr.nanquantile(x, [0.3, 0.6], 1), d(3, 4)),
    "cummax": (lambda x: cr.cummax(x).values, d(3, 4)),
    "lcse": (cr.logcumsumexp, d(3, 4)),
    "nansum": (lambda x: cr.nansum(x, 1), d(3, 4)),
    "nanmean": (lambda x: cr.nanmean(x, 1), d(3, 4)),
    "nanmax": (lambda x: cr.nanmax(x, 1), d(3, 4)),
    "ntn": (cr.nan_to_num, d(3, 4)),
    "cdist": (cr.cdist, d(3, 4), d(2, 4)),
    "cdist3": (lambda a, b: cr.cdist(a, b, 3.0), d(3, 4), d(2, 4)),
    "pdist": (cr.pdist, d(3, 4)),
    "pwd": (cr.pairwise_distance, d(3, 4), d(3, 4)),
    "normalize": (cr.normalize, d(3, 4)),
    "cov": (cr.cov, d(3, 4)),
    "corr": (cr.corrcoef, d(3, 4)),
    "mf": (lambda x: cr.masked_fill(x, x > 0, 3.0), d(3, 4)),
    "lerp": (lambda a, b: cr.lerp(a, b, 0.3), d(3, 4), d(3, 4)),
    "trap": (cr.trapezoid, d(3, 4)),
    "ctrap": (cr.cumulative_trapezoid, d(3, 4)),
    "between": (between, d(3, 4), d(3)),
    "polyval": (cr.polyval, d(3), d(2, 2)),
    "rot90": (cr.rot90, d(3, 4)),
    "scatter": (lambda x, s: cr.scatter(x, 0, IDS, s), d(4), d(3)),
    **{f"sr{k}": (scattered(k), d(4), d(3)) for k in ("sum", "mean", "prod", "amax", "amin")},
    **{f"seg{k}": (segments(k), d(3, 2)) for k in ("sum", "mean", "prod", "max", "min")},
    "ia": (lambda x, s: cr.index_add(x, 0, IDS, s), d(4), d(3)),
    "hist": (lambda x: cr.histogram(x, 4, (-1, 1), density=True).hist, d(9)),
    "d2": (lambda x: nn.dropout2d(x, 0.5), d(2, 3, 4, 4)),
    "alpha": (nn.alpha_dropout, d(9)),
}

RANDOM = ("d2", "alpha")


@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
@pytest.mark.parametrize("name", CASES)
def test_half_precision_is_kept(name, dtype):
    function, *arrays = CASES[name]
    given = [cr.asarray(x).astype(dtype) for x in arrays]
    for x in given:
        x.requires_grad = True
    y = function(*given)
    assert str(y.dtype) == dtype
    if name not in RANDOM:
        wanted = function(*map(cr.asarray, arrays)).numpy()
        size = max(1.0, np.abs(wanted).max())
        error = np.abs(y.astype(cr.float64).numpy() - wanted).max()
        # Places that jump (nearest pixels, largest numbers) stay; the rest is rounding.
        assert error < 40 * size * (2**-11 if dtype == "float16" else 2**-8)
    if name != "hist":
        y.sum().backward()
        assert all(str(x.grad.dtype) == dtype for x in given)


@pytest.mark.parametrize("name", [name for name in CASES if name not in RANDOM])
def test_vmap_is_a_loop(name):
    function, *arrays = CASES[name]
    many = [np.stack([x, x * 0.5 + 0.1, -x]) for x in arrays]
    found = cr.vmap(function)(*map(cr.asarray, many)).numpy()
    wanted = [function(*(cr.asarray(m[i]) for m in many)).numpy() for i in range(3)]
    np.testing.assert_allclose(found, np.stack(wanted), 1e-10, 1e-12)
    if name == "hist":
        return

    def loss(*xs):
        return (cr.vmap(function)(*xs) ** 2).sum()

    every = tuple(range(len(many)))
    found = cr.grad(loss, argnums=every)(*map(cr.asarray, many))
    for i in range(3):
        alone = cr.grad(lambda *xs: (function(*xs) ** 2).sum(), argnums=every)
        for a, b in zip(found, alone(*(cr.asarray(m[i]) for m in many)), strict=True):
            np.testing.assert_allclose(a[i].numpy(), b.numpy(), 1e-9, 1e-10)
