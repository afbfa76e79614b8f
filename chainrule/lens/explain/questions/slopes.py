"""Slopes of a function of one number by differences, with a bound on their error."""

from __future__ import annotations

from collections.abc import Callable


def slope(f: Callable[[float], float], h: float, eps: float) -> tuple[float, float]:
    """(f'(0), how far it may be off) by central differences with the steps h and h / 2.

    Where f is smooth, the slopes to the right and to the left differ by h·f'', half as much for
    half the step, and the two central differences are extrapolated (Richardson 1911), their
    difference being the bound. Otherwise there may be a kink within h, and the derivative is
    somewhere between the slopes of both sides.

    Args:
        f: a function that is 0 at 0.
        h: the larger step.
        eps: how far rounding may put off a value of f.

    >>> value, bound = slope(lambda t: t + t**3, 1e-3, 1e-16)
    >>> abs(value - 1) < bound < 1e-5
    True
    """
    right, left = f(h) / h, -f(-h) / h
    nearer_right, nearer_left = 2 * f(h / 2) / h, -2 * f(-h / 2) / h
    coarse, fine = (right + left) / 2, (nearer_right + nearer_left) / 2
    apart, nearer = abs(right - left), abs(nearer_right - nearer_left)
    noise = 4 * eps / h
    bound = 2 * abs(coarse - fine) + noise
    if abs(nearer - apart / 2) <= 0.05 * apart + noise:
        return (4 * fine - coarse) / 3, bound
    return fine, bound + apart / 2


def curvature(f: Callable[[float], float], h: float, eps: float) -> tuple[float, float]:
    """(f''(0), how far it may be off) by second differences with the steps h and h / 2.

    Args:
        f: a function that is 0 at 0.
        h: the larger step.
        eps: how far rounding may put off a value of f.

    >>> value, bound = curvature(lambda t: t**2 / 2 + t**4, 1e-2, 1e-16)
    >>> abs(value - 1) < bound < 1e-2
    True
    """
    coarse, fine = ((f(s) + f(-s)) / s**2 for s in (h, h / 2))
    # At a kink the differences grow as 1/h, which three times their difference covers.
    return (4 * fine - coarse) / 3, 3 * abs(coarse - fine) + 16 * eps / h**2
