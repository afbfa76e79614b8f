"""The live rules: each bug seen and its mended twin silent, and the published false alarms."""

import itertools
from contextlib import suppress
from dataclasses import replace

import numpy as np
import pytest

import chainrule as cr
from chainrule import nn, optim
from chainrule.lens.diagnose.case import Case
from chainrule.lens.diagnose.diagnose import setup_of
from chainrule.lens.diagnose.examine import Missing, examine, ordered
from chainrule.lens.diagnose.measure.depth import depth
from chainrule.lens.diagnose.pace import Pace
from chainrule.lens.diagnose.rules.batch_size import BatchSize
from chainrule.lens.diagnose.rules.dead_units import DeadUnits
from chainrule.lens.diagnose.rules.exploding_gradients import ExplodingGradients
from chainrule.lens.diagnose.rules.frozen_parameters_live import FrozenParametersLive
from chainrule.lens.diagnose.rules.learning_rate_too_high import LearningRateTooHigh
from chainrule.lens.diagnose.rules.learning_rate_too_low import LearningRateTooLow
from chainrule.lens.diagnose.rules.non_finite_live import NonFiniteLive
from chainrule.lens.diagnose.rules.not_learning import NotLearning
from chainrule.lens.diagnose.rules.saturated_units import SaturatedUnits
from chainrule.lens.diagnose.rules.stale_gradients import StaleGradients
from chainrule.lens.diagnose.rules.too_few_steps import TooFewSteps
from chainrule.lens.diagnose.rules.vanishing_gradients import VanishingGradients
from chainrule.lens.diagnose.rules.wrong_sign import WrongSign
from chainrule.lens.diagnose.training import train

LIVE = (
    StaleGradients, WrongSign, NonFiniteLive, FrozenParametersLive, DeadUnits, SaturatedUnits,
    VanishingGradients, ExplodingGradients, NotLearning, LearningRateTooHigh, LearningRateTooLow,
    TooFewSteps, BatchSize,
)  # fmt: skip


def blobs(rows=240, classes=3, columns=6, seed=0, spread=0.5):
    """Classes around centres that lie apart."""
    rng = np.random.default_rng(seed)
    y = rng.integers(0, classes, rows)
    x = 1.5 * rng.standard_normal((classes, columns))[y] + spread * rng.standard_normal(
        (rows, columns)
    )
    return x.astype("f"), y


def mlp(*sizes, act=nn.ReLU, seed=0):
    cr.seed(seed)
    parts = []
    for a, b in itertools.pairwise(sizes):
        parts += [nn.Linear(a, b), act()]
    return nn.Sequential(*parts[:-1])


def diagnosed(model, data, *, kind="Adam", lr=5e-3, loss=nn.cross_entropy, epochs=15, batch=32,
              clear=True, sign=1.0, **options):  # fmt: skip
    """(findings in order, case)"""
    optimizer = getattr(optim, kind)(model.parameters(), lr=lr, **options)
    setup = setup_of(model, data, loss=loss, optimizer=optimizer, epochs=epochs, batch_size=batch)
    setup = setup.with_(clear=clear, sign=sign)
    trained = train(setup, pace=Pace(share=0.5))
    case = Case(setup, trained.trace, setup.framework.state(trained.setup.model))
    for rule in LIVE:
        with suppress(Missing):
            case.found.extend(rule().look(case))
    for finding in case.found:
        finding.setup = setup
    return ordered(case.found), case


def first(findings):
    return findings[0].rule if findings else None


def test_a_rate_that_blows_up_is_seen_and_its_twin_is_silent():
    found, case = diagnosed(mlp(6, 16, 3), blobs(), kind="SGD", lr=300.0)
    assert first(found) == "learning-rate-too-high"
    assert found[0].where == "optimizer"
    assert found[0].severity == "error"
    mended = found[0].apply()
    assert mended.rate < 300
    assert case.setup.rate == 300
    assert not diagnosed(mlp(6, 16, 3), blobs(), kind="SGD", lr=0.3)[0]


