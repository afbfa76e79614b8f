"""Faults behind a fault: what is mended is watched and asked again."""

from __future__ import annotations

import time
from dataclasses import dataclass, replace

from chainrule.lens.diagnose.case import Case
from chainrule.lens.diagnose.examine import examine
from chainrule.lens.diagnose.finding import Change, Finding
from chainrule.lens.diagnose.pace import Pace
from chainrule.lens.diagnose.setup import Setup
from chainrule.lens.diagnose.training import train
from chainrule.lens.diagnose.trials.composing import BAD, joined
from chainrule.lens.diagnose.trials.contest import Contest, contestants
from chainrule.lens.diagnose.trials.running import Runner

LOOKING = 0.6
"""The share of the time left for watching the mended run, asking about it and mending it."""
PART = 0.3
"""The share of that for watching, and for asking the rules."""


@dataclass(frozen=True)
class Behind:
    """What is behind what was mended.

    Attributes:
        change: what was mended and, after it, what mends the rest.
        findings: those that the mended run gave.
    """

    change: Change
    findings: list[Finding]


def behind(contest: Contest) -> Behind | None:
    """The faults that were hidden by those that the contest's whole mends; None where the error is
    small, or nothing is found that helps.

    A loss of the wrong kind hides that its targets are too large, first weights that explode hide
    that the rate is too low. Only what helps on top of the rest is told.
    """
    runner, first = contest.runner, joined(contest.whole)
    outcome = runner.known(first, 0, contest.short)
    if not contest.whole or (outcome is not None and outcome.error < BAD):
        return None
    with runner.within(LOOKING):
        case = _watched(_as_given(first.apply(runner.case.setup)), runner)
        findings = [] if case is None else contestants(examine(case)[0])
        if case is None or not findings:
            return None
        inner = Contest(Runner(case, runner.deadline), findings)
        inner.screen()
        inner.compose()
        second = joined(inner.whole)
        if not inner.gain(second) > 0:
            return None
        inner.conclude()

    def apply(setup: Setup) -> Setup:
        return second.apply(_as_given(first.apply(setup)))

    both = Change(
        f"{first.title}; {second.title}",
        apply,
        "\n".join(code for code in (first.code, second.code) if code),
        f"{first.kind} + {second.kind}",
    )
    return Behind(both, [_with_claim(finding, first) for finding, _ in inner.whole])


def _as_given(setup: Setup) -> Setup:
    """The changed setup as one of its own: paths are those that its modules have now."""
    return setup.with_(moved={})


def _watched(setup: Setup, runner: Runner) -> Case | None:
    """A run of the mended setup and what is seen of it; None where it takes too long."""
    run = train(setup, pace=Pace(share=0.3), seconds=PART * runner.left, fast=runner.fast)
    if not run.trace.finished:
        return None
    state = setup.framework.state(run.setup.model)
    return Case(setup, run.trace, state, deadline=time.perf_counter() + PART * runner.left)


def _with_claim(finding: Finding, first: Change) -> Finding:
    """The finding, whose claim says what was mended before."""
    return replace(finding, claim=f"once that is mended ({first.title}): {finding.claim}")
