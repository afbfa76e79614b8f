"""summary: what each layer of a network gives, holds and costs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np

from chainrule.errors import DTypeError
from chainrule.nn.module import Module
from chainrule.nn.undisturbed import undisturbed
from chainrule.places import Scope
from chainrule.tensor import debug
from chainrule.tensor.creation import as_operand
from chainrule.tensor.graph import Node, constant, describe_only, no_grad, state
from chainrule.tensor.locate import explained
from chainrule.tensor.tensor import Tensor
from chainrule.tree import flatten, map_leaves

Shapes = list[tuple[int, ...]]


@dataclass
class Layer:
    """A row of a `Summary`: a module that was called, with everything inside of it.

    Attributes:
        path: its dotted name; empty for the whole network.
        kind: its class.
        inputs, outputs: the shapes of the tensors that it was given and gave, at its last call.
        parameters: how many numbers it holds, shared ones once; `trainable`: that training changes.
        flops: floating-point operations of one forward pass, a multiplication and an addition as
            two.
        bytes: read and written by its operations in that pass, if each is run by itself.
        calls: how often it was called.
    """

    path: str
    kind: str
    inputs: Shapes
    outputs: Shapes
    parameters: int
    trainable: int
    flops: int = 0
    bytes: int = 0
    calls: int = 0


@dataclass(frozen=True)
class Summary:
    """A network, layer by layer; the first row is the whole. See `summary`.

    Attributes:
        layers: in the order in which they stand in the network.
        parameter_bytes: the memory of the parameters.
    """

    layers: list[Layer] = field(default_factory=list)
    parameter_bytes: int = 0

    def to_dict(self) -> dict[str, Any]:
        """Plain data, for JSON."""
        return {
            "parameter_bytes": self.parameter_bytes,
            "layers": [asdict(layer) for layer in self.layers],
        }

    def _labels(self) -> list[str]:
        """Each layer's name, seen from the closest row that it is inside of, and indented."""
        labels, outer = [], [""]
        for layer in self.layers:
            while outer[-1] and not layer.path.startswith(f"{outer[-1]}."):
                outer.pop()
            name = layer.path[len(outer[-1]) :].lstrip(".") or "(all)"
            labels.append("  " * (len(outer) - (not layer.path)) + name)
            if layer.path:
                outer.append(layer.path)
        return labels

    def _rows(self) -> list[tuple[str, ...]]:
        return [
            (
                label,
                layer.kind + (f" ×{layer.calls}" if layer.calls > 1 else ""),
                _shapes(layer.outputs),
                f"{layer.parameters:,}",
                _scaled(layer.flops, ("", " k", " M", " G", " T")),
                _scaled(layer.bytes, (" B", " kB", " MB", " GB", " TB")),
            )
            for label, layer in zip(self._labels(), self.layers, strict=True)
        ]

    def _foot(self) -> str:
        whole = self.layers[0]
        frozen = whole.parameters - whole.trainable
        memory = _scaled(self.parameter_bytes, (" B", " kB", " MB", " GB"))
        names = ("", " thousand", " million", " billion", " trillion")
        return (
            f"{whole.parameters:,} parameters"
            + (f", {frozen:,} of them frozen" if frozen else "")
            + f", {memory}; for inputs of {_shapes(whole.inputs)} a forward pass takes "
            + f"{_scaled(whole.flops, names)} floating-point operations"
        )

    def __str__(self) -> str:
        rows = [_HEAD, *self._rows()]
        widths = [max(len(row[i]) for row in rows) for i in range(len(_HEAD))]
        lines = [
            "  ".join(
                cell.ljust(w) if i < 3 else cell.rjust(w)
                for i, (cell, w) in enumerate(zip(row, widths, strict=True))
            ).rstrip()
            for row in rows
        ]
        lines.insert(1, "─" * max(map(len, lines)))
        return "\n".join([*lines, self._foot()])

    __repr__ = __str__

    def __rich__(self) -> Any:
        from rich.console import Group
        from rich.table import Table

        table = Table(box=None, header_style="bold", pad_edge=False)
        for i, name in enumerate(_HEAD):
            table.add_column(name, justify="left" if i < 3 else "right", no_wrap=i != 2)
        for row, layer in zip(self._rows(), self.layers, strict=True):
            table.add_row(*row, style="" if layer.path else "bold")
        return Group(table, self._foot())

    def _repr_html_(self) -> str:
        from html import escape

        def line(tag: str, cells: Sequence[str]) -> str:
            made = [
                f'<{tag} style="text-align:{"left" if i < 3 else "right"};white-space:pre">'
                f"{escape(cell)}</{tag}>"
                for i, cell in enumerate(cells)
            ]
            return f"<tr>{''.join(made)}</tr>"

        rows = "".join(line("td", row) for row in self._rows())
        return f"<table>{line('th', _HEAD)}{rows}</table><p>{escape(self._foot())}</p>"


