"""Dense layers, and layers that only change the shape."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from chainrule.nn import init
from chainrule.nn.layers.layer import Layer, cast, positive
from chainrule.nn.module import Parameter
from chainrule.ops.linear_algebra import linear
from chainrule.ops.structure import flatten, reshape
from chainrule.tensor.creation import as_operand, zeros
from chainrule.tensor.shapes import normalise_axis
from chainrule.tensor.tensor import Tensor


class Linear(Layer):
    """y = x Wᵀ + b: a dense layer.

    Takes (…, in_features) and gives (…, out_features). Floating-point input is cast to the
    parameters' dtype.

    Args:
        in_features: the size of the last axis of what comes in.
        out_features: the size of the last axis of what comes out.
        bias: whether there is a b.

    Attributes:
        weight: (out_features, in_features), drawn from U(−k, k) with k = 1/√in_features.
        bias: (out_features,), drawn the same; or None.

    Raises:
        ShapeError: the last axis is not `in_features` long.
        DTypeError: the input holds integers, which `x.astype(cr.float32)` makes numbers to compute
            with, and `nn.Embedding` takes as indices.

    >>> import chainrule as cr
    >>> Linear(3, 2)(cr.ones((4, 3))).shape
    (4, 2)
    """

    def __init__(self, in_features: int, out_features: int, bias: bool = True) -> None:
        self.in_features = positive(in_features, "in_features")
        self.out_features = positive(out_features, "out_features")
        self.weight = Parameter(zeros((self.out_features, self.in_features)))
        self.bias = Parameter(zeros((self.out_features,))) if bias else None
        init.reset_affine(self.weight, self.bias)

    def forward(self, x: Any) -> Tensor:
        weight = self.weight
        return linear(cast(x, weight), weight, self.bias)


class Identity(Layer):
    """What comes in, goes out.

    >>> Identity()(3)
    3
    """

    def forward(self, x: Any) -> Any:
        return x


class Flatten(Layer):
    """The axes from `start_dim` to `end_dim` made into one; the first is left as the batch.

    >>> import chainrule as cr
    >>> Flatten()(cr.ones((2, 3, 4))).shape
    (2, 12)
    """

    def __init__(self, start_dim: int = 1, end_dim: int = -1) -> None:
        self.start_dim, self.end_dim = start_dim, end_dim

    def forward(self, x: Any) -> Tensor:
        return flatten(x, self.start_dim, self.end_dim)


class Unflatten(Layer):
    """One axis, `dim`, made into several of the sizes `unflattened_size`, one of which may be −1.

    >>> import chainrule as cr
    >>> Unflatten(1, (3, 4))(cr.ones((2, 12))).shape
    (2, 3, 4)
    """

    def __init__(self, dim: int, unflattened_size: Sequence[int]) -> None:
        self.dim, self.unflattened_size = dim, tuple(unflattened_size)

    def forward(self, x: Any) -> Tensor:
        x = as_operand(x)
        axis = normalise_axis(self.dim, x.ndim)
        return reshape(x, (*x.shape[:axis], *self.unflattened_size, *x.shape[axis + 1 :]))
