"""The Array API's linear-algebra extension, `cr.linalg`."""

from chainrule.ops.linear_algebra import matmul, norm, outer, tensordot, vecdot
from chainrule.ops.structure import matrix_transpose

__all__ = ["matmul", "matrix_transpose", "norm", "outer", "tensordot", "vecdot"]
