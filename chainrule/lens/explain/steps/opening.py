"""A composite operation opened: the steps of its definition, run once more on its operands."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from chainrule.errors import DataError, DTypeError
from chainrule.lens.explain.derivation import Section, Step
from chainrule.lens.explain.record import Recorded
from chainrule.lens.explain.statement import Recomputed
from chainrule.lens.explain.steps.forward import forward_step
from chainrule.tensor.graph import FULL, Node, quiet, reachable, recording
from chainrule.tensor.tensor import Tensor


def opened(recorded: Recorded, node: Node) -> Recorded:
    """The definition of a composite operation, run under full recording on a node's operands.

    Its own nodes are called `a3.1`, `a3.2`, … after the node.

    Raises:
        DataError: the operation is not made of others, or did nothing.
    """
    name = recorded.name(node)
    if node.op.definition is None:
        raise DataError(
            f"{name} cannot be opened: {node.op.name} is not made of other operations; its formula "
            f"{node.op.formula.plain()} is what it does"
        )
    assert node.saved is not None
    arrays = node.saved[: len(node.inputs)]
    given = [Tensor(a) if isinstance(a, np.ndarray) else a for a in arrays]
    with recording(FULL), quiet():
        result = node.op.expand(given, node.attrs)
    nodes = [] if result._node is None else reachable([result._node])
    nodes = [inner for inner in nodes if inner.op is not None]
    for inner in nodes:
        inner.place, inner.scope = node.place, node.scope
    if not nodes:
        raise DataError(f"{name} cannot be opened: {node.op.name} gave its operand back as it was")
    return inside(recorded, nodes, name)


def inside(recorded: Recorded, nodes: list[Node], name: str) -> Recorded:
    """Nodes that were recorded beside a network, named `name.1`, `name.2`, …"""
    names = recorded.names.copy()
    for i, node in enumerate(nodes, 1):
        names.call(node.value, f"{name}.{i}")
    return replace(recorded, nodes=nodes, names=names, output=None, result=nodes[-1])


def expanded(recorded: Recorded, node: Node) -> Section:
    """The steps of an operation's definition, each checked, and that they end in its value.

    Raises:
        DataError: the operation is not made of others.
    """
    definition = opened(recorded, node)
    whole = forward_step(recorded, node)
    assert whole.value is not None
    steps: list[Step] = [forward_step(definition, inner) for inner in definition.nodes]
    # Both are within their rounding of what is exact.
    end = Recomputed(f"{node.op.name} as it ran", whole.value, 2 * whole.rounding)
    steps[-1] = replace(steps[-1], claims=(*steps[-1].claims, end))
    title = f"{whole.name} = {node.op.name}, opened: the steps of its definition"
    return Section(title, tuple(steps), summary=f"{len(steps)} operations")


def find(recorded: Recorded, name: str) -> tuple[Recorded, Node]:
    """The node of a step by its name, and where it was recorded; `a3.2` lies inside of `a3`.

    Raises:
        DataError: there is no such step; it says which there are.
    """
    if not isinstance(name, str):
        raise DTypeError(f"a step is named by text, such as 'a3', not {name!r}")
    for node in recorded.nodes:
        if recorded.name(node) == name:
            return recorded, node
        if name.startswith(f"{recorded.name(node)}."):
            return find(opened(recorded, node), name)
    made = [n for n in recorded.nodes if n.op.definition is not None]
    there = ", ".join(f"{recorded.name(n)} ({n.op.name})" for n in made) or "none"
    raise DataError(f"there is no step {name!r} to open; those made of other operations: {there}")
