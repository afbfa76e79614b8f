"""One neuron: what its inputs add up to, which of them made it fire, and what became of it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from chainrule.errors import BoundsError, DataError, DTypeError
from chainrule.lens.explain.derivation import Check, Section, Step
from chainrule.lens.explain.questions.contributions import (
    contributions,
    grids,
    shares,
    terms,
    weighted,
)
from chainrule.lens.explain.questions.lookup import lookup
from chainrule.lens.explain.questions.picking import labels, units, within
from chainrule.lens.explain.record import Recorded
from chainrule.lens.explain.steps.forward import FormulaClaim, forward_step, furthest
from chainrule.tensor.graph import Node


def neuron_section(
    recorded: Recorded,
    module: str,
    unit: int | tuple[int, ...],
    row: int = 0,
    inputs: Sequence[str] | None = None,
) -> Section:
    """One number that a layer computed, from its inputs to its activation.

    Args:
        recorded: a network that ran.
        module: the layer's path, such as `encoder.0`, or the name of a quantity, such as `z1`.
        unit: which output: its place behind the example's; of a convolution (channel, row,
            column). Of an embedding the place in the example's sequence.
        row: which example: the place along the first axis, which is time in a recurrent layer.
        inputs: what the layer's inputs are called: a dense layer's features, an embedding's words.

    Raises:
        DataError: nothing of that name has run; as many names as inputs are needed.
        BoundsError: there is no such example or unit; it says what there is.
        DTypeError: a unit that is neither a number nor several.
    """
    node = _node(recorded, module)
    if node.op.name == "embedding":
        return lookup(recorded, node, unit, row, inputs)
    index = _index(recorded, node, unit, row)
    claim = _claim(recorded, node)
    z = recorded.name(node)
    label = f"{z}[{', '.join(map(str, index))}]"
    parts: list[Section | Step] = [_sum(recorded, node, claim, index, label)]
    products = terms(claim, index)
    found = weighted(recorded, products)
    if found is not None:
        names = labels(inputs, found.value.shape[0], f"the inputs of {module!r}")
        parts.append(contributions(found, label, names))
        alone = [term for term in products.products if len(term) == 1]
        value = node.value[index]  # type: ignore[index]
        if np.isfinite(value):
            parts.append(shares(found, alone, label, value, claim))
        if found.value.ndim > 1:
            parts.append(Section("The patch and the filter", tuple(grids(found, label))))
    parts += _activation(recorded, node, index)
    summary = f"what {label} is made of, and what became of it"
    return Section(f"{label} of {module or 'the network'}", tuple(parts), summary=summary)


# What was asked for


def _scope(node: Node) -> str:
    return node.scope.describe() if node.scope is not None else ""


def _reads(recorded: Recorded, node: Node) -> bool:
    """Whether an operand is a parameter."""
    assert node.saved is not None
    arrays = [v for v in node.saved[: len(node.inputs)] if isinstance(v, np.ndarray)]
    return any(recorded.names.of(v) in recorded.parameters for v in arrays)


def _node(recorded: Recorded, module: str) -> Node:
    """The operation that a module's name, or a quantity's, means."""
    if not isinstance(module, str):
        raise DTypeError(f"a layer is named by text, such as 'encoder.0', not {module!r}")
    for node in recorded.nodes:
        if recorded.name(node) == module:
            return node
    inside = [
        node
        for node in recorded.nodes
        if _scope(node) == module or _scope(node).startswith(f"{module}.") or not module
    ]
    reading = [node for node in inside if _reads(recorded, node)]
    summing = [n for n in reading if n.op.name == "embedding" or "Σ" in n.op.formula_text]
    for found in (summing, reading, inside):
        if found:
            return found[0]
    layers = [f"{_scope(n)!r}" for n in recorded.nodes if _reads(recorded, n)]
    quantities = [recorded.name(node) for node in recorded.nodes]
    raise DataError(
        f"no operation ran in a module {module!r}. Layers with parameters are "
        f"{', '.join(dict.fromkeys(layers)) or 'none'}; quantities are {_few(quantities)}."
    )


def _few(names: Sequence[str], most: int = 12) -> str:
    more = f" and {len(names) - most} more" if len(names) > most else ""
    return ", ".join(names[:most]) + more


def _index(recorded: Recorded, node: Node, unit: object, row: int) -> tuple[int, ...]:
    """Which element of a layer's result is meant."""
    place, rows, z, shape = units(unit), units(row), recorded.name(node), node.shape
    index = place if len(shape) == len(place) and rows == (0,) else (*rows, *place)
    if len(index) != len(shape):
        axes = {4: "(channel, row, column)", 3: "(position, unit)", 2: "one number"}
        raise BoundsError(
            f"{z} has the shape {shape}: a unit of an example is "
            f"{axes.get(len(shape), f'{len(shape) - 1} numbers')}, and {unit!r} was given"
        )
    return within(z, shape, index)


# The sum


def _claim(recorded: Recorded, node: Node) -> FormulaClaim:
    (claim,) = (c for c in forward_step(recorded, node).claims if isinstance(c, FormulaClaim))
    return claim


@dataclass(frozen=True, eq=False)
class OneOf:
    """That a number is the element of what the operation's formula gives."""

    whole: FormulaClaim
    index: tuple[int, ...]

    @property
    def rounding(self) -> float:
        """What rounding may explain."""
        return self.whole.rounding

    def check(self, step: Step) -> Check:
        assert step.value is not None
        inside = self.whole.behind.index(self.index, self.whole.value)
        exact = self.whole.measured[0][inside]
        gap = furthest(np.asarray(step.value), np.asarray(exact))
        return Check("formula in float64", gap, self.rounding)


def _sum(
    recorded: Recorded, node: Node, claim: FormulaClaim, index: tuple[int, ...], label: str
) -> Step:
    """The number as the operation's formula gives it, with the largest terms."""
    assert node.value is not None
    element = claim.element(index)
    whole = forward_step(recorded, node)
    return replace(
        whole,
        name=label,
        title=f"{label}: {whole.title}",
        elements=() if element is None else (replace(element, index=()),),
        value=np.asarray(node.value[index]),
        notes=(),
        claims=(OneOf(claim, index),),
    )


# What became of it


def _activation(recorded: Recorded, node: Node, index: tuple[int, ...]) -> list[Step]:
    """What the operation that follows made of the number, where it works element by element."""
    for following in recorded.nodes:
        own = [n for n in following.inputs if n is not None and n.op is not None]
        if node in following.inputs and own == [node] and following.shape == node.shape:
            label = f"{recorded.name(following)}[{', '.join(map(str, index))}]"
            return [_sum(recorded, following, _claim(recorded, following), index, label)]
    return []
