"""Optimisers against their formulas in NumPy; gradients that are cleared, added up, or missing."""

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


def test_two_backward_calls_add_and_every_takes_the_mean():
    w = parameter(0.0)
    opt = optim.SGD([w], lr=1.0)
    for factor in (1.0, 3.0):
        (factor * w).sum().backward()
    opt.step()
    assert w.item() == -4.0
    for factor in (1.0, 3.0):
        (factor * w).sum().backward()
        opt.step(every=2)
    assert w.item() == -6.0  # the mean of 1 and 3


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


@pytest.mark.parametrize(
    ("make", "error", "says"),
    [
        (lambda p: optim.SGD([p], lr=-1.0), cr.DTypeError, "lr"),
        (lambda p: optim.SGD([p], lr=float("nan")), cr.DTypeError, "lr"),
        (lambda p: optim.Adam([p], betas=(1.0, 0.9)), cr.DTypeError, "betas"),
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


def test_clipping():
    w = parameter(0.0, 0.0, 0.0)
    set_gradient(w, [3.0, 4.0, 0.0])
    assert optim.clip_grad_norm_([w], 1.0).item() == pytest.approx(5.0)
    assert w.grad.numpy() == pytest.approx([0.6, 0.8, 0.0], rel=1e-5)
    optim.clip_grad_value_([w], 0.5)
    assert w.grad.numpy() == pytest.approx([0.5, 0.5, 0.0])


def rates(make, steps):
    opt = optim.SGD([parameter(1.0)], lr=1.0)
    schedule = make(opt)
    found = []
    for _ in range(steps):
        found.append(schedule.get_last_lr()[0])
        schedule.step()
    return found


def test_schedules_by_their_formulas():
    cosine = rates(lambda o: optim.CosineAnnealingLR(o, 10, eta_min=0.1), 11)
    wanted = [0.1 + 0.45 * (1 + np.cos(np.pi * t / 10)) for t in range(11)]
    assert cosine == pytest.approx(wanted)
    assert rates(lambda o: optim.StepLR(o, 3, gamma=0.5), 8) == [1, 1, 1, 0.5, 0.5, 0.5, 0.25, 0.25]
    warm = rates(lambda o: optim.LinearLR(o, 0.2, total_iters=4), 6)
    assert warm == pytest.approx([0.2, 0.4, 0.6, 0.8, 1, 1])
    cycle = rates(lambda o: optim.OneCycleLR(o, max_lr=2.0, total_steps=50), 50)
    assert max(cycle) == pytest.approx(2.0)
    assert int(np.argmax(cycle)) == 14  # 30 % of the way
    assert cycle[0] == pytest.approx(2 / 25)
    assert cycle[-1] == pytest.approx(2 / 25 / 1e4)


def test_plateau():
    opt = optim.SGD([parameter(1.0)], lr=1.0)
    schedule = optim.ReduceLROnPlateau(opt, factor=0.1, patience=2)
    found = []
    for loss in (5, 4, 4, 4, 4, 4, 4, 4, 3):
        schedule.step(loss)
        found.append(opt.param_groups[0]["lr"])
    assert found == pytest.approx([1, 1, 1, 1, 0.1, 0.1, 0.1, 0.01, 0.01])
