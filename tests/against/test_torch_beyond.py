"""Tensor operations beyond the standard, against PyTorch and NumPy: value and gradients."""

import itertools
import math

import numpy as np
import pytest
import torch

import chainrule as cr


def drawn(*shape, seed=0):
    return np.random.default_rng(seed).standard_normal(shape)


def values_of(y):
    return np.asarray(y.detach() if isinstance(y, torch.Tensor) else y)


def agree(ours, theirs, *arrays, rtol=1e-10, atol=1e-12):
    """Values (one, or several) and gradients of two functions of the same arrays, in float64."""
    mine = [cr.asarray(a, requires_grad=True) for a in arrays]
    other = [torch.tensor(a, requires_grad=True) for a in arrays]
    y, z = ours(*mine), theirs(*other)
    several = isinstance(y, (tuple, list))
    ys, zs = (list(y), list(z)) if several else ([y], [z])
    assert len(ys) == len(zs)
    for a, b in zip(ys, zs, strict=True):
        assert a.shape == tuple(b.shape)
        np.testing.assert_allclose(values_of(a), values_of(b), rtol, atol)
    rng = np.random.default_rng(9)
    first, second = 0.0, 0.0
    for a, b in zip(ys, zs, strict=True):
        if a.dtype.kind == "f":
            g = rng.standard_normal(a.shape)
            first = first + (a * cr.asarray(g)).sum()
            second = second + (b * torch.tensor(g)).sum()
    first.backward()
    second.backward()
    for a, b in zip(mine, other, strict=True):
        wanted = np.zeros(a.shape) if b.grad is None else b.grad.numpy()
        np.testing.assert_allclose(a.grad.numpy(), wanted, rtol, atol)


# einsum


@pytest.mark.parametrize(
    ("equation", "shapes"),
    [
        ("ij,jk->ik", [(3, 4), (4, 2)]),
        ("bhqd,bhkd->bhqk", [(2, 3, 4, 5), (2, 3, 6, 5)]),
        ("...i,...i->...", [(2, 1, 3), (4, 3)]),
        ("ii->i", [(4, 4)]),
        ("iij->ji", [(3, 3, 2)]),
        ("ij,kj,ik->", [(2, 3), (4, 3), (2, 4)]),
        ("ab,bc,cd,de->ae", [(2, 3), (3, 4), (4, 5), (5, 2)]),
        ("bn,anm,bm->ba", [(2, 3), (4, 3, 5), (2, 5)]),
    ],
)
def test_einsum(equation, shapes):
    arrays = [drawn(*s, seed=i) for i, s in enumerate(shapes)]
    agree(lambda *a: cr.einsum(equation, *a), lambda *a: torch.einsum(equation, *a), *arrays)
    agree(
        lambda *a: cr.einsum(equation, *a) ** 2, lambda *a: torch.einsum(equation, *a) ** 2, *arrays
    )


def test_einsum_of_complex_numbers():
    a, b = (drawn(3, 3, seed=i) + 1j * drawn(3, 3, seed=i + 5) for i in (0, 1))
    mine = [cr.asarray(x, requires_grad=True) for x in (a, b)]
    other = [torch.tensor(x, requires_grad=True) for x in (a, b)]
    for f, lib in ((cr.einsum, mine), (torch.einsum, other)):
        y = f("ij,kj->ik", *lib)
        (y.real * 2 + y.imag).sum().backward()
    for x, z in zip(mine, other, strict=True):
        np.testing.assert_allclose(x.grad.numpy(), z.grad.numpy(), 1e-12)


# Order


@pytest.mark.parametrize(("axis", "k"), [(-1, 3), (0, 2), (1, 4), (1, 0)])
@pytest.mark.parametrize("largest", [True, False])
def test_topk(axis, k, largest):
    agree(
        lambda x: cr.topk(x, k, axis=axis, largest=largest),
        lambda x: torch.topk(x, k, dim=axis, largest=largest),
        drawn(4, 5, 6),
    )


