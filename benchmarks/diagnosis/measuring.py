"""One case to one record: plain data, from which every rate is counted."""

from __future__ import annotations

import os
import time
import warnings
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np

from benchmarks.diagnosis.baselines import alarms
from benchmarks.diagnosis.runs import BUGS, HEALTHY, MISMATCHES, Run, error, everything
from chainrule.lens.diagnose.diagnosis import Diagnosis
from chainrule.lens.diagnose.setup import Setup

BUDGET = 6.0
"""Seconds for the trials of a case."""
VERIFIED = 2
"""Seeds of a bug at which it and its mended twin are trained once more, for what it costs."""


@dataclass(frozen=True)
class Task:
    """A variant of a bug (its twin, if `mended`), or by its `name` a healthy run or mismatch."""

    seed: int
    number: int = 0
    variant: int = 0
    mended: bool = False
    name: str = ""
    trials: bool = False


@dataclass
class Record:
    """What came of it.

    Attributes:
        what: "bug", "twin", "healthy" or "mismatch"; `label` says which.
        cluster: what is resampled as a whole for intervals: the bug's number or the kind.
        half: "development", "scored", "healthy" or "mismatch".
        rules, places: what is right to say, for a bug.
        in_network: whether the bug is in the network: that of its mended twin is another.
        static: whether the bug must be found before the first step.
        mendable: whether a change of the setup can regain what is lost.
        error: held-out, see `runs.error`; `twin_error`: the mended twin's; NaN for a bug at seeds
            from `VERIFIED` on.
        findings: rule, where, severity, strength, claim, in order.
        first_static: the rules that speak before the first step; `static_ms`: what that took.
        seconds: of the run, the rules, the trials.
        alarms: published tool → its alarms on the same trace, as names of our rules ("" for one
            that names no cause of ours).
        remedy: all that is recommended: title, the error with it.
        random: the error of a random search of the same time.
        failed: the exception that the case ended in; none may come out of diagnose.
    """

    what: str
    label: str
    cluster: str
    half: str
    seed: int
    framework: str = ""
    rules: list[str] = field(default_factory=list)
    places: list[str] = field(default_factory=list)
    in_network: bool = False
    static: bool = False
    mendable: bool = True
    error: float = float("nan")
    twin_error: float = float("nan")
    good: float = float("nan")
    findings: list[dict[str, Any]] = field(default_factory=list)
    first_static: list[str] = field(default_factory=list)
    static_ms: float = float("nan")
    seconds: dict[str, float] = field(default_factory=dict)
    alarms: dict[str, list[str]] = field(default_factory=dict)
    remedy: dict[str, Any] | None = None
    random: float = float("nan")
    failed: str = ""

    @property
    def found(self) -> list[str]:
        """The rules above `advice`, in order."""
        return [f["rule"] for f in self.findings if f["severity"] != "advice"]

    @property
    def alarm(self) -> bool:
        """Whether the run is said to be unhealthy."""
        return bool(self.found)


def measure(task: Task) -> dict[str, Any]:
    """The record of a task, as plain data. Called in a process of its own."""
    warnings.simplefilter("ignore")  # NumPy's, of runs that are meant to diverge
    everything()
    record, run = _described(task)
    try:
        _measured(task, record, run)
    except Exception as failure:  # none may come out: it is counted
        record.failed = f"{type(failure).__name__}: {failure}"
        if os.environ.get("RAISE"):
            raise
    return asdict(record)


def _described(task: Task) -> tuple[Record, Run]:
    found = next((m for m in MISMATCHES if m.name == task.name), None)
    if found is not None:
        record = Record("mismatch", task.name, task.name, "mismatch", task.seed, static=True)
        record.rules = sorted(found.truth)
        run = found.run(task.seed)
    elif task.name:
        kind = next(h for h in HEALTHY if h.name == task.name)
        record = Record("healthy", task.name, task.name, "healthy", task.seed, good=kind.good)
        run = kind.run(task.seed)
    else:
        bug = next(b for b in BUGS if b.number == task.number)
        label = f"#{bug.number}.{task.variant} {bug.make.__name__}"
        what = "twin" if task.mended else "bug"
        record = Record(what, label, f"#{bug.number}", bug.half, task.seed, static=bug.static)
        run = bug.run(task.variant, task.seed, task.mended)
        if not task.mended:
            record.mendable = bug.mendable
            record.rules = sorted(bug.rules(task.variant))
            record.places = sorted(run.places | bug.where)
            twin = bug.run(task.variant, task.seed, mended=True)
            record.in_network = differ(run, twin, task.seed)
            if task.seed < VERIFIED:
                record.twin_error = _trained_error(twin, task.seed)
    record.framework = run.kit.name
    return record, run


