"""Loops in machine code: against loops written out in NumPy and PyTorch, and against eager."""

import numpy as np
import pytest
import torch

import chainrule as cr
from chainrule import nn, optim
from chainrule.tree import flatten


def floats(*shape, seed=0):
    return np.random.default_rng(seed).standard_normal(shape).astype("f4")


def assert_close(found, wanted, rtol=1e-5, atol=1e-6):
    mine, others = flatten(found)[0], flatten(wanted)[0]
    assert len(mine) == len(others)
    for a, b in zip(mine, others, strict=True):
        b = b.numpy() if isinstance(b, cr.Tensor) else np.asarray(b)
        assert a.shape == b.shape
        np.testing.assert_allclose(a.numpy(), b, rtol, atol)


def assert_native(compiled):
    """All of it is machine code."""
    kernels = compiled._latest().executable.compiled.kernels
    assert not [k.label for k in kernels if k.code.key == "host"]


# Recurrent layers, as PyTorch has them


def parts(x, count):
    n = x.shape[-1] // count
    return [x[..., i * n : (i + 1) * n] for i in range(count)]


def lstm(w, xs, h, c):
    def cell(carry, x):
        h, c = carry
        i, f, g, o = parts(x @ w["ih"].mT + h @ w["hh"].mT + w["bi"] + w["bh"], 4)
        c = cr.sigmoid(f) * c + cr.sigmoid(i) * cr.tanh(g)
        h = cr.sigmoid(o) * cr.tanh(c)
        return (h, c), h

    return cr.scan(cell, (h, c), xs)[1]


def gru(w, xs, h, c, reverse=False):
    def cell(h, x):
        ar, az, an = parts(x @ w["ih"].mT + w["bi"], 3)
        br, bz, bn = parts(h @ w["hh"].mT + w["bh"], 3)
        z = cr.sigmoid(az + bz)
        h = (1 - z) * cr.tanh(an + cr.sigmoid(ar + br) * bn) + z * h
        return h, h

    return cr.scan(cell, h, xs, reverse=reverse)[1]


@pytest.mark.parametrize("length", [1, 25])
@pytest.mark.parametrize(("network", "layer"), [(lstm, torch.nn.LSTM), (gru, torch.nn.GRU)])
def test_recurrent_networks_train_as_in_pytorch(network, layer, length):
    theirs = layer(5, 7)
    names = {"ih": "weight_ih_l0", "hh": "weight_hh_l0", "bi": "bias_ih_l0", "bh": "bias_hh_l0"}
    mine = {k: nn.Parameter(getattr(theirs, n).detach().numpy()) for k, n in names.items()}
    x, goal = floats(length, 3, 5), floats(length, 3, 7, seed=1)
    zero = cr.zeros((3, 7))
    opt, reference = optim.SGD(list(mine.values()), lr=0.3), torch.optim.SGD(
        theirs.parameters(), lr=0.3
    )  # fmt: skip

    @cr.compile
    def train(x, goal):
        loss = ((network(mine, x, zero, zero) - goal) ** 2).mean()
        loss.backward()
        opt.step()
        return loss

    for _ in range(3):
        loss = ((theirs(torch.from_numpy(x))[0] - torch.from_numpy(goal)) ** 2).mean()
        reference.zero_grad()
        loss.backward()
        reference.step()
        found = train(cr.asarray(x), cr.asarray(goal)).item()
        assert found == pytest.approx(loss.item(), rel=1e-5)
    for key, name in names.items():
        wanted = getattr(theirs, name).detach().numpy()
        np.testing.assert_allclose(mine[key].numpy(), wanted, 1e-4, 1e-6)
    assert_native(train)


def test_both_directions_together():
    theirs = torch.nn.GRU(4, 6, bidirectional=True)
    weights = {n: p.detach().numpy() for n, p in theirs.named_parameters()}
    forth, back = (
        {
            key: cr.asarray(weights[f"{name}_l0{end}"])
            for key, name in (
                ("ih", "weight_ih"), ("hh", "weight_hh"), ("bi", "bias_ih"), ("bh", "bias_hh"),
            )
        }
        for end in ("", "_reverse")
    )  # fmt: skip
    zero = cr.zeros((2, 6))

    @cr.compile
    def run(x):
        return cr.concat([gru(forth, x, zero, zero), gru(back, x, zero, zero, True)], axis=-1)

    x = floats(9, 2, 4)
    assert_close(run(cr.asarray(x)), theirs(torch.from_numpy(x))[0].detach())
    assert_native(run)


