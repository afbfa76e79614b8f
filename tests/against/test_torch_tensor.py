"""Values and gradients of operations beside PyTorch's, in float64; kinks and ties too."""

import numpy as np
import pytest
import torch

import chainrule as cr
from chainrule import nn

rng = np.random.default_rng(0)
A, B = rng.normal(size=(3, 4)), rng.normal(size=(3, 4))
P = np.abs(A) + 0.1
U = np.tanh(A)  # between −1 and 1


def check(ours, theirs, *arrays, rtol=1e-12, atol=1e-13):
    x = [cr.asarray(a, requires_grad=True) for a in arrays]
    t = [torch.tensor(a, requires_grad=True) for a in arrays]
    y, z = ours(*x), theirs(*t)
    np.testing.assert_allclose(y.numpy(), z.detach().numpy(), rtol, atol)
    g = np.cos(np.arange(y.size)).reshape(y.shape)
    y.backward(cr.asarray(g))
    z.backward(torch.tensor(g))
    for a, b in zip(x, t, strict=True):
        np.testing.assert_allclose(a.grad.numpy(), b.grad.numpy(), rtol, atol)


UNARY = {
    "abs": A, "exp": A, "log": P, "log1p": P, "log2": P, "log10": P, "expm1": A, "sqrt": P,
    "rsqrt": P, "square": A, "sin": A, "cos": A, "tan": A, "asin": U, "acos": U, "atan": A,
    "sinh": A, "cosh": A, "tanh": A, "asinh": A, "acosh": P + 1, "atanh": U, "erf": A, "erfc": A,
    "erfinv": U, "sigmoid": A, "reciprocal": P, "exp2": A, "negative": A,
}  # fmt: skip


@pytest.mark.parametrize("name", UNARY)
def test_elementwise(name):
    check(getattr(cr, name), getattr(torch, name), UNARY[name])


BINARY = [
    ("add", "add"), ("subtract", "subtract"), ("multiply", "multiply"), ("divide", "divide"),
    ("maximum", "maximum"), ("minimum", "minimum"), ("hypot", "hypot"), ("atan2", "atan2"),
    ("logaddexp", "logaddexp"), ("xlogy", "xlogy"),
]  # fmt: skip


@pytest.mark.parametrize(("ours", "theirs"), BINARY)
@pytest.mark.parametrize("shape", [(3, 4), (4,), (3, 1), ()])
def test_broadcast(ours, theirs, shape):
    second = np.abs(np.resize(B, shape)) + 0.2
    check(getattr(cr, ours), getattr(torch, theirs), A, second)


def test_powers():
    check(lambda x, y: x**y, lambda x, y: x**y, P, B)
    zero = np.array([0.0, 0.0, 2.0])
    for exponent in (0.0, 1.0, 2.0, 3.0):
        check(lambda x, e=exponent: x**e, lambda x, e=exponent: x**e, zero)


KINKS = np.array([-1.0, 0.0, 0.0, 1.0, 2.0, 6.0, -3.0, 3.0])


@pytest.mark.parametrize(
    "name",
    ["abs", "relu", "sign", "relu6", "hardtanh", "leaky_relu", "elu", "softsign", "hardswish"],
)
def test_kinks(name):
    ours = getattr(cr, name, None) or getattr(nn, name)
    theirs = getattr(torch, name, None) or getattr(torch.nn.functional, name)
    check(ours, theirs, KINKS, rtol=1e-7)


def test_ties():
    tied = np.array([[1.0, 3.0, 3.0], [2.0, 2.0, 2.0]])
    check(lambda x: cr.max(x, axis=1), lambda x: torch.amax(x, 1), tied)
    check(lambda x: cr.min(x, axis=1), lambda x: torch.amin(x, 1), tied)
    check(cr.maximum, torch.maximum, tied, tied)
    check(lambda x: cr.clip(x, 2.0, 3.0), lambda x: torch.clamp(x, 2.0, 3.0), tied)
    image = np.array([[[[1.0, 3.0], [3.0, 0.0]]]])
    check(lambda x: nn.max_pool2d(x, 2), lambda x: torch.nn.functional.max_pool2d(x, 2), image)


