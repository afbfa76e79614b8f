"""What is computed together, in how many kernels, and the four ways of reducing."""

import itertools
import math

import numpy as np
import pytest

import chainrule as cr
from chainrule import nn, optim


def kernels(function, *args):
    """The kernels of a compiled function, as lists of the names of what they leave."""
    compiled = cr.compile(function)
    compiled(*args)
    return of(compiled)


def of(compiled):
    found = compiled._latest().executable.compiled.kernels
    return [[item.name for item in k.items] for k in found]


def floats(*shape, seed=0):
    return cr.asarray(np.random.default_rng(seed).standard_normal(shape).astype("f4"))


# Known networks


def test_bias_and_relu_are_in_the_product():
    w, b = floats(20, 32), floats(32)
    assert kernels(lambda x: cr.relu(x @ w + b), floats(16, 20)) == [["matmul", "relu"]]
    assert kernels(lambda x: cr.relu(x @ w + b), floats(3, 4, 20)) == [["matmul", "relu"]]
    layer = nn.Linear(20, 32)
    assert len(kernels(lambda x: cr.gelu(layer(x)), floats(16, 20))) == 1


def test_what_reads_a_product_twice_is_still_one_kernel():
    w = floats(20, 32)

    def f(x):
        y = x @ w
        return cr.tanh(y) * y + 1, y * 2

    assert len(kernels(f, floats(16, 20))) == 1


def test_a_step_of_an_mlp():
    model = nn.Sequential(nn.Linear(20, 32), nn.ReLU(), nn.Linear(32, 10))
    opt = optim.SGD(model.parameters(), lr=0.1, momentum=0.9)

    @cr.compile
    def step(x, y):
        loss = nn.cross_entropy(model(x), y)
        loss.backward()
        opt.step()
        return loss

    step(floats(16, 20), cr.asarray(np.arange(16) % 10))
    found = of(step)
    assert ["matmul", "relu"] in found
    assert sum("matmul" in k for k in found) == 5
    # Both weights are updated where their gradients are computed.
    assert sum(k == ["matmul", "add", "subtract"] for k in found) == 2
    assert ["matmul", "multiply"] in found
    assert len(found) <= 11
    stored = step._latest().executable.compiled.kernels
    updates = [k for k in stored if {b.kind for b in k.writes} == {"storage"}]
    assert len(updates) == 4
    assert all(len(k.writes) == 2 for k in updates)  # the velocity and the weight


@pytest.mark.parametrize("shape", [(16, 10), (3, 7, 33), (2, 5)])
def test_softmax_is_one_kernel(shape):
    for f in (cr.softmax, cr.log_softmax, cr.logsumexp):
        assert len(kernels(lambda x, f=f: f(x, axis=-1), floats(*shape))) == 1


def test_cross_entropy_is_one_kernel():
    y = cr.asarray(np.arange(16) % 10)
    for reduction in ("sum", "none"):

        def f(x, reduction=reduction):
            return nn.cross_entropy(x, y, reduction=reduction)

        assert len(kernels(f, floats(16, 10))) == 1
    # Of the mean, only the quotient of two numbers is left.
    first, second = kernels(lambda x: nn.cross_entropy(x, y), floats(16, 10))
    assert set(first) == {"maximum", "add", "pick"}
    assert second == ["divide"]


def test_layer_norm_is_one_kernel_forward_and_one_backward():
    norm = nn.LayerNorm(24)
    assert len(kernels(norm, floats(16, 24))) == 1

    def loss(x, w, b):
        return (nn.layer_norm(x, (24,), w, b) * cr.sin(x)).sum()

    found = kernels(cr.grad(loss, (0, 1, 2)), floats(16, 24), floats(24), floats(24))
    assert len(found) == 1


@pytest.mark.parametrize("causal", [False, True])
def test_attention_is_one_kernel_each_way_and_has_no_matrix_of_scores(causal):
    n, d = 96, 8

    def loss(q, k, v):
        return cr.sin(nn.scaled_dot_product_attention(q, k, v, is_causal=causal)).sum()

    compiled = cr.compile(cr.grad(loss, (0, 1, 2)))
    compiled(*(floats(2, 3, n, d, seed=i) for i in range(3)))
    found = of(compiled)
    assert found.count(["scaled_dot_product_attention"]) == 1
    assert found.count(["attention_gradient"]) == 1
    assert all(k in (["cos"], ["copy"]) or "attention" in k[0] for k in found)
    assert compiled._latest().executable.plan.arena < 4 * 2 * 3 * n * n


