"""One weight: its gradient as a sum over paths, and what a change of it does when it is tried."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import reduce
from itertools import pairwise

import numpy as np

from chainrule.errors import GradientError, NonFiniteError
from chainrule.lens.explain.derivation import Check, Element, Section, Step, Words
from chainrule.lens.explain.names import cotangent
from chainrule.lens.explain.questions.paths import Path, Paths, product
from chainrule.lens.explain.questions.picking import weight_named
from chainrule.lens.explain.questions.trying import GradientClaim, Moved
from chainrule.lens.explain.questions.widening import applied
from chainrule.lens.explain.record import Recorded
from chainrule.lens.explain.statement import Recomputed
from chainrule.ops.notation import Instance
from chainrule.ops.notation.render import latex_name
from chainrule.ops.notation.tree import Binary, Datum, Expression, Rest
from chainrule.tensor.graph import Node

SHOWN = 5
"""How many terms of a sum, and how many paths, are written out."""


def weight_section(recorded: Recorded, name: str) -> Section:
    """∂L/∂w of one weight, and what a change of it does.

    Args:
        recorded: a network that ran, with a loss that is a single number.
        name: a parameter and the place in it, such as `2.weight[3, 17]`.

    Raises:
        DataError: there is no such parameter, or the name has no place.
        BoundsError: the place is outside of the parameter.
        GradientError: the parameter is frozen, or nothing that leads to the loss uses it.
        NonFiniteError: the loss is not finite.
    """
    parameter, index = weight_named(recorded, name)
    name = f"{parameter}[{', '.join(map(str, index))}]" if index else parameter
    tensor = recorded.parameters[parameter]
    leaf = tensor._node
    if not np.isfinite(recorded.gradients[recorded.result]).all() or not _finite(recorded.result):
        raise NonFiniteError(
            f"the loss is {recorded.result.value}, and has no derivative in {name}. The forward "
            "pass of the explanation shows the first step that is not finite."
        )
    if not tensor.requires_grad:
        raise GradientError(
            f"{parameter} is frozen (requires_grad is False): training leaves it as it is, and no "
            f"gradient is computed. Set model's {parameter}.requires_grad = True first."
        )
    if leaf is None or leaf not in recorded.gradients:
        raise GradientError(
            f"no path leads from {parameter} to the loss: nothing that the loss was made of used "
            "it, or what used it has no derivative. Its gradient is 0 whatever its value."
        )
    element = int(np.ravel_multi_index(index, tensor.shape))
    paths = Paths(recorded, leaf, element)
    moved = Moved(recorded, parameter, index, paths)
    first = _first(recorded, paths, moved, name)
    parts = [
        Section("Its gradient", (first, *_stops(recorded, paths, name))),
        Section("Layer by layer", tuple(_layers(recorded, paths, name))),
        Section("Path by path", tuple(_paths(paths, name))),
        Section("A change, tried", moved.steps(name)),
    ]
    return Section(
        f"The weight {name}",
        tuple(part for part in parts if part.parts),
        summary=f"every way in which {name} reaches the loss, and what a change of it does",
    )


def _finite(node: Node) -> bool:
    return node.value is not None and bool(np.isfinite(node.value).all())


# The chain rule, from where the weight is used


def _first(recorded: Recorded, paths: Paths, moved: Moved, name: str) -> Step:
    """∂L/∂w as the sum, over all numbers that w is used for, of what they pass back."""
    element = np.array([paths.element])
    users = {n: paths.columns(paths.leaf, n, element)[0] for n in paths.consumers(paths.leaf)}
    called = ", ".join(map(recorded.name, users))
    return replace(
        _through(recorded, users, name),
        name=cotangent(name, parameter=True),
        title=f"∂L/∂{name}: the sum over everything in {called} that {name} is used for",
        value=np.asarray(recorded.gradients[paths.leaf][moved.index]),
        claims=(GradientClaim(moved, paths),),
    )


def _layers(recorded: Recorded, paths: Paths, name: str) -> list[Step]:
    """∂L/∂w by way of every later layer that all paths pass: which of its units carry it."""
    gradient = recorded.gradients[paths.leaf].reshape(-1)[paths.element].astype(np.float64)
    claim = Recomputed(f"what the backward pass gave for {name}", gradient, paths.rounding)
    return [
        replace(
            _through(recorded, {node: paths.tangents[node].reshape(-1)}, name),
            name=f"{cotangent(name, parameter=True)} by way of {recorded.name(node)}",
            claims=(claim,),
        )
        for node in paths.layers
        if node in paths.tangents
    ]


def _through(recorded: Recorded, changes: Mapping[Node, np.ndarray], name: str) -> Step:
    """The sum over all elements of arrays of ∂z_u/∂w · ∂L/∂z_u, the largest terms written out.

    Args:
        changes: for each array, ∂z_u/∂w in row-major order.
    """
    w, z = latex_name(name), ", ".join(map(recorded.name, changes))
    sources: dict[str, tuple[str, np.ndarray]] = {}
    terms: list[tuple[Datum, Datum]] = []
    for node, change in changes.items():
        delta = recorded.gradients[node]
        left, right = f"∂{recorded.name(node)}/∂{name}", cotangent(recorded.name(node))
        sources |= {left: (left, change), right: (right, delta)}
        flat = delta.reshape(-1)
        terms += [
            (Datum(float(change[u]), left, int(u)), Datum(float(flat[u]), right, int(u)))
            for u in np.flatnonzero(change)
        ]
    values = np.array([a.value * b.value for a, b in terms])
    order = np.argsort(-np.abs(values), kind="stable")
    shown = len(values) if len(values) <= SHOWN + 1 else SHOWN
    parts: list[Expression] = [Binary("·", *terms[i]) for i in order[:shown]]
    if shown < len(values):
        parts.append(Rest(len(values) - shown, float(values[order[shown:]].sum())))
    total = float(values.sum())
    return Step(
        name=z,
        title=f"∂L/∂{name} by way of {z}: the sum over its elements, those that carry most first",
        operands=tuple(cotangent(recorded.name(node)) for node in changes),
        rule="chain rule: a sum over all that a change passes through",
        formula=Words(
            "∂L/∂w = Σ_u ∂z_u/∂w · ∂L/∂z_u",
            r"\frac{\partial L}{\partial w} = \sum_u \frac{\partial z_u}{\partial w}"
            r" \frac{\partial L}{\partial z_u}",
        ),
        named=Words(
            f"∂L/∂{name} = Σ_u ∂z_u/∂{name} · δz_u, z_u the elements of {z}",
            rf"\frac{{\partial L}}{{\partial {w}}} = \sum_u "
            rf"\frac{{\partial z_u}}{{\partial {w}}} \, \delta z_u",
        ),
        elements=(
            Element((), Instance(_added(parts or [Datum(0.0)]), total, len(values)), sources),
        ),
        value=np.asarray(total),
    )


def _added(parts: Sequence[Expression]) -> Expression:
    return reduce(lambda a, b: Binary("+", a, b), parts)


def _multiplied(parts: Sequence[Expression]) -> Expression:
    return reduce(lambda a, b: Binary("·", a, b), parts)


# Where it stops


def _stops(recorded: Recorded, paths: Paths, name: str) -> list[Step]:
    """The operations at which every way to the loss ends, where the gradient is 0."""
    if recorded.gradients[paths.leaf].reshape(-1)[paths.element] != 0:
        return []
    found = []
    for node in paths.passed:
        before = [n for n in paths.operands(node) if np.any(paths.tangents.get(n, 0.0))]
        after = paths.tangents.get(node)
        if not before or after is None or np.any(after):
            continue
        q, z = recorded.name(before[0]), recorded.name(node)
        arriving = np.flatnonzero(paths.tangents[before[0]])
        many = f"{arriving.size} elements of {q}" if arriving.size > 1 else f"one element of {q}"
        why = f"{name} changes {many}, and ∂{z}/∂{q} is 0 there"
        if before[0] is paths.leaf:
            q = name
            why = f"{z} does not change with {name}: what it is multiplied with is 0, or it was "
            why += "not looked up"
        found.append(
            Step(
                name=f"∂{z}/∂{q}",
                title=f"Why it is 0: {node.op.name} lets no change of {q} through to {z}",
                operation=node.op.name,
                rule="a product with a factor 0 is 0",
                value=np.abs(after),
                place="",
                module=node.scope.describe() if node.scope is not None else "",
                notes=(
                    f"{why}. Every path from {name} to the loss by way of {z} has this factor 0.",
                ),
                claims=(StopClaim(paths, node, before[0]),),
            )
        )
    return found


@dataclass(frozen=True, eq=False)
class StopClaim:
    """That an operation passes nothing on: its result is the same, to first order, when its operand
    moves along the change that arrives."""

    paths: Paths
    node: Node
    source: Node

    def check(self, step: Step) -> Check:
        assert step.value is not None
        wide = self.paths.wide(self.node)
        assert wide.saved is not None
        direction, h = self.paths.tangents[self.source], 1e-6
        ends = []
        for sign in (1, -1):
            operands = [
                v + sign * h * direction if n is self.source else v
                for v, n in zip(wide.saved, self.node.inputs, strict=False)
            ]
            ends.append(applied(wide.op, operands, wide.attrs) - wide.saved[-2])
        # At a kink one of the two sides has no slope, and its derivative is taken.
        quotient = min(float(np.abs(end).max()) for end in ends) / h
        scale = float(np.abs(wide.saved[-2]).max(initial=1.0))
        difference = max(quotient, float(np.abs(step.value).max(initial=0.0)))
        return Check("difference quotient in float64", difference, 4e-16 * scale / h)


# Paths


def _paths(paths: Paths, name: str) -> list[Step]:
    """The largest paths, a step for each, and their sum with the rest."""
    recorded = paths.recorded
    found, groups, rest = paths.largest(SHOWN)
    if not found:
        return []
    steps = [_path(paths, path, f"path {i + 1}", name) for i, path in enumerate(found)]
    values = [product(path) for path in found]
    data = [Datum(v, step.name, 0) for v, step in zip(values, steps, strict=True)]
    parts: list[Expression] = [*data, Rest(groups, rest)] if groups else [*data]
    total = float(sum(values) + rest)
    gradient = cotangent(name, parameter=True)
    counted = paths.count is not None
    whole = Step(
        name=f"{gradient} over paths",
        title=f"{gradient} is the sum over {'all paths' if counted else 'the paths'} from {name} "
        "to L",
        operands=tuple(step.name for step in steps),
        rule="sum over paths of the products along them (Bauer 1974)",
        formula=Words(
            "∂L/∂w = Σ over paths w → … → L of Π ∂(next)/∂(one before)",
            r"\frac{\partial L}{\partial w} = \sum_{w \to \dots \to L} \; \prod_{k}"
            r" \frac{\partial q_{k}}{\partial q_{k-1}}",
        ),
        elements=(
            Element(
                (),
                Instance(_added(parts), total, len(parts)),
                {step.name: (step.name, np.asarray(step.value)) for step in steps},
            ),
        ),
        value=np.asarray(total),
        notes=()
        if counted
        else (
            "There are too many paths to know each: those listed go where the largest part of the "
            "gradient passes, and each further term is all paths that begin alike.",
        ),
        claims=(
            Recomputed(
                f"what the backward pass gave for {name}",
                recorded.gradients[paths.leaf].reshape(-1)[paths.element].astype(np.float64),
                paths.rounding,
            ),
        ),
    )
    return [_count(paths, name), *steps, whole]


def _path(paths: Paths, path: Path, label: str, name: str) -> Step:
    """One path with the local derivatives along it."""
    ends = [name, *(_element(paths.recorded, edge.node, edge.reached) for edge in path)]
    data: list[Expression] = [Datum(edge.derivative) for edge in path]
    value = product(path)
    steps = list(pairwise(ends))
    return Step(
        name=label,
        title=f"{label}: {' → '.join(ends)}",
        operation=", ".join(edge.node.op.name for edge in path),
        rule="chain rule along a path: the product of the local derivatives",
        named=Words(
            " · ".join(f"∂{after}/∂{before}" for before, after in steps),
            r" \cdot ".join(
                rf"\frac{{\partial {latex_name(after)}}}{{\partial {latex_name(before)}}}"
                for before, after in steps
            ),
        ),
        elements=(Element((), Instance(_multiplied(data), value)),),
        value=np.asarray(value),
        claims=(LocalClaim(paths, path),),
    )


def _element(recorded: Recorded, node: Node, flat: int) -> str:
    """`z1[0, 2]`; the name alone of a single number."""
    index = np.unravel_index(flat, node.shape) if node.shape else ()
    name = recorded.name(node)
    return f"{name}[{', '.join(str(int(i)) for i in index)}]" if node.shape else name


def _count(paths: Paths, name: str) -> Step:
    """How many paths there are: counted, or estimated by random walks."""
    if paths.count is not None:
        return Step(
            name="number of paths",
            title=f"{paths.count:,} paths lead from {name} to L along which no factor is 0",
            rule="the paths from an element are those from all that it reaches, added up",
            value=np.asarray(paths.count),
            claims=(CountClaim(paths, paths.count),),
        )
    walks = [[n for n in walk if n > 1] for walk in paths.probes()]
    products = [_multiplied([Datum(float(n)) for n in (walk or [1])]) for walk in walks]
    written = Binary("/", _added(products), Datum(float(len(walks))))
    value = sum(float(np.prod([float(n) for n in walk])) for walk in walks) / len(walks)
    return Step(
        name="number of paths",
        title=f"About so many paths lead from {name} to L",
        rule="the ways at each turn of a random walk, multiplied; the mean of several walks is an "
        "estimate without bias (Knuth 1975)",
        elements=(Element((), Instance(written, value)),),
        value=np.asarray(value),
    )


@dataclass(frozen=True, eq=False)
class CountClaim:
    """How many paths there are, counted forward (the step counts from the loss back); the title
    says it, too."""

    paths: Paths
    stated: int

    def check(self, step: Step) -> Check:
        assert step.value is not None
        said = f"{int(step.value):,}" == step.title.split()[0]
        difference = abs(float(step.value) - self.paths.counted_forward())
        return Check("counted forward", difference if said else float("inf"), 0.0)


@dataclass(frozen=True, eq=False)
class LocalClaim:
    """That the factors along a path are the local derivatives: difference quotients of each
    operation in float64, with the operand's one element moved."""

    paths: Paths
    path: Path

    def check(self, step: Step) -> Check:
        shown = [datum.value for datum in step.elements[0].instance.data]
        worst, allowed = 0.0, 0.0
        for edge, value in zip(self.path, shown, strict=True):
            quotient, bound = self.paths.quotient(edge)
            gap = abs(quotient - float(value))
            if not gap <= bound:
                return Check("difference quotients of each factor", gap, bound)
            worst, allowed = max(worst, gap), max(allowed, bound)
        return Check("difference quotients of each factor", worst, allowed)
