"""What a case is: a run that can be made, and what is right to say of it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from importlib import import_module
from typing import Any

import numpy as np

from benchmarks.diagnosis.kit import Kit
from benchmarks.diagnosis.sets import Data
from chainrule.lens.diagnose.setup import Setup

SEEDS = 5


@dataclass
class Run:
    """A training run as a user would have it.

    Attributes:
        kit: the framework.
        data: what is trained on, and the rows held out, as the run sees them.
        truth: the held-out targets as they should be, where the run's own are wrong.
        places: where a finding may rightly point, beside what the bug says.
        loop: fields of `Setup` that are faults of the user's loop: clear, sign, shuffle, clip.
    """

    kit: Kit
    model: Any
    data: Data
    loss: Any
    optimizer: Any
    epochs: int
    batch_size: int = 32
    truth: np.ndarray | None = None
    places: frozenset[str] = frozenset()
    schedule: Any = None
    loop: Mapping[str, Any] = field(default_factory=dict)

    def setup(self, seed: int) -> Setup:
        """What `diagnose` makes of it."""
        from chainrule.lens.diagnose.diagnose import setup_of

        made = setup_of(
            self.model, (self.data.x, self.data.y), loss=self.loss, optimizer=self.optimizer,
            schedule=self.schedule, validation=(self.data.x_held, self.data.y_held),
            epochs=self.epochs, batch_size=self.batch_size, seed=seed,
        )  # fmt: skip
        return made.with_(**self.loop)


@dataclass(frozen=True)
class Bug:
    """A family of buggy runs.

    Attributes:
        number: of the fact sheet's table.
        ident: the question or program that it is from.
        truth: the rules that name its cause, each with why; decided before anything was measured.
        where: places that are right in every variant.
        make: (kit, seed, mended, **variant) → `Run`.
        variants: keyword arguments of `make`; "torch": True takes the other framework. "truth" adds
            rules that are right in this variant only.
        static: whether it is a contradiction of graph and data that needs no training to be seen.
        mendable: whether a change of the setup can regain what is lost.
    """

    number: int
    ident: str
    truth: Mapping[str, str]
    where: frozenset[str]
    make: Callable[..., Run]
    variants: tuple[Mapping[str, Any], ...]
    static: bool = False
    mendable: bool = True

    @property
    def half(self) -> str:
        """ "development" or "scored": numbers alternate."""
        return "development" if self.number % 4 == 1 else "scored"

    def rules(self, variant: int) -> frozenset[str]:
        """The rules that are right for a variant."""
        return frozenset(self.truth) | frozenset(self.variants[variant].get("truth", ()))

    def run(self, variant: int, seed: int, mended: bool) -> Run:
        """The buggy run of a variant, or its mended twin."""
        from benchmarks.diagnosis.kit import kit

        asked = {k: v for k, v in self.variants[variant].items() if k not in ("torch", "truth")}
        tools = kit("torch" if self.variants[variant].get("torch") else "chainrule")
        tools.seed(seed)
        return self.make(tools, seed, mended, **asked)


@dataclass(frozen=True)
class Healthy:
    """A kind of run in which nothing is wrong.

    Attributes:
        name: unique.
        make: (kit, seed) → `Run`.
        good: the largest held-out error (see `error`) at which the run counts as healthy.
        trap: the published false alarm that it is bait for, or "".
        frameworks: seeds are dealt to these in turn.
    """

    name: str
    make: Callable[[Kit, int], Run]
    good: float
    trap: str = ""
    frameworks: tuple[str, ...] = ("chainrule", "torch")

    def run(self, seed: int) -> Run:
        from benchmarks.diagnosis.kit import kit

        tools = kit(self.frameworks[seed % len(self.frameworks)])
        tools.seed(seed)
        return self.make(tools, seed)


@dataclass(frozen=True)
class Mismatch:
    """What must be said before the first step: its name, the rules that say it, the run."""

    name: str
    truth: frozenset[str]
    make: Callable[[Kit, int], Run]

    def run(self, seed: int) -> Run:
        """With chainrule at even seeds, PyTorch at odd ones."""
        from benchmarks.diagnosis.kit import kit

        tools = kit(("chainrule", "torch")[seed % 2])
        tools.seed(seed)
        return self.make(tools, seed)


BUGS: list[Bug] = []
HEALTHY: list[Healthy] = []
MISMATCHES: list[Mismatch] = []


def bug(
    number: int,
    ident: str,
    truth: Mapping[str, str],
    where: str,
    *variants: Mapping[str, Any],
    **options: Any,
) -> Callable[[Callable[..., Run]], Callable[..., Run]]:
    """Enter a family of bugs; `where` is a list of places with spaces between."""

    def enter(make: Callable[..., Run]) -> Callable[..., Run]:
        BUGS.append(Bug(number, ident, truth, frozenset(where.split()), make, variants, **options))
        return make

    return enter


def healthy(
    good: float, trap: str = "", **options: Any
) -> Callable[[Callable[[Kit, int], Run]], Callable[[Kit, int], Run]]:
    """Enter a kind of healthy run under its function's name."""

    def enter(make: Callable[[Kit, int], Run]) -> Callable[[Kit, int], Run]:
        HEALTHY.append(Healthy(make.__name__.replace("_", "-"), make, good, trap, **options))
        return make

    return enter


