"""functional_call: a module as a function of its parameters."""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from typing import Any

from chainrule.errors import CheckpointError, ShapeError
from chainrule.nn.module import Buffer, Module
from chainrule.tensor.cell import Cell
from chainrule.tensor.creation import as_operand
from chainrule.tensor.graph import state
from chainrule.tensor.locate import explained
from chainrule.tensor.tensor import Tensor


@explained
def functional_call(
    module: Module,
    parameters: Mapping[str, Any],
    args: Any = (),
    kwargs: Mapping[str, Any] | None = None,
) -> Any:
    """Call a module with tensors in place of its parameters, through which derivatives flow.

    The module has its own parameters again when the call is over, also after an error. A parameter
    that is shared has one name here, whichever, and is replaced wherever it is used. Buffers may be
    named too; what the call writes into those is dropped.

    Args:
        module: any module.
        parameters: name (as in `named_parameters`) → tensor; those left out stay as they are.
        args: the positional argument, or a tuple of several.
        kwargs: keyword arguments.

    Raises:
        CheckpointError: the module has no parameter of such a name; a shared one was given twice.
        ShapeError: a tensor has another shape than the parameter that it stands for.

    >>> import chainrule as cr
    >>> from chainrule import nn
    >>> model = nn.Linear(2, 1, bias=False)
    >>> x = cr.asarray([[3.0, 4.0]])
    >>> def output(parameters):
    ...     return nn.functional_call(model, parameters, x).sum()
    >>> cr.grad(output)({"weight": cr.ones((1, 2))})["weight"]
    tensor([[3., 4.]])
    """
    places = [
        (vars(holder), attribute, f"{path}.{attribute}" if path else attribute, cell)
        for path, holder in module._walk("")
        for attribute, cell in holder._own(Cell)
    ]
    stand_ins = _stand_ins(module, {name: cell for _, _, name, cell in places}, parameters)
    places = [place for place in places if id(place[-1]) in stand_ins]
    positional = args if isinstance(args, tuple) else (args,)
    try:
        for attributes, attribute, _, cell in places:
            attributes[attribute] = stand_ins[id(cell)]
        return module(*positional, **(kwargs or {}))
    finally:
        for attributes, attribute, _, cell in places:
            attributes[attribute] = cell


def _stand_ins(
    module: Module, cells: Mapping[str, Cell], given: Mapping[str, Any]
) -> dict[int, Cell]:
    """id of a cell → what stands in its place."""
    unknown = [name for name in given if name not in cells]
    if unknown:
        near = difflib.get_close_matches(unknown[0], cells, 3)
        hint = f"; close are {', '.join(near)}" if near else f"; there are {', '.join(cells)}"
        raise CheckpointError(
            f"this {type(module).__name__} has no parameter {', '.join(map(repr, unknown))}{hint}"
        )
    found: dict[int, Cell] = {}
    sources: dict[int, Tensor] = {}
    for name, value in given.items():
        cell, tensor = cells[name], as_operand(value)
        if tensor.shape != cell.shape:
            raise ShapeError(
                f"the parameter {name!r} has the shape {cell.shape}, and {tensor.shape} was given "
                "in its place"
            )
        if sources.setdefault(id(cell), tensor) is not tensor:
            raise CheckpointError(
                f"{name!r} is shared, and another tensor was given under another of its names; "
                "name it once"
            )
        found[id(cell)] = _stand_in(cell, tensor)
    return found


def _stand_in(cell: Cell, tensor: Tensor) -> Cell:
    """The tensor, as what the module takes for its parameter; a buffer gets storage to write to."""
    if state.tracer is not None:
        tensor = state.tracer.lift(tensor)
    elif isinstance(cell, Buffer):
        return Buffer(tensor, cell.persistent)
    stand_in = object.__new__(type(cell))
    Tensor.__init__(stand_in, tensor._value, tensor._node)
    stand_in.version, stand_in.live_views = 0, []
    stand_in._base = tensor._base  # what it may look into is guarded as the tensor itself is
    return stand_in
