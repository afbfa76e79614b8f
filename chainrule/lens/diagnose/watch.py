"""`watch`: a training loop that somebody else runs, measured while it runs.

`Watch` is what both frameworks' hooks feed. It knows nothing of either: a hook tells it what
happened, in the order in which it happened, and it keeps a `Trace` and what is needed to make the
run again (`Setup`), so that the same rules and trials serve a loop of the user's own.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from functools import cached_property
from typing import Any

import numpy as np

from chainrule.errors import DataError, DTypeError
from chainrule.lens.diagnose.case import Case
from chainrule.lens.diagnose.diagnosis import Diagnosis
from chainrule.lens.diagnose.examine import examine
from chainrule.lens.diagnose.finding import Finding
from chainrule.lens.diagnose.frameworks.framework import Framework, framework_of
from chainrule.lens.diagnose.frameworks.randomness import randomness_kept
from chainrule.lens.diagnose.given import sensible
from chainrule.lens.diagnose.pace import Pace
from chainrule.lens.diagnose.passes import Pass
from chainrule.lens.diagnose.rebuilt import Rows, rebuilt, unknown
from chainrule.lens.diagnose.rules.rule import rules
from chainrule.lens.diagnose.sampling import sample_of, with_update
from chainrule.lens.diagnose.setup import Setup, reading_of, task_of
from chainrule.lens.diagnose.trace import EpochSample, Event, Sample, Trace, layer_facts
from chainrule.lens.diagnose.training import train
from chainrule.lens.diagnose.unseen import unseen
from chainrule.lens.diagnose.yardstick import error_of
from chainrule.tensor.locate import Explained, explained

SHARE = 0.01
"""Of the loop's time may go into measuring."""
ASIDE = 0.005
"""Besides, of its time may go into what is done between steps: errors after an epoch, rules."""
GRACE = 0.05
"""Seconds that measuring may take at the beginning, before there is a share to speak of."""
PROBED = 1000
"""Rows on which the error at the beginning and at the end is measured."""
STALE = 1e-6
"""A gradient left from the step before counts from this share of the gradient that is used."""


