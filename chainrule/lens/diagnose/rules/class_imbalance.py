"""class-imbalance: a rare class is never told, though the inputs tell it."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np

from chainrule.lens.diagnose import changes
from chainrule.lens.diagnose.case import Case
from chainrule.lens.diagnose.examine import Missing
from chainrule.lens.diagnose.finding import Finding, Measured
from chainrule.lens.diagnose.measure.probes import classes_of, interval, reach
from chainrule.lens.diagnose.rules.rule import Rule

RATIO = 4.0
"""From this ratio of the commonest to the rarest class on, classes are called unbalanced."""
LOST, FOUND = 0.35, 0.6
"""A recall below which a class is lost, and one from which on a probe has found it."""


class ClassImbalance(Rule):
    """The share of a class that is recognised (its recall), against a simple model whose scores are
    divided by the classes' shares: only a class that this finds, and the network does not, is lost
    to the imbalance."""

    name = "class-imbalance"
    stage = "deep"
    looks_at = "the recall of rare classes, against a probe that is balanced"

    def look(self, case: Case) -> Iterable[Finding]:
        setup = case.setup
        if setup.task == "real" or case.trained is None:
            raise Missing("the targets are no classes, or there was no run")
        labels = classes_of(setup.y)
        present, counts = np.unique(labels, return_counts=True)
        if len(present) < 2 or counts.max() < RATIO * counts.min():
            return
        said = _said(case, setup.x, present)
        if said is None:
            return
        found = reach(case)
        balanced = _balanced(found.best.scores, found.targets)
        truth = found.targets.argmax(1)
        own = said[found.rows]
        for i, c in enumerate(present):
            rare = counts[i] * RATIO <= counts.max()
            of = truth == i
            if not rare or of.sum() < 8:
                continue
            recall, _, high = interval((own[of] == c).astype(float), shares=True)
            reached, low, _ = interval((balanced[of] == i).astype(float), shares=True)
            precise = float(np.mean(of[balanced == i])) if (balanced == i).any() else 0.0
            if recall < LOST and high < reached and reached > FOUND and low > LOST:
                if precise < 3 * of.mean():
                    continue
                yield self._finding(case, c, counts[i] / counts.sum(), recall, reached, precise)

    def _finding(self, case: Case, c: int, share: float, recall: float, reached: float,
                 precise: float) -> Finding:  # fmt: skip
        names = case.setup.classes
        name = names[c] if 0 <= c < len(names) else str(c)
        return Finding(
            self.name,
            "data",
            f"class {name} has {share:.1%} of the rows, and the network recognises {recall:.0%} of "
            f"them; a simple model whose scores are divided by the classes' shares finds "
            f"{reached:.0%} of those that it was not fitted with",
            (
                Measured(f"recall of class {name}", recall, f"about {reached:.2f}"),
                Measured("recall of the balanced probe", reached, "",
                         f"precision {precise:.2f}; each row left out in turn"),
                Measured(f"share of class {name}", share, ""),
            ),
            f"the mean loss weighs the class by its share, {share:.3f}: a constant that ignores it "
            f"pays only −Σ p ln p of it, and its gradient is {1 / max(share, 1e-9):.0f} times "
            "smaller than with equal shares (Buda, Maki & Mazurowski, Neural Networks 2018)",
            "warning",
            0.6,
            (changes.balance_classes(), changes.train_longer(3)),
            explains=("too-few-steps", "not-learning"),
        )  # fmt: skip


def _said(case: Case, x: np.ndarray, present: np.ndarray) -> np.ndarray | None:
    """The class that the trained network gives each row."""
    outputs = case.framework.outputs(case.final_model, x)
    flat = np.asarray(outputs, dtype=np.float64).reshape(len(outputs), -1)
    if len(flat) != len(x) or not np.isfinite(flat).all():
        return None
    if flat.shape[1] == 1:
        cut = 0.5 if flat.min() >= 0 and flat.max() <= 1 else 0.0
        return (flat[:, 0] > cut).astype(np.int64)
    found: np.ndarray = flat.argmax(1)
    return found if present.max() < flat.shape[1] else None


def _balanced(scores: np.ndarray, targets: np.ndarray) -> np.ndarray:
    """The class with the largest score ÷ share: what would be said if all were equally common."""
    found: np.ndarray = (np.clip(scores, 0, None) / targets.mean(0)).argmax(1)
    return found
