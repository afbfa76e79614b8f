"""What a step means, for the operations about which there is something to say."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np

from chainrule.tensor.graph import Node


def notes(node: Node) -> tuple[str, ...]:
    """Sentences about a step that has run, each with its own numbers."""
    about = _ABOUT.get(node.op.name)
    return about(node) if about is not None and node.saved is not None else ()


def _likelihood(node: Node) -> tuple[str, ...]:
    """A label's probability, and its negative logarithm."""
    logits, labels = (np.asarray(entry) for entry in node.saved[:2])  # type: ignore[index]
    rows = logits.reshape(-1, logits.shape[-1]).astype(np.float64)
    found = []
    for i, label in enumerate(labels.reshape(-1)[:3]):
        shifted = np.exp(rows[i] - rows[i].max())
        p = shifted[label] / shifted.sum()
        row = f"row {i}: " if len(rows) > 1 else ""
        odds = f"−log {p:.4g} = {-math.log(p):.4g}" if p > 0 else "−log 0 = ∞"
        found.append(f"{row}softmax gives the label {label} the probability {p:.4g}; {odds}")
    return tuple(found)


_ABOUT: dict[str, Callable[[Node], tuple[str, ...]]] = {"softmax_cross_entropy": _likelihood}
