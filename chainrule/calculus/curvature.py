"""Curvature of losses of networks, as products with vectors: Gauss–Newton and Fisher matrices."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from chainrule.calculus.jacobian import hvp
from chainrule.calculus.transforms import jvp, vjp
from chainrule.errors import DTypeError, GradientError
from chainrule.ops.activation import sigmoid
from chainrule.ops.exponential import exp
from chainrule.ops.reduction import sum
from chainrule.ops.softmax import softmax
from chainrule.tensor.locate import explained
from chainrule.tensor.tensor import Tensor


@explained
def gauss_newton_product(
    f: Callable[..., Any],
    loss: Callable[[Any], Any],
    primals: Sequence[Any],
    tangents: Sequence[Any],
) -> Any:
    """The Gauss–Newton matrix of loss(f(x)) times a vector: Jᵀ H J v.

    J is the Jacobian of f, H the Hessian of the loss in f's result. Of a convex loss it is positive
    semidefinite where the Hessian of the whole need not be (Schraudolph 2002, Fast curvature
    matrix-vector products for second-order gradient descent).

    Args:
        f: the model, as a function of its parameters: any structure of tensors.
        loss: from f's result to a single real number.
        primals: the arguments of f, a tuple.
        tangents: the vector, in their shapes.

    Returns the product: of one argument in its structure, of several a tuple.

    >>> import chainrule as cr
    >>> a, x = cr.asarray([[1.0, 2.0], [3.0, 4.0]]), cr.zeros(2)
    >>> v = cr.asarray([1.0, 0.0])
    >>> cr.gauss_newton_product(lambda x: a @ x, lambda y: (y * y).sum(), (x,), (v,))
    tensor([20., 28.])
    """
    return _around(f, lambda y, jv: hvp(loss, (y,), (jv,)), primals, tangents)


@explained
def fisher_product(
    f: Callable[..., Tensor],
    likelihood: str | Callable[[Tensor, Tensor], Tensor],
    primals: Sequence[Any],
    tangents: Sequence[Any],
) -> Any:
    """The Fisher information of a model's parameters times a vector: Jᵀ F J v.

    J is the Jacobian of f, and F the Fisher information of the likelihood in f's result z, added up
    over all examples (not the empirical Fisher: no labels take part; Martens 2020, New insights and
    perspectives on the natural gradient method, JMLR 21, §5):

        "categorical"   logits z in the last axis:        F u = p ∘ u − p (p · u), p = softmax(z)
        "bernoulli"     a logit z for each outcome:       F u = σ(z) (1 − σ(z)) u
        "poisson"       a logarithm of a rate:            F u = exp(z) u
        "gaussian"      a mean, of variance 1:            F u = u

    Args:
        f: the model, as a function of its parameters.
        likelihood: one of these, or a function (z, u) -> F u.
        primals: the arguments of f, a tuple.
        tangents: the vector, in their shapes.

    Raises:
        DTypeError: no such likelihood.

    >>> import chainrule as cr
    >>> z, v = cr.asarray([0.0, 0.0]), cr.asarray([1.0, 0.0])
    >>> cr.fisher_product(lambda z: z, "categorical", (z,), (v,))
    tensor([ 0.25, -0.25])
    """
    information = _INFORMATION.get(likelihood) if isinstance(likelihood, str) else likelihood
    if not callable(information):
        names = ", ".join(f'"{name}"' for name in _INFORMATION)
        raise DTypeError(f"likelihood is {names} or a function (z, u) -> F u, not {likelihood!r}")
    return _around(f, information, primals, tangents)


def _categorical(z: Tensor, u: Tensor) -> Tensor:
    p = softmax(z)
    return p * (u - sum(p * u, -1, keepdims=True))


def _bernoulli(z: Tensor, u: Tensor) -> Tensor:
    p = sigmoid(z)
    return p * (1 - p) * u


_INFORMATION: dict[str, Callable[[Tensor, Tensor], Tensor]] = {
    "categorical": _categorical,
    "bernoulli": _bernoulli,
    "poisson": lambda z, u: exp(z) * u,
    "gaussian": lambda z, u: u,
}


def _around(
    f: Callable[..., Any], inner: Callable[[Any, Any], Any], primals: Any, tangents: Any
) -> Any:
    """Jᵀ inner(f(x), J v)."""
    if not isinstance(primals, (tuple, list)) or not isinstance(tangents, (tuple, list)):
        raise GradientError("primals and tangents are tuples: (x,), (v,)")
    _, jv = jvp(f, primals, tangents)
    y, pull = vjp(f, *primals)
    found = pull(inner(y, jv))
    return found[0] if len(primals) == 1 else found