def test_nan_is_the_largest():
    x = np.array([1.0, math.nan, 3.0])
    assert cr.topk(x, 2).indices.tolist() == torch.topk(torch.tensor(x), 2).indices.tolist()


@pytest.mark.parametrize("keepdims", [True, False])
def test_kthvalue_and_median(keepdims):
    x = drawn(4, 5, 6)
    agree(
        lambda x: cr.kthvalue(x, 3, axis=1, keepdims=keepdims),
        lambda x: torch.kthvalue(x, 3, 1, keepdims),
        x,
    )
    agree(
        lambda x: cr.quantile(x, 0.5, 1, method="lower", keepdims=keepdims),
        lambda x: torch.median(x, 1, keepdims).values,
        x,
    )
    for axis in (None, 0, (0, 2)):
        wanted = np.median(x, axis, keepdims=keepdims)
        np.testing.assert_allclose(cr.median(x, axis, keepdims=keepdims), wanted, 1e-14)


METHODS = ["linear", "lower", "higher", "nearest", "midpoint"]


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("q", [0.0, 0.3, 0.5, 1.0, np.array([0.1, 0.75])], ids=str)
def test_quantiles(method, q):
    x = drawn(4, 5, 6)
    agree(
        lambda x: cr.quantile(x, q, 1, method=method),
        lambda x: torch.quantile(x, torch.tensor(q, dtype=x.dtype), 1, interpolation=method),
        x,
    )
    with_gaps = np.where(drawn(4, 5, 6, seed=3) > 1, np.nan, x)
    with_gaps[0, :, 0] = np.nan  # nothing but NaN
    agree(
        lambda x: cr.nanquantile(x, q, 1, method=method),
        lambda x: torch.nanquantile(x, torch.tensor(q, dtype=x.dtype), 1, interpolation=method),
        with_gaps[1:],
    )
    for name in ("quantile", "nanquantile"):
        found = getattr(cr, name)(with_gaps, q, 1, method=method)
        wanted = getattr(torch, name)(
            torch.tensor(with_gaps), torch.tensor(q, dtype=torch.float64), 1, interpolation=method
        )
        np.testing.assert_allclose(found.numpy(), wanted, 1e-12)


def test_quantiles_among_infinities():
    x = np.array([-np.inf, 1.0, np.inf, np.inf])
    assert cr.quantile(x, [0.0, 1 / 3, 0.9, 1.0]).tolist() == [-np.inf, 1.0, np.inf, np.inf]
    assert math.isnan(cr.nanmedian([math.nan]).item())


@pytest.mark.parametrize("axis", [0, 1, -1])
def test_running_extremes(axis):
    x = np.random.default_rng(0).integers(0, 5, (4, 6)).astype(float)
    agree(lambda x: cr.cummax(x, axis=axis), lambda x: torch.cummax(x, axis), x)
    agree(lambda x: cr.cummin(x, axis=axis), lambda x: torch.cummin(x, axis), x)
    x[1, 2] = np.nan
    agree(lambda x: cr.cummax(x, axis=axis), lambda x: torch.cummax(x, axis), x)


@pytest.mark.parametrize("axis", [0, 1])
def test_running_log_sums(axis):
    x = drawn(5, 7) * 30
    agree(lambda x: cr.logcumsumexp(x, axis=axis), lambda x: torch.logcumsumexp(x, axis), x)
    x[2] = -np.inf
    np.testing.assert_allclose(
        cr.logcumsumexp(x, axis=axis), torch.logcumsumexp(torch.tensor(x), axis), 1e-12
    )


# Scatter and segments


