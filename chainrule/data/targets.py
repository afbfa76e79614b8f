"""TargetEncoder: what is to be predicted, as class codes or as a standardised real number."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

import numpy as np

from chainrule.data.cells import EXACT_INTEGERS, Column, Origin, Words
from chainrule.data.values import column_of
from chainrule.errors import CheckpointError, DataError
from chainrule.tensor.locate import Explained

Task = Literal["classes", "real"]
MAX_INTEGER_CLASSES = 20


class TargetEncoder(Explained):
    """The target column: whether it is classes or a real number, and how a network sees it.

    `task` is "classes", "real" or "auto". By "auto", text and booleans are classes, and so are
    whole numbers with at most 20 distinct values, each in two rows on average (or two values only);
    all other numbers are real.

    `decide` looks at all rows, so that the split can be stratified, and learns no number from them;
    `fit` then learns mean and standard deviation of a real target from the training rows. Targets
    are columns, or one-dimensional arrays.

    >>> target = TargetEncoder().fit(["cat", "dog", "dog", "cat"])
    >>> target.task, target.classes
    ('classes', array(['cat', 'dog'], dtype='<U3'))
    >>> target.transform(["dog", "cat"])
    array([1, 0])
    >>> target.inverse([1, 1])
    array(['dog', 'dog'], dtype='<U3')
    """

    def __init__(self, task: Task | Literal["auto"] = "auto", name: str = "y") -> None:
        if task not in ("classes", "real", "auto"):
            raise DataError(f"task={task!r} is not known. Write 'classes', 'real' or 'auto'.")
        self.asked = task
        self.name = name
        self.task: Task | None = None
        self.classes = np.empty(0)
        self.mean, self.std = 0.0, 0.0
        self.reason = ""

    def decide(self, target: Any) -> TargetEncoder:
        """Settle the task and list the classes, from every row; gives the encoder back.

        Raises DataError for missing targets, a class in one row only, one class or value in all
        rows, and for classes that are fractions.
        """
        column = self._column(target)
        self.name = column.name
        self._check_present(column)
        if len(column) == 1:
            raise DataError(
                f"{column.origin.name}: there is 1 sample (row), from which nothing can be learnt."
            )
        self.task, self.reason = self._settle(column)
        if self.task == "real":
            values = column.numbers()
            if (values == values[0]).all():
                raise DataError(
                    f"{column.origin.name}: the target {self.name!r} is {values[0]:g} in every "
                    "row; there is nothing to learn."
                )
            return self
        labels, codes = _labels(column)
        self._check_classes(column, labels, codes)
        self.classes = labels
        return self

    def fit(self, target: Any) -> TargetEncoder:
        """Learn from the targets of the training rows; decides first where that was not done.

        Gives the encoder back. Raises DataError as `decide` does.
        """
        column = self._column(target)
        if self.task is None:
            self.decide(column)
        if self.task == "real":
            values = self._real(column)
            # Scaled before it is squared, so that a large target does not overflow.
            peak = float(np.abs(values).max()) or 1.0
            self.mean = peak * float((values / peak).mean())
            self.std = peak * float((values / peak).std()) or 1.0
        return self

    def transform(self, target: Any) -> np.ndarray:
        """Class codes, int64 of shape (n,), or standardised values, float32 of shape (n,).

        Raises DataError for missing targets and for labels that are no class.
        """
        column = self._column(target)
        if self.task == "classes":
            self._check_present(column)
            return self._codes(column)
        if self.task is None or not self.std:
            raise DataError(
                "this TargetEncoder has not learnt anything yet: call fit with the training rows' "
                "targets"
            )
        return ((self._real(column) - self.mean) / self.std).astype(np.float32)

    def inverse(self, values: Any) -> np.ndarray:
        """The labels of class codes, or real targets (float64) from standardised ones."""
        values = np.asarray(values)
        return (
            self.classes[values]
            if self.task == "classes"
            else values.astype(np.float64) * self.std + self.mean
        )

    def to_dict(self) -> dict[str, Any]:
        """Everything learnt, as data that JSON holds exactly; `from_dict` turns it back."""
        data: dict[str, Any] = {"name": self.name, "task": self.task}
        if self.task == "classes":
            return data | {"classes": self.classes.tolist()}
        return data | {"mean": self.mean, "std": self.std}

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> TargetEncoder:
        """The encoder that `to_dict` described; CheckpointError where `data` is not whole."""
        try:
            encoder = cls(data["task"], str(data["name"]))
            encoder.task = encoder.asked = data["task"]
            if encoder.task == "classes":
                encoder.classes = np.array(data["classes"])
                kinds = set(map(type, data["classes"]))
                if (
                    len(kinds) != 1
                    or encoder.classes.ndim != 1
                    or encoder.classes.dtype.kind not in "biufU"
                ):
                    raise ValueError(f"classes of the kinds {sorted(k.__name__ for k in kinds)}")
            else:
                encoder.mean, encoder.std = float(data["mean"]), float(data["std"])
                if not np.isfinite((encoder.mean, encoder.std)).all():
                    raise ValueError("mean or standard deviation is not finite")
        except (KeyError, TypeError, ValueError) as error:
            raise CheckpointError(
                f"the description of the target is not whole ({type(error).__name__}: {error}). "
                "The model file is damaged, or was written by another version."
            ) from None
        return encoder

    def _column(self, target: Any) -> Column:
        if isinstance(target, Column):
            return target
        target = target if isinstance(target, (np.ndarray, list, tuple)) else np.asarray(target)
        if np.ndim(target) != 1:
            raise DataError(
                f"a target has shape (rows,), and this one has {np.shape(target)}. Write y.ravel()."
            )
        return column_of(self.name, target, Origin("the target", np.arange(len(target))))

    def _check_present(self, column: Column) -> None:
        missing = np.flatnonzero(column.missing)
        if len(missing):
            rows = ", ".join(str(row) for row in column.origin.rows[missing[:10]])
            more = f" and {len(missing) - 10} more" if len(missing) > 10 else ""
            raise DataError(
                f"{column.origin.name}: the target {self.name!r} is missing in {len(missing)} of "
                f"{len(column)} rows: {rows}{more}. Nothing can be learnt from a row without its "
                "answer. Take these rows out of the file, or in Python: "
                f"table.take(~table[{self.name!r}].missing)."
            )

    def _settle(self, column: Column) -> tuple[Task, str]:
        """The task, and the reason for it, to be shown to the user."""
        if self.asked != "auto":
            return self.asked, "it was asked for"
        if column.kind == "text":
            return "classes", "the target is text"
        if column.kind == "boolean":
            return "classes", "the target is true or false"
        values = column.numbers()
        if (values != np.floor(values)).any():
            return "real", "the target has fractions"
        distinct = len(np.unique(values))
        found = f"the target has {distinct} distinct whole numbers"
        if distinct <= 2 or distinct <= min(MAX_INTEGER_CLASSES, len(values) / 2):
            return "classes", f"{found} (task='real' takes them as a quantity)"
        return "real", f"{found} (task='classes' takes them as labels)"

    def _check_classes(self, column: Column, labels: np.ndarray, codes: np.ndarray) -> None:
        if labels.dtype.kind == "f" and (labels != np.floor(labels)).any():
            row = int(np.argmax(labels[codes] != np.floor(labels[codes])))
            raise DataError(
                f"Unknown label type: continuous. {column.place(row)}: {column.written(row)} is a "
                "fraction, and classes are whole numbers or text. For a quantity use task='real' "
                "(a Regressor); if it is a label, make it text."
            )
        if labels.dtype.kind == "f" and np.abs(labels).max() > EXACT_INTEGERS:
            raise DataError(
                f"{column.origin.name}: the target {self.name!r} has whole numbers beyond 2**53, "
                "which cannot be told apart exactly. Make the labels text."
            )
        if len(labels) == 1:
            raise DataError(
                f"{column.origin.name}: the target {self.name!r} has one class, "
                f"{_show(labels[0])}, in every row; a classifier needs at least 2 classes to tell "
                "apart."
            )
        counts = np.bincount(codes)
        once = np.flatnonzero(counts == 1)
        if len(once):
            row = int(np.argmax(codes == once[0]))
            others = f" (and {len(once) - 1} more such classes)" if len(once) > 1 else ""
            quantity = "If the target is a quantity, say task='real'."
            hint = column.nearly_numbers() if labels.dtype.kind == "U" else quantity
            raise DataError(
                f"{column.place(row)}: the class {_show(labels[once[0]])} is seen once{others}. It "
                "cannot be both in the training rows and in the rows that test what was learnt. "
                f"Add rows of it, join it with another class, or take the row out. {hint}".rstrip()
            )

    def _codes(self, column: Column) -> np.ndarray:
        if self.classes.dtype.kind == "U":
            text = column.text()
            index: dict[str, int] = {str(label): code for code, label in enumerate(self.classes)}
            codes = text.gather((index.get(word, -1) for word in text.words), -1, np.int64)
        else:
            numbers, classes = column.numbers(), self.classes.astype(np.float64)
            codes = np.searchsorted(classes, numbers).clip(max=len(classes) - 1)
            codes = np.where(classes[codes] == numbers, codes, -1)
        strange = codes < 0
        if strange.any():
            row = int(np.argmax(strange))
            known = ", ".join(_show(label) for label in self.classes[:10])
            more = f" and {len(self.classes) - 10} more" if len(self.classes) > 10 else ""
            raise DataError(
                f"{column.place(row)}: {column.written(row)!r} is none of the classes learnt: "
                f"{known}{more}."
            )
        return codes

    def _real(self, column: Column) -> np.ndarray:
        self._check_present(column)
        return column.numbers()


def _labels(column: Column) -> tuple[np.ndarray, np.ndarray]:
    """The distinct labels, sorted, in the type in which they came, and every row's code."""
    if isinstance(column.data, Words) or (column.kind == "boolean" and column.spelling is not None):
        text = column.text()
        used = np.flatnonzero(text.counts())
        labels = np.array([text.words[code] for code in used.tolist()])
        return labels, np.searchsorted(used, text.codes)
    values, codes = np.unique(column.numbers(), return_inverse=True)
    dtype = {"integer": np.int64, "boolean": np.bool_}.get(column.kind, np.float64)
    return values.astype(dtype), codes


def _show(label: Any) -> str:
    return repr(label.item() if isinstance(label, np.generic) else label)
