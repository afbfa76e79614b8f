"""Networks of another shape that compute the same function: wider, deeper, narrower by rank."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import pairwise
from typing import Any

import numpy as np

from chainrule.lens.diagnose.changes.editing import Inapplicable, edited, seen
from chainrule.lens.diagnose.frameworks.framework import Framework
from chainrule.lens.diagnose.passes import Layer
from chainrule.lens.diagnose.setup import Setup


def hidden_layers(setup: Setup) -> list[tuple[Layer, Layer]]:
    """(layer, the layer that reads it) of every dense hidden layer whose width can be changed: two
    dense layers one after the other, with nothing that goes around the first."""
    layers = seen(setup).layers
    return [
        (here, reader)
        for here, reader in pairwise(layers)
        if {here.kind, reader.kind} == {"linear"}
        and reader.fan_in == here.units
        and not here.residual
        and not here.norm
        and here.weight is not None
        and reader.weight is not None
    ]


def wider(setup: Setup, path: str, units: int) -> Setup:
    """The network with more units at `path`, computing the same function.

    The new units' incoming weights are drawn from the layer's own, and nothing reads them yet:
    their outgoing weights are 0, so that f is unchanged and the first step already moves them
    (Chen, Goodfellow & Shlens, Net2Net, ICLR 2016, duplicate units instead, which an optimiser that
    normalises gradients cannot pull apart; Evci et al., GradMax, ICLR 2022, start from 0 as here).

    Raises:
        Inapplicable: `path` is no dense layer whose width can be changed.
    """
    here, reader = _pair(setup, path)
    if units <= here.units:
        raise Inapplicable(f"{path} has {here.units} units already")
    values = setup.framework.parameters(setup.model)
    rng = np.random.default_rng([units, setup.seed])
    more = units - here.units
    w, out = _weight(values, here), _weight(values, reader)
    bias = _bias(values, here)
    return _put(
        setup,
        {
            here.path: (
                np.concatenate([w, rng.choice(w.reshape(-1), (more, w.shape[1]))]),
                None if bias is None else np.concatenate([bias, rng.choice(bias, more)]),
            ),
            reader.path: (
                np.concatenate([out, np.zeros((len(out), more), out.dtype)], axis=1),
                _bias(values, reader),
            ),
        },
    )


def deeper(setup: Setup, path: str) -> Setup:
    """The network with another layer after `path` and its ReLU, computing the same function.

    relu(I·relu(z)) = relu(z): the new layer begins as the identity (Net2Net).

    Raises:
        Inapplicable: `path` is no dense layer, or no module nn.ReLU follows it.
    """
    here, _ = _pair(setup, path)
    run = seen(setup)
    activation = None if here.activation_op is None else run.ops[here.activation_op].path
    kinds = {p: kind for p, kind, _ in setup.framework.modules(setup.model)}
    if not activation or kinds.get(activation) != "ReLU":
        raise Inapplicable(f"the layer {path} is not followed by a module nn.ReLU")

    def edit(framework: Framework, model: Any) -> Any:
        dtype = _weight(framework.parameters(model), here).dtype
        layer = _linear(
            framework, np.eye(here.units, dtype=dtype), np.zeros(here.units, dtype=dtype)
        )
        block = framework.sequence(framework.layer("ReLU"), layer, framework.layer("ReLU"))
        return framework.replace(model, activation, block)

    return edited(setup, edit)


def narrower(setup: Setup, path: str, units: int, rows: int = 512) -> Setup:
    """The network with only so many units at `path`, chosen and re-read so that what the next layer
    is given changes least.

    With H the layer's values on training rows (with a column of ones), the units S are those of a
    pivoted QR decomposition of H, and the next layer reads A·h_S with A = argmin ‖H − H_S A‖
    (an interpolative decomposition: Cheng, Gimbutas, Martinsson & Rokhlin, SIAM J. Sci. Comput.
    2005). Where H has rank `units`, the function is the same on those rows.

    Raises:
        Inapplicable: `path` is no dense layer whose width can be changed.
    """
    here, reader = _pair(setup, path)
    if not 1 <= units < here.units:
        raise Inapplicable(f"{path} has {here.units} units")
    order = np.random.default_rng(8).permutation(len(setup.x))[:rows]
    run = setup.framework.observe(
        setup.model, setup.x[order], setup.y[order], setup.loss, training=False
    )
    layer = next(x for x in run.layers if x.path == path)
    h = layer.by_unit(layer.h).astype(np.float64)
    kept = chosen_units(h, units)
    small = np.concatenate([h[:, kept], np.ones((len(h), 1))], axis=1)
    read, *_ = np.linalg.lstsq(small, h, rcond=None)
    values = setup.framework.parameters(setup.model)
    w, bias = _weight(values, here), _bias(values, here)
    out, out_bias = _weight(values, reader), _bias(values, reader)
    offset = out.astype(np.float64) @ read[-1]
    if out_bias is None:
        # Nothing takes the constant up: the units alone have to give it.
        read, *_ = np.linalg.lstsq(h[:, kept], h, rcond=None)
        read = np.concatenate([read, np.zeros((1, h.shape[1]))])
    return _put(
        setup,
        {
            here.path: (w[kept], None if bias is None else bias[kept]),
            reader.path: (
                (out.astype(np.float64) @ read[:-1].T).astype(out.dtype),
                None if out_bias is None else (out_bias + offset).astype(out.dtype),
            ),
        },
    )


def chosen_units(h: np.ndarray, count: int) -> np.ndarray:
    """The columns of h that a QR decomposition with pivoting takes first: each the one that is
    farthest from what those before it span."""
    rest = h - h.mean(0)
    chosen: list[int] = []
    for _ in range(min(count, h.shape[1])):
        sizes = np.einsum("ij,ij->j", rest, rest)
        sizes[chosen] = -1
        best = int(sizes.argmax())
        chosen.append(best)
        if sizes[best] > 1e-20:
            direction = rest[:, best] / np.sqrt(sizes[best])
            rest = rest - np.outer(direction, direction @ rest)
    return np.array(sorted(chosen))


def _pair(setup: Setup, path: str) -> tuple[Layer, Layer]:
    for here, reader in hidden_layers(setup):
        if here.path == path:
            return here, reader
    raise Inapplicable(f"{path} is no dense layer that one other dense layer reads")


def _weight(values: Mapping[str, np.ndarray], layer: Layer) -> np.ndarray:
    assert layer.weight is not None
    return np.asarray(values[layer.weight])


def _bias(values: Mapping[str, np.ndarray], layer: Layer) -> np.ndarray | None:
    return None if layer.bias is None else np.asarray(values[layer.bias])


def _linear(framework: Framework, weight: np.ndarray, bias: np.ndarray | None) -> Any:
    made = framework.layer("Linear", weight.shape[1], weight.shape[0], bias=bias is not None)
    framework.load(made, {"weight": weight} if bias is None else {"weight": weight, "bias": bias})
    return made


def _put(setup: Setup, layers: Mapping[str, tuple[np.ndarray, np.ndarray | None]]) -> Setup:
    """The setup with dense layers of these weights and biases at these paths."""

    def edit(framework: Framework, model: Any) -> Any:
        for path, (weight, bias) in layers.items():
            model = framework.replace(model, path, _linear(framework, weight, bias))
        return model

    return edited(setup, edit)
