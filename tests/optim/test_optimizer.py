"""Optimisers against their formulas in NumPy; gradients that are cleared, added up, or missing."""

import copy

import numpy as np
import pytest

import chainrule as cr
from chainrule import nn, optim


def parameter(*values):
    return nn.Parameter(cr.asarray(np.array(values, dtype=np.float64)))


def set_gradient(p, value):
    p.grad = cr.asarray(np.broadcast_to(np.asarray(value, dtype=np.float64), p.shape).copy())


def test_gradient_descent_on_a_parabola():
    """w ← w − lr·aw has the closed form w₀(1 − lr·a)ᵗ."""
    w = parameter(3.0)
    opt = optim.SGD([w], lr=0.1)
    for _ in range(20):
        (0.5 * 4 * w * w).sum().backward()
        opt.step()
    assert w.item() == pytest.approx(3 * (1 - 0.4) ** 20, rel=1e-12)


def test_momentum_and_nesterov_by_hand():
    for nesterov in (False, True):
        w = parameter(1.0, -2.0)
        opt = optim.SGD([w], lr=0.05, momentum=0.9, nesterov=nesterov)
        x, velocity = np.array([1.0, -2.0]), 0.0
        for _ in range(15):
            (w**2).sum().backward()
            opt.step()
            g = 2 * x
            velocity = 0.9 * velocity + g
            x = x - 0.05 * (g + 0.9 * velocity if nesterov else velocity)
        assert w.numpy() == pytest.approx(x, rel=1e-12)


def test_dampening_and_weight_decay_by_hand():
    w = parameter(1.0, -2.0)
    opt = optim.SGD([w], lr=0.1, momentum=0.8, dampening=0.25, weight_decay=0.5)
    x, b = w.numpy().copy(), None
    for t in range(8):
        set_gradient(w, [t, 1.0])
        opt.step()
        g = np.array([t, 1.0]) + 0.5 * x
        b = g if b is None else 0.8 * b + 0.75 * g
        x = x - 0.1 * b
        assert w.numpy() == pytest.approx(x, rel=1e-12)


@pytest.mark.parametrize("make", [optim.SGD, optim.Adam, optim.AdamW, optim.RMSprop])
def test_maximize_is_the_step_along_the_other_gradient(make):
    up, down = parameter(1.0, 2.0), parameter(1.0, 2.0)
    first, second = make([up], maximize=True), make([down])
    for t in range(5):
        set_gradient(up, [t, -1.0])
        set_gradient(down, [-t, 1.0])
        first.step()
        second.step()
    np.testing.assert_array_equal(up.numpy(), down.numpy())


@pytest.mark.parametrize("centered", [False, True])
def test_rmsprop_by_its_algorithm(centered):
    rng = np.random.default_rng(3)
    w = parameter(*rng.normal(size=4))
    x, v, mean, b = w.numpy().copy(), 0.0, 0.0, 0.0
    opt = optim.RMSprop([w], lr=0.02, alpha=0.9, eps=1e-4, momentum=0.7, centered=centered)
    for _ in range(10):
        g = rng.normal(size=4)
        set_gradient(w, g)
        opt.step()
        v, mean = 0.9 * v + 0.1 * g * g, 0.9 * mean + 0.1 * g
        b = 0.7 * b + g / (np.sqrt(v - mean**2 if centered else v) + 1e-4)
        x = x - 0.02 * b
        assert w.numpy() == pytest.approx(x, rel=1e-10)


def test_amsgrad_divides_by_the_largest_so_far():
    w = parameter(1.0)
    opt = optim.Adam([w], lr=0.1, betas=(0.0, 0.5), eps=0.0, amsgrad=True)
    x, v, largest = 1.0, 0.0, 0.0
    for t, g in enumerate((10.0, 1.0, 1.0, 1.0), 1):
        set_gradient(w, g)
        opt.step()
        v = 0.5 * v + 0.5 * g * g
        largest = max(largest, v)
        x -= 0.1 * g / np.sqrt(largest / (1 - 0.5**t))
        assert w.item() == pytest.approx(x, rel=1e-12)


@pytest.mark.parametrize("scale", [1e-3, 1.0, 1e5])
def test_adams_first_step_is_the_learning_rate(scale):
    w = parameter(1.0, 1.0)
    opt = optim.Adam([w], lr=0.01, eps=1e-12)
    set_gradient(w, [scale, -scale])
    opt.step()
    assert w.numpy() == pytest.approx([0.99, 1.01], rel=1e-9)