def test_units_that_die_of_a_high_rate_come_after_the_rate():
    found, _ = diagnosed(mlp(6, 16, 16, 3), blobs(), kind="SGD", lr=6.0)
    assert first(found) == "learning-rate-too-high"
    assert "dead-units" in [f.rule for f in found[1:]]


def test_a_rate_that_is_too_low_is_told_apart_from_too_few_steps():
    low, _ = diagnosed(mlp(6, 16, 3), blobs(), kind="SGD", lr=1e-4)
    assert first(low) == "learning-rate-too-low"
    assert "1 is a constant's" in low[0].claim
    few, _ = diagnosed(mlp(6, 16, 3), blobs(), kind="Adam", lr=5e-3, epochs=1)
    assert first(few) == "too-few-steps"


def test_xor_at_a_rate_that_does_not_move_it():
    x = np.array([[0, 0], [0, 1], [1, 0], [1, 1]], "f")
    y = np.array([[0], [1], [1], [0]], "f")
    model = nn.Sequential(mlp(2, 4, 1, act=nn.Tanh, seed=1), nn.Sigmoid())
    found, _ = diagnosed(model, (x, y), kind="SGD", lr=0.01, loss=nn.mse_loss, epochs=300, batch=4)
    assert first(found) == "learning-rate-too-low"


def test_gradients_that_vanish_in_a_deep_sigmoid_network():
    found, _case = diagnosed(mlp(6, *[16] * 8, 3, act=nn.Sigmoid), blobs(), kind="SGD", lr=0.1)
    assert first(found) == "vanishing-gradients"
    assert found[0].where == "0"
    parts = next(m for m in found[0].evidence if m.what.startswith("ln‖δ‖²"))
    assert "weights" in parts.how
    twin = mlp(6, *[16] * 3, 3, act=nn.Tanh)
    assert not diagnosed(twin, blobs(), kind="SGD", lr=0.1, epochs=20)[0]


def test_dead_units_are_those_that_no_row_wakes():
    model = mlp(6, 16, 3)
    model[0].bias.assign(np.full(16, -50, "f"))
    found, _ = diagnosed(model, blobs(), kind="SGD", lr=0.1)
    assert (first(found), found[0].where) == ("dead-units", "0")
    assert found[0].claim.startswith("16 of 16 units")


def test_of_dead_units_the_activation_is_exchanged_and_the_layer_stays():
    model = mlp(6, 16, 3)
    model[0].bias.assign(cr.full((16,), -50.0))
    findings, case = diagnosed(model, blobs())
    dead = next(f for f in findings if f.rule == "dead-units")
    changed = dead.remedies[0].apply(case.setup).model
    assert [type(m).__name__ for m in changed] == ["Linear", "LeakyReLU", "Linear"]
    assert "16 of 16 units of model[0] are dead" in dead.claim


def test_gradients_that_begin_with_nothing_and_reach_the_others_do_not_explode():
    model = mlp(6, 16, 16, 3)
    for p in model.parameters():
        p.assign(cr.full(p.shape, 1e-3))
    findings, case = diagnosed(model, blobs(), epochs=40)
    grown = [s.parameters["0.weight"].gradient for s in case.trace.samples]
    assert max(grown) > 1e3 * grown[0]
    assert "exploding-gradients" not in {f.rule for f in findings}


def test_the_slopes_are_added_up_only_where_each_link_is_known():
    _, case = diagnosed(mlp(6, 16, 16, 16, 3, act=nn.Tanh), blobs(), epochs=2)
    found = depth(case)
    assert "over 3 layers" in found.split()
    assert replace(found, slopes=found.slopes[1:]).split() == ""


def test_a_rate_that_is_too_high_is_told_in_one_unit():
    (finding, *_), _ = diagnosed(mlp(6, 16, 3), blobs(), kind="SGD", lr=30.0)
    assert finding.rule == "learning-rate-too-high"
    told = {m.what: m.value for m in finding.evidence}
    after = next(value for what, value in told.items() if what.startswith("the same with the rate"))
    assert "the loss went" in finding.claim or f"it is {after:.3g}" in finding.claim


