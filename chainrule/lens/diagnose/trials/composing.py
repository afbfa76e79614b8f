"""Which remedies belong together: a fault often hides behind another one, so that mending one alone
shows nothing."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from chainrule.lens.diagnose.changes.combining import combine
from chainrule.lens.diagnose.examine import SURE
from chainrule.lens.diagnose.finding import Change, Finding
from chainrule.lens.diagnose.trials.randomly import families
from chainrule.lens.diagnose.trials.running import NO_CHANGE, Runner
from chainrule.lens.diagnose.trials.trial import LEAST_GAIN, LEAST_SHARE

Part = tuple[Finding, Change]
BAD = 0.1
"""An error above which it is worth looking for a fault besides those that are mended."""


def joined(parts: Sequence[Part]) -> Change:
    """The changes of all parts as one."""
    changes = [change for _, change in parts] or [NO_CHANGE]
    return changes[0] if len(changes) == 1 else combine(*changes)


def composed(runner: Runner, candidates: Sequence[Part], share: float) -> list[Part]:
    """The parts whose changes together have the smallest error, as far as the time allows.

    Coordinate descent: the coordinates are the kinds of things that can be changed (rate, first
    weights, activation, …). It begins with the remedy that mends the run alone, or else with that
    of a proven contradiction, whatever it shows alone; then one remedy after the other, those first
    that helped alone, takes the place of what there is of its kind, and stays if the error falls.
    While the error is large this goes on until nothing is left that helps, and where no single step
    helps, all at once are tried.

    Args:
        runner: runs each composition at seed 0.
        candidates: in the order of the findings, and the remedies of each in order of belief.
        share: of the run's length.
    """
    return _Descent(runner, candidates, share).parts()


class _Descent:
    def __init__(self, runner: Runner, candidates: Sequence[Part], share: float) -> None:
        self.runner, self.share = runner, share
        kinds: dict[str, Part] = {}
        for part in candidates:
            kinds.setdefault(part[1].kind, part)
        self.candidates = list(kinds.values())
        self.chosen: list[Part] = []
        self.error = self._error([])

    def parts(self) -> list[Part]:
        before = self.error
        alone = {id(part): self._error([part], known=True) for part in self.candidates}
        order = sorted(self.candidates, key=lambda part: alone[id(part)] >= before)
        best = [part for part in order if alone[id(part)] == min(alone.values()) < BAD]
        proven = [p for p in order if p[0].severity == "error" and p[0].strength >= SURE]
        for part in best + proven:
            error = self._error([part])
            if error < np.inf:
                self.chosen, self.error = [part], error
                break
        moving = True
        while moving:
            moving = False
            for part in order:
                if self.error >= BAD or alone[id(part)] < before:
                    moving |= self._accepts(self._with(self.chosen, part))
            if self.error < BAD:
                break
            if not moving and self._accepts(self._everything()):
                self._prune()
                moving = True
        return self.chosen

    def _error(self, parts: Sequence[Part], *, known: bool = False) -> float:
        look = self.runner.known if known else self.runner.run
        outcome = look(joined(parts), 0, self.share)
        return np.inf if outcome is None else outcome.error

    def _with(self, chosen: Sequence[Part], part: Part) -> list[Part]:
        """With this part in the place of those that change the same kind of thing."""
        kept = [p for p in chosen if not families(p[1]) & families(part[1])]
        return [p for p in self.candidates if p is part or any(p is k for k in kept)]

    def _everything(self) -> list[Part]:
        """What was chosen, and of each finding the first remedy that goes with it."""
        found = list(self.chosen)
        for part in self.candidates:
            if not any(families(p[1]) & families(part[1]) or p[0] is part[0] for p in found):
                found = self._with(found, part)
        return found

    def _accepts(self, attempt: list[Part]) -> bool:
        error = self._error(attempt)
        better = error < self.error - max(LEAST_GAIN, LEAST_SHARE * self.error)
        if better:
            self.chosen, self.error = attempt, error
        return better

    def _prune(self) -> None:
        """Without the parts that are not missed."""
        for part in list(self.chosen):
            rest = [p for p in self.chosen if p is not part]
            error = self._error(rest) if rest else np.inf
            if error < self.error + max(LEAST_GAIN, LEAST_SHARE * self.error):
                self.chosen, self.error = rest, error