def test_adam_by_its_algorithm():
    rng = np.random.default_rng(0)
    w = parameter(*rng.normal(size=5))
    x, m, v = w.numpy().copy(), np.zeros(5), np.zeros(5)
    opt = optim.AdamW([w], lr=0.02, betas=(0.8, 0.95), eps=1e-6, weight_decay=0.3)
    for t in range(1, 12):
        g = rng.normal(size=5)
        set_gradient(w, g)
        opt.step()
        x = x * (1 - 0.02 * 0.3)
        m, v = 0.8 * m + 0.2 * g, 0.95 * v + 0.05 * g * g
        x = x - 0.02 * (m / (1 - 0.8**t)) / (np.sqrt(v / (1 - 0.95**t)) + 1e-6)
        assert w.numpy() == pytest.approx(x, rel=1e-12)
    state = opt.state_dict()["state"][0]
    assert state["exp_avg"] == pytest.approx(m, rel=1e-12)
    assert state["exp_avg_sq"] == pytest.approx(v, rel=1e-12)


def test_betas_that_change_on_the_way():
    """A schedule may change them; the running values are those of the algorithm all the same."""
    w = parameter(1.0)
    opt = optim.Adam([w], lr=0.1)
    m = v = 0.0
    for t, b1 in enumerate((0.9, 0.5, 0.7, 0.9), 1):
        opt.param_groups[0]["betas"] = (b1, 0.99)
        set_gradient(w, float(t))
        opt.step()
        m, v = b1 * m + (1 - b1) * t, 0.99 * v + 0.01 * t * t
    state = opt.state_dict()["state"][0]
    assert state["exp_avg"] == pytest.approx([m])
    assert state["exp_avg_sq"] == pytest.approx([v])


OPTIONS = [
    (optim.SGD, [{}, {"momentum": 0.9}, {"momentum": 0.0}, {"momentum": 0.5, "nesterov": True}]),
    (optim.Adam, [{}, {"amsgrad": True}, {"amsgrad": False}, {"amsgrad": True}]),
    (
        optim.RMSprop,
        [{}, {"momentum": 0.9}, {"centered": True}, {"centered": False}, {"momentum": 0.0}],
    ),
]


@pytest.mark.parametrize(("make", "changes"), OPTIONS, ids=["SGD", "Adam", "RMSprop"])
def test_options_that_change_on_the_way(make, changes):
    """Two parameters in a bundle, one by one, and after a save and load: all the same numbers."""
    start = ([1.0, -2.0], [0.5])
    together, alone, loaded = ([parameter(*v) for v in start] for _ in range(3))
    optimisers = [make(together), *(make([p]) for p in alone), make(loaded)]
    rng = np.random.default_rng(5)
    for change in changes:
        for opt in optimisers:
            opt.param_groups[0].update(change)
        for _ in range(3):
            for i, shape in enumerate((2, 1)):
                g = rng.normal(size=shape)
                for parameters in (together, alone, loaded):
                    set_gradient(parameters[i], g)
            for opt in optimisers:
                opt.step()
        fresh = make(loaded)
        fresh.load_state_dict(optimisers[-1].state_dict())
        optimisers[-1] = fresh
        for a, b, c in zip(together, alone, loaded, strict=True):
            np.testing.assert_array_equal(a.numpy(), b.numpy())
            np.testing.assert_allclose(a.numpy(), c.numpy(), rtol=1e-12)
    assert all(np.isfinite(p.numpy()).all() for p in together)


def test_groups_have_options_of_their_own():
    a, b, c = parameter(1.0), parameter(1.0), parameter(1.0)
    opt = optim.SGD([{"params": [a]}, {"params": b, "lr": 0.5, "weight_decay": 1.0}], lr=0.1)
    opt.add_param_group({"params": [("c", c)], "lr": 0.0})
    for p in (a, b, c):
        set_gradient(p, 1.0)
    opt.step()
    assert [a.item(), b.item(), c.item()] == pytest.approx([0.9, 0.0, 1.0])
    assert "group 1: 1 parameters, lr=0.5" in repr(opt)