_HEAD = ("layer", "kind", "output", "parameters", "operations", "moved")


@explained
def summary(model: Module, *inputs: Any) -> Summary:
    """What each layer of a network gives, holds and costs, found by running it once.

    It runs in evaluation mode and without gradients; modes, buffers and the random generator are
    afterwards as before. A layer's row has everything inside of it, the first row the whole.

    Args:
        model: the network.
        inputs: what it is called with: arrays, or nested dicts, lists and tuples of them.

    Raises:
        DTypeError: the model is no module.

    >>> import chainrule as cr
    >>> from chainrule import nn
    >>> found = cr.summary(nn.Sequential(nn.Linear(4, 8), nn.ReLU()), cr.ones((2, 4)))
    >>> print(found)
    layer  kind        output  parameters  operations  moved
    ────────────────────────────────────────────────────────
    (all)  Sequential  (2, 8)          40         144  384 B
      0    Linear      (2, 8)          40         128  256 B
      1    ReLU        (2, 8)           0          16  128 B
    40 parameters, 160 B; for inputs of (2, 4) a forward pass takes 144 floating-point operations
    >>> found.layers[1].flops
    128
    """
    if not isinstance(model, Module):
        hint = " Write cr.summary(nn.Sequential(…), x)." if callable(model) else ""
        raise DTypeError(f"summary takes a module, not {type(model).__name__}.{hint}")
    given = [map_leaves(as_operand, i) for i in inputs]
    counter = _Counter(model)
    before, debug.step_by_step = debug.step_by_step, True
    try:
        with undisturbed(model), no_grad(), debug.observed(counter):
            model(*given)
    finally:
        debug.step_by_step = before
    order = {path: i for i, (path, _) in enumerate(model.named_modules())}
    layers = sorted(counter.layers.values(), key=lambda layer: order.get(layer.path, len(order)))
    size = sum(p.size * p.dtype.itemsize for p in model.parameters())
    return Summary(layers, size)


class _Counter(debug.Observer):
    """Adds up what runs, for every module that it runs inside of."""

    def __init__(self, model: Module) -> None:
        self.model = model
        self.layers: dict[int, Layer] = {}

    def _layer(self, scope: Scope) -> Layer:
        module = scope.module
        assert isinstance(module, Module)
        found = self.layers.get(id(module))
        if found is None:
            sizes = [(p.size, p.requires_grad) for p in module.parameters()]
            found = self.layers[id(module)] = Layer(
                scope.path(),
                type(module).__name__,
                [],
                [],
                sum(n for n, _ in sizes),
                sum(n for n, trained in sizes if trained),
            )
        return found

    def ran(self, run: debug.Run) -> None:
        op, values, attrs, value, *_ = run
        inputs = tuple(describe_only(v.shape, v.dtype) if isinstance(v, np.ndarray) else
                       None if v is None else constant(np.asarray(v)) for v in values)  # fmt: skip
        flops, moved = op.cost(Node(op, inputs, attrs, value.shape, value.dtype, False))
        if op.is_view and np.may_share_memory(value, values[0]):
            moved = 0
        scope, seen = state.scope, set()
        while scope is not None:
            if id(scope.module) not in seen:
                seen.add(id(scope.module))
                layer = self._layer(scope)
                layer.flops += flops
                layer.bytes += moved
            scope = scope.parent

    def called(self, scope: Scope, args: tuple, result: Any) -> None:
        layer = self._layer(scope)
        layer.calls += 1
        layer.inputs, layer.outputs = _shapes_in(args), _shapes_in(result)


def _shapes_in(tree: Any) -> Shapes:
    leaves = flatten(list(tree) if isinstance(tree, tuple) else tree)[0]
    return [leaf.shape for leaf in leaves if isinstance(leaf, (Tensor, np.ndarray))]


def _shapes(shapes: Shapes) -> str:
    return ", ".join(map(str, shapes)) or "–"


def _scaled(number: int, units: Sequence[str]) -> str:
    """Three digits and a unit."""
    size, step = float(number), 0
    while size >= 999.5 and step < len(units) - 1:
        size, step = size / 1000, step + 1
    return f"{size:.3g}{units[step]}"
