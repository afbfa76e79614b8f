"""The contest of remedies: all of them a short way, the best of each finding to the end."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from chainrule.lens.diagnose.finding import Change, Finding
from chainrule.lens.diagnose.trials.comparing import SEEDS, arm, compared, pairs_of
from chainrule.lens.diagnose.trials.randomly import random_change
from chainrule.lens.diagnose.trials.running import NO_CHANGE, Runner
from chainrule.lens.diagnose.trials.trial import CLEAR, Arm

FINDINGS = 6
REMEDIES = 4
"""How many findings are tried, and how many remedies of each."""
PROVEN = 0.9
"""A contradiction in the graph or the data (`Finding.strength`): two seeds are enough."""
SCREENING = 0.25
"""The share of the time in which every remedy is looked at once."""
SHORTEST = 1 / 8
"""Of a run, that says anything about the whole of it."""


def contestants(findings: Sequence[Finding]) -> list[Finding]:
    """The findings whose remedies are tried: in a run in which something is wrong, advice comes
    after the rest, for it may be what is missing; a run without faults is left alone."""
    faults = [f for f in findings if f.severity != "advice" and f.remedies]
    advice = [f for f in findings if f.severity == "advice" and f.remedies]
    return [*faults, *advice][:FINDINGS] if faults else []


class Contest:
    """Which remedy of each finding is the best, and whether it helps.

    Attributes:
        left: the remedies of each finding that are still in, best first.
        share: of a run's length, at which they are judged; `short`, at which they are screened.
    """

    def __init__(self, runner: Runner, findings: Sequence[Finding]) -> None:
        self.runner = runner
        able = [
            [r for r in f.remedies[:REMEDIES] if r.judged and runner.setup(r)] for f in findings
        ]
        self.findings = [f for f, remedies in zip(findings, able, strict=True) if remedies]
        self.left = [remedies for remedies in able if remedies]
        self.share = self.short = 1.0
        runner.run(NO_CHANGE, 0)  # if it was not watched: then it is not known what a run costs

    @property
    def parts(self) -> list[tuple[Finding, Change]]:
        """Each finding with the best of its remedies."""
        return [(f, remedies[0]) for f, remedies in zip(self.findings, self.left, strict=True)]

    def screen(self) -> None:
        """A run of every remedy, first those that the rules think likeliest; the best of each
        finding goes on."""
        ranks = range(max(map(len, self.left), default=0))
        arms = [remedies[i] for i in ranks for remedies in self.left if i < len(remedies)]
        arms = [NO_CHANGE, *{remedy.kind: remedy for remedy in arms}.values()]
        cost = sum(self.runner.cost(change) for change in arms)
        share = SCREENING * self.runner.left / max(cost, 1e-9)
        self.short = 1.0 if share > 0.7 else max(share, SHORTEST)
        reserved = (1 - 2 * SCREENING) * self.runner.left
        for change in arms:
            if self.runner.left > reserved:
                self.runner.run(change, 0, self.short)
        for i, remedies in enumerate(self.left):
            known = [self.runner.known(remedy, 0, self.short) for remedy in remedies]
            errors = [np.inf if outcome is None else outcome.error for outcome in known]
            self.left[i] = [remedies[j] for j in np.argsort(errors, kind="stable")]

    def judge(self) -> None:
        """The best remedies against no change and random changes, seed by seed, so that what the
        time allows is complete for as many findings as can be."""
        one = self.runner.cost(NO_CHANGE)
        if 5 * one > self.runner.left:  # two seeds of a remedy and a random change, and the second
            self.share = max(self.short, self.runner.left / (5 * max(one, 1e-9)))
        room = int((self.runner.left / max(one * self.share, 1e-9) - 3) / 2)
        chosen = sorted(self.parts, key=lambda part: self._screened(part[1]))[: max(1, room)]
        for seed in range(SEEDS):
            for finding, remedy in chosen:
                if seed == 0 or self._open(finding, remedy):
                    random = random_change(self.runner, seed, finding.remedies)
                    for change in (NO_CHANGE, remedy, random):
                        if change is not None:
                            self.runner.run(change, seed, self.share)
        for finding, remedy in self.parts:
            self._try(finding, remedy, self.share)

    def conclude(self) -> None:
        """What could not be judged has the trial of the screening."""
        for finding, remedy in self.parts:
            if finding.trial is None:
                self._try(finding, remedy, self.short)

    def _screened(self, remedy: Change) -> float:
        outcome = self.runner.known(remedy, 0, self.short)
        return np.inf if outcome is None else outcome.error

    def _open(self, finding: Finding, remedy: Change) -> bool:
        """Whether another seed can still decide something."""
        pairs = pairs_of(self.runner, NO_CHANGE, remedy, self.share).values()
        gains = [before.error - after.error for before, after in pairs]
        if len(gains) < 2:
            return bool(gains)
        clear = min(gains) > CLEAR * max(before.error for before, _ in pairs)
        return max(gains) > 0 and not (finding.strength >= PROVEN and clear)

    def _try(self, finding: Finding, remedy: Change, share: float) -> None:
        others = self._others(finding, remedy)
        trial = compared(
            self.runner, NO_CHANGE, remedy, share, remedies=finding.remedies, others=others
        )
        finding.trial = trial
        finding.chosen = remedy if trial and (trial.helped or not trial.decided) else None

    def _others(self, finding: Finding, remedy: Change) -> list[Arm]:
        """The remedies that fell out on the way, at the longest run that they had."""
        found = []
        for change in finding.remedies[:REMEDIES]:
            runs = {k: o for k, o in self.runner.outcomes.items() if k[0] == change.kind}
            if change.kind != remedy.kind and runs:
                longest = max(epochs for _, _, epochs in runs)
                of = {seed: o for (_, seed, epochs), o in runs.items() if epochs == longest}
                found.append(arm(change.title, of, longest))
        return found
