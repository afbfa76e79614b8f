"""Convolution over sequences, images and volumes, and transposed."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, ClassVar

from chainrule.errors import DTypeError, ShapeError
from chainrule.nn import init
from chainrule.nn.layers.layer import Layer, cast, positive
from chainrule.nn.module import Parameter
from chainrule.ops.convolution import conv2d, steps_of
from chainrule.ops.convolution_ranks import (
    conv1d,
    conv3d,
    conv_transpose1d,
    conv_transpose2d,
    conv_transpose3d,
)
from chainrule.ops.joining import pad
from chainrule.tensor.creation import zeros
from chainrule.tensor.shapes import sizes
from chainrule.tensor.tensor import Tensor

Size = int | Sequence[int]


class _Convolution(Layer):
    """What the convolutions share: their parameters. A class says its `rank` and its function."""

    rank: ClassVar[int]
    function: ClassVar[Callable[..., Tensor]]

    def __init_subclass__(
        cls, rank: int = 0, function: Callable[..., Tensor] | None = None, **rest: Any
    ) -> None:
        super().__init_subclass__(**rest)
        if function is not None:
            cls.rank, cls.function = rank, staticmethod(function)

    def _make(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: Size,
        groups: int,
        bias: bool,
        transposed: bool,
    ) -> None:
        self.in_channels = positive(in_channels, "in_channels")
        self.out_channels = positive(out_channels, "out_channels")
        self.kernel_size = sizes(kernel_size, self.rank, "kernel_size")
        self.groups = positive(groups, "groups")
        if in_channels % groups or out_channels % groups:
            raise ShapeError(
                f"groups {groups} does not divide both in_channels {in_channels} and out_channels "
                f"{out_channels}"
            )
        first, second = out_channels, in_channels
        if transposed:
            first, second = in_channels, out_channels
        self.weight = Parameter(zeros((first, second // groups, *self.kernel_size)))
        self.bias = Parameter(zeros((out_channels,))) if bias else None
        init.reset_affine(self.weight, self.bias)


class _Forward(_Convolution):
    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: Size,
        stride: Size = 1,
        padding: Size | str = 0,
        dilation: Size = 1,
        groups: int = 1,
        bias: bool = True,
        padding_mode: str = "zeros",
    ) -> None:
        self._make(in_channels, out_channels, kernel_size, groups, bias, transposed=False)
        self.stride, self.padding, self.dilation = stride, padding, dilation
        if padding_mode not in ("zeros", "reflect", "replicate", "circular"):
            raise DTypeError(
                'padding_mode is "zeros", "reflect", "replicate" or "circular", not '
                f"{padding_mode!r}"
            )
        self.padding_mode = padding_mode

    def forward(self, x: Any) -> Tensor:
        weight = self.weight  # read once: it may be computed (nn.utils.parametrize)
        x, padding = cast(x, weight), self.padding
        if self.padding_mode != "zeros":
            steps = steps_of(self.kernel_size, self.stride, padding, self.dilation, self.groups)
            edges = ((0, 0),) * (x.ndim - self.rank) + steps["padding"]
            x, padding = pad(x, edges, mode=self.padding_mode), 0
        return type(self).function(
            x,
            weight,
            self.bias,
            stride=self.stride,
            padding=padding,
            dilation=self.dilation,
            groups=self.groups,
        )


class Conv2d(_Forward, rank=2, function=conv2d):
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
        padding: how much is put around the image; "same" keeps its size, "valid" is 0.
        dilation: how far apart the pixels are that a pattern looks at.
        groups: into how many parts the channels are cut, each with patterns of its own.
        bias: whether a number is added to each output channel.
        padding_mode: what is put around: "zeros", or the image continued ("reflect", "replicate",
            "circular", as in `pad`).

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


class Conv1d(_Forward, rank=1, function=conv1d):
    """A small pattern for each output channel, matched at every place of a sequence.

    Takes (batch, in_channels, length), or one sequence without the batch. Arguments, attributes
    and errors as in `Conv2d`, with one axis in place of two.

    >>> import chainrule as cr
    >>> Conv1d(8, 16, 3, stride=2)(cr.ones((2, 8, 21))).shape
    (2, 16, 10)
    """


class Conv3d(_Forward, rank=3, function=conv3d):
    """A small pattern for each output channel, matched at every place of a volume.

    Takes (batch, in_channels, depth, height, width), or one volume without the batch. Arguments,
    attributes and errors as in `Conv2d`, with three axes in place of two.

    >>> import chainrule as cr
    >>> Conv3d(1, 4, 3, padding="same")(cr.ones((2, 1, 5, 6, 7))).shape
    (2, 4, 5, 6, 7)
    """


class _Transposed(_Convolution):
    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: Size,
        stride: Size = 1,
        padding: Size = 0,
        output_padding: Size = 0,
        groups: int = 1,
        bias: bool = True,
        dilation: Size = 1,
    ) -> None:
        self._make(in_channels, out_channels, kernel_size, groups, bias, transposed=True)
        self.stride, self.padding, self.dilation = stride, padding, dilation
        self.output_padding = output_padding

    def forward(self, x: Any) -> Tensor:
        weight = self.weight
        return type(self).function(
            cast(x, weight),
            weight,
            self.bias,
            stride=self.stride,
            padding=self.padding,
            output_padding=self.output_padding,
            groups=self.groups,
            dilation=self.dilation,
        )


class ConvTranspose2d(_Transposed, rank=2, function=conv_transpose2d):
    """A small pattern for each pair of channels, put into a larger image at every pixel.

    Takes (batch, in_channels, height, width), or one image without the batch, and gives
    (batch, out_channels, height′, width′) with

        height′ = (height − 1) stride − 2 padding + dilation (kernel − 1) + output_padding + 1.

    It is the transpose of the `Conv2d` with the same arguments as a linear map, not its inverse.

    Args:
        in_channels, out_channels: the channels of what comes in and of what goes out.
        kernel_size: height and width of a pattern, or one number for both; as for those below.
        stride: how far apart the patterns are put.
        padding: how much is cut off at every side.
        output_padding: how much larger the result is at its end, as a stride leaves open.
        groups: into how many parts the channels are cut, each with patterns of its own.
        bias: whether a number is added to each output channel.
        dilation: how far apart the pixels of a pattern are.

    Attributes:
        weight: (in_channels, out_channels / groups, height, width), drawn from U(−k, k) with
            k = 1/√(out_channels / groups · height · width).
        bias: (out_channels,), drawn the same; or None.

    Raises:
        ShapeError: `groups` does not divide the channels; the image has other channels;
            `output_padding` is as large as both stride and dilation.

    >>> import chainrule as cr
    >>> ConvTranspose2d(16, 8, 2, stride=2)(cr.ones((1, 16, 7, 7))).shape
    (1, 8, 14, 14)
    """


class ConvTranspose1d(_Transposed, rank=1, function=conv_transpose1d):
    """A small pattern for each pair of channels, put into a longer sequence at every element.

    Takes (batch, in_channels, length). Arguments, attributes and errors as in `ConvTranspose2d`.

    >>> import chainrule as cr
    >>> ConvTranspose1d(4, 2, 4, stride=2, padding=1)(cr.ones((1, 4, 10))).shape
    (1, 2, 20)
    """


class ConvTranspose3d(_Transposed, rank=3, function=conv_transpose3d):
    """A small pattern for each pair of channels, put into a larger volume at every place.

    Takes (batch, in_channels, depth, height, width). Arguments, attributes and errors as in
    `ConvTranspose2d`.

    >>> import chainrule as cr
    >>> ConvTranspose3d(4, 2, 2, stride=2)(cr.ones((1, 4, 2, 3, 4))).shape
    (1, 2, 4, 6, 8)
    """
