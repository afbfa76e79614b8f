"""A row that was looked up in a table, and its neighbours."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from chainrule.errors import BoundsError
from chainrule.lens.explain.derivation import Check, Element, Section, Step, Symbols
from chainrule.lens.explain.questions.picking import labels, units, within
from chainrule.lens.explain.record import Recorded
from chainrule.lens.explain.remark import Remark, quoted, remarked
from chainrule.lens.explain.statement import Recomputed, stated
from chainrule.lens.explain.steps.forward import furthest, renamed
from chainrule.ops.notation import parse
from chainrule.tensor.graph import Node

SHOWN = 5
"""How many neighbours are written out."""


def lookup(
    recorded: Recorded, node: Node, unit: object, row: int, inputs: Sequence[str] | None
) -> Section:
    """The row of a table that an index looked up, and its nearest neighbours."""
    assert node.saved is not None
    assert node.value is not None
    ids, table = (np.asarray(v) for v in node.saved[:2])
    inputs = labels(inputs, len(table), f"the rows of {recorded.names.of(node.saved[1])}")
    called = recorded.names.of(node.saved[0]), recorded.names.of(node.saved[1])
    place = units(row) if ids.ndim == 1 and units(unit) == (0,) else (*units(row), *units(unit))
    if len(place) != ids.ndim and units(row) == (0,):
        place = units(unit)
    if len(place) != ids.ndim:
        raise BoundsError(
            f"{called[0]} has the shape {ids.shape}: a place in an example is "
            f"{ids.ndim - 1} numbers, and {unit!r} was given"
        )
    place = within(called[0], ids.shape, place)
    found = int(ids[place])
    label = f"{recorded.name(node)}[{', '.join(map(str, (*place, '…')))}]"
    word = "" if inputs is None else f", {quoted(repr(inputs[found]))}"
    looked_up = Step(
        name=label,
        title=f"{label}: the row of {called[1]} that {called[0]} names",
        operation="embedding",
        operands=called,
        rule="a row is looked up",
        formula=Symbols(node.op.formula),
        named=Symbols(node.op.formula, renamed(node.op, node, recorded.names)),
        value=node.value[place],
        module=(node.scope.describe() if node.scope is not None else ""),
        claims=(Recomputed("the row of the table", table[found], 0.0),),
    )
    looked_up = remarked(
        looked_up,
        Remark(
            f"{quoted(called[0])} has the index {{}} here{word}", (found,),
            lambda _: (float(ids[place]),),
        ),
    )  # fmt: skip
    parts = [looked_up]
    if len(table) > 1 and np.any(table[found]):
        parts.append(_neighbours(table, found, called[1], inputs))
    return Section(
        f"{label} of {(node.scope.describe() if node.scope is not None else '')}",
        tuple(parts),
        summary=looked_up.title,
    )


def _neighbours(
    table: np.ndarray, found: int, called: str, inputs: Sequence[str] | None
) -> Step:  # fmt: skip
    """The rows that point most nearly the same way."""
    rows = table.astype(np.float64)
    lengths = np.linalg.norm(rows, axis=1)
    dots = rows @ rows[found]
    known = {"d": dots, "n": np.where(lengths > 0, lengths, np.inf), "m": lengths[found]}
    step = stated(
        "cosine",
        f"How near the other rows of {called} are to row {found}: the cosine of the angle",
        "y[i] = d[i] / (n[i] · m)",
        known,
        (len(table),),
        names={"d": f"{called} · row {found}", "n": "length", "m": f"length[{found}]"},
        rule="cosine of two vectors: their product over both lengths",
        claims=(CosineClaim(rows, found),),
    )
    assert step.value is not None
    order = [int(i) for i in np.argsort(-step.value, kind="stable") if i != found][:SHOWN]
    formula, sources = parse("y[i] = d[i] / (n[i] · m)"), step.elements[0].sources
    nearest = tuple(Element((i,), formula.instantiate(known, (i,)), sources) for i in order)
    names = () if inputs is None else tuple(f"row {i} is {inputs[i]!r}" for i in order)
    return replace(step, elements=nearest, notes=(*step.notes, *names))


@dataclass(frozen=True, eq=False)
class CosineClaim:
    """That the cosine of two vectors is 1 − d² / 2, where d is how far apart they lie when both are
    brought to the length 1; 0 with a row of zeros."""

    rows: np.ndarray
    found: int

    def check(self, step: Step) -> Check:
        assert step.value is not None
        squares = np.einsum("ij,ij->i", self.rows, self.rows)
        units = self.rows / np.sqrt(np.where(squares > 0, squares, 1.0))[:, None]
        apart = ((units - units[self.found]) ** 2).sum(axis=1)
        exact = np.where(squares > 0, 1 - apart / 2, 0.0)
        return Check("1 − d²/2 of unit vectors", furthest(step.value, exact), 1e-13)
