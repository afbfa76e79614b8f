"""`diagnose`: train a copy of a model, measured, and say what is wrong with how it learns."""

from __future__ import annotations

import inspect
import math
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np

from chainrule.errors import DTypeError
from chainrule.lens.diagnose.case import Case
from chainrule.lens.diagnose.diagnosis import Diagnosis
from chainrule.lens.diagnose.examine import examine
from chainrule.lens.diagnose.finding import Finding, Measured
from chainrule.lens.diagnose.frameworks.framework import Framework, framework_of
from chainrule.lens.diagnose.frameworks.randomness import randomness_kept
from chainrule.lens.diagnose.frameworks.structures import prediction_among
from chainrule.lens.diagnose.given import Unusable, called, fault, rows_of, sensible
from chainrule.lens.diagnose.measure.chance import chance
from chainrule.lens.diagnose.measure.slopes import slopes_of
from chainrule.lens.diagnose.pace import Pace
from chainrule.lens.diagnose.progress import Show, showing
from chainrule.lens.diagnose.rebinding import rebound
from chainrule.lens.diagnose.rules.rule import Rule, load_rules
from chainrule.lens.diagnose.setup import Setup, task_of
from chainrule.lens.diagnose.training import Trained, train
from chainrule.lens.diagnose.trials.trying import try_remedies
from chainrule.lens.diagnose.unseen import unseen
from chainrule.tensor.locate import explained

HELD_OUT = 0.25
"""The share of the rows that nothing is learnt from, where no others are given."""
FEW = 16
"""Fewer rows than this are all trained on, and judged by: a quarter of them would say nothing."""
BATCH_SIZE = 32
MEASURING = 0.25
"""The share of the watched run's time that goes into measuring it."""


@explained
def diagnose(
    model: Any,
    data: Any,
    *,
    loss: Callable[[Any, Any], Any],
    optimizer: Any = None,
    schedule: Any = None,
    validation: Any = None,
    epochs: int = 20,
    batch_size: int | None = None,
    budget: float = 30.0,
    seconds: float = 300.0,
    rules: Sequence[type[Rule] | str | Path] = (),
    seed: int = 0,
) -> Diagnosis:
    """Why a network does not learn, what to change, and whether the change works.

    A copy of the model is trained as described, and measured on the way: gradients, real updates
    and activations of every layer, losses on training and held-out rows. Every rule looks at the
    graph of the first pass, at this trace, or measures more. What they find is ordered by cause and
    effect, and remedies are tried: from the same first weights, on the same rows in the same order,
    for as many steps, against no change and against a random change, judged by held-out rows.

    The model, its optimiser, gradients, modes and running statistics, and every random generator
    are afterwards as they were, to the bit. What is wrong with the model, the loss or the data is
    a finding, not an exception.

    Args:
        model: a module of chainrule or PyTorch, as it is before training.
        data: (inputs, targets), arrays of equally many rows (NumPy, PyTorch, pandas, lists); or
            what gives such pairs in batches (a DataLoader) or singly (a Dataset).
        loss: (outputs, targets) → a single number.
        optimizer: over the model's parameters; AdamW with its defaults if left out.
        schedule: of its learning rate, with a `step()` that is called after each update.
        validation: like `data`: rows that nothing is learnt from; if left out, a quarter of `data`
            (of fewer than 16 rows none: then all are trained on and judged by).
        epochs, batch_size: of the run that is watched; 32 rows, or a loader's own, if left out.
        budget: seconds for trying remedies; 0 tries none.
        seconds: the watched run is stopped after so many, and judged by what was seen.
        rules: further rules: classes that derive from `Rule`, or files that define some.
        seed: of the split, the order of the rows, dropout.

    Returns:
        the findings, the likeliest cause first, each with `rule`, `where`, `claim`, `evidence`,
        `cause`, `remedy` and `trial`; see `Diagnosis`.

    Raises:
        DTypeError: the model is no module, or the loss cannot be called.
        DataError: a file of rules that cannot be used.

    The statistics behind each rule, with their sources, stand in its finding's `cause`. Trials are
    those of Jamieson and Talwalkar (2016, successive halving), with paired seeds.

    >>> import numpy as np
    >>> import chainrule as cr
    >>> from chainrule import nn, optim
    >>> cr.seed(0)
    >>> X = np.random.default_rng(0).normal(size=(200, 4))
    >>> y = (X[:, 0] > 0).astype(int)
    >>> model = nn.Sequential(nn.Linear(4, 2), nn.Softmax(-1))
    >>> found = cr.diagnose(model, (X, y), loss=nn.cross_entropy, budget=0)
    >>> found.healthy, found.findings[0].rule, found.findings[0].where
    (False, 'double-softmax', '1')
    """
    load_rules(rules)
    for name, value in (("budget", budget), ("seconds", seconds)):
        number = isinstance(value, int | float | np.number) and not isinstance(value, bool)
        if not (number and value >= 0):
            raise DTypeError(f"{name} is {value!r}; it is a number of seconds, 0 or more")
    with randomness_kept(), unseen(), showing() as show:
        began = time.perf_counter()
        try:
            setup = setup_of(
                model, data, loss=loss, optimizer=optimizer, schedule=schedule,
                validation=validation, epochs=epochs, batch_size=batch_size, seed=seed,
            )  # fmt: skip
        except Unusable as unusable:
            took = time.perf_counter() - began
            return Diagnosis(
                [unusable.finding],
                [("data-error", "whether the model can be trained on the data at all")],
                seconds={"run": 0.0, "measuring": 0.0, "rules": took, "trials": 0.0},
                budget=budget,
            )
        return diagnosed(setup, budget=budget, seconds=seconds, show=show)


