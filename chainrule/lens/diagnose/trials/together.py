"""What helps together: a fault often hides behind another one, so that mending one alone shows
nothing."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from chainrule.lens.diagnose.changes.combining import combine
from chainrule.lens.diagnose.finding import Change, Finding
from chainrule.lens.diagnose.trials.comparing import SEEDS, compared
from chainrule.lens.diagnose.trials.randomly import families, random_change
from chainrule.lens.diagnose.trials.running import NO_CHANGE, Runner
from chainrule.lens.diagnose.trials.trial import LEAST_GAIN, LEAST_SHARE, Trial

Part = tuple[Finding, Change]
BAD = 0.3
"""An error above which it is worth looking for a fault behind the one that was mended."""


@dataclass(frozen=True)
class Together:
    """The changes that are recommended, as one.

    Attributes:
        change: all of them, in the order of the findings.
        rules: the findings that they belong to.
        trial: of all together against no change.
    """

    change: Change
    rules: tuple[str, ...]
    trial: Trial

    def to_dict(self) -> dict[str, Any]:
        """Plain data, for JSON."""
        return {
            "change": self.change.to_dict(),
            "rules": list(self.rules),
            "trial": self.trial.to_dict(),
        }


def combined(runner: Runner, parts: Sequence[Part], share: float) -> Together | None:
    """The combination of each finding's best remedy that has the smallest error.

    Greedy: begin with the remedy that gains most and add others as long as the error falls. Where
    it stays large, all at once are tried, and what is not missed is taken away again. A finding
    whose remedy helps only beside others gets the trial that shows it.
    """
    search = _Search(runner, parts, share)
    chosen = search.chosen()
    if not chosen:
        return None
    if len(chosen) == 1:
        ((finding, change),) = chosen
        assert finding.trial is not None
        return Together(change, (finding.rule,), finding.trial)
    whole = search.join(chosen)
    trial = judged(runner, whole, share)
    if trial is None or not trial.helped:
        return None
    for part in chosen:
        search.judge_beside(part, chosen)
    return Together(whole, tuple(finding.rule for finding, _ in chosen), trial)


def judged(runner: Runner, change: Change, share: float) -> Trial | None:
    """The trial of a change at all seeds, against no change and random changes."""
    for seed in range(SEEDS):
        for arm in (NO_CHANGE, change, random_change(runner, seed, [change])):
            if arm is not None:
                runner.run(arm, seed, share)
    return compared(runner, NO_CHANGE, change, share, remedies=[change])


class _Search:
    def __init__(self, runner: Runner, parts: Sequence[Part], share: float) -> None:
        self.runner, self.parts, self.share = runner, list(parts), share

    def join(self, chosen: Sequence[Part]) -> Change:
        """One change, in the order of the findings."""
        changes = [part[1] for part in self.parts if part in chosen]
        return changes[0] if len(changes) == 1 else combine(*changes)

    def run(self, change: Change, seed: int) -> None:
        self.runner.run(change, seed, self.share)

    def error(self, chosen: Sequence[Part]) -> float | None:
        change = self.join(chosen) if chosen else NO_CHANGE
        return self.runner.mean(change, (0, 1), self.share)

    def chosen(self) -> list[Part]:
        helped = [p for p in self.parts if p[0].trial is not None and p[0].trial.helped]
        helped.sort(key=lambda p: p[0].trial.error if p[0].trial else 0.0)
        chosen, error = helped[:1], self.error(helped[:1])
        for part in [*helped[1:], *(p for p in self.parts if p not in helped)]:
            if chosen and error is not None and _fits(part, chosen):
                chosen, error = self._better([*chosen, part], chosen, error)
        if error is None or error < BAD:
            return chosen
        everything: list[Part] = []
        for part in self.parts:
            if _fits(part, everything):
                everything.append(part)
        if len(everything) > max(1, len(chosen)):
            before = chosen
            chosen, error = self._better(everything, chosen, error)
            if chosen is not before:
                chosen = self._pruned(chosen, error)
        return chosen

    def _better(
        self, attempt: list[Part], now: list[Part], error: float
    ) -> tuple[list[Part], float]:
        found = self.error(attempt)
        if found is not None and found < error - max(LEAST_GAIN, LEAST_SHARE * error):
            return attempt, found
        return now, error

    def _pruned(self, chosen: list[Part], error: float) -> list[Part]:
        """Without the parts that are not missed."""
        for part in list(chosen):
            rest = [p for p in chosen if p is not part]
            found = self.error(rest) if rest else None
            if found is not None and found < error + max(LEAST_GAIN, LEAST_SHARE * error):
                chosen, error = rest, found
        return chosen

    def judge_beside(self, part: Part, chosen: list[Part]) -> None:
        """The trial of a part given the others, where alone it showed nothing."""
        finding, change = part
        if finding.trial is not None and finding.trial.helped:
            return
        rest = [p for p in chosen if p is not part]
        base, whole = self.join(rest), self.join(chosen)
        for seed in range(SEEDS):
            self.run(base, seed)
        given = tuple(other.title for _, other in rest)
        found = compared(self.runner, base, whole, self.share, remedies=[whole], given=given)
        if found is not None and found.helped:
            finding.trial, finding.chosen = found, change


def _fits(part: Part, chosen: Sequence[Part]) -> bool:
    """Whether it changes something that none of the others does."""
    return not any(families(part[1]) & families(other) for _, other in chosen)