@pytest.mark.parametrize("reduce", ["sum", "mean", "prod", "amax", "amin"])
@pytest.mark.parametrize("include_self", [True, False])
@pytest.mark.parametrize("axis", [0, 1])
def test_scatter_reduce(reduce, include_self, axis):
    rng = np.random.default_rng(0)
    x, src = drawn(4, 5), drawn(3, 4, seed=1)
    index = rng.integers(0, 4, (3, 4))
    # With ties and zeros, too. (PyTorch counts x among the ties even where it is not included.)
    tied = np.round(x) + (0 if include_self else 0.25)
    for a, b in ((x, src), (tied, np.round(src))):
        agree(
            lambda x, s: cr.scatter_reduce(
                x, axis, index, s, reduce, include_self=include_self
            ),
            lambda x, s: torch.scatter_reduce(
                x, axis, torch.tensor(index), s, reduce, include_self=include_self
            ),
            a, b,
        )  # fmt: skip


def test_scatter():
    index = np.array([[0, 2, 1], [3, 0, 2]])
    agree(
        lambda x, s: cr.scatter(x, 1, index, s),
        lambda x, s: torch.scatter(x, 1, torch.tensor(index), s),
        drawn(2, 4), drawn(2, 3, seed=1),
    )  # fmt: skip
    x, src = drawn(2, 4), drawn(3, 5, seed=1)  # of which only so much is taken as there are indices
    wanted = torch.scatter(torch.tensor(x), 1, torch.tensor(index), torch.tensor(src))
    assert np.array_equal(cr.scatter(x, 1, index, src), wanted)
    agree(
        lambda x: cr.scatter(x, 1, index, 2.5),
        lambda x: torch.scatter(x, 1, torch.tensor(index), 2.5),
        drawn(2, 4),
    )
    one = np.array([[1]])
    agree(  # an index of size 1 is for one place, not for all
        lambda x, s: cr.scatter_add(x, 1, one, s),
        lambda x, s: torch.scatter_add(x, 1, torch.tensor(one), s),
        drawn(2, 4), drawn(1, 1),
    )  # fmt: skip


def test_by_one_index():
    index, t = np.array([2, 0, 2]), torch.tensor([2, 0, 2])
    x, s = drawn(4, 3, 2), drawn(4, 3, 2, seed=1)
    agree(lambda x: cr.index_select(x, 1, index), lambda x: torch.index_select(x, 1, t), x)
    agree(
        lambda x, s: cr.index_add(x, 1, index, s, alpha=2.0),
        lambda x, s: torch.index_add(x, 1, t, s, alpha=2.0),
        x, s,
    )  # fmt: skip
    agree(
        lambda x, s: cr.index_copy(x, 1, index[1:], s),
        lambda x, s: torch.index_copy(x, 1, t[1:], s),
        x, drawn(4, 2, 2, seed=1),
    )  # fmt: skip
    agree(lambda x: cr.index_fill(x, 1, index, 7.0), lambda x: torch.index_fill(x, 1, t, 7.0), x)


@pytest.mark.parametrize("kind", ["sum", "mean", "max", "min", "prod"])
@pytest.mark.parametrize("shape", [(7,), (7, 3)])
def test_segments(kind, shape):
    ids = np.array([2, 0, 0, 5, 2, 2, 0])
    x = np.round(drawn(*shape), 1)
    found = getattr(cr, f"segment_{kind}")(x, ids, 7)
    empty = {"sum": 0, "mean": 0, "max": -np.inf, "min": np.inf, "prod": 1}[kind]
    for i in range(7):
        rows = x[ids == i]
        wanted = getattr(rows, kind)(0) if len(rows) else empty
        wanted = np.broadcast_to(wanted, shape[1:])
        np.testing.assert_allclose(found[i].numpy(), wanted, 1e-14, 1e-15)
    names = {"max": "amax", "min": "amin"}
    full = torch.tensor(ids.reshape(-1, *(1,) * (x.ndim - 1))).expand(*shape)
    agree(
        lambda x: getattr(cr, f"segment_{kind}")(x, ids)[np.array([0, 2, 5])],
        lambda x: torch.full((6, *shape[1:]), 0.123, dtype=x.dtype).scatter_reduce(
            0, full, x, names.get(kind, kind), include_self=False
        )[[0, 2, 5]],
        x,
    )
    cr.check_gradients(lambda x: getattr(cr, f"segment_{kind}")(x, ids, 7)[:1].sum(), drawn(7))


