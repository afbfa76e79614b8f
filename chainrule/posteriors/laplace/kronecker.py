"""Kronecker-factored curvature (KFAC) of dense and convolution layers.

For a layer z = W a + b that is called at R places of each of n rows (1 for a dense layer on
vectors, the pixels for a convolution),

    weight:  B ⊗ A,   A = 1/(nR) Σ a aᵀ,   B = Σ g gᵀ
    bias:    B

where g runs over the columns of ∂f/∂zᵀ S, S Sᵀ = Λ being the information in the outputs, so that B
holds no draws of labels (Martens, Grosse 2015, Optimizing neural networks with Kronecker-factored
approximate curvature; Grosse, Martens 2016, for convolutions; Botev et al. 2017, for exact B;
"expand" in Eschenhagen et al. 2023). Different parameters are taken as independent. Exact for a
dense layer's weight if a aᵀ and g gᵀ are independent over the rows, as with one row.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from chainrule.calculus.reverse import pull_back
from chainrule.errors import DataError
from chainrule.nn.layers.convolution import Conv1d, Conv2d, Conv3d
from chainrule.nn.layers.linear import Linear
from chainrule.nn.module import Parameter
from chainrule.posteriors.joint import Joint
from chainrule.posteriors.laplace.curvature import (
    Curvature,
    chunks,
    first_order,
    information_root,
    outputs_of,
)
from chainrule.posteriors.laplace.gaussian import Block, dense_block
from chainrule.posteriors.laplace.taps import Call, holders, tapped
from chainrule.tensor.creation import asarray
from chainrule.tensor.graph import DERIVATIVE, no_grad, recording
from chainrule.tensor.tensor import Tensor

CONVOLUTIONS = (Conv1d, Conv2d, Conv3d)
Factored = Linear | Conv1d | Conv2d | Conv3d
"""A layer that Kronecker factors are known of."""


def kron(joint: Joint) -> Curvature:
    """Kronecker factors, one block for each parameter.

    Raises:
        DataError: a layer that is neither dense nor a convolution has trained parameters; a
            convolution has groups; a layer's parameters are used beside its calls.
    """
    layers = _factored(joint)
    outputs = outputs_of(joint, joint.x)
    value, slope = first_order(joint, outputs)
    factors = {id(layer): _Factors(layer) for layer in layers}
    for rows in chunks(len(outputs), _numbers(joint, layers, outputs.shape[1])):
        with recording(DERIVATIVE), tapped(layers) as calls:
            found = joint.outputs(None, asarray(joint.x[rows], copy=False))
        roots = information_root(joint, outputs[rows])
        seeds = np.concatenate([slope[rows, :, None], roots], -1).astype(found.dtype)
        seen = [call for call in calls if call.result._node is not None]
        pulled = [_pulled(found, seeds[:, :, k], seen) for k in range(seeds.shape[2])]
        for i, call in enumerate(seen):
            cotangents = [each[i] for each in pulled]
            factors[id(call.layer)].add(call, cotangents)
        if not rows.start:
            _check(joint, found, seeds[:, :, 0], factors)
    parts = [factors[id(layer)].parts(_own(name)) for name, layer in _named(joint)]
    blocks, gradients = zip(*parts, strict=True)
    return Curvature(list(blocks), outputs, value, np.concatenate(gradients))


def _check(joint: Joint, found: Tensor, seed: np.ndarray, factors: dict[int, _Factors]) -> None:
    """Refuse parameters that act beside the calls of their layers: the gradient shows it."""
    parameters = list(joint.parameters.values())
    given = pull_back(found, asarray(seed.reshape(found.shape)), parameters, keep=False)
    for (name, layer), g in zip(_named(joint), given, strict=True):
        by_calls = factors[id(layer)].gradient[_own(name)]
        directly = np.zeros(by_calls.size) if g is None else g.numpy().reshape(-1)
        size = max(np.abs(directly).max(), np.abs(by_calls).max())
        if np.abs(by_calls.reshape(-1) - directly).max() > 1e-3 * size + 1e-6:
            raise DataError(
                f"structure='kron' sees what goes in and out of the calls of {name!r}'s layer, and "
                "the network uses this parameter in another way, too (a tied weight, or a weight "
                "that a forward reads by itself). Take structure='diag' or 'full'."
            )


def _numbers(joint: Joint, layers: Sequence[Factored], outputs: int) -> int:
    """How many numbers a row needs: its layers' inputs, and a cotangent for each output."""
    with no_grad(), tapped(layers) as calls:
        joint.outputs(None, asarray(joint.x[:1], copy=False))
    widest = 0
    for call in calls:
        places = call.result.size // call.layer.weight.shape[0]
        widest += places * math.prod(call.layer.weight.shape[1:]) + outputs * call.result.size
    return widest


