"""What was measured of a training run while it ran: the data from which the rules judge it."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from chainrule.lens.diagnose.passes import Pass

BINS = 24
"""Of an activation histogram."""


@dataclass
class ParameterSample:
    """A parameter at one step.

    Attributes:
        weight: root mean square of its elements before the step.
        gradient: root mean square of ∂L/∂w; None where there was no gradient.
        update: root mean square of what the optimiser's step really changed; None if not seen.
        zero: share of the gradient's elements that are exactly 0.
        finite: whether weight, gradient and update are.
        descent: Σ gradient · update: what the step changes the loss by to first order; negative
            where the step descends.
        fresh: cosine between the gradient that the optimiser used and the one that this batch
            alone gives; 1 where nothing stale was added, None where not measured.
    """

    weight: float
    gradient: float | None = None
    update: float | None = None
    zero: float = 0.0
    finite: bool = True
    descent: float | None = None
    fresh: float | None = None


@dataclass
class LayerSample:
    """A layer with weights at one step, over the units and examples of the batch.

    Attributes:
        mean, std: of h, what its activation gives; `z_mean`, `z_std`: of what goes in.
        zero: share of h that is exactly 0; `saturated`: share where |φ′(z)| < 0.1 for sigmoid,
            tanh and their like (0 for others).
        slope: E[φ′(z)²].
        weight_part: fan_in · E[w²], the weights' part of the factor by which δ² grows backwards.
        delta: root mean square of ∂L/∂z times the batch size (so that it is per example).
        counts, edges: the histogram of h.
        finite: whether h is.
    """

    mean: float
    std: float
    z_mean: float
    z_std: float
    zero: float
    saturated: float
    slope: float
    weight_part: float
    delta: float | None
    counts: list[int] = field(default_factory=list)
    edges: tuple[float, float] = (0.0, 0.0)
    finite: bool = True


@dataclass
class Sample:
    """What was measured at one step: at the weights before it, on its batch."""

    step: int
    loss: float
    rate: float
    rows: int
    parameters: dict[str, ParameterSample] = field(default_factory=dict)
    layers: dict[str, LayerSample] = field(default_factory=dict)


@dataclass(frozen=True)
class Event:
    """Something that happened at a step: `kind` is "non-finite", "error", "stopped",
    or, of a loop that is watched, "stale-gradients" (backward added onto gradients that a step had
    used), "wrong-sign" (at "loss": it was negated; at "optimizer": nearly every step climbs),
    "cleared-before-step", "no-step" (backward passes, never a step), "no-change" (steps that change
    nothing), "eval-in-training", "train-in-evaluation". `facts["times"]` says how often."""

    step: int
    kind: str
    where: str = ""
    text: str = ""
    facts: dict[str, Any] = field(default_factory=dict)


@dataclass
class EpochSample:
    """After an epoch: losses on training rows (as they were met) and held-out rows, and yardsticks
    (`Setup.yardstick`: smaller is better, 1 is no better than a constant)."""

    epoch: int
    step: int
    train_loss: float
    held_out_loss: float | None = None
    train_error: float | None = None
    held_out_error: float | None = None


@dataclass
class Trace:
    """A run, measured.

    Attributes:
        losses: of every step, float32; `steps` of them.
        samples: at steps 0, 1, 2, 4, … and then as often as the time allows.
        epochs: after each.
        events: what happened.
        batch_size, epochs_asked: as asked for; None where it is not known.
        seconds: of the run, `overhead` of which went into measuring.
        layers: path → facts that do not change ("activation", "kind", "units", "fan_in", "last").
        finished: whether it came to its end.
    """

    losses: np.ndarray = field(default_factory=lambda: np.zeros(0, np.float32))
    samples: list[Sample] = field(default_factory=list)
    epochs: list[EpochSample] = field(default_factory=list)
    events: list[Event] = field(default_factory=list)
    batch_size: int | None = None
    epochs_asked: int | None = None
    seconds: float = 0.0
    overhead: float = 0.0
    layers: dict[str, dict[str, Any]] = field(default_factory=dict)
    finished: bool = True

    @property
    def steps(self) -> int:
        """How many updates there were."""
        return len(self.losses)

    def series(self, of: str, name: str, what: str) -> tuple[np.ndarray, np.ndarray]:
        """(steps, values): `of` is "parameters" or "layers", `what` a field of its sample; NaN
        where it was not measured."""
        found = [(s.step, getattr(getattr(s, of)[name], what)) for s in self.samples
                 if name in getattr(s, of)]  # fmt: skip
        steps = np.array([step for step, _ in found])
        return steps, np.array([np.nan if v is None else v for _, v in found], dtype=float)

    def to_dict(self) -> dict[str, Any]:
        """Plain data, for JSON."""
        return {**asdict(self), "losses": [float(v) for v in self.losses]}


def layer_facts(run: Pass) -> dict[str, dict[str, Any]]:
    """What of a pass's layers does not change: see `Trace.layers`."""
    names = ("activation", "kind", "units", "fan_in", "last", "weight", "norm", "residual")
    return {layer.path: {name: getattr(layer, name) for name in names} for layer in run.layers}
