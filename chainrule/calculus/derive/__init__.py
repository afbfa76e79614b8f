"""Derivatives as formulas: `derive`, and the terms and named rules that it is made of.

The graph of a derivative is read as `terms`: sums, products with indices, and operations. Named
`rules` simplify it, each rewriting checked by numbers. What comes out is written in matrix notation
(`matrix_form`), in index notation (`index_form`) and as Python (`python_form`).

    reading         recorded nodes as terms
    terms           Term, its kinds, and their evaluation; canonical, the one form of a product
    rules           the named rules, and the order in which they are applied; rules_*, the rules
    trace           a function's gradient, Jacobian and Hessian as graphs
    linear_map      a map v ↦ A v as the array A
    matrix_form     matrix notation: its parts (tree), the network of a product (network), its text
                    (writing), its value by matrix algebra alone (value)
    local           one operation's pullback, for whoever explains a backward pass
    derived         the result: steps, forms, checks; derivation makes it
"""

from chainrule.calculus.derive.derivation import derive
from chainrule.calculus.derive.derived import Derived
from chainrule.calculus.derive.local import LocalDerivative, local_derivative

__all__ = ["Derived", "LocalDerivative", "derive", "local_derivative"]
