"""Table: named columns of equal length, from a file, arrays, rows or another library's frame."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from types import MappingProxyType
from typing import Any

import numpy as np

from chainrule.data.cells import Column, Origin, counted, indices
from chainrule.data.values import column_of, column_of_polars
from chainrule.errors import DataError
from chainrule.tensor.locate import Explained


@dataclass(frozen=True, eq=False, repr=False)
class Table(Explained):
    """Columns of equal length under distinct names; it is not changed after it is made.

    Made by `read_table(path)`, `Table.of(data)`, `Table.from_arrays` or `Table.from_rows`, all of
    which raise DataError for a table without rows or columns and for names that occur twice.
    `notes` tells what reading left out. A cell that holds NaN, None, nothing, or one of the markers
    NA, N/A, NaN, null and ? is missing.

    >>> table = Table.of({"height": [1.62, None, 1.81], "eyes": ["green", "brown", "brown"]})
    >>> table
    Table of 3 rows: height (number), eyes (text)
    >>> table["eyes"].values
    array(['green', 'brown', 'brown'], dtype=object)
    >>> table.drop("eyes").take([0, 2])
    Table of 2 rows: height (number)
    """

    columns: Mapping[str, Column]
    origin: Origin
    notes: tuple[str, ...] = ()

    @classmethod
    def build(cls, columns: Iterable[Column], origin: Origin, notes: tuple[str, ...] = ()) -> Table:
        """A table of these columns, which all have the table's origin."""
        columns = list(columns)
        check_names(origin.name, [column.name for column in columns])
        if not len(origin.rows):
            raise DataError(
                f"{origin.name}: the table has columns, but no rows. Nothing can be learnt from it."
            )
        return cls(MappingProxyType({column.name: column for column in columns}), origin, notes)

    @classmethod
    def of(cls, data: Any) -> Table:
        """A table from a Table, a mapping of arrays, a polars or pandas frame, an Arrow table, or a
        two-dimensional array, whose columns are then called X0, X1, …

        Raises DataError for anything else.
        """
        if isinstance(data, Table):
            return data
        if hasattr(data, "columns") and hasattr(data, "isna"):  # pandas
            return cls._of_arrays(data.columns, _pandas_arrays(data))
        if hasattr(data, "__arrow_c_stream__"):  # polars, pyarrow, and whatever else speaks Arrow
            import polars as pl

            frame = pl.DataFrame(data)
            origin = Origin("the table", np.arange(frame.height))
            return cls.build(
                [column_of_polars(s.name, s, origin) for s in frame.get_columns()], origin
            )
        if isinstance(data, Mapping):
            return cls._of_arrays(data, list(data.values()))
        if isinstance(data, np.ndarray):
            return cls.from_arrays(data)
        raise DataError(
            f"no table can be made of a {type(data).__name__}. Give a mapping of names to arrays, "
            "a polars or pandas frame, or a two-dimensional array; `Table.from_rows` takes a list "
            "of rows, and `read_table` the path of a file."
        )

    @classmethod
    def from_arrays(cls, X: Any, names: Sequence[str] | None = None) -> Table:
        """A table of the columns of `X`, of shape (rows, columns), called `names`, or X0, X1, …

        >>> Table.from_arrays(np.eye(3), names=["a", "b", "c"]).names
        ('a', 'b', 'c')
        """
        X = np.asarray(X)
        if X.ndim != 2:
            raise DataError(
                "a table is made of an array of shape (rows, columns), and this one has shape "
                f"{X.shape}. For one column write X.reshape(-1, 1); for images X.reshape(len(X), "
                "-1)."
            )
        if names is None:
            names = [f"X{j}" for j in range(X.shape[1])]
        if len(names) != X.shape[1]:
            raise DataError(
                f"there are {len(names)} names for the {X.shape[1]} columns of shape {X.shape}"
            )
        return cls._of_arrays(names, list(X.T))

    @classmethod
    def from_rows(cls, rows: Iterable[Any], names: Sequence[str] | None = None) -> Table:
        """A table from mappings of names to values, or from sequences of values with `names`.

        A name that a mapping lacks is a missing cell.

        >>> Table.from_rows([{"a": 1, "b": "x"}, {"a": 2}])["b"].values
        array(['x', None], dtype=object)
        """
        rows = list(rows)
        if rows and all(isinstance(row, Mapping) for row in rows):
            keys = dict.fromkeys(key for row in rows for key in row) if names is None else names
            return cls._of_arrays(keys, [[row.get(key) for row in rows] for key in keys])
        if names is None:
            raise DataError(
                "rows that are not mappings need the columns' names: Table.from_rows(rows, names)"
            )
        for i, row in enumerate(rows):
            if len(row) != len(names):
                raise DataError(
                    f"row {i} (counting from 0) has {len(row)} values for {len(names)} columns"
                )
        return cls._of_arrays(names, [[row[j] for row in rows] for j in range(len(names))])

    @classmethod
    def _of_arrays(cls, names: Iterable[Any], arrays: Sequence[Any]) -> Table:
        names = list(map(str, names))
        check_names("the table", names)
        for name, array in zip(names, arrays, strict=True):
            if not _is_one_dimensional(array):
                raise DataError(
                    f"the table: column {name!r} is no list or array of one dimension. Use "
                    "`Table.from_arrays` for an array that holds several columns."
                )
            if len(array) != len(arrays[0]):
                raise DataError(
                    f"the table: column {name!r} has {len(array)} rows, and column {names[0]!r} "
                    f"{len(arrays[0])}. The columns of a table are equally long."
                )
        origin = Origin("the table", np.arange(len(arrays[0])))
        return cls.build(map(column_of, names, arrays, [origin] * len(names)), origin)

    def __len__(self) -> int:
        return len(self.origin.rows)

    def __repr__(self) -> str:
        shown = [f"{column.name} ({column.kind})" for column in list(self.columns.values())[:12]]
        more = [f"and {len(self.columns) - 12} more"] if len(self.columns) > 12 else []
        return f"Table of {counted(len(self), 'row')}: {', '.join(shown + more)}"

    def __contains__(self, name: object) -> bool:
        return name in self.columns

    def __getitem__(self, name: str) -> Column:
        """The column of this name; else DataError, with the names that are like it."""
        if name not in self.columns:
            raise DataError(
                f"{self.origin.name} has no column {name!r}. {suggest(name, self.names)}"
            )
        return self.columns[name]

    @property
    def names(self) -> tuple[str, ...]:
        """The columns' names, in their order."""
        return tuple(self.columns)

    def select(self, names: Iterable[str]) -> Table:
        """The table of these columns, in this order."""
        return self._with({name: self[name] for name in names})

    def drop(self, *names: str) -> Table:
        """The table without these columns."""
        gone = {self[name].name for name in names}
        return self._with(
            {name: column for name, column in self.columns.items() if name not in gone}
        )

    def take(self, rows: Any) -> Table:
        """The table of the rows at these indices, or where this boolean mask is true."""
        rows = indices(rows)
        origin = self.origin.take(rows)
        columns = {name: column._take(rows, origin) for name, column in self.columns.items()}
        return replace(self._with(columns), origin=origin)

    def _with(self, columns: dict[str, Column]) -> Table:
        return replace(self, columns=MappingProxyType(columns))


