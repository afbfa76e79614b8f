"""chainrule: neural networks whose every operation knows its own mathematics.

>>> import chainrule as cr
>>> cr.grad(lambda x: (x**2).sum())(cr.asarray([1.0, 2.0]))
tensor([2., 4.])
"""

from __future__ import annotations

import importlib
from typing import Any

from chainrule._index import MODULES, NAMES
from chainrule.version import __version__ as __version__


def __getattr__(name: str) -> Any:
    """Load a name when it is first used (PEP 562); `_index` says where it lives."""
    if name in MODULES:
        importlib.import_module("chainrule.calculus")
        return importlib.import_module(f"chainrule.{name}")
    if name not in NAMES:
        import difflib

        close = difflib.get_close_matches(name, [*NAMES, *MODULES], 3)
        hint = f"; did you mean {' or '.join(close)}?" if close else ""
        raise AttributeError(f"chainrule has no {name!r}{hint}")
    importlib.import_module("chainrule.calculus")  # the operations put themselves on Tensor
    module, _, attribute = NAMES[name].partition(":")
    value = getattr(importlib.import_module(module), attribute or name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *NAMES, *MODULES})
