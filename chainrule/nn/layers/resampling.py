"""Images of another size, and rearranged."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from chainrule.nn.layers.layer import Layer
from chainrule.ops.rearranging import channel_shuffle, fold, pixel_shuffle, pixel_unshuffle, unfold
from chainrule.ops.resampling import interpolate
from chainrule.tensor.tensor import Tensor

Size = int | Sequence[int]


class Upsample(Layer):
    """Sequences, images or volumes of another size, as `interpolate` does.

    Args:
        size, scale_factor: the new size, or how many times as large.
        mode: "nearest", "linear", "bilinear", "bicubic" or "trilinear".
        align_corners: whether the centres of the outermost pixels coincide, not their edges.
        recompute_scale_factor: whether pixels are placed by the sizes rather than by the factor.

    >>> import chainrule as cr
    >>> Upsample(scale_factor=2)(cr.ones((1, 3, 4, 5))).shape
    (1, 3, 8, 10)
    """

    def __init__(
        self,
        size: Size | None = None,
        scale_factor: float | Sequence[float] | None = None,
        mode: str = "nearest",
        align_corners: bool | None = None,
        recompute_scale_factor: bool | None = None,
    ) -> None:
        self.size, self.scale_factor, self.mode = size, scale_factor, mode
        self.align_corners = align_corners
        self.recompute_scale_factor = recompute_scale_factor

    def forward(self, x: Any) -> Tensor:
        return interpolate(x, **self.configuration())


class Unfold(Layer):
    """The windows of an image as columns, as `unfold` does.

    >>> import chainrule as cr
    >>> Unfold((2, 3))(cr.ones((2, 5, 3, 4))).shape
    (2, 30, 4)
    """

    def __init__(
        self, kernel_size: Size, dilation: Size = 1, padding: Size = 0, stride: Size = 1
    ) -> None:
        self.kernel_size, self.dilation = kernel_size, dilation
        self.padding, self.stride = padding, stride

    def forward(self, x: Any) -> Tensor:
        return unfold(x, **self.configuration())


class Fold(Layer):
    """An image of the size `output_size` to which columns are added as windows, as `fold` does.

    >>> import chainrule as cr
    >>> Fold((4, 5), (2, 2))(cr.ones((1, 12, 12))).shape
    (1, 3, 4, 5)
    """

    def __init__(
        self,
        output_size: Size,
        kernel_size: Size,
        dilation: Size = 1,
        padding: Size = 0,
        stride: Size = 1,
    ) -> None:
        self.output_size, self.kernel_size = output_size, kernel_size
        self.dilation, self.padding, self.stride = dilation, padding, stride

    def forward(self, x: Any) -> Tensor:
        return fold(x, **self.configuration())


class PixelShuffle(Layer):
    """Every r² channels spread out over r × r pixels, with r = `upscale_factor`.

    >>> import chainrule as cr
    >>> PixelShuffle(3)(cr.ones((1, 9, 4, 4))).shape
    (1, 1, 12, 12)
    """

    def __init__(self, upscale_factor: int) -> None:
        self.upscale_factor = upscale_factor

    def forward(self, x: Any) -> Tensor:
        return pixel_shuffle(x, self.upscale_factor)


class PixelUnshuffle(Layer):
    """Every r × r pixels put into r² channels, with r = `downscale_factor`."""

    def __init__(self, downscale_factor: int) -> None:
        self.downscale_factor = downscale_factor

    def forward(self, x: Any) -> Tensor:
        return pixel_unshuffle(x, self.downscale_factor)


class ChannelShuffle(Layer):
    """Channels of `groups` groups put side by side, as `channel_shuffle` does."""

    def __init__(self, groups: int) -> None:
        self.groups = groups

    def forward(self, x: Any) -> Tensor:
        return channel_shuffle(x, self.groups)