def test_segments_that_there_are_not():
    with pytest.raises(cr.ChainruleError, match=r"`segment_sum`.*no segment 3; valid are 0 … 2"):
        cr.segment_sum(cr.ones(2), cr.asarray([0, 3]), 3)
    with pytest.raises(cr.ChainruleError, match="no segment -1"):
        cr.segment_max(cr.ones(2), cr.asarray([0, -1]))
    assert cr.segment_sum(cr.ones(0), cr.asarray(np.zeros(0, int))).shape == (0,)


# Counting


def test_counting():
    x = np.array([3, 0, 3, 1, 7])
    w = drawn(5)
    assert np.array_equal(cr.bincount(x), np.bincount(x))
    assert np.array_equal(cr.bincount(x, minlength=12), np.bincount(x, minlength=12))
    agree(
        lambda w: cr.bincount(x, w),
        lambda w: torch.zeros(8, dtype=w.dtype).scatter_add(0, torch.tensor(x), w),
        w,
    )
    with pytest.raises(cr.ChainruleError, match="at least 0"):
        cr.bincount(cr.asarray([-1]))


@pytest.mark.parametrize("bins", [1, 7, np.array([-2.0, -0.5, 0.0, 3.0])], ids=str)
@pytest.mark.parametrize("range", [None, (-1.0, 1.5)])
@pytest.mark.parametrize("density", [True, False])
def test_histogram(bins, range, density):
    x, w = drawn(200), np.abs(drawn(200, seed=1))
    for weights in (None, w):
        options = {"range": range, "density": density, "weights": weights}
        found, wanted = cr.histogram(x, bins, **options), np.histogram(x, bins, **options)
        np.testing.assert_allclose(found.hist, wanted[0], 1e-12)
        np.testing.assert_allclose(found.bin_edges, wanted[1], 1e-14)
    on_edges = np.array([0.0, 0.1, 0.2, 0.3, 1.0, 0.7])
    assert np.array_equal(cr.histogram(on_edges).hist, np.histogram(on_edges)[0])
    assert np.array_equal(cr.histogram([2.0, 2.0]).hist, np.histogram([2.0, 2.0])[0])


# What is missing


@pytest.mark.parametrize("name", ["nansum", "nanmean", "nanmax", "nanmin", "nanmedian"])
@pytest.mark.parametrize("axis", [None, 0, 1])
def test_missing_numbers(name, axis):
    x = drawn(4, 5)
    x[drawn(4, 5, seed=1) > 0.7] = np.nan
    found = getattr(cr, name)(x, axis).numpy()
    np.testing.assert_allclose(found, getattr(np, name)(x, axis), 1e-14)
    if name in ("nansum", "nanmean") and axis is not None:
        agree(lambda x: getattr(cr, name)(x, axis), lambda x: getattr(torch, name)(x, axis), x)
    assert math.isnan(cr.nanmean(np.array([np.nan])).item())


def test_numbers_in_place_of_nan():
    x = np.array([np.nan, 1.0, np.inf, -np.inf, -2.0])
    agree(cr.nan_to_num, torch.nan_to_num, x)
    agree(
        lambda x: cr.nan_to_num(x, 5.0, 6.0, 7.0), lambda x: torch.nan_to_num(x, 5.0, 6.0, 7.0), x
    )
    for dtype in (cr.float16, cr.float32, "bfloat16"):
        y = cr.nan_to_num(cr.asarray([np.inf]).astype(dtype))
        assert y.dtype == cr.asarray([1.0]).astype(dtype).dtype
        assert np.isfinite(y.astype(cr.float64).item())
    assert cr.nan_to_num(cr.asarray([1, 2])).tolist() == [1, 2]


# Distances


