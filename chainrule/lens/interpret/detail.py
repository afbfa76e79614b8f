"""Single rows in depth: what made the answer so, what would change it, which rows are alike."""

from __future__ import annotations

from typing import Any

import numpy as np

from chainrule.errors import DataError, DTypeError
from chainrule.lens.interpret.attribution import Attribution, attribute
from chainrule.lens.interpret.attribution.sanity import sanity
from chainrule.lens.interpret.case import Case
from chainrule.lens.interpret.counterfactual import flips
from chainrule.lens.interpret.images import grid, laid
from chainrule.lens.interpret.interpretation import Flip, Neighbour, Share, Why

BACKGROUND = 50
"""Training rows that stand for "nothing is known", of those that are there."""
MOST_SHARES = 12
"""So many parts of an input are named, the largest first."""
MOST_FOR_IMPORTANCE = 256
MOST_ASKED = 500_000
"""Rows that the network is asked about for the importance of columns, at most: of a method that
makes up many rows for each, fewer rows are taken."""
NEIGHBOURS = 3


def looked_into(
    case: Case, rows: list[int], method: str, seed: int
) -> tuple[dict[int, dict[str, Any]], list[tuple[str, float]]]:
    """({row: what a `Row` has of it}, [(column, mean |amount|)], the largest first)."""
    assert case.subject is not None
    x = case.asked.x
    assert x is not None
    columns = case.columns()
    names, groups = [name for name, _ in columns], [places for _, places in columns]
    options: dict[str, Any] = {
        "method": method, "baseline": _background(case, seed), "groups": groups, "seed": seed,
    }  # fmt: skip
    try:
        shares = attribute(case.subject, x[rows], **options)
    except DTypeError:  # whole numbers have no derivative
        options["method"] = "occlusion"
        shares = attribute(case.subject, x[rows], **options)
    depends, cells = _depends(shares), case.cells()
    neighbours, turned = _neighbours(case, rows), _flips(case, rows, groups, names)
    found: dict[int, dict[str, Any]] = {
        i: {
            "why": _why(case, shares, k, i, names, cells, depends),
            "neighbours": neighbours[k],
            "flip": turned[k],
        }
        for k, i in enumerate(rows)
    }
    each = (shares.notes["outputs"] + shares.notes["gradients"]) / len(rows)
    most = int(min(MOST_FOR_IMPORTANCE, max(len(rows), MOST_ASKED / each)))
    some = np.random.default_rng(seed).permutation(len(x))[:most]
    whole = attribute(case.subject, x[some], **options)
    mean = np.abs(whole.amounts).mean(0) * (case.view.scale[1] if case.real else 1.0)
    order = np.argsort(-mean, kind="stable")
    return found, [(names[j], float(mean[j])) for j in order]


def _background(case: Case, seed: int) -> np.ndarray:
    """Training rows, else held-out ones, else the mean of those asked about."""
    for part in (case.trained, case.held):
        if part is not None and part.x is not None:
            rows = np.random.default_rng(seed).permutation(len(part))[:BACKGROUND]
            return part.x[rows]
    assert case.asked.x is not None
    return case.asked.x.mean(0, keepdims=True).astype(case.asked.x.dtype)


def _depends(shares: Attribution) -> float | None:
    """The rank correlation of |amounts| with those after all weights were redrawn; None where that
    cannot be asked."""
    try:
        return sanity(shares, stages=1).correlation[-1]
    except DataError:
        return None


def _why(
    case: Case, shares: Attribution, k: int, row: int, names: list[str],
    cells: dict[str, list[str]], depends: float | None,
) -> Why:  # fmt: skip
    unit = case.view.scale[1] if case.real else 1.0
    shift = case.view.scale[0] if case.real else 0.0
    amounts = shares.amounts[k] * unit
    order = np.argsort(-np.abs(amounts), kind="stable")[:MOST_SHARES]
    outputs = case.asked.outputs[row]
    target = int(outputs.argmax()) if len(outputs) > 1 else 1
    what = {
        "values": "the answer", "logits": f"the logit of {_class(case, target)}",
        "log-odds": f"the log-odds of {_class(case, 1)}",
        "probabilities": f"the probability of {_class(case, target)}",
    }[case.reading]  # fmt: skip
    return Why(
        shares.method, what, float(shares.base[k] * unit + shift),
        float(shares.output[k] * unit + shift),
        tuple(
            Share(names[j], cells.get(names[j], [""] * (row + 1))[row], float(amounts[j]))
            for j in order
        ),
        float(shares.error[k] * unit), depends, shares.meaning, shares.not_meaning,
        _image(case, row, names, amounts), shares.complete,
    )  # fmt: skip


def _image(
    case: Case, row: int, names: list[str], amounts: np.ndarray
) -> tuple[np.ndarray, np.ndarray] | None:
    """(pixels, amounts), of a row that is an image."""
    assert case.asked.x is not None
    x = case.asked.x[row]
    found = grid(x.shape, names)
    if found is None or x.dtype.kind != "f":
        return None
    pixels = x.reshape(-1).astype(np.float64)
    if case.view.cells is not None:  # features are standardised, column by column
        cells = case.cells()
        pixels = np.array([float(cells[name][row] or "nan") for name in names])
    return laid(pixels, *found, float(np.nanmin(pixels))), laid(amounts, *found, 0.0)


def _class(case: Case, k: int) -> str:
    return case.classes[k] if k < len(case.classes) else str(k)


def _neighbours(case: Case, rows: list[int]) -> list[tuple[Neighbour, ...]]:
    """Training rows with the largest cosine in the last layer's features."""
    trained, subject = case.trained, case.subject
    assert subject is not None
    if trained is None or trained.x is None or case.asked.x is None:
        return [()] * len(rows)
    near, cosine = nearest(
        subject.features(case.asked.x[rows]), subject.features(trained.x), NEIGHBOURS
    )
    scale, shift = case.view.scale[1], case.view.scale[0]

    def label(j: int) -> str:
        if trained.y is None:
            return ""
        if case.real:
            return f"{trained.y[j] * scale + shift:.6g}"
        return case.classes[int(trained.y[j])]

    return [
        tuple(Neighbour(int(j), float(c), label(j)) for j, c in zip(js, cs, strict=True))
        for js, cs in zip(near, cosine, strict=True)
    ]


def nearest(features: np.ndarray, among: np.ndarray, count: int) -> tuple[np.ndarray, np.ndarray]:
    """(which rows of `among`, their cosine), (n, count) each, the nearest first.

    >>> near, cosine = nearest(np.array([[1.0, 0.0]]), np.array([[0.0, 2.0], [3.0, 0.0]]), 1)
    >>> near.tolist(), cosine.tolist()
    ([[1]], [[1.0]])
    """

    def unit(rows: np.ndarray) -> np.ndarray:
        length = np.sqrt((rows**2).sum(1, keepdims=True))
        return np.asarray(rows / np.where(length > 0, length, 1.0))

    cosine = unit(features) @ unit(among).T
    order = np.argsort(-cosine, axis=1, kind="stable")[:, :count]
    return order, np.take_along_axis(cosine, order, 1)


def _flips(
    case: Case, rows: list[int], groups: list[tuple[int, ...]], names: list[str]
) -> list[Flip | None]:
    """The smallest change that flips each answer, of classes."""
    if case.real or case.trained is None:
        return [None] * len(rows)
    return flips(case, rows, groups, names)
