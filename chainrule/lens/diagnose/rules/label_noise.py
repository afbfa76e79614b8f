"""label-noise: a share of the labels contradicts what the rows say."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np

from chainrule.lens.diagnose import changes
from chainrule.lens.diagnose.case import Case
from chainrule.lens.diagnose.examine import Missing
from chainrule.lens.diagnose.finding import Finding, Measured
from chainrule.lens.diagnose.measure.confident import Noise, noise_of
from chainrule.lens.diagnose.measure.probes import ROWS, Reach, classes_of, reach, reach_of
from chainrule.lens.diagnose.rules.rule import Rule

SHARE, AT_LEAST = 0.08, 0.04
"""The share of wrong labels from which on they are spoken of, and the least lower bound of it."""
TREND, AMONG = 1.645, 0.6
"""The trend that flipped labels have in one of 20 cases; flagged rows whose nearest rows bear the
other label ÷ the share that flips would give."""
MOST_ROWS = 2400
"""So many rows are looked through for wrong labels once there are some."""


class LabelNoise(Rule):
    """Labels that are wrong, as opposed to rows that lie between classes.

    Out-of-fold probabilities of a kernel ridge regression (each row left out in turn) and the
    confident joint (Northcutt, Jiang & Chuang, JAIR 2021). Rows far from every boundary have the
    label that their surroundings have, unless labels were flipped: the share of disagreement among
    the half of the rows with the clearest surroundings, and among the clearest quarter too, is the
    share of noise.
    """

    name = "label-noise"
    stage = "deep"
    looks_at = "labels that contradict their rows far from any boundary, out of fold"

    def look(self, case: Case) -> Iterable[Finding]:
        if case.setup.task == "real":
            raise Missing("the targets are no classes")
        found = reach(case)
        # Where the rows hardly say anything of the labels, none can contradict them.
        if found.error > 0.85:
            return
        noise = _noise(found)
        if noise is None or not _is_noise(noise):
            return
        rows, better = _everywhere(case, found, noise)
        yield Finding(
            self.name,
            "data",
            f"about {noise.share:.0%} of the labels are wrong ({noise.low:.0%} to "
            f"{noise.high:.0%}): they contradict rows whose surroundings are clear",
            (
                Measured("labels that disagree among the clearest half of the rows", noise.share,
                         "below 0.04", f"{noise.low:.3f} to {noise.high:.3f} (95 %)"),
                Measured("the same among all rows", noise.overall,
                         "well above it where classes overlap"),
                Measured("the same among the clearest quarter", noise.surest,
                         "0 if classes merely overlap"),
                Measured("flagged rows whose 10 nearest rows bear the other label",
                         noise.neighbours, f"{noise.expected:.2f} if labels were flipped",
                         "at least 7 of 10"),
                Measured("rows that are likely mislabelled", len(rows), "0",
                         _examples(rows, better, case)),
            ),
            "with a share ρ of labels flipped, no network can have a held-out error below ρ, and "
            "fitting them costs capacity: the training loss goes below the entropy of the noise, "
            f"H(ρ) = {_entropy(noise.share):.2f} nats, only by learning {noise.share:.0%} of the "
            "rows by heart, late in training (Arpit et al., ICML 2017; confident joint: Northcutt "
            "et al., JAIR 2021)",
            "warning",
            0.85,
            (changes.drop_rows(rows.tolist(), "their labels contradict their surroundings"),
             changes.stop_early()) if len(rows) else (changes.stop_early(),),
            explains=("overfit", "capacity-too-small", "too-few-steps", "batch-size",
                      "conflicting-labels"),
        )  # fmt: skip


def _noise(found: Reach) -> Noise | None:
    if found.targets.shape[1] < 2:
        return None
    return noise_of(found.best.scores, found.targets.argmax(1), found.features)


def _is_noise(noise: Noise) -> bool:
    return (
        noise.share >= SHARE
        and noise.low >= AT_LEAST
        and noise.surest >= SHARE
        # Flipped labels are as common far from a boundary as anywhere; where classes overlap, the
        # clearer the surroundings are, the fewer labels disagree.
        and noise.share >= 0.6 * noise.overall
        and noise.surest >= 0.5 * noise.overall
        and noise.trend < TREND
        # A flipped label lies among rows that agree with one another but for other flips; where
        # classes overlap, a label that seems wrong lies near a boundary, among either kind.
        and noise.neighbours >= AMONG * noise.expected
        # Rows that lie beside each other with either label are no mistakes, but a hard problem.
        and noise.share < 0.45
    )


def _everywhere(case: Case, found: Reach, noise: Noise) -> tuple[np.ndarray, np.ndarray]:
    """(positions in the training rows, likelier classes) of the labels that are likely wrong: in
    the rows that were probed, and in the others as far as the time allows."""
    present = np.unique(classes_of(found.y))
    rows, better = [found.rows[noise.rows]], [present[noise.better]]
    others = np.setdiff1d(np.arange(len(case.setup.x)), found.rows)[: MOST_ROWS - len(found.rows)]
    others = np.random.default_rng(7).permutation(others)
    for part in np.array_split(others, max(1, round(len(others) / ROWS))):
        if case.time_left < 1 or len(part) < 100:
            break
        more = reach_of(case.setup.x[part], case.setup.y[part], case.setup.task, part)
        seen = _noise(more)
        if seen is not None:
            rows.append(part[seen.rows])
            better.append(np.unique(classes_of(more.y))[seen.better])
    return np.concatenate(rows), np.concatenate(better)


def _examples(rows: np.ndarray, better: np.ndarray, case: Case) -> str:
    y = classes_of(case.setup.y)
    few = ", ".join(
        f"row {case.setup.row(r)}: {y[r]} → {b}" for r, b in zip(rows[:4], better[:4], strict=True)
    )
    return f"{few}{' …' if len(rows) > 4 else ''}"


def _entropy(share: float) -> float:
    return float(-share * np.log(share) - (1 - share) * np.log(1 - share))
