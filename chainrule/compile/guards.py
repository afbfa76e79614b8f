"""Guards: what a traced function could have looked at, and whether it is still so."""

from __future__ import annotations

import functools
import types
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from chainrule.tensor.cell import Cell
from chainrule.tensor.tensor import Tensor

_PLAIN = (bool, int, float, complex, str, bytes, type(None), np.dtype, np.generic)


class Same:
    """An object by identity, whatever its own equality says."""

    __slots__ = ("thing",)

    def __init__(self, thing: Any) -> None:
        self.thing = thing

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Same) and self.thing is other.thing

    def __hash__(self) -> int:
        return id(self.thing)


def frozen(value: Any) -> Any:
    """Something hashable that is equal for values that Python code cannot tell apart."""
    if isinstance(value, float):
        return float, value.hex()  # −0.0 is not 0.0, and NaN is NaN
    if isinstance(value, _PLAIN):
        return type(value), value
    if isinstance(value, (list, tuple)):
        return type(value), tuple(map(frozen, value))
    if isinstance(value, dict):
        return dict, tuple((frozen(k), frozen(v)) for k, v in value.items())
    if isinstance(value, slice):
        return slice, frozen((value.start, value.stop, value.step))
    return Same(value)


def is_module(thing: Any) -> bool:
    return hasattr(thing, "named_modules") and not isinstance(thing, type)


def _attributes(module: Any) -> Any:
    own = tuple((k, frozen(v)) for k, v in vars(module).items() if k != "training")
    return module.training, own


def attributes_of(modules: Iterable[Any]) -> list[tuple[Any, Any]]:
    """(module, its attributes as they are) for the modules and all inside of them."""
    found: dict[int, Any] = {}
    for module in modules:
        for _, inner in module.named_modules():
            found[id(inner)] = inner
    return [(module, _attributes(module)) for module in found.values()]


Name = tuple[Any, Any, Any]  # (namespace, key, what it names)


def reached(function: Callable[..., Any]) -> tuple[list[Name], list[Any]]:
    """(names of tensors, modules and optimisers in a function and those it calls, the modules)."""
    found: list[Name] = []
    modules: list[Any] = []
    seen: set[int] = set()
    stack: list[Any] = [function]
    while stack:
        thing = stack.pop()
        if id(thing) in seen:
            continue
        seen.add(id(thing))
        if isinstance(thing, types.ModuleType):  # of Python, which is none of ours
            continue
        if is_module(thing):
            modules.append(thing)
        if isinstance(thing, functools.partial):
            stack += [thing.func, *thing.args, *thing.keywords.values()]
        elif isinstance(thing, types.MethodType):
            stack += [thing.__self__, thing.__func__]
        elif hasattr(thing, "__wrapped__"):
            stack.append(thing.__wrapped__)
        if not isinstance(thing, types.FunctionType) or _ours(thing):
            continue
        code, spaces = thing.__code__, thing.__globals__
        places: list[Name] = [
            (spaces, name, spaces[name]) for name in _names(code) if name in spaces
        ]
        for cell in thing.__closure__ or ():
            try:
                places.append((cell, None, cell.cell_contents))
            except ValueError:  # not assigned yet
                continue
        for place in places:
            if _matters(place[2]):
                found.append(place)
            if type(place[2]) in (dict, list):
                found += [p for p in _inside(place[2]) if _matters(p[2])]
            stack.append(place[2])
    return found, modules


def _ours(function: Any) -> bool:
    return (function.__module__ or "").startswith("chainrule.")


def _inside(container: Any) -> list[Name]:
    pairs = container.items() if isinstance(container, dict) else enumerate(container)
    return [(container, key, thing) for key, thing in pairs]


def _names(code: types.CodeType) -> list[str]:
    """The names that a function's code, and the functions written inside of it, look up."""
    inner = [c for c in code.co_consts if isinstance(c, types.CodeType)]
    return [*code.co_names, *(name for c in inner for name in _names(c))]


def _matters(thing: Any) -> bool:
    if isinstance(thing, types.ModuleType):
        return False
    return isinstance(thing, Tensor) or any(
        hasattr(thing, name) for name in ("named_modules", "param_groups", "base_lrs")
    )


@dataclass
class Watched:
    """What has to be as it was for a traced function to be valid.

    Attributes:
        cells: (cell, its storage, whether it requires gradients, whether it had none).
        captured: (reference to a tensor, shape, dtype, whether it requires gradients, whether it
            had none).
        values: (reference to a tensor, its value), where Python looked at the value.
        modules: (module, attributes).
        names: what names of the function meant.
        remembered: (object, attribute, value).
        others: functions that say whether all is well.
    """

    cells: list[tuple[Cell, np.ndarray, bool, bool]] = field(default_factory=list)
    captured: list[tuple[Callable[[], Any], Any, Any, bool, bool]] = field(default_factory=list)
    values: list[tuple[Callable[[], Any], np.ndarray]] = field(default_factory=list)
    modules: list[tuple[Any, Any]] = field(default_factory=list)
    names: list[Name] = field(default_factory=list)
    remembered: list[tuple[Any, str, Any]] = field(default_factory=list)
    others: list[Callable[[], bool]] = field(default_factory=list)

    def holds(self) -> bool:
        """Whether everything whose change raises `graph.epoch` is as it was."""
        return (
            all(
                c._value is array and c.requires_grad is needs and (c._grad is None) is bare
                for c, array, needs, bare in self.cells
            )
            and all(getattr(holder, name) == value for holder, name, value in self.remembered)
            and all(_attributes(module) == before for module, before in self.modules)
            and all(other() for other in self.others)
        )

    def now(self) -> bool:
        """Whether that is as it was of which no change is noted: looked at before every call."""
        for space, key, thing in self.names:
            try:
                now = space.cell_contents if key is None else space[key]
            except (LookupError, ValueError):
                return False
            if now is not thing:
                return False
        for reference, shape, dtype, needs, bare in self.captured:
            tensor = reference()
            if tensor is None:
                return False
            value = tensor._value
            if value.shape != shape or value.dtype != dtype or tensor.requires_grad is not needs:
                return False
            if (tensor._grad is None) is not bare:
                return False
        for reference, value in self.values:
            tensor = reference()
            if tensor is not None and tensor._value is not value:
                return False
        return True
