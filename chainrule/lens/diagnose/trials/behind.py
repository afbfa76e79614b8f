"""Faults behind a fault: what is mended is watched and asked again."""

from __future__ import annotations

import time
from dataclasses import replace

from chainrule.lens.diagnose.case import Case
from chainrule.lens.diagnose.examine import examine
from chainrule.lens.diagnose.finding import Change, Finding
from chainrule.lens.diagnose.pace import Pace
from chainrule.lens.diagnose.setup import Setup
from chainrule.lens.diagnose.training import train
from chainrule.lens.diagnose.trials.contest import Contest, contestants
from chainrule.lens.diagnose.trials.running import Runner
from chainrule.lens.diagnose.trials.together import Together, combined, judged

BAD = 0.1
"""An error of the mended run above which it is asked what else is wrong."""
PART = 0.25
"""The share of the time left for watching, and for asking the rules."""


def behind(runner: Runner, together: Together, share: float) -> tuple[Together, list[Finding]]:
    """(what helps together now, the findings behind those that were mended).

    A loss of the wrong kind hides that its targets are too large, first weights that explode hide
    that the rate is too low. Only what helps on top of the rest is told.
    """
    if together.trial.error < BAD:
        return together, []
    first = together.change
    mended = _as_given(first.apply(runner.case.setup))
    case = _watched(mended, runner.left)
    if case is None:
        return together, []
    findings = contestants(examine(case, ("static", "live"))[0])
    if not findings:
        return together, []
    contest = Contest(Runner(case, runner.deadline), findings)
    contest.screen()
    contest.judge()
    more = combined(contest.runner, contest.parts, contest.share)
    if more is None:
        return together, []
    second = more.change

    def apply(setup: Setup) -> Setup:
        return second.apply(_as_given(first.apply(setup)))

    both = Change(
        f"{first.title}; {second.title}",
        apply,
        "\n".join(code for code in (first.code, second.code) if code),
        f"{first.kind} + {second.kind}",
    )
    trial = judged(runner, both, share)
    if trial is None or trial.error > together.trial.error:
        return together, []
    helped = [_with_claim(f, first) for f in findings if f.trial is not None and f.trial.helped]
    rules = tuple(dict.fromkeys((*together.rules, *more.rules)))
    return Together(both, rules, trial), [f for f in helped if f.rule in more.rules]


def _as_given(setup: Setup) -> Setup:
    """The changed setup as one of its own: paths are those that its modules have now."""
    return setup.with_(moved={})


def _watched(setup: Setup, left: float) -> Case | None:
    """A run of the mended setup and what is seen of it; None where it takes too long."""
    run = train(setup, pace=Pace(share=0.3), seconds=PART * left)
    if not run.trace.finished:
        return None
    state = setup.framework.state(run.setup.model)
    return Case(setup, run.trace, state, deadline=time.perf_counter() + PART * left)


def _with_claim(finding: Finding, first: Change) -> Finding:
    """The finding, whose claim says what was mended before."""
    return replace(finding, claim=f"once that is mended ({first.title}): {finding.claim}")
