"""The contest of remedies: all of them a short way, those that belong together to the end."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from chainrule.lens.diagnose.finding import Change, Finding
from chainrule.lens.diagnose.trials.comparing import SEEDS, arm, compared, pairs_of
from chainrule.lens.diagnose.trials.composing import Part, composed
from chainrule.lens.diagnose.trials.randomly import random_change
from chainrule.lens.diagnose.trials.running import NO_CHANGE, Runner
from chainrule.lens.diagnose.trials.trial import CLEAR, Arm, Trial

FINDINGS = 6
REMEDIES = 4
"""How many findings are tried, and how many remedies of each."""
PROVEN = 0.9
"""A contradiction in the graph or the data (`Finding.strength`): two seeds are enough."""
SCREENING = 0.2
"""The share of the time in which every remedy is looked at once."""
COMPOSING = 0.35
"""The share of the time left then in which it is seen what belongs together."""
SHORTEST = 1 / 8
"""Of a run, that says anything about the whole of it."""


def contestants(findings: Sequence[Finding]) -> list[Finding]:
    """The findings whose remedies are tried: in a run in which something is wrong, advice comes
    after the rest, for it may be what is missing; a run without faults is left alone."""
    faults = [f for f in findings if f.severity != "advice" and f.remedies]
    advice = [f for f in findings if f.severity == "advice" and f.remedies]
    return [*faults, *advice][:FINDINGS] if faults else []


class Contest:
    """Which remedy of each finding is the best, which belong together, and whether they help.

    Attributes:
        left: the remedies of each finding that are still in, best first.
        whole: the parts that belong together.
        share: of a run's length, at which they are judged; `short`, at which they are screened.
    """

    def __init__(self, runner: Runner, findings: Sequence[Finding]) -> None:
        self.runner = runner
        able = [
            [r for r in f.remedies[:REMEDIES] if r.judged and runner.setup(r)] for f in findings
        ]
        self.findings = [f for f, remedies in zip(findings, able, strict=True) if remedies]
        self.left = [remedies for remedies in able if remedies]
        self.whole: list[Part] = []
        self.share = self.short = 1.0
        runner.run(NO_CHANGE, 0)  # if it was not watched: then it is not known what a run costs

    @property
    def parts(self) -> list[Part]:
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
        self.short = 1.0 if share > 0.5 else max(share, SHORTEST)
        reserved = (1 - 2 * SCREENING) * self.runner.left
        for change in arms:
            if self.runner.left > reserved:
                self.runner.run(change, 0, self.short)
        for i, remedies in enumerate(self.left):
            known = [self.runner.known(remedy, 0, self.short) for remedy in remedies]
            errors = [np.inf if outcome is None else outcome.error for outcome in known]
            self.left[i] = [remedies[j] for j in np.argsort(errors, kind="stable")]

    def compose(self) -> None:
        """What belongs together, over the length at which remedies were screened."""
        candidates = [(f, r) for f, rs in zip(self.findings, self.left, strict=True) for r in rs]
        with self.runner.within(COMPOSING):
            self.whole = composed(self.runner, candidates, self.short)

    def gain(self, change: Change) -> float:
        """What a change takes off the error over the short length, at the first seed; −∞ where
        that is not known."""
        pair = [self.runner.known(c, 0, self.short) for c in (NO_CHANGE, change)]
        before, after = (np.nan if outcome is None else outcome.error for outcome in pair)
        return -np.inf if np.isnan(before - after) else before - after

    def judge(self, whole: Change) -> None:
        """What belongs together, then the best remedy of each finding, against no change and
        random changes, seed by seed, so that what the time allows is complete for as much as can
        be."""
        one = max(self.runner.cost(change) for change in (NO_CHANGE, whole))
        if 5 * one > self.runner.left:  # two seeds of a change and a random one, and the second
            self.share = max(self.short, self.runner.left / (5 * max(one, 1e-9)))
        room = int((self.runner.left / max(one * self.share, 1e-9) - 3) / 2)
        parts = sorted(self.parts, key=lambda part: -self.gain(part[1]))[: max(1, room)]
        strength = min((f.strength for f, _ in self.whole), default=0.0)
        chosen = {whole.kind: (whole, strength)}
        for finding, remedy in parts:
            chosen.setdefault(remedy.kind, (remedy, finding.strength))
        for seed in range(SEEDS):
            random = random_change(self.runner, seed, self.remedies)
            for change, strength in chosen.values():
                if seed == 0 or self._open(change, strength):
                    for arm in (NO_CHANGE, change, random):
                        if arm is not None:
                            self.runner.run(arm, seed, self.share)
        for finding, remedy in self.parts:
            self._try(finding, remedy, self.share)

    @property
    def remedies(self) -> list[Change]:
        """All that are tried: no random change is of their kinds."""
        return [remedy for finding in self.findings for remedy in finding.remedies[:REMEDIES]]

    def conclude(self) -> None:
        """What could not be judged has the trial of the screening."""
        for finding, remedy in self.parts:
            if finding.trial is None:
                self._try(finding, remedy, self.short)

    def trial(self, change: Change, base: Change = NO_CHANGE, given: tuple[str, ...] = ()
              ) -> Trial | None:  # fmt: skip
        """Of a change against another one, over the longest run that both had."""
        for share in (self.share, self.short):
            found = compared(self.runner, base, change, share, remedies=self.remedies, given=given)
            if found is not None:
                return found
        return None

    def _open(self, change: Change, strength: float) -> bool:
        """Whether another seed can still decide something."""
        pairs = pairs_of(self.runner, NO_CHANGE, change, self.share).values()
        gains = [before.error - after.error for before, after in pairs]
        if len(gains) < 2:
            return bool(gains)
        clear = min(gains) > CLEAR * max(before.error for before, _ in pairs)
        return max(gains) > 0 and not (strength >= PROVEN and clear)

    def _try(self, finding: Finding, remedy: Change, share: float) -> None:
        others = self._others(finding, remedy)
        trial = compared(
            self.runner, NO_CHANGE, remedy, share, remedies=self.remedies, others=others
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
