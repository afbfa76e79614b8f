"""What the interpretation asks of a network. Nothing else in `interpret` knows whose it is."""

from __future__ import annotations

import math
import sys
from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Any, Literal

import numpy as np

from chainrule.errors import DTypeError, ShapeError

Task = Literal["classes", "real"]
Reading = Literal["logits", "log-odds", "probabilities", "values"]
READINGS = ("logits", "log-odds", "probabilities", "values")
ROWS_AT_ONCE, NUMBERS_AT_ONCE = 2048, 2**20
"""A network is run on so many rows at once, at most, that hold so many numbers together."""


def rows_at_once(x: Any) -> int:
    """
    >>> rows_at_once(np.zeros((5, 3, 224, 224)))
    6
    """
    return max(1, min(ROWS_AT_ONCE, NUMBERS_AT_ONCE // max(1, math.prod(x.shape[1:]))))


class Losses(ABC):
    """The losses of rows as functions of the weights that are trained, a vector w of `size`.

    A loss is the negative log-likelihood of the row's target: −log p of a class, and half the
    squared error of a real target. Vectors are float64; the network computes in its own dtype.
    """

    size: int
    rows: int

    @abstractmethod
    def gradient(self) -> np.ndarray:
        """(size,): ∂/∂w of the mean loss."""

    @abstractmethod
    def product(self, vector: np.ndarray) -> np.ndarray:
        """(size,): the Hessian of the mean loss times a vector."""

    @abstractmethod
    def along(self, vector: np.ndarray) -> np.ndarray:
        """(rows,): ∂ loss_i / ∂w · vector for each row i."""


class Subject(ABC):
    """Rows go in and outputs come out, as NumPy's arrays.

    The network's weights, buffers, mode and random generators are afterwards as they were.

    Attributes:
        model: what is interpreted.
        reading: what its outputs are: "logits" of several classes, "log-odds" of the second of two,
            "probabilities", or "values" of a real target.
        framework: "chainrule", "torch" or "arrays".
    """

    framework: str
    model: Any
    reading: Reading

    @property
    def task(self) -> Task:
        return "real" if self.reading == "values" else "classes"

    @abstractmethod
    def outputs(self, x: np.ndarray) -> np.ndarray:
        """(n, K), float64, in evaluation mode; (n,) outputs get a second axis.

        Raises:
            ShapeError: rows that the network cannot take, or outputs of another shape.
        """

    def probabilities(self, x: np.ndarray) -> np.ndarray:
        """(n, K), float64."""
        return probabilities_from(self.outputs(x), self.reading)

    @abstractmethod
    def gradient(self, x: np.ndarray, seeds: np.ndarray) -> np.ndarray:
        """∂ Σ_k seeds_ik · outputs_ik / ∂ x_i for each row i: the shape of x, float64.

        Raises:
            DTypeError: inputs are whole numbers (tokens), which have no derivative.
        """

    @abstractmethod
    def features(self, x: np.ndarray) -> np.ndarray:
        """(n, d): what the dense layer takes that is called last; the outputs where there is
        none."""

    @abstractmethod
    def maps(self, x: np.ndarray, seeds: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """The outputs (n, channels, places…) of the convolution that is called last, and in their
        shape ∂ Σ_k seeds_ik · outputs_ik / ∂ them.

        Raises:
            DataError: the network has no convolution.
        """

    @abstractmethod
    def attention(self, x: np.ndarray) -> list[np.ndarray]:
        """The weights (n, heads, L, L) of each self-attention, in the order in which they ran.

        Raises:
            DataError: there is none.
        """

    @abstractmethod
    def losses(self, x: np.ndarray, y: np.ndarray) -> Losses:
        """Of rows with their class codes, or real targets in the network's unit."""

    @abstractmethod
    def layers(self) -> list[str]:
        """Paths of the modules that have weights of their own, from the input on."""

    @abstractmethod
    def randomised(self, layers: Sequence[str], seed: int) -> Subject:
        """A copy in which the weights of these layers are drawn anew: each array's elements in
        another order."""


def two_axes(outputs: np.ndarray, rows: int) -> np.ndarray:
    """Outputs as (rows, K).

    Raises:
        ShapeError: they are not a row's each.
    """
    if outputs.ndim not in (1, 2) or len(outputs) != rows:
        raise ShapeError(
            f"the network gives outputs of the shape {outputs.shape} for {rows} rows; interpret "
            "reads (rows, outputs). Of a sequence of answers pick one, such as "
            "model(x)[:, -1], in a module of its own"
        )
    return outputs[:, None] if outputs.ndim == 1 else outputs


def no_derivative(dtype: Any) -> DTypeError:
    return DTypeError(
        f"the inputs are {dtype}: whole numbers, such as tokens, have no derivative. Ask for "
        "occlusion or Shapley values, which need none; are they amounts, hand them over as floats"
    )


def probabilities_from(outputs: np.ndarray, reading: Reading) -> np.ndarray:
    """(n, K) probabilities from outputs.

    >>> probabilities_from(np.array([[0.0], [0.0]]), "log-odds").tolist()
    [[0.5, 0.5], [0.5, 0.5]]
    """
    from scipy.special import expit, softmax

    if reading == "log-odds":
        yes = expit(outputs[:, 0])
        return np.stack([1 - yes, yes], 1)
    if reading == "probabilities":
        if outputs.shape[1] == 1:
            return np.concatenate([1 - outputs, outputs], 1)
        return outputs
    found: np.ndarray = softmax(outputs, -1)
    return found


def subject_of(model: Any, x: Any, *, reading: Reading | None = None, y: Any = None) -> Subject:
    """The subject for a chainrule module, an estimator or run's network, or a PyTorch module.

    Args:
        model: one of these.
        x: a few rows, to see what comes out.
        reading: what the outputs are; by default "probabilities" where the model ends with a
            softmax or a sigmoid, or the rows of its outputs are probabilities, "values" where `y`
            is real or there is one output and y is not of classes, else "logits".
        y: targets, where there are some: they tell classes from real values.

    Raises:
        DTypeError: it is nothing of these, or there is no such reading.
    """
    from chainrule.nn.module import Module

    if reading is not None and reading not in READINGS:
        raise DTypeError(f"reading is {reading!r}; it is one of {', '.join(READINGS)}")
    torch = sys.modules.get("torch")
    if isinstance(model, Module):
        from chainrule.lens.interpret.subjects.ours import Ours

        return Ours(model, np.asarray(x), reading, y)
    if torch is not None and isinstance(model, torch.nn.Module):
        from chainrule.lens.interpret.subjects.torch import Torch

        return Torch(model, np.asarray(x), reading, y)
    raise DTypeError(
        f"interpret takes a network, of chainrule's or of PyTorch's, not {type(model).__name__}. "
        "Of bare probabilities: cr.interpret(probabilities, calibration=(probabilities_c, y_c))"
    )


def reading_of(outputs: np.ndarray, last: str, y: Any) -> Reading:
    """What outputs are, from some of them, the class name of the last module, and targets.

    Targets are classes where they are text, or whole numbers from 0 to the number of outputs (to 1
    where there is one output); integers of several outputs are classes in any case.

    >>> reading_of(np.array([[2.0, -1.0, 0.5]]), "Linear", None)
    'logits'
    >>> reading_of(np.array([[2.0]]), "Linear", [0.3, 1.7])
    'values'
    >>> reading_of(np.array([[2.0]]), "Linear", [3, 17])
    'values'
    >>> reading_of(np.array([[2.0, 1.0]]), "Linear", [0.0, 1.0])
    'logits'
    """
    width = outputs.shape[1]
    if y is not None and _real(np.asarray(y), width):
        return "values"
    if last in ("Softmax", "Sigmoid"):
        return "probabilities"
    if width > 1:
        inside = (outputs >= 0).all() and np.allclose(outputs.sum(1), 1, atol=1e-4)
        return "probabilities" if inside else "logits"
    return "log-odds" if y is not None else "values"


def _real(y: np.ndarray, width: int) -> bool:
    """Whether targets are no classes of a network with so many outputs."""
    if y.dtype.kind not in "fiu" or (y.dtype.kind != "f" and width > 1) or not y.size:
        return False
    one_each = y.ndim == 1 or y.shape[1:] == (1,)
    whole = bool((y == np.floor(y)).all())
    return not (one_each and whole and y.min() >= 0 and y.max() < max(width, 2))
