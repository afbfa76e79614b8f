"""A user's loss that refers to the model (a penalty on its weights), made to refer to its copy.

A run is made again with a copy of the model. A loss such as

    lambda outputs, y: nn.mse_loss(outputs, y) + sum((p**2).sum() for p in model.parameters())

would go on reading the weights of the original, which stay as they are.
"""

from __future__ import annotations

import types
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

DEPTH = 4
"""Functions that call functions are followed so far."""


def rebound(loss: Callable[..., Any], before: Any, after: Any) -> Callable[..., Any]:
    """The loss, reading `after` and its parts where it read `before` and its; itself where it reads
    neither."""
    found: Callable[..., Any] = _value(loss, _pairs(before, after), DEPTH)
    return found


def _pairs(before: Any, after: Any) -> dict[int, Any]:
    """id → the copy, of every module and every parameter."""
    found: dict[int, Any] = {}
    for name in ("named_modules", "named_parameters"):
        old, new = (dict(getattr(model, name)()) for model in (before, after))
        found.update({id(old[path]): new[path] for path in old if path in new})
    return found


def _value(value: Any, pairs: Mapping[int, Any], depth: int) -> Any:
    if id(value) in pairs:
        return pairs[id(value)]
    if depth and isinstance(value, types.FunctionType) and not _is_a_frameworks(value):
        return _function(value, pairs, depth - 1)
    if depth and isinstance(value, partial):
        func = _value(value.func, pairs, depth - 1)
        args = _value(value.args, pairs, depth - 1)
        named = {k: _value(v, pairs, depth - 1) for k, v in value.keywords.items()}
        same = func is value.func and args is value.args
        if same and all(named[k] is v for k, v in value.keywords.items()):
            return value
        return partial(func, *args, **named)
    if depth and isinstance(value, types.MethodType) and id(value.__self__) in pairs:
        return types.MethodType(value.__func__, pairs[id(value.__self__)])
    if depth and type(value) in (list, tuple) and len(value) < 10_000:
        made = [_value(v, pairs, depth - 1) for v in value]
        return value if all(a is b for a, b in zip(made, value, strict=True)) else type(value)(made)
    return value


def _is_a_frameworks(function: types.FunctionType) -> bool:
    """Whether it is a framework's own, which knows nothing of the user's model."""
    return function.__module__.partition(".")[0] in ("chainrule", "torch", "numpy")


def _function(function: types.FunctionType, pairs: Mapping[int, Any], depth: int) -> Any:
    cells = function.__closure__ or ()
    inner = []
    for cell in cells:
        try:
            inner.append((cell, _value(cell.cell_contents, pairs, depth)))
        except ValueError:  # a name that is not bound yet
            inner.append((cell, cell))
    names = set(_names(function.__code__))
    outer = {n: _value(v, pairs, depth) for n, v in function.__globals__.items() if n in names}
    defaults = function.__defaults__
    default = None if defaults is None else _value(defaults, pairs, depth)
    changed = {n: v for n, v in outer.items() if v is not function.__globals__[n]}
    kept = all(new is cell or new is cell.cell_contents for cell, new in inner)
    if kept and not changed and default is defaults:
        return function
    made = types.FunctionType(
        function.__code__,
        {**function.__globals__, **changed} if changed else function.__globals__,
        function.__name__,
        default,
        tuple(cell if new is cell else types.CellType(new) for cell, new in inner) or None,
    )
    made.__kwdefaults__ = function.__kwdefaults__
    made.__qualname__, made.__doc__ = function.__qualname__, function.__doc__
    return made


def _names(code: types.CodeType) -> list[str]:
    """Global names that the code reads, in the functions and comprehensions inside it too."""
    found = list(code.co_names)
    for constant in code.co_consts:
        if isinstance(constant, types.CodeType):
            found.extend(_names(constant))
    return found
