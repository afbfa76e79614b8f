"""The network as a drawing that opens layer by layer.

Boxes stand below one another in the order in which they ran. What a box gives to the next one goes
straight down; what skips boxes, as a residual branch does, runs in a lane to the left of them. The
browser places the boxes in a grid, whose rows and lanes are found here, so that the drawing moves
apart where a box is opened: rows 1, 3, 5 … hold boxes, the rows between them what connects them.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from html import escape

import numpy as np

from chainrule.lens.explain.derivation import Section, Step
from chainrule.lens.explain.written.page_math import shape


@dataclass(frozen=True)
class Drawing:
    """What the boxes say.

    Attributes:
        given: what the network starts from, by name.
        parameters: the names of those among it that are trained.
        buffers: the names of those that the modules keep beside them.
        places: the identifiers on the page of steps and given quantities by name, of sections by
            identity.
    """

    given: Mapping[str, np.ndarray]
    parameters: frozenset[str]
    buffers: frozenset[str]
    places: Mapping[object, str]

    def level(self, parts: Sequence[Section | Step], prefix: str = "") -> str:
        """The boxes of one level, each with what is inside of it."""
        rows: list[str | Section | Step] = []
        made = {step.name for part in parts for step in part.walk()}
        for part in parts:
            for name in _taken(part):
                if name not in made and name not in rows and self._enters(name):
                    rows.append(name)
            rows.append(part)
        boxes = [
            f'<div role=listitem class=row style="grid-row:{2 * i + 1}">{self._box(row, prefix)}'
            "</div>"
            for i, row in enumerate(rows)
        ]
        edges = edges_of([_gives(row) for row in rows], [_taken(row) for row in rows])
        lanes = lanes_of(edges)
        lines = [self._line(i, edges) for i in range(len(rows) - 1)]
        lines += [
            f'<i class=skip aria-hidden=true style="grid-row:{2 * start + 2}/{2 * end + 1};'
            f'--lane:{lane}"></i>'
            for (start, end), lane in lanes.items()
        ]
        width = 1 + max(lanes.values(), default=-1)
        return f'<div role=list class=level style="--lanes:{width}">{"".join(boxes + lines)}</div>'

    def _enters(self, name: str) -> bool:
        """Whether a quantity from outside is drawn: what modules keep, and constants, are not."""
        return name in self.places and name not in self.parameters | self.buffers

    def _box(self, row: str | Section | Step, prefix: str) -> str:
        if isinstance(row, str):
            value = self.given.get(row)
            size = "" if value is None else f"<small>{shape(value)}</small>"
            return f'<a class="box port" href="#{self.places[row]}"><b>{escape(row)}</b>{size}</a>'
        steps = list(row.walk())
        last = steps[-1]
        size = (
            "" if last.value is None else f"<small>{escape(last.name)}: {shape(last.value)}</small>"
        )
        ids = " ".join(self.places[step.name] for step in steps)
        if isinstance(row, Step):
            name = f"<b>{escape(row.operation or row.name)}</b>"
            return f'<a class=box data-steps="{ids}" href="#{ids}">{name}{size}</a>'
        name, kind = titled(row.title)
        short = name.removeprefix(prefix)
        trained = {name for step in steps for name in step.operands if name in self.parameters}
        count = sum(self.given[name].size for name in trained)
        weights = f"<small>{count:,} parameters</small>" if count else ""
        failed = "" if all(step.verified for step in steps) else " failed"
        head = f"<b>{escape(short)}</b> <span>{escape(kind)}</span>{size}{weights}"
        place = self.places[id(row)]
        if len(steps) == 1:
            return f'<a class="box{failed}" data-steps="{ids}" href="#{ids}">{head}</a>'
        return (
            f'<details class="box{failed}" data-steps="{ids}" data-to="{place}"><summary>{head}'
            f"</summary>{self.level(row.parts, f'{name}.')}</details>"
        )

    def _line(self, i: int, edges: set[tuple[int, int]]) -> str:
        """What stands between two boxes: a line from the one, an arrow into the other."""
        words = []
        if any(start == i for start, _ in edges):
            words.append("out")
        if any(end == i + 1 for _, end in edges):
            words.append("in")
        if (i, i + 1) in edges:
            words.append("direct")
        return (
            f'<i class="line {" ".join(words)}" aria-hidden=true style="grid-row:{2 * i + 2}"></i>'
        )


def titled(title: str) -> tuple[str, str]:
    """
    >>> titled("blocks.0 (Block)"), titled("Loss")
    (('blocks.0', 'Block'), ('Loss', ''))
    """
    name, bracket, kind = title.removesuffix(")").rpartition(" (")
    return (name, kind) if bracket and title.endswith(")") else (title, "")


def edges_of(gives: Sequence[set[str]], takes: Sequence[list[str]]) -> set[tuple[int, int]]:
    """(from, to) of rows, where the second takes what the first gives.

    >>> sorted(edges_of([{"x"}, {"a"}, {"b"}], [[], ["x"], ["a", "x"]]))
    [(0, 1), (0, 2), (1, 2)]
    """
    return {
        (i, j) for j, names in enumerate(takes) for i in range(j) if not gives[i].isdisjoint(names)
    }


def lanes_of(edges: set[tuple[int, int]]) -> dict[tuple[int, int], int]:
    """A lane for each edge that skips a row, 0 the one next to the boxes: the shortest edges lie
    inside, and no two in a lane overlap.

    >>> lanes_of({(0, 1), (0, 3), (1, 3), (3, 5)})
    {(1, 3): 0, (3, 5): 0, (0, 3): 1}
    """
    lanes: dict[tuple[int, int], int] = {}
    for start, end in sorted(edges, key=lambda edge: (edge[1] - edge[0], edge)):
        if end == start + 1:
            continue
        taken = {lane for (a, b), lane in lanes.items() if a < end and start < b}
        lanes[start, end] = next(lane for lane in range(len(taken) + 1) if lane not in taken)
    return lanes


def _gives(row: str | Section | Step) -> set[str]:
    return {row} if isinstance(row, str) else {step.name for step in row.walk()}


def _taken(row: str | Section | Step) -> list[str]:
    """What a row takes from outside, in order."""
    if isinstance(row, str):
        return []
    made = _gives(row)
    names = (name for step in row.walk() for name in step.operands)
    return [name for name in dict.fromkeys(names) if name not in made]
