"""The errors: one small hierarchy, each also the built-in exception that it specialises.

A message says, in this order: what failed and where (operation, module path, the user's line; or
file, row and column), the facts, the usual cause, and what to write instead.
"""

import numpy as np


class ChainruleError(Exception):
    """The base of every error that this library raises on purpose."""


class ShapeError(ChainruleError, ValueError):
    """Shapes that do not fit together, or that an operation cannot take."""


class AxisError(ShapeError, IndexError):
    """An axis that the array does not have."""


class BoundsError(ShapeError, IndexError):
    """An index that lies outside of the array."""


class DTypeError(ChainruleError, TypeError):
    """A data type, or a kind of object, that an operation cannot take."""


class NonFiniteError(ChainruleError, FloatingPointError):
    """A NaN or an infinity where a finite number is needed; names the first one that appeared."""


class OutOfMemoryError(ChainruleError, MemoryError):
    """An array that does not fit into memory."""


class GradientError(ChainruleError, RuntimeError):
    """A derivative that does not exist, cannot be had any more, or is wrong."""


class DataError(ChainruleError, ValueError):
    """A table, file or array of data that cannot be used as it is; names row, column and value."""


class LinAlgError(ChainruleError, np.linalg.LinAlgError):
    """A matrix that is singular, not positive definite, or else not what an operation needs."""


class CheckpointError(ChainruleError, OSError, ValueError):
    """A model or checkpoint file that cannot be written, read, or loaded into this network."""


class CompileError(ChainruleError, RuntimeError):
    """A function that cannot be compiled as it is written."""