def test_what_many_read_and_costs_much_is_stored_once():
    def f(x):
        y = cr.pow(cr.sin(x), 2.3)
        return y[:, None] + cr.tanh(x), y.sum(), cr.max(y, axis=1)

    compiled = cr.compile(f)
    compiled(floats(30, 40)[:, :40])
    items = [i for k in compiled._latest().executable.compiled.kernels for i in k.items]
    assert sum(i.name == "pow" and i.view is not None for i in items) <= 1


def test_chains_longer_than_a_kernel_are_cut():
    def f(x):
        for i in range(60):
            x = cr.tanh(x) * (1 + i / 100)
        return x

    x = floats(50)
    compiled = cr.compile(f)
    np.testing.assert_allclose(compiled(x).numpy(), f(x).numpy(), 1e-4, 1e-5)
    weights = [i.weight for k in compiled._latest().executable.compiled.kernels for i in k.items]
    assert max(weights) < 300


# Reductions

REDUCTIONS = {
    "sum": np.sum, "prod": np.prod, "max": np.max, "min": np.min, "any": np.any, "all": np.all,
    "mean": np.mean,
}  # fmt: skip
SHAPES = [(1,), (7,), (4099,), (1, 19), (19, 1), (33, 17), (130, 70), (5, 3, 7), (2, 1, 9),
          (16, 64, 3)]  # fmt: skip


def some_axes(ndim):
    return itertools.chain.from_iterable(
        itertools.combinations(range(ndim), n) for n in range(1, ndim + 1)
    )


def data(shape, seed=0):
    return np.random.default_rng(seed).uniform(0.5, 1.5, shape).astype("f4")


def reduced(name, x, axes, keepdims):
    x = x > 0.6 if name in ("any", "all") else x.astype(float)
    return REDUCTIONS[name](x, axis=axes, keepdims=keepdims)


LAYOUTS = {
    "in order": (lambda x: x, lambda x: x),
    "turned": (lambda x: x.T, cr.permute_dims),
    "backwards": (np.flip, cr.flip),
    "repeated": (
        lambda x: np.broadcast_to(x[:1], x.shape),
        lambda x: cr.broadcast_to(x[:1], x.shape),
    ),
}


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("shape", SHAPES)
def test_reductions_of_all_shapes_over_all_axes(shape, layout):
    theirs, mine = LAYOUTS[layout]
    if layout == "turned":
        mine = lambda x: cr.permute_dims(x, tuple(range(len(shape)))[::-1])  # noqa: E731
    cases = [
        (name, axes, (i + len(axes)) % 2 == 0)
        for i, name in enumerate(REDUCTIONS)
        for axes in some_axes(len(shape))
        if name in ("sum", "max") or layout == "in order" or len(shape) < 3
    ]
    x = data(shape)
    if math.prod(shape) > 1000:  # so that products stay numbers
        x = np.where(np.random.default_rng(1).random(shape) < 0.99, np.float32(1), x)

    def f(x):
        y = mine(x)
        return [
            getattr(cr, name)(
                y > 0.6 if name in ("any", "all") else y, axis=axes, keepdims=keepdims
            )
            for name, axes, keepdims in cases
        ]

    for case, found in zip(cases, cr.compile(f)(cr.asarray(x)), strict=True):
        wanted = reduced(case[0], theirs(x), *case[1:])
        assert found.shape == wanted.shape
        np.testing.assert_allclose(found.numpy(), wanted, 3e-6, err_msg=str(case))


@pytest.mark.parametrize(
    ("name", "function", "shape"),
    [
        ("row", lambda x: x.sum(axis=1), (33, 70)),
        ("outer", lambda x: x.sum(axis=0), (33, 70)),
        ("total", lambda x: x.sum(), (33, 70)),
        ("scalar", lambda x: (x.sum(axis=1) ** 2).sum(), (33, 70)),
    ],
)
def test_the_four_ways(name, function, shape):
    compiled = cr.compile(lambda x: (function(x), function(x * x)))
    x = data(shape)
    for found, wanted in zip(
        compiled(cr.asarray(x)), (function(x.astype(float)), function(x.astype(float) ** 2)),
        strict=True,
    ):  # fmt: skip
        np.testing.assert_allclose(found.numpy(), wanted, 1e-5)
    assert name in ways(compiled)


def ways(compiled):
    items = [i for k in compiled._latest().executable.compiled.kernels for i in k.items]
    return {i.group.way[i] for i in items if i.group is not None and i in i.group.way}


