"""The Array API's linear-algebra extension, and what users of NumPy and PyTorch expect beside it.

Its operations are declared in `chainrule.ops`, in the modules that say `NAMESPACE = "linalg"`.
"""

from chainrule._index import EXTENSIONS
from chainrule.lazy import loader

__getattr__, __dir__ = loader(__name__, EXTENSIONS["linalg"], also=globals())
__all__ = sorted(EXTENSIONS["linalg"])
