"""A softmax over very many classes, of which most are rare."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from chainrule.errors import BoundsError, DTypeError, ShapeError
from chainrule.nn.layers.containers import ModuleList, Sequential
from chainrule.nn.layers.layer import Layer, cast, positive
from chainrule.nn.layers.linear import Linear
from chainrule.ops.choosing import where
from chainrule.ops.indexing import setitem, take_along_axis
from chainrule.ops.joining import concat
from chainrule.ops.reduction import argmax, mean
from chainrule.ops.softmax import log_softmax
from chainrule.ops.structure import expand_dims, squeeze
from chainrule.tensor.creation import as_operand
from chainrule.tensor.graph import state
from chainrule.tensor.tensor import Tensor


class AdaptiveLogSoftmax(NamedTuple):
    """What `AdaptiveLogSoftmaxWithLoss` gives: the targets' log-probabilities, and the loss."""

    output: Tensor
    loss: Tensor


class AdaptiveLogSoftmaxWithLoss(Layer):
    """The categorical distribution over many classes in clusters: the frequent classes and the
    clusters share one softmax, and each cluster has its own, of a smaller size (Grave et al. 2016,
    arXiv:1609.04309).

    Takes (N, in_features) and the classes (N,), or one row and one class.

    Args:
        in_features: the size of what comes in.
        n_classes: how many classes, the most frequent first.
        cutoffs: rising, the first class of each cluster but the first.
        div_value: by how much the size of each further cluster is divided.
        head_bias: whether the first softmax's layer has a bias.

    Attributes:
        head: (cutoffs[0] + clusters) outputs.
        tail: for each cluster, a `Sequential` of two `Linear` without bias.

    Raises:
        BoundsError: a target is no class.

    >>> import chainrule as cr
    >>> layer = AdaptiveLogSoftmaxWithLoss(8, 20, [4, 10])
    >>> output, loss = layer(cr.ones((3, 8)), cr.asarray([0, 5, 19]))
    >>> output.shape, bool(loss == -output.mean()), layer.log_prob(cr.ones((3, 8))).shape
    ((3,), True, (3, 20))
    """

    def __init__(
        self,
        in_features: int,
        n_classes: int,
        cutoffs: Sequence[int],
        div_value: float = 4.0,
        head_bias: bool = False,
    ) -> None:
        self.in_features = positive(in_features, "in_features")
        self.n_classes = positive(n_classes, "n_classes")
        if not isinstance(cutoffs, (list, tuple)) or not cutoffs:
            raise DTypeError(f"cutoffs are a list of classes, not {cutoffs!r}")
        self.cutoffs = [positive(c, "each of the cutoffs") for c in cutoffs]
        ends = [*self.cutoffs, n_classes]
        if any(a >= b for a, b in itertools.pairwise(ends)):
            raise ShapeError(
                f"cutoffs rise and end below n_classes {n_classes}; they are {self.cutoffs}"
            )
        self.div_value, self.head_bias = div_value, bool(head_bias)
        self.head = Linear(in_features, self.cutoffs[0] + len(self.cutoffs), bias=head_bias)
        self.tail = ModuleList()
        for i, (low, high) in enumerate(itertools.pairwise(ends)):
            size = max(int(in_features // div_value ** (i + 1)), 1)
            layers = Linear(in_features, size, False), Linear(size, high - low, False)
            self.tail.append(Sequential(*layers))

    def forward(self, input: Any, target: Any) -> AdaptiveLogSoftmax:
        """(output, loss): log p(target) of each row, and minus their mean."""
        x, labels = self._rows(input), as_operand(target)
        if labels.shape != x.shape[:-1]:
            raise ShapeError(f"there is a class for each row: {labels.shape} for {x.shape}")
        if labels.dtype.kind not in "iu":
            raise DTypeError(f"classes are whole numbers, not {labels.dtype}")
        if x.ndim == 1:
            output, loss = self.forward(expand_dims(x, 0), expand_dims(labels, 0))
            return AdaptiveLogSoftmax(output[0], loss)
        values = labels._value if state.tracer is None else None
        if values is not None and values.size:
            wrong = values[(values < 0) | (values >= self.n_classes)]
            if wrong.size:
                raise BoundsError(f"a class is {wrong[0]}; valid are 0 … {self.n_classes - 1}")
        short, head = self.cutoffs[0], log_softmax(self.head(x))
        output = _chosen(head, where(labels < short, labels, 0))
        for i, (low, high) in enumerate(self._clusters()):
            inside = (labels >= low) & (labels < high)
            if values is None:  # which rows these are is not known: all are computed
                rare = _chosen(log_softmax(self.tail[i](x)), where(inside, labels - low, 0))
                output = where(inside, head[:, short + i] + rare, output)
                continue
            rows = np.flatnonzero(inside.numpy())
            if len(rows):
                at = Tensor(rows)
                rare = _chosen(log_softmax(self.tail[i](x[at])), labels[at] - low)
                output = setitem(output, at, head[:, short + i][at] + rare)
        return AdaptiveLogSoftmax(output, -mean(output))

    def log_prob(self, input: Any) -> Tensor:
        """(N, n_classes): the log-probability of every class."""
        x = self._rows(input)
        short, head = self.cutoffs[0], log_softmax(self.head(x))
        parts = [head[..., :short]]
        for i, layers in enumerate(self.tail):
            parts.append(log_softmax(layers(x)) + head[..., short + i : short + i + 1])
        return concat(parts, axis=-1)

    def predict(self, input: Any) -> Tensor:
        """(N,): the likeliest class of each row."""
        return argmax(self.log_prob(input), axis=-1)

    def _clusters(self) -> list[tuple[int, int]]:
        ends = [*self.cutoffs, self.n_classes]
        return list(itertools.pairwise(ends))

    def _rows(self, input: Any) -> Tensor:
        x = cast(input, self.any_parameter())
        if x.ndim not in (1, 2) or x.shape[-1] != self.in_features:
            raise ShapeError(
                f"AdaptiveLogSoftmaxWithLoss takes (batch, {self.in_features}) or one row, not "
                f"{x.shape}"
            )
        return x


def _chosen(logs: Tensor, labels: Tensor) -> Tensor:
    return squeeze(take_along_axis(logs, expand_dims(labels, -1), axis=-1), -1)
