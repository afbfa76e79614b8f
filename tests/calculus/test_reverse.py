"""The backward pass: how the graph is kept and let go, and how gradients add up."""

import gc
import sys
import tracemalloc
import weakref

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import chainrule as cr
from chainrule import nn


def leaf(*values):
    return cr.asarray(np.array(values), requires_grad=True)


def test_gradients_of_two_passes_add_up():
    w = leaf(1.0, 2.0)
    (w**2).sum().backward()
    first = w.grad
    (w * 3).sum().backward()
    assert w.grad.tolist() == [5, 7]
    assert first.tolist() == [2, 4]  # what one holds is not written to
    w.grad = None
    (w * 3).sum().backward()
    assert w.grad.tolist() == [3, 3]


def test_every_path_counts():
    x = leaf(0.5, -1.5)
    y = x * x
    z = y + y * x + x
    (z * y).sum().backward()
    v = np.array([0.5, -1.5])
    np.testing.assert_allclose(x.grad.numpy(), 4 * v**3 + 5 * v**4 + 3 * v**2)


def test_a_seed_for_what_is_no_single_number():
    w = leaf(1.0, 2.0)
    (w**2).backward(cr.asarray(np.array([10.0, 100.0])))
    assert w.grad.tolist() == [20, 400]
    with pytest.raises(cr.ShapeError, match=r"\(3,\).*\(2,\)"):
        (w**2).backward(np.ones(3))
    with pytest.raises(cr.GradientError, match=r"\.sum\(\) or \.mean\(\)"):
        (w**2).backward()


def test_a_second_pass_says_how_to_keep_the_graph():
    w = leaf(1.0, 2.0)
    loss = (w**2).sum()
    loss.backward()
    with pytest.raises(cr.GradientError, match=r"backward\(retain_graph=True\)") as error:
        loss.backward()
    assert "test_reverse.py:" in str(error.value)
    assert w.grad.tolist() == [2, 4]  # the refused pass left nothing behind


def test_a_part_shared_by_two_losses_is_watched_too():
    w = leaf(2.0)
    shared = w**3
    (shared * 2).sum().backward()
    with pytest.raises(cr.GradientError, match="retain_graph"):
        (shared * 5).sum().backward()


@pytest.mark.parametrize("times", [1, 3])
def test_retain_graph(times):
    w = leaf(1.0, 2.0)
    loss = (w**2).sum()
    for _ in range(times):
        loss.backward(retain_graph=True)
    loss.backward()
    assert w.grad.tolist() == [2 * (times + 1), 4 * (times + 1)]
    with pytest.raises(cr.GradientError, match="retain_graph"):
        loss.backward()


def test_create_graph_to_the_third_order():
    x = leaf(2.0)
    y = (x**4).sum()
    for wanted in (32.0, 48.0, 48.0, 24.0):
        x.grad = None
        y.backward(create_graph=True)
        assert x.grad.tolist() == [wanted]
        y = x.grad.sum()


def test_a_penalty_on_the_gradient():
    """d/dw of ‖∂(w²x)/∂x‖² = w⁴ is 4w³: a gradient's graph reaches what is no input of it."""
    w, x = leaf(1.5), leaf(0.3)
    (w * w * x).sum().backward(create_graph=True)
    penalty = (x.grad**2).sum()
    w.grad = None
    penalty.backward()
    assert w.grad.item() == pytest.approx(4 * 1.5**3)


def test_what_plain_backward_leaves_needs_no_graph():
    w = leaf(1.0)
    (w**2).sum().backward()
    assert not w.grad.requires_grad


def test_no_grad_as_block_and_decorator():
    w = leaf(1.0)

    @cr.no_grad()
    def inside(x):
        return x * 2

    with cr.no_grad():
        assert not (w * 2).requires_grad
        with cr.no_grad():
            pass
        assert not (w * 2).requires_grad
    assert not inside(w).requires_grad
    assert (w * 2).requires_grad
    with pytest.raises(KeyError), cr.no_grad():
        raise KeyError
    assert (w * 2).requires_grad
    with pytest.raises(cr.GradientError, match="no_grad"):
        inside(w).sum().backward()


def test_inference_keeps_nothing():
    w = nn.Parameter(cr.ones((100, 100)))
    with cr.no_grad():
        y = cr.tanh(cr.ones((100, 100)) @ w)
    assert y._node is None


# Depth and memory


