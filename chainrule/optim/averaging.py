"""Means of weights over training: stochastic weight averaging, and exponential moving averages."""

from __future__ import annotations

import copy
from collections.abc import Iterable
from numbers import Real
from typing import Any

import numpy as np

from chainrule.errors import DTypeError, ShapeError
from chainrule.nn.module import Buffer, Module
from chainrule.tensor import dtypes
from chainrule.tensor.creation import ones, zeros
from chainrule.tensor.graph import no_grad
from chainrule.tensor.locate import Explained, explained
from chainrule.tensor.tensor import Tensor


class AveragedModel(Module, Explained):
    """A copy of a model whose weights are the mean of the model's over training.

    With `decay` None the mean of all: a ← a + (w − a)/(n + 1) (Izmailov et al. 2018,
    arXiv:1803.05407). With a number d, an exponential moving average: a ← d·a + (1 − d)w. The first
    update copies. Works in compiled steps, too.

    Args:
        model: the model; it is copied.
        decay: None, or d in [0, 1), as 0.999.
        use_buffers: average the buffers too (running means of normalisation); otherwise they are
            copied at each update. Then `update_bn` is not needed.

    >>> import chainrule as cr
    >>> from chainrule import nn, optim
    >>> model = nn.Linear(1, 1, bias=False)
    >>> mean = optim.AveragedModel(model)
    >>> for value in (1.0, 2.0, 6.0):
    ...     model.weight.assign(cr.full((1, 1), value))
    ...     mean.update_parameters(model)
    >>> mean(cr.ones((1, 1))).item()
    3.0
    """

    def __init__(
        self, model: Module, decay: float | None = None, *, use_buffers: bool = False
    ) -> None:
        if not isinstance(model, Module):
            raise DTypeError(f"a model is averaged, not {type(model).__name__}")
        if decay is not None and (
            isinstance(decay, bool) or not isinstance(decay, Real) or not 0 <= float(decay) < 1
        ):
            raise DTypeError(f"decay is None or lies in [0, 1), and {decay!r} does not")
        self.module = copy.deepcopy(model).requires_grad_(False)
        self.n_averaged = Buffer(zeros((), dtype=dtypes.default_int))
        self.decay, self.use_buffers = decay, use_buffers

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        return self.module(*args, **kwargs)

    def update_parameters(self, model: Module) -> None:
        """Take the model's weights into the mean.

        Raises:
            ShapeError: the model has other parameters than the one that was copied.
        """
        ours, theirs = list(self.module._state()), list(model._state())
        if [(n, c.shape) for n, c in ours] != [(n, c.shape) for n, c in theirs]:
            raise ShapeError(
                f"this mean is of a {type(self.module).__name__} with other parameters or shapes"
            )
        with no_grad():
            for (_, mean), (_, new) in zip(ours, theirs, strict=True):
                averaged = self.use_buffers or not isinstance(new, Buffer)
                if averaged and dtypes.is_float(new.dtype):
                    mean.assign(mean + (new - mean) * self._share(new.dtype))
                else:
                    mean.assign(new)
            self.n_averaged.assign(self.n_averaged + 1)

    def _share(self, dtype: np.dtype) -> Tensor:
        """How far the mean moves to the new weights: all the way the first time."""
        seen = self.n_averaged.astype(dtype)
        if self.decay is None:
            return 1 / (seen + 1)
        return (seen == 0).astype(dtype) * self.decay + (1 - self.decay)

    def extra_repr(self) -> str:
        return "mean of all" if self.decay is None else f"decay={self.decay}"


@explained
def update_bn(batches: Iterable[Any], model: Module) -> None:
    """Find the running means and variances of batch normalisation anew, from a pass over data.

    Averaged weights give other activations than any weights that the statistics were taken with.

    Args:
        batches: inputs, or (input, target) pairs.
        model: its normalisation layers are reset, and then see each batch with equal weight.
    """
    layers: list[Any] = [m for m in model.modules() if getattr(m, "running_mean", None) is not None]
    if not layers:
        return
    momenta = [m.momentum for m in layers]
    modes = [(m, m.training) for m in model.modules()]
    for layer in layers:
        layer.running_mean.assign(zeros(layer.running_mean.shape))
        layer.running_var.assign(ones(layer.running_var.shape))
        layer.num_batches_tracked.assign(zeros((), dtype=dtypes.default_int))
        layer.momentum = None
    model.train()
    try:
        with no_grad():
            for batch in batches:
                model(batch[0] if isinstance(batch, (tuple, list)) else batch)
    finally:
        for layer, momentum in zip(layers, momenta, strict=True):
            layer.momentum = momentum
        for module, mode in modes:
            module.training = mode
