"""Shapley values: what each part adds, averaged over all orders of adding parts."""

from __future__ import annotations

import math

import numpy as np

from chainrule.errors import DataError
from chainrule.lens.interpret.attribution.attribute import Asked, Attribution

EXACT = 12
"""Up to so many groups all 2^g coalitions are asked."""


def attribution(asked: Asked, orders: int = 100) -> Attribution:
    """φ_g = Σ_S |S|! (G − |S| − 1)! / G! · (v(S ∪ g) − v(S)), v(S) = mean over the background rows
    b of F(x on S, b elsewhere) (Shapley 1953; Lundberg, Lee 2017, eq. 4).

    With up to 12 groups all coalitions are asked; else so many random orders, each forwards and
    backwards (Mitchell et al. 2022), and the standard errors are in the notes.

    Args:
        orders: random orders, where not all coalitions are asked.
    """
    if not isinstance(orders, int) or orders < 4:
        raise DataError(f"orders is {orders!r}; it is a whole number from 4 on")
    asked.require_few_parts()
    count = len(asked.groups)
    if count <= EXACT:
        amounts, notes = _exact(asked, count), {"coalitions": 2**count}
    else:
        amounts, error = _sampled(asked, count, orders)
        notes = {"orders": orders, "standard error": error.tolist()}
    return Attribution(
        "shapley", asked.spread(amounts), asked.outputs, asked.background,
        "what this part adds to the output on average over all orders in which the parts may "
        "become known; the shares add up to the output less that of the background",
        "parts are replaced by those of other rows, which may make rows that do not exist; with "
        "columns that go together it is no statement about what would happen if one were changed",
        complete=True, notes=notes,
    )  # fmt: skip


def _exact(asked: Asked, count: int) -> np.ndarray:
    codes = np.arange(2**count)
    coalitions = ((codes[:, None] >> np.arange(count)) & 1).astype(bool)
    worth, sizes = asked.worth(coalitions), coalitions.sum(1)
    weights = np.array([1 / (count * math.comb(count - 1, s)) for s in range(count)])
    amounts = np.empty((len(asked.x), count))
    for g in range(count):
        without = codes[~coalitions[:, g]]
        gains = worth[:, without | (1 << g)] - worth[:, without]
        amounts[:, g] = gains @ weights[sizes[without]]
    return amounts


def _sampled(asked: Asked, count: int, orders: int) -> tuple[np.ndarray, np.ndarray]:
    """(amounts, standard errors), each (n, groups)."""
    rng = np.random.default_rng(asked.seed)
    pairs = orders // 2
    each = np.empty((pairs, len(asked.x), count))
    for p in range(pairs):
        order = rng.permutation(count)
        each[p] = (_gains(asked, order) + _gains(asked, order[::-1])) / 2
    error: np.ndarray = each.std(0, ddof=1) / np.sqrt(pairs)
    return each.mean(0), error


def _gains(asked: Asked, order: np.ndarray) -> np.ndarray:
    """(n, groups): what each group adds when they become known in this order."""
    place = np.argsort(order)
    worth = asked.worth(np.arange(len(order) + 1)[:, None] > place)
    found: np.ndarray = np.diff(worth, axis=1)[:, place]
    return found
