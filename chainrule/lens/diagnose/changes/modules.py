"""Changes of a model: modules in and out, activations, first weights, widths."""

from __future__ import annotations

import zlib
from collections.abc import Callable, Sequence
from math import prod, sqrt
from typing import Any

import numpy as np

from chainrule.lens.diagnose.changes.editing import (
    Inapplicable,
    edited,
    leaf,
    module_at,
    place_of,
    seen,
    spliced,
)
from chainrule.lens.diagnose.finding import Change
from chainrule.lens.diagnose.naming import written
from chainrule.lens.diagnose.passes import Layer
from chainrule.lens.diagnose.setup import Setup

RECTIFIERS = frozenset({"relu", "leaky_relu", "prelu", "elu", "gelu", "silu", "mish", "relu6"})
"""Activations that pass about half of the variance: E[φ(z)²] = E[z²]/2 for ReLU (He 2015)."""
DRAWN = """for name, p in {}.named_parameters():
    if p.ndim > 1:
        nn.init.{}
    elif name.endswith("bias"):
        nn.init.zeros_(p)"""
DRAWS = {
    "he": "kaiming_normal_(p)",
    "xavier": "xavier_normal_(p)",
    "lecun": "normal_(p, std=np.prod(p.shape[1:]) ** -0.5)",
}
"""What `reinitialise` does, as code of both frameworks."""


def _spliced(path: str, made_of: Callable[[Any, Any], Sequence[Any]]) -> Callable[[Setup], Setup]:
    def apply(setup: Setup) -> Setup:
        now = place_of(setup, path)

        def edit(framework: Any, model: Any) -> Any:
            modules = made_of(framework, module_at(framework, model, now))
            return spliced(framework, model, now, modules)

        return edited(setup, edit)

    return apply


def _made(kind: str, args: Sequence[Any]) -> str:
    return f"nn.{kind}({', '.join(map(repr, args))})"


def remove_module(path: str) -> Change:
    """Take a module out: out of the list of a Sequential, elsewhere an Identity takes its place."""

    def apply(setup: Setup) -> Setup:
        now = place_of(setup, path)
        if leaf(setup, now) is None:
            raise Inapplicable(
                f"{path or 'the model'} is no single layer; what is called in its code has to be "
                "taken out there"
            )
        return _spliced(path, lambda framework, here: [])(setup)

    here = written(path)
    return Change(f"take out {here}", apply, f"{here} = nn.Identity()", f"remove:{path}")


def replace_module(path: str, kind: str, *args: Any) -> Change:
    """Another module in the place of one."""
    return Change(
        f"put {_made(kind, args)} in the place of {written(path)}",
        _spliced(path, lambda framework, here: [framework.layer(kind, *args)]),
        f"{written(path)} = {_made(kind, args)}",
        f"replace:{path}:{_made(kind, args)}",
    )


def insert_after(path: str, kind: str, *args: Any) -> Change:
    """A new module right behind one."""
    return Change(
        f"insert {_made(kind, args)} after {written(path)}",
        _spliced(path, lambda framework, here: [here, framework.layer(kind, *args)]),
        f"{written(path)} = nn.Sequential({written(path)}, {_made(kind, args)})",
        f"after:{path}:{_made(kind, args)}",
    )


def insert_before(path: str, kind: str, *args: Any) -> Change:
    """A new module right in front of one."""
    return Change(
        f"insert {_made(kind, args)} before {written(path)}",
        _spliced(path, lambda framework, here: [framework.layer(kind, *args), here]),
        f"{written(path)} = nn.Sequential({_made(kind, args)}, {written(path)})",
        f"before:{path}:{_made(kind, args)}",
    )


def use_activation(kind: str, paths: Sequence[str] | None = None) -> Change:
    """Another activation: in place of these modules, or of every hidden one."""

    def apply(setup: Setup) -> Setup:
        if paths is None:
            doomed = _hidden_activations(setup)
        else:
            doomed = [place_of(setup, path) for path in paths]
        weighty = {layer.path for layer in seen(setup).layers}
        if not doomed or any(leaf(setup, path) is None or path in weighty for path in doomed):
            raise Inapplicable(
                "the activations are functions that the model's own code calls; they have to be "
                "replaced there"
            )

        def edit(framework: Any, model: Any) -> Any:
            for path in doomed:
                model = framework.replace(model, path, framework.layer(kind))
            return model

        return edited(setup, edit)

    where = "" if paths is None else f" at {', '.join(map(written, paths))}"
    lines = [f"{written(path)} = nn.{kind}()" for path in paths or ()]
    return Change(
        f"use {kind} as activation{where}",
        apply,
        "\n".join(lines) or f"nn.{kind}()  # in the place of every hidden activation",
        f"activation:{kind}:{','.join(paths or ())}",
    )


def _hidden_activations(setup: Setup) -> list[str]:
    """The paths of the modules that are activations of layers other than the last."""
    run = seen(setup)
    found: dict[str, None] = {}
    for layer in run.layers:
        if layer.activation_op is None or layer.last:
            continue
        path = run.ops[layer.activation_op].path
        if leaf(setup, path) is None or any(other.path == path for other in run.layers):
            return []
        found[path] = None
    return list(found)


def add_dropout(p: float) -> Change:
    """Dropout behind every hidden activation."""

    def apply(setup: Setup) -> Setup:
        doomed = _hidden_activations(setup)
        if not doomed:
            raise Inapplicable("no activation stands as a module, behind which dropout could stand")

        def edit(framework: Any, model: Any) -> Any:
            # Each insertion moves the paths behind it: from the end, those before keep theirs.
            for path in reversed(doomed):
                here = module_at(framework, model, path)
                model = spliced(framework, model, path, [here, framework.layer("Dropout", p)])
            return model

        return edited(setup, edit)

    return Change(f"add dropout of {p:g}", apply, f"nn.Dropout({p:g})", f"dropout:{p:g}")