class Watch(Explained):
    """A training loop, measured from outside. `watch` makes one; it is used in a `with`.

    Hooks call, for each step of the loop, in this order:

    1. `due()`, before the forward pass: whether it is to be recorded. `collecting` says whether
       the batch is to be kept.
    2. `loss(value)`, at each backward pass, recorded or not.
    3. `saw(run, left)`, at a backward pass that was recorded, before it writes gradients.
    4. `keep(x, y)`, while `collecting`: the batch.
    5. `stepping(used)`, before the parameters change, where `recorded` says that the step was
       recorded: the gradients that the optimiser will use (after clipping and the like).
    6. `stepped()`, after the parameters changed, at every step.

    Several backward passes before a step are one step (gradients are added up on purpose). What a
    hook does itself at a recorded step, such as reading the graph, stands in `with measuring():`.
    `finish()` comes last. Of a step that is not measured only 2 and 6 are called: a number and a
    counter.

    Args:
        model: the module that is trained; a copy of it, as it is now, is kept.
        optimizer: over its parameters; None where the loop updates them by hand.
        loss: (outputs, targets) → a number, what the loop computes; needed only to train the model
            again where the loss is none of the framework's own.
        pace: when to measure.
        memory: largest number of bytes of batches that are kept.

    Attributes:
        step: how many updates there were.
        trace: what was measured; complete after `finish()`.
        first: the first recorded pass.
        rows: the batches of the first epoch.
        clip: the largest norm that the loop cuts gradients to, where a hook sees it.
        held_out, epochs: rows that nothing is learnt from, and the number of epochs, where known.
        recorded: whether the step in hand was recorded.
    """

    def __init__(
        self,
        framework: Framework,
        model: Any,
        optimizer: Any = None,
        *,
        loss: Callable[[Any, Any], Any] | None = None,
        pace: Pace | None = None,
        memory: int = 1 << 26,
    ) -> None:
        self.framework, self.model, self.optimizer, self.loss_function = (
            framework, model, optimizer, loss,
        )  # fmt: skip
        self.pace = pace or Pace(SHARE, first=1, grace=GRACE)
        self.trace = Trace(finished=False)
        self.rows = Rows(memory)
        self.first: Pass | None = None
        self.step = 0
        self.backwards = 0
        self.clip: float | None = None
        self.held_out: tuple[np.ndarray, np.ndarray] | None = None
        self.epochs: int | None = None
        try:
            self.before = framework.copy(model, optimizer)
        except Exception as error:
            raise DTypeError(
                "a watch keeps a copy of the model as it is now, and this one cannot be copied "
                f"({type(error).__name__}: {error}): a lock, an open file, a generator, or a watch "
                "that is on already, hangs on it"
            ) from error
        self._losses: list[float] = []
        self._pending: list[float] = []
        self._seen: list[Pass] = []
        self._sample: Sample | None = None
        self._left = 0.0
        self._used: dict[str, np.ndarray | None] | None = None
        self._began = self._step_began = time.perf_counter()
        self._usual = self._inside = self._beside = self._once = 0.0
        self._timing, self._task = False, ""
        self._again = False

    # What hooks tell

    @property
    def collecting(self) -> bool:
        """Whether the batches of the first epoch are still wanted."""
        return self.rows.wanted

    @property
    def recorded(self) -> bool:
        return self._sample is not None

    def due(self) -> bool:
        """Whether the step that begins now is to be recorded."""
        if self.backwards or self._sample is not None:
            return False  # a step is measured at its first backward pass
        return self._again or self.pace.due(self.step, time.perf_counter() - self._began)

    def loss(self, value: float) -> None:
        """The loss at a backward pass."""
        self._pending.append(value)
        self.backwards += 1
        if not np.isfinite(value):
            self._again = self.note("non-finite", "loss", f"the loss is {value}")

    def saw(self, run: Pass, left: float = 0.0) -> None:
        """A recorded pass of the step in hand.

        Args:
            run: the pass, with the weights before the step and the gradients of this batch alone.
            left: the norm of the gradients that the parameters held before this backward pass.
        """
        self._again = False
        if self._sample is None:
            with self.measuring():
                self._sample = sample_of(run, self.step, self._rate())
                self.trace.samples.append(self._sample)
                self.trace.layers = self.trace.layers or layer_facts(run)
                self._left = left
        if self.first is None:
            self.first = run
        self._seen.append(run)

    def forget(self) -> None:
        """The gradients were cleared without a step: what led to them is no part of the next one
        (a loss of another model that goes back through this one)."""
        if self._sample is not None:
            self.trace.samples.remove(self._sample)
        self._pending.clear()
        self._seen.clear()
        self._sample = self._used = None
        self.backwards = 0

    def given(
        self,
        data: tuple[np.ndarray, np.ndarray],
        held_out: tuple[np.ndarray, np.ndarray] | None = None,
        *,
        epochs: int,
        batch_size: int,
    ) -> None:
        """What need not be seen, as it is known: all rows, and for how long they are trained on."""
        self.rows.given(*data, batch_size)
        self.held_out, self.epochs = held_out, epochs
        self.trace.batch_size, self.trace.epochs_asked = batch_size, epochs

    def keep(self, x: np.ndarray, y: np.ndarray | None) -> None:
        """A batch of the first epoch; copied."""
        self.rows.add(x, y)

    def stepping(self, used: dict[str, np.ndarray | None]) -> None:
        """The gradients that the step will use, by parameter; None where there is none."""
        with self.measuring():
            self._used = {name: None if g is None else np.array(g) for name, g in used.items()}

    def stepped(self) -> None:
        """The parameters were updated."""
        now = time.perf_counter()
        if self._sample is not None:
            with self.measuring():
                self._look(self._seen[0], self._sample, self._left)
                self._measure(self._sample)
            now = time.perf_counter()
            longer = now - self._step_began - self._usual if self._usual else 0.0
            # Recording slows the loop's own operations too; but what else may have taken long
            # (compiling, an evaluation) is none of it.
            cost = min(max(longer, self._inside), 3 * self._inside)
            # The first one warms up what all need, and is made in any case.
            self.pace.measured(self.step, cost if self.step else 0.0)
            self._once += 0.0 if self.step else cost
        else:
            self._once += self._inside
            lasted = now - self._step_began
            # The shortest, slowly forgotten: an evaluation between two steps is none of them.
            self._usual = min(lasted, 1.02 * self._usual) if self._usual else lasted
        self._inside = 0.0
        self._losses.append(self._pending[0] if len(self._pending) == 1 else self._mean())
        self._pending.clear()
        self._seen.clear()
        self._sample = self._used = None
        self.backwards = 0
        self.step += 1
        self._step_began = now

    @contextmanager
    def measuring(self) -> Iterator[None]:
        """What is done inside of the block is measuring: its time counts as such, once."""
        outermost, began = not self._timing, time.perf_counter()
        self._timing = True
        try:
            yield
        finally:
            if outermost:
                self._timing = False
                self._inside += time.perf_counter() - began

    @contextmanager
    def aside(self) -> Iterator[bool]:
        """Measuring between two steps: whether there is time for it, which has a share of its
        own."""
        began = time.perf_counter()
        try:
            yield self._beside <= ASIDE * (began - self._began) + GRACE
        finally:
            self._beside += time.perf_counter() - began

    def evaluated(self, training: bool) -> None:
        """The model was called where nothing is learnt from it; in training mode, or not."""
        if training and _differs_in_training(self.framework, self.model):
            self.note("train-in-evaluation", "", "the model is evaluated in training mode")

    def dropped(self) -> None:
        """Gradients were cleared without a step: their backward passes were for something else."""
        if self._sample is not None:
            self.trace.samples.pop()
        self._sample = self._used = None
        self._pending.clear()
        self._seen.clear()
        self.backwards = 0

    def note(self, kind: str, where: str = "", text: str = "", **facts: Any) -> bool:
        """Note that something happened; once for each kind and place, `facts["times"]` counts how
        often. Returns whether it is new."""
        for event in self.trace.events:
            if (event.kind, event.where) == (kind, where):
                event.facts["times"] += 1
                return False
        self.trace.events.append(Event(self.step, kind, where, text, {"times": 1, **facts}))
        return True

    def finish(self, error: BaseException | None = None) -> None:
        """The loop ended, with an error of the user's or without."""
        if self._pending:  # backward passes after the last step
            if not self.step and error is None:
                self.note("no-step", "optimizer", "there were backward passes and never a step")
            broken = not np.isfinite(self._mean())
            self._losses += self._pending if not self.step else [self._mean()] * broken
            self._pending = []
        if error is not None:
            self.note("error", "", str(error), error=error)
        trace = self.trace
        trace.losses = np.array(self._losses, dtype=np.float32)
        trace.seconds = time.perf_counter() - self._began
        trace.overhead = self.pace.spent + self._beside + self._once
        trace.finished = error is None
        trace.batch_size = self.rows.batch_size
        self._judge_direction()
        if self.epochs is None and self.step:
            self._cut_into_epochs()
        self.__dict__.pop("setup", None)
        self.__dict__.pop("diagnosis", None)

    def __enter__(self) -> Watch:
        self._following = self.framework.following(self)
        self._following.__enter__()
        return self

    def __exit__(self, kind: Any, error: BaseException | None, trace: Any) -> None:
        try:
            self._following.__exit__(kind, error, trace)
        finally:
            self.finish(error)

    # What is made of it

    def _mean(self) -> float:
        return float(np.mean(self._pending)) if self._pending else float("nan")

    def _rate(self) -> float:
        return float("nan") if self.optimizer is None else self.framework.rate(self.optimizer)

    def _look(self, run: Pass, sample: Sample, left: float) -> None:
        """Faults that a single pass shows."""
        parts = [
            (s.gradient or 0.0) ** 2 * run.parameters[n].size for n, s in sample.parameters.items()
        ]
        size = float(np.sqrt(np.sum(parts)))
        if self.step and left > STALE * size:
            self.note(
                "stale-gradients", "optimizer",
                "backward() added onto gradients that a step had used already",
                left=left, own=size,
            )  # fmt: skip
        if not run.training and _differs_in_training(self.framework, self.model):
            self.note("eval-in-training", "", "the model is trained in evaluation mode")
        if run.facts.sign < 0:
            self.note("wrong-sign", "loss", "the loss is negated before backward()")

    def _measure(self, sample: Sample) -> None:
        """Note what the step changed, and whether it used this batch's gradients."""
        after = self.framework.parameters(self.model)
        with_update(sample, self._seen[0], after)
        if self._used is None or len(self._seen) < self.backwards:
            return
        cleared = True
        for name, used in self._used.items():
            parts = [run.gradients[name] for run in self._seen]
            own = [g for g in parts if g is not None]
            if not own or name not in sample.parameters:
                continue
            total = own[0] if len(own) == 1 else np.sum(own, axis=0)
            if used is not None and used.any():
                cleared = False
                sample.parameters[name].fresh = _cosine(used, total)
            elif not total.any():
                cleared = False
        if cleared and any(g is not None for g in self._seen[0].gradients.values()):
            self.note("cleared-before-step", "optimizer", "the gradients were gone before the step")

    def _cut_into_epochs(self) -> None:
        """The losses by epoch, where the first one was seen to its end; the errors at both ends."""
        per = self.rows.batches if self.rows.whole else self.step
        ends = [*range(per, self.step + 1, per)] or [self.step]
        starts = [0, *ends[:-1]]
        parts = [self.trace.losses[a:b] for a, b in zip(starts, ends, strict=True)]
        first, last = self._error(self.before[0]), self._error(self.model)
        self.trace.epochs = [
            EpochSample(0, 0, float(self.trace.losses[0]), None, first),
            *(
                EpochSample(i, end, float(part.mean()))
                for i, (end, part) in enumerate(zip(ends, parts, strict=True), 1)
            ),
        ]
        self.trace.epochs[-1].train_error = last

    def _error(self, model: Any) -> float | None:
        """The yardstick of a model on rows that were seen."""
        found = self.rows.joined()
        if found is None or found[1] is None:
            return None
        try:
            outputs = self.framework.outputs(model, found[0][:PROBED])
        except Exception:  # called by the loop in another way than with its rows
            return None
        return self.error(outputs, found[1][:PROBED])

    def error(self, outputs: np.ndarray, y: np.ndarray) -> float | None:
        """The yardstick of outputs; None before the first recorded pass, which tells how they are
        to be read."""
        if self.first is None:
            return None
        kind = self.first.facts.kind
        self._task = self._task or task_of(y, outputs, kind)
        return error_of(outputs, y, self._task, reading_of(self.first, kind))

    def _judge_direction(self) -> None:
        """Whether nearly every step went up the gradient."""
        totals = [
            sum(p.descent for p in s.parameters.values() if p.descent is not None)
            for s in self.trace.samples
        ]
        up = sum(t > 0 for t in totals)
        if len(totals) >= 4 and up >= 0.9 * len(totals):
            share = up / len(totals)
            self.note("wrong-sign", "optimizer", f"{up} of {len(totals)} steps climb", share=share)
        updates = [p.update for s in self.trace.samples for p in s.parameters.values()]
        seen = [u for u in updates if u is not None]
        if seen and not any(seen):
            self.note("no-change", "optimizer", "no step changed any parameter")

    @cached_property
    def setup(self) -> Setup:
        """The run so that it can be made again: the model before training and the rows seen.

        Raises:
            DataError: the loop was not seen to train: there was no backward pass, or its targets
                are not known.
        """
        return rebuilt(self)

    def case(self, seconds: float | None = None) -> Case:
        """What the rules look at; nothing slow is begun after so many seconds, by default half the
        time that the loop took, or ten."""
        allowed = max(10.0, 0.5 * self.trace.seconds) if seconds is None else seconds
        deadline = time.perf_counter() + allowed
        case = Case(self.setup, self.trace, self.framework.state(self.model), deadline)
        if self.first is not None:
            case.first = self.first
        return case

    @randomness_kept()
    @unseen()
    def diagnose(
        self,
        budget: float = 0.0,
        stages: Sequence[str] = ("static", "live", "deep"),
        seconds: float | None = None,
    ) -> Diagnosis:
        """Ask the rules.

        Args:
            budget: seconds for trying remedies on the rows that were seen; 0 tries none.
            stages: of which rules.
            seconds: for asking them; see `case`.
        """
        began = time.perf_counter()
        try:
            case = self.case(seconds)
        except DataError as error:
            return self._nothing(str(error))
        again = self.first is not None and self.setup.loss is not unknown
        about = {}
        if again and self.held_out is None and "deep" in stages:
            about["note"] = self._without_held_out_rows(case)
        findings, looked, not_looked = examine(
            case, [stage for stage in stages if again or stage != "deep"]
        )
        asked = time.perf_counter()
        if budget > 0 and findings and again:
            from chainrule.lens.diagnose.trials.trying import try_remedies

            findings = try_remedies(case, findings, budget)
        took = {
            "run": self.trace.seconds,
            "measuring": self.trace.overhead,
            "rules": asked - began,
            "trials": time.perf_counter() - asked,
        }
        return Diagnosis(findings, looked, not_looked, self.trace, took, budget, about)

    def _without_held_out_rows(self, case: Case) -> str:
        """Make the run again without the rows that are held out, to judge by them: the loop itself
        has learnt from all. Where that takes too long, all stays as the loop left it. Which it was,
        in words."""
        rows, steps = len(case.setup.x), case.setup.steps
        learnt = f"its loop learns from all {rows + len(case.setup.x_held):,} rows"
        made = train(case.setup, seconds=0.5 * case.time_left)
        if not made.trace.finished:
            return (
                f"{learnt}, and there was no time to make the run again without some of them: "
                "rows held out are rows that it has learnt from"
            )
        if not _alike(made.trace.epochs[-1].train_error, self.trace):
            return (
                f"{learnt}, and does what is not seen of it: made again without some of them, the "
                "run ends elsewhere, so rows held out are rows that it has learnt from"
            )
        case.trace = replace(self.trace, epochs=made.trace.epochs)
        case.trained = self.framework.state(made.setup.model)
        return f"{learnt}; to be judged, the run was made again with {rows:,}, {steps:,} steps"

    def _nothing(self, why: str) -> Diagnosis:
        """The diagnosis of a loop that cannot be made again."""
        stopped = next((e for e in self.trace.events if e.kind == "error"), None)
        if self.first is not None and stopped is None:
            return Diagnosis((), (), [(rule.name, why) for rule in rules()], self.trace)
        claim = why if stopped is None else f"the loop stopped: {stopped.text}"
        finding = Finding("no-training", "loop", claim, severity="error", strength=0.95)
        return Diagnosis([finding], (), (), self.trace)

    @property
    def findings(self) -> Sequence[Finding]:
        """Those of `diagnosis`."""
        return self.diagnosis.findings

    @cached_property
    def diagnosis(self) -> Diagnosis:
        """What the rules find, without trials."""
        return self.diagnose()


