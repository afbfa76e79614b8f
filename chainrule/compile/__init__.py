"""From a traced function to machine code: trace, simplify, fuse, schedule, plan memory, emit, run.

`chainrule.compile` is both this package and the function: the package can be called, too, so that
it does not matter which of the two was met first. Nothing here is loaded before it is used.
"""

from __future__ import annotations

import sys
import types
from typing import Any


class _Package(types.ModuleType):
    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        from chainrule.compile.compiled import compile

        return compile(*args, **kwargs)


sys.modules[__name__].__class__ = _Package
