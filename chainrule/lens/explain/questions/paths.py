"""Paths from one number to the loss: every way in which a change of it reaches the loss.

A path goes from element to element: a weight, an element of what is computed with it, … , the loss.
Its product is that of the local derivatives from each element to the next, and the derivative of
the loss is the sum of the products over all paths (Bauer 1974, Computational graphs and rounding
error). Local derivatives come from the operations that ran, in float64 at the recorded operands.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from chainrule.calculus.forward import push_forward
from chainrule.lens.explain.questions.slopes import slope
from chainrule.lens.explain.questions.widening import applied, moved_node, widened_node
from chainrule.lens.explain.record import Recorded
from chainrule.ops.batching import mapped
from chainrule.tensor.graph import OFF, Node, quiet, recording
from chainrule.tensor.inspection import finfo
from chainrule.tensor.tensor import Tensor

WORK = 20_000_000
"""How many local derivatives are computed at most to know every path; beyond, the search follows
where most of the gradient passes."""
CHUNK = 1_000_000
"""How many of them at a time."""
LAYERS = 8
"""By way of how many layers a gradient is told at most."""


@dataclass(frozen=True)
class Edge:
    """From an element of an operand to an element of the result: elements by their place in
    row-major order.

    Attributes:
        source, element: the operand, and which of its elements.
        node, reached: the operation, and which element of its result.
        derivative: ∂ result element / ∂ operand element.
    """

    source: Node
    element: int
    node: Node
    reached: int
    derivative: float


Path = tuple[Edge, ...]


def product(path: Path) -> float:
    """The product of the local derivatives along a path."""
    return float(np.prod([edge.derivative for edge in path]))


@dataclass
class _Branch:
    """The elements of one operation that a beginning of a path goes on to."""

    start: Path
    node: Node
    elements: np.ndarray
    derivatives: np.ndarray
    products: np.ndarray
    promise: np.ndarray
    """How large the product of a whole path this way may be; 0 where it was taken already."""
    left: np.ndarray
    """Whether it was not taken."""


_Edges = tuple[Node, Node, tuple[np.ndarray, np.ndarray, np.ndarray]]


@dataclass(frozen=True)
class Survey:
    """What is known of all paths from every element on.

    Attributes:
        edges: (operand, operation, (elements of the operand, elements of the result, local
            derivatives)), oldest first.
        count, total, largest: for every element how many paths there are from there to the result,
            the sum and the largest of their products.
    """

    edges: list[_Edges]
    count: dict[Node, np.ndarray]
    total: dict[Node, np.ndarray]
    largest: dict[Node, np.ndarray]


class Paths:
    """The paths from an element of a leaf to the result.

    Attributes:
        leaf, element: where they start.
        passed: the operations that they pass, oldest first.
    """

    def __init__(self, recorded: Recorded, leaf: Node, element: int) -> None:
        self.recorded, self.leaf, self.element = recorded, leaf, element
        self.passed: list[Node] = []
        self._next: dict[Node, list[Node]] = {leaf: []}
        for node in recorded.nodes:
            before = {n for n in _sources(node) if n in self._next}
            if before and node in recorded.gradients:
                self.passed.append(node)
                self._next[node] = []
                for source in before:
                    self._next[source].append(node)
        self._wide: dict[Node, Node] = {}
        self._quotients: dict[Edge, tuple[float, float]] = {}

    def consumers(self, node: Node) -> list[Node]:
        """The operations that use a node's value on the way to the result."""
        return self._next[node]

    def operands(self, node: Node) -> list[Node]:
        """The operands of an operation that the paths come from."""
        return [n for n in dict.fromkeys(_sources(node)) if n is not None and n in self._next]

    @cached_property
    def layers(self) -> list[Node]:
        """The operations that every path passes, and that begin a layer (they have parameters) or
        join branches; at most `LAYERS` of them, evenly spread."""
        place = {node: i for i, node in enumerate(self.passed)}
        furthest = max((place[n] for n in self._next[self.leaf]), default=-1)
        found = []
        for node in self.passed:
            if furthest == place[node] and self.leaf not in node.inputs and node.shape:
                owned = any(n is not None and n.owner is not None for n in node.inputs)
                if owned or len(self.operands(node)) > 1:
                    found.append(node)
            furthest = max([furthest, *(place[n] for n in self._next[node])])
        chosen = np.linspace(0, len(found) - 1, min(len(found), LAYERS)).round().astype(int)
        return [found[i] for i in chosen]

    # Local derivatives

    def wide(self, node: Node) -> Node:
        """The node with its operands in float64, and the result that these give."""
        if node not in self._wide:
            self._wide[node] = widened_node(node)
        return self._wide[node]

    def columns(self, source: Node, node: Node, elements: np.ndarray) -> np.ndarray:
        """∂ result / ∂ element of the operand: a row for each of the elements."""
        wide = self.wide(node)
        units = np.zeros((len(elements), int(np.prod(source.shape))))
        units[np.arange(len(elements)), elements] = 1

        def push(direction: Tensor) -> list[Tensor]:
            given = [direction if n is source else None for n in _sources(node)]
            return [wide.op.push(given, wide, False, push_forward)]

        with recording(OFF), quiet():
            if len(elements) == 1:
                found = push(Tensor(units.reshape(source.shape)))[0]
            else:
                batch = Tensor(units.reshape(len(elements), *source.shape))
                found = mapped(push, [batch], [True], len(elements))[0]
        return found.numpy().astype(np.float64).reshape(len(elements), -1)

    def _edges(
        self, source: Node, node: Node, elements: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """(elements, what they reach, local derivatives) of all that are not 0."""
        if node.op.kind == "elementwise" and node.shape == source.shape:
            wide = self.wide(node)
            ones = Tensor(np.ones(source.shape))
            given = [ones if n is source else None for n in _sources(node)]
            with recording(OFF), quiet():
                found = wide.op.push(given, wide, False, push_forward).numpy().reshape(-1)[elements]
            kept = found != 0
            return elements[kept], elements[kept], found[kept].astype(np.float64)
        size = max(1, int(np.prod(node.shape)))
        step = max(1, CHUNK // size)
        parts = []
        for start in range(0, len(elements), step):
            some = elements[start : start + step]
            block = self.columns(source, node, some)
            rows, reached = np.nonzero(block)
            parts.append((some[rows], reached, block[rows, reached]))
        return tuple(np.concatenate(column) for column in zip(*parts, strict=True))  # type: ignore[return-value]

    def quotient(self, edge: Edge) -> tuple[float, float]:
        """(a local derivative by differences of the operation in float64, how far they may be
        off)."""
        if edge in self._quotients:
            return self._quotients[edge]
        wide = self.wide(edge.node)
        assert wide.saved is not None
        operands = list(wide.saved[: len(wide.inputs)])
        places = [i for i, n in enumerate(_sources(edge.node)) if n is edge.source]
        middle = float(wide.saved[-2].reshape(-1)[edge.reached])
        at = abs(float(operands[places[0]].reshape(-1)[edge.element]))

        def change(step: float) -> float:
            moved = list(operands)
            for i in places:
                moved[i] = moved[i].copy()
                moved[i].reshape(-1)[edge.element] += step
            return float(applied(wide.op, moved, wide.attrs).reshape(-1)[edge.reached]) - middle

        # A result near 0 may be a difference of numbers as large as the operand.
        eps = 4 * float(finfo(wide.dtype).eps) * (abs(middle) + max(1, abs(edge.derivative)) * at)
        found = self._quotients[edge] = slope(change, 1e-4 * max(at, 1e-2), eps)
        return found

    @cached_property
    def tangents(self) -> dict[Node, np.ndarray]:
        """∂q/∂w of every value q on the way, in float64."""
        return self._tangents(self.wide)

    def _tangents(self, at: Callable[[Node], Node]) -> dict[Node, np.ndarray]:
        one = np.zeros(int(np.prod(self.leaf.shape)))
        one[self.element] = 1
        found = {self.leaf: one.reshape(self.leaf.shape)}
        with recording(OFF), quiet():
            for node in self.passed:
                moved = at(node)
                given = [
                    Tensor(found[n].astype(entry.dtype)) if n in found else None
                    for n, entry in zip(_sources(node), moved.saved or (), strict=False)
                ]
                if any(t is not None for t in given):
                    found[node] = moved.op.push(given, moved, False, push_forward).numpy()
        return found

    @cached_property
    def rounding(self) -> float:
        """What rounding may put the gradient off that the backward pass gave.

        Measured: ∂L/∂w is computed again in the dtype that ran, forward, with every operand moved
        by one unit in the last place; to the largest change comes one unit of every ∂q/∂w · δq.
        """
        result, rng = self.recorded.result, np.random.default_rng(0)
        exact = self.tangents.get(result)
        if exact is None:
            return 0.0
        moved = (self._tangents(lambda n: moved_node(n, rng)).get(result) for _ in range(2))
        change = max((abs(float(m) - float(exact)) for m in moved if m is not None), default=0.0)
        gradients = self.recorded.gradients
        passing = (
            float(finfo(node.dtype).eps) * float(np.abs(tangent * gradients[node]).sum())
            for node, tangent in self.tangents.items()
            if node in gradients
        )
        return 16 * change + 4 * sum(passing)

    # All paths

    @cached_property
    def survey(self) -> Survey | None:
        """The paths counted and added up, from the loss back; None where that is too much work."""
        reached = {self.leaf: np.array([self.element])}
        edges: list[_Edges] = []
        work = 0
        for node in self.passed:
            size = int(np.prod(node.shape))
            arrived = []
            for source in self.operands(node):
                if source not in reached:
                    continue
                diagonal = node.op.kind == "elementwise" and node.shape == source.shape
                work += size if diagonal else len(reached[source]) * size
                if work > WORK:
                    return None
                if len(reached[source]):
                    found = self._edges(source, node, reached[source])
                    edges.append((source, node, found))
                    arrived.append(found[1])
            if arrived:
                reached[node] = np.unique(np.concatenate(arrived))
        count, total, largest = (
            {node: np.zeros(int(np.prod(node.shape))) for node in reached} for _ in range(3)
        )
        end = self.recorded.result
        if end in reached:
            for table in (count, total, largest):
                table[end][reached[end]] = 1
        for source, node, (elements, arrived_at, derivatives) in reversed(edges):
            np.add.at(count[source], elements, count[node][arrived_at])
            np.add.at(total[source], elements, derivatives * total[node][arrived_at])
            sizes = np.abs(derivatives) * largest[node][arrived_at]
            np.maximum.at(largest[source], elements, sizes)
        return Survey(edges, count, total, largest)

    def counted_forward(self) -> float:
        """The number of paths, from the leaf on: those to an element are those to all that lead to
        it, added up."""
        assert self.survey is not None
        found = {node: np.zeros(table.shape) for node, table in self.survey.count.items()}
        found[self.leaf][self.element] = 1
        for source, node, (elements, reached, _) in self.survey.edges:
            np.add.at(found[node], reached, found[source][elements])
        return float(found[self.recorded.result].sum()) if self.recorded.result in found else 0.0

    @cached_property
    def count(self) -> int | None:
        """How many paths there are along which no local derivative is 0; None where they were not
        counted."""
        return None if self.survey is None else int(self.survey.count[self.leaf][self.element])

    def probes(self, times: int = 4) -> list[list[int]]:
        """Random walks to the result: for each, between how many ways each element left a choice.

        The mean of the products is an estimate of the number of paths without bias (Knuth 1975,
        Estimating the efficiency of backtrack programs).
        """
        rng = np.random.default_rng(0)
        found: list[list[int]] = []
        for _ in range(times):
            node, element, ways = self.leaf, self.element, []
            while node is not self.recorded.result:
                step = [
                    (following, int(reached))
                    for following in self._next[node]
                    for reached in self._edges(node, following, np.array([element]))[1]
                ]
                ways.append(len(step))
                if not step:
                    break
                node, element = step[int(rng.integers(len(step)))]
            found.append(ways)
        return found

    # The largest

    def largest(self, most: int = 5) -> tuple[list[Path], int, float]:
        """(the paths with the largest products, how many groups of others there are, the sum of
        their products).

        Where all paths were surveyed these are the largest, and each other is a group of its own.
        Where they are too many, each path goes on from every element to the one through which the
        largest part of the gradient passes, and a group is all paths that begin alike.
        """
        branches: list[_Branch] = []
        found: list[Path] = []
        path = self._follow((), 1.0, branches)
        while path is not None:
            found.append(path)
            path = None
            while path is None and len(found) < most and (branch := _best(branches)) is not None:
                path = self._follow(*self._take(branch), branches)
        rest = sum(b.products[b.left] @ self._worth(b.node, b.elements[b.left]) for b in branches)
        groups = sum(int(b.left.sum()) for b in branches)
        return found, groups if self.count is None else self.count - len(found), float(rest)

    def _worth(self, node: Node, elements: np.ndarray) -> np.ndarray:
        """∂L/∂ elements: the sum over all paths from there."""
        if self.survey is not None:
            return self.survey.total[node][elements]
        return self.recorded.gradients[node].reshape(-1)[elements].astype(np.float64)

    def _end(self, path: Path) -> tuple[Node, int]:
        """The element that a beginning of a path has come to."""
        return (path[-1].node, path[-1].reached) if path else (self.leaf, self.element)

    def _take(self, branch: _Branch) -> tuple[Path, float]:
        """(the most promising beginning of a branch, its product), which is left no more."""
        best = int(np.argmax(branch.promise))
        branch.promise[best], branch.left[best] = 0.0, False
        reached, derivative = int(branch.elements[best]), float(branch.derivatives[best])
        edge = Edge(*self._end(branch.start), branch.node, reached, derivative)
        return (*branch.start, edge), float(branch.products[best])

    def _follow(self, path: Path, so_far: float, branches: list[_Branch]) -> Path | None:
        """The path on to the result; what is passed by is noted among the branches."""
        while self._end(path)[0] is not self.recorded.result:
            new = list(self._branches(path, so_far))
            branches.extend(new)
            branch = _best(new)
            if branch is None:
                return None
            path, so_far = self._take(branch)
        return path

    def _branches(self, path: Path, so_far: float) -> Iterator[_Branch]:
        source, element = self._end(path)
        for node in self._next[source]:
            _, elements, derivatives = self._edges(source, node, np.array([element]))
            products = so_far * derivatives
            if self.survey is not None:
                promise = np.abs(products) * self.survey.largest[node][elements]
            else:
                promise = np.abs(products * self._worth(node, elements))
            left = np.ones(len(elements), bool)
            yield _Branch(path, node, elements, derivatives, products, promise, left)


def _best(branches: list[_Branch]) -> _Branch | None:
    """The most promising branch; None where there is nothing more to come."""
    best = max(branches, key=lambda b: b.promise.max(initial=0.0), default=None)
    return best if best is not None and best.promise.max(initial=0.0) > 0 else None


def _sources(node: Node) -> list[Node | None]:
    """The operands through which a derivative passes; None in the place of the others."""
    return [n if want else None for n, want in zip(node.inputs, node.wanted, strict=True)]
