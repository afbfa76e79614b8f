"""The Array API's extension of Fourier transforms, and those along two axes.

They are declared in `chainrule.ops`, in the modules that say `NAMESPACE = "fft"`.
"""

from chainrule._index import EXTENSIONS
from chainrule.lazy import loader

__getattr__, __dir__ = loader(__name__, EXTENSIONS["fft"], also=globals())
__all__ = sorted(EXTENSIONS["fft"])