def test_reductions():
    x = rng.normal(size=(2, 3, 4))
    for ours, theirs in [
        (lambda v: v.sum(axis=1), lambda v: v.sum(1)),
        (lambda v: v.mean(axis=(0, 2)), lambda v: v.mean((0, 2))),
        (lambda v: v.prod(axis=1), lambda v: v.prod(1)),
        (lambda v: v.var(axis=1, correction=1), lambda v: v.var(1)),
        (lambda v: v.std(axis=0, correction=1), lambda v: v.std(0)),
        (lambda v: cr.cumulative_sum(v, axis=1), lambda v: v.cumsum(1)),
        (lambda v: cr.cumulative_prod(v, axis=1), lambda v: v.cumprod(1)),
        (lambda v: cr.logsumexp(v, axis=2), lambda v: v.logsumexp(2)),
        (lambda v: cr.softmax(v, axis=1), lambda v: v.softmax(1)),
        (lambda v: cr.log_softmax(v, axis=0), lambda v: v.log_softmax(0)),
        (lambda v: cr.linalg.norm(v, axis=1), lambda v: torch.linalg.vector_norm(v, dim=1)),
    ]:
        check(ours, theirs, x)
    zeros = np.array([[2.0, 0.0, 3.0], [0.0, 0.0, 1.0]])
    check(lambda v: v.prod(axis=1), lambda v: v.prod(1), zeros)


def test_structure_and_indexing():
    x = rng.normal(size=(2, 3, 4))
    index = np.array([[0, 2], [1, 1]])
    for ours, theirs in [
        (lambda v: v.reshape(4, 6), lambda v: v.reshape(4, 6)),
        (lambda v: v.permute(2, 0, 1), lambda v: v.permute(2, 0, 1)),
        (lambda v: cr.flip(v, axis=1), lambda v: v.flip(1)),
        (lambda v: cr.roll(v, 2, axis=2), lambda v: v.roll(2, 2)),
        (lambda v: v[:, ::2, 1], lambda v: v[:, ::2, 1]),
        (lambda v: v[:, index], lambda v: v[:, torch.tensor(index)]),
        (lambda v: v[v > 0], lambda v: v[v > 0]),
        (lambda v: cr.tile(v, (2, 1, 1)), lambda v: v.repeat(2, 1, 1)),
        (lambda v: cr.stack([v, v * 2], axis=1), lambda v: torch.stack([v, v * 2], 1)),
        (lambda v: cr.concat([v, v], axis=2), lambda v: torch.cat([v, v], 2)),
        (lambda v: cr.where(v > 0, v, v * v), lambda v: torch.where(v > 0, v, v * v)),
        (lambda v: cr.tril(v), lambda v: torch.tril(v)),
        (
            lambda v: cr.take_along_axis(v, cr.asarray(np.zeros((2, 1, 4), int)), axis=1),
            lambda v: torch.take_along_dim(v, torch.zeros((2, 1, 4), dtype=torch.long), 1),
        ),
    ]:
        check(ours, theirs, x)


@pytest.mark.parametrize(
    ("a", "b"),
    [
        ((3,), (3,)), ((2, 3), (3,)), ((3,), (3, 2)), ((2, 3), (3, 4)), ((5, 2, 3), (3, 4)),
        ((5, 2, 3), (5, 3, 4)), ((2, 1, 2, 3), (4, 3, 2)), ((3,), (5, 3, 2)), ((5, 2, 3), (3,)),
    ],
)  # fmt: skip
def test_matmul_in_all_its_forms(a, b):
    check(cr.matmul, torch.matmul, rng.normal(size=a), rng.normal(size=b))


