"""What the quantities of a network are called: z1 = W x + b, a1 = f(z1), …, L, as in a textbook."""

from __future__ import annotations

from typing import Any

import numpy as np

from chainrule.tensor.graph import Node

_WEIGHTED = {"linear", "matmul", "conv1d", "conv2d", "conv3d"}
"""Operations that begin a layer."""
_SUPERSCRIPT = str.maketrans("0123456789", "⁰¹²³⁴⁵⁶⁷⁸⁹")


class Names:
    """Names of arrays, by identity: a node's value and the operands that it was made of."""

    def __init__(self, known: dict[str, np.ndarray]) -> None:
        self._of = {id(array): name for name, array in known.items()}
        self._kept: list[np.ndarray] = list(known.values())  # so that no identity is used again
        self._layer = 0
        self._count: dict[str, int] = {}

    def copy(self) -> Names:
        """The same names, to which others can be added."""
        other = Names({})
        other._of, other._kept = dict(self._of), list(self._kept)
        other._layer, other._count = self._layer, dict(self._count)
        return other

    def give(self, node: Node, *, final: bool) -> str:
        """Name a node's value; `final` is the last one, which is the loss where it is a number."""
        base = "L" if final and node.shape == () else self._base(node)
        self._count[base] = times = self._count.get(base, 0) + 1
        marks = "′" * (times - 1) if times < 4 else f"⁽{str(times).translate(_SUPERSCRIPT)}⁾"
        return self.call(node.value, base + marks)

    def _base(self, node: Node) -> str:
        if node.op.name in _WEIGHTED:
            self._layer += 1
            return f"z{self._layer}"
        return f"a{self._layer}" if self._layer else "a"

    def call(self, value: Any, name: str) -> str:
        """Give an array a name."""
        self._of[id(value)] = name
        self._kept.append(value)
        return name

    def knows(self, value: Any) -> bool:
        return id(value) in self._of

    def of(self, value: Any) -> str:
        """An array's name; a number, or a constant's shape, where it has none."""
        if not isinstance(value, np.ndarray):
            return repr(value)
        name = self._of.get(id(value))
        if name is not None:
            return name
        return f"{value.item():.6g}" if value.size == 1 else f"constant{list(value.shape)}"


def cotangent(name: str, *, parameter: bool = False) -> str:
    """What ∂L/∂q is called: δq of an intermediate quantity, ∂L/∂q of a parameter."""
    return f"∂L/∂{name}" if parameter else f"δ{name}"
