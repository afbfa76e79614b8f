"""One forward and backward pass, as it is told for every framework: operations, values, gradients.

What the rules look at is the same for chainrule and PyTorch: a list of operations in the order in
which they ran, called by the names chainrule has (`linear`, `conv2d`, `relu`, `softmax`, …).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np


@dataclass(eq=False)
class Op:
    """An operation that ran.

    Attributes:
        name: chainrule's name of it.
        path: the module that it ran in, such as `encoder.0`; empty for the outermost one.
        inputs: for each operand the position in `Pass.ops` of the operation that made it, or None.
        parameters: for each operand the name of the parameter that it is, or None.
        operands: the operands' values, where they are arrays.
        value: the result.
        gradient: ∂L/∂value, where a derivative passes; else None.
        attrs: its attributes (`axis`, `p`, `eps`, …).
        place: the user's line, such as `train.py:31`, or "".
    """

    name: str
    path: str
    inputs: tuple[int | None, ...]
    parameters: tuple[str | None, ...]
    operands: tuple[Any, ...]
    value: np.ndarray
    gradient: np.ndarray | None = None
    attrs: dict[str, Any] = field(default_factory=dict)
    place: str = ""


@dataclass(frozen=True)
class LossFacts:
    """What the loss is, as far as it is known.

    Attributes:
        kind: "cross_entropy" (logits and labels), "nll" (log-probabilities and labels), "bce"
            (probabilities), "bce_with_logits", "mse", "mae", "huber"; "custom" for any other.
        reduction: "mean", "sum", or "unknown".
        name: how the user would write it (`nn.cross_entropy`), for messages.
        prediction: the position in `Pass.ops` of the operation whose value the loss takes as
            prediction; None where it takes the input itself, or is not known.
        operation: the position of the loss's own first operation.
        target: what it compares with, as it was given to the loss.
        sign: −1 where the loss is negated before the backward pass.
        options: label smoothing, class weights and the like, as far as they differ from none.
    """

    kind: str
    reduction: str = "unknown"
    name: str = ""
    prediction: int | None = None
    operation: int | None = None
    target: np.ndarray | None = None
    options: dict[str, Any] = field(default_factory=dict)
    sign: float = 1.0


@dataclass(eq=False)
class Pass:
    """A forward pass to the loss, and back.

    Attributes:
        ops: oldest first, those of the loss too.
        output: the position of the operation that made the model's output; None where the model
            gave back its input, or several things.
        outputs: the value of the model's output.
        loss: its value; NaN and infinity are kept.
        facts: what the loss is.
        x, y: the batch.
        parameters: every parameter's value, by name (a copy).
        gradients: every parameter's gradient, by name; None where no derivative reaches it.
        frozen: names of the parameters that ask for no gradient.
        error: what the model or loss raised, if it did not run; then the rest is as far as it got.
        unregistered: the user's lines where the model uses parameters that it does not know of, one
            for each: those of layers in a plain list.
    """

    x: np.ndarray
    y: np.ndarray | None
    ops: list[Op] = field(default_factory=list)
    output: int | None = None
    outputs: np.ndarray | None = None
    loss: float = float("nan")
    facts: LossFacts = LossFacts("custom")
    parameters: dict[str, np.ndarray] = field(default_factory=dict)
    gradients: dict[str, np.ndarray | None] = field(default_factory=dict)
    frozen: frozenset[str] = frozenset()
    training: bool = True
    error: BaseException | None = None
    unregistered: tuple[str, ...] = ()

    @cached_property
    def readers(self) -> list[list[int]]:
        """For each operation the positions of those that took its result."""
        found: list[list[int]] = [[] for _ in self.ops]
        for i, op in enumerate(self.ops):
            for source in op.inputs:
                if source is not None and i not in found[source]:
                    found[source].append(i)
        return found

    @cached_property
    def layers(self) -> list[Layer]:
        """The layers that have weights, in the order in which they ran; see `layers_of`."""
        from chainrule.lens.diagnose.layers import layers_of

        return layers_of(self)

    def activation_path(self, layer: Layer) -> str:
        """The module that is a layer's activation; "" where the model's code calls a function."""
        return "" if layer.activation_op is None else self.ops[layer.activation_op].path

    def place(self, at: int) -> str:
        """Where a finding about an operation points: the module that it ran in. Of one that the
        model's outermost code calls, the layer whose result it takes; "model" where there is none,
        and "loss" for the loss's own operations."""
        ends = (self.facts.operation, None if self.output is None else self.output + 1)
        if at >= min((end for end in ends if end is not None), default=len(self.ops)):
            return self.ops[at].path or "loss"
        source: int | None = at
        while source is not None:
            op = self.ops[source]
            parameter = next((p for p in op.parameters if p is not None), "")
            if op.path or parameter:
                return op.path or parameter.rpartition(".")[0] or parameter
            source = next((s for s in op.inputs if s is not None), None)
        return "model"

    def model_ops(self) -> Iterator[tuple[int, Op]]:
        """(position, operation) of those of the model, without the loss."""
        first = self.facts.operation
        for i, op in enumerate(self.ops):
            if first is None or i < first:
                yield i, op


@dataclass(eq=False)
class Layer:
    """A layer with weights, and what follows it up to the next one.

    Attributes:
        path: the module's path, such as `2`; where several have the same, the parameter's name.
        kind: "linear", "conv", "embedding", "recurrent", "attention" or "matmul".
        op: the position of the operation with the weight.
        weight, bias: parameters' names.
        fan_in: how many numbers each unit adds up; `units`: how many it gives.
        x: what it takes; `z`: what it gives; `h`: what its activation gives (or z).
        norm: the name of a normalisation between z and the activation, or "".
        activation: the activation's name, or "".
        activation_op, norm_op: their positions, or None.
        delta: ∂L/∂z; `h_gradient`: ∂L/∂h.
        residual: whether h or z is added to something that went around the layer.
        last: whether its result is the model's output (through activation, softmax, reshape).
        unit_axis: the axis of z and h that counts units: -1, or 1 for convolutions.
    """

    path: str
    kind: str
    op: int
    weight: str | None
    bias: str | None
    fan_in: int
    units: int
    x: np.ndarray | None
    z: np.ndarray
    h: np.ndarray
    norm: str = ""
    activation: str = ""
    norm_op: int | None = None
    activation_op: int | None = None
    delta: np.ndarray | None = None
    h_gradient: np.ndarray | None = None
    residual: bool = False
    last: bool = False
    unit_axis: int = -1
    dropout: float = 0.0

    def by_unit(self, values: np.ndarray) -> np.ndarray:
        """(everything else, units): `z` or `h` as a row for each example (and place)."""
        return np.moveaxis(values, self.unit_axis, -1).reshape(-1, values.shape[self.unit_axis])
