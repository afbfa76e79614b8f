"""What a row of the table of derivatives is, and how its arguments are drawn."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

Generator = np.random.Generator
Draw = Callable[[Generator], np.ndarray]


@dataclass(frozen=True)
class Row:
    """A function and what the textbooks say that its derivative is.

    Attributes:
        name: the function, as a person writes it.
        source: the textbook or paper, and its equation.
        f: the function, in chainrule's operations; its parameters' names are the formula's.
        draw: how each argument is drawn.
        wrt: the argument in which the derivative is taken.
        form: the textbook's formula, as `derive` prints it, with what its names stand for.
        value: the textbook's formula in NumPy, written without chainrule: of the result's shape
            and behind it the argument's.
        order: 2 asks for the Hessian.
        rules: rules that a reader must have been shown on the way.
        book: how the textbook writes it, where its letters or its order are others.
        textbook: False where `form` is right but not the textbook's formula.
    """

    name: str
    source: str
    f: Callable[..., Any]
    draw: tuple[Draw, ...]
    wrt: str
    form: str
    value: Callable[..., Any]
    order: int = 1
    rules: tuple[str, ...] = ()
    book: str = ""
    textbook: bool = True

    def arguments(self, seed: int) -> tuple[np.ndarray, ...]:
        rng = np.random.default_rng(seed)
        return tuple(draw(rng) for draw in self.draw)


def normal(*shape: int) -> Draw:
    return lambda rng: rng.normal(size=shape)


def positive(*shape: int) -> Draw:
    return lambda rng: rng.uniform(0.5, 2.0, size=shape)


def unit(*shape: int) -> Draw:
    """Numbers between 0 and 1, away from both."""
    return lambda rng: rng.uniform(0.1, 0.9, size=shape)


def off_zero(*shape: int) -> Draw:
    """Numbers of either sign, at least 0.2 from 0, where many a function has a kink."""
    return lambda rng: rng.choice([-1.0, 1.0], size=shape) * rng.uniform(0.2, 2.0, size=shape)


def simplex(n: int) -> Draw:
    return lambda rng: rng.dirichlet(np.full(n, 3.0))


def definite(n: int) -> Draw:
    """A symmetric positive definite matrix."""

    def draw(rng: Generator) -> np.ndarray:
        a = rng.normal(size=(n, n))
        return a @ a.T + np.eye(n)

    return draw


def regular(n: int) -> Draw:
    """A matrix with a positive determinant, far from singular and not symmetric."""
    return lambda rng: rng.uniform(-0.4, 0.4, size=(n, n)) + 2 * np.eye(n)


def labels(n: int, classes: int) -> Draw:
    return lambda rng: rng.integers(0, classes, size=n)


def signs(*shape: int) -> Draw:
    return lambda rng: rng.choice([-1.0, 1.0], size=shape)


def bits(*shape: int) -> Draw:
    return lambda rng: rng.integers(0, 2, size=shape).astype(float)


def sigmoid(x: np.ndarray) -> np.ndarray:
    return 1 / (1 + np.exp(-x))


def softmax(x: np.ndarray) -> np.ndarray:
    e = np.exp(x - x.max(-1, keepdims=True))
    return e / e.sum(-1, keepdims=True)


def one_hot(y: np.ndarray, classes: int) -> np.ndarray:
    return np.eye(classes)[y]
