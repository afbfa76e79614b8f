"""`advise`: try other shapes and settings of a network at equal budget, and say what they gain."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field

import numpy as np

from chainrule.lens.diagnose import changes
from chainrule.lens.diagnose.advice.advice import Advice, Choice, WidthCurve
from chainrule.lens.diagnose.advice.reshaping import deeper, hidden_layers, narrower, wider
from chainrule.lens.diagnose.advice.width import width_curve
from chainrule.lens.diagnose.changes.editing import Inapplicable
from chainrule.lens.diagnose.finding import Change
from chainrule.lens.diagnose.measure.ranks import effective_rank
from chainrule.lens.diagnose.passes import Layer
from chainrule.lens.diagnose.setup import Setup
from chainrule.lens.diagnose.training import train
from chainrule.tensor.locate import explained

FIRST, TRAINED = "from the first weights", "from the trained weights, the function unchanged"
WIDTHS = (0.25, 0.5, 1.0, 2.0, 4.0)
SHARE = 0.9
"""Of the budget that is planned for."""


@explained
def advise(setup: Setup, budget: float = 60.0, seeds: int = 3) -> Advice:
    """Whether a network gains by more or fewer neurons, more depth, another activation,
    normalisation, dropout, rate or batch size: each is tried, none is guessed.

    For every choice the same seeds (first weights, order of the rows), the same held-out rows and
    the same number of epochs as the network as it is. Widths ¼ to 4 times each hidden layer's give
    the curve L(w) = L∞ + a·w^−b; from the trained weights each layer is also widened, deepened and
    narrowed to its rank without changing what the network computes, and trained on.

    Args:
        setup: the run; it stays as it is.
        budget: seconds; where it is short, all are trained for fewer epochs.
        seeds: how many; 2 at least.
    """
    trials = _Trials(setup, budget, max(2, seeds))
    layers = [here for here, _ in hidden_layers(setup)]
    trials.begin(layers)
    curves: list[WidthCurve] = []
    for layer in layers:
        curves.extend(_widths(trials, layer))
        _reshaped(trials, layer)
    for question, change in _settings(setup):
        trials.compare(question, "", change)
    return Advice(
        trials.choices, curves, _sentences(trials, layers, curves), trials.not_tried,
        tuple(trials.base), trials.epochs, setup.epochs, time.perf_counter() - trials.began, budget,
    )  # fmt: skip


@dataclass
class _Trials:
    """Runs of equal length with the same seeds, against the network as it is."""

    setup: Setup
    budget: float
    seeds: int
    began: float = field(default_factory=time.perf_counter)
    epochs: int = 0
    base: list[float] = field(default_factory=list)
    starts: list[Setup] = field(default_factory=list)
    states: list[dict[str, np.ndarray]] = field(default_factory=list)
    continued: list[float] = field(default_factory=list)
    choices: list[Choice] = field(default_factory=list)
    not_tried: list[tuple[str, str]] = field(default_factory=list)

    @property
    def left(self) -> float:
        return self.budget - (time.perf_counter() - self.began)

    def begin(self, layers: Sequence[Layer]) -> None:
        """Train the network as it is with every seed, for as many epochs as the budget allows."""
        self.starts = [self.setup.fresh(seed) for seed in range(self.seeds)]
        one = time.perf_counter()
        train(self.starts[0], epochs=1, evaluations=1)
        one = time.perf_counter() - one
        # Wider networks take longer: the widths of a layer count as six runs and its reshaping as
        # three, the settings as one each.
        runs = self.seeds * (2 + 9 * len(layers) + len(list(_settings(self.setup))))
        planned = int(SHARE * self.budget / max(runs * one, 1e-9))
        self.epochs = max(1, min(self.setup.epochs, planned))
        for start in self.starts:
            trained = train(start, epochs=self.epochs, evaluations=1)
            self.base.append(_error(trained.trace.epochs[-1].held_out_error))
            self.states.append(start.framework.state(trained.setup.model))
        for seed in range(self.seeds):
            trained = train(self.from_trained(seed), epochs=self.more, evaluations=1)
            self.continued.append(_error(trained.trace.epochs[-1].held_out_error))

    @property
    def more(self) -> int:
        """For how many epochs trained weights are trained on."""
        return max(1, self.epochs // 2)

    def from_trained(self, seed: int) -> Setup:
        """The setup with a seed's trained weights as its first ones, and its optimiser anew."""
        made = self.starts[seed].copied()
        made.framework.load(made.model, self.states[seed])
        return made

    def compare(
        self, question: str, where: str, change: Change, *, base: Sequence[float] | None = None,
        start: Callable[[int], Setup] | None = None,
    ) -> Choice | None:  # fmt: skip
        """A change with every seed against none; None where it does not apply, or time is over."""
        after, parameters = [], 0
        for seed in range(self.seeds):
            if self.left <= 0:
                self.not_tried.append((change.title, "the budget was over"))
                return None
            try:
                before = self.starts[seed] if start is None else start(seed)
                made = change.apply(before)
            except Inapplicable as why:
                self.not_tried.append((change.title, str(why)))
                return None
            epochs = self.epochs if start is None else self.more
            # An epoch of other batches has other steps; epochs are what rows are seen by.
            trained = train(made, epochs=epochs, evaluations=1)
            after.append(_error(trained.trace.epochs[-1].held_out_error))
            parameters = _size(made) - _size(before)
        found = Choice(
            question, where, change.title, FIRST if start is None else TRAINED,
            tuple(self.base if base is None else base), tuple(after), parameters,
            change if start is None else None,
        )  # fmt: skip
        self.choices.append(found)
        return found


