"""Twenty steps of every optimiser and schedule follow PyTorch's to rounding in float64."""

import numpy as np
import pytest
import torch

import chainrule as cr
from chainrule import nn, optim

_RNG = np.random.default_rng(0)
X, Y = _RNG.normal(size=(16, 5)), _RNG.integers(0, 3, 16)


@pytest.fixture(autouse=True)
def in_float64():
    """PyTorch's own numbers (products of momenta, averaging rates) take its default dtype."""
    before = torch.get_default_dtype()
    torch.set_default_dtype(torch.float64)
    yield
    torch.set_default_dtype(before)


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
    ("NAdam", {"lr": 0.05}),
    ("NAdam", {"lr": 0.05, "weight_decay": 0.1, "momentum_decay": 0.1, "maximize": True}),
    ("NAdam", {"lr": 0.05, "weight_decay": 0.1, "decoupled_weight_decay": True}),
    ("RAdam", {"lr": 0.05}),
    ("RAdam", {"lr": 0.05, "betas": (0.8, 0.9), "weight_decay": 0.1}),
    ("RAdam", {"lr": 0.05, "weight_decay": 0.1, "decoupled_weight_decay": True}),
    ("Adamax", {"lr": 0.05}),
    ("Adamax", {"lr": 0.05, "weight_decay": 0.1, "eps": 1e-3, "maximize": True}),
    ("Adagrad", {"lr": 0.1}),
    ("Adagrad", {"lr": 0.1, "lr_decay": 0.1, "weight_decay": 0.1, "maximize": True}),
    ("Adagrad", {"lr": 0.1, "initial_accumulator_value": 0.3, "eps": 1e-3}),
    ("Adadelta", {}),
    ("Adadelta", {"lr": 0.5, "rho": 0.7, "weight_decay": 0.1, "eps": 1e-3, "maximize": True}),
    ("Rprop", {}),
    ("Rprop", {"lr": 0.05, "etas": (0.3, 1.5), "step_sizes": (1e-3, 0.2), "maximize": True}),
    ("ASGD", {"lr": 0.1}),
    ("ASGD", {"lr": 0.1, "lambd": 0.1, "alpha": 0.5, "t0": 3, "weight_decay": 0.1}),
    ("Adafactor", {}),
    ("Adafactor", {"lr": 0.3, "beta2_decay": -0.5, "eps": (1e-5, 0.1), "d": 1.5}),
    ("Adafactor", {"lr": 0.3, "weight_decay": 0.1, "maximize": True}),
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
    ("MultiplicativeLR", {"lr_lambda": lambda step: 0.9 + 0.01 * step}),
    ("CyclicLR", {"base_lr": 0.01, "max_lr": 0.2, "step_size_up": 3}),
    (
        "CyclicLR",
        {
            "base_lr": 0.01,
            "max_lr": 0.2,
            "step_size_up": 2,
            "step_size_down": 5,
            "mode": "triangular2",
            "base_momentum": 0.7,
        },
    ),
    (
        "CyclicLR",
        {
            "base_lr": 0.01,
            "max_lr": 0.2,
            "step_size_up": 2,
            "mode": "exp_range",
            "gamma": 0.9,
            "cycle_momentum": False,
        },
    ),
    (
        "CyclicLR",
        {
            "base_lr": 0.01,
            "max_lr": 0.2,
            "step_size_up": 2,
            "scale_fn": lambda cycle: 1 / (1 + cycle),
        },
    ),
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


@pytest.mark.parametrize(
    ("lr", "options"),
    [
        (0.1, {"line_search_fn": None, "history_size": 3}),
        (1.0, {"line_search_fn": None, "max_iter": 7}),
        (0.5, {"line_search_fn": None, "tolerance_grad": 1e-2}),
    ],
)
def test_lbfgs_without_a_line_search(lr, options):
    ours, theirs = _networks()
    our_opt = optim.LBFGS(ours.parameters(), lr=lr, **options)
    their_opt = torch.optim.LBFGS(theirs.parameters(), lr=lr, **options)

    def closure():
        their_opt.zero_grad()
        loss = torch.nn.functional.cross_entropy(theirs(torch.tensor(X)), torch.tensor(Y))
        loss.backward()
        return loss

    def our_closure():
        loss = nn.cross_entropy(ours(cr.asarray(X)), Y)
        loss.backward()
        return loss

    for _ in range(3):
        np.testing.assert_allclose(
            our_opt.step(our_closure), their_opt.step(closure).item(), rtol=1e-9
        )
    for name, value in theirs.state_dict().items():
        np.testing.assert_allclose(ours.state_dict()[name], value.numpy(), rtol=1e-7, atol=1e-8)