def test_a_chain_of_100000_operations():
    """No recursion, neither in the walk nor in letting go; about one node's memory each."""
    n = 100_000
    x = leaf(1.0)
    limit = sys.getrecursionlimit()
    tracemalloc.start()
    try:
        sys.setrecursionlimit(200)
        y = x
        for _ in range(n):
            y = y * 1.00001
        built = tracemalloc.get_traced_memory()[0]
        y.backward()
        peak = tracemalloc.get_traced_memory()[1]
        del y
        gc.collect()
        left = tracemalloc.get_traced_memory()[0]
    finally:
        sys.setrecursionlimit(limit)
        tracemalloc.stop()
    assert x.grad.item() == pytest.approx(1.00001**n, rel=1e-9)
    assert built < 1500 * n
    assert peak < 1.3 * built
    assert left < 0.02 * built


def test_a_chain_that_is_dropped_without_a_pass():
    x = y = leaf(1.0)
    for _ in range(100_000):
        y = y + 1.0
    del y
    gc.collect()
    (x * 2).sum().backward()
    assert x.grad.item() == 2


def test_a_wide_graph():
    """Diamonds, 2⁵⁰ paths: every node is passed once."""
    x = y = leaf(1.0)
    for _ in range(50):
        y = (y + y) * 0.5
    y.backward()
    assert x.grad.item() == 1.0


def test_values_are_let_go_while_backward_passes(monkeypatch):
    """When the pass is at the oldest operation, the values of all newer ones are gone."""
    from chainrule.calculus import reverse

    x = leaf(*np.linspace(0.1, 0.9, 50))
    values, y = [], x
    for _ in range(6):
        y = cr.sin(y)
        values.append(weakref.ref(y._value))
    loss = y.sum()
    del y
    alive = []
    check = reverse._check

    def counting(node):
        alive.append(sum(v() is not None for v in values))
        check(node)

    monkeypatch.setattr(reverse, "_check", counting)
    loss.backward()
    # At the first sine from the end, its input and the four before are alive, and so on down.
    assert alive[1:] == [5, 4, 3, 2, 1, 0]


def test_retained_values_stay():
    x = leaf(0.3)
    a = cr.sin(x)
    value = weakref.ref(a._value)
    loss = cr.sin(a).sum()
    del a
    loss.backward(retain_graph=True)
    assert value() is not None
    loss.backward()
    assert value() is None


def test_a_sum_keeps_no_value():
    x = leaf(*np.zeros(1000))
    a = x * 2.0
    value = weakref.ref(a._value)
    b = (a + 1.0).sum()
    del a
    assert value() is None
    b.backward()
    assert set(x.grad.tolist()) == {2.0}


def test_a_leaf_that_is_gone_is_no_problem():
    x, w = leaf(1.0), leaf(2.0)
    loss = (x * w).sum()
    del w
    loss.backward()
    assert x.grad.tolist() == [2]


@given(
    st.lists(st.tuples(st.sampled_from("+*s"), st.integers(0, 9), st.integers(0, 9)), max_size=9)
)
def test_random_graphs_agree_with_dual_numbers(steps):
    """Reverse mode against forward mode by hand: pairs (value, derivative) in plain Python."""
    x = leaf(0.7)
    ours, theirs = [x, x * 2], [(0.7, 1.0), (1.4, 2.0)]
    for kind, i, j in steps:
        i, j = i % len(ours), j % len(ours)
        (a, da), (b, db) = theirs[i], theirs[j]
        if kind == "+":
            ours.append(ours[i] + ours[j])
            theirs.append((a + b, da + db))
        elif kind == "*":
            ours.append(ours[i] * ours[j] * 0.1)
            theirs.append((a * b * 0.1, (da * b + a * db) * 0.1))
        else:
            ours.append(cr.sin(ours[i]))
            theirs.append((np.sin(a), np.cos(a) * da))
    ours[-1].backward()
    assert x.grad.item() == pytest.approx(theirs[-1][1], rel=1e-9, abs=1e-12)


def test_cotangents_of_parts_are_added_in_place():
    """Overlapping parts, a part used twice, and the whole beside them, as differences have it."""
    x = cr.asarray(np.linspace(-1, 1, 24).reshape(2, 3, 4))

    def f(x):
        y = x.permute(2, 0, 1)
        a, b = y[0], y[1:3]
        return (a * a + y[3] * y[0]).sum() + (b * y[2:4]).sum() + (y * x.permute(2, 0, 1)).sum()

    cr.check_gradients(f, x)
    x.requires_grad = True
    f(x).backward()
    given = x.grad.numpy().copy()
    assert np.allclose(given, cr.grad(f)(x).numpy())
    part = x[0]
    (part.sum() + part[1].sum()).backward()  # a second pass adds to a gradient, not into it
    assert np.allclose(
        x.grad.numpy() - given, [np.ones((3, 4)) + np.eye(3)[1][:, None], np.zeros((3, 4))]
    )