def diagnosed(
    setup: Setup,
    *,
    budget: float = 30.0,
    seconds: float = 300.0,
    show: Show = lambda what, done, of: None,
) -> Diagnosis:
    """The diagnosis of a setup: watch its run, ask the rules, try remedies for `budget` seconds."""
    case, failed = Case(setup), []
    began = time.perf_counter()
    show("watching the run", 0, setup.epochs)
    if case.first.error is None and setup.epochs:
        try:
            watched = _watched(setup, seconds, show)
            case.trace = watched.trace
            case.trained = setup.framework.state(watched.setup.model)
        except Exception as error:  # a model that cannot be copied is the user's own, too
            failed.append(_untrainable(error))
    ran = time.perf_counter()
    measuring = 0.0 if case.trace is None else case.trace.overhead
    run = ran - began - measuring
    case.deadline = ran + max(10.0, 0.5 * run) - measuring
    show("asking the rules", 0, 0)
    stages = ("static",) if case.trace is None else ("static", "live", "deep")
    findings, looked, not_looked = examine(case, stages)
    findings = [*failed, *_of_the_call(setup), *findings]
    asked = time.perf_counter()
    if budget > 0 and setup.epochs and any(f.remedies for f in findings):
        show("trying remedies", 0, 0)
        try:
            findings = try_remedies(case, findings, budget)
        except Exception as error:  # what was found is told all the same
            not_looked.append(("trials", f"they failed: {type(error).__name__}: {error}"))
    spent = {
        "run": run,
        "measuring": measuring,
        "rules": asked - ran,
        "trials": time.perf_counter() - asked,
    }
    return Diagnosis(
        findings, looked, not_looked, case.trace, spent, budget, about(case),
        case.memo.get("together"), setup, slopes=slopes_of(case.first), case=case,
    )  # fmt: skip


def _watched(setup: Setup, seconds: float, show: Show) -> Trained:
    return train(
        setup,
        pace=Pace(share=MEASURING),
        seconds=seconds,
        fast=False,  # a compiled step has other last digits
        progress=lambda done, of: show("watching the run", done, of),
    )