def reinitialise(scheme: str = "he", paths: Sequence[str] | None = None) -> Change:
    """Weights drawn anew, biases 0.

    "he": Var w = 2/fan_in before a rectifier and 1/fan_in elsewhere (He et al. 2015; LeCun et al.
    1998); "xavier": 2/(fan_in + fan_out) (Glorot, Bengio 2010); "lecun": 1/fan_in.
    """

    def apply(setup: Setup) -> Setup:
        made = setup.copied()
        framework = made.framework
        wanted = None if paths is None else {place_of(setup, path) for path in paths}
        values = framework.parameters(made.model)
        new: dict[str, np.ndarray] = {}
        for layer in seen(setup).layers:
            if layer.weight is None or (wanted is not None and layer.path not in wanted):
                continue
            weight = values[layer.weight]
            rng = np.random.default_rng(zlib.crc32(layer.weight.encode()) + setup.seed)
            std = _std(layer, scheme, weight)
            new[layer.weight] = (rng.standard_normal(weight.shape) * std).astype(weight.dtype)
            if layer.bias is not None:
                new[layer.bias] = np.zeros_like(values[layer.bias])
        if not new:
            raise Inapplicable("no layer with weights was found to be drawn anew")
        framework.load(made.model, new)
        return made

    where = "" if paths is None else f" of {', '.join(map(written, paths))}"
    return Change(
        f"draw the first weights{where} anew ({scheme})",
        apply,
        "\n".join(DRAWN.format(written(path), DRAWS[scheme]) for path in paths or ("",)),
        f"init:{scheme}:{','.join(paths or ())}",
    )


def _std(layer: Layer, scheme: str, weight: np.ndarray) -> float:
    if layer.kind == "embedding":
        return 1.0
    if scheme == "xavier":
        return sqrt(2 / (layer.fan_in + layer.units * prod(weight.shape[2:])))
    gain = 2.0 if scheme == "he" and layer.activation in RECTIFIERS else 1.0
    return sqrt(gain / layer.fan_in)


def widen(path: str, factor: float) -> Change:
    """More units of a dense layer, drawn as the others are; what reads it is made to fit."""

    def apply(setup: Setup) -> Setup:
        return _resized(setup, path, lambda units: max(units + 1, round(units * factor)))

    return Change(
        f"make {written(path)} {factor:g} times as wide",
        apply,
        f"nn.Linear(inputs, {factor:g} * units)  # {written(path)}, and what reads it",
        f"widen:{path}:{factor:g}",
    )


def narrow(path: str, units: int) -> Change:
    """Fewer units of a dense layer."""
    return Change(
        f"narrow {written(path)} to {units} units",
        lambda setup: _resized(setup, path, lambda _: units),
        f"nn.Linear(inputs, {units})  # {written(path)}, and what reads it",
        f"narrow:{path}:{units}",
    )


def _resized(setup: Setup, path: str, size: Callable[[int], int]) -> Setup:
    now = place_of(setup, path)
    layers = seen(setup).layers
    at = next((i for i, layer in enumerate(layers) if layer.path == now), None)
    if at is None or at + 1 >= len(layers):
        raise Inapplicable(f"{written(path)} is no layer that another one reads")
    here, reader = layers[at], layers[at + 1]
    if {here.kind, reader.kind} != {"linear"} or reader.fan_in != here.units or here.residual:
        raise Inapplicable(
            f"{written(path)} and the layer that reads it are not two dense layers in a row"
        )
    units = size(here.units)
    between = [
        (p, kind)
        for p, kind, _ in setup.framework.modules(setup.model)
        if kind in ("BatchNorm1d", "LayerNorm") and _between(setup, now, p, reader.path)
    ]

    def edit(framework: Any, model: Any) -> Any:
        values = framework.parameters(model)
        rng = np.random.default_rng(units)
        first, second = values[here.weight], values[reader.weight]
        # The reader's variance is kept: it adds up `units` numbers now (1/fan_in, LeCun 1998).
        shrunk = sqrt(here.units / units)
        new = {
            now: _grown(first, units, 0, rng),
            reader.path: _grown(second, units, 1, rng) * np.float32(shrunk),
        }
        sizes = {now: (here.fan_in, units), reader.path: (units, reader.units)}
        for layer in (here, reader):
            bias = None if layer.bias is None else values[layer.bias].copy()
            if bias is not None and layer is here:
                bias = _grown(bias, units, 0, rng)
            made = framework.layer("Linear", *sizes[layer.path], bias=bias is not None)
            state = {"weight": new[layer.path].astype(first.dtype)}
            framework.load(made, state if bias is None else state | {"bias": bias})
            model = framework.replace(model, layer.path, made)
        for place, kind in between:
            model = framework.replace(model, place, framework.layer(kind, units))
        return model

    return edited(setup, edit)


def _between(setup: Setup, first: str, path: str, last: str) -> bool:
    order = [p for p, _, _ in setup.framework.modules(setup.model)]
    return order.index(first) < order.index(path) < order.index(last)


def _grown(values: np.ndarray, units: int, axis: int, rng: np.random.Generator) -> np.ndarray:
    """So many slices along an axis: the first ones, and further ones of elements drawn from all."""
    now = values.shape[axis]
    if units <= now:
        return np.take(values, range(units), axis)
    shape = list(values.shape)
    shape[axis] = units - now
    more = rng.choice(values.reshape(-1), shape)
    return np.concatenate([values, more], axis)