@pytest.mark.parametrize("adjust", ["original", "match_rms_adamw"])
@pytest.mark.parametrize("shape", [(6, 4), (4, 6)])
@pytest.mark.parametrize("nesterov", [True, False])
def test_muon(monkeypatch, adjust, shape, nesterov):
    # PyTorch orthogonalises in bfloat16, where only the first three digits could be compared.
    monkeypatch.setattr(torch.Tensor, "bfloat16", lambda self: self.clone())
    rng = np.random.default_rng(1)
    start, target = rng.normal(size=(2, *shape))
    theirs = torch.nn.Parameter(torch.tensor(start))
    ours = nn.Parameter(cr.asarray(start))
    options = {"lr": 0.05, "nesterov": nesterov, "adjust_lr_fn": adjust, "weight_decay": 0.2}
    their_opt, our_opt = torch.optim.Muon([theirs], **options), optim.Muon([ours], **options)
    for _ in range(20):
        their_opt.zero_grad()
        (torch.sin(theirs) - torch.tensor(target)).square().sum().backward()
        their_opt.step()
        (cr.sin(ours) - target).square().sum().backward()
        our_opt.step()
    np.testing.assert_allclose(ours.numpy(), theirs.detach().numpy(), rtol=1e-9, atol=1e-10)


@pytest.mark.parametrize("name", ["Adam", "AdamW", "NAdam", "RAdam", "Adamax", "Adagrad", "Rprop"])
def test_complex_parameters(name):
    rng = np.random.default_rng(1)
    start, target = (rng.normal(size=(2, 5)) + 1j * rng.normal(size=(2, 5)) for _ in range(2))
    theirs = torch.nn.Parameter(torch.tensor(start))
    ours = nn.Parameter(cr.asarray(start))
    our_opt = getattr(optim, name)([ours], lr=0.05)
    their_opt = getattr(torch.optim, name)([theirs], lr=0.05)
    for _ in range(20):
        gradient = theirs.detach().numpy() - target
        theirs.grad, ours.grad = torch.tensor(gradient), cr.asarray(gradient)
        their_opt.step()
        our_opt.step()
    np.testing.assert_allclose(ours.numpy(), theirs.detach().numpy(), rtol=1e-10)


def test_averaged_weights():
    from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

    ours, theirs = _networks()
    pairs = [
        (optim.AveragedModel(ours), AveragedModel(theirs)),
        (
            optim.AveragedModel(ours, decay=0.9),
            AveragedModel(theirs, multi_avg_fn=get_ema_multi_avg_fn(0.9)),
        ),
    ]
    rng = np.random.default_rng(0)
    for _ in range(6):
        for name, p in theirs.named_parameters():
            value = rng.normal(size=tuple(p.shape))
            p.data = torch.tensor(value)
            dict(ours.named_parameters())[name].assign(value)
        for mine, other in pairs:
            mine.update_parameters(ours)
            other.update_parameters(theirs)
    for mine, other in pairs:
        assert mine.n_averaged.item() == 6
        assert list(mine.state_dict()) == list(other.state_dict())
        for name, value in other.state_dict().items():
            np.testing.assert_allclose(mine.state_dict()[name], value.numpy(), rtol=1e-12)


def test_statistics_of_averaged_normalisation():
    from torch.optim.swa_utils import update_bn

    rng = np.random.default_rng(0)
    batches = [rng.normal(1.5, 2.0, size=(n, 3)) for n in (8, 8, 5)]
    theirs = torch.nn.Sequential(torch.nn.BatchNorm1d(3), torch.nn.Linear(3, 1)).double().eval()
    ours = nn.Sequential(nn.BatchNorm1d(3), nn.Linear(3, 1)).to(cr.float64).eval()
    update_bn([torch.tensor(b) for b in batches], theirs)
    optim.update_bn(batches, ours)
    for name in ("running_mean", "running_var", "num_batches_tracked"):
        found = getattr(ours[0], name).numpy()
        np.testing.assert_allclose(found, getattr(theirs[0], name).numpy(), rtol=1e-12)
    assert ours[0].momentum == 0.1
    assert not ours.training


def test_swalr_and_chained_schedules():
    _, theirs = _networks()
    ours, _ = _networks()
    rates = []
    for module, lr, swa, parameters in (
        (optim, optim, optim, ours.parameters()),
        (torch.optim, torch.optim.lr_scheduler, torch.optim.swa_utils, theirs.parameters()),
    ):
        opt = module.SGD(parameters, lr=1.0)
        chained = lr.ChainedScheduler(
            [lr.ConstantLR(opt, factor=0.5, total_iters=3), lr.ExponentialLR(opt, gamma=0.8)]
        )
        late = [
            swa.SWALR(opt, swa_lr=0.05, anneal_epochs=4, anneal_strategy=s)
            for s in ("linear", "cos")
        ]
        found = []
        for i in range(20):
            for p in opt.param_groups[0]["params"]:
                zero = cr.zeros(p.shape, dtype=cr.float64)
                p.grad = zero if module is optim else torch.zeros_like(p)
            opt.step()
            (chained if i < 6 else late[0] if i < 13 else late[1]).step()
            found.append(opt.param_groups[0]["lr"])
        rates.append(found)
    np.testing.assert_allclose(*rates, rtol=1e-12)


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
