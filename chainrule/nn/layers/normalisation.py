"""Layers that shift and scale their input, to mean 0 and variance 1 or a mean square of 1."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from chainrule.errors import DTypeError, ShapeError
from chainrule.nn.layers.layer import Layer, cast, positive
from chainrule.nn.module import Buffer, Parameter
from chainrule.ops.group_normalisation import group_norm, instance_norm, local_response_norm
from chainrule.ops.normalisation import batch_norm, layer_norm, rms_norm
from chainrule.ops.reduction import mean, var
from chainrule.ops.structure import reshape, stop_gradient
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


class RMSNorm(Layer):
    """Each example by itself: y = x / √(mean square + eps) · weight, over the last axes (Zhang,
    Sennrich 2019, arXiv:1910.07467).

    Args:
        normalized_shape: the sizes of the last axes, over which the mean is taken; one number for
            the last alone.
        eps: keeps the root away from 0; None is the dtype's own, such as 1.19e-7 for float32.
        elementwise_affine: whether there is a weight.

    Attributes:
        weight: (*normalized_shape,), ones; or None.

    >>> import chainrule as cr
    >>> RMSNorm(2)(cr.asarray([[3.0, 3.0]])).numpy().round(3).tolist()
    [[1.0, 1.0]]
    """

    def __init__(
        self,
        normalized_shape: int | Sequence[int],
        eps: float | None = None,
        elementwise_affine: bool = True,
    ) -> None:
        self.normalized_shape = normalise_shape(normalized_shape)
        self.eps, self.elementwise_affine = eps, bool(elementwise_affine)
        self.weight = Parameter(ones(self.normalized_shape)) if elementwise_affine else None

    def forward(self, x: Any) -> Tensor:
        if self.weight is not None:
            x = cast(x, self.weight)
        return rms_norm(x, self.normalized_shape, self.weight, self.eps)


class GroupNorm(Layer):
    """Each group of channels of each example shifted and scaled to mean 0 and variance 1, then by
    a weight and a bias for each channel (Wu, He 2018, arXiv:1803.08494).

    Takes (batch, num_channels, …). With one group it is layer normalisation, with one for each
    channel instance normalisation.

    Args:
        num_groups: into how many groups the channels are cut.
        num_channels: how many channels, the size of axis 1.
        eps: keeps the root away from 0.
        affine: whether there are a weight and a bias.
        bias: whether there is a bias beside the weight.

    Attributes:
        weight, bias: (num_channels,), ones and zeros; or None.

    Raises:
        ShapeError: the groups do not divide the channels; other channels come in.

    >>> import chainrule as cr
    >>> GroupNorm(2, 4)(cr.ones((3, 4, 5))).shape
    (3, 4, 5)
    """

    def __init__(
        self,
        num_groups: int,
        num_channels: int,
        eps: float = 1e-5,
        affine: bool = True,
        *,
        bias: bool = True,
    ) -> None:
        self.num_groups = positive(num_groups, "num_groups")
        self.num_channels = n = positive(num_channels, "num_channels")
        if n % num_groups:
            raise ShapeError(f"num_groups {num_groups} does not divide num_channels {n}")
        self.eps, self.affine = eps, bool(affine)
        self.weight = Parameter(ones((n,))) if affine else None
        self.bias = Parameter(zeros((n,))) if affine and bias else None

    def forward(self, x: Any) -> Tensor:
        x = as_operand(x) if self.weight is None else cast(x, self.weight)
        if x.ndim < 2 or x.shape[1] != self.num_channels:
            raise ShapeError(f"GroupNorm takes (batch, {self.num_channels}, …), not {x.shape}")
        return group_norm(x, self.num_groups, self.weight, self.bias, self.eps)


class LocalResponseNorm(Layer):
    """Each number divided by (k + alpha · mean of the squares of `size` neighbouring channels)
    raised to `beta` (Krizhevsky, Sutskever, Hinton 2012).

    Takes (batch, channels, length, …); channels beyond the edge count as zeros.

    >>> import chainrule as cr
    >>> LocalResponseNorm(1, alpha=3.0, beta=0.5)(cr.ones((1, 1, 1))).item()
    0.5
    """

    def __init__(self, size: int, alpha: float = 1e-4, beta: float = 0.75, k: float = 1.0) -> None:
        self.size = positive(size, "size")
        self.alpha, self.beta, self.k = alpha, beta, k

    def forward(self, x: Any) -> Tensor:
        return local_response_norm(x, self.size, self.alpha, self.beta, self.k)


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
        bias: whether there is a bias beside the weight.

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
    _counts = True  # whether num_batches_tracked moves

    def __init__(
        self,
        num_features: int,
        eps: float = 1e-5,
        momentum: float | None = 0.1,
        affine: bool = True,
        track_running_stats: bool = True,
        *,
        bias: bool = True,
    ) -> None:
        self.num_features = n = positive(num_features, "num_features")
        self.eps, self.momentum = eps, momentum
        self.affine, self.track_running_stats = bool(affine), bool(track_running_stats)
        self.weight = Parameter(ones((n,))) if affine else None
        self.bias = Parameter(zeros((n,))) if affine and bias else None
        tracked = track_running_stats
        self.running_mean = Buffer(zeros((n,))) if tracked else None
        self.running_var = Buffer(ones((n,))) if tracked else None
        self.num_batches_tracked = Buffer(zeros((), dtype=dtypes.int64)) if tracked else None

    def forward(self, x: Any) -> Tensor:
        x = self._cast(x)
        self._check(x)
        if self.running_mean is not None and self.running_var is not None and not self.training:
            return batch_norm(
                x, self.running_mean, self.running_var, self.weight, self.bias, self.eps
            )
        if self.training and self.running_mean is not None:
            axes = (0, *range(2, x.ndim))
            self._track(x, lambda x: mean(x, axes), lambda x: var(x, axes, correction=1))
        return batch_norm(x, None, None, self.weight, self.bias, self.eps)

    def _cast(self, x: Any) -> Tensor:
        reference = self.weight if self.weight is not None else self.running_mean
        return as_operand(x) if reference is None else cast(x, reference)

    def _check(self, x: Tensor) -> None:
        if x.ndim not in self._dimensions or x.shape[1] != self.num_features:
            axes = " or ".join(
                f"(batch, {', '.join([str(self.num_features), *_SPACE[n - 2]])})"
                for n in self._dimensions
            )
            raise ShapeError(f"{type(self).__name__} takes {axes}, not {x.shape}")
        if self.training and x.size == self.num_features:
            raise ShapeError(
                f"one value for each channel, as in {x.shape}, has no variance to divide by in "
                "training. Leave the last, smaller batch out (drop_last=True), or call "
                "model.eval() to use the tracked statistics."
            )

    def _track(self, x: Tensor, average: Any, variance: Any) -> None:
        """running ← (1 − m) running + m batch, with m the momentum, or 1 / batches seen."""
        assert self.running_mean is not None
        assert self.running_var is not None
        assert self.num_batches_tracked is not None
        with no_grad():
            x = stop_gradient(x)
            share: Any = self.momentum
            if self._counts:
                self.num_batches_tracked.assign(self.num_batches_tracked + 1)
            if share is None:
                share = 1 / self.num_batches_tracked.astype(x.dtype)
            for running, batch in (
                (self.running_mean, average(x)),
                (self.running_var, variance(x)),
            ):
                running.assign(running + (batch - running) * share)


_SPACE = ((), ("length",), ("height", "width"), ("depth", "height", "width"))


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


class BatchNorm3d(_BatchNorm):
    __doc__ = f"""Of (batch, channels, depth, height, width): {_BatchNorm.__doc__}
    >>> import chainrule as cr
    >>> BatchNorm3d(3)(cr.ones((2, 3, 4, 4, 4))).shape
    (2, 3, 4, 4, 4)
    """

    _dimensions = (5,)


class _InstanceNorm(_BatchNorm):
    """y = (x − mean) / √(variance + eps) · weight + bias, with mean and variance of each channel
    of each example by itself (Ulyanov, Vedaldi, Lempitsky 2016, arXiv:1607.08022).

    Without the batch, one example.

    Args:
        num_features: how many channels.
        eps: keeps the root away from 0.
        momentum: how far the tracked mean and variance move to a batch's.
        affine: whether there are a weight and a bias.
        track_running_stats: whether mean and variance, averaged over the examples, are tracked for
            use; without, each example has its own always.
        bias: whether there is a bias beside the weight.

    Attributes:
        weight, bias: (num_features,), ones and zeros; or None.
        running_mean, running_var: as in batch normalisation; or None.
        num_batches_tracked: stays 0, as in PyTorch; or None.

    Raises:
        ShapeError: a wrong number of axes or channels; a single value for each channel.
    """

    _counts = False

    def __init__(
        self,
        num_features: int,
        eps: float = 1e-5,
        momentum: float = 0.1,
        affine: bool = False,
        track_running_stats: bool = False,
        *,
        bias: bool = True,
    ) -> None:
        if not isinstance(momentum, (int, float)):
            raise DTypeError(f"momentum is a number, not {momentum!r}")
        super().__init__(num_features, eps, momentum, affine, track_running_stats, bias=bias)

    def forward(self, x: Any) -> Tensor:
        x = self._cast(x)
        (axes,) = self._dimensions
        channels = self.num_features
        if x.ndim not in (axes - 1, axes) or x.shape[x.ndim - axes + 1] != channels:
            sizes = ", ".join([str(channels), *_SPACE[axes - 2]])
            raise ShapeError(
                f"{type(self).__name__} takes (batch, {sizes}) or ({sizes}), not {x.shape}"
            )
        if x.ndim < axes:
            return self._normalised(reshape(x, (1, *x.shape)))[0]
        return self._normalised(x)

    def _normalised(self, x: Tensor) -> Tensor:
        running = (self.running_mean, self.running_var)
        if running[0] is not None and not self.training:
            return instance_norm(x, *running, self.weight, self.bias, self.eps)
        y = instance_norm(x, None, None, self.weight, self.bias, self.eps)
        if running[0] is not None:
            space = tuple(range(2, x.ndim))
            self._track(
                x,
                lambda x: mean(x, (0, *space)),
                lambda x: mean(var(x, space, correction=1), 0),
            )
        return y


class InstanceNorm1d(_InstanceNorm):
    __doc__ = f"""Of (batch, channels, length): {_InstanceNorm.__doc__}
    >>> import chainrule as cr
    >>> InstanceNorm1d(1)(cr.asarray([[[1.0, 3.0]]])).numpy().round(3).tolist()
    [[[-1.0, 1.0]]]
    """

    _dimensions = (3,)


class InstanceNorm2d(_InstanceNorm):
    __doc__ = f"""Of (batch, channels, height, width): {_InstanceNorm.__doc__}
    >>> import chainrule as cr
    >>> InstanceNorm2d(3)(cr.ones((2, 3, 4, 4))).shape
    (2, 3, 4, 4)
    """

    _dimensions = (4,)


class InstanceNorm3d(_InstanceNorm):
    __doc__ = f"""Of (batch, channels, depth, height, width): {_InstanceNorm.__doc__}
    >>> import chainrule as cr
    >>> InstanceNorm3d(3)(cr.ones((2, 3, 4, 4, 4))).shape
    (2, 3, 4, 4, 4)
    """

    _dimensions = (5,)
