"""Names of a package that load when they are first used (PEP 562)."""

from __future__ import annotations

import importlib
from collections.abc import Callable, Collection
from typing import Any


def loader(
    package: str, names: dict[str, str], modules: Collection[str] = (), also: Any = None
) -> tuple[Callable[[str], Any], Callable[[], list[str]]]:
    """(`__getattr__`, `__dir__`) of a package whose names live elsewhere.

    Args:
        package: its name, `__name__`.
        names: name -> "module" or "module:attribute", from `chainrule._index`.
        modules: its submodules that load by themselves too.
        also: its `globals()`, in which names that were loaded are kept.
    """
    place: dict[str, Any] = also if also is not None else {}

    def load(name: str) -> Any:
        if name.startswith("_") and name not in names:
            raise AttributeError(f"{package} has no {name!r}")
        if name not in names and name not in modules:
            import difflib

            close = difflib.get_close_matches(name, [*names, *modules], 3)
            hint = f"; did you mean {' or '.join(close)}?" if close else ""
            raise AttributeError(f"{package} has no {name!r}{hint}")
        importlib.import_module("chainrule.calculus")  # the operations put themselves on Tensor
        if name in modules:
            return importlib.import_module(f"{package}.{name}")
        module, _, attribute = names[name].partition(":")
        value = place[name] = getattr(importlib.import_module(module), attribute or name)
        return value

    def listing() -> list[str]:
        return sorted({*place, *names, *modules})

    return load, listing
