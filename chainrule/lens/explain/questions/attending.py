"""Attention found by what it is, in whatever module: a product of queries and keys, operations on
each score, softmax, and the product of the weights with the values.

The fused operation is opened first, and then looks the same.
"""

from __future__ import annotations

from dataclasses import dataclass

from chainrule.lens.explain.record import Recorded
from chainrule.lens.explain.steps.opening import opened
from chainrule.ops.notation.evaluate import walk
from chainrule.ops.notation.tree import Flat, Reduce, Subscript
from chainrule.tensor.graph import Node

_FUSED = "scaled_dot_product_attention"


@dataclass(frozen=True)
class Attention:
    """Attention as it ran.

    Attributes:
        recorded: where its nodes are and what they are called.
        scores: the product of queries and keys, (…, L, S).
        before: what was done to each score, in order.
        softmax: over the keys.
        after: what was done to each weight, in order.
        product: the product of the weights with the values.
        result: the node whose value that is in the network: `product`, or the fused operation.
    """

    recorded: Recorded
    scores: Node
    before: tuple[Node, ...]
    softmax: Node
    after: tuple[Node, ...]
    product: Node
    result: Node

    @property
    def module(self) -> str:
        """The path of the module that ran it."""
        return self.result.scope.describe() if self.result.scope is not None else ""


def attentions(recorded: Recorded) -> list[Attention]:
    """Every attention that ran, in order."""
    found = []
    for node in recorded.nodes:
        if node.op.name == _FUSED:
            inside = opened(recorded, node)
            soft = next(n for n in inside.nodes if n.op.name == "softmax")
            found.append(_around(inside, soft, node))
        elif node.op.name == "softmax" and node.attrs["axis"] in (-1, node.ndim - 1):
            found.append(_around(recorded, node, None))
    return [attention for attention in found if attention is not None]


def _around(recorded: Recorded, soft: Node, result: Node | None) -> Attention | None:
    """The attention that a softmax is in the middle of."""
    before = _back(soft.inputs[0], soft.shape)
    if before is None:
        return None
    after: list[Node] = []
    current = soft
    while True:
        users = [n for n in recorded.nodes if current in n.inputs]
        product = next((n for n in users if n.op.name == "matmul"), None)
        if product is not None and product.inputs[0] is current:
            scores, *rest = before
            return Attention(
                recorded, scores, tuple(rest), soft, tuple(after), product, result or product
            )
        each = [n for n in users if _each(n, soft.shape)]
        if len(each) != 1:
            return None
        current = each[0]
        after.append(current)


def _back(node: Node | None, shape: tuple[int, ...]) -> list[Node] | None:
    """From the product of queries and keys to a node, by operations on each score."""
    if node is None or node.op is None or node.shape != shape:
        return None
    if node.op.name == "matmul":
        return [node]
    if _each(node, shape):
        for source in node.inputs:
            found = _back(source, shape)
            if found is not None:
                return [*found, node]
    return None


def _each(node: Node, shape: tuple[int, ...]) -> bool:
    """Whether a node does something to each score by itself: its formula has no indices."""
    formula = node.op.formula
    if node.shape != shape or formula.display_only:
        return False
    parts = [part for statement in formula.statements for part in walk(statement.value)]
    return not any(isinstance(part, (Subscript, Flat, Reduce)) for part in parts)