class _Factors:
    """The sums over rows and places, of one layer."""

    def __init__(self, layer: Factored) -> None:
        self.layer, self.places = layer, 0
        weight = layer.weight
        outs = weight.shape[0]
        ins = math.prod(weight.shape[1:])
        self.a, self.b = np.zeros((ins, ins)), np.zeros((outs, outs))
        self.gradient = {"weight": np.zeros((outs, ins)), "bias": np.zeros(outs)}

    def add(self, call: Call, cotangents: Sequence[np.ndarray | None]) -> None:
        a = _inputs(call)
        self.places += len(a)
        self.a += a.T @ a
        given = [_by_place(self.layer, g) for g in cotangents if g is not None]
        if not given:  # the outputs do not depend on this call
            return
        slope, *rest = given
        self.gradient["weight"] += slope.T @ a
        self.gradient["bias"] += slope.sum(0)
        for g in rest:
            self.b += g.T @ g

    def parts(self, name: str) -> tuple[Block, np.ndarray]:
        """The block of a parameter, and the gradient in it."""
        b = dense_block(self.b)
        gradient = self.gradient[name].reshape(-1)
        if name == "bias":
            return b, gradient
        a = dense_block(self.a / max(1, self.places))
        return Block(b.values * a.values.T, b.left, a.left), gradient


def _inputs(call: Call) -> np.ndarray:
    """(places, in): what the layer multiplies its weight with, at each place."""
    layer = call.layer
    if isinstance(layer, Linear):
        x = np.asarray(call.x)
        return x.reshape(-1, x.shape[-1]).astype(layer.weight.dtype, copy=False)
    # A convolution whose filters each pick one pixel of the window gives the windows themselves,
    # whatever its rank, padding and stride.
    probe = copy.copy(layer)
    inner = math.prod(layer.weight.shape[1:])
    pick = np.eye(inner, dtype=layer.weight.dtype).reshape(inner, *layer.weight.shape[1:])
    vars(probe).update(weight=Parameter(pick), bias=None)
    with no_grad():
        return _by_place(layer, probe.forward(call.x).numpy())


def _by_place(layer: Factored, values: np.ndarray) -> np.ndarray:
    """(places, channels), of (rows, …, channels) or of a convolution's (rows, channels, …)."""
    if isinstance(layer, CONVOLUTIONS):
        values = np.moveaxis(values, -1 - layer.rank, -1)
    return values.reshape(-1, values.shape[-1])


def _pulled(found: Tensor, seed: np.ndarray, calls: Sequence[Call]) -> list[np.ndarray | None]:
    cotangent, places = asarray(seed.reshape(found.shape)), [call.result for call in calls]
    given = pull_back(found, cotangent, places, keep=False, through=True)
    return [None if g is None else g.numpy() for g in given]


def _own(name: str) -> str:
    return name.rpartition(".")[2]


def _named(joint: Joint) -> list[tuple[str, Any]]:
    return list(holders(joint.model, joint.parameters).items())


def _factored(joint: Joint) -> list[Factored]:
    """The layers that hold the trained parameters.

    Raises:
        DataError: Kronecker factors are not known of one of them.
    """
    found: dict[int, Factored] = {}
    for name, layer in _named(joint):
        path, kind = name.rpartition(".")[0], type(layer).__name__
        known = isinstance(layer, (Linear, *CONVOLUTIONS))
        if not known or _own(name) not in ("weight", "bias"):
            raise DataError(
                f"structure='kron' is of dense and convolution layers, and {name!r} is a parameter "
                f"of a {kind}. Freeze it with nn.freeze(model, {name!r}), and it counts as known; "
                "or take structure='diag' or 'full', or weights='last-layer'."
            )
        if getattr(layer, "groups", 1) != 1:
            raise DataError(
                f"structure='kron' is not of convolutions in groups, and {path!r} has "
                f"{layer.groups}. Take structure='diag' or 'full', or freeze it."
            )
        found[id(layer)] = layer
    return list(found.values())