def setup_of(
    model: Any,
    data: Any,
    *,
    loss: Any,
    optimizer: Any = None,
    schedule: Any = None,
    validation: Any = None,
    epochs: int = 20,
    batch_size: int | None = None,
    seed: int = 0,
) -> Setup:
    """The setup of a run that somebody described.

    Raises:
        Unusable: nothing can be trained on it; the finding says why.
        DTypeError: a call that makes no sense.
    """
    framework = framework_of(model)
    _sensible(loss, optimizer, schedule, epochs=epochs, batch_size=batch_size, seed=seed)
    x, y, columns = rows_of(data)
    try:  # the user's own are not touched from here on
        model, optimizer, schedule, loss = _own(framework, model, optimizer, schedule, loss)
        framework.settle(model, x[:2])
        parameters = framework.parameters(model)
    except Exception as error:
        raise Unusable(_unusable_model(error)) from error
    if not parameters:
        raise fault(
            "unreached-parameters", "model", "the model has no parameters",
            "learning changes parameters, and there are none: layers that stand in a plain list or "
            "dictionary are not found; nn.ModuleList and nn.ModuleDict are",
            "keep layers as attributes of the module, or in nn.ModuleList",
        )  # fmt: skip
    if optimizer is None:
        if len(framework.frozen(model)) == len(parameters):
            raise fault(
                "frozen-parameters", "model", "no parameter of the model asks for a gradient",
                "an optimiser moves parameters by their gradients, and there are none to move",
                "set requires_grad = True for the layers that are to learn",
                Measured("parameters that ask for a gradient", 0, f"of {len(parameters)}"),
            )  # fmt: skip
        optimizer = framework.optimizer("AdamW", model)
    if batch_size is None:
        own = getattr(data, "batch_size", None)
        batch_size = own if isinstance(own, int) else BATCH_SIZE
    (x, y), (x_held, y_held), given = _parts(x, y, validation, batch_size, seed)
    with suppress(Exception):  # a model that does not run is found by a rule
        framework.leaf = prediction_among(framework.leaves(model, x[:8]), y[:8])
    seen = framework.observe(model, x[:8], y[:8], loss)
    return Setup(
        framework, model, optimizer, loss, x, y, x_held, y_held, epochs, batch_size,
        task_of(y, seen.outputs, seen.facts.kind), seed, schedule, columns=columns,
        given=given,
    )  # fmt: skip


def _own(
    framework: Framework, model: Any, optimizer: Any, schedule: Any, loss: Any
) -> tuple[Any, Any, Any, Any]:
    """Copies of what the user gave. What cannot be copied is looked at where it is, undisturbed;
    that it cannot be trained is found later."""
    try:
        made = framework.copy(model, optimizer, schedule, loss)
    except Exception:  # whatever the user's own __deepcopy__ raises
        return model, optimizer, schedule, loss
    return (*made[:3], rebound(made[3], model, made[0]))


def _sensible(loss: Any, optimizer: Any, schedule: Any, **numbers: Any) -> None:
    sensible(loss, optimizer)
    if schedule is not None and not _steps_alone(schedule):
        raise DTypeError(
            f"schedule is {called(schedule)}; it has a step() that is called after each update, "
            "with no arguments, such as that of optim.CosineLR(optimizer, ...)"
        )
    least = {"batch_size": 1}
    for name, value in numbers.items():
        whole = isinstance(value, int | np.integer) and not isinstance(value, bool)
        if value is not None and not (whole and value >= least.get(name, 0)):
            raise DTypeError(
                f"{name} is {value!r}; it is a whole number, {least.get(name, 0)} or more"
            )


def _steps_alone(schedule: Any) -> bool:
    """Whether its `step` can be called without arguments."""
    step = getattr(schedule, "step", None)
    if isinstance(schedule, type) or not callable(step):
        return False
    try:
        inspect.signature(step).bind()
    except TypeError:
        return False
    except ValueError:  # nothing is known of its arguments
        return True
    return True


