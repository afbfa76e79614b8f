"""Twenty steps of every optimiser and schedule follow PyTorch's to rounding in float64."""

import numpy as np
import pytest
import torch

import chainrule as cr
from chainrule import nn, optim

_RNG = np.random.default_rng(0)
X, Y = _RNG.normal(size=(16, 5)), _RNG.integers(0, 3, 16)

OPTIMISERS = [
    ("SGD", {"lr": 0.1}),
    ("SGD", {"lr": 0.1, "momentum": 0.9}),
    ("SGD", {"lr": 0.1, "momentum": 0.9, "nesterov": True, "weight_decay": 0.1}),
    ("SGD", {"lr": 0.1, "momentum": 0.9, "dampening": 0.3, "maximize": True}),
    ("Adam", {"lr": 0.1}),
    ("Adam", {"lr": 0.1, "weight_decay": 0.1, "amsgrad": True}),
    ("Adam", {"lr": 0.1, "betas": (0.5, 0.7), "eps": 1e-3, "maximize": True}),
    ("AdamW", {"lr": 0.1}),
    ("AdamW", {"lr": 0.1, "amsgrad": True, "weight_decay": 0.3}),
    ("RMSprop", {"lr": 0.01}),
    ("RMSprop", {"lr": 0.01, "centered": True, "momentum": 0.9, "weight_decay": 0.1}),
]
SCHEDULES = [
    ("StepLR", {"step_size": 3}),
    ("MultiStepLR", {"milestones": [3, 7]}),
    ("ExponentialLR", {"gamma": 0.9}),
    ("ConstantLR", {}),
    ("LinearLR", {}),
    ("PolynomialLR", {"total_iters": 10, "power": 2.0}),
    ("CosineAnnealingLR", {"T_max": 7, "eta_min": 0.01}),
    ("CosineAnnealingWarmRestarts", {"T_0": 3, "T_mult": 2}),
    ("OneCycleLR", {"max_lr": 0.5, "total_steps": 25}),
    ("OneCycleLR", {"max_lr": 0.5, "total_steps": 25, "anneal_strategy": "linear"}),
    ("ReduceLROnPlateau", {"patience": 2}),
    ("ReduceLROnPlateau", {"patience": 1, "cooldown": 2, "mode": "max", "threshold_mode": "abs"}),
    ("LambdaLR", {"lr_lambda": lambda step: 0.9**step}),
]


def _networks():
    torch.manual_seed(0)
    theirs = torch.nn.Sequential(
        torch.nn.Linear(5, 7), torch.nn.Tanh(), torch.nn.Linear(7, 3)
    ).double()
    ours = nn.Sequential(nn.Linear(5, 7), nn.Tanh(), nn.Linear(7, 3)).to(cr.float64)
    ours.load_state_dict({k: v.numpy() for k, v in theirs.state_dict().items()})
    return ours, theirs


def _follow(make, schedule=None, between=lambda ours, theirs: None):
    ours, theirs = _networks()
    our_opt, their_opt = make(ours.parameters(), optim), make(theirs.parameters(), torch.optim)
    if schedule:
        name, options = schedule
        our_schedule = getattr(optim, name)(our_opt, **options)
        their_schedule = getattr(torch.optim.lr_scheduler, name)(their_opt, **options)
    for step in range(20):
        their_opt.zero_grad()
        loss = torch.nn.functional.cross_entropy(theirs(torch.tensor(X)), torch.tensor(Y))
        loss.backward()
        our_loss = nn.cross_entropy(ours(cr.asarray(X)), Y)
        our_loss.backward()
        between(ours, theirs)
        their_opt.step()
        our_opt.step()
        if schedule:
            metric = [0.1 * ((step * 7) % 5)] if schedule[0] == "ReduceLROnPlateau" else []
            their_schedule.step(*metric)
            our_schedule.step(*metric)
            rates = [g["lr"] for g in their_opt.param_groups]
            np.testing.assert_allclose(our_schedule.get_last_lr(), rates, rtol=1e-13)
        np.testing.assert_allclose(our_loss.item(), loss.item(), rtol=1e-11)
    for name, value in theirs.state_dict().items():
        np.testing.assert_allclose(ours.state_dict()[name], value.numpy(), rtol=1e-12, atol=1e-13)


@pytest.mark.parametrize(("name", "options"), OPTIMISERS)
def test_trajectory(name, options):
    _follow(lambda parameters, module: getattr(module, name)(parameters, **options))


@pytest.mark.parametrize("schedule", SCHEDULES)
def test_schedule(schedule):
    _follow(lambda parameters, module: module.Adam(parameters, lr=0.1), schedule)


def test_sequential_schedule():
    _, theirs = _networks()
    ours, _ = _networks()
    rates = []
    for module, lr, parameters in (
        (optim, optim, ours.parameters()),
        (torch.optim, torch.optim.lr_scheduler, theirs.parameters()),
    ):
        opt = module.SGD(parameters, lr=1.0)
        warm = lr.LinearLR(opt, start_factor=0.1, total_iters=4)
        decay = lr.ExponentialLR(opt, gamma=0.8)
        schedule = lr.SequentialLR(opt, [warm, decay], milestones=[4])
        found = []
        for _ in range(12):
            found.append(opt.param_groups[0]["lr"])
            for p in opt.param_groups[0]["params"]:
                zero = cr.zeros(p.shape, dtype=cr.float64)
                p.grad = zero if module is optim else torch.zeros_like(p)
            opt.step()
            schedule.step()
        rates.append(found)
    np.testing.assert_allclose(*rates, rtol=1e-13)


@pytest.mark.parametrize("norm_type", [2.0, 1.0, float("inf")])
def test_clipping_by_norm(norm_type):
    def clip(ours, theirs):
        mine = optim.clip_grad_norm_(ours.parameters(), 0.05, norm_type)
        total = torch.nn.utils.clip_grad_norm_(theirs.parameters(), 0.05, norm_type)
        np.testing.assert_allclose(mine.item(), total.item(), rtol=1e-12)

    _follow(lambda parameters, module: module.SGD(parameters, lr=0.5), between=clip)


def test_clipping_by_value():
    def clip(ours, theirs):
        optim.clip_grad_value_(ours.parameters(), 0.01)
        torch.nn.utils.clip_grad_value_(theirs.parameters(), 0.01)

    _follow(lambda parameters, module: module.SGD(parameters, lr=0.5), between=clip)


def test_parameter_groups():
    def make(parameters, module):
        first, *rest = parameters
        return module.SGD([{"params": [first], "lr": 0.5}, {"params": rest}], lr=0.1, momentum=0.9)

    _follow(make)