def network():
    cr.seed(0)
    return nn.Sequential(
        nn.Linear(100, 100), nn.Tanh(), nn.Linear(100, 3), nn.Tanh(), nn.Linear(3, 2)
    )


@pytest.mark.parametrize("make", [optim.SGD, optim.Adam, optim.AdamW, optim.RMSprop])
def test_small_parameters_together_and_one_by_one(make):
    """What is updated in a bundle has the bits of what is updated alone."""
    together, alone = network(), network()
    first = make(together.parameters(), lr=0.01)
    others = [make([p], lr=0.01) for p in alone.parameters()]
    x = np.random.default_rng(1).normal(size=(8, 100)).astype(np.float32)
    for step in range(6):
        for model in (together, alone):
            nn.cross_entropy(model(x), np.arange(8) % 2).backward()
            if step == 2:  # one of them has no gradient this time
                model[0].bias.grad = None
        first.step()
        for opt, p in zip(others, alone.parameters(), strict=True):
            if p.grad is not None:
                opt.step()
        if step == 3:
            first.load_state_dict(first.state_dict())
    for (name, a), b in zip(together.named_parameters(), alone.parameters(), strict=True):
        assert a.numpy() == pytest.approx(b.numpy(), rel=1e-6, abs=1e-7), name


def test_a_model_that_becomes_float64_on_the_way():
    model = network()
    opt = optim.Adam(model.parameters())
    x = np.random.default_rng(1).normal(size=(8, 100))
    for dtype in (cr.float32, cr.float64):
        model.to(dtype)
        nn.cross_entropy(model(cr.asarray(x, dtype=dtype)), np.arange(8) % 2).backward()
        before = model[4].bias.numpy().copy()
        opt.step()
        assert model[4].bias.dtype == dtype
        assert (model[4].bias.numpy() != before).all()


def test_step_clears_what_it_used_and_leaves_the_rest():
    a, b = parameter(1.0), parameter(1.0)
    opt = optim.SGD([a], lr=1.0)
    (a * b).sum().backward()
    opt.step()
    assert a.grad is None
    assert b.grad is not None


@pytest.mark.parametrize("count", [1, 3])
def test_two_backward_calls_add_and_every_takes_the_mean(count):
    parameters = [parameter(0.0) for _ in range(count)]  # alone, and in a bundle
    opt = optim.SGD(parameters, lr=1.0)
    for factor in (1.0, 3.0):
        (factor * sum(parameters)).sum().backward()
    opt.step()
    assert [w.item() for w in parameters] == [-4.0] * count
    for factor in (1.0, 3.0):
        (factor * sum(parameters)).sum().backward()
        opt.step(every=2)
    assert [w.item() for w in parameters] == [-6.0] * count  # the mean of 1 and 3


def test_an_incomplete_round_of_every_applies_nothing():
    w = parameter(1.0)
    opt = optim.SGD([w], lr=1.0)
    set_gradient(w, 2.0)
    opt.step(every=3)
    assert w.item() == 1.0
    assert w.grad.item() == 2.0
    opt.zero_grad()
    assert w.grad is None
    set_gradient(w, 3.0)
    opt.step()  # the round that was given up does not count
    assert w.item() == -2.0


def test_state_is_a_copy_and_what_does_not_fit_changes_nothing():
    w = parameter(1.0, 2.0)
    opt = optim.Adam([w], lr=0.1)
    set_gradient(w, 1.0)
    opt.step()
    state = opt.state_dict()
    before = state["state"][0]["exp_avg"].copy()
    set_gradient(w, 5.0)
    opt.step()
    np.testing.assert_array_equal(state["state"][0]["exp_avg"], before)
    kept = opt.state_dict()
    (group,) = state["param_groups"]
    running = state["state"][0]
    for wrong in (
        None,
        {},
        {**state, "param_groups": [group, group]},
        {**state, "state": {1: running}},
        {**state, "state": {-1: running}},
        {**state, "state": {"a": running}},
        {**state, "state": {0: {**running, "exp_avg": np.zeros(3)}}},
        {**state, "state": {0: {"step": 1}}},
        {**state, "param_groups": [{**group, "lr": -1.0}]},
    ):
        with pytest.raises((cr.CheckpointError, cr.DTypeError)):
            opt.load_state_dict(wrong)
    assert opt.param_groups[0]["lr"] == 0.1
    np.testing.assert_array_equal(
        opt.state_dict()["state"][0]["exp_avg"], kept["state"][0]["exp_avg"]
    )
    opt.load_state_dict(state)
    np.testing.assert_array_equal(opt.state_dict()["state"][0]["exp_avg"], before)


