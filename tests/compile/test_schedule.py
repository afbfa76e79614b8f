"""The order of kernels, the plan of memory, and state that is replaced while others read it."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import chainrule as cr
from chainrule import nn, optim
from chainrule.compile import native
from chainrule.compile.compiled import Compiled
from chainrule.compile.emit.kernel import KernelCode
from chainrule.compile.kernels import Kernel
from chainrule.compile.schedule import order, plan_memory
from chainrule.compile.views import Buffer
from tests.compile.comparing import silent
from tests.compile.graphs import graphs
from tests.compile.interpreter import interpret

CODE = KernelCode("nothing", lambda *_: None, 1, 0, 0, 0)


def kernel(reads, writes, before=()):
    return Kernel(CODE, [], list(reads), list(writes), [], before=set(before))


@st.composite
def programs(draw):
    """Kernels, each reading some of what earlier ones wrote; a few of them write state."""
    buffers = []
    kernels = []
    for number in range(draw(st.integers(1, 14))):
        before = draw(st.sets(st.integers(0, number - 1), max_size=3)) if number else set()
        reads = [b for n in before for b in kernels[n].writes]
        kind = draw(st.sampled_from(["arena", "arena", "arena", "storage"]))
        sizes = draw(st.lists(st.integers(0, 3000), min_size=1, max_size=3))
        writes = [Buffer(kind, size) for size in sizes]
        buffers += writes
        kernels.append(kernel(reads, writes, before))
    return kernels


@given(programs())
def test_kernels_come_after_those_that_they_follow(kernels):
    found = order(kernels)
    assert sorted(map(id, found)) == sorted(map(id, kernels))
    when = {id(k): time for time, k in enumerate(found)}
    for k in kernels:
        assert all(when[id(kernels[n])] < when[id(k)] for n in k.before)


def test_updates_of_state_come_as_early_as_they_can():
    gradient = [Buffer("arena", 64) for _ in range(3)]
    layers = [kernel([], [g]) for g in gradient]
    updates = [kernel([g], [Buffer("storage", 64)], {i}) for i, g in enumerate(gradient)]
    found = order([*layers, *updates])
    assert found == [k for pair in zip(layers, updates, strict=True) for k in pair]
    assert plan_memory(found) == 64


def test_kernels_that_wait_for_one_another_are_a_mistake():
    with pytest.raises(AssertionError, match="wait for one another"):
        order([kernel([], [], {1}), kernel([], [], {0})])


def spans(kernels):
    """When each buffer of the arena is first and last used."""
    live = {}
    for time, k in enumerate(kernels):
        for buffer in (*k.reads, *k.writes):
            if buffer.kind == "arena":
                live.setdefault(buffer, [time, time])[1] = time
    return live


def assert_apart(kernels, total):
    """No two buffers that live at the same time share a byte."""
    live = list(spans(kernels).items())
    for buffer, _ in live:
        assert buffer.offset % 64 == 0
        assert 0 <= buffer.offset <= buffer.offset + buffer.nbytes <= total
    for i, (a, (start, stop)) in enumerate(live):
        for b, (begin, end) in live[:i]:
            if start <= end and begin <= stop:
                assert a.offset + a.nbytes <= b.offset or b.offset + b.nbytes <= a.offset


@given(programs())
def test_what_lives_at_the_same_time_lies_apart(kernels):
    found = order(kernels)
    total = plan_memory(found)
    assert_apart(found, total)
    everything = sum(-(-max(b.nbytes, 1) // 64) * 64 for b in spans(found))
    at_once = max(
        (
            sum(b.nbytes for b, (first, last) in spans(found).items() if first <= time <= last)
            for time in range(len(found))
        ),
        default=0,
    )
    assert at_once <= total <= everything


def test_memory_is_used_again():
    chain = [Buffer("arena", 6400) for _ in range(20)]
    kernels = [kernel(chain[max(i - 1, 0) : i], [b], {i - 1} - {-1}) for i, b in enumerate(chain)]
    assert plan_memory(order(kernels)) == 2 * 6400


def test_memory_of_others_is_left_alone():
    own, other = Buffer("arena", 640), Buffer("arena", 640, offset=77)
    assert plan_memory([kernel([other], [own])], {other}) == 640
    assert other.offset == 77


@settings(max_examples=60)
@given(graphs())
def test_programs_are_computed_in_order_and_lie_apart(graph):
    compiled = Compiled(graph.function(graph.cells()), backend=interpret)
    try:
        with silent():
            compiled(*(cr.asarray(x) for x in graph.arrays()))
    except cr.ChainruleError:
        return
    found = native.compile(compiled._latest().executable.program)
    assert_apart(found.kernels, found.plan.arena)
    written = set()
    for k in found.kernels:
        for buffer in k.reads:
            assert buffer.kind not in ("arena", "output") or buffer in written | set(k.writes)
        written.update(k.writes)
    assert {b.kind for b in written} <= {"arena", "storage", "output"}


# State


@st.composite
def updates(draw):
    """What becomes of each of some square matrices: ways of reading two of the old ones."""
    count = draw(st.integers(2, 4))
    one = st.tuples(st.sampled_from(sorted(READ)), st.integers(0, count - 1))
    return draw(st.lists(st.tuples(one, one), min_size=count, max_size=count))


READ = {
    "whole": lambda x, xp: x,
    "turned": lambda x, xp: x.T,
    "flipped": lambda x, xp: x[::-1],
    "row": lambda x, xp: x[:1],
    "column": lambda x, xp: x[:, 1:2],
    "total": lambda x, xp: xp.sum(x) / 8,
    "sums": lambda x, xp: xp.sum(x, axis=0) / 4,
    "largest": lambda x, xp: xp.max(x, axis=1, keepdims=True),
    "product": lambda x, xp: xp.matmul(x, x) / 8,
    "wave": lambda x, xp: xp.sin(x),
}


@pytest.mark.parametrize("size", [1, 5, 33])
@settings(max_examples=15)
@given(plan=updates())
def test_state_is_replaced_at_once(size, plan):
    """Every new value is computed from old ones alone, whoever is written first."""
    rng = np.random.default_rng(0)
    x = rng.standard_normal((size, size)).astype("f4")
    reads = READ if size > 1 else {**READ, "column": READ["whole"]}
    before = [rng.standard_normal((size, size)).astype("f4") for _ in plan]
    cells = [nn.Buffer(cr.asarray(b)) for b in before]

    def new(old, x, xp):
        return [x * reads[a](old[i], xp) + 0.5 * reads[b](old[j], xp) for (a, i), (b, j) in plan]

    def f(x):
        old = [c * 1 for c in cells]
        for cell, value in zip(cells, new(old, x, cr), strict=True):
            cell.assign(value)
        return old[0]

    compiled = cr.compile(f)
    expected = [b.astype(float) for b in before]
    for _ in range(2):
        np.testing.assert_allclose(compiled(cr.asarray(x)).numpy(), expected[0], 1e-4, 1e-3)
        expected = new(expected, x.astype(float), np)
        for cell, wanted in zip(cells, expected, strict=True):
            bound = 1e-4 * np.abs(wanted).max()
            np.testing.assert_allclose(cell.numpy(), wanted, 1e-4, bound)


@pytest.mark.parametrize("shape", [(), (1,), (37,), (20, 30)])
def test_cells_change_places(shape):
    a, b = (nn.Buffer(cr.full(shape, v)) for v in (1.0, 2.0))

    @cr.compile
    def swap():
        old = a * 1
        a.assign(b)
        b.assign(old)

    for values in ((2.0, 1.0), (1.0, 2.0)):
        swap()
        assert ((a == values[0]).all() & (b == values[1]).all()).item()


@pytest.mark.parametrize("shape", [(), (1,), (37,), (20, 30), (300, 200)])
def test_the_old_value_is_read_in_the_kernel_that_replaces_it(shape):
    """The one who writes does not read, and comes first."""
    a, b = (nn.Buffer(cr.full(shape, v)) for v in (1.0, 2.0))

    @cr.compile
    def f(x):
        old = a * 1
        a.assign(x * 2)
        b.assign(old + x)

    f(cr.full(shape, 10.0))
    assert ((a == 20) & (b == 11)).all().item()
    if np.prod(shape) > 1:
        assert len(f._latest().executable.compiled.kernels) == 1


@pytest.mark.parametrize("limit", [0.01, 100.0])
def test_clipping_by_the_norm_of_all_gradients(limit):
    rng = np.random.default_rng(0)
    weights = [rng.standard_normal(s) for s in ((40, 30), (30,), (30, 5))]
    x = rng.standard_normal((7, 40))
    mine = [nn.Parameter(cr.asarray(w)) for w in weights]
    opt = optim.SGD(mine, lr=0.1)

    @cr.compile
    def step(x):
        a, b, c = mine
        loss = ((cr.tanh(x @ a + b) @ c) ** 2).sum()
        loss.backward()
        optim.clip_grad_norm_(mine, limit)
        opt.step()
        return loss

    for _ in range(3):
        a, b, c = weights
        h = np.tanh(x @ a + b)
        gy = 2 * h @ c
        gh = (gy @ c.T) * (1 - h * h)
        gradients = [x.T @ gh, gh.sum(0), h.T @ gy]
        norm = np.sqrt(sum((g * g).sum() for g in gradients))
        scale = min(1.0, limit / (norm + 1e-6))
        assert step(cr.asarray(x)).item() == pytest.approx(((h @ c) ** 2).sum())
        weights = [w - 0.1 * scale * g for w, g in zip(weights, gradients, strict=True)]
        for w, wanted in zip(mine, weights, strict=True):
            np.testing.assert_allclose(w.numpy(), wanted, 1e-9, 1e-9)


@pytest.mark.parametrize("late", [False, True])
def test_a_moving_mean_of_the_weights(late):
    """Of the weights after the step, or of those before it."""
    rng = np.random.default_rng(0)
    w, x = rng.standard_normal((20, 30)), rng.standard_normal((9, 20))
    mine, mean = nn.Parameter(cr.asarray(w)), nn.Buffer(cr.asarray(w))
    opt = optim.SGD([mine], lr=0.05)

    def follow():
        mean.assign(0.9 * mean + 0.1 * mine.detach())

    @cr.compile
    def step(x):
        ((x @ mine) ** 2).sum().backward()
        if not late:
            follow()
        opt.step()
        if late:
            follow()

    average = w
    for _ in range(3):
        step(cr.asarray(x))
        old, w = w, w - 0.05 * 2 * x.T @ (x @ w)
        average = 0.9 * average + 0.1 * (w if late else old)
        np.testing.assert_allclose(mine.numpy(), w, 1e-9, 1e-9)
        np.testing.assert_allclose(mean.numpy(), average, 1e-9, 1e-9)
