"""Trying the remedies of a case's findings within a budget."""

from __future__ import annotations

import time
from collections.abc import Sequence

from chainrule.lens.diagnose.case import Case
from chainrule.lens.diagnose.examine import ordered
from chainrule.lens.diagnose.finding import Finding
from chainrule.lens.diagnose.trials.behind import behind
from chainrule.lens.diagnose.trials.composing import joined
from chainrule.lens.diagnose.trials.contest import Contest, contestants
from chainrule.lens.diagnose.trials.running import Runner
from chainrule.lens.diagnose.trials.together import together

SLACK = 0.1
"""The share of the budget that is left unused, for what cannot be broken off."""


def try_remedies(case: Case, findings: Sequence[Finding], budget: float) -> list[Finding]:
    """The findings, each with its trial where the budget reached, in order of effect.

    Successive halving (Jamieson, Talwalkar 2016), as deep as the time allows: all remedies of all
    findings begin with a run at one seed, short if need be; over the same length it is seen which
    belong together (`composed`). Where that leaves a large error, the mended run is watched and
    asked again: what is found behind the first faults, and mended, is added to the findings. The
    whole, and the best remedy of each finding, those that gained most first, go on to the full
    length at up to three seeds, against no change and against random changes, all on the same
    rows, in the same order, from the same first weights. Equal changes are run once.

    What is recommended as a whole is kept in `case.memo["together"]`, a `Together` or None.

    Args:
        case: whose findings they are; its own run serves as "no change" at the first seed.
        findings: those of `examine`; their `trial` and `chosen` are set.
        budget: seconds.
    """
    runner = Runner(case, time.perf_counter() + (1 - SLACK) * budget)
    tried = contestants(findings)
    more: list[Finding] = []
    if tried and case.setup.epochs and len(case.setup.x_held):
        contest = Contest(runner, tried)
        contest.screen()
        contest.compose()
        hidden = behind(contest)
        whole, more = joined(contest.whole), []
        if hidden is not None:
            whole, more = hidden.change, hidden.findings
        contest.judge(whole)
        contest.conclude()
        rules = dict.fromkeys(f.rule for f in [*(f for f, _ in contest.whole), *more])
        found = case.memo["together"] = together(contest, whole, tuple(rules))
        if found is None or found.change is not whole:
            more = []
    return [*ordered(findings), *more]
