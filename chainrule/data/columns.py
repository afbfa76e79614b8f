"""ColumnEncoder: a table as the numbers that a network takes, learnt from training rows."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from typing import Any, ClassVar, NamedTuple

import numpy as np

from chainrule.data.cells import Column, Words
from chainrule.data.tables import Table, suggest
from chainrule.errors import CheckpointError, DataError
from chainrule.tensor.locate import Explained

MAX_CATEGORIES = 256  # slots for one column; the rarer categories share `unknown`
# A text column with more distinct texts than this, most rows having one of their own, is an
# identifier.
MIN_DISTINCT_OF_IDENTIFIER = 20


@dataclass(frozen=True)
class Numeric:
    """How a numeric column is encoded: (x - mean) / std, with `median` for x where x is missing.

    All three are of the training rows, mean and std after the missing cells were filled in. `std`
    is zero for a column that is constant there, and then the encoding is zero too: nothing was
    learnt about other values. Where training had missing cells (`indicator`), a second feature is 1
    for them.
    """

    name: str
    median: float
    mean: float
    std: float
    indicator: bool
    kind: ClassVar[str] = "numeric"

    @classmethod
    def fit(cls, column: Column) -> Numeric:
        """From the training rows. DataError for text, infinities and numbers near 1e308."""
        values, missing = column.numbers(), column.missing
        median = float(np.median(values[~missing]))
        # Centred and scaled before they are squared, so that neither 1e300 nor 1e-300 is lost.
        with np.errstate(over="ignore"):
            centred = np.where(missing, 0.0, values - median)
            peak = float(np.abs(centred).max())
        if not np.isfinite(peak):
            row = int(np.argmax(np.abs(centred)))
            raise DataError(
                f"{column.place(row)}: {values[row]} is too large to compute with. Take its "
                "logarithm."
            )
        if peak <= 8 * np.finfo(np.float64).eps * abs(median):
            return cls(column.name, median, median, 0.0, bool(missing.any()))
        scaled = centred / peak
        mean, std = median + peak * float(scaled.mean()), peak * float(scaled.std())
        return cls(column.name, median, mean, std, bool(missing.any()))

    @property
    def features(self) -> tuple[str, ...]:
        return (self.name, f"{self.name}=missing") if self.indicator else (self.name,)

    def decode(self, features: np.ndarray) -> str:
        """What a user would have to write into the column to get these features."""
        if self.indicator and features[1] > 0.5:
            return "missing"
        return f"{float(features[0]) * self.std + self.mean:.6g}"

    def encode(self, column: Column, out: np.ndarray) -> list[str]:
        """Write the features of every row into `out`, float32 of shape (n, len(features))."""
        values, missing = column.numbers(), column.missing
        filled = np.where(missing, self.median, values)
        # A std so small that the quotient overflows is caught below, with the cell that did it.
        with np.errstate(over="ignore", invalid="ignore"):
            out[:, 0] = (filled - self.mean) / self.std if self.std else 0.0
        strange = ~np.isfinite(out[:, 0])
        if strange.any():
            row = int(np.argmax(strange))
            raise DataError(
                f"{column.place(row)}: {column.written(row)} is too far from the training rows "
                f"(mean {self.mean:.6g}, standard deviation {self.std:.6g}) for float32. Is the "
                "unit another one?"
            )
        if self.indicator:
            out[:, 1] = missing
        elif missing.any():
            return [
                f"column {self.name!r}: {_count(missing, 'cell')} missing, where no training row "
                f"had one missing; taken as the training median, {self.median:.6g}"
            ]
        return []


@dataclass(frozen=True)
class Categorical:
    """How a text column is encoded: a feature per category, 1 for the row's and 0 for the others.

    `categories` are those of the training rows in alphabetical order, then `missing` where training
    had missing cells, then `unknown`, which stands for everything else. A category that is really
    called "missing" or "unknown" shares that slot, as it says the same.
    """

    name: str
    categories: tuple[str, ...]
    boolean: bool
    kind: ClassVar[str] = "categorical"

    @classmethod
    def fit(cls, column: Column) -> Categorical:
        text = _text(column, column.kind == "boolean")
        counts = text.counts()
        used = np.flatnonzero(counts)
        often = used[np.argsort(-counts[used], kind="stable")][:MAX_CATEGORIES]
        own = [text.words[code] for code in np.sort(often)]
        special = (["missing"] if (text.codes < 0).any() else []) + ["unknown"]
        categories = (*own, *(word for word in special if word not in own))
        return cls(column.name, categories, column.kind == "boolean")

    @property
    def features(self) -> tuple[str, ...]:
        return tuple(f"{self.name}={category}" for category in self.categories)

    def decode(self, features: np.ndarray) -> str:
        """What a user would have to write into the column to get these features."""
        return self.categories[int(np.argmax(features))]

    def encode(self, column: Column, out: np.ndarray) -> list[str]:
        """Write the features of every row into `out`, float32 of shape (n, len(features))."""
        text = _text(column, self.boolean)
        slot = {category: j for j, category in enumerate(self.categories)}
        unknown = slot["unknown"]
        slots = text.gather(
            (slot.get(word, unknown) for word in text.words), slot.get("missing", unknown), np.intp
        )
        out[:] = 0.0
        out[np.arange(len(column)), slots] = 1.0
        unseen = text.gather((word not in slot for word in text.words), "missing" not in slot, bool)
        if not unseen.any():
            return []
        row = int(np.argmax(unseen))
        cell = "nothing" if text.codes[row] < 0 else repr(text.words[text.codes[row]])
        return [
            f"column {self.name!r}: {_count(unseen, 'cell')} not among the categories that were "
            f"learnt (first {cell}, {column.origin.place(row)}); taken as unknown"
        ]


def _text(column: Column, boolean: bool) -> Words:
    """The column's text; a column of true and false is compared without regard to case."""
    text = column.text()
    return Words.of([w and w.lower() for w in text.decode().tolist()]) if boolean else text


