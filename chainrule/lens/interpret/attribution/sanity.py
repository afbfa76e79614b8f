"""The sanity check of an attribution: does it depend on the network's weights at all?"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from chainrule.errors import DataError
from chainrule.lens.interpret.attribution.attribute import Attribution

SAME = 0.7
"""A rank correlation above this means that half of what orders the parts (ρ² = 0.49) is there
without the weights that were learnt."""
STAGES = 5
"""So many stages of the cascade, at most."""
DRAWS = 3
"""So many times the weights are drawn, of which the mean is taken."""
FEWEST = 3
"""Of fewer parts a rank correlation says nothing."""


@dataclass(frozen=True)
class Sanity:
    """How alike amounts stay when the weights are drawn anew, from the output's layer on down.

    Attributes:
        layers: (stages,), how many layers were redrawn, the last first.
        correlation: (stages,), the mean over rows and draws of Spearman's rank correlation of
            |amounts|, before and after.
        depends: whether the amounts depend on the weights: with all layers redrawn the correlation
            is at most 0.7.
    """

    layers: tuple[int, ...]
    correlation: tuple[float, ...]

    @property
    def depends(self) -> bool:
        return self.correlation[-1] <= SAME

    @property
    def sentence(self) -> str:
        """What was found, in words."""
        found = f"With all weights redrawn the order of the parts correlates by " \
                f"{self.correlation[-1]:.2f} with what it was"  # fmt: skip
        if self.depends:
            return f"{found}: the attribution depends on what the network learnt."
        return (
            f"{found}: the attribution does not depend on the weights, and so says little of what "
            "the network learnt."
        )

    def to_dict(self) -> dict[str, Any]:
        return {
            "layers": list(self.layers), "correlation": list(self.correlation),
            "depends": self.depends, "sentence": self.sentence,
        }  # fmt: skip


def sanity(found: Attribution, stages: int = STAGES) -> Sanity:
    """The check of Adebayo et al. 2018 (§ 3.1, cascading randomisation), by rank correlation.

    A layer's weights are put in another order, by which their distribution stays what it is.

    Args:
        stages: of the cascade, at most; with 1 all layers are redrawn at once.

    Raises:
        DataError: fewer than three parts, no weights, or amounts that are all alike.
    """
    assert found.subject is not None
    assert found.again is not None
    paths, count = found.subject.layers(), len(found.groups)
    if not paths:
        raise DataError("the network has no weights that could be redrawn")
    if count < FEWEST:
        raise DataError(f"of {count} parts a rank correlation says nothing; {FEWEST} are needed")
    counts = np.unique(np.linspace(len(paths), 1, min(stages, len(paths))).round().astype(int))
    correlations = []
    for redrawn in counts:
        others = [found.again(found.subject.randomised(paths[-redrawn:], s)) for s in range(DRAWS)]
        values = [_correlation(np.abs(found.amounts), np.abs(other.amounts)) for other in others]
        correlations.append(float(np.mean(values)))
    return Sanity(tuple(int(k) for k in counts), tuple(correlations))


def _correlation(before: np.ndarray, after: np.ndarray) -> float:
    """The mean over the rows of Spearman's; a row whose amounts are all alike has no order: 0."""
    a, b = _ranks(before), _ranks(after)
    size = np.sqrt((a**2).sum(1) * (b**2).sum(1))
    found: np.ndarray = (a * b).sum(1) / np.where(size > 0, size, 1.0)
    return float(found.mean())


def _ranks(amounts: np.ndarray) -> np.ndarray:
    """Ranks in each row about their mean; equal ones share the mean of theirs."""
    found = np.empty(amounts.shape)
    for row, ranks in zip(amounts, found, strict=True):
        _, which, count = np.unique(row, return_inverse=True, return_counts=True)
        ranks[:] = (np.cumsum(count) - (count - 1) / 2)[which]
    return np.asarray(found - found.mean(1, keepdims=True))