@pytest.mark.parametrize("shape", [(3000, 301), (5, 40_003), (40_003, 5), (1_000_003,)])
def test_reductions_that_several_tasks_share(shape):
    """Some tasks have fewer rows or elements than the others."""
    x = data(shape)

    def f(x):
        y = x * x + 0.5
        rest = (
            (y.sum(axis=0), y.sum(axis=1), cr.max(y, axis=0), cr.min(y, axis=1))
            if (len(shape) > 1)
            else ()
        )
        return (y.sum(), cr.max(y), cr.all(x > 0.5), *rest)

    compiled = cr.compile(f)
    wide = x.astype(float) ** 2 + 0.5
    wanted = [wide.sum(), wide.max(), (x > 0.5).all()]
    if len(shape) > 1:
        wanted += [wide.sum(0), wide.sum(1), wide.max(0), wide.min(1)]
    for found, w in zip(compiled(cr.asarray(x)), wanted, strict=True):
        np.testing.assert_allclose(found.numpy(), w, 2e-6)
    assert max(k.code.tasks for k in compiled._latest().executable.compiled.kernels) > 1


def test_long_sums_are_added_up_in_a_wider_type():
    x = np.full(3_000_001, 0.1, np.float32)
    found = cr.compile(lambda x: (x.sum(), x.reshape((-1, 1)).sum(axis=0)))(cr.asarray(x))
    for y in found:
        np.testing.assert_allclose(y.numpy(), math.fsum(x), 1e-7)
    half = np.full(5000, 0.1, np.float16)
    y = cr.compile(lambda x: x.sum())(cr.asarray(half))
    assert y.dtype == cr.float16
    assert y.item() == pytest.approx(math.fsum(half), rel=1e-3)


def test_whatever_reads_a_row_of_results_in_the_same_pass():
    """Statistics of rows, what they are used for, and statistics of that."""

    def f(x):
        m = cr.mean(x, axis=1, keepdims=True)
        v = cr.mean((x - m) ** 2, axis=1, keepdims=True)
        y = (x - m) / cr.sqrt(v + 1e-5)
        return y, cr.max(y, axis=1), cr.sum(y * x, axis=0), cr.sum(m), cr.sum(y)

    x = data((37, 29))
    compiled = cr.compile(f)
    found = compiled(cr.asarray(x))
    w = x.astype(float)
    m = w.mean(1, keepdims=True)
    y = (w - m) / np.sqrt(((w - m) ** 2).mean(1, keepdims=True) + 1e-5)
    wanted = [y, y.max(1), (y * w).sum(0), m.sum(), y.sum()]
    for a, b in zip(found, wanted, strict=True):
        np.testing.assert_allclose(a.numpy(), b, 1e-4, 2e-4)
    assert len(of(compiled)) == 1
    assert ways(compiled) == {"row", "outer", "scalar", "total"}


@pytest.mark.parametrize("dtype", ["int8", "uint8", "int32", "int64", "bool", "float64"])
def test_reductions_in_other_dtypes(dtype):
    x = np.random.default_rng(0).integers(0, 2 if dtype == "bool" else 9, (19, 23)).astype(dtype)

    def f(x, xp):
        found = [xp.sum(x, axis=0), xp.sum(x, axis=1), xp.sum(x), xp.any(x > 7, axis=0)]
        if dtype != "bool":
            found += [xp.max(x, axis=0), xp.min(x, axis=1), xp.max(x), xp.prod(x[:, :3], axis=1)]
        return found

    compiled = cr.compile(lambda x: f(x, cr))
    for found, wanted in zip(compiled(cr.asarray(x)), f(x, np), strict=True):
        np.testing.assert_array_equal(found.numpy(), wanted)


@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
def test_reductions_of_halves(dtype):
    kind = cr.tensor.dtypes.as_dtype(dtype)
    x = (np.random.default_rng(0).standard_normal((19, 23)) + 3).astype(kind)
    wide = x.astype(float)

    def f(x, xp):
        return [r(x, axis=axis) for r in (xp.max, xp.min, xp.sum) for axis in (0, 1, (0, 1))]

    eps = 2.0**-8 if dtype == "bfloat16" else 2.0**-11
    for found, wanted in zip(
        cr.compile(lambda x: f(x, cr))(cr.asarray(x)), f(wide, np), strict=True
    ):
        assert found.dtype == kind
        # One rounding, of the sum that is added up in float32.
        np.testing.assert_allclose(found.numpy().astype(float), wanted, 1.01 * eps)
