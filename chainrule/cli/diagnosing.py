"""What `chainrule diagnose` is asked: a run, or a script; and the mended run."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import fields
from pathlib import Path
from typing import Any

import numpy as np

from chainrule import optim
from chainrule.cli.explaining import newest
from chainrule.errors import ChainruleError, DataError
from chainrule.lens.diagnose.diagnose import diagnosed
from chainrule.lens.diagnose.diagnosis import Diagnosis
from chainrule.lens.diagnose.frameworks.framework import framework_of
from chainrule.lens.diagnose.frameworks.randomness import randomness_kept
from chainrule.lens.diagnose.mended import settings_after
from chainrule.lens.diagnose.progress import showing
from chainrule.lens.diagnose.rules.rule import load_rules
from chainrule.lens.diagnose.script import run_script
from chainrule.lens.diagnose.setup import Setup
from chainrule.tensor.generator import seed as seed_generator
from chainrule.train import Run, Settings, fit_table, read_run
from chainrule.train.tabular import build

UNITS = {"": 1.0, "s": 1.0, "m": 60.0, "h": 3600.0}


def seconds_of(text: str) -> float:
    """A time such as 60s, 2m, 1h or 45.

    >>> seconds_of("90s"), seconds_of("2m")
    (90.0, 120.0)

    Raises:
        DataError: it is none.
    """
    match = re.fullmatch(r"\s*(\d+(?:\.\d*)?)\s*([smh]?)\s*", text)
    if match is None:
        raise DataError(f"--budget {text!r} is no time: write 60s, 2m or 1h")
    return float(match.group(1)) * UNITS[match.group(2)]


def subject_of(given: str | None) -> Path:
    """The run folder or script that is meant: the newest run where none is named.

    Raises:
        DataError: there is no such thing.
    """
    path = newest() if given is None else Path(given)
    if not path.exists():
        raise DataError(
            f"there is no {path}. Name a run folder, which `chainrule fit` makes, or a Python "
            "script that trains a network"
        )
    if path.is_file() and path.suffix != ".py":
        raise DataError(f"{path} is no run folder and no Python script (.py)")
    return path


def diagnose_subject(
    subject: Path,
    *,
    budget: float,
    seed: int = 0,
    rules: Sequence[Path] = (),
    arguments: Sequence[str] = (),
) -> Diagnosis:
    """The diagnosis of a run folder, or of a script that is run with these arguments."""
    if subject.is_file():
        return run_script(subject, arguments, budget=budget, rules=rules)
    if arguments:
        raise DataError("what stands behind -- are a script's arguments, and this is a run")
    load_rules(rules)
    run = read_run(subject)
    with randomness_kept(), showing() as show:
        found = diagnosed(setup_of_run(run, seed), budget=budget, show=show)
    found.about["subject"] = str(subject)
    found.about["note"] = (
        f"trained again as it was, up to epoch {run.history.best_epoch}, whose weights it kept; "
        "held out are its validation and test rows"
    )
    return found


def setup_of_run(run: Run, seed: int = 0) -> Setup:
    """A run as it was before its first step: the same rows, first weights, optimiser and schedule.

    It goes up to the epoch whose weights the run kept. The validation rows and the test rows are
    held out together.

    Raises:
        DataError: the table is not what it was.
    """
    network, table, parts = run.network, run.table, run.split()
    settings = network.settings.for_rows(len(parts.train), network.target.task)
    assert settings.epochs is not None
    assert settings.batch_size is not None
    target = run.config["data"]["target"]
    x, _ = network.encoder.encode(table.drop(target))
    y = network.target.transform(table[target])
    classes = network.target.task == "classes"
    names = tuple(map(str, network.target.classes)) if classes else ()
    seed_generator(settings.seed)
    model = build(x.shape[1], len(names) if classes else 1, settings)
    optimizer = optim.AdamW(model.parameters(), lr=settings.lr, weight_decay=settings.weight_decay)
    steps = settings.epochs * -(-len(parts.train) // settings.batch_size)
    schedule = optim.OneCycleLR(optimizer, max_lr=settings.lr, total_steps=max(2, steps))
    held = np.concatenate([parts.validation, parts.test])
    return Setup(
        framework_of(model), model, optimizer, network.training_loss,
        x[parts.train], y[parts.train], x[held], y[held],
        max(1, run.history.best_epoch), settings.batch_size, "classes" if classes else "real",
        settings.seed + seed, schedule,
        columns=network.encoder.feature_names_out, classes=names,
        source={"run": str(run.folder)},
    )  # fmt: skip


def mended(run: Run, diagnosis: Diagnosis) -> tuple[Run, list[str]]:
    """(the run made again beside it, with the settings that its recommended remedies change; what
    was changed, in words).

    Raises:
        DataError: nothing that is recommended is a matter of a run's settings.
    """
    settings, done, setup = run.network.settings, [], None
    together = diagnosis.together
    for finding in diagnosis.findings:
        remedy, before = finding.remedy, setup or finding.setup
        if remedy is None or before is None or (together and finding.rule not in together.rules):
            continue
        try:
            changed = remedy.apply(before)
            found = settings_after(settings, before, changed)
        except ChainruleError:  # it contradicts one before, or no setting of a run says it
            continue
        if found != settings:
            tried = "" if finding.trial is not None else " (not tried)"
            done.append(f"{finding.rule}: {_differences(settings, found)}{tried}")
            settings, setup = found, changed
    if not done:
        raise DataError(
            f"there is nothing in {run.folder} that --fix could write: no remedy that is "
            "recommended is a matter of the run's settings"
        )
    data = run.config["data"]
    table = Path(data["table"])
    copied = not table.is_absolute()
    fixed = fit_table(
        run.folder / table if copied else table,
        data["target"],
        out=run.folder.with_name(f"{run.folder.name}-fixed"),
        settings=settings,
        task=data["task"],
        command=f"chainrule diagnose {run.folder} --fix",
        copy_table=copied,
    )
    return fixed, done


def _differences(before: Settings, after: Settings) -> str:
    """`lr 0.002 → 0.06`: the settings that differ."""
    pairs = ((f.name, getattr(before, f.name), getattr(after, f.name)) for f in fields(before))
    return ", ".join(f"{name} {_short(a)} → {_short(b)}" for name, a, b in pairs if a != b)


def _short(value: Any) -> str:
    return f"{value:g}" if isinstance(value, float) else str(value)