def _error(value: float | None) -> float:
    return 2.0 if value is None or not np.isfinite(value) else float(value)


def _size(setup: Setup) -> int:
    return sum(v.size for v in setup.framework.parameters(setup.model).values())


def _widths(trials: _Trials, layer: Layer) -> Iterator[WidthCurve]:
    """The error at ¼ to 4 times a layer's width, from the first weights."""
    widths, errors = [], []
    for factor in WIDTHS:
        units = round(layer.units * factor)
        if units < 1 or units in widths:
            continue
        if units == layer.units:
            widths.append(units)
            errors.append(tuple(trials.base))
            continue
        change = (
            changes.widen(layer.path, factor)
            if units > layer.units
            else changes.narrow(layer.path, units)
        )
        found = trials.compare("neurons", layer.path, change)
        if found is not None:
            widths.append(units)
            errors.append(found.after)
    if len(widths) >= 4:
        yield width_curve(layer.path, widths, errors, layer.units)


def _reshaped(trials: _Trials, layer: Layer) -> None:
    """Widened, deepened and narrowed from the trained weights, without changing the function."""
    path, units = layer.path, layer.units
    rank = _rank(trials, path)
    shapes = [
        ("neurons", f"widen {path} to {2 * units} units", lambda s: wider(s, path, 2 * units)),
        ("depth", f"add a layer of {units} units after {path}", lambda s: deeper(s, path)),
    ]
    if 1 <= rank < 0.8 * units:
        shapes.append(
            (
                "neurons",
                f"narrow {path} to {rank} units, its rank",
                lambda s: narrower(s, path, rank),
            )
        )
    for question, title, apply in shapes:
        trials.compare(
            question, path, Change(title, apply, kind=f"reshape:{title}"),
            base=trials.continued, start=trials.from_trained,
        )  # fmt: skip


def _rank(trials: _Trials, path: str) -> int:
    """The effective rank of what the layer gives after training, rounded up."""
    start = trials.from_trained(0)
    x, y = start.batch(512)
    run = start.framework.observe(start.model, x, y, start.loss, training=False)
    layer = next(layer for layer in run.layers if layer.path == path)
    h = layer.by_unit(layer.h).astype(np.float64)
    return int(np.ceil(effective_rank(h - h.mean(0))))