def _count(mask: np.ndarray, what: str) -> str:
    count = int(mask.sum())
    return f"{count} {what}{'s are' if count > 1 else ' is'}"


class Encoded(NamedTuple):
    """`values`, float32 of shape (rows, features), and `notes`: what the encoder had to assume."""

    values: np.ndarray
    notes: list[str]


class ColumnEncoder(Explained):
    """Turns tables into float32 arrays for a network, by what it learnt from training rows alone.

    A column of numbers is standardised, its missing cells filled with the median and marked by a
    feature `<name>=missing`; a column of text or of true and false is one-hot, with a slot for
    categories that training did not have. Text that differs in nearly every row (names,
    identifiers) is left out, and `dropped` says why. `numeric` and `categorical` name columns for
    which the choice is not left to the encoder.

    >>> from chainrule.data import Table
    >>> train = Table.of({"size": [1.0, 3.0, None], "colour": ["red", "blue", "red"]})
    >>> encoder = ColumnEncoder().fit(train)
    >>> encoder.feature_names_out
    ('size', 'size=missing', 'colour=blue', 'colour=red', 'colour=unknown')
    >>> values, notes = encoder.encode(Table.from_rows([{"colour": "mauve", "size": 2, "age": 7}]))
    >>> values
    array([[0., 0., 0., 0., 1.]], dtype=float32)
    >>> print(*notes, sep="\\n")
    columns that training did not have are ignored: 'age'
    column 'colour': 1 cell is not among the categories that were learnt (first 'mauve', the
    table: row 0 (counting from 0)); taken as unknown
    """

    def __init__(self, numeric: Iterable[str] = (), categorical: Iterable[str] = ()) -> None:
        self.numeric, self.categorical = frozenset(numeric), frozenset(categorical)
        self.columns: tuple[Numeric | Categorical, ...] = ()
        self.dropped: dict[str, str] = {}
        self.notes: tuple[str, ...] = ()

    def fit(self, table: Table) -> ColumnEncoder:
        """Learn from these rows, which should be the training rows only; gives the encoder back.

        Raises DataError for text in a column that was said to be numeric, for infinities, and
        where no column is left to learn from.
        """
        declared = self.numeric | self.categorical
        for name in sorted(declared - set(table.names)):
            raise DataError(
                f"{table.origin.name} has no column {name!r}, which was declared. "
                f"{suggest(name, table.names)}"
            )
        for name in sorted(self.numeric & self.categorical):
            raise DataError(
                f"column {name!r} was declared both numeric and categorical; it can be one of them"
            )
        self.dropped = {}
        notes: list[str] = []
        columns: list[Numeric | Categorical] = []
        for column in table.columns.values():
            reason = _useless(column, declared)
            if reason:
                self.dropped[column.name] = reason
                continue
            if column.name in self.numeric or (
                column.kind in ("number", "integer") and column.name not in declared
            ):
                columns.append(Numeric.fit(column))
            else:
                columns.append(Categorical.fit(column))
                notes += _notes_on_categories(column, declared)
        if not columns:
            reasons = "; ".join(f"{name!r} {reason}" for name, reason in self.dropped.items())
            raise DataError(
                f"{table.origin.name}: no column is left to learn from"
                + (f": {reasons}" if reasons else ".")
                + " Declare a column numeric or categorical to use it all the same."
            )
        constant = [c.name for c in columns if isinstance(c, Numeric) and not c.std]
        if constant:
            notes.append(
                "columns with one value in all training rows tell nothing: " + _listed(constant)
            )
        self.columns, self.notes = tuple(columns), tuple(notes)
        return self

    @property
    def feature_names_out(self) -> tuple[str, ...]:
        """The names of the encoded features, in order."""
        return tuple(feature for column in self.columns for feature in column.features)

    def encode(self, table: Table) -> Encoded:
        """The rows as float32 of shape (rows, features), and notes on what had to be assumed.

        The columns may stand in any order, and others beside them are ignored. Raises DataError
        where one is not there, and for text or infinities in a numeric column.
        """
        if not self.columns:
            raise DataError(
                "this ColumnEncoder has not learnt anything yet: call fit(table) with the "
                "training rows"
            )
        absent = [column.name for column in self.columns if column.name not in table]
        if absent:
            raise DataError(
                f"{table.origin.name} lacks {_listed(absent)}, which the network was trained with. "
                f"{suggest(absent[0], table.names)} A value that is not known can be left empty, "
                "but its column must be there."
            )
        known = {column.name for column in self.columns} | set(self.dropped)
        extra = [name for name in table.names if name not in known]
        notes = (
            [f"columns that training did not have are ignored: {_listed(extra)}"] if extra else []
        )
        out = np.empty((len(table), len(self.feature_names_out)), dtype=np.float32)
        start = 0
        for column in self.columns:
            stop = start + len(column.features)
            notes += column.encode(table[column.name], out[:, start:stop])
            start = stop
        return Encoded(out, notes)

    def transform(self, table: Table) -> np.ndarray:
        """The values of `encode`, without the notes."""
        return self.encode(table).values

    def to_dict(self) -> dict[str, Any]:
        """Everything learnt, as data that JSON holds exactly; `from_dict` turns it back."""
        return {
            "columns": [{"kind": column.kind, **asdict(column)} for column in self.columns],
            "dropped": dict(self.dropped),
        }

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> ColumnEncoder:
        """The encoder that `to_dict` described; CheckpointError where `data` is not whole."""
        encoder = cls()
        try:
            encoder.columns = tuple(map(_column_from_dict, data["columns"]))
            encoder.dropped = {str(name): str(reason) for name, reason in data["dropped"].items()}
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise CheckpointError(
                f"the description of the columns is not whole ({type(error).__name__}: {error}). "
                "The model file is damaged, or was written by another version."
            ) from None
        return encoder


