"""leakage: held-out rows that are among the training rows; a column that is the target."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np

from chainrule.lens.diagnose import changes
from chainrule.lens.diagnose.case import Case
from chainrule.lens.diagnose.finding import Finding, Measured
from chainrule.lens.diagnose.measure.duplicates import (
    CHANCE,
    ColumnPower,
    Overlap,
    overlap_of,
    strongest_column,
)
from chainrule.lens.diagnose.measure.probes import targets_of
from chainrule.lens.diagnose.rules.rule import Rule

SHARE, ROWS = 0.05, 5
COLUMNS = 3
"""With fewer columns, one that tells the target is the task."""


class Leakage(Rule):
    """What is measured on held-out rows is only worth something if they are new, and if nothing
    stands among the inputs that will not be known when the network is used (Kapoor & Narayanan,
    Patterns 2023).

    Rows that are equal by chance, because the columns take few values, are no leak: the number of
    equal pairs to be expected if the columns were independent is n·m·Π_j Σ_v p_jv².
    """

    name = "leakage"
    stage = "deep"
    looks_at = "held-out rows that are among the training rows; columns that are the target"

    def look(self, case: Case) -> Iterable[Finding]:
        setup = case.setup
        overlap = overlap_of(setup.x, setup.x_held)
        if overlap.by_chance < CHANCE and overlap.across >= SHARE and len(overlap.held) >= ROWS:
            yield _shared(case, overlap)
        flat = np.asarray(setup.x).reshape(len(setup.x), -1)
        if flat.dtype.kind not in "biuf" or flat.shape[1] < COLUMNS or len(flat) < 50:
            return
        if not np.isfinite(flat).all() or _gives_itself_back(setup.x, setup.y):
            return
        classes = setup.task != "real"
        rows = np.random.default_rng(1).permutation(len(flat))[:2000]
        found = strongest_column(flat[rows], targets_of(setup.y[rows], setup.task), classes=classes)
        if found.copy:
            yield _given_away(case, found)


def _gives_itself_back(x: np.ndarray, y: np.ndarray) -> bool:
    """Whether the targets are the inputs (an autoencoder), or a part of them."""
    return np.asarray(y).reshape(len(y), -1).shape[1] > 1 and x.size == np.asarray(y).size


def _shared(case: Case, overlap: Overlap) -> Finding:
    setup = case.setup
    everything = overlap.across == 1.0 and len(setup.x_held) == len(setup.x)
    share, count = overlap.across, len(overlap.held)
    said = (
        "the held-out rows are the training rows: what is measured on them says nothing about new "
        "ones"
        if everything
        else f"{count} of {len(setup.x_held)} held-out rows ({share:.0%}) are among the training "
        "rows, bit for bit"
    )
    pairs = list(zip(overlap.held[:4].tolist(), overlap.train[:4].tolist(), strict=True))
    return Finding(
        Leakage.name,
        "data",
        said,
        (
            Measured("share of held-out rows that equal a training row", share, "0",
                     ", ".join(f"held-out {h} = training {t}" for h, t in pairs)),
            Measured("share of training rows that equal another one", overlap.within, "0"),
            Measured("equal pairs expected by chance", overlap.by_chance, f"below {CHANCE:g}"),
        ),
        f"a network that learns rows by heart is right on {share:.0%} of these held-out rows "
        "whatever it does on new ones: held-out error ≈ (1 − share)·true error + share·training "
        "error. The usual causes: rows were repeated (to balance classes, to augment) before the "
        "split, or the split draws with replacement; split first",
        # Nobody gives the training rows as held-out rows by accident of a split.
        "advice" if everything else "warning",
        0.3 if everything else 0.9,
        () if everything else (
            changes.drop_rows(np.flatnonzero(_is_held(setup.x, setup.x_held)).tolist(),
                              "they are held-out rows too"),
        ),
    )  # fmt: skip


def _is_held(x: np.ndarray, x_held: np.ndarray) -> np.ndarray:
    found = np.zeros(len(x), dtype=bool)
    found[overlap_of(x_held, x).held] = True
    return found


def _given_away(case: Case, found: ColumnPower) -> Finding:
    setup = case.setup
    name = setup.columns[found.column] if found.column < len(setup.columns) else ""
    called = f"column {name!r}" if name else f"column {found.column}"
    how = (
        "an affine function of the target"
        if setup.task == "real"
        else "a code of the class: one value for each, or hardly more"
    )
    return Finding(
        Leakage.name,
        name or f"column {found.column}",
        f"{called} gives the target away: it is {how}",
        (
            Measured(f"share of the target that {called} alone explains", found.power, "below 1",
                     f"{min(len(setup.x), 2000)} rows"),
        ),
        "a column that determines the target exactly is a copy of it, or was recorded after it: "
        "the network learns to read it and nothing else, and will not have it where it is used "
        "(Kaufman et al., Leakage in Data Mining, TKDD 2012)",
        "warning",
        0.9,
        (changes.remove_column(found.column),) if setup.x.ndim == 2 else (),
    )  # fmt: skip