@pytest.mark.parametrize("p", [0.0, 0.7, 1.0, 2.0, 3.5, math.inf])
def test_distances(p):
    a, b = drawn(2, 4, 3), drawn(2, 5, 3, seed=1)
    if p == 0:  # how many differ, which has no derivative
        assert np.array_equal(cr.cdist(a, b, p), torch.cdist(*map(torch.tensor, (a, b)), p))
        return
    agree(lambda a, b: cr.cdist(a, b, p), lambda a, b: torch.cdist(a, b, p), a, b)
    agree(lambda a: cr.pdist(a, p), lambda a: torch.pdist(a, p), a[0])
    F = torch.nn.functional
    for keep in (True, False):
        agree(
            lambda a, b, keep=keep: cr.pairwise_distance(a, b, p, keepdims=keep),
            lambda a, b, keep=keep: F.pairwise_distance(a, b, p, keepdim=keep),
            a, b[:, :4],
        )  # fmt: skip
    agree(lambda a: cr.normalize(a, p), lambda a: F.normalize(a, p), a)


def test_equal_vectors_have_the_distance_0_and_the_derivative_0():
    a = drawn(3, 2)
    agree(lambda a: cr.cdist(a, a), lambda a: torch.cdist(a, a), a, atol=1e-8)
    assert np.array_equal(cr.cdist(a, a).numpy().diagonal(), np.zeros(3))


@pytest.fixture
def in_float64():
    """PyTorch's weighted means round the total of the weights to its default dtype."""
    before = torch.get_default_dtype()
    torch.set_default_dtype(torch.float64)
    yield
    torch.set_default_dtype(before)


def test_covariance_and_correlation(in_float64):
    x = drawn(3, 8)
    agree(cr.cov, torch.cov, x)
    agree(cr.corrcoef, torch.corrcoef, x)
    agree(cr.cov, torch.cov, x[0])
    often, much = np.array([1, 2, 1, 3, 1, 1, 2, 1]), np.abs(drawn(8, seed=2))
    for correction in (0, 1):
        agree(
            lambda x, c=correction: cr.cov(x, correction=c, fweights=often, aweights=much),
            lambda x, c=correction: torch.cov(
                x, correction=c, fweights=torch.tensor(often), aweights=torch.tensor(much)
            ),
            x,
        )
    z = drawn(3, 8) + 1j * drawn(3, 8, seed=1)
    np.testing.assert_allclose(cr.cov(z), np.cov(z), 1e-12)


# Masks, cuts, curves


def test_masks():
    x, s = drawn(3, 4), drawn(20, seed=1)
    m = drawn(3, 4, seed=2) > 0
    t = torch.tensor(m)
    agree(lambda x: cr.masked_fill(x, m, 2.0), lambda x: torch.masked_fill(x, t, 2.0), x)
    agree(lambda x: cr.masked_select(x, m), lambda x: torch.masked_select(x, t), x)
    agree(lambda x: cr.masked_select(x, m[:1]), lambda x: torch.masked_select(x, t[:1]), x)
    agree(lambda x, s: cr.masked_scatter(x, m, s), lambda x, s: torch.masked_scatter(x, t, s), x, s)
    agree(
        lambda a, b, w: cr.lerp(a, b, w),
        lambda a, b, w: torch.lerp(a, b, w),
        x, drawn(3, 4, seed=4), drawn(3, 4, seed=3),
    )  # fmt: skip


def test_closeness():
    a = np.array([1.0, 1.0, np.inf, np.inf, np.nan, 0.0, -np.inf])
    b = np.array([1.0 + 1e-6, 1.1, np.inf, -np.inf, np.nan, 1e-9, 1.0])
    for equal_nan in (True, False):
        found = cr.isclose(a, b, equal_nan=equal_nan)
        assert np.array_equal(found, np.isclose(a, b, equal_nan=equal_nan))
    assert bool(cr.allclose([1, 2], [1, 2]))


