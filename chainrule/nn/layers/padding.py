"""Borders around sequences, images and volumes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar

from chainrule.errors import ShapeError
from chainrule.nn.layers.layer import Layer
from chainrule.ops.joining import pad
from chainrule.tensor.creation import as_operand
from chainrule.tensor.shapes import sizes
from chainrule.tensor.tensor import Tensor

Size = int | Sequence[int]


class _Padding(Layer):
    """A border around the last `rank` axes of (batch, channels, …), or of one without the batch.

    Its widths are PyTorch's: of the last axis first, (left, right, top, bottom, front, back).
    """

    rank: ClassVar[int]
    mode: ClassVar[str]

    def __init_subclass__(cls, rank: int = 0, mode: str = "", **rest: Any) -> None:
        super().__init_subclass__(**rest)
        cls.rank, cls.mode = rank, mode

    def __init__(self, padding: Size) -> None:
        self.padding = sizes(padding, 2 * self.rank, "padding")

    def forward(self, x: Any) -> Tensor:
        return self._pad(x)

    def _pad(self, x: Any, **more: Any) -> Tensor:
        x = as_operand(x)
        if x.ndim not in (self.rank + 1, self.rank + 2):
            raise ShapeError(
                f"{type(self).__name__} takes {self.rank + 2} dimensions, or {self.rank + 1} "
                f"without the batch, and this is {x.shape}"
            )
        widths = list(zip(self.padding[::2], self.padding[1::2], strict=True))[::-1]
        return pad(x, ((0, 0),) * (x.ndim - self.rank) + tuple(widths), mode=self.mode, **more)


class _Constant(_Padding):
    def __init__(self, padding: Size, value: float) -> None:
        super().__init__(padding)
        self.value = value

    def forward(self, x: Any) -> Tensor:
        return self._pad(x, value=self.value)


class ConstantPad1d(_Constant, rank=1, mode="constant"):
    """A border of `value` at both ends of a sequence: one width, or (left, right)."""


class ConstantPad2d(_Constant, rank=2, mode="constant"):
    """A border of `value` around an image.

    Args:
        padding: one width for all sides, or (left, right, top, bottom).
        value: what the border is made of.

    >>> import chainrule as cr
    >>> ConstantPad2d((1, 0, 0, 1), 7.0)(cr.zeros((1, 1, 2)))
    tensor([[[7., 0., 0.],
             [7., 7., 7.]]])
    """


class ConstantPad3d(_Constant, rank=3, mode="constant"):
    """A border of `value` around a volume: (left, right, top, bottom, front, back)."""


class ZeroPad1d(_Padding, rank=1, mode="constant"):
    """Zeros at both ends of a sequence: one width, or (left, right)."""


class ZeroPad2d(_Padding, rank=2, mode="constant"):
    """Zeros around an image: one width, or (left, right, top, bottom).

    >>> import chainrule as cr
    >>> ZeroPad2d(1)(cr.ones((1, 2, 2))).shape
    (1, 4, 4)
    """


class ZeroPad3d(_Padding, rank=3, mode="constant"):
    """Zeros around a volume: one width, or (left, right, top, bottom, front, back)."""


class ReflectionPad1d(_Padding, rank=1, mode="reflect"):
    """A sequence continued at both ends by its mirror image, without the edge itself.

    >>> import chainrule as cr
    >>> ReflectionPad1d(2)(cr.asarray([[1.0, 2.0, 3.0]]))
    tensor([[3., 2., 1., 2., 3., 2., 1.]])
    """


class ReflectionPad2d(_Padding, rank=2, mode="reflect"):
    """An image continued by its mirror image: one width, or (left, right, top, bottom)."""


class ReflectionPad3d(_Padding, rank=3, mode="reflect"):
    """A volume continued by its mirror image: (left, right, top, bottom, front, back)."""


class ReplicationPad1d(_Padding, rank=1, mode="replicate"):
    """A sequence with its first and last element repeated: one width, or (left, right)."""


class ReplicationPad2d(_Padding, rank=2, mode="replicate"):
    """An image with its edges repeated: one width, or (left, right, top, bottom)."""


class ReplicationPad3d(_Padding, rank=3, mode="replicate"):
    """A volume with its faces repeated: (left, right, top, bottom, front, back)."""


class CircularPad1d(_Padding, rank=1, mode="circular"):
    """A sequence continued from its other end: one width, or (left, right)."""


class CircularPad2d(_Padding, rank=2, mode="circular"):
    """An image continued from its other side: one width, or (left, right, top, bottom)."""


class CircularPad3d(_Padding, rank=3, mode="circular"):
    """A volume continued from its other side: (left, right, top, bottom, front, back)."""