# The loop itself


def recurrence(a, h, xs, reverse):
    """h ← tanh(a h + x), NumPy's loop in float64: the last h, all of them, and all sums."""
    rows = np.zeros((len(xs), *h.shape))
    h = h.astype(float)
    for i in range(len(xs))[:: -1 if reverse else 1]:
        h = np.tanh(a * h + xs[i])
        rows[i] = h
    return h, rows, rows.sum(axis=-1)


@pytest.mark.parametrize("reverse", [False, True])
@pytest.mark.parametrize("length", [1, 2, 17, 400])
@pytest.mark.parametrize("size", [1, 19])
def test_a_recurrence_and_its_gradient(length, size, reverse):
    a, h, xs = floats(size) * 0.5, floats(size, seed=1), floats(length, size, seed=2)

    def loop(a, h, xs):
        def body(h, x):
            h = cr.tanh(a * h + x)
            return h, (h, h.sum())

        h, (rows, sums) = cr.scan(body, h, xs, reverse=reverse)
        return h, rows, sums

    compiled = cr.compile(loop)
    args = [cr.asarray(v) for v in (a, h, xs)]
    assert_close(compiled(*args), recurrence(a, h, xs, reverse))
    assert_native(compiled)

    def loss(a, h, xs):
        h, rows, _ = loop(a, h, xs)
        return (h * h).sum() + (rows * cr.sin(xs)).sum()

    gradient = cr.compile(cr.grad(loss, (0, 1, 2)))
    leaves = [torch.tensor(v, dtype=torch.float64, requires_grad=True) for v in (a, h, xs)]
    ta, th, txs = leaves
    total = 0
    for i in range(length)[:: -1 if reverse else 1]:
        th = torch.tanh(ta * th + txs[i])
        total = total + (th * torch.sin(txs[i])).sum()
    ((th * th).sum() + total).backward()
    assert_close(gradient(*args), tuple(v.grad for v in leaves), 1e-4, 1e-4)
    assert_native(gradient)
    kernels = gradient._latest().executable.compiled.kernels
    assert len({k.code.key for k in kernels}) < 25  # the code is that of one step


def test_carries_that_change_places_and_stay():
    def f(a, b, xs):
        def body(carry, x):
            a, b, n, kept = carry
            return (b, a + x, n + 1, kept), (a, n)

        return cr.scan(body, (a, b, cr.asarray(0.0), a * 2), xs)

    a, b, xs = floats(3), floats(3, seed=1), floats(6, 3, seed=2)
    p, q, rows = a, b, []
    for x in xs:
        rows.append(p)
        p, q = q, p + x
    compiled = cr.compile(f)
    wanted = (p, q, np.float32(6), a * 2), (np.stack(rows), np.arange(6, dtype="f4"))
    found = compiled(*map(cr.asarray, (a, b, xs)))
    assert_close(found, wanted)
    assert_native(compiled)


@pytest.mark.parametrize("layout", ["turned", "cut", "backwards", "repeated"])
def test_what_is_walked_may_lie_in_any_way(layout):
    x = floats(12, 8)
    views = {
        "turned": lambda x: x.T,
        "cut": lambda x: x[1:10:2, 3:],
        "backwards": lambda x: x[::-1],
        "repeated": lambda x: x[:1] * (x[:, :1] * 0 + 1),
    }
    of = views[layout]
    wanted = np.cumsum(np.cumsum(of(x).astype(float), axis=0), axis=0)

    def f(x):
        walked = of(x) if layout != "repeated" else cr.broadcast_to(x[:1], x.shape)

        def body(carry, row):
            a, b = carry[0] + row, carry[1] + carry[0] + row
            return (a, b), b

        zero = walked[0] * 0
        return cr.scan(body, (zero, zero), walked)[1]

    compiled = cr.compile(f)
    assert_close(compiled(cr.asarray(x)), wanted, 1e-4, 1e-4)
    assert_native(compiled)


