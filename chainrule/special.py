"""Special functions as SciPy and `torch.special` have them, with derivatives.

Its operations are declared in `chainrule.ops`, in the modules that say `NAMESPACE = "special"`.
"""

from chainrule._index import EXTENSIONS
from chainrule.lazy import loader

__getattr__, __dir__ = loader(__name__, EXTENSIONS["special"], also=globals())
__all__ = sorted(EXTENSIONS["special"])