def _settings(setup: Setup) -> Iterator[tuple[str, Change]]:
    """The table of choices that are no layer's own."""
    rate = setup.rate
    for factor in (0.3, 3.0):
        yield "rate", changes.set_rate(float(f"{rate * factor:.2g}"))
    for size in (setup.batch_size // 2, setup.batch_size * 2):
        if 2 <= size <= len(setup.x):
            yield "batch size", changes.set_batch_size(size)
    layers = [here for here, _ in hidden_layers(setup)]
    if layers:
        for kind in ("ReLU", "Tanh", "GELU"):
            if layers[0].activation != kind.lower():
                yield "activation", changes.use_activation(kind)
        yield "normalisation", changes.insert_after(layers[0].path, "BatchNorm1d", layers[0].units)
        yield "dropout", changes.add_dropout(0.2)
    half = np.random.default_rng(10).permutation(len(setup.x))[: len(setup.x) // 2]
    yield "rows", changes.drop_rows(half.tolist(), "to see what rows are worth")


def _sentences(trials: _Trials, layers: Sequence[Layer], curves: Sequence[WidthCurve]) -> list[str]:
    """What it comes to."""
    found = [_neurons(trials, layer, curves) for layer in layers]
    if not layers:
        found.append("there is no dense hidden layer whose width could be changed")
    for question in ("depth", "activation", "normalisation", "dropout", "rate", "batch size"):
        tried = [c for c in trials.choices if c.question == question]
        if tried:
            found.append(_question(question, tried))
    rows = [c for c in trials.choices if c.question == "rows"]
    if rows:
        loss = -rows[0].gain
        found.append(
            f"more rows: with half of the training rows the error is {loss:.3g} "
            f"{'higher' if loss >= 0 else 'lower'} ({_interval(rows[0], -1)}); "
            + ("more rows would likely help" if rows[0].verdict == "hurts"
               else "more rows are not what it lacks" if rows[0].verdict == "no difference"
               else "whether more rows would help is not clear")
        )  # fmt: skip
    return found


def _neurons(trials: _Trials, layer: Layer, curves: Sequence[WidthCurve]) -> str:
    """Does this layer need more neurons?"""
    tried = [c for c in trials.choices if c.question == "neurons" and c.where == layer.path]
    more = [c for c in tried if c.parameters > 0 and c.how == FIRST]
    fewer = [c for c in tried if c.parameters < 0 and c.verdict in ("no difference", "helps")]
    curve = next((c for c in curves if c.where == layer.path), None)
    name = f"{layer.path} ({layer.units} units)"
    if not more:
        return f"{name}: nothing was tried that could say whether more neurons help"
    best = max(more, key=lambda c: c.gain)
    on = [c for c in tried if c.parameters > 0 and c.how == TRAINED]
    # A wider network may only be quicker: then widening the trained one gains nothing.
    idle = any(c.verdict in ("no difference", "hurts") for c in on)
    if best.verdict == "helps" and idle:
        said = (
            f"{name}: more neurons do not help once it is trained (widened then, it gains "
            f"{on[0].gain:.3g}, {_interval(on[0])}), they only make it quicker in "
            f"{trials.epochs} epochs"
        )
    elif best.verdict == "helps":
        said = f"{name}: more neurons help"
    elif all(c.verdict in ("no difference", "hurts") for c in more):
        said = f"{name}: more neurons do not help"
    else:
        said = f"{name}: whether more neurons help is not clear"
    said += (
        f": {best.title} takes the error from {np.mean(best.before):.3g} to "
        f"{np.mean(best.after):.3g} (gain {best.gain:.3g}, {_interval(best)}, "
        f"{best.gain_per_parameter:.2g} per parameter)"
    )
    if curve is not None:
        said += f"; {curve.sentence()}"
    if fewer and (idle or best.verdict != "helps"):
        least = min(fewer, key=lambda c: c.parameters)
        said += f"; {least.title} costs nothing and saves {-least.parameters} parameters"
    return said


def _question(question: str, tried: Sequence[Choice]) -> str:
    helps = [c for c in tried if c.verdict == "helps"]
    best = max(helps or tried, key=lambda c: c.gain)
    if helps:
        return f"{question}: {best.title}: the error falls by {best.gain:.3g} ({_interval(best)})"
    if all(c.verdict in ("no difference", "hurts") for c in tried):
        return f"{question}: nothing that was tried helps; the best is {best.title}, gain " \
               f"{best.gain:.3g} ({_interval(best)})"  # fmt: skip
    return f"{question}: not clear; {best.title} gains {best.gain:.3g} ({_interval(best)})"


def _interval(choice: Choice, sign: int = 1) -> str:
    low, high = sorted(sign * v for v in choice.interval)
    return f"90 %: {low:.3g} to {high:.3g}"