def test_loops_within_loops():
    """A triangular sum of products, and its gradient by the formula of the product."""
    rows, x = floats(4, 6) * 0.3, floats(3, seed=1)

    def f(rows, x):
        def outer(carry, row):
            def inner(h, value):
                h = h * (1 + value * x)
                return h, h.sum()

            carry, sums = cr.scan(inner, carry, row, reverse=True)
            return carry, sums

        carry, sums = cr.scan(outer, cr.ones(3), rows)
        return carry, sums

    compiled = cr.compile(f)
    h, sums = np.ones(3), np.zeros((4, 6))
    for i in range(4):
        for j in reversed(range(6)):
            h = h * (1 + rows[i, j] * x)
            sums[i, j] = h.sum()
    args = cr.asarray(rows), cr.asarray(x)
    assert_close(compiled(*args), (h, sums))
    assert_native(compiled)
    # h = Π (1 + r x): d log h / dr = x / (1 + r x)
    gradient = cr.compile(cr.grad(lambda rows, x: f(rows, x)[0].sum(), 0))
    wanted = (h * x / (1 + rows[..., None] * x)).sum(-1)
    assert_close(gradient(*args), wanted, 1e-4, 1e-5)
    assert_native(gradient)


def test_two_loops_of_one_body_and_a_state_that_they_leave():
    w, total = nn.Parameter(floats(4)), nn.Buffer(cr.zeros(4))

    def step(x):
        first, _ = cr.scan(lambda c, r: (c * w + r, None), total, x)
        second, _ = cr.scan(lambda c, r: (c * w + r, None), first, x)
        total.assign(second.detach())
        return first

    x = floats(5, 4, seed=3)
    h, compiled = np.zeros(4), cr.compile(step)
    for _ in range(2):
        for i in range(10):
            h = h * w.numpy() + x[i % 5]
            if i == 4:
                first = h
        assert_close(compiled(cr.asarray(x)), first)
        assert_close(total.detach(), h)
    assert_native(compiled)


def test_a_gradient_of_a_gradient():
    def f(a, xs):
        return (cr.scan(lambda c, x: (cr.sin(c * a + x), None), cr.zeros(3), xs)[0] ** 2).sum()

    def bent(a, xs):
        return (cr.grad(f, 1)(a, xs) ** 2).sum()

    a, xs = cr.asarray(floats(3)), cr.asarray(floats(5, 3, seed=1))
    assert_close(cr.compile(cr.grad(bent, (0, 1)))(a, xs), cr.grad(bent, (0, 1))(a, xs), 1e-4, 1e-5)


@pytest.mark.parametrize("dtype", ["float64", "float16", "int32"])
def test_other_dtypes(dtype):
    x = (floats(6, 5) * 4).astype(dtype)

    def f(x):
        return cr.scan(lambda c, r: (c + r, c * 2), x[0] * 0, x)

    last, before = cr.compile(f)(cr.asarray(x))
    sums = np.cumsum(x, axis=0, dtype=dtype)
    np.testing.assert_allclose(last.numpy(), sums[-1], 2e-3 if dtype == "float16" else 1e-12)
    assert last.dtype == before.dtype == cr.asarray(x).dtype
    twice = np.concatenate([np.zeros((1, 5)), 2 * sums[:-1]])
    np.testing.assert_allclose(before.numpy(), twice, 2e-3 if dtype == "float16" else 1e-12)


def test_numpy_is_called_from_within_a_loop():
    """Of what has no native code, at each step on that step's memory."""
    x = floats(5, 4)

    def f(x):
        return cr.scan(lambda c, r: (cr.cumulative_sum(c) * 0.5 + r, c * r), x[0], x)

    compiled = cr.compile(f)
    c, rows = x[0].astype(float), []
    for r in x:
        rows.append(c * r)
        c = np.cumsum(c) * 0.5 + r
    assert_close(compiled(cr.asarray(x)), (c, np.stack(rows)))
    kernels = compiled._latest().executable.compiled.kernels
    assert sum(k.code.key == "host" for k in kernels) == 5


def test_no_steps_and_no_elements():
    f = cr.compile(lambda c, x: cr.scan(lambda c, r: (c + r.sum(), r * 2), c, x))
    for shape in ((0, 3), (4, 0)):
        carry, rows = f(cr.asarray(2.0), cr.zeros(shape))
        assert carry.item() == 2.0
        assert rows.shape == shape
