"""From runs to a trial: the same seeds, the same rows, with and without a change."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np

from chainrule.lens.diagnose.finding import Change
from chainrule.lens.diagnose.trials.randomly import random_change
from chainrule.lens.diagnose.trials.running import Outcome, Runner
from chainrule.lens.diagnose.trials.trial import Arm, Trial, gain_of, helps

SEEDS = 3
ENOUGH = 0.5
"""The share of a run after which one can say that a remedy does not help."""


def pairs_of(
    runner: Runner, base: Change, remedy: Change, share: float
) -> dict[int, tuple[Outcome, Outcome]]:
    """Seed → what came out (without, with), of the seeds that both were run at."""
    found = {}
    for seed in range(SEEDS):
        without, with_it = (runner.known(change, seed, share) for change in (base, remedy))
        if without is not None and with_it is not None:
            found[seed] = (without, with_it)
    return found


def compared(
    runner: Runner,
    base: Change,
    remedy: Change,
    share: float,
    *,
    remedies: Iterable[Change],
    others: Sequence[Arm] = (),
    given: tuple[str, ...] = (),
) -> Trial | None:
    """The trial of a remedy against `base` and random changes, of the runs that there are.

    `remedies` are those that no random change may resemble, `others` further arms to show.
    """
    pairs = pairs_of(runner, base, remedy, share)
    if not pairs:
        return None
    before, after = ([pair[i].rows for pair in pairs.values()] for i in (0, 1))
    gain, low, high = gain_of(before, after)
    remedies = tuple(remedies)
    randoms = {seed: random_change(runner, seed, remedies) for seed in pairs}
    by_chance = {
        seed: outcome
        for seed, change in randoms.items()
        if change is not None and (outcome := runner.known(change, seed, share)) is not None
    }
    titles = "; ".join(dict.fromkeys(c.title for s, c in randoms.items() if c and s in by_chance))
    arms = (
        arm("no change", {s: p[0] for s, p in pairs.items()}, runner.epochs(base, share)),
        *(
            [arm(f"random change: {titles}", by_chance, runner.epochs(base, share))]
            * bool(by_chance)
        ),
        arm(remedy.title, {s: p[1] for s, p in pairs.items()}, runner.epochs(remedy, share)),
        *others,
    )
    against = [outcome.error - pairs[seed][1].error for seed, outcome in by_chance.items()]
    helped = helps(before, after)
    return Trial(
        arms,
        gain,
        low,
        high,
        float(np.mean(against)) if against else 0.0,
        helped,
        sum(one.seconds for one in arms),
        given,
        helped or (share >= ENOUGH and len(pairs) > 1),
    )


def arm(title: str, outcomes: dict[int, Outcome], epochs: int) -> Arm:
    """An arm of these runs."""
    return Arm(
        title,
        tuple(outcome.error for outcome in outcomes.values()),
        tuple(outcomes),
        epochs,
        sum(outcome.seconds for outcome in outcomes.values()),
    )
