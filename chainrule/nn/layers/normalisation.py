"""Layers that shift and scale their input to mean 0 and variance 1."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from chainrule.errors import ShapeError
from chainrule.nn.layers.layer import Layer, cast, positive
from chainrule.nn.module import Buffer, Parameter
from chainrule.ops.normalisation import batch_norm, layer_norm
from chainrule.ops.reduction import mean, var
from chainrule.ops.structure import stop_gradient
from chainrule.tensor import dtypes
from chainrule.tensor.creation import as_operand, ones, zeros
from chainrule.tensor.graph import no_grad
from chainrule.tensor.shapes import normalise_shape
from chainrule.tensor.tensor import Tensor


class LayerNorm(Layer):
    """Each example by itself: y = (x − mean) / √(variance + eps) · weight + bias, over the last
    axes (Ba, Kiros, Hinton 2016, arXiv:1607.06450).

    Args:
        normalized_shape: the sizes of the last axes, over which mean and variance are taken; one
            number for the last alone.
        eps: keeps the root away from 0.
        elementwise_affine: whether there are a weight and a bias.
        bias: whether there is a bias beside the weight.

    Attributes:
        weight: (*normalized_shape,), ones; or None.
        bias: (*normalized_shape,), zeros; or None.

    >>> import chainrule as cr
    >>> LayerNorm(2)(cr.asarray([[1.0, 3.0]])).numpy().round(3).tolist()
    [[-1.0, 1.0]]
    """

    def __init__(
        self,
        normalized_shape: int | Sequence[int],
        eps: float = 1e-5,
        elementwise_affine: bool = True,
        bias: bool = True,
    ) -> None:
        self.normalized_shape = normalise_shape(normalized_shape)
        self.eps = eps
        self.elementwise_affine = bool(elementwise_affine)
        shape = self.normalized_shape
        self.weight = Parameter(ones(shape)) if elementwise_affine else None
        self.bias = Parameter(zeros(shape)) if elementwise_affine and bias else None

    def forward(self, x: Any) -> Tensor:
        if self.weight is not None:
            x = cast(x, self.weight)
        return layer_norm(x, self.normalized_shape, self.weight, self.bias, self.eps)


class _BatchNorm(Layer):
    """y = (x − mean) / √(variance + eps) · weight + bias, with mean and variance of each channel
    over the batch in training, and as tracked over the batches in use (Ioffe, Szegedy 2015,
    arXiv:1502.03167).

    Args:
        num_features: how many channels, the size of axis 1.
        eps: keeps the root away from 0.
        momentum: how far the tracked mean and variance move to a batch's; None averages all
            batches alike.
        affine: whether there are a weight and a bias.
        track_running_stats: whether mean and variance are tracked; without, the batch's are used
            always.

    Attributes:
        weight, bias: (num_features,), ones and zeros; or None.
        running_mean, running_var: (num_features,), what was tracked; the variance without bias
            (divided by n − 1), as in PyTorch.
        num_batches_tracked: how many batches were.

    Raises:
        ShapeError: a wrong number of axes or channels; a batch of a single value for each channel
            in training, which has no variance.
    """

    _dimensions: tuple[int, ...]

    def __init__(
        self,
        num_features: int,
        eps: float = 1e-5,
        momentum: float | None = 0.1,
        affine: bool = True,
        track_running_stats: bool = True,
    ) -> None:
        self.num_features = n = positive(num_features, "num_features")
        self.eps, self.momentum = eps, momentum
        self.affine, self.track_running_stats = bool(affine), bool(track_running_stats)
        self.weight = Parameter(ones((n,))) if affine else None
        self.bias = Parameter(zeros((n,))) if affine else None
        tracked = track_running_stats
        self.running_mean = Buffer(zeros((n,))) if tracked else None
        self.running_var = Buffer(ones((n,))) if tracked else None
        self.num_batches_tracked = Buffer(zeros((), dtype=dtypes.int64)) if tracked else None

    def forward(self, x: Any) -> Tensor:
        reference = self.weight if self.weight is not None else self.running_mean
        x = as_operand(x) if reference is None else cast(x, reference)
        self._check(x)
        if self.running_mean is not None and self.running_var is not None and not self.training:
            return batch_norm(
                x, self.running_mean, self.running_var, self.weight, self.bias, self.eps
            )
        if self.training and self.running_mean is not None:
            self._track(x)
        return batch_norm(x, None, None, self.weight, self.bias, self.eps)

    def _check(self, x: Tensor) -> None:
        if x.ndim not in self._dimensions or x.shape[1] != self.num_features:
            axes = " or ".join(
                f"(batch, {self.num_features}{', length' * (n == 3)}{', height, width' * (n == 4)})"
                for n in self._dimensions
            )
            raise ShapeError(f"{type(self).__name__} takes {axes}, not {x.shape}")
        if self.training and x.size == self.num_features:
            raise ShapeError(
                f"one value for each channel, as in {x.shape}, has no variance to divide by in "
                "training. Leave the last, smaller batch out (drop_last=True), or call "
                "model.eval() to use the tracked statistics."
            )

    def _track(self, x: Tensor) -> None:
        """running ← (1 − m) running + m batch, with m the momentum, or 1 / batches seen."""
        assert self.running_mean is not None
        assert self.running_var is not None
        assert self.num_batches_tracked is not None
        axes = (0, *range(2, x.ndim))
        with no_grad():
            x = stop_gradient(x)
            self.num_batches_tracked.assign(self.num_batches_tracked + 1)
            share: Any = self.momentum
            if share is None:
                share = 1 / self.num_batches_tracked.astype(x.dtype)
            for running, batch in (
                (self.running_mean, mean(x, axes)),
                (self.running_var, var(x, axes, correction=1)),
            ):
                running.assign(running + (batch - running) * share)


class BatchNorm1d(_BatchNorm):
    __doc__ = f"""Of (batch, channels) or (batch, channels, length): {_BatchNorm.__doc__}
    >>> import chainrule as cr
    >>> BatchNorm1d(1)(cr.asarray([[1.0], [3.0]])).numpy().round(3).tolist()
    [[-1.0], [1.0]]
    """

    _dimensions = (2, 3)


class BatchNorm2d(_BatchNorm):
    __doc__ = f"""Of (batch, channels, height, width): {_BatchNorm.__doc__}
    >>> import chainrule as cr
    >>> BatchNorm2d(3)(cr.ones((2, 3, 4, 4))).shape
    (2, 3, 4, 4)
    """

    _dimensions = (4,)
