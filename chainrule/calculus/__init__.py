"""Derivatives: backward, the function transforms, and numerical checks of them."""

from chainrule.calculus.check import GradientCheck, check_gradients
from chainrule.calculus.checkpoint import checkpoint
from chainrule.calculus.curvature import fisher_product, gauss_newton_product
from chainrule.calculus.custom import custom_derivative
from chainrule.calculus.implicit import fixed_point
from chainrule.calculus.jacobian import hessian, hvp, jacobian
from chainrule.calculus.reverse import backward, pull_back
from chainrule.calculus.spectrum import hutchinson_trace, lanczos, power_iteration
from chainrule.calculus.transforms import grad, jvp, value_and_grad, vjp
from chainrule.calculus.vmap import vmap

__all__ = [
    "GradientCheck",
    "backward",
    "check_gradients",
    "checkpoint",
    "custom_derivative",
    "fisher_product",
    "fixed_point",
    "gauss_newton_product",
    "grad",
    "hessian",
    "hutchinson_trace",
    "hvp",
    "jacobian",
    "jvp",
    "lanczos",
    "power_iteration",
    "pull_back",
    "value_and_grad",
    "vjp",
    "vmap",
]
