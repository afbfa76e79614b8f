"""Forward mode: tangents pushed along the recorded graph, oldest node first."""

from __future__ import annotations

from collections.abc import Sequence

from chainrule.tensor.creation import zeros
from chainrule.tensor.graph import DERIVATIVE, OFF, Node, ancestors, quiet, recording, state
from chainrule.tensor.tensor import Tensor, another_handle


def push_forward(output: Tensor, seeds: Sequence[tuple[Tensor, Tensor]], *, keep: bool) -> Tensor:
    """The tangent of `output`, given (input, its tangent) pairs.

    Args:
        output: computed from the inputs under full recording.
        seeds: tensors with nodes, and their tangents.
        keep: record the tangents' own operations, so that they can be differentiated.
    """
    tangents: dict[Node, Tensor] = {
        source._node: tangent for source, tangent in seeds if source._node is not None
    }
    root = output._node
    if root is not None and root.needs_grad:
        ends = set(tangents)
        with recording(max(state.depth, DERIVATIVE) if keep else OFF), quiet():
            for node in reversed(ancestors([root], ends)):
                if node in ends:
                    continue
                given = [None if n is None else tangents.get(n) for n in node.inputs]
                if any(t is not None for t in given):
                    tangents[node] = node.op.push(given, node, keep, push_forward)
        if root in tangents:
            return another_handle(tangents[root])
    return zeros(output.shape, dtype=output.dtype)
