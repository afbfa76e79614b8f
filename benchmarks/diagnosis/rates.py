"""Rates over records, and their intervals."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from math import sqrt

import numpy as np

from benchmarks.diagnosis.measuring import Record

Z = 1.959963984540054
DRAWS = 4000


@dataclass(frozen=True)
class Rate:
    """hits of cases, with Wilson's 95 % interval, and one whose clusters (bugs, kinds) are
    resampled as a whole: cases of one bug are no independent witnesses."""

    hits: int
    cases: int
    low: float
    high: float
    clusters: int
    cluster_low: float
    cluster_high: float

    @property
    def value(self) -> float:
        """The rate; NaN of no cases."""
        return self.hits / self.cases if self.cases else float("nan")

    def __str__(self) -> str:
        if not self.cases:
            return "–"
        return (
            f"{100 * self.value:.1f} % ({self.hits}/{self.cases}; {100 * self.low:.1f}–"
            f"{100 * self.high:.1f}; clustered {100 * self.cluster_low:.1f}–"
            f"{100 * self.cluster_high:.1f})"
        )


def wilson(hits: int, cases: int) -> tuple[float, float]:
    """Wilson's 95 % interval of a proportion (Wilson 1927): the p with |p̂ − p| ≤ z √(p(1−p)/n).

    >>> [round(v, 4) for v in wilson(9, 10)]
    [0.5958, 0.9821]
    """
    if not cases:
        return 0.0, 1.0
    p, z2 = hits / cases, Z * Z
    centre = (p + z2 / (2 * cases)) / (1 + z2 / cases)
    half = Z / (1 + z2 / cases) * sqrt(p * (1 - p) / cases + z2 / (4 * cases * cases))
    return max(0.0, centre - half), min(1.0, centre + half)


def clustered(hits: Sequence[bool], clusters: Sequence[str], seed: int = 0) -> tuple[float, float]:
    """A 95 % interval of the rate by resampling clusters; (rate, rate) if there is but one."""
    names = sorted(set(clusters))
    index = {name: i for i, name in enumerate(names)}
    won, of = np.zeros(len(names)), np.zeros(len(names))
    for hit, name in zip(hits, clusters, strict=True):
        won[index[name]] += hit
        of[index[name]] += 1
    drawn = np.random.default_rng(seed).integers(0, len(names), (DRAWS, len(names)))
    rates = won[drawn].sum(1) / of[drawn].sum(1)
    low, high = np.quantile(rates, (0.025, 0.975))
    return float(low), float(high)


def rate(records: Iterable[Record], hit: Callable[[Record], bool]) -> Rate:
    """How often something holds."""
    records = list(records)
    hits = [bool(hit(r)) for r in records]
    if not records:
        return Rate(0, 0, 0.0, 1.0, 0, 0.0, 1.0)
    clusters = [r.cluster for r in records]
    return Rate(
        sum(hits), len(hits), *wilson(sum(hits), len(hits)), len(set(clusters)),
        *clustered(hits, clusters),
    )  # fmt: skip


def first_right(record: Record) -> bool:
    """Whether the first finding names a right cause."""
    return bool(record.found) and record.found[0] in record.rules


def in_three(record: Record) -> bool:
    """Whether one of the first three does."""
    return bool(set(record.found[:3]) & set(record.rules))


WORDS = frozenset({"loss", "data", "optimizer", ""})
"""Places that are no layer and no parameter of the network."""


def placed(record: Record) -> bool:
    """Whether the first finding with a right cause points to a right place."""
    return _points(record, record.places)


def layer_named(record: Record) -> bool:
    """Whether it points to a right layer or parameter of the network."""
    return _points(record, set(record.places) - WORDS)


def located(record: Record) -> bool:
    """Whether the bug is in a layer or a parameter, and not in what trains it."""
    layers = set(record.places) - WORDS
    return record.in_network and bool(layers) and "optimizer" not in record.places


def _points(record: Record, places: Iterable[str]) -> bool:
    for finding in record.findings:
        if finding["severity"] != "advice" and finding["rule"] in record.rules:
            return _covers(finding["where"], places)
    return False


def _covers(where: str, places: Iterable[str]) -> bool:
    """A parameter is in its module; several places may stand with commas between."""
    named = [part.strip() for part in where.split(",")]
    return any(w == p or w.rpartition(".")[0] == p or p.rpartition(".")[0] == w != ""
               for w in named for p in places)  # fmt: skip


def static_found(record: Record) -> bool:
    """Whether a right cause was named before the first step."""
    return bool(set(record.first_static) & set(record.rules))


def degrades(record: Record) -> bool:
    """Whether the bug costs: the twin's error is smaller by a tenth of the bug's, and by 0.02."""
    return record.error - record.twin_error > max(0.02, 0.1 * record.error)


def regained(record: Record, error: float | None) -> bool:
    """Whether an error regains 80 % of the gap to the twin."""
    if error is None or not np.isfinite(error):
        return False
    return record.error - error >= 0.8 * (record.error - record.twin_error)


def same_first(records: Sequence[Record]) -> Rate:
    """Over seeds: how often a run's first finding is the commonest first finding of its variant."""
    by_label: dict[str, list[Record]] = {}
    for r in records:
        by_label.setdefault(r.label, []).append(r)
    common = {}
    for label, group in by_label.items():
        firsts = [r.found[0] if r.found else "" for r in group]
        common[label] = max(set(firsts), key=lambda f: (firsts.count(f), f))
    several = [r for r in records if len(by_label[r.label]) > 1]
    return rate(several, lambda r: (r.found[0] if r.found else "") == common[r.label])