def _pandas_arrays(frame: Any) -> list[np.ndarray]:
    """The columns of a pandas frame, with None where it says that an object is missing."""
    arrays = []
    for j in range(frame.shape[1]):
        # By place: by name, two columns of one name would come together.
        series = frame.iloc[:, j]
        values = series.to_numpy()
        if values.dtype == object:
            values = values.copy()
            values[series.isna().to_numpy()] = None
        arrays.append(values)
    return arrays


def _is_one_dimensional(values: Any) -> bool:
    if isinstance(values, Sequence):
        return not isinstance(values, (str, bytes))
    return hasattr(values, "__array__") and np.ndim(values) == 1


def check_names(table: str, names: Sequence[str]) -> None:
    """DataError where there are no columns, or two of one name."""
    if not names:
        raise DataError(f"{table}: the table has no columns.")
    seen: dict[str, int] = {}
    for place, name in enumerate(names, start=1):
        if name in seen:
            raise DataError(
                f"{table}: the columns {seen[name]} and {place} are both called {name!r}. A column "
                "is known by its name: rename one of them, or take it out."
            )
        seen[name] = place


def suggest(name: str, names: Iterable[str]) -> str:
    """The way out for a name that is not there: those that are like it, or all that there are.

    >>> suggest("Specis", ["length", "species"])
    "Did you mean 'species'? There are: 'length', 'species'."
    """
    names = list(names)
    by_fold = {other.casefold(): other for other in reversed(names)}
    close = [by_fold[match] for match in difflib.get_close_matches(str(name).casefold(), by_fold)]
    listed = ", ".join(map(repr, names[:30])) + (
        f" and {len(names) - 30} more" if len(names) > 30 else ""
    )
    meant = f"Did you mean {' or '.join(map(repr, close))}? " if close else ""
    return f"{meant}There are: {listed}."
