"""Pooling: sequences, images and volumes made smaller, from each window's numbers."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, ClassVar

from chainrule.nn.layers.layer import Layer
from chainrule.ops import pooling_ranks, pooling_to_size
from chainrule.ops.pooling import adaptive_avg_pool2d, avg_pool2d, max_pool2d
from chainrule.ops.pooling_ranks import avg_pool1d, avg_pool3d, max_pool1d, max_pool3d
from chainrule.ops.pooling_to_size import (
    adaptive_avg_pool1d,
    adaptive_avg_pool3d,
    adaptive_max_pool1d,
    adaptive_max_pool2d,
    adaptive_max_pool3d,
)
from chainrule.tensor.tensor import Tensor

Size = int | Sequence[int]


class _Pooling(Layer):
    """A layer whose arguments are its function's, behind the operands."""

    function: ClassVar[Callable[..., Any]]

    def __init_subclass__(cls, function: Callable[..., Any] | None = None, **rest: Any) -> None:
        super().__init_subclass__(**rest)
        if function is not None:
            cls.function = staticmethod(function)

    def forward(self, x: Any) -> Any:
        return type(self).function(x, **self.configuration())


class _Max(_Pooling):
    with_indices: ClassVar[Callable[..., Any]]

    def __init_subclass__(cls, function: Callable[..., Any] | None = None, **rest: Any) -> None:
        super().__init_subclass__(function, **rest)
        if function is not None:
            name = f"{function.__name__}_with_indices"
            module = pooling_to_size if hasattr(pooling_to_size, name) else pooling_ranks
            cls.with_indices = staticmethod(getattr(module, name))

    def forward(self, x: Any) -> Any:
        arguments = self.configuration()
        if arguments.pop("return_indices"):
            return type(self).with_indices(x, **arguments)
        return type(self).function(x, **arguments)


class _WindowMax(_Max):
    def __init__(
        self,
        kernel_size: Size,
        stride: Size | None = None,
        padding: Size = 0,
        dilation: Size = 1,
        return_indices: bool = False,
        ceil_mode: bool = False,
    ) -> None:
        self.kernel_size, self.stride = kernel_size, stride
        self.padding, self.dilation = padding, dilation
        self.return_indices, self.ceil_mode = return_indices, ceil_mode


class MaxPool2d(_WindowMax, function=max_pool2d):
    """The largest number in each window, of (batch, channels, height, width).

    Args:
        kernel_size: height and width of the window, or one number for both; as for those below.
        stride: how far apart windows are; by default side by side.
        padding: how much is put around the image that is smaller than any number.
        dilation: how far apart the pixels of a window are.
        return_indices: whether to give (values, indices), as `max_pool2d_with_indices` does.
        ceil_mode: whether windows may hang over the edge, so that nothing is left out.

    >>> import chainrule as cr
    >>> MaxPool2d(2)(cr.reshape(cr.arange(4.0), (1, 1, 2, 2))).item()
    3.0
    """


class MaxPool1d(_WindowMax, function=max_pool1d):
    """The largest number in each window, of (batch, channels, length); as `MaxPool2d`.

    >>> import chainrule as cr
    >>> MaxPool1d(2)(cr.asarray([[[1.0, 3.0, 2.0, 4.0]]])).flatten()
    tensor([3., 4.])
    """


class MaxPool3d(_WindowMax, function=max_pool3d):
    """The largest number in each window, of (batch, channels, depth, height, width).

    >>> import chainrule as cr
    >>> MaxPool3d(2)(cr.ones((1, 2, 4, 6, 6))).shape
    (1, 2, 2, 3, 3)
    """


class _Unpool(Layer):
    function: ClassVar[Callable[..., Tensor]]

    def __init_subclass__(cls, function: Callable[..., Tensor] | None = None, **rest: Any) -> None:
        super().__init_subclass__(**rest)
        if function is not None:
            cls.function = staticmethod(function)

    def __init__(self, kernel_size: Size, stride: Size | None = None, padding: Size = 0) -> None:
        self.kernel_size, self.stride, self.padding = kernel_size, stride, padding

    def forward(self, x: Any, indices: Any, output_size: Any = None) -> Tensor:
        arguments = self.configuration()
        return type(self).function(x, indices, **arguments, output_size=output_size)


class MaxUnpool1d(_Unpool, function=pooling_ranks.max_unpool1d):
    """A sequence with the numbers that `MaxPool1d` chose back at their places, zeros elsewhere."""


class MaxUnpool2d(_Unpool, function=pooling_ranks.max_unpool2d):
    """An image with the numbers that `MaxPool2d` chose back at their places, zeros elsewhere.

    >>> import chainrule as cr
    >>> x = cr.reshape(cr.arange(4.0), (1, 1, 2, 2))
    >>> MaxUnpool2d(2)(*MaxPool2d(2, return_indices=True)(x)).flatten()
    tensor([0., 0., 0., 3.])
    """


