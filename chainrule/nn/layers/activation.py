"""The activations as layers. Each is one function of `chainrule.ops`, whose formula, source and
arguments it has."""

from __future__ import annotations

from typing import Any

from chainrule.nn.layers.layer import FunctionLayer, Layer
from chainrule.ops import activation as ops
from chainrule.ops.softmax import log_softmax, softmax
from chainrule.ops.trigonometry import tanh
from chainrule.tensor.tensor import Tensor


class ReLU(FunctionLayer, function=ops.relu): ...


class LeakyReLU(FunctionLayer, function=ops.leaky_relu): ...


class ELU(FunctionLayer, function=ops.elu): ...


class SELU(FunctionLayer, function=ops.selu): ...


class GELU(FunctionLayer, function=ops.gelu): ...


class SiLU(FunctionLayer, function=ops.silu): ...


class Mish(FunctionLayer, function=ops.mish): ...


class Sigmoid(FunctionLayer, function=ops.sigmoid): ...


class LogSigmoid(FunctionLayer, function=ops.log_sigmoid): ...


class Tanh(FunctionLayer, function=tanh): ...


class Softplus(FunctionLayer, function=ops.softplus): ...


class Softsign(FunctionLayer, function=ops.softsign): ...


class ReLU6(FunctionLayer, function=ops.relu6): ...


class Hardtanh(FunctionLayer, function=ops.hardtanh): ...


class Hardsigmoid(FunctionLayer, function=ops.hardsigmoid): ...


class Hardswish(FunctionLayer, function=ops.hardswish): ...


class Softmax(Layer):
    """Positive numbers that add up to 1 along an axis: exp(xᵢ) / Σⱼ exp(xⱼ).

    Args:
        dim: the axis of the classes; the last where PyTorch would warn.

    >>> import chainrule as cr
    >>> Softmax()(cr.zeros((1, 4))).tolist()
    [[0.25, 0.25, 0.25, 0.25]]
    """

    def __init__(self, dim: int = -1) -> None:
        self.dim = dim

    def forward(self, x: Any) -> Tensor:
        return softmax(x, self.dim)


class LogSoftmax(Layer):
    """log softmax(x) along the axis `dim`, exact where the softmax would round to 0."""

    def __init__(self, dim: int = -1) -> None:
        self.dim = dim

    def forward(self, x: Any) -> Tensor:
        return log_softmax(x, self.dim)
