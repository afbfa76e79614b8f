"""A recorded graph of chainrule's, read as a `Pass`."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from chainrule.calculus.reverse import pull_back
from chainrule.lens.diagnose.passes import LossFacts, Op, Pass
from chainrule.lens.diagnose.recognising import recognised
from chainrule.places import show
from chainrule.probability.assumed import Assumption
from chainrule.tensor.graph import OFF, Node, quiet, reachable, recording
from chainrule.tensor.tensor import Tensor

KINDS = {
    "cross_entropy": "cross_entropy",
    "nll_loss": "nll",
    "binary_cross_entropy": "bce",
    "binary_cross_entropy_with_logits": "bce_with_logits",
    "mse_loss": "mse",
    "l1_loss": "mae",
}
"""Losses that note their calls → `LossFacts.kind`."""
RECURRENT = {"LSTM": "lstm", "GRU": "gru", "RNN": "rnn"}
"""Modules that are one operation of a `Pass` → its name."""
DEFAULTS: dict[str, Any] = {
    "weight": None, "pos_weight": None, "label_smoothing": 0.0, "ignore_index": -100,
}  # fmt: skip
"""Options of losses, and what they are where nothing was asked for."""


def read(
    model: Any,
    x: np.ndarray,
    y: np.ndarray | None,
    output: Any,
    result: Any,
    calls: Sequence[Assumption] = (),
    *,
    training: bool,
    gradients: bool = True,
    error: BaseException | None = None,
) -> Pass:
    """The pass that a graph, recorded in full, tells of.

    Args:
        output: what the model gave; `result`: the loss, or the output where there is none.
        calls: of losses, while it was recorded.
        gradients: whether they are computed.
    """
    cells = dict(model.named_parameters())
    found = Pass(
        x,
        y,
        parameters={name: cell.numpy(copy=True) for name, cell in cells.items()},
        gradients=dict.fromkeys(cells),
        frozen=frozenset(name for name, cell in cells.items() if not cell.requires_grad),
        training=training,
        error=error,
    )
    if isinstance(output, Tensor):
        found.outputs = output.numpy(copy=True)
    if not isinstance(result, Tensor) or result._node is None:
        return found
    # What was recorded before (an RNN's state, carried over) has no values: it counts as given.
    nodes = [n for n in reachable([result._node]) if n.op is not None and n.value is not None]
    parts = _parts(nodes)
    position = {node: i for i, part in enumerate(parts) for node in part}
    names = {id(cell): name for name, cell in cells.items()}
    made = output._node if isinstance(output, Tensor) else None
    found.output = position.get(made) if made is not None else None
    with quiet():
        pulled = _gradients(nodes, result, names, found) if gradients else {}
    frozen = {_place(cells[name].numpy()): name for name in found.frozen}
    found.unregistered = _unregistered(nodes, names)
    reader = _Reader(position, names, frozen, found.parameters, pulled)
    found.ops = [reader.op(part[0]) if len(part) == 1 else reader.layer(part) for part in parts]
    if result is not output:
        if result.size == 1:
            found.loss = float(result.item())
        found.facts = _named(found, recognised(found.ops, found.output, len(x)), calls, position)
        if found.y is None:
            found.y = found.facts.target
    return found


def _named(
    run: Pass, facts: LossFacts, calls: Sequence[Assumption], position: dict[Node, int]
) -> LossFacts:
    """The same with what the call of a loss of the library's says exactly."""
    known = [c for c in calls if c.outputs is not None and c.outputs._node in position]
    if len(known) != 1:  # none of the library's, or several in one
        return facts
    call, given = known[0], known[0].arguments
    function = call.loss.__name__
    outputs = call.outputs
    assert outputs is not None
    assert outputs._node is not None
    reduction = given.get("reduction", "none")
    options = {
        name: given[name].numpy() if isinstance(given[name], Tensor) else given[name]
        for name, default in DEFAULTS.items()
        if given.get(name, default) is not default and np.any(given[name] != default)
    }
    kind = KINDS.get(function, "custom")
    same = facts.kind == kind
    place = position[outputs._node]
    if not same:
        first = next((i for i, op in enumerate(run.ops) if place in op.inputs), None)
        facts = replace(facts, prediction=place, operation=first, options={})
    return replace(
        facts,
        kind=kind,
        name=f"nn.{function}",
        reduction=reduction if reduction in ("mean", "sum") else facts.reduction,
        target=np.asarray(call.target.numpy()),
        options=options or facts.options,
    )


