"""too-few-steps: the run ended while it was still learning."""

from __future__ import annotations

from collections.abc import Iterable

from chainrule.lens.diagnose import changes
from chainrule.lens.diagnose.case import Case
from chainrule.lens.diagnose.finding import Finding, Measured
from chainrule.lens.diagnose.measure.learning import learning
from chainrule.lens.diagnose.measure.rates import best_rate, tried, unless_explained
from chainrule.lens.diagnose.rules.rule import Rule

LONGER = 5
HANDFUL = 100


class TooFewSteps(Rule):
    """The training rows are not fitted, and the same run five times as long fits them and the
    held-out rows far better."""

    name = "too-few-steps"
    stage = "deep"
    looks_at = "whether the loss was still falling at the end, and would have gone on"

    def look(self, case: Case) -> Iterable[Finding]:
        how = learning(case)
        if how is None or how.broken or not how.unfinished:
            return
        if how.fall < 0.1 and how.error < 0.5:
            return  # it has come to rest: a plateau is another matter only far from what can be had
        unless_explained(case)
        longer = tried(case, changes.train_longer(LONGER), LONGER)
        if longer is None or not how.worse_than(longer.error, longer.held_out):
            return
        steps = how.steps
        yield Finding(
            self.name,
            "optimizer",
            f"{steps} steps are too few: training rows end at an error of {how.error:.3g} (1 is a "
            f"constant's), and after {longer.steps} steps it is {longer.error:.3g}",
            (
                Measured("steps", steps),
                Measured("loss at the end", how.end),
                *(() if not how.fall else (
                    Measured("fall that as many steps again promise ÷ the loss", how.fall,
                             "below 0.1", "trend of the last third"),
                )),
                Measured(f"loss after {longer.steps} steps", longer.end, "", "same seed"),
                Measured(f"held-out error after {longer.steps} steps", longer.held_out,
                         f"{how.held_out:.3g} now"),
            ),
            f"the loss still falls at the end: by {100 * how.fall:.3g} % of what is left in as "
            "many steps again, if the trend of the last third goes on"
            if how.fall else
            f"{how.steps} steps brought the loss from {how.start:.3g} to {how.end:.3g}, and "
            f"{longer.steps} bring it to {longer.end:.3g}: the end only looks flat (a schedule "
            "that ends near 0, or noise)",
            how.severity,
            # Where another rate gets much further in as many steps, the rate is the likelier fault,
            # unless they are a handful.
            0.45 if steps > HANDFUL and best_rate(case) < 0.5 * longer.error else 0.6,
            (changes.train_longer(LONGER), changes.set_rate(case.setup.rate * 3 or 1e-3)),
            explains=("not-learning", "capacity-too-small"),
        )  # fmt: skip
