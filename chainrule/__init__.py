"""chainrule: neural networks whose every operation knows its own mathematics.

>>> import chainrule as cr
>>> cr.grad(lambda x: (x**2).sum())(cr.asarray([1.0, 2.0]))
tensor([2., 4.])
"""

from __future__ import annotations

from chainrule._index import MODULES, NAMES
from chainrule.lazy import loader
from chainrule.version import __version__ as __version__

__getattr__, __dir__ = loader(__name__, NAMES, MODULES, globals())
