"""What an examination with networks and data of its own found missing: each as a small run."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

import chainrule as cr
from chainrule import nn, optim
from chainrule.lens.diagnose.diagnose import diagnose
from chainrule.lens.diagnose.measure.duplicates import strongest_column
from chainrule.lens.diagnose.yardstick import error_of
from tests.lens.diagnose.cases import ask, setup, trained


def test_a_column_computed_from_the_label_and_one_that_only_tells_it() -> None:
    rng = np.random.default_rng(0)
    labels = rng.integers(0, 2, 300)
    targets = np.eye(2)[labels]
    other = rng.normal(size=(300, 3))
    for noise, copy in ((0.01, True), (0.1, False)):  # d' = 100; d' = 10, as a good feature has it
        x = np.column_stack([other, labels + noise * rng.normal(size=300)])
        found = strongest_column(x, targets, classes=True)
        assert (found.column, found.copy) == (3, copy)
    told = other[:, :1] > 0  # the label is a cut of a column
    assert not strongest_column(other, np.hstack([told, ~told]).astype(float), classes=True).copy


def test_outputs_that_are_logarithms_are_judged_as_what_they_stand_for() -> None:
    rng = np.random.default_rng(0)
    x = rng.normal(size=(300, 3)).astype(np.float32)
    mean = np.exp(x[:, :1] + 1)
    y = rng.poisson(mean).astype(np.float32)
    made = setup([3, 8, 1], (x, y), lambda o, t: cr.mean(cr.exp(o) - t * o), lr=1e-2)
    assert made.reading == "logarithms"
    assert setup([3, 8, 1], (x, y), nn.mse_loss).reading != "logarithms"
    expected = np.mean((mean - y) ** 2) / np.var(y)
    assert error_of(np.log(mean), y, made.task, made.reading) == pytest.approx(expected, rel=1e-5)
    assert not ask("not-learning", trained(made))


def test_a_rare_class_whose_share_among_the_probed_rows_is_another() -> None:
    rng = np.random.default_rng(0)
    y = (rng.random(1500) < 0.05).astype(int)
    x = (rng.normal(size=(1500, 8)) + 0.75 * y[:, None]).astype(np.float32)
    (found,) = ask("class-imbalance", trained(setup([8, 16, 2], (x, y), kind="SGD", lr=0.02)))
    assert found.severity == "warning"
    assert "class 1" in found.claim


def test_last_weights_that_fit_nothing_are_not_overfitted() -> None:
    rng = np.random.default_rng(0)
    x = rng.normal(size=(400, 30)).astype(np.float32)
    y = (x[:, :1] + 0.7 * rng.normal(size=(400, 1))).astype(np.float32)
    case = trained(setup([30, 128, 1], (x, y), nn.mse_loss, epochs=40))
    assert ask("overfit", case)
    assert case.trace is not None
    case.memo.clear()
    last = case.trace.epochs[-1]
    case.trace.epochs[-1] = replace(last, train_error=last.held_out_error)  # a last step too long
    assert not ask("overfit", case)


def test_first_layers_frozen_at_random_that_the_task_needs() -> None:
    rng = np.random.default_rng(0)
    x = rng.uniform(-1, 1, (400, 2)).astype(np.float32)
    y = (x[:, 0] * x[:, 1] > 0).astype(int)
    for units, costs in ((2, True), (200, False)):  # two random features; very many of them
        cr.seed(1)
        model = nn.Sequential(nn.Linear(2, units), nn.Tanh(), nn.Linear(units, 8), nn.Tanh(),
                              nn.Linear(8, 2))  # fmt: skip
        for p in [weight for name, weight in model.named_parameters() if name[0] == "0"]:
            p.requires_grad = False
            p[...] = 0.5 * p if costs else 8 * p
        held = [p for p in model.parameters() if p.requires_grad]
        found = diagnose(
            model, (x, y), loss=nn.cross_entropy, optimizer=optim.Adam(held, lr=2e-2), epochs=15,
            budget=0,
        )  # fmt: skip
        severe = [f for f in found.findings if f.rule == "frozen-parameters"
                  and f.severity != "advice"]  # fmt: skip
        assert bool(severe) == costs


@pytest.mark.parametrize("spread", [4.5, 6.0])
def test_heavy_overlap_is_no_label_noise_and_flips_beside_overlap_are(spread: float) -> None:
    said = [bool(ask("label-noise", trained(setup([3, 8, 2], clouds(seed, spread), epochs=2))))
            for seed in range(8)]  # fmt: skip
    assert sum(said) <= 1  # where two clouds all but coincide, little tells them from flips
    x, y = clouds(7, 1.0)
    y = np.where(np.random.default_rng(0).random(len(y)) < 0.25, 1 - y, y)
    assert ask("label-noise", trained(setup([3, 8, 2], (x, y), epochs=2)))


def clouds(seed: int, spread: float) -> tuple[np.ndarray, np.ndarray]:
    """Two normal clouds in three dimensions, their centres about 5 apart."""
    rng = np.random.default_rng(seed)
    centres, y = rng.normal(0, 2, (2, 3)), rng.integers(0, 2, 500)
    return (centres[y] + rng.normal(0, spread, (500, 3))).astype(np.float32), y


class Attention(nn.Module):
    """Attention over places, whose softmax is over the examples by mistake."""

    def __init__(self, axis: int) -> None:
        super().__init__()
        self.query, self.head, self.axis = nn.Linear(3, 3), nn.Linear(3, 2), axis

    def forward(self, x: cr.Tensor) -> cr.Tensor:
        shares = cr.softmax(self.query(x) @ cr.matrix_transpose(x), self.axis)
        return self.head(cr.mean(shares @ x, axis=1))


@pytest.mark.parametrize("outer", [False, True])
def test_a_softmax_among_other_things_is_placed_and_its_module_not_exchanged(outer: bool) -> None:
    rng = np.random.default_rng(0)
    x = rng.normal(size=(64, 5, 3)).astype(np.float32)
    y = (x[:, :, 0].sum(1) > 0).astype(int)
    cr.seed(0)
    for axis, wrong in ((0, True), (-1, False)):
        model = nn.Sequential(Attention(axis), nn.ReLU()) if outer else Attention(axis)
        found = diagnose(model, (x, y), loss=nn.cross_entropy, epochs=1, budget=0)
        said = [f for f in found.findings if f.rule == "softmax-axis"]
        assert [f.where for f in said] == (["0" if outer else "query"] if wrong else [])
        assert not any(f.remedies for f in said)
