"""Maps of one probability: Platt, isotonic and beta calibration, of each class against the rest."""

from __future__ import annotations

from abc import abstractmethod
from typing import Any, ClassVar

import numpy as np

from chainrule.probability.calibration.recalibrator import ClassRecalibrator


class OneVsRest(ClassRecalibrator):
    """Recalibrates the log-odds of each class against all others, then normalises the rows
    (Zadrozny, Elkan 2002, §5). Of two classes one map serves both."""

    each: ClassVar[int]
    """How many numbers are fitted for one class."""

    @classmethod
    def parameters(cls, classes: int) -> int:
        return cls.each * (1 if classes == 2 else classes)

    @abstractmethod
    def _fit_one(self, log_odds: np.ndarray, is_class: np.ndarray) -> Any:
        """What is fitted to log-odds (n,) and whether a row is of the class, (n,) of 0 and 1."""

    @abstractmethod
    def _apply_one(self, fitted: Any, log_odds: np.ndarray) -> np.ndarray:
        """(n,), probabilities of the class."""

    @property
    @abstractmethod
    def maps(self) -> Any:
        """What was fitted, for each class, or only for the second of two."""

    @maps.setter
    def maps(self, value: list[Any]) -> None: ...

    def _fit(self, logits: np.ndarray, y: np.ndarray) -> None:
        columns, codes = self._columns(logits)
        self.maps = [
            self._fit_one(column, (y == k).astype(np.float64))
            for column, k in zip(columns, codes, strict=True)
        ]

    def _probabilities(self, logits: np.ndarray) -> np.ndarray:
        columns, _ = self._columns(logits)
        p = np.stack([self._apply_one(m, c) for m, c in zip(self.maps, columns, strict=True)], 1)
        if self.classes == 2:
            return np.concatenate([1 - p, p], 1)
        p = np.maximum(p, np.finfo(np.float64).tiny)
        found: np.ndarray = p / p.sum(1, keepdims=True)
        return found

    def _columns(self, logits: np.ndarray) -> tuple[np.ndarray, list[int]]:
        """(log-odds of each class against the rest, (maps, n); the codes of these classes)."""
        if logits.shape[1] == 2:
            return (logits[:, 1] - logits[:, 0])[None], [1]
        return log_odds_of(logits).T, list(range(logits.shape[1]))


def log_odds_of(logits: np.ndarray) -> np.ndarray:
    """ln p_k/(1 − p_k) of p = softmax(logits), (n, K), without rounding where p is almost 1.

    >>> log_odds_of(np.array([[100.0, 0.0, 0.0]])).round(3)
    array([[  99.307, -100.   , -100.   ]])
    """
    from scipy.special import log_softmax, logsumexp

    rows, top = np.arange(len(logits)), logits.argmax(1)
    logs = log_softmax(logits, 1)
    logs[rows, top] = -np.inf  # for these 1 − p would be rounded
    found = logs - np.log1p(-np.exp(logs))
    rest = logits.copy()
    rest[rows, top] = -np.inf
    found[rows, top] = logits[rows, top] - logsumexp(rest, 1)
    return found


def logistic(features: np.ndarray, targets: np.ndarray) -> np.ndarray:
    """The coefficients (d,) of σ(features · c) that fit targets (n,) in [0, 1] best, by Newton's
    method with halved steps (Lin, Lin, Weng 2007).

    Where features are collinear, the shortest step of all that are as good.
    """
    from scipy.special import expit

    size = np.sqrt((features**2).mean(0))
    size[size == 0] = 1.0
    x = features / size

    def loss(c: np.ndarray) -> float:
        z = x @ c
        return float((np.logaddexp(0, z) - targets * z).mean())

    c = np.zeros(x.shape[1])
    value = loss(c)
    for _ in range(100):
        p = expit(x @ c)
        gradient = x.T @ (p - targets) / len(x)
        hessian = (x.T * (p * (1 - p))) @ x / len(x)
        step = np.linalg.lstsq(hessian, gradient, rcond=None)[0]
        for halved in 0.5 ** np.arange(40):
            new = loss(c - halved * step)
            if new <= value:
                c, value = c - halved * step, new
                break
        else:
            break
        if float(np.abs(gradient).max()) < 1e-14:
            break
    found: np.ndarray = c / size
    return found


def platt_targets(is_class: np.ndarray) -> np.ndarray:
    """(n₊ + 1)/(n₊ + 2) for rows of the class and 1/(n₋ + 2) for others (Platt 1999, §2.2)."""
    inside = is_class.sum()
    found: np.ndarray = np.where(
        is_class > 0, (inside + 1) / (inside + 2), 1 / (len(is_class) - inside + 2)
    )
    return found