def test_products():
    check(cr.outer, torch.outer, A[0], B[1])
    check(lambda a, b: cr.vecdot(a, b), lambda a, b: torch.linalg.vecdot(a, b), A, B)
    check(cr.dot, torch.dot, A[0], B[0])
    check(
        lambda a, b: nn.cosine_similarity(a, b, axis=1),
        lambda a, b: torch.nn.functional.cosine_similarity(a, b, 1), A, B,
    )  # fmt: skip
    x, y = rng.normal(size=(2, 3, 4)), rng.normal(size=(4, 3, 2))
    check(
        lambda a, b: cr.tensordot(a, b, axes=((1, 2), (1, 0))),
        lambda a, b: torch.tensordot(a, b, ([1, 2], [1, 0])), x, y,
    )  # fmt: skip


@pytest.mark.parametrize("stride", [1, 2, (2, 1)])
@pytest.mark.parametrize("padding", [0, 1, (2, 0), "valid"])
@pytest.mark.parametrize("dilation", [1, 2])
@pytest.mark.parametrize("groups", [1, 2])
def test_convolution(stride, padding, dilation, groups):
    options = {"stride": stride, "padding": padding, "dilation": dilation, "groups": groups}
    check(
        lambda x, w, b: nn.conv2d(x, w, b, **options),
        lambda x, w, b: torch.nn.functional.conv2d(x, w, b, **options),
        rng.normal(size=(2, 4, 7, 8)), rng.normal(size=(6, 4 // groups, 3, 2)), rng.normal(size=6),
        rtol=1e-10, atol=1e-11,
    )  # fmt: skip


@pytest.mark.filterwarnings("ignore:Using padding")
def test_convolution_that_keeps_the_size():
    for kernel in ((3, 3), (2, 4), (1, 5)):
        check(
            lambda x, w: nn.conv2d(x, w, padding="same"),
            lambda x, w: torch.nn.functional.conv2d(x, w, padding="same"),
            rng.normal(size=(1, 2, 5, 6)), rng.normal(size=(3, 2, *kernel)),
            rtol=1e-10, atol=1e-11,
        )  # fmt: skip


@pytest.mark.filterwarnings("ignore::UserWarning")
@pytest.mark.parametrize("ceil_mode", [False, True])
@pytest.mark.parametrize(
    ("kernel", "stride", "padding"),
    [(2, None, 0), (3, 2, 1), ((3, 2), (2, 1), (1, 0)), (3, 1, 1), (2, 3, 1)],
)
def test_pooling(kernel, stride, padding, ceil_mode):
    x = rng.normal(size=(2, 3, 7, 8))
    options = {"stride": stride, "padding": padding, "ceil_mode": ceil_mode}
    functional = torch.nn.functional
    check(
        lambda v: nn.max_pool2d(v, kernel, **options),
        lambda v: functional.max_pool2d(v, kernel, **options), x,
    )  # fmt: skip
    for inside in (True, False):
        check(
            lambda v, i=inside: nn.avg_pool2d(v, kernel, **options, count_include_pad=i),
            lambda v, i=inside: functional.avg_pool2d(v, kernel, **options, count_include_pad=i), x,
        )  # fmt: skip
    check(
        lambda v: nn.adaptive_avg_pool2d(v, (3, 5)),
        lambda v: functional.adaptive_avg_pool2d(v, (3, 5)), x,
    )  # fmt: skip


def test_attention_with_masks():
    q, k, v = (rng.normal(size=(2, 3, n, 4)) for n in (5, 6, 6))
    theirs = torch.nn.functional.scaled_dot_product_attention
    seen = rng.random((5, 6)) > 0.4
    seen[2] = False  # a query that may look at nothing
    added = rng.normal(size=(3, 5, 6))
    for options in ({}, {"attn_mask": seen}, {"attn_mask": added}, {"scale": 0.3}):
        converted = {
            key: torch.tensor(o) if isinstance(o, np.ndarray) else o for key, o in options.items()
        }
        check(
            lambda a, b, c, o=options: nn.scaled_dot_product_attention(a, b, c, **o),
            lambda a, b, c, o=converted: theirs(a, b, c, **o), q, k, v, rtol=1e-10,
        )  # fmt: skip
    check(
        lambda a, b, c: nn.scaled_dot_product_attention(a, b, c, is_causal=True),
        lambda a, b, c: theirs(a, b, c, is_causal=True), q, k, v, rtol=1e-10,
    )  # fmt: skip


def test_scatter_add():
    index = np.array([[0, 2, 2, 0], [1, 1, 0, 2], [2, 0, 1, 1]])
    check(
        lambda x, s: cr.scatter_add(x, 0, cr.asarray(index), s),
        lambda x, s: torch.scatter_add(x, 0, torch.tensor(index), s), A, B,
    )  # fmt: skip


def test_tensors_pass_both_ways_without_a_copy():
    x = cr.arange(6.0).reshape(2, 3)
    t = torch.from_dlpack(x)
    assert t.data_ptr() == x.numpy().__array_interface__["data"][0]
    back = cr.from_dlpack(t)
    assert np.shares_memory(back.numpy(), x.numpy())
    t2 = torch.arange(4.0)
    assert cr.from_dlpack(t2).numpy().__array_interface__["data"][0] == t2.data_ptr()


# Conventions where a derivative is not unique, or does not exist


def agree(ours, theirs, *arrays):
    """As `check`, with NaN and infinity equal to themselves."""
    check(ours, theirs, *(np.array(a, float) for a in arrays))


POINTS = np.array([-np.inf, -2.0, -1.0, -0.5, 0.0, 0.5, 1.0, 2.0, np.inf])
ENDS = ["sqrt", "rsqrt", "reciprocal", "log", "log1p", "log2", "log10", "asin", "acos", "atanh",
        "tanh", "sigmoid", "exp", "expm1", "erf", "erfc", "erfinv", "asinh", "atan", "square",
        "sinh", "cosh", "floor", "ceil", "trunc", "round"]  # fmt: skip


@pytest.mark.parametrize("name", ENDS)
def test_at_zero_at_the_ends_of_the_domain_and_at_infinity(name):
    check(getattr(cr, name), getattr(torch, name), POINTS)


@pytest.mark.parametrize("name", ["add", "subtract", "multiply", "divide", "maximum", "minimum"])
def test_arithmetic_with_zero_and_infinity(name):
    a, b = (v.ravel() for v in np.meshgrid(POINTS, POINTS))
    check(getattr(cr, name), getattr(torch, name), a, b)


def test_powers_of_zero():
    a, b = (v.ravel() for v in np.meshgrid([0.0, 0.5, 2.0], [0.0, 0.5, 1.0, 2.0, -1.0]))
    check(cr.pow, torch.pow, a, b)
    zero = np.array([0.0, 1.0, 2.0])
    check(lambda x: 0.0**x, lambda x: 0.0**x, zero)
    check(lambda x: x**0, lambda x: x**0, zero)
    check(lambda x: x**0.5, lambda x: x**0.5, zero)
    check(lambda x: x**-1, lambda x: x**-1, zero)


def test_clip_at_its_bounds():
    for low, high in ((-1.0, 1.0), (None, 1.0), (-1.0, None), (1.0, -1.0), (0.0, 0.0)):
        check(
            lambda x, m=low, n=high: cr.clip(x, m, n),
            lambda x, m=low, n=high: torch.clamp(x, m, n), POINTS,
        )  # fmt: skip


TIED = [
    ([1.0, 3.0, 3.0], "max"), ([3.0, 3.0, 3.0], "max"), ([-0.0, 0.0], "max"),
    ([1.0, 1.0, 3.0], "min"), ([np.inf, np.inf], "max"), ([-np.inf, 1.0, -np.inf], "min"),
]  # fmt: skip


@pytest.mark.parametrize(("values", "name"), TIED)
def test_ties_over_all_elements(values, name):
    agree(getattr(cr, name), getattr(torch, f"a{name}"), values)
    agree(getattr(cr, name), getattr(torch, f"a{name}"), np.outer([1.0, 1.0], values))


@pytest.mark.parametrize("name", ["max", "min"])
def test_the_first_of_ties_is_named(name):
    x = np.array([[1.0, 3.0, 3.0, 1.0], [2.0, 2.0, 2.0, 2.0]])
    found = getattr(cr, f"arg{name}")(cr.asarray(x), axis=1)
    assert found.tolist() == getattr(torch.tensor(x), f"arg{name}")(1).tolist()


def test_norm_at_zero():
    agree(cr.norm, torch.linalg.vector_norm, [0.0, 0.0])
    agree(
        lambda x: cr.norm(x, axis=1), lambda x: torch.linalg.vector_norm(x, dim=1),
        [[0.0, 0.0], [3.0, 4.0]],
    )  # fmt: skip


def test_std_of_equal_numbers():
    agree(cr.std, lambda x: torch.std(x, correction=0), [2.0, 2.0])
    agree(
        lambda x: cr.std(x, axis=1, correction=1), lambda x: torch.std(x, 1),
        [[2.0, 2.0], [1.0, 4.0]],
    )  # fmt: skip


def test_xlogy_at_zero():
    """∂(a log b)/∂a is log b at a = 0 too."""
    agree(cr.xlogy, torch.xlogy, [0.0, 0.0, 1.0, 2.0], [0.5, 2.0, 0.5, 3.0])


def test_atan2_at_zero():
    agree(cr.atan2, torch.atan2, [0.0, 0.0, 1.0], [0.0, 1.0, 0.0])


@pytest.mark.parametrize("name", ["gelu", "silu", "elu", "softplus", "mish", "relu", "sigmoid"])
def test_a_single_number(name):
    agree(getattr(cr, name), getattr(torch.nn.functional, name), 0.5)


def test_sums_of_exponentials_with_infinity():
    rows = [[-np.inf, 0.0], [1.0, 1.0], [1000.0, -1000.0]]
    agree(lambda x: cr.softmax(x, axis=1), lambda x: x.softmax(1), rows)
    agree(lambda x: cr.log_softmax(x, axis=1), lambda x: x.log_softmax(1), rows)
    empty = [[-np.inf, -np.inf], [-np.inf, 0.0], [np.inf, 0.0]]
    agree(lambda x: cr.logsumexp(x, axis=1), lambda x: x.logsumexp(1), empty)
    agree(
        cr.logaddexp, torch.logaddexp, [-np.inf, -np.inf, 0.0, 800.0], [-np.inf, 0.0, 0.0, -800.0]
    )


@pytest.mark.parametrize("values", [[0.0, 2.0, 3.0], [0.0, 3.0, 0.0], [0.0, 0.0, 0.0], [2.0]])
def test_products_with_zeros(values):
    agree(cr.prod, torch.prod, values)
    agree(lambda x: cr.cumulative_prod(x, axis=0), lambda x: torch.cumprod(x, 0), values)


def test_of_nothing():
    for ours, theirs in ((cr.sum, torch.sum), (cr.prod, torch.prod)):
        agree(ours, theirs, np.zeros((0,)))
        agree(lambda x, f=ours: f(x, axis=0), lambda x, f=theirs: f(x, 0), np.zeros((0, 3)))


def test_remainders():
    for k in (0.75, -0.75, 3.0):
        check(lambda x, k=k: x % k, lambda x, k=k: x % k, np.array([-2.0, -0.5, 0.0, 0.5, 3.0]))


# The rest of the vocabulary


def torch_pad(x):
    return torch.nn.functional.pad(x, (2, 0, 0, 1))


def test_the_rest_of_structure():
    x = rng.normal(size=(2, 3, 4))
    for ours, theirs in [
        (lambda v: cr.permute_dims(v, (1, 2, 0)), lambda v: v.permute(1, 2, 0)),
        (lambda v: cr.moveaxis(v, 0, 2), lambda v: v.moveaxis(0, 2)),
        (lambda v: cr.swapaxes(v, 0, 1), lambda v: v.swapaxes(0, 1)),
        (lambda v: v.mT, lambda v: v.mT),
        (lambda v: cr.flatten(v), lambda v: v.flatten()),
        (lambda v: cr.expand_dims(v, axis=1), lambda v: v.unsqueeze(1)),
        (lambda v: cr.squeeze(v[:1], axis=0), lambda v: v[:1].squeeze(0)),
        (lambda v: cr.broadcast_to(v[:, :1], (5, 2, 3, 4)), lambda v: v[:, :1].expand(5, 2, 3, 4)),
        (lambda v: cr.triu(v, k=1), lambda v: torch.triu(v, 1)),
        (lambda v: cr.unstack(v, axis=1)[2] * 2, lambda v: torch.unbind(v, 1)[2] * 2),
        (lambda v: cr.pad(v, ((0, 0), (0, 1), (2, 0))), torch_pad),
        (lambda v: cr.take(v, cr.asarray([2, 0, 2]), axis=1),
         lambda v: v.index_select(1, torch.tensor([2, 0, 2]))),
        (lambda v: cr.meshgrid(v[0, 0], v[1, 1], indexing="ij")[1],
         lambda v: torch.meshgrid(v[0, 0], v[1, 1], indexing="ij")[1]),
    ]:  # fmt: skip
        check(ours, theirs, x)


@pytest.mark.parametrize(
    "key",
    [
        np.s_[1], np.s_[..., 0], np.s_[:, None, 1:], np.s_[-1, ..., ::2], np.s_[:, [0, 2], [1, 1]],
        np.s_[[0, 1], :, [2, 2]], np.s_[:, [[0], [2]], [[1, 1]]], np.s_[1:1],
    ],
)  # fmt: skip
def test_keys(key):
    check(lambda v: v[key], lambda v: v[key], rng.normal(size=(2, 3, 4)))


@pytest.mark.parametrize("key", [np.s_[1], np.s_[:, 1:], np.s_[..., 0], np.s_[:, [2, 0]]])
def test_writing(key):
    def write(x, v):
        y = x * x
        y[key] = v.sum() * 2
        return y * 3

    check(write, write, A, B)


@pytest.mark.parametrize("axis", [0, 1, -1, (0, 2), None])
@pytest.mark.parametrize("keepdims", [False, True])
@pytest.mark.parametrize(
    ("ours", "theirs"),
    [("sum", torch.sum), ("mean", torch.mean), ("max", torch.amax), ("min", torch.amin),
     ("logsumexp", torch.logsumexp), ("var", torch.var)],
)  # fmt: skip
def test_reductions_along_axes(ours, theirs, axis, keepdims):
    dim = tuple(range(3)) if axis is None else axis
    options = {"correction": 0} if ours == "var" else {}
    check(
        lambda v: getattr(cr, ours)(v, axis=axis, keepdims=keepdims),
        lambda v: theirs(v, dim=dim, keepdim=keepdims, **options), rng.normal(size=(2, 3, 4)),
    )  # fmt: skip


def test_second_derivatives():
    for name in ("tanh", "sigmoid", "exp", "sqrt", "log", "erf", "square", "atan"):
        x = cr.asarray(P, requires_grad=True)
        t = torch.tensor(P, requires_grad=True)
        found = cr.grad(
            lambda v, n=name: (cr.grad(lambda w: getattr(cr, n)(w).sum())(v) ** 2).sum()
        )
        (first,) = torch.autograd.grad(getattr(torch, name)(t).sum(), t, create_graph=True)
        (wanted,) = torch.autograd.grad((first**2).sum(), t)
        np.testing.assert_allclose(found(x).numpy(), wanted.numpy(), 1e-11)
