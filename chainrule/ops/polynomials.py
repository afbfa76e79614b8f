"""Orthogonal polynomials by their recurrences (DLMF 18.9.1), as `torch.special` has them.

p₀ = 1, and p_{n+1} = (aₙ x + bₙ) pₙ − cₙ p_{n−1}; Chebyshev's two kinds differ in p₁ alone.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from chainrule.errors import DTypeError
from chainrule.ops.composite import Composite
from chainrule.ops.declare import composite
from chainrule.ops.domain import sampled
from chainrule.tensor.shapes import is_whole
from chainrule.tensor.tensor import Tensor

NAMESPACE = "special"

_MOST = 10_000


def _samples() -> list:
    x = sampled(2, 3) / 2.5
    return [((x,), {"n": n}) for n in (0, 1, 2, 5)] + [((x[0, 0],), {"n": 3})]


def _check(x: Tensor, *, n: Any) -> None:
    if not is_whole(n) or not 0 <= n <= _MOST:
        raise DTypeError(f"the degree n is a whole number from 0 to {_MOST}, not {n!r}")


def _polynomial(
    name: str, doc: str, formula: str, step: Callable[[int], tuple[float, float, float]]
) -> Composite:
    """By step(k) = (a, b, c): p_{k+1} = (a x + b) p_k − c p_{k−1}."""

    def definition(x: Tensor, /, n: int) -> Tensor:
        last, value = x * 0, x * 0 + 1
        for k in range(int(n)):
            a, b, c = step(k)
            last, value = value, (a * x + b) * value - c * last
        return value

    definition.__name__ = name
    definition.__doc__ = f"""{doc}, of whole degree n ≥ 0.

    Raises:
        DTypeError: n is no whole number from 0 to {_MOST}.
    """
    return composite(formula=formula, display_only=True, check=_check, samples=_samples)(definition)


chebyshev_polynomial_t = _polynomial(
    "chebyshev_polynomial_t", "Chebyshev's polynomial of the first kind, cos(n · acos(x))",
    "T₀ = 1; T₁ = x; T_{n+1} = 2 x T_n − T_{n−1}", lambda k: (2 if k else 1, 0, 1),
)  # fmt: skip
chebyshev_polynomial_u = _polynomial(
    "chebyshev_polynomial_u", "Chebyshev's polynomial of the second kind",
    "U₀ = 1; U₁ = 2 x; U_{n+1} = 2 x U_n − U_{n−1}", lambda k: (2, 0, 1),
)  # fmt: skip
hermite_polynomial_h = _polynomial(
    "hermite_polynomial_h", "The physicists' Hermite polynomial, of weight exp(−x²)",
    "H₀ = 1; H₁ = 2 x; H_{n+1} = 2 x H_n − 2 n H_{n−1}", lambda k: (2, 0, 2 * k),
)  # fmt: skip
hermite_polynomial_he = _polynomial(
    "hermite_polynomial_he", "The probabilists' Hermite polynomial, of weight exp(−x²/2)",
    "He₀ = 1; He₁ = x; He_{n+1} = x He_n − n He_{n−1}", lambda k: (1, 0, k),
)  # fmt: skip
laguerre_polynomial_l = _polynomial(
    "laguerre_polynomial_l", "Laguerre's polynomial, of weight exp(−x) on x ≥ 0",
    "L₀ = 1; L₁ = 1 − x; (n + 1) L_{n+1} = (2 n + 1 − x) L_n − n L_{n−1}",
    lambda k: (-1 / (k + 1), (2 * k + 1) / (k + 1), k / (k + 1)),
)  # fmt: skip
legendre_polynomial_p = _polynomial(
    "legendre_polynomial_p", "Legendre's polynomial, of weight 1 on [−1, 1]",
    "P₀ = 1; P₁ = x; (n + 1) P_{n+1} = (2 n + 1) x P_n − n P_{n−1}",
    lambda k: ((2 * k + 1) / (k + 1), 0, k / (k + 1)),
)  # fmt: skip
