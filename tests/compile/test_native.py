"""Compiled functions as a whole: from several threads, in forked children, sharing a model."""

import os
import sys
import threading
import traceback

import numpy as np
import pytest

import chainrule as cr
from chainrule import nn, optim
from chainrule.compile.pool import get_num_threads, set_num_threads


@pytest.fixture(params=[1, 2])
def threads(request):
    before = get_num_threads()
    set_num_threads(request.param)
    yield request.param
    set_num_threads(before)


def floats(*shape, seed=0):
    return np.random.default_rng(seed).standard_normal(shape).astype("f4")


def together(*works):
    """Runs functions in threads that begin at once; gives what they raised."""
    failed, gate = [], threading.Barrier(len(works))

    def run(work):
        gate.wait()
        try:
            work()
        except BaseException:
            failed.append(traceback.format_exc())

    started = [threading.Thread(target=run, args=(work,)) for work in works]
    for t in started:
        t.start()
    for t in started:
        t.join(60)
        assert not t.is_alive()
    return failed


def heavy(x):
    """Large enough that several tasks share its kernels; intermediate values lie in the arena."""
    y = cr.tanh(x @ x.T)
    return cr.softmax(y, axis=1) @ x, y.sum(), cr.max(y, axis=0)


def expected(x):
    x = x.astype(float)
    y = np.tanh(x @ x.T)
    e = np.exp(y - y.max(1, keepdims=True))
    return e / e.sum(1, keepdims=True) @ x, y.sum(), y.max(0)


def assert_heavy(found, wanted):
    for a, b in zip(found, wanted, strict=True):
        np.testing.assert_allclose(a.numpy(), b, 1e-4, 1e-3)


def test_one_function_is_called_by_several_threads_at_once(threads):
    f = cr.compile(heavy)
    inputs = [floats(300, 64, seed=i) for i in range(4)]
    wanted = [expected(x) for x in inputs]

    def work(x, w):
        def run():
            x_ = cr.asarray(x)
            for found in [f(x_) for _ in range(60)]:
                assert_heavy(found, w)

        return run

    assert not together(*(work(x, w) for x, w in zip(inputs, wanted, strict=True)))
    assert f.traces == 1


def test_several_functions_run_and_compile_at_once(threads):
    def work(seed):
        def run():
            scale = 1.0 + seed / 8
            f = cr.compile(lambda x: heavy(x * scale))
            for rows in (150, 151, 150):
                x = floats(rows, 40, seed=seed)
                assert_heavy(f(cr.asarray(x)), expected(x * np.float32(scale)))

        return run

    assert not together(*(work(seed) for seed in range(3)))


def test_state_is_written_by_one_call_after_another():
    total = nn.Buffer(cr.zeros(5000))
    add = cr.compile(lambda x: total.assign(total + x))
    one = cr.ones(5000)
    assert not together(*[lambda: [add(one) for _ in range(50)]] * 4)
    np.testing.assert_array_equal(total.numpy(), np.full(5000, 200.0))


def test_each_call_has_random_numbers_of_its_own():
    """Whichever thread draws them, they are those that one thread draws."""
    draw = cr.compile(lambda x: cr.random.uniform((2,)) + x)
    zero, found = cr.zeros(2), []
    draw(zero)
    cr.seed(7)
    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    try:
        assert not together(*[lambda: [found.append(draw(zero).numpy()) for _ in range(400)]] * 3)
    finally:
        sys.setswitchinterval(interval)
    cr.seed(7)
    wanted = {tuple(cr.random.uniform((2,)).tolist()) for _ in range(1200)}
    assert {tuple(x.tolist()) for x in found} == wanted


def in_a_child(work):
    """The exit status of a forked child that does some work."""
    child = os.fork()
    if not child:
        code = 1
        try:
            work()
            code = 0
        except BaseException:
            traceback.print_exc()
        finally:
            os._exit(code)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


@pytest.mark.filterwarnings("ignore:This process:DeprecationWarning")
def test_forked_children_run_and_compile(threads):
    f, x = cr.compile(heavy), floats(200, 64)
    assert_heavy(f(cr.asarray(x)), expected(x))

    def work():
        for _ in range(3):
            assert_heavy(f(cr.asarray(x)), expected(x))
        rest = floats(130, 20, seed=1)
        assert_heavy(f(cr.asarray(rest)), expected(rest))
        assert_heavy(cr.compile(lambda x: heavy(x + 0.0))(cr.asarray(x)), expected(x))

    assert in_a_child(work) == 0
    assert in_a_child(lambda: in_a_child(work)) == 0
    assert_heavy(f(cr.asarray(x)), expected(x))


def test_a_childs_state_is_its_own():
    cell = nn.Buffer(cr.zeros(3))
    f = cr.compile(lambda: cell.assign(cell + 1))
    f()

    def work():
        f()
        assert cell.tolist() == [2.0] * 3

    assert in_a_child(work) == 0
    assert cell.tolist() == [1.0] * 3


def descent(w, momentum, x, y, rate):
    """A step of SGD with momentum on half the squared error of x w: w and the momentum after it."""
    momentum = 0.9 * momentum + x.T @ (x @ w - y)
    return w - rate * momentum, momentum


def test_two_functions_share_a_model_and_an_optimiser():
    """Two losses, and an eager evaluation between, on one set of weights and momenta."""
    w = nn.Parameter(floats(6, 2).astype(float))
    opt = optim.SGD([w], lr=0.01, momentum=0.9)

    def step(x, y):
        loss = ((x @ w - y) ** 2).sum() / 2
        loss.backward()
        opt.step()
        return loss

    on_all = cr.compile(step)
    on_half = cr.compile(lambda x, y: step(x[::2], y[::2]))
    evaluate = cr.compile(lambda x: x @ w)
    mine, momentum = w.numpy(copy=True), 0
    for i in range(6):
        x, y = floats(8, 6, seed=i).astype(float), floats(8, 2, seed=-i + 99).astype(float)
        function, part = [
            (on_all, slice(None)), (on_half, slice(None, None, 2)), (step, slice(None)),
        ][i % 3]  # fmt: skip
        rate = opt.param_groups[0]["lr"] = 0.01 if i < 4 else 0.02
        loss = function(cr.asarray(x), cr.asarray(y)).item()
        assert loss == pytest.approx(((x[part] @ mine - y[part]) ** 2).sum() / 2)
        mine, momentum = descent(mine, momentum, x[part], y[part], rate)
        np.testing.assert_allclose(w.numpy(), mine, 1e-10)
        np.testing.assert_allclose(evaluate(cr.asarray(x)).numpy(), x @ mine, 1e-9)
    assert on_all.traces == on_half.traces == 1


def test_two_functions_take_gradients_in_turn():
    """One computes them, the other one applies what was added up."""
    w = nn.Parameter(floats(5).astype(float))
    opt = optim.SGD([w], lr=0.1)

    @cr.compile
    def gather(x):
        ((w * x) ** 2).sum().backward()

    @cr.compile
    def apply():
        opt.step()

    mine = w.numpy(copy=True)
    for _ in range(2):
        xs = [floats(5, seed=i).astype(float) for i in range(3)]
        for x in xs:
            gather(cr.asarray(x))
        np.testing.assert_allclose(w.grad.numpy(), sum(2 * mine * x * x for x in xs))
        apply()
        mine = mine - 0.1 * sum(2 * mine * x * x for x in xs)
        np.testing.assert_allclose(w.numpy(), mine)
        assert w.grad is None