def _column_from_dict(data: Mapping[str, Any]) -> Numeric | Categorical:
    name = str(data["name"])
    if data["kind"] == Numeric.kind:
        median, mean, std = (float(data[key]) for key in ("median", "mean", "std"))
        if not np.isfinite((median, mean, std)).all():
            raise ValueError(f"a number that is not finite in column {name!r}")
        return Numeric(name, median, mean, std, bool(data["indicator"]))
    if data["kind"] == Categorical.kind:
        categories = tuple(map(str, data["categories"]))
        if "unknown" not in categories:
            raise ValueError(f"no category 'unknown' in column {name!r}")
        return Categorical(name, categories, bool(data["boolean"]))
    raise ValueError(f"unknown kind {data['kind']!r} of column {name!r}")


def _useless(column: Column, declared: frozenset[str]) -> str:
    """Why nothing general can be learnt from a column; empty where something may be."""
    present = int((~column.missing).sum())
    if not present:
        return "has no value in any training row."
    if column.kind != "text" or column.name in declared:
        return ""
    distinct = int(np.count_nonzero(column.text().counts()))
    if distinct > MIN_DISTINCT_OF_IDENTIFIER and distinct > present / 2:
        return (
            f"has {distinct} different texts in {present} rows, as identifiers, dates and free "
            f"text do. {column.nearly_numbers()}"
        ).strip()
    return ""


def _notes_on_categories(column: Column, declared: frozenset[str]) -> list[str]:
    notes = []
    rest = int(np.count_nonzero(column.text().counts())) - MAX_CATEGORIES
    if rest > 0:
        notes.append(
            f"column {column.name!r} has {MAX_CATEGORIES + rest} categories; the {rest} rarest "
            "share one feature, unknown"
        )
    if column.name not in declared and column.nearly_numbers():
        notes.append(f"column {column.name!r}: {column.nearly_numbers()}")
    return notes


def _listed(names: list[str]) -> str:
    return ", ".join(map(repr, names[:20])) + (
        f" and {len(names) - 20} more" if len(names) > 20 else ""
    )