@pytest.mark.parametrize("axis", [0, 1, -1])
def test_cuts(axis):
    x = drawn(5, 7)
    n = x.shape[axis]
    for sizes in (2, 3, 9, [1, n - 3, 2]):
        agree(
            lambda x, s=sizes: cr.split(x, s, axis), lambda x, s=sizes: torch.split(x, s, axis), x
        )
    for parts in (1, 2, 3, 9):
        agree(
            lambda x, p=parts: cr.chunk(x, p, axis), lambda x, p=parts: torch.chunk(x, p, axis), x
        )
    for where in (3, 9, (2, 4), (1, -1), (4, 2), (0, 99)):
        agree(
            lambda x, w=where: cr.tensor_split(x, w, axis),
            lambda x, w=where: torch.tensor_split(x, w, axis),
            x,
        )


def test_stacks_and_turns():
    for shapes in ([(), ()], [(3,), (2,)], [(2, 3), (2, 1)]):
        arrays = [drawn(*s) for s in shapes]
        agree(lambda *a: cr.hstack(a), lambda *a: torch.hstack(a), *arrays)
    for shapes in ([(), ()], [(3,), (3,)], [(2, 3), (1, 3)], [(2, 3), (3,)]):
        arrays = [drawn(*s) for s in shapes]
        agree(lambda *a: cr.vstack(a), lambda *a: torch.vstack(a), *arrays)
    for shapes in ([(), ()], [(3,), (3,)], [(2, 3), (2, 3)], [(2, 3, 1), (2, 3)]):
        arrays = [drawn(*s) for s in shapes]
        agree(lambda *a: cr.dstack(a), lambda *a: torch.dstack(a), *arrays)
    x = drawn(2, 3, 4)
    for k, axes in itertools.product(range(-2, 5), [(0, 1), (2, 0), (-1, 1)]):
        agree(
            lambda x, k=k, a=axes: cr.rot90(x, k, a), lambda x, k=k, a=axes: torch.rot90(x, k, a), x
        )
    agree(
        lambda x: cr.unflatten(x, 1, (3, -1, 2)),
        lambda x: torch.unflatten(x, 1, (3, -1, 2)),
        drawn(2, 12),
    )


def test_areas():
    y, x = drawn(3, 5), np.sort(drawn(5, seed=1))
    for axis, n in ((1, 5), (0, 3)):
        points = x[:n]
        agree(
            lambda y, x, a=axis: cr.trapezoid(y, x, axis=a),
            lambda y, x, a=axis: torch.trapezoid(y, x, dim=a),
            y, points,
        )  # fmt: skip
        agree(
            lambda y, x, a=axis: cr.cumulative_trapezoid(y, x, axis=a),
            lambda y, x, a=axis: torch.cumulative_trapezoid(y, x, dim=a),
            y, points,
        )  # fmt: skip
    agree(lambda y: cr.trapezoid(y, dx=0.3), lambda y: torch.trapezoid(y, dx=0.3), y)


@pytest.mark.parametrize("options", [{}, {"left": -1.0, "right": 9.0}, {"period": 1.7}], ids=str)
def test_values_between(options):
    xp, fp = np.sort(drawn(6)), drawn(6, seed=1)
    x = np.concatenate([drawn(30, seed=2) * 2, xp, [np.inf, -np.inf, np.nan]])
    if "period" in options:
        x = x[:-3]
    np.testing.assert_allclose(
        cr.interp(x, xp, fp, **options), np.interp(x, xp, fp, **options), 1e-9
    )
    inside = cr.asarray(drawn(8, seed=2) * 2)
    cr.check_gradients(lambda x, f: cr.interp(x, xp, f, **options).sum(), inside, cr.asarray(fp))


def test_a_number_has_the_precision_of_what_it_stands_beside():
    a, b = drawn(3), drawn(3, seed=1)
    agree(lambda a, b: cr.lerp(a, b, 0.4), lambda a, b: torch.lerp(a, b, 0.4), a, b, rtol=1e-15)
    assert cr.lerp(cr.ones(2), cr.ones(2), 0.4).dtype == cr.float32
    assert cr.polyval(cr.asarray([1, 2]), 3).dtype == cr.int64
    assert cr.polyval(cr.asarray(np.array([1.0, 2.0])), 0.1).item() == 2.1
