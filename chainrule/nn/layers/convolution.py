"""Convolution over images."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from chainrule.errors import ShapeError
from chainrule.nn import init
from chainrule.nn.layers.layer import Layer, cast, positive
from chainrule.nn.module import Parameter
from chainrule.ops.convolution import conv2d
from chainrule.tensor.creation import zeros
from chainrule.tensor.shapes import pair
from chainrule.tensor.tensor import Tensor

Size = int | Sequence[int]


class Conv2d(Layer):
    """A small pattern for each output channel, matched at every place of an image.

    Takes (batch, in_channels, height, width), or one image without the batch, and gives
    (batch, out_channels, height′, width′) with

        height′ = ⌊(height + 2 padding − dilation (kernel − 1) − 1) / stride⌋ + 1.

    Floating-point input is cast to the parameters' dtype.

    Args:
        in_channels: the channels of what comes in (1 for grey, 3 for colour).
        out_channels: how many patterns.
        kernel_size: height and width of a pattern, or one number for both; as for those below.
        stride: how far apart the places are.
        padding: how many zeros are put around the image.
        dilation: how far apart the pixels are that a pattern looks at.
        groups: into how many parts the channels are cut, each with patterns of its own.
        bias: whether a number is added to each output channel.

    Attributes:
        weight: (out_channels, in_channels / groups, height, width), drawn from U(−k, k) with
            k = 1/√(in_channels / groups · height · width).
        bias: (out_channels,), drawn the same; or None.

    Raises:
        ShapeError: `groups` does not divide the channels; the image has other channels, or is
            smaller than the pattern.

    >>> import chainrule as cr
    >>> Conv2d(1, 32, 3, padding=1)(cr.ones((2, 1, 28, 28))).shape
    (2, 32, 28, 28)
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: Size,
        stride: Size = 1,
        padding: Size = 0,
        dilation: Size = 1,
        groups: int = 1,
        bias: bool = True,
    ) -> None:
        self.in_channels = positive(in_channels, "in_channels")
        self.out_channels = positive(out_channels, "out_channels")
        self.kernel_size = pair(kernel_size, "kernel_size")
        self.stride, self.padding, self.dilation = stride, padding, dilation
        self.groups = positive(groups, "groups")
        if in_channels % groups or out_channels % groups:
            raise ShapeError(
                f"groups {groups} does not divide both in_channels {in_channels} and out_channels "
                f"{out_channels}"
            )
        shape = (out_channels, in_channels // groups, *self.kernel_size)
        self.weight = Parameter(zeros(shape))
        self.bias = Parameter(zeros((out_channels,))) if bias else None
        init.reset_affine(self.weight, self.bias)

    def forward(self, x: Any) -> Tensor:
        return conv2d(
            cast(x, self.weight),
            self.weight,
            self.bias,
            stride=self.stride,
            padding=self.padding,
            dilation=self.dilation,
            groups=self.groups,
        )
