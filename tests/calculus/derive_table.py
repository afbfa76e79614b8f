"""The table of textbook derivatives that `cr.derive` reproduces.

`python -m tests.calculus.derive_table` writes it as docs/derivatives.md.
"""

from __future__ import annotations

import sys
from functools import cache
from pathlib import Path
from typing import Any

from chainrule.calculus.derive import Derived, derive
from tests.calculus import derive_likelihoods, derive_matrices, derive_networks
from tests.calculus.derive_drawing import Row

PAGE = Path(__file__).parents[2] / "docs" / "derivatives.md"

PARTS: dict[str, list[Row]] = {
    "Linear and quadratic forms": derive_matrices.FORMS,
    "Norms, least squares, quotients": derive_matrices.NORMS,
    "Traces": derive_matrices.TRACES,
    "Determinants and inverses": derive_matrices.INVERSES,
    "Functions of probabilities": derive_likelihoods.FUNCTIONS,
    "Log-likelihoods": derive_likelihoods.LIKELIHOODS,
    "Losses with their links": derive_likelihoods.LINKS,
    "Activations": derive_networks.ACTIVATIONS,
    "Layers": derive_networks.LAYERS,
    "Normalisation": derive_networks.NORMALISATION,
    "Attention": derive_networks.ATTENTION,
    "Convolution": derive_networks.CONVOLUTION,
    "Steps of optimisers": derive_networks.STEPS,
}
ROWS: list[Row] = [row for rows in PARTS.values() for row in rows]
NOT_TEXTBOOK: list[Row] = [row for row in ROWS if not row.textbook]

HEAD = """\
# A table of derivatives

Each derivative in this table was made by [`cr.derive`](derive.md) from the function as it runs, and
is compared by the suite with the textbook's formula, written in NumPy, and with `cr.grad`,
`cr.jacobian` or `cr.hessian`, at 20 random points to 1e-10. MC is Petersen and Pedersen, The Matrix
Cookbook, 2012. The page is written by `python -m tests.calculus.derive_table`.
"""
COLUMNS = "| function | in | derivative | the textbook writes | rules | source |"


@cache
def derived(row: Row) -> Derived:
    """The derivative of a row, as a formula."""
    found: Any = derive(row.f, row.arguments(0), wrt=row.wrt, order=row.order)
    return found


def text(found: Derived) -> str:
    """A formula on one line: the matrix form where there is one, and what its names stand for."""
    formula = found.index if found.matrix is None else found.matrix
    return f"{formula} where {found.where}" if found.where else formula


def line(row: Row) -> str:
    """A row of the page."""
    found = derived(row)
    book = f"`{row.book}`" if row.book else "the same"
    cells = [row.name, row.wrt, f"`{text(found)}`", book, "; ".join(found.rules), row.source]
    return "| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |"


def page() -> str:
    """The page, from nothing."""
    parts = [HEAD]
    for name, rows in PARTS.items():
        table = [COLUMNS, "|" + "---|" * COLUMNS.count(" |"), *(line(row) for row in rows)]
        parts.append(f"## {name}\n\n" + "\n".join(table) + "\n")
    return "\n".join(parts)


if __name__ == "__main__":
    PAGE.write_text(page())
    sys.stdout.write(f"{PAGE}: {len(ROWS)} rows, {len(NOT_TEXTBOOK)} not as a textbook has them\n")
