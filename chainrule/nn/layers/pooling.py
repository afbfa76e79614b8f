"""Pooling: an image made smaller, from the largest or the mean of each window."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from chainrule.nn.layers.layer import Layer
from chainrule.ops.pooling import adaptive_avg_pool2d, avg_pool2d, max_pool2d
from chainrule.tensor.tensor import Tensor

Size = int | Sequence[int]


class MaxPool2d(Layer):
    """The largest number in each window, of (batch, channels, height, width).

    Args:
        kernel_size: height and width of the window, or one number for both; as for those below.
        stride: how far apart windows are; by default side by side.
        padding: how much is put around the image that is smaller than any number.
        dilation: how far apart the pixels of a window are.
        ceil_mode: whether windows may hang over the edge, so that nothing is left out.

    >>> import chainrule as cr
    >>> MaxPool2d(2)(cr.reshape(cr.arange(4.0), (1, 1, 2, 2))).item()
    3.0
    """

    def __init__(
        self,
        kernel_size: Size,
        stride: Size | None = None,
        padding: Size = 0,
        dilation: Size = 1,
        ceil_mode: bool = False,
    ) -> None:
        self.kernel_size, self.stride = kernel_size, stride
        self.padding, self.dilation, self.ceil_mode = padding, dilation, ceil_mode

    def forward(self, x: Any) -> Tensor:
        return max_pool2d(
            x,
            self.kernel_size,
            stride=self.stride,
            padding=self.padding,
            dilation=self.dilation,
            ceil_mode=self.ceil_mode,
        )


class AvgPool2d(Layer):
    """The mean of each window, of (batch, channels, height, width).

    Args:
        kernel_size: height and width of the window, or one number for both; as for those below.
        stride: how far apart windows are; by default side by side.
        padding: how many zeros are put around the image.
        ceil_mode: whether windows may hang over the edge, so that nothing is left out.
        count_include_pad: whether the zeros count as pixels.

    >>> import chainrule as cr
    >>> AvgPool2d(2)(cr.reshape(cr.arange(4.0), (1, 1, 2, 2))).item()
    1.5
    """

    def __init__(
        self,
        kernel_size: Size,
        stride: Size | None = None,
        padding: Size = 0,
        ceil_mode: bool = False,
        count_include_pad: bool = True,
    ) -> None:
        self.kernel_size, self.stride, self.padding = kernel_size, stride, padding
        self.ceil_mode, self.count_include_pad = ceil_mode, count_include_pad

    def forward(self, x: Any) -> Tensor:
        return avg_pool2d(
            x,
            self.kernel_size,
            stride=self.stride,
            padding=self.padding,
            ceil_mode=self.ceil_mode,
            count_include_pad=self.count_include_pad,
        )


class AdaptiveAvgPool2d(Layer):
    """The means of as many windows as make an image of the size `output_size`.

    >>> import chainrule as cr
    >>> AdaptiveAvgPool2d(1)(cr.ones((2, 3, 7, 5))).shape
    (2, 3, 1, 1)
    """

    def __init__(self, output_size: Size) -> None:
        self.output_size = output_size

    def forward(self, x: Any) -> Tensor:
        return adaptive_avg_pool2d(x, self.output_size)