def test_state_is_saved_and_taken_over():
    ours, theirs = network(), network()
    x = np.random.default_rng(2).normal(size=(8, 100)).astype(np.float32)
    a, b = optim.Adam(ours.parameters()), optim.Adam(theirs.parameters())

    def step(model, opt):
        nn.cross_entropy(model(x), np.arange(8) % 2).backward()
        opt.step()

    for _ in range(3):
        step(ours, a)
    theirs.load_state_dict(ours.state_dict())
    b.load_state_dict(a.state_dict())
    for _ in range(3):
        step(ours, a)
        step(theirs, b)
    for p, q in zip(ours.parameters(), theirs.parameters(), strict=True):
        assert p.numpy() == pytest.approx(q.numpy(), rel=1e-6, abs=1e-8)


def test_a_copy_goes_on_as_the_original_does():
    """Small parameters are updated together; a copy's running values are its own."""
    model = nn.Linear(2, 3)
    opt = optim.Adam(model.parameters(), lr=0.1)

    def step(model, opt):
        (model(cr.ones((1, 2))) ** 2).sum().backward()
        opt.step()

    step(model, opt)
    copied, twin = copy.deepcopy((model, opt))
    for _ in range(2):
        step(model, opt)
        step(copied, twin)
    assert (copied.weight.numpy() == model.weight.numpy()).all()
    for number, values in opt.state_dict()["state"].items():
        for name, value in values.items():
            assert np.all(twin.state_dict()["state"][number][name] == value)


@pytest.mark.parametrize(
    ("make", "error", "says"),
    [
        (lambda p: optim.SGD([p], lr=-1.0), cr.DTypeError, "lr"),
        (lambda p: optim.SGD([p], lr=float("nan")), cr.DTypeError, "lr"),
        (lambda p: optim.Adam([p], betas=(1.0, 0.9)), cr.DTypeError, "betas"),
        (lambda p: optim.SGD([p], lr="fast"), cr.DTypeError, "lr"),
        (lambda p: optim.SGD([p], weight_decay=float("inf")), cr.DTypeError, "weight_decay"),
        (lambda p: optim.SGD([p], momentum=0.9, dampening=-1.0), cr.DTypeError, "dampening"),
        (lambda p: optim.SGD([p], nesterov=True), cr.DTypeError, "momentum"),
        (lambda p: optim.SGD([{"params": p, "nesterov": True}]), cr.DTypeError, "momentum"),
        (lambda p: optim.Adam([p], betas=0.9), cr.DTypeError, "two numbers"),
        (lambda p: optim.Adam([p], betas=(0.9,)), cr.DTypeError, "two numbers"),
        (lambda p: optim.RMSprop([p], alpha=2.0), cr.DTypeError, "alpha"),
        (lambda p: optim.SGD(None), cr.DTypeError, "list"),
        (lambda p: optim.SGD(nn.Linear(1, 1)), cr.DTypeError, "list"),
        (lambda p: optim.SGD([{"lr": 1.0}]), cr.DTypeError, "params"),
        (lambda p: optim.SGD([{"params": []}, p]), cr.DTypeError, "params"),
        (lambda p: optim.SGD([nn.Parameter(cr.ones(2)), 3]), cr.DTypeError, "int"),
        (lambda p: optim.SGD([p]).step(every=True), cr.DTypeError, "every"),
        (lambda p: optim.Adam([]), cr.GradientError, "no parameters"),
        (lambda p: optim.Adam(p), cr.DTypeError, "list"),
        (lambda p: optim.Adam([cr.ones(2)]), cr.DTypeError, "Parameter"),
        (lambda p: optim.Adam([p, p]), cr.GradientError, "twice"),
        (lambda p: optim.Adam([{"params": [p], "rate": 1}]), cr.DTypeError, "rate"),
        (lambda p: optim.Adam([p]).step(), cr.GradientError, "backward"),
        (lambda p: optim.Adam([p]).step(every=0), cr.DTypeError, "every"),
    ],
)
def test_misuse(make, error, says):
    with pytest.raises(error, match=says):
        make(parameter(1.0, 2.0))
