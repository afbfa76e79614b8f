"""From what was traced to what has to be computed: one walk over the nodes, oldest first.

Each node is rewritten by the rules, folded if it depends on constants alone, and found to be one
that there is already (a common subexpression). What no result needs is never reached.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from chainrule.compile.rules import RULES, fold
from chainrule.tensor.graph import Node


def simplify(roots: Iterable[Node]) -> tuple[list[Node], dict[Node, Node]]:
    """(the nodes to compute, operands before results; what stands for each node that was traced).

    Two leaves are never made one, nor are two draws of random numbers, whose counters differ.
    """
    stands: dict[Node, Node] = {}
    known: dict[Any, Node] = {}
    for node in _reachable(roots):
        inputs = [None if n is None else stands[n] for n in node.inputs]
        stands[node] = _simplified(node, inputs, known)
    final = [stands[root] for root in roots]
    return _reachable(final), stands


def _simplified(node: Node, inputs: list[Node | None], known: dict[Any, Node]) -> Node:
    if node.op is None:
        if node.value is None or node.value.size > 16:
            return node
        return known.setdefault((node.value.tobytes(), node.shape, node.dtype), node)
    folded = fold(node, inputs)
    if folded is not None:
        return _simplified(folded, list(folded.inputs), known)
    if any(a is not b for a, b in zip(node.inputs, inputs, strict=True)):
        changed = Node(node.op, tuple(inputs), node.attrs, node.shape, node.dtype, False)
        changed.saved, changed.place, changed.scope = node.saved, node.place, node.scope
        node = changed
    for rewrite in RULES.get(node.op.name, ()):
        found = rewrite(node, inputs)  # type: ignore[arg-type]
        if found is not None:
            return _simplified(found, list(found.inputs), known) if found.op else found
    key = (node.op.name, tuple(map(id, node.inputs)), _hashable(node.attrs))
    return known.setdefault(key, node)


def _hashable(attrs: dict[str, Any]) -> Any:
    try:
        found = tuple(sorted(attrs.items(), key=lambda item: item[0]))
        hash(found)
    except TypeError:
        return object()  # equal to nothing else: what cannot be compared is not merged
    return found


def _reachable(roots: Iterable[Node]) -> list[Node]:
    """Every node that `roots` are made from, operands first; no recursion, however deep."""
    done: dict[Node, bool] = {}
    order: list[Node] = []
    stack = list(roots)[::-1]
    while stack:
        node = stack[-1]
        state = done.get(node)
        if state is None:
            done[node] = False
            stack.extend(n for n in reversed(node.inputs) if n is not None and n not in done)
        else:
            stack.pop()
            if not state:
                done[node] = True
                order.append(node)
    return order