def _unregistered(nodes: Sequence[Node], names: dict[int, str]) -> tuple[str, ...]:
    """Where parameters are used, inside of a module, that the model does not know of."""
    found: dict[int, str] = {}
    for node in nodes:
        for source in node.inputs:
            owner = source.owner() if source is not None and source.owner is not None else None
            foreign = owner is not None and id(owner) not in names and owner.requires_grad
            if foreign and node.scope is not None:
                found[id(owner)] = show(node.place)
    return tuple(found.values())


def _gradients(
    nodes: list[Node], result: Tensor, names: dict[int, str], found: Pass
) -> dict[Node, np.ndarray]:
    """∂L/∂value of each node; those of the parameters go into `found`. Nothing is let go of."""
    if result.size != 1 or result._node is None or not result._node.needs_grad:
        return {}
    totals: dict[Node, Tensor] = {result._node: Tensor(np.ones(result.shape, result.dtype))}
    with recording(OFF):
        for node in reversed(nodes):
            gradient = totals.get(node)
            if gradient is None or not node.needs_grad:
                continue
            parts = node.op.pull(node, gradient, node.wanted, False, pull_back)
            for want, source, part in zip(node.wanted, node.inputs, parts, strict=False):
                if want and source is not None and part is not None:
                    before = totals.get(source)
                    totals[source] = part if before is None else before + part
    for node, total in totals.items():
        owner = node.owner() if node.op is None and node.owner is not None else None
        if owner is not None and id(owner) in names:
            found.gradients[names[id(owner)]] = total.numpy(copy=True)
    return {node: total.numpy() for node, total in totals.items() if node.op is not None}


def _parts(nodes: list[Node]) -> list[list[Node]]:
    """The nodes one by one, but those of a recurrent layer together: it is one operation, however
    many steps it makes in time."""
    found: list[list[Node]] = []
    for node in nodes:
        scope = node.scope
        whole = scope is not None and type(scope.module).__name__ in RECURRENT
        if whole and found and found[-1][0].scope is scope:
            found[-1].append(node)
        else:
            found.append([node])
    return found


@dataclass(frozen=True)
class _Reader:
    """Nodes as operations of a pass.

    Attributes:
        position: of each node's operation in the pass.
        names: of parameters, by the tensor's id; `frozen`: of those that have no node, by where
            their values lie.
        weights: parameters' values; `gradients`: ∂L/∂value of nodes.
    """

    position: dict[Node, int]
    names: dict[int, str]
    frozen: dict[tuple[int, tuple[int, ...]], str]
    weights: dict[str, np.ndarray]
    gradients: dict[Node, np.ndarray]

    def op(self, node: Node) -> Op:
        parameters, operands = [], []
        saved = node.saved or []
        for i, source in enumerate(node.inputs):
            kept = saved[i] if i < len(saved) and isinstance(saved[i], np.ndarray) else None
            owner = source.owner() if source is not None and source.owner is not None else None
            name = self.names.get(id(owner)) if owner is not None else None
            if name is None and kept is not None:
                name = self.frozen.get(_place(kept))  # what asks for no gradient has no node
            parameters.append(name)
            value: Any = self.weights.get(name) if name is not None else None
            if value is None and source is not None:
                value = source.value if owner is None else owner._value
            operands.append(kept if value is None else value)
        assert node.value is not None
        return Op(
            node.op.name,
            node.scope.path() if node.scope is not None else "",
            tuple(None if s is None else self.position.get(s) for s in node.inputs),
            tuple(parameters),
            tuple(operands),
            node.value,
            self.gradients.get(node),
            dict(node.attrs),
            show(node.place),
        )

    def layer(self, nodes: list[Node]) -> Op:
        """A recurrent layer: its sequence, then its parameters; what is read of it last."""
        ops, here = [self.op(node) for node in nodes], self.position[nodes[0]]
        held = list(dict.fromkeys(p for op in ops for p in op.parameters if p is not None))
        held.sort(key=list(self.weights).index)
        outside = [
            (s, v)
            for op in ops
            for s, v, p in zip(op.inputs, op.operands, op.parameters, strict=True)
            if p is None and s != here and isinstance(v, np.ndarray)
        ]
        source, x = outside[0] if outside else (None, None)
        last, scope = ops[-1], nodes[-1].scope
        assert scope is not None
        return Op(
            RECURRENT[type(scope.module).__name__],
            last.path,
            (source, *[None] * len(held)),
            (None, *held),
            (x, *(self.weights[name] for name in held)),
            last.value,
            last.gradient,
            {},
            ops[0].place,
        )


def _place(values: np.ndarray) -> tuple[int, tuple[int, ...]]:
    """Where an array lies, by which a frozen parameter is known again."""
    return int(values.__array_interface__["data"][0]), values.shape
