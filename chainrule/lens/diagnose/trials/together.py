"""What is recommended as a whole, and each finding's part in it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from chainrule.lens.diagnose.finding import Change
from chainrule.lens.diagnose.trials.comparing import SEEDS
from chainrule.lens.diagnose.trials.composing import Part, joined
from chainrule.lens.diagnose.trials.contest import Contest
from chainrule.lens.diagnose.trials.trial import Trial


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


def together(contest: Contest, whole: Change, rules: tuple[str, ...]) -> Together | None:
    """The whole, or the one remedy that does better in its trial; None where nothing helped.

    A finding whose remedy helps only beside the others of the whole gets the trial that shows it.

    Args:
        contest: after its judging.
        whole: what belongs together; `rules`, the findings that it belongs to.
    """
    found = [
        Together(remedy, (finding.rule,), finding.trial)
        for finding, remedy in contest.parts
        if finding.trial is not None and finding.trial.helped
    ]
    trial = contest.trial(whole) if rules else None
    if trial is not None and (trial.helped or (trial.gain > 0 and not trial.decided)):
        if len(contest.whole) > 1:
            for part in contest.whole:
                _judge_beside(contest, part)
        found.insert(0, Together(whole, rules, trial))
    longest = max((one.trial.arms[0].epochs for one in found), default=0)
    found = [one for one in found if one.trial.arms[0].epochs == longest]
    return min(found, key=lambda one: one.trial.error, default=None)


def _judge_beside(contest: Contest, part: Part) -> None:
    """The trial of a part given the others, where alone it showed nothing."""
    finding, change = part
    if finding.trial is not None and finding.trial.helped:
        return
    rest = [p for p in contest.whole if p is not part]
    base, all_of_them = joined(rest), joined(contest.whole)
    for seed in range(SEEDS):
        for one in (base, all_of_them):
            contest.runner.run(one, seed, contest.share)
    given = tuple(other.title for _, other in rest)
    found = contest.trial(all_of_them, base, given)
    if found is not None and found.helped:
        finding.trial, finding.chosen = found, change