def _parts(
    x: np.ndarray, y: np.ndarray, validation: Any, batch_size: int, seed: int
) -> tuple[tuple[np.ndarray, np.ndarray], tuple[np.ndarray, np.ndarray], np.ndarray | None]:
    """((x, y) to train on, (x, y) held out, the numbers that these rows had before)."""
    if validation is not None:
        x_held, y_held, _ = rows_of(validation)
        for what, rows, held in (("inputs", x, x_held), ("targets", y, y_held)):
            if rows.shape[1:] != held.shape[1:]:
                raise fault(
                    "data-error", "validation",
                    f"a row of the {what} has shape {rows.shape[1:]}, and one of the validation "
                    f"{what} {held.shape[1:]}",
                    "both go through the same network and loss",
                    "prepare the validation rows as the training rows are",
                )  # fmt: skip
        return (x, y), (x_held, y_held), None
    if len(x) < FEW:
        return (x, y), (x, y), None
    order = np.random.default_rng(seed).permutation(len(x))
    cut = len(x) - int(HELD_OUT * len(x))
    if cut % batch_size == 1:  # a last batch of one row has no variance, for normalisation layers
        cut -= 1
    first, rest = order[:cut], order[cut:]
    return (x[first], y[first]), (x[rest], y[rest]), order


def _of_the_call(setup: Setup) -> list[Finding]:
    """What is to be said about how long and how is trained, which no rule can see in the run."""
    found = []
    if not setup.epochs:
        found.append(
            Finding(
                "no-training",
                "epochs",
                "epochs is 0: no step is made",
                cause="what is not updated keeps its random first values",
                severity="error",
                strength=1.0,
                setup=setup,
            )
        )
    if setup.batch_size > len(setup.x):
        found.append(
            Finding(
                "batch-size",
                "batch_size",
                f"batch_size is {setup.batch_size}, and there are {len(setup.x)} rows: each step "
                "takes all of them",
                cause="an epoch is a single step, so that epochs count steps",
                severity="advice",
                strength=0.3,
                setup=setup,
            )
        )
    return found


def _unusable_model(error: Exception) -> Finding:
    return Finding(
        "model-error",
        "model",
        f"the model's parameters have no values: {type(error).__name__}: {error}",
        cause="layers that take their sizes from the first rows could not be given them, or the "
        "parameters are on a device that holds none",
        severity="error",
        strength=1.0,
    )


def _untrainable(error: Exception) -> Finding:
    return Finding(
        "model-error",
        "model",
        f"a copy of the model cannot be trained: {type(error).__name__}: {error}",
        cause="diagnose trains a deep copy; a model that holds an open file, a lock or a generator "
        "cannot be copied",
        severity="error",
        strength=1.0,
    )


def about(case: Case) -> dict[str, Any]:
    """Facts for the head of a report."""
    setup, framework = case.setup, case.framework
    arrays = framework.parameters(setup.model)
    trace, facts, by_chance = case.trace, case.optimizer, chance(case)
    level = by_chance.level
    named = ("momentum", "weight_decay", "nesterov", "maximize")
    options = {"lr": setup.rate, **{k: facts.options[k] for k in named if facts.options.get(k)}}
    shown = ", ".join(f"{k}={v:g}" if isinstance(v, float) else f"{k}={v}"
                      for k, v in options.items())  # fmt: skip
    kind = type(setup.schedule).__name__
    scheduled = "" if setup.schedule is None else f", by the schedule {kind}"
    held = "the same rows" if setup.x_held is setup.x else len(setup.x_held)
    return {
        "framework": framework.name,
        "model": repr(setup.model),
        "parameters": sum(a.size for a in arrays.values()),
        "optimizer": f"{facts.kind}({shown}){scheduled}",
        "loss": case.loss.name or framework.describe(setup.loss),
        "task": setup.task,
        "rows": len(setup.x),
        "held_out": held,
        "columns": list(setup.columns),
        "epochs": setup.epochs,
        "batch_size": setup.batch_size,
        "steps": 0 if trace is None else trace.steps,
        "steps_asked": setup.steps,
        "chance": level if math.isfinite(level) else None,
        "floor": by_chance.floor,
    }