def _cosine(a: np.ndarray, b: np.ndarray) -> float | None:
    a, b = a.reshape(-1).astype(np.float64), b.reshape(-1).astype(np.float64)
    with np.errstate(all="ignore"):
        size = np.sqrt(np.dot(a, a) * np.dot(b, b))
        return float(np.dot(a, b) / size) if np.isfinite(size) and size > 0 else None


SAME = 0.25
"""How far the errors (1: a constant's) of a loop and of the same run made again may lie apart."""


def _alike(error: float | None, trace: Trace) -> bool:
    """Whether a run made again fits its rows as the loop did, as far as that is known."""
    own = trace.epochs[-1].train_error if trace.epochs else None
    return error is None or own is None or not abs(error - own) > SAME


def _differs_in_training(framework: Framework, model: Any) -> bool:
    """Whether a module of the model does something else in training than in use."""
    return any("Dropout" in kind or "BatchNorm" in kind for _, kind, _ in framework.modules(model))


@explained
def watch(
    model: Any, optimizer: Any = None, *, loss: Callable[[Any, Any], Any] | None = None
) -> Watch:
    """Watch a training loop of your own: what is measured becomes a `Diagnosis`.

    The loop stays as it is, and does the same to the bit (where it compiles the forward pass alone,
    to rounding, for a step that is measured runs operation by operation). Measuring takes at most
    about a fiftieth of its time. Of PyTorch's modules the same is measured, by hooks.

    Args:
        model: a module of chainrule or PyTorch.
        optimizer: over its parameters; left out where the loop updates them by hand.
        loss: (outputs, targets) → a number, what the loop computes; needed only where it is none of
            the framework's own losses and remedies are to be tried.

    Returns:
        A context manager, with `trace` (what was measured) and, after the block, `diagnosis`,
        `findings` and `diagnose(budget=seconds)`, which tries remedies.

    Raises:
        DTypeError: the model is no module.

    >>> import numpy as np
    >>> import chainrule as cr
    >>> from chainrule import nn, optim
    >>> cr.seed(0)
    >>> x = np.linspace(-1, 1, 32)[:, None]
    >>> model = nn.Linear(1, 1)
    >>> optimizer = optim.SGD(model.parameters(), lr=0.5)
    >>> with watch(model, optimizer) as watching:
    ...     for _ in range(30):
    ...         loss = nn.mse_loss(model(cr.asarray(x)), cr.asarray(2 * x))
    ...         loss.backward()
    ...         optimizer.step()
    >>> watching.trace.steps, watching.setup.task, watching.first.facts.kind
    (30, 'real', 'mse')
    """
    framework = framework_of(model)
    sensible(loss or callable, optimizer)
    return Watch(framework, model, optimizer, loss=loss)