def mismatch(name: str, *truth: str) -> Callable[[Callable[[Kit, int], Run]], None]:
    """Enter a contradiction of graph and data."""
    return lambda make: MISMATCHES.append(Mismatch(name, frozenset(truth), make))


def everything() -> tuple[list[Bug], list[Healthy]]:
    """All bugs and all kinds of healthy runs."""
    for module in ("development", "scored", "healthy_tables", "healthy_traps", "mismatches"):
        import_module(f"benchmarks.diagnosis.{module}")
    return sorted(BUGS, key=lambda b: b.number), HEALTHY


def layers(model: Any) -> frozenset[str]:
    """Paths of the modules that have parameters of their own, and their parameters' names."""
    names = [name for name, _ in model.named_parameters()]
    return frozenset(names) | frozenset(name.rpartition(".")[0] for name in names)


def modules(model: Any, *kinds: str) -> frozenset[str]:
    """Paths of the modules of some classes."""
    return frozenset(path for path, m in model.named_modules() if type(m).__name__ in kinds)


def error(setup: Setup, outputs: np.ndarray, truth: np.ndarray | None = None) -> float:
    """Held-out error ÷ that of the best constant: 0 is perfect, 1 as good as a constant, at most 2.

    Classes: the share of wrong rows; the largest output counts, or of one output whether it is
    above ½ (a logit: above 0). Real targets: the mean square; `truth` is compared after the
    straight line that takes the setup's own targets to it, so that a change of their units does
    not count.
    """
    given = np.asarray(setup.y_held)
    if truth is None:
        truth = given
    outputs = np.asarray(outputs, np.float64)
    if truth.dtype.kind in "iu" and truth.ndim > 1 and outputs.ndim > 2:  # a class for each place
        outputs = np.moveaxis(outputs, 1, -1).reshape(truth.size, -1)
        truth = truth.reshape(-1)
    outputs = outputs.reshape(len(outputs), -1)
    if len(outputs) != len(truth):
        return 2.0
    if truth.dtype.kind == "f" and not _is_choice(truth):
        return _square_error(outputs, given, np.asarray(truth, np.float64))
    labels = truth.argmax(1) if truth.ndim == 2 and truth.shape[1] > 1 else truth.reshape(-1)
    share = 1 - np.unique(labels, return_counts=True)[1].max() / len(labels)
    if not np.isfinite(outputs).all():
        return 1.0
    if outputs.shape[1] > 1:
        said = outputs.argmax(1)
    else:
        kind = setup.framework.observe(setup.model, setup.x[:8], setup.y[:8], setup.loss).facts.kind
        said = outputs[:, 0] > (0.0 if kind == "bce_with_logits" else 0.5)
    return float(min(2.0, np.mean(said != labels) / max(share, 1e-9)))


def _is_choice(truth: np.ndarray) -> bool:
    """Whether floats are 0 and 1: one class or one of several."""
    return bool(np.isin(truth, (0.0, 1.0)).all()) and (
        truth.shape[-1] == 1 or truth.ndim == 1 or bool((truth.sum(-1) == 1).all())
    )


def _square_error(outputs: np.ndarray, given: np.ndarray, truth: np.ndarray) -> float:
    truth = truth.reshape(len(truth), -1)
    given = np.asarray(given, np.float64).reshape(len(given), -1)
    if outputs.shape != truth.shape or not np.isfinite(outputs).all():
        return 2.0
    if given.shape == truth.shape and given.std() > 0 and not np.array_equal(given, truth):
        slope, shift = np.polyfit(given.reshape(-1), truth.reshape(-1), 1)
        outputs = slope * outputs + shift
    with np.errstate(over="ignore"):
        return float(min(2.0, np.mean((outputs - truth) ** 2) / truth.var()))
