"""Architecture advice: reshaping that keeps the function, the width curve, and what is advised
where the truth is known: a student against a teacher of so many units."""

from __future__ import annotations

import json

import numpy as np
import pytest
from scipy import linalg

from chainrule import nn
from chainrule.lens.diagnose.advice import Advice, Choice, advise
from chainrule.lens.diagnose.advice.reshaping import (
    chosen_units,
    deeper,
    hidden_layers,
    narrower,
    wider,
)
from chainrule.lens.diagnose.advice.width import fitted, width_curve
from chainrule.lens.diagnose.changes.editing import Inapplicable
from chainrule.lens.diagnose.setup import Setup
from tests.lens.diagnose.cases import setup, standard


def outputs(made: Setup, x: np.ndarray) -> np.ndarray:
    return made.framework.outputs(made.model, x)


def regression(sizes: list[int], rows: int = 200, **options) -> Setup:  # type: ignore[no-untyped-def]
    rng = np.random.default_rng(0)
    x = rng.normal(size=(rows, sizes[0])).astype(np.float32)
    y = standard(np.sin(x[:, :1]) + x[:, 1:2] * x[:, 2:3])
    return setup(sizes, (x, y), nn.mse_loss, **options)


@pytest.mark.parametrize("activation", [nn.ReLU, nn.Tanh, nn.GELU])
@pytest.mark.parametrize("path", ["0", "2"])
def test_a_wider_layer_computes_the_same_and_learns(activation, path: str) -> None:  # type: ignore[no-untyped-def]
    made = regression([5, 6, 7, 1], activation=activation)
    before = outputs(made, made.x)
    grown = wider(made, path, 17)
    assert {layer.path: layer.units for layer, _ in hidden_layers(grown)}[path] == 17
    np.testing.assert_allclose(outputs(grown, made.x), before, atol=1e-6)
    np.testing.assert_array_equal(outputs(made, made.x), before)
    # Every new unit moves: its outgoing weights at once, its incoming ones from the next step on.
    start = grown.framework.state(grown.model)
    for _ in range(2):
        grown.framework.step(grown.model, made.x, made.y, made.loss, grown.optimizer)
    after = grown.framework.state(grown.model)
    name = f"{path}.weight"
    units = {"0": 6, "2": 7}[path]
    moved = np.any(after[name][units:] != start[name][units:], axis=1)
    # A rectifier may be off for every row that there is.
    assert moved.mean() > 0.5 if activation is nn.ReLU else moved.all()


def test_a_deeper_network_computes_the_same() -> None:
    made = regression([5, 6, 7, 1])
    grown = deeper(made, "0")
    assert len(hidden_layers(grown)) == 3
    np.testing.assert_allclose(outputs(grown, made.x), outputs(made, made.x), atol=1e-6)
    held = grown.framework.optimizer_facts(grown.model, grown.optimizer).held
    assert held == set(grown.framework.parameters(grown.model))
    with pytest.raises(Inapplicable, match="ReLU"):
        deeper(regression([5, 6, 1], activation=nn.Tanh), "0")


def test_a_layer_of_low_rank_is_narrowed_without_changing_the_function() -> None:
    made = regression([5, 12, 1], activation=nn.Sigmoid)
    state = made.framework.state(made.model)
    # Twelve units of which each is one of three, or 1 minus it: σ(−z) = 1 − σ(z).
    copies = np.arange(12) % 3
    signs = np.where(np.arange(12) < 6, 1, -1).astype(np.float32)
    state["0.weight"] = state["0.weight"][copies] * signs[:, None]
    state["0.bias"] = state["0.bias"][copies] * signs
    made.framework.load(made.model, state)
    small = narrower(made, "0", 3)
    assert [layer.units for layer, _ in hidden_layers(small)] == [3]
    np.testing.assert_allclose(outputs(small, made.x), outputs(made, made.x), atol=1e-5)
    assert len(small.framework.parameters(small.model)["0.weight"]) == 3


def test_units_are_chosen_as_a_pivoted_qr_chooses() -> None:
    rng = np.random.default_rng(0)
    h = rng.normal(size=(50, 5)) @ rng.normal(size=(5, 9)) + 0.1 * rng.normal(size=(50, 9))
    h = np.concatenate([h, 0.99 * h], axis=1)  # every unit twice
    _, _, pivots = linalg.qr(h - h.mean(0), mode="economic", pivoting=True)
    assert chosen_units(h, 4).tolist() == sorted(pivots[:4].tolist())


