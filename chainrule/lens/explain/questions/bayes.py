"""Bayes' rule on a real confusion matrix: what an answer means at a base rate."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from chainrule.errors import DataError, DTypeError, ShapeError
from chainrule.lens.explain.derivation import Derivation
from chainrule.lens.explain.questions.bayes_rule import Rule
from chainrule.tensor.locate import explained
from chainrule.tensor.tensor import Tensor

MOST = 10**8
"""The largest count: of more, float64 no longer has the interval for a rate to eight digits."""


@explained
def confusion_matrix(y_true: Any, y_pred: Any, *, count: int | None = None) -> np.ndarray:
    """How often class i (row) was said to be class j (column), (C, C).

    Args:
        y_true: class numbers 0 … C − 1, (n,).
        y_pred: what was said of each, (n,).
        count: C; one more than the largest number if left out.

    Raises:
        DataError: labels are not whole numbers from 0 to C − 1, or there are none.
        ShapeError: not as many answers as labels.

    >>> confusion_matrix([0, 0, 1, 1], [0, 1, 1, 1])
    array([[1, 1],
           [0, 2]])
    """
    true, said = (np.asarray(v) for v in (y_true, y_pred))
    if true.shape != said.shape or true.ndim != 1:
        raise ShapeError(
            f"labels and answers are (n,) both; these are {true.shape} and {said.shape}"
        )
    if not true.size:
        raise DataError("there are no labels to count")
    for what, values in (("labels", true), ("answers", said)):
        if values.dtype.kind not in "iub":
            raise DataError(
                f"{what} are class numbers, and these are {values.dtype}; number the classes with "
                "np.unique(labels, return_inverse=True)"
            )
    size = int(max(true.max(), said.max())) + 1 if count is None else count
    if min(true.min(), said.min()) < 0 or max(true.max(), said.max()) >= size:
        raise DataError(f"class numbers go from 0 to {size - 1}; there is one outside")
    matrix = np.zeros((size, size), np.int64)
    np.add.at(matrix, (true.astype(np.int64), said.astype(np.int64)), 1)
    return matrix


@explained
def bayes(
    confusion: Any,
    *,
    positive: int = 1,
    base_rate: float | None = None,
    classes: Sequence[str] | None = None,
) -> Derivation:
    """What a positive answer means: Bayes' rule step by step, from the counts of a test.

    Args:
        confusion: (C, C) counts, a row for each true class, a column for each answer, as
            `confusion_matrix` gives them.
        positive: the class that is asked about; all others together are its opposite.
        base_rate: how frequent it is where the answer is given; as in the test if left out.
        classes: the names of the classes.

    Returns:
        A `Derivation`: prior, likelihoods with Jeffreys' intervals, evidence, posterior, the same
        in odds, the posterior at other base rates; for more than two classes P(true | said), too.

    Raises:
        ShapeError: the matrix is not square, or has no second class.
        DataError: a count is no whole number of at least 0; there was no example of the class, or
            none of another; base_rate is not between 0 and 1.

    Where the test has the mammogram's rates of Eddy 1982 (sensitivity 80 %, false positives
    9.6 %), 1 woman in 100 is ill, and the mammogram is positive:

    >>> derivation = bayes([[904, 96], [200, 800]], base_rate=0.01)
    >>> round(derivation["P(A | +)"].value.item(), 3)
    0.078
    >>> derivation.verified
    True
    """
    matrix = _counts(confusion)
    size = len(matrix)
    if isinstance(positive, bool) or not isinstance(positive, (int, np.integer)):
        raise DTypeError(f"positive is the number of a class, not {positive!r}")
    if not 0 <= positive < size:
        raise DataError(f"positive {positive}: there are {size} classes, 0 to {size - 1}")
    if classes is not None and len(classes) != size:
        raise DataError(f"{len(classes)} names of classes, and the matrix has {size} of them")
    names = [f"class {k}" if classes is None else f"‘{classes[k]}’" for k in range(size)]
    for true in range(size):
        if not matrix[true].any():
            raise DataError(
                f"there is no example of {names[true]} in the test (its row is 0), so it is not "
                "known what is said of one"
            )
    if base_rate is not None:
        if isinstance(base_rate, bool) or not isinstance(base_rate, (int, float, np.floating)):
            raise DTypeError(f"base_rate is a number between 0 and 1, not {base_rate!r}")
        if not 0 < base_rate < 1:
            raise DataError(
                f"base_rate {base_rate} does not lie between 0 and 1: where a class never or "
                "always occurs, no answer changes that"
            )
    rule = Rule(matrix, int(positive), base_rate, names)
    sections = [rule.counting(), rule.prior_and_likelihoods(), rule.posterior(), rule.elsewhere()]
    if size > 2:
        sections.append(rule.every_class())
    title = f"What does the answer {names[positive]} mean? Bayes' rule"
    return Derivation(title, tuple(sections), {"M": matrix}, rule.summary())


def _counts(confusion: Any) -> np.ndarray:
    matrix = np.asarray(confusion.numpy() if isinstance(confusion, Tensor) else confusion)
    if matrix.ndim != 2 or matrix.shape[0] != matrix.shape[1] or len(matrix) < 2:
        raise ShapeError(
            f"a confusion matrix is square, a row and a column for each of 2 classes or more, and "
            f"this is {matrix.shape}; confusion_matrix(y_true, y_pred) makes one of labels"
        )
    if matrix.dtype.kind not in "iuf":
        raise DTypeError(f"a confusion matrix has counts, and these are {matrix.dtype}")
    wrong = ~((matrix >= 0) & (matrix <= MOST) & (matrix == np.floor(matrix)))
    if wrong.any():
        i, j = (int(k) for k in np.argwhere(wrong)[0])
        raise DataError(
            f"a confusion matrix has counts, whole numbers from 0 to {MOST:,}, and in row {i}, "
            f"column {j} there is {matrix[i, j]}"
        )
    return matrix.astype(np.int64)