def differ(run: Run, twin: Run, seed: int) -> bool:
    """Whether two runs start with different networks: other modules, other parameters that ask for
    gradients, or other outputs for the same rows and random numbers."""
    seen = []
    for setup in (run.setup(seed), twin.setup(seed)):
        setup.framework.seed(seed)
        first = setup.framework.observe(setup.model, run.data.x[:8], None, None)
        modules = [(path, kind) for path, kind, _ in setup.framework.modules(setup.model)]
        outputs = first.outputs if first.outputs is not None else np.array(np.nan)
        seen.append((modules, first.frozen, outputs))
    (*one, ours), (*other, theirs) = seen
    return one != other or not np.array_equal(ours, theirs, equal_nan=True)


def _trained_error(run: Run, seed: int) -> float:
    """The held-out error of a run that nobody looks into."""
    return _setup_error(run.setup(seed), run)


def _measured(task: Task, record: Record, run: Run) -> None:
    from chainrule.lens.diagnose.case import Case
    from chainrule.lens.diagnose.diagnose import diagnosed
    from chainrule.lens.diagnose.examine import examine

    setup = run.setup(task.seed)
    static = []
    for _ in range(3):
        began = time.perf_counter()
        findings, _, _ = examine(Case(setup), ("static",))
        static.append(time.perf_counter() - began)
    record.first_static = [f.rule for f in findings]
    record.static_ms = 1000 * min(static)
    if record.what == "mismatch":
        return
    trials = task.trials and record.what == "bug" and record.mendable
    diagnosis = diagnosed(setup, budget=BUDGET if trials else 0.0)
    record.seconds = dict(diagnosis.seconds)
    record.findings = [
        {"rule": f.rule, "where": f.where, "severity": f.severity, "strength": round(f.strength, 3),
         "claim": f.claim}
        for f in diagnosis.findings
    ]  # fmt: skip
    record.alarms = alarms(setup, diagnosis.trace)
    if record.what != "bug" or task.seed < VERIFIED:
        record.error = _trained_error(_again(task, run), task.seed)
    if trials:
        _mended(record, run, diagnosis, task)


def _again(task: Task, run: Run) -> Run:
    """The same run from its beginning: a schedule or an optimiser keeps no state of the first."""
    if task.name:
        return next(h for h in HEALTHY if h.name == task.name).run(task.seed)
    bug = next(b for b in BUGS if b.number == task.number)
    return bug.run(task.variant, task.seed, task.mended)


def _mended(record: Record, run: Run, diagnosis: Diagnosis, task: Task) -> None:
    """The error after what is recommended, and after the best of the random changes that the time
    of the trials allowed: equal budgets."""
    from chainrule.errors import ChainruleError

    try:
        fixed = diagnosis.fixed()
    except ChainruleError:  # nothing is recommended
        fixed = None
    if fixed is not None:
        together = diagnosis.together
        mendable = (f for f in diagnosis.findings if f.remedy is not None)
        change = together.change if together is not None else next(mendable).remedy
        title = "" if change is None else change.title
        record.remedy = {"title": title, "error": _setup_error(fixed, run)}
    record.random = _random_error(diagnosis, run, task)


def _setup_error(setup: Setup, run: Run) -> float:
    from chainrule.lens.diagnose.training import train

    trained = train(setup, evaluations=1)
    outputs = setup.framework.outputs(trained.setup.model, setup.x_held)
    return error(trained.setup, outputs, run.truth)


def _random_error(diagnosis: Diagnosis, run: Run, task: Task) -> float:
    from chainrule.lens.diagnose.trials.randomly import pool

    setup = diagnosis.setup
    if setup is None:
        return float("nan")
    found, began = [], time.perf_counter()
    changes = pool(setup)
    for i in np.random.default_rng([task.number, task.variant, task.seed]).permutation(
        len(changes)
    ):
        try:
            found.append(_setup_error(changes[i].apply(setup), run))
        except Exception:  # a change that does not suit this network
            continue
        if time.perf_counter() - began > max(diagnosis.seconds["trials"], 0.5):
            break
    return min(found, default=float("nan"))
