"""What every recalibrator shares: checking, being stored, and a name by which it is found."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import Any, ClassVar, Self

import numpy as np

from chainrule.errors import DataError, ShapeError
from chainrule.probability.calibration.given import SUM_TOLERANCE, labels_of, logits_of
from chainrule.tensor.locate import Explained, explained

REGISTRY: dict[str, type[Recalibrator]] = {}
"""name -> class, of every recalibrator that is imported."""
MODULES = ("temperature", "scaling", "one_vs_rest", "variance")
"""Where recalibrators are declared."""
ROWS_PER_PARAMETER = 10
"""With fewer, what is fitted is mostly noise (Peduzzi et al. 1996: ten events for each)."""

ROWS_THAT_TELL = 10
"""So many rows of logits do not all look like probabilities by chance."""


class Recalibrator(Explained, ABC):
    """Learns from held-out rows how outputs become probabilities that mean what they say.

    A subclass says its `name`, and in `stored` the attributes that `fit` finds: numbers, arrays or
    lists of arrays. They are all that is saved.

    Attributes:
        rows: how many rows it was fitted to; 0 before.
        warnings: what keeps the result from being trusted, in sentences; empty is good.
    """

    name: ClassVar[str]
    stored: ClassVar[tuple[str, ...]] = ()

    def __init__(self) -> None:
        self.rows = 0
        self.warnings: list[str] = []

    def __init_subclass__(cls, **rest: Any) -> None:
        super().__init_subclass__(**rest)
        if "name" in vars(cls):
            REGISTRY[cls.name] = cls

    @abstractmethod
    def fit(self, outputs: Any, y: Any) -> Self:
        """Fit to outputs and targets of rows that nothing was learnt from."""

    @abstractmethod
    def transform(self, outputs: Any) -> Any:
        """What outputs become."""

    def _needs_fit(self) -> None:
        if not self.rows:
            raise DataError(
                f"this {type(self).__name__} was not fitted yet; call fit(outputs, y) with rows "
                "that nothing was learnt from"
            )

    def to_dict(self) -> dict[str, Any]:
        """JSON-able; `from_dict` makes the same recalibrator of it, bit for bit."""
        self._needs_fit()
        found = {name: _plain(getattr(self, name)) for name in self.stored}
        return {"method": self.name, "rows": self.rows, "warnings": [*self.warnings], **found}

    @classmethod
    @explained
    def from_dict(cls, data: Mapping[str, Any]) -> Self:
        """The recalibrator that `to_dict` described; called on the base, of whichever class.

        Raises:
            DataError: it does not describe one.

        >>> kept = Identity().fit([[2.0, 0.0], [0.0, 1.0]], [0, 1]).to_dict()
        >>> Recalibrator.from_dict(kept).transform([[0.0, 0.0]])
        array([[0.5, 0.5]])
        """
        name = data.get("method") if isinstance(data, Mapping) else None
        kind = registered().get(name) if isinstance(name, str) else None
        if kind is None or not issubclass(kind, cls):
            raise DataError(
                f"this describes no {cls.__name__}: its method is {name!r}, and there are "
                + ", ".join(n for n, k in registered().items() if issubclass(k, cls))
            )
        made = kind()
        missing = [key for key in ("rows", "warnings", *kind.stored) if key not in data]
        if missing:
            raise DataError(f"the description of a {kind.__name__} lacks {missing[0]!r}")
        made.rows, made.warnings = int(data["rows"]), [str(w) for w in data["warnings"]]
        for key in kind.stored:
            setattr(made, key, _back(data[key], key))
        assert isinstance(made, cls)
        return made


def registered() -> dict[str, type[Recalibrator]]:
    """name -> class, of all recalibrators."""
    import importlib

    for module in MODULES:
        importlib.import_module(f"chainrule.probability.calibration.{module}")
    return REGISTRY


def _plain(value: Any) -> Any:
    if isinstance(value, np.ndarray):
        return value.tolist()
    return [_plain(v) for v in value] if isinstance(value, list) else value


def _back(value: Any, key: str) -> Any:
    """A number, an array of at most two axes, or of what has three a list of such arrays."""
    try:
        if isinstance(value, list):
            deep = bool(value) and isinstance(value[0], list) and isinstance(value[0][0], list)
            return [np.asarray(v, np.float64) for v in value] if deep else np.asarray(value, float)
        return value if isinstance(value, int) else float(value)
    except (TypeError, ValueError, LookupError):
        raise DataError(f"{key!r} of a recalibrator holds no numbers") from None


class ClassRecalibrator(Recalibrator):
    """A recalibrator of classes: `fit(outputs, y)` and `transform(outputs)` take logits.

    Outputs are logits or log-probabilities, (rows, classes), or the log-odds of the second of two
    classes, (rows,); of probabilities p hand over `np.log(np.clip(p, 1e-12, 1))`. `transform` gives
    probabilities, (rows, classes).

    Attributes:
        classes: how many classes there are.
    """

    per_class: ClassVar[bool] = True
    """Whether each class has parameters of its own, for which rows of it are needed."""

    def __init__(self) -> None:
        super().__init__()
        self.classes = 0

    @classmethod
    @abstractmethod
    def parameters(cls, classes: int) -> int:
        """How many numbers are fitted; no fewer rows will do."""

    @classmethod
    def enough_rows(cls, classes: int) -> int:
        """How many rows it takes for a result to be trusted."""
        return ROWS_PER_PARAMETER * cls.parameters(classes)

    @abstractmethod
    def _fit(self, logits: np.ndarray, y: np.ndarray) -> None: ...

    @abstractmethod
    def _probabilities(self, logits: np.ndarray) -> np.ndarray: ...

    @explained
    def fit(self, outputs: Any, y: Any) -> Self:
        """Fit to the outputs (rows, classes) and class codes (rows,) of held-out rows.

        Raises:
            DataError: too few rows, a class without rows, or probabilities instead of logits.
            ShapeError: outputs and y do not belong together.
        """
        logits = logits_of(outputs)
        rows, classes = logits.shape
        if classes < 2:
            raise ShapeError(f"there are outputs of {classes} classes; there are 2 at least")
        codes = labels_of(y, classes, rows)
        needed = max(self.parameters(classes), 1)
        if rows < needed:
            raise DataError(
                f"{self.name} scaling of {classes} classes has {needed} parameters, and there are "
                f"{rows} rows. Take more rows, or a method with fewer parameters (temperature: 1)."
            )
        self.warnings = []
        _refuse_probabilities(logits, np.ndim(outputs) == 1, self.warnings)
        count = np.bincount(codes, minlength=classes)
        unseen = np.flatnonzero(count == 0)
        if len(unseen):
            told = f"class {', '.join(map(str, unseen[:5]))} is in none of the {rows} rows"
            if self.per_class:
                raise DataError(
                    f"{told}, and {self.name} has parameters of its own for each class. Take rows "
                    "of every class, or temperature scaling."
                )
            self.warnings.append(f"{told}; of its probabilities these rows say nothing.")
        if rows < self.enough_rows(classes):
            self.warnings.append(
                f"{rows} rows are few for {self.name}, which wants {self.enough_rows(classes)}."
            )
        rare = np.flatnonzero((count > 0) & (count < ROWS_PER_PARAMETER))
        if self.per_class and len(rare):
            self.warnings.append(
                f"Of class {rare[0]} are {count[rare[0]]} rows, few for parameters of its own; "
                f"{ROWS_PER_PARAMETER} are wanted."
            )
        self.rows, self.classes = rows, classes
        self._fit(logits, codes)
        return self

    @explained
    def transform(self, outputs: Any) -> np.ndarray:
        """(rows, classes), probabilities, of the outputs of any rows.

        Raises:
            DataError: it was not fitted.
            ShapeError: another number of classes than in `fit`.
        """
        self._needs_fit()
        logits = logits_of(outputs)
        if logits.shape[1] != self.classes:
            raise ShapeError(
                f"the outputs are of {logits.shape[1]} classes, and fit saw {self.classes}"
            )
        return self._probabilities(logits)


def _refuse_probabilities(logits: np.ndarray, log_odds: bool, warnings: list[str]) -> None:
    if log_odds:
        if ((logits[:, 1] >= 0) & (logits[:, 1] <= 1)).all():
            warnings.append(
                "All outputs lie between 0 and 1. They are read as log-odds; of probabilities p "
                "hand over the two columns np.log(np.clip(np.stack([1 - p, p], 1), 1e-12, 1))."
            )
    elif (
        len(logits) >= ROWS_THAT_TELL
        and (logits >= 0).all()
        and (np.abs(logits.sum(1) - 1) <= SUM_TOLERANCE).all()
    ):
        raise DataError(
            "each row of the outputs lies between 0 and 1 and adds up to 1, so they are "
            "probabilities, and logits are needed: write np.log(np.clip(p, 1e-12, 1))"
        )


def smoothed_targets(y: np.ndarray, classes: int) -> np.ndarray:
    """(n, K): (n + 1)/(n + 2) for the label, the rest for the others alike (Platt 1999, §2.2).

    n rows, all of them right, do not show a certainty; with these targets the best parameters are
    finite.
    """
    n = len(y)
    targets = np.full((n, classes), 1 / (n + 2) / (classes - 1))
    targets[np.arange(n), y] = (n + 1) / (n + 2)
    return targets


class Identity(ClassRecalibrator):
    """Leaves probabilities as they are: softmax(outputs)."""

    name = "identity"
    stored = ("classes",)
    per_class = False

    @classmethod
    def parameters(cls, classes: int) -> int:
        return 0

    def _fit(self, logits: np.ndarray, y: np.ndarray) -> None:
        pass

    def _probabilities(self, logits: np.ndarray) -> np.ndarray:
        from scipy.special import softmax

        found: np.ndarray = softmax(logits, 1)
        return found
