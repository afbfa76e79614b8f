"""How near two inputs are: distances, angles, and products that are learnt."""

from __future__ import annotations

import math
from typing import Any

from chainrule.nn import init
from chainrule.nn.layers.layer import Layer, cast, positive
from chainrule.nn.module import Parameter
from chainrule.ops.bilinear_form import bilinear
from chainrule.ops.distances import pairwise_distance
from chainrule.ops.linear_algebra import cosine_similarity
from chainrule.tensor.creation import zeros
from chainrule.tensor.tensor import Tensor


class Bilinear(Layer):
    """y_k = x₁ᵀ W_k x₂ + b_k.

    Takes (…, in1_features) and (…, in2_features), and gives (…, out_features).

    Args:
        in1_features, in2_features: the last sizes of the two inputs.
        out_features: the last size of what comes out.
        bias: whether there is a b.

    Attributes:
        weight: (out_features, in1_features, in2_features), drawn from U(−k, k) with
            k = 1/√in1_features.
        bias: (out_features,), drawn the same; or None.

    >>> import chainrule as cr
    >>> Bilinear(3, 4, 2)(cr.ones((5, 3)), cr.ones((5, 4))).shape
    (5, 2)
    """

    def __init__(
        self, in1_features: int, in2_features: int, out_features: int, bias: bool = True
    ) -> None:
        self.in1_features = positive(in1_features, "in1_features")
        self.in2_features = positive(in2_features, "in2_features")
        self.out_features = positive(out_features, "out_features")
        self.weight = Parameter(zeros((out_features, in1_features, in2_features)))
        self.bias = Parameter(zeros((out_features,))) if bias else None
        bound = 1 / math.sqrt(in1_features)
        for parameter in self.parameters():
            init.uniform_(parameter, -bound, bound)

    def forward(self, input1: Any, input2: Any) -> Tensor:
        weight = self.weight
        return bilinear(cast(input1, weight), cast(input2, weight), weight, self.bias)


class CosineSimilarity(Layer):
    """x₁ · x₂ / (max(‖x₁‖, eps) max(‖x₂‖, eps)) along the axis `dim`.

    >>> import chainrule as cr
    >>> CosineSimilarity()(cr.asarray([[1.0, 0.0]]), cr.asarray([[2.0, 0.0]])).tolist()
    [1.0]
    """

    def __init__(self, dim: int = 1, eps: float = 1e-8) -> None:
        self.dim, self.eps = dim, eps

    def forward(self, x1: Any, x2: Any) -> Tensor:
        return cosine_similarity(x1, x2, axis=self.dim, eps=self.eps)


class PairwiseDistance(Layer):
    """‖x₁ − x₂ + eps‖_p over the last axis.

    >>> import chainrule as cr
    >>> PairwiseDistance(1.0, eps=0.0)(cr.zeros((1, 2)), cr.asarray([[3.0, 4.0]])).tolist()
    [7.0]
    """

    def __init__(self, p: float = 2.0, eps: float = 1e-6, keepdim: bool = False) -> None:
        self.p, self.eps, self.keepdim = p, eps, bool(keepdim)

    def forward(self, x1: Any, x2: Any) -> Tensor:
        return pairwise_distance(x1, x2, self.p, self.eps, self.keepdim)