def test_half_a_layer_of_dead_units_is_no_fault_where_the_network_learns():
    model = mlp(6, 64, 3)
    bias = np.zeros(64, "f")
    bias[:40] = -50
    model[0].bias.assign(bias)
    assert not diagnosed(model, blobs(), epochs=20)[0]


def test_saturated_units_from_the_first_step_on():
    x, y = blobs()
    found, _ = diagnosed(mlp(6, 16, 16, 3, act=nn.Tanh), (300 * x, y), kind="SGD", lr=1e-3)
    assert "saturated-units" in [f.rule for f in found]
    wave = next(f for f in found if f.rule == "saturated-units")
    assert wave.where == "0"
    assert wave.strength >= 0.8


def test_a_step_that_climbs_and_a_loss_with_the_wrong_sign():
    found, _ = diagnosed(mlp(6, 16, 3), blobs(), kind="SGD", lr=0.1, sign=-1.0)
    assert first(found) == "wrong-sign"
    found, _ = diagnosed(
        mlp(6, 16, 3), blobs(), kind="SGD", lr=0.1, loss=lambda o, y: -nn.cross_entropy(o, y)
    )
    assert (first(found), found[0].where) == ("wrong-sign", "loss")


def test_a_negative_loss_that_means_what_it_says_is_no_wrong_sign():
    x, _ = blobs()
    y = (0.02 * x[:, :1]).astype("f")

    def likelihood(outputs, targets):  # of a narrow Gaussian: far below 0 when it fits
        return nn.gaussian_nll_loss(outputs[:, :1], targets, cr.exp(outputs[:, 1:]))

    found, case = diagnosed(mlp(6, 32, 2), (x, y), loss=likelihood, epochs=40)
    assert case.trace.losses[-1] < 0
    assert "wrong-sign" not in [f.rule for f in found]


def test_gradients_that_are_never_cleared():
    found, _ = diagnosed(mlp(6, 16, 3), blobs(), kind="SGD", lr=0.2, clear=False)
    assert first(found) == "stale-gradients"


def test_where_the_first_infinity_came_from():
    rng = np.random.default_rng(0)
    x = rng.uniform(-8, 8, (200, 1)).astype("f")
    found, case = diagnosed(mlp(1, 30, 1), (x, 5 * x**2), kind="SGD", lr=0.1, loss=nn.mse_loss)
    origin = next(f for f in found if f.rule == "non-finite")
    bad = int(np.flatnonzero(~np.isfinite(case.trace.losses))[0])
    assert f"from step {bad} on" in origin.claim
    assert first(found) == "learning-rate-too-high"


def test_a_rate_of_nothing_freezes_everything():
    found, _ = diagnosed(mlp(6, 16, 3), blobs(), kind="SGD", lr=1e-12)
    assert first(found) == "frozen-parameters"
    assert found[0].apply().rate > 1e-5


def test_one_batch_of_all_rows_gives_too_few_steps():
    found, _ = diagnosed(mlp(6, 16, 3), blobs(600), kind="SGD", lr=0.02, batch=450, epochs=15)
    assert first(found) in ("batch-size", "learning-rate-too-low", "too-few-steps")
    assert "batch-size" in [f.rule for f in found]


def trap_sparse():
    """A wide ReLU layer with biases that keep most values at 0 in any batch."""
    model = mlp(6, 128, 3)
    model[0].bias.assign(np.full(128, -1.0, "f"))
    return model, blobs(), {}


def trap_edge():
    """Full-batch descent at a rate near 2/λ, whose loss swings and falls (Cohen et al. 2021)."""
    return (
        mlp(6, 16, 3, act=nn.Tanh),
        blobs(),
        {"kind": "SGD", "lr": 1.0, "batch": 180, "epochs": 150},
    )


