"""Freezing: parameters, by name, that training leaves as they are."""

from __future__ import annotations

import difflib
import fnmatch
from typing import Any

from chainrule.errors import ChainruleError, DTypeError
from chainrule.nn.module import Module, Parameter, check_module
from chainrule.tensor.locate import explained


@explained
def freeze(model: Module, *patterns: str) -> list[str]:
    """Freeze parameters: no gradient is computed for them, and an optimiser leaves them alone.

    Args:
        model: any module.
        patterns: names of parameters (as in `named_parameters`) or of modules, in which * stands
            for anything: "encoder", "*.bias", "layers.0.*". Without any, all are frozen.

    Returns:
        The names of the parameters that are frozen by this.

    Raises:
        ChainruleError: a pattern is the name of nothing; it says which names are close.

    >>> from chainrule import nn
    >>> model = nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, 2))
    >>> nn.freeze(model, "0", "*.bias")
    ['0.weight', '0.bias', '2.bias']
    """
    return _set(model, patterns, False)


@explained
def unfreeze(model: Module, *patterns: str) -> list[str]:
    """Let parameters be trained again; arguments and result as in `freeze`.

    >>> from chainrule import nn
    >>> model = nn.Sequential(nn.Linear(4, 8), nn.Linear(8, 2)).requires_grad_(False)
    >>> nn.unfreeze(model, "1")
    ['1.weight', '1.bias']
    """
    return _set(model, patterns, True)


def patterns_of(given: Any) -> tuple[str, ...]:
    """One pattern or several, as a tuple."""
    found = (given,) if isinstance(given, str) else given
    if not isinstance(found, (tuple, list)) or not all(isinstance(p, str) for p in found):
        raise DTypeError(f"names are text such as 'encoder.*', not {given!r}")
    return tuple(found)


def _set(model: Module, patterns: tuple[str, ...], wanted: bool) -> list[str]:
    check_module(model, "unfreeze" if wanted else "freeze")
    parameters = [
        (f"{path}.{name}" if path else name, parameter)
        for path, module in model._walk("")
        for name, parameter in module._own(Parameter)
    ]
    chosen: dict[str, Any] = {}
    for pattern in patterns_of(patterns) or ("*",):
        found = {n: p for n, p in parameters if _within(n, pattern)}
        if not found and patterns:
            names = [n for n, _ in parameters]
            near = ", ".join(difflib.get_close_matches(pattern, names, 3, 0.3)) or ", ".join(names)
            raise ChainruleError(
                f"no parameter or module of this {type(model).__name__} is named {pattern!r}; "
                f"close are {near}"
            )
        chosen |= found
    for parameter in chosen.values():
        parameter.requires_grad = wanted
    return [n for n, _ in parameters if n in chosen]


def _within(name: str, pattern: str) -> bool:
    """Whether the pattern is that of a parameter, or of a module that it is in."""
    return fnmatch.fnmatchcase(name, pattern) or fnmatch.fnmatchcase(name, f"{pattern}.*")
