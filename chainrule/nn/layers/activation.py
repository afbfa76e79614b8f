"""The activations as layers. Each is one function of `chainrule.ops`, whose formula, source and
arguments it has."""

from __future__ import annotations

from typing import Any

from chainrule.errors import DTypeError, ShapeError
from chainrule.nn.layers.layer import FunctionLayer, Layer, cast, positive
from chainrule.nn.module import Parameter
from chainrule.ops import activation as ops
from chainrule.ops.arithmetic import maximum
from chainrule.ops.choosing import where
from chainrule.ops.exponential import log, log1p
from chainrule.ops.indexing import one_hot
from chainrule.ops.random import uniform
from chainrule.ops.reduction import argmax
from chainrule.ops.softmax import log_softmax, softmax
from chainrule.ops.structure import moveaxis, stop_gradient
from chainrule.ops.trigonometry import tanh
from chainrule.tensor import dtypes
from chainrule.tensor.creation import as_operand, full
from chainrule.tensor.locate import located
from chainrule.tensor.tensor import Tensor


@located
def softplus(x: Any, beta: float = 1.0, threshold: float = 20.0) -> Tensor:
    """log(1 + exp(βx)) / β, and x itself where βx > `threshold`, as in PyTorch.

    Raises:
        DTypeError: beta is not positive.

    >>> import chainrule as cr
    >>> softplus(cr.asarray([0.0, 100.0]), 2.0).numpy().round(4).tolist()
    [0.3465999960899353, 100.0]
    """
    if not isinstance(beta, (int, float)) or not beta > 0:
        raise DTypeError(f"beta is a positive number, not {beta!r}")
    x = as_operand(x)
    scaled = x if beta == 1 else x * beta
    smooth = ops.softplus(scaled)
    return where(scaled > threshold, x, smooth if beta == 1 else smooth / beta)


@located
def softmin(x: Any, axis: int = -1) -> Tensor:
    """softmax(−x): positive numbers that add up to 1, the larger the smaller x is.

    >>> import chainrule as cr
    >>> softmin(cr.asarray([0.0, 1000.0]))
    tensor([1., 0.])
    """
    return softmax(-as_operand(x), axis)


@located
def gumbel_softmax(
    logits: Any, tau: float = 1.0, hard: bool = False, *, axis: int = -1, generator: Any = None
) -> Tensor:
    """softmax((logits + g) / tau) with Gumbel noise g: a sample of the categorical distribution,
    softened so that derivatives flow (Jang, Gu, Poole 2016, arXiv:1611.01144; Maddison, Mnih, Teh
    2016, arXiv:1611.00712).

    Args:
        tau: the temperature; towards 0 it becomes a sample proper.
        hard: give the sample itself, a one among zeros, with the derivative of the soft one.

    Raises:
        DTypeError: tau is not positive, or logits are no floating-point numbers.

    >>> import chainrule as cr
    >>> gumbel_softmax(cr.asarray([0.0, 1000.0]), hard=True).tolist()
    [0.0, 1.0]
    """
    x = as_operand(logits)
    if isinstance(tau, bool) or not isinstance(tau, (int, float)) or not tau > 0:
        raise DTypeError(f"tau is a positive number, not {tau!r}")
    if not dtypes.is_float(x.dtype):
        raise DTypeError(f"logits are floating-point numbers, and these are {x.dtype}")
    # An exponential number is −log(1 − u), kept above 0; minus its logarithm has Gumbel's law.
    waiting = maximum(-log1p(-uniform(x.shape, generator=generator)), 1e-30)
    soft = softmax((x - log(waiting).astype(x.dtype)) / tau, axis)
    if not hard:
        return soft
    chosen = moveaxis(one_hot(argmax(soft, axis=axis), x.shape[axis], dtype=x.dtype), -1, axis)
    return chosen - stop_gradient(soft) + soft


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


class Softplus(FunctionLayer, function=softplus): ...


class Softsign(FunctionLayer, function=ops.softsign): ...