def test_what_cannot_be_reshaped_is_said() -> None:
    made = regression([5, 6, 1])
    for path, units in (("2", 9), ("7", 9), ("0", 6)):
        with pytest.raises(Inapplicable):
            wider(made, path, units)
    with pytest.raises(Inapplicable):
        narrower(made, "0", 6)


@pytest.mark.parametrize(("floor", "a", "b"), [(0.1, 0.8, 1.0), (0.0, 2.0, 0.5), (0.3, 0.5, 2.0)])
def test_a_planted_width_curve_is_recovered(floor: float, a: float, b: float) -> None:
    widths = [2, 4, 8, 16, 32]
    clean = floor + a * np.array(widths, float) ** -b
    assert fitted(np.array(widths, float), clean)[2] == pytest.approx(b, rel=0.1)
    rng = np.random.default_rng(1)
    errors = clean[:, None] + 0.003 * rng.normal(size=(5, 3))
    found = width_curve("0", widths, errors.tolist(), 4)
    true = a * 4.0**-b * (1 - 2.0**-b)
    assert found.gain == pytest.approx(true, abs=0.015)
    assert found.gain_interval[0] - 0.01 <= true <= found.gain_interval[1] + 0.01
    assert found.b_interval[0] <= found.b <= found.b_interval[1]
    assert found.at(8) == pytest.approx(floor + a * 8.0**-b, abs=0.01)
    flat = width_curve("0", widths, (0.2 + 0 * errors).tolist(), 4)
    assert flat.gain == pytest.approx(0, abs=1e-9)


def test_the_interval_of_a_gain_is_students() -> None:
    choice = Choice("rate", "", "t", "h", (0.5, 0.6, 0.7), (0.4, 0.45, 0.6))
    differences = np.array([0.1, 0.15, 0.1])
    half = 2.9200 * differences.std(ddof=1) / np.sqrt(3)  # t(0.95, 2)
    assert choice.interval == pytest.approx(
        (differences.mean() - half, differences.mean() + half), 1e-3
    )
    assert choice.verdict == "helps"
    same = Choice("rate", "", "t", "h", (0.5, 0.6, 0.7), (0.5, 0.6, 0.7))
    assert (same.gain, same.verdict) == (0, "no difference")


def teacher(units: int, rows: int = 700) -> tuple[np.ndarray, np.ndarray]:
    """What a network of so many orthogonal ReLU units gives."""
    rng = np.random.default_rng(4)
    x = rng.normal(size=(rows, 6)).astype(np.float32)
    directions = np.linalg.qr(rng.normal(size=(6, 6)))[0][:, :units]
    return x, standard(np.maximum(x @ directions, 0) @ rng.choice([-1.0, 1.0], (units, 1)))


def advised(width: int) -> Advice:
    """The advice for a student of so many units, which is data and text and keeps to its budget."""
    made = setup([6, width, 1], teacher(4), nn.mse_loss, lr=2e-2, epochs=20, batch_size=64)
    found = advise(made, 240)  # of which a busy machine needs more than an idle one
    assert found.seconds < 1.25 * found.budget
    data = json.loads(json.dumps(found.to_dict()))
    assert len(data["choices"]) == len(found.choices)
    assert {c.question for c in found.choices} >= {"neurons", "rate", "batch size", "dropout"}
    text = str(found)
    assert all(sentence in text for sentence in found.sentences)
    return found


def test_fewer_units_than_the_teacher_needs_more() -> None:
    found = advised(2)
    assert "0 (2 units): more neurons help" in found.sentences[0]
    best = found.best
    assert best is not None
    assert (best.question, best.where) == ("neurons", "0")
    assert best.gain_per_parameter > 0
    (curve,) = found.curves
    assert len(curve.widths) >= 4
    assert curve.gain_interval[0] > 0


def test_more_units_than_the_teacher_need_no_more() -> None:
    found = advised(12)
    assert "more neurons do not help" in found.sentences[0]
    widened = [c for c in found.choices if c.title == "widen 0 to 24 units"]
    assert [c.verdict for c in widened] == ["no difference"]


def test_a_budget_that_is_short_says_what_was_not_tried() -> None:
    made = regression([5, 6, 1], epochs=3)
    state = made.framework.state(made.model)
    found = advise(made, budget=0.5)
    assert found.not_tried
    assert found.seconds < 3
    after = made.framework.state(made.model)
    assert all(np.array_equal(state[n], after[n]) for n in state)
    linear = advise(regression([5, 1], epochs=2), budget=3)
    assert "no dense hidden layer" in linear.sentences[0]
