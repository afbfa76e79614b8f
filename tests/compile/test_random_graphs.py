"""Random graphs of the registered operations, compiled against eager.

`make test` draws 200, `make fuzz` ten times as many that are new.
"""

import os

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import chainrule as cr
from chainrule.compile import nests
from chainrule.compile.compiled import Compiled
from tests.compile.comparing import array, assert_close, silent
from tests.compile.graphs import graphs
from tests.compile.magnitudes import Bounded

FUZZ = int(os.environ.get("CHAINRULE_FUZZ", "0"))
COUNT = FUZZ or 200


def drawn(share):
    """How many examples a test draws, and whether they are the same at every run."""
    return settings(
        max_examples=max(1, int(COUNT * share)),
        derandomize=not FUZZ,
        deadline=None,
        database=None,
        suppress_health_check=list(HealthCheck),
    )


@pytest.fixture(autouse=True, scope="module")
def own_cache(tmp_path_factory):
    """Object code of this run alone."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("CHAINRULE_CACHE", str(tmp_path_factory.mktemp("cache")))
        yield


def run(graph, wrap, dtype=np.float32, arrays=None):
    """(results, what the cells hold in the end among them; what was called)."""
    arrays = graph.arrays(dtype) if arrays is None else arrays
    cells = graph.cells(dtype)
    compiled = wrap(graph.function(cells))
    with silent():
        found = [array(x).copy() for x in compiled(*map(cr.asarray, arrays))]
    last = found[len(found) - len(cells) :]
    for cell, value in zip(cells, last, strict=True):
        np.testing.assert_array_equal(cell.numpy(), value)
    return found, compiled


def check(graph, dtype=np.float32):
    eager, _ = run(graph, lambda f: f, dtype)
    mine, _ = run(graph, cr.compile, dtype)
    again, _ = run(graph, cr.compile, dtype)
    for a, b in zip(mine, again, strict=True):
        assert a.tobytes() == b.tobytes(), "two runs differ"
    exact, bounded = run(graph, lambda f: Compiled(f, backend=Bounded), np.float64)
    latest = bounded._latest()
    magnitudes = [latest.executable.magnitudes[r] for r in latest.traced.results]
    assert_close(mine, eager, exact, magnitudes)


@pytest.fixture
def many_tasks(monkeypatch, tmp_path):
    """Loops are cut into tasks as those over millions of elements are."""
    monkeypatch.setattr(nests, "WORTH_SHARING", 20)
    monkeypatch.setenv("CHAINRULE_CACHE", str(tmp_path))


@drawn(0.25)
@given(graphs())
def test_graphs(graph):
    check(graph)


@drawn(0.2)
@given(graphs("cells"))
def test_graphs_that_write_where_they_read(graph):
    check(graph)


@drawn(0.15)
@given(graphs())
def test_graphs_in_many_tasks(many_tasks, graph):
    check(graph)


@drawn(0.25)
@given(graphs("gradients"))
def test_graphs_with_their_gradients(graph):
    check(graph)


@drawn(0.15)
@given(graphs(), st.randoms(use_true_random=False))
def test_what_is_not_finite_propagates(graph, random):
    arrays = graph.arrays()
    for x in arrays:
        flat = x.reshape(-1)
        for i in random.sample(range(x.size), min(x.size, 3)):
            flat[i] = random.choice([np.nan, np.inf, -np.inf, 0.0, -0.0])
    eager, _ = run(graph, lambda f: f, arrays=arrays)
    wide, _ = run(graph, lambda f: f, np.float64, [x.astype(np.float64) for x in arrays])
    mine, _ = run(graph, cr.compile, arrays=arrays)
    for c, e, w in zip(mine, eager, wide, strict=True):
        if e.dtype.kind == "f":
            # Where rounding decides, it may decide otherwise; where it does not, all are alike.
            with silent():
                kind = [np.where(np.isfinite(x), 2.0, x) for x in (c, e, w.astype(e.dtype))]
            alike = np.array_equal(kind[1], kind[2], equal_nan=True)
            assert not alike or np.array_equal(kind[0], kind[1], equal_nan=True), (c, e)


# Orders of reading and writing that are seldom drawn


def shifted(c, d, x):
    c[1:] = c[:-1] * 1.0
    d[:, ::2] = c[:, 1::2] + x[:, 1::2]


def swapped(c, d, x):
    before = c * 1.0
    c.assign(d)
    d.assign(before)


def late(c, d, x):
    y = cr.exp(c) @ x
    c.assign(x * 2)
    return y, cr.flip(c)


def results_then_state(c, d, x):
    y = cr.sum(c, axis=0)
    c.assign(c - y)
    d.assign(cr.flip(d) + y)
    return y, c * 1.0, d @ c


STATE = [
    shifted,
    swapped,
    late,
    results_then_state,
    lambda c, d, x: c.assign(cr.flip(c)),
    lambda c, d, x: c.assign(c.mT + x),
    lambda c, d, x: c.assign(c @ c),
    lambda c, d, x: c.assign(cr.softmax(c, axis=0) + c.mT),
    lambda c, d, x: (c.assign(c + x), d.assign(cr.tanh(c) @ d), x)[2],
]


@pytest.mark.parametrize("function", STATE)
def test_orders_of_reading_and_writing(function):
    rng = np.random.default_rng(0)
    given = [rng.uniform(-1, 1, (40, 40)).astype(np.float32) for _ in range(3)]
    ends = []
    for wrap in (lambda f: f, cr.compile):
        cells = [cr.nn.Buffer(a) for a in given[:2]]
        call = wrap(lambda x, cells=cells: function(*cells, x))
        for _ in range(2):
            made = call(cr.asarray(given[2]))
        made = made if isinstance(made, (list, tuple)) else [] if made is None else [made]
        ends.append([array(x) for x in (*made, *cells)])
    for mine, wanted in zip(ends[1], ends[0], strict=True):
        np.testing.assert_allclose(mine, wanted, 1e-4, 1e-4 * np.max(np.abs(wanted)))
