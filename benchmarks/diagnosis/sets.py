"""The data: scikit-learn's own tables, and generated ones. A seed splits them, or draws them."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cache

import numpy as np


@dataclass(frozen=True)
class Data:
    """Rows to learn from, and rows held out.

    Attributes:
        x, y, x_held, y_held: float32 inputs, and integer labels or float32 columns.
        task: "classes", "binary" or "real".
    """

    x: np.ndarray
    y: np.ndarray
    x_held: np.ndarray
    y_held: np.ndarray
    task: str

    @property
    def columns(self) -> int:
        return self.x.shape[1]

    @property
    def classes(self) -> int:
        return int(max(self.y.max(), self.y_held.max())) + 1

    def standardised(self, y: bool = False) -> Data:
        """Inputs (and targets) with the training rows' mean 0 and deviation 1."""
        mean, std = self.x.mean(0), self.x.std(0) + 1e-6
        found = replace(self, x=(self.x - mean) / std, x_held=(self.x_held - mean) / std)
        if y:
            mean, std = self.y.mean(0), self.y.std(0)
            found = replace(found, y=(self.y - mean) / std, y_held=(self.y_held - mean) / std)
        return found

    def one_hot(self) -> Data:
        """Labels as rows of 0 and 1."""
        eye = np.eye(self.classes, dtype=np.float32)
        return replace(self, y=eye[self.y], y_held=eye[self.y_held])

    def column(self) -> Data:
        """Labels as one float column, as losses of one unit take them."""
        y, y_held = (v.reshape(-1, 1).astype(np.float32) for v in (self.y, self.y_held))
        return replace(self, y=y, y_held=y_held)

    def mapped(self, x: object = None, y: object = None) -> Data:
        """The same with functions of the inputs and of the targets."""
        found = self
        if callable(x):
            found = replace(found, x=x(found.x), x_held=x(found.x_held))
        if callable(y):
            found = replace(found, y=y(found.y), y_held=y(found.y_held))
        return found

    def first(self, rows: int) -> Data:
        """Fewer training rows."""
        return replace(self, x=self.x[:rows], y=self.y[:rows])


@cache
def _table(name: str) -> tuple[np.ndarray, np.ndarray]:
    from sklearn import datasets

    if name == "diabetes":
        x, y = datasets.load_diabetes(return_X_y=True, scaled=False)
        return x.astype(np.float32), y.astype(np.float32)[:, None]
    x, y = getattr(datasets, f"load_{name}")(return_X_y=True)
    return x.astype(np.float32), y.astype(np.int64)


def table(name: str, seed: int, held: float = 0.3) -> Data:
    """One of scikit-learn's tables as it is: digits (÷ 16, their usual scale), breast_cancer, wine,
    iris, diabetes."""
    x, y = _table(name)
    if name == "digits":
        x = x / 16
    task = {"diabetes": "real", "breast_cancer": "binary"}.get(name, "classes")
    return split(x, y, task, seed, held)


def split(x: np.ndarray, y: np.ndarray, task: str, seed: int, held: float = 0.3) -> Data:
    """Rows in a random order, the last share held out."""
    order = np.random.default_rng(1000 + seed).permutation(len(x))
    cut = len(x) - int(held * len(x))
    first, rest = order[:cut], order[cut:]
    return Data(x[first], y[first], x[rest], y[rest], task)


def blobs(seed: int, classes: int = 3, dims: int = 4, spread: float = 1.0, rows: int = 600) -> Data:
    """Normal clouds around centres that lie 3 from the origin."""
    rng = np.random.default_rng(seed)
    centres = rng.normal(size=(classes, dims))
    centres *= 3 / np.linalg.norm(centres, axis=1, keepdims=True)
    y = rng.integers(0, classes, rows)
    x = centres[y] + spread * rng.normal(size=(rows, dims))
    return split(x.astype(np.float32), y, "binary" if classes == 2 else "classes", seed)


def xor(seed: int, rows: int = 300, noise: float = 0.2) -> Data:
    """The four corners (±1, ±1) with noise; the class says whether the signs differ."""
    rng = np.random.default_rng(seed)
    corner = rng.choice([-1.0, 1.0], (rows, 2))
    y = (corner[:, 0] * corner[:, 1] < 0).astype(np.int64)
    return split(
        (corner + noise * rng.normal(size=(rows, 2))).astype(np.float32), y, "binary", seed
    )


def moons(seed: int, rows: int = 500, noise: float = 0.15) -> Data:
    """Two half circles."""
    from sklearn.datasets import make_moons

    x, y = make_moons(rows, noise=noise, random_state=seed)
    return split(x.astype(np.float32), y.astype(np.int64), "binary", seed)


def curve(seed: int, f: object, low: float, high: float, rows: int = 400, noise: float = 0.0,
          ) -> Data:  # fmt: skip
    """y = f(x) + noise for x uniform between two bounds."""
    rng = np.random.default_rng(seed)
    x = rng.uniform(low, high, (rows, 1))
    assert callable(f)
    y = f(x) + noise * rng.normal(size=x.shape)
    return split(x.astype(np.float32), y.astype(np.float32), "real", seed)


def teacher(seed: int, dims: int = 8, rows: int = 600, noise: float = 0.05, units: int = 4) -> Data:
    """Standard normal inputs, targets of a random tanh network of `units`, of mean 0 and deviation
    about 1."""
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(rows, dims))
    w = rng.normal(size=(dims, units)) / np.sqrt(dims)
    y = np.tanh(1.5 * x @ w) @ rng.normal(size=(units, 1))
    y = (y - y.mean()) / y.std() + noise * rng.normal(size=y.shape)
    return split(x.astype(np.float32), y.astype(np.float32), "real", seed)


def images(seed: int, rows: int | None = None) -> Data:
    """The digits as (n, 1, 8, 8)."""
    data = table("digits", seed)
    data = data.mapped(x=lambda x: x.reshape(-1, 1, 8, 8))
    return data if rows is None else data.first(rows)


def sequences(seed: int, length: int = 12, rows: int = 600) -> Data:
    """Token sequences: the class says whether token 1 occurs more often than token 2."""
    rng = np.random.default_rng(seed)
    x = rng.integers(0, 8, (rows, length))
    y = ((x == 1).sum(1) > (x == 2).sum(1)).astype(np.int64)
    return split(x, y, "binary", seed)


def waves(seed: int, length: int = 16, rows: int = 500) -> Data:
    """Noisy sine waves (n, length, 1) of three frequencies; the class is the frequency."""
    rng = np.random.default_rng(seed)
    y = rng.integers(0, 3, rows)
    t = np.arange(length)[None]
    phase = rng.uniform(0, 2 * np.pi, (rows, 1))
    x = np.sin(2 * np.pi * (y[:, None] + 1) * t / length + phase)
    x = x + 0.2 * rng.normal(size=x.shape)
    return split(x[..., None].astype(np.float32), y, "classes", seed)