def trap_tiny():
    return mlp(6, 16, 3), blobs(), {"kind": "SGD", "lr": 0.02, "batch": 1, "epochs": 6}


def trap_noise():
    """Targets that are mostly noise: most of the error cannot be learnt away."""
    rng = np.random.default_rng(0)
    x = rng.standard_normal((300, 4)).astype("f")
    y = (x[:, :1] + 1.5 * rng.standard_normal((300, 1))).astype("f")
    return mlp(4, 8, 1), (x, y), {"loss": nn.mse_loss, "lr": 5e-3, "epochs": 30}


def trap_overlap():
    return mlp(6, 16, 3), blobs(spread=2.5), {"epochs": 25}


def trap_dropout():
    cr.seed(0)
    model = nn.Sequential(nn.Linear(6, 64), nn.ReLU(), nn.Dropout(0.5), nn.Linear(64, 3))
    return model, blobs(), {"epochs": 25}


def trap_normalised():
    cr.seed(0)
    model = nn.Sequential(nn.Linear(6, 32), nn.BatchNorm1d(32), nn.ReLU(), nn.Linear(32, 3))
    return model, blobs(), {}


def trap_frozen():
    """The first layer deliberately kept, as in fine-tuning."""
    model = mlp(6, 32, 16, 3)
    for p in model[0].parameters():
        p.requires_grad = False
    return model, blobs(), {"epochs": 25}


def trap_smoothed():
    smooth = lambda o, y: nn.cross_entropy(o, y, label_smoothing=0.1)  # noqa: E731
    return mlp(6, 32, 3), blobs(), {"loss": smooth, "epochs": 20}


def trap_autoencoder():
    x, _ = blobs()
    return mlp(6, 4, 6, act=nn.Tanh), (x, x), {"loss": nn.mse_loss, "lr": 0.02, "epochs": 60}


def trap_decay():
    return mlp(6, 16, 3), blobs(), {"kind": "AdamW", "lr": 5e-3, "weight_decay": 1e-2, "epochs": 20}


@pytest.mark.parametrize("seed", [0, 1])
@pytest.mark.parametrize(
    "trap",
    [trap_sparse, trap_edge, trap_tiny, trap_noise, trap_overlap, trap_dropout, trap_normalised,
     trap_frozen, trap_smoothed, trap_autoencoder, trap_decay],
    ids=lambda t: t.__name__[5:],
)  # fmt: skip
def test_published_false_alarms_stay_silent(trap, seed):
    model, data, options = trap()
    if seed:  # other first weights of the same distribution
        rng = np.random.default_rng(seed)
        for p in model.parameters():
            value = p.numpy(copy=True)
            p.assign(rng.permutation(value.reshape(-1)).reshape(value.shape))
    found, _case = diagnosed(model, data, **options)
    assert [(f.rule, f.claim) for f in found if f.severity != "advice"] == []


def test_nothing_is_tried_where_a_contradiction_is_proven():
    model = nn.Sequential(mlp(6, 16, 3), nn.Softmax(-1))
    optimizer = optim.SGD(model.parameters(), lr=1e-4)
    setup = setup_of(model, blobs(), loss=nn.cross_entropy, optimizer=optimizer, epochs=5)
    trained = train(setup, pace=Pace(share=0.5))
    case = Case(setup, trained.trace, setup.framework.state(trained.setup.model))
    found, _, not_looked = examine(case)
    assert first(found) == "double-softmax"
    assert ("learning-rate-too-low", "double-softmax has to be mended first") in not_looked
    assert not [name for name in case.memo if name.startswith("tried:rate")]


def test_the_users_model_is_left_as_it_was():
    model = mlp(6, 16, 3)
    before = {n: p.numpy(copy=True) for n, p in model.named_parameters()}
    diagnosed(model, blobs(), kind="SGD", lr=300.0)
    assert all(np.array_equal(p.numpy(), before[n]) for n, p in model.named_parameters())