class ReLU6(FunctionLayer, function=ops.relu6): ...


class Hardtanh(FunctionLayer, function=ops.hardtanh): ...


class Hardsigmoid(FunctionLayer, function=ops.hardsigmoid): ...


class Hardswish(FunctionLayer, function=ops.hardswish): ...


class CELU(FunctionLayer, function=ops.celu): ...


class Hardshrink(FunctionLayer, function=ops.hardshrink): ...


class Softshrink(FunctionLayer, function=ops.softshrink): ...


class Tanhshrink(FunctionLayer, function=ops.tanhshrink): ...


class Threshold(Layer):
    """x where it is above `threshold`, else `value`.

    >>> import chainrule as cr
    >>> Threshold(0.5, -1.0)(cr.asarray([0.0, 1.0]))
    tensor([-1.,  1.])
    """

    def __init__(self, threshold: float, value: float) -> None:
        self.threshold, self.value = threshold, value

    def forward(self, x: Any) -> Tensor:
        return ops.threshold(x, self.threshold, self.value)


class GLU(Layer):
    """a · sigmoid(b), with a and b the two halves of what comes in along the axis `dim`
    (Dauphin et al. 2016, arXiv:1612.08083).

    >>> import chainrule as cr
    >>> GLU()(cr.ones((2, 6))).shape
    (2, 3)
    """

    def __init__(self, dim: int = -1) -> None:
        self.dim = dim

    def forward(self, x: Any) -> Tensor:
        return ops.glu(x, self.dim)


class PReLU(Layer):
    """x where it is positive, else w · x, with slopes w that are learnt (He et al. 2015,
    arXiv:1502.01852).

    Args:
        num_parameters: 1, or the number of channels (axis 1), each with a slope of its own.
        init: the first slope.

    Attributes:
        weight: (num_parameters,), the slopes.

    >>> import chainrule as cr
    >>> PReLU()(cr.asarray([-4.0, 4.0])).tolist()
    [-1.0, 4.0]
    """

    def __init__(self, num_parameters: int = 1, init: float = 0.25) -> None:
        self.num_parameters, self.init = positive(num_parameters, "num_parameters"), init
        self.weight = Parameter(full((self.num_parameters,), float(init)))

    def forward(self, x: Any) -> Tensor:
        return ops.prelu(cast(x, self.weight), self.weight)


class RReLU(Layer):
    """A leaky relu whose slopes are drawn from U(lower, upper) in training, one for each element,
    and are their mean in use (Xu et al. 2015, arXiv:1505.00853).

    >>> import chainrule as cr
    >>> RReLU(0.25, 0.75).eval()(cr.asarray([-2.0, 3.0])).tolist()
    [-1.0, 3.0]
    """

    def __init__(self, lower: float = 1 / 8, upper: float = 1 / 3) -> None:
        self.lower, self.upper = lower, upper

    def forward(self, x: Any) -> Tensor:
        return ops.rrelu(x, self.lower, self.upper, training=self.training)


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


class Softmin(Layer):
    """softmax(−x) along the axis `dim`: the smallest number gets the most.

    >>> import chainrule as cr
    >>> Softmin()(cr.asarray([0.0, 1000.0])).tolist()
    [1.0, 0.0]
    """

    def __init__(self, dim: int = -1) -> None:
        self.dim = dim

    def forward(self, x: Any) -> Tensor:
        return softmin(x, self.dim)


class Softmax2d(Layer):
    """Softmax over the channels of each pixel, of (batch, channels, height, width) or one image.

    >>> import chainrule as cr
    >>> Softmax2d()(cr.zeros((1, 4, 1, 1))).reshape(-1).tolist()
    [0.25, 0.25, 0.25, 0.25]
    """

    def forward(self, x: Any) -> Tensor:
        x = as_operand(x)
        if x.ndim not in (3, 4):
            raise ShapeError(
                f"Softmax2d takes (channels, height, width), with a batch in front or without, not "
                f"{x.shape}"
            )
        return softmax(x, -3)