class PlattScaling(OneVsRest):
    """σ(a · log-odds + b), with Platt's smoothed targets (Platt 1999).

    Attributes:
        coefficients: (maps, 2), a and b of each class, or only of the second of two.

    >>> y = np.array([0] * 60 + [1] * 40)
    >>> found = PlattScaling().fit(np.where(np.arange(100) % 10 < 8, 4.0 * y - 2, 2 - 4.0 * y), y)
    >>> found.transform([2.0]).round(2)  # of 44 rows with the log-odds 2, 32 are of class 1
    array([[0.29, 0.71]])
    """

    name = "platt"
    stored = ("classes", "coefficients")
    each = 2

    def __init__(self) -> None:
        super().__init__()
        self.coefficients = np.zeros((0, 2))

    @property
    def maps(self) -> np.ndarray:
        return self.coefficients

    @maps.setter
    def maps(self, value: list[np.ndarray]) -> None:
        self.coefficients = np.asarray(value)

    def _fit_one(self, log_odds: np.ndarray, is_class: np.ndarray) -> np.ndarray:
        features = np.stack([log_odds, np.ones_like(log_odds)], 1)
        return logistic(features, platt_targets(is_class))

    def _apply_one(self, fitted: np.ndarray, log_odds: np.ndarray) -> np.ndarray:
        from scipy.special import expit

        found: np.ndarray = expit(fitted[0] * log_odds + fitted[1])
        return found


class BetaCalibration(OneVsRest):
    """σ(a ln p − b ln(1 − p) + c), with a, b ≥ 0 (Kull, Silva Filho, Flach 2017, §4).

    With a = b it is Platt scaling; with a = b = 1 and c = 0 it changes nothing. A coefficient that
    comes out below 0 is left out and the rest fitted again, as the paper does. Targets are smoothed
    as in `PlattScaling`.

    Attributes:
        coefficients: (maps, 3), a, b and c of each class, or only of the second of two.
    """

    name = "beta"
    stored = ("classes", "coefficients")
    each = 3

    def __init__(self) -> None:
        super().__init__()
        self.coefficients = np.zeros((0, 3))

    @property
    def maps(self) -> np.ndarray:
        return self.coefficients

    @maps.setter
    def maps(self, value: list[np.ndarray]) -> None:
        self.coefficients = np.asarray(value)

    def _fit_one(self, log_odds: np.ndarray, is_class: np.ndarray) -> np.ndarray:
        features, targets = self._features(log_odds), platt_targets(is_class)
        kept = [0, 1, 2]
        while True:
            found = np.zeros(3)
            found[kept] = logistic(features[:, kept], targets)
            if found[:2].min() >= 0:
                return found
            kept.remove(int(found[:2].argmin()))

    def _apply_one(self, fitted: np.ndarray, log_odds: np.ndarray) -> np.ndarray:
        from scipy.special import expit

        found: np.ndarray = expit(self._features(log_odds) @ fitted)
        return found

    @staticmethod
    def _features(log_odds: np.ndarray) -> np.ndarray:
        """ln p = −ln(1 + e^−s), −ln(1 − p) = ln(1 + e^s) and 1, of log-odds s."""
        return np.stack(
            [-np.logaddexp(0, -log_odds), np.logaddexp(0, log_odds), np.ones_like(log_odds)], 1
        )


class IsotonicCalibration(OneVsRest):
    """The best map that never falls: steps, with straight lines between them (Zadrozny, Elkan
    2002).

    Its values stay within 1/(n + 2) and (n + 1)/(n + 2): n rows do not show a certainty. Outside of
    the probabilities seen it is constant. It can take on any monotone form and needs many rows for
    it (a thousand: Niculescu-Mizil, Caruana 2005, §5).

    Attributes:
        curves: for each class, or only the second of two, (2, points): probabilities, rising, and
            what they become.
    """

    name = "isotonic"
    stored = ("classes", "curves")
    each = 2

    def __init__(self) -> None:
        super().__init__()
        self.curves: list[np.ndarray] = []

    @classmethod
    def enough_rows(cls, classes: int) -> int:
        return 1000

    @property
    def maps(self) -> list[np.ndarray]:
        return self.curves

    @maps.setter
    def maps(self, value: list[np.ndarray]) -> None:
        self.curves = value

    def _fit_one(self, log_odds: np.ndarray, is_class: np.ndarray) -> np.ndarray:
        from scipy.special import expit

        n = len(is_class)
        x, y = rising(expit(log_odds), is_class)
        return np.stack([x, np.clip(y, 1 / (n + 2), (n + 1) / (n + 2))])

    def _apply_one(self, fitted: np.ndarray, log_odds: np.ndarray) -> np.ndarray:
        from scipy.special import expit

        return np.interp(expit(log_odds), fitted[0], fitted[1])


def rising(x: np.ndarray, y: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """(points x in order, the values nearest to y in squares of all that never fall), by pooling
    adjacent violators; only the two ends of each step are kept.

    >>> rising(np.array([1.0, 2.0, 3.0, 4.0]), np.array([0.0, 1.0, 0.0, 1.0]))
    (array([1., 2., 3., 4.]), array([0. , 0.5, 0.5, 1. ]))
    """
    from scipy.optimize import isotonic_regression

    points, place, count = np.unique(x, return_inverse=True, return_counts=True)
    mean = np.bincount(place, y) / count
    values = isotonic_regression(mean, weights=count).x
    step = np.flatnonzero(np.diff(values, prepend=np.nan, append=np.nan) != 0)
    ends = np.unique(np.concatenate([step[:-1], step[1:] - 1]))
    return points[ends], values[ends]
