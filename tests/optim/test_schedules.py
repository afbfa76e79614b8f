"""Schedules of the learning rate, each against its formula written out in NumPy."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import chainrule as cr
from chainrule import nn, optim


def optimiser(*rates, make=optim.SGD, **options):
    groups = [{"params": [nn.Parameter(cr.ones(2))], "lr": lr} for lr in rates or (1.0,)]
    return make(groups, **options)


def rates(make, steps, opt=None):
    """The first group's learning rate before each of the steps."""
    opt = opt or optimiser()
    schedule = make(opt)
    found = []
    for _ in range(steps):
        assert schedule.get_last_lr() == [g["lr"] for g in opt.param_groups]
        found.append(schedule.get_last_lr()[0])
        schedule.step()
    return np.array(found)


T = np.arange(12)
FORMULAS = {
    "StepLR": ({"step_size": 3, "gamma": 0.5}, 0.5 ** (T // 3)),
    "MultiStepLR": ({"milestones": [7, 2]}, 0.1 ** ((T >= 2) * 1.0 + (T >= 7))),
    "ExponentialLR": ({"gamma": 0.9}, 0.9**T),
    "ConstantLR": ({"factor": 0.2, "total_iters": 4}, np.where(T < 4, 0.2, 1)),
    "LinearLR": (
        {"start_factor": 0.1, "end_factor": 0.9, "total_iters": 8},
        np.interp(T, [0, 8], [0.1, 0.9]),
    ),
    "PolynomialLR": ({"total_iters": 6, "power": 2.0}, np.maximum(1 - T / 6, 0) ** 2),
    "CosineAnnealingLR": (
        {"T_max": 5, "eta_min": 0.2},
        0.2 + 0.8 * (1 + np.cos(np.pi * T / 5)) / 2,
    ),
    "LambdaLR": ({"lr_lambda": lambda t: 1 / (1 + t)}, 1 / (1 + T)),
}


@pytest.mark.parametrize("name", FORMULAS)
def test_formula(name):
    options, wanted = FORMULAS[name]
    found = rates(lambda o: getattr(optim, name)(o, **options), len(T))
    np.testing.assert_allclose(found, wanted, rtol=1e-12)


def test_cosine_goes_down_and_comes_back():
    found = rates(lambda o: optim.CosineAnnealingLR(o, 4), 9)
    assert found[[0, 2, 4, 8]] == pytest.approx([1, 0.5, 0, 1])


def test_warm_restarts_are_half_cosines_of_growing_length():
    found = rates(lambda o: optim.CosineAnnealingWarmRestarts(o, 2, T_mult=3, eta_min=0.1), 26)
    lengths = (2, 6, 18)
    wanted = np.concatenate([0.1 + 0.45 * (1 + np.cos(np.pi * np.arange(n) / n)) for n in lengths])
    np.testing.assert_allclose(found, wanted, rtol=1e-12)


@pytest.mark.parametrize("strategy", ["cos", "linear"])
def test_one_cycle_rises_then_falls_and_momentum_goes_the_other_way(strategy):
    steps, share, peak = 40, 0.25, 2.0
    low, end = peak / 10, peak / 10 / 100
    opt = optimiser(momentum=0.5)
    schedule = optim.OneCycleLR(
        opt, peak, steps, pct_start=share, anneal_strategy=strategy, div_factor=10,
        final_div_factor=100,
    )  # fmt: skip
    found, momenta = [], []
    for t in range(steps):
        found.append(opt.param_groups[0]["lr"])
        momenta.append(opt.param_groups[0]["momentum"])
        if t < steps - 1:
            schedule.step()
    turn = share * steps - 1

    def anneal(a, b, part):
        return b + (a - b) * ((1 + np.cos(np.pi * part)) / 2 if strategy == "cos" else 1 - part)

    t = np.arange(steps)
    down = (t - turn) / (steps - 1 - turn)
    wanted = np.where(t <= turn, anneal(low, peak, t / turn), anneal(peak, end, down))
    np.testing.assert_allclose(found, wanted, rtol=1e-12)
    wanted = np.where(t <= turn, anneal(0.95, 0.85, t / turn), anneal(0.85, 0.95, down))
    np.testing.assert_allclose(momenta, wanted, rtol=1e-12)
    schedule.step()  # the one after the last batch is allowed
    with pytest.raises(cr.DTypeError, match="41 of a cycle of 40"):
        schedule.step()


def test_one_cycle_turns_adams_first_beta():
    opt = optimiser(make=optim.Adam)
    optim.OneCycleLR(opt, 1.0, 10)
    assert opt.param_groups[0]["betas"] == (0.95, 0.999)


def test_one_cycle_that_starts_at_its_peak():
    found = rates(lambda o: optim.OneCycleLR(o, 1.0, 10, pct_start=0.1), 9)
    assert found[0] == 1.0
    assert (np.diff(found) < 0).all()


def test_one_cycle_after_the_first_step_of_plain_gradient_descent():
    """It switches momentum on, which gradient descent has kept nothing for so far."""
    opt = optimiser()
    p = opt.param_groups[0]["params"][0]
    for after in (False, True):
        (p * p).sum().backward()
        opt.step()
        if not after:
            optim.OneCycleLR(opt, 0.1, 10)
    assert "momentum_buffer" in opt.state_dict()["state"][0]


def test_sequential_warms_up_then_decays():
    found = rates(
        lambda o: optim.SequentialLR(
            o, [optim.LinearLR(o, 0.25, total_iters=4), optim.ExponentialLR(o, 0.5)], [4]
        ),
        8,
    )
    assert found == pytest.approx([0.25, 0.4375, 0.625, 0.8125, 1, 0.5, 0.25, 0.125])


def test_every_group_keeps_its_own_scale():
    opt = optimiser(1.0, 0.1)
    schedule = optim.LambdaLR(opt, [lambda t: 0.5**t, lambda t: 1.0])
    schedule.step()
    assert schedule.get_last_lr() == [0.5, 0.1]
    opt = optimiser(1.0, 0.1)
    schedule = optim.StepLR(opt, 1)
    opt.add_param_group({"params": [nn.Parameter(cr.ones(1))], "lr": 7.0})
    schedule.step()
    assert [g["lr"] for g in opt.param_groups] == pytest.approx([0.1, 0.01, 7.0])


# Plateaus


def plateau(metrics, **options):
    opt = optimiser()
    schedule = optim.ReduceLROnPlateau(opt, **options)
    found = []
    for metric in metrics:
        schedule.step(metric)
        found.append(opt.param_groups[0]["lr"])
    return found


def test_plateau_waits_its_patience():
    found = plateau([5, 4, 4, 4, 4, 4, 4, 4, 3], factor=0.5, patience=2)
    assert found == [1, 1, 1, 1, 0.5, 0.5, 0.5, 0.25, 0.25]


def test_plateau_of_a_score_that_should_rise():
    assert plateau([1, 2, 3, 3], mode="max", patience=0) == pytest.approx([1, 1, 1, 0.1])


@pytest.mark.parametrize(
    ("mode", "gain"), [("rel", 0.9 * 2.0), ("rel", 1.1 * 2.0), ("abs", 0.9), ("abs", 1.1)]
)
def test_plateau_threshold(mode, gain):
    """A gain counts above threshold · best, or above the threshold itself."""
    options = {"threshold_mode": mode, "threshold": 0.1 if mode == "rel" else 1.0}
    found = plateau([20.0, 20.0 - gain], patience=0, **options)
    assert found[-1] == pytest.approx(0.1 if gain in (0.9 * 2.0, 0.9) else 1.0)


def test_plateau_cooldown_and_floor():
    found = plateau([1] * 6, factor=0.5, patience=0, cooldown=2)
    assert found == [1, 0.5, 0.5, 0.5, 0.25, 0.25]
    assert plateau([1] * 6, factor=0.1, patience=0, min_lr=0.05)[-1] == 0.05


def test_plateau_of_nan_is_no_progress():
    assert plateau([math.nan] * 2, patience=0) == pytest.approx([0.1, 0.01])


# What holds for all


@given(st.sampled_from(sorted(FORMULAS)), st.integers(0, 11))
def test_a_run_goes_on_from_its_state(name, pause):
    options, wanted = FORMULAS[name]
    first = getattr(optim, name)(optimiser(), **options)
    for _ in range(pause):
        first.step()
    opt = optimiser()
    second = getattr(optim, name)(opt, **options)
    second.load_state_dict(first.state_dict())
    assert opt.param_groups[0]["lr"] == pytest.approx(wanted[pause])
    assert second.last_epoch == pause


def test_a_plateau_goes_on_from_its_state():
    first, second = (optim.ReduceLROnPlateau(optimiser(), patience=2) for _ in range(2))
    for _ in range(3):
        first.step(1.0)
    second.load_state_dict(first.state_dict())
    second.step(1.0)
    assert second.get_last_lr() == pytest.approx([0.1])


@pytest.mark.parametrize(
    ("make", "says"),
    [
        (lambda o: optim.StepLR(nn.Linear(1, 1), 2), "optimiser"),
        (lambda o: optim.StepLR(o, 0), "step_size"),
        (lambda o: optim.MultiStepLR(o, 3), "milestones"),
        (lambda o: optim.LinearLR(o, total_iters=0), "total_iters"),
        (lambda o: optim.PolynomialLR(o, total_iters=0), "total_iters"),
        (lambda o: optim.CosineAnnealingLR(o, 0), "T_max"),
        (lambda o: optim.CosineAnnealingWarmRestarts(o, 0), "T_0"),
        (lambda o: optim.CosineAnnealingWarmRestarts(o, 2, T_mult=0), "T_mult"),
        (lambda o: optim.OneCycleLR(o, 1.0, 1), "total_steps"),
        (lambda o: optim.OneCycleLR(o, 1.0, 10, pct_start=2), "pct_start"),
        (lambda o: optim.OneCycleLR(o, [1.0, 2.0], 10), "max_lr"),
        (lambda o: optim.OneCycleLR(o, 1.0, 10, anneal_strategy="x"), "anneal_strategy"),
        (lambda o: optim.LambdaLR(o, []), "lr_lambda"),
        (lambda o: optim.LambdaLR(o, 0.5), "lr_lambda"),
        (lambda o: optim.SequentialLR(o, [optim.StepLR(o, 1)], [3]), "milestones"),
        (lambda o: optim.SequentialLR(o, [optim.ReduceLROnPlateau(o)], []), "metric"),
        (lambda o: optim.ReduceLROnPlateau(o, mode="less"), "mode"),
        (lambda o: optim.ReduceLROnPlateau(o, factor=1.0), "factor"),
        (lambda o: optim.ReduceLROnPlateau(o).step(), "metric"),
    ],
)
def test_misuse(make, says):
    with pytest.raises(cr.DTypeError, match=says):
        make(optimiser())
