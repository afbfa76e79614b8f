"""Derivatives: backward, the function transforms, and numerical checks of them."""

from chainrule.calculus.check import GradientCheck, check_gradients
from chainrule.calculus.reverse import backward, pull_back
from chainrule.calculus.transforms import grad, jvp, value_and_grad, vjp

__all__ = [
    "GradientCheck",
    "backward",
    "check_gradients",
    "grad",
    "jvp",
    "pull_back",
    "value_and_grad",
    "vjp",
]