class MaxUnpool3d(_Unpool, function=pooling_ranks.max_unpool3d):
    """A volume with the numbers that `MaxPool3d` chose back at their places, zeros elsewhere."""


class AvgPool1d(_Pooling, function=avg_pool1d):
    """The mean of each window, of (batch, channels, length); as `AvgPool2d`.

    >>> import chainrule as cr
    >>> AvgPool1d(2)(cr.asarray([[[1.0, 3.0, 2.0, 4.0]]])).flatten()
    tensor([2., 3.])
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


class _Mean(_Pooling):
    def __init__(
        self,
        kernel_size: Size,
        stride: Size | None = None,
        padding: Size = 0,
        ceil_mode: bool = False,
        count_include_pad: bool = True,
        divisor_override: int | None = None,
    ) -> None:
        self.kernel_size, self.stride, self.padding = kernel_size, stride, padding
        self.ceil_mode, self.count_include_pad = ceil_mode, count_include_pad
        self.divisor_override = divisor_override


class AvgPool2d(_Mean, function=avg_pool2d):
    """The mean of each window, of (batch, channels, height, width).

    Args:
        kernel_size: height and width of the window, or one number for both; as for those below.
        stride: how far apart windows are; by default side by side.
        padding: how many zeros are put around the image.
        ceil_mode: whether windows may hang over the edge, so that nothing is left out.
        count_include_pad: whether the zeros count as pixels.
        divisor_override: what the sum of a window is divided by, in place of its pixels' number.

    >>> import chainrule as cr
    >>> AvgPool2d(2)(cr.reshape(cr.arange(4.0), (1, 1, 2, 2))).item()
    1.5
    """


class AvgPool3d(_Mean, function=avg_pool3d):
    """The mean of each window, of (batch, channels, depth, height, width); as `AvgPool2d`."""


class _Power(_Pooling):
    def __init__(
        self,
        norm_type: float,
        kernel_size: Size,
        stride: Size | None = None,
        ceil_mode: bool = False,
    ) -> None:
        self.norm_type, self.kernel_size = norm_type, kernel_size
        self.stride, self.ceil_mode = stride, ceil_mode


class LPPool1d(_Power, function=pooling_ranks.lp_pool1d):
    """(Σ xᵖ)^(1/p) over each window of (batch, channels, length), with p = `norm_type`.

    >>> import chainrule as cr
    >>> LPPool1d(2, 2)(cr.asarray([[[3.0, 4.0]]])).item()
    5.0
    """


class LPPool2d(_Power, function=pooling_ranks.lp_pool2d):
    """(Σ xᵖ)^(1/p) over each window of (batch, channels, height, width)."""


class LPPool3d(_Power, function=pooling_ranks.lp_pool3d):
    """(Σ xᵖ)^(1/p) over each window of (batch, channels, depth, height, width)."""


class _ToSize(_Pooling):
    def __init__(self, output_size: Any) -> None:
        self.output_size = output_size


class AdaptiveAvgPool1d(_ToSize, function=adaptive_avg_pool1d):
    """The means of as many windows as make a sequence of the length `output_size`."""


class AdaptiveAvgPool2d(_ToSize, function=adaptive_avg_pool2d):
    """The means of as many windows as make an image of the size `output_size`.

    One number for height and width, or a pair, of which None keeps an axis as it is.

    >>> import chainrule as cr
    >>> AdaptiveAvgPool2d(1)(cr.ones((2, 3, 7, 5))).shape
    (2, 3, 1, 1)
    """


class AdaptiveAvgPool3d(_ToSize, function=adaptive_avg_pool3d):
    """The means of as many windows as make a volume of the size `output_size`."""


class _MaxToSize(_Max):
    def __init__(self, output_size: Any, return_indices: bool = False) -> None:
        self.output_size, self.return_indices = output_size, return_indices


class AdaptiveMaxPool1d(_MaxToSize, function=adaptive_max_pool1d):
    """The largest of each of as many windows as make a sequence of the length `output_size`."""


class AdaptiveMaxPool2d(_MaxToSize, function=adaptive_max_pool2d):
    """The largest of each of as many windows as make an image of the size `output_size`.

    Args:
        output_size: one number for height and width, or a pair, of which None keeps an axis.
        return_indices: whether to give (values, indices).

    >>> import chainrule as cr
    >>> AdaptiveMaxPool2d((2, None))(cr.ones((2, 3, 7, 5))).shape
    (2, 3, 2, 5)
    """


class AdaptiveMaxPool3d(_MaxToSize, function=adaptive_max_pool3d):
    """The largest of each of as many windows as make a volume of the size `output_size`."""
