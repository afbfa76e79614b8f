"""The cells of one column: numbers or text, where each came from, and how it was written.

Text is kept as distinct words and an integer code per cell, so that whatever is done to text is
done once per word, and to cells by indexing.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from itertools import repeat
from typing import Any, Literal

import numpy as np

from chainrule.errors import DataError

Kind = Literal["number", "integer", "boolean", "text"]

# What people and programs write into a cell that holds nothing. "None" is not here: tables use it
# as a category ("type of masonry: None").
MISSING = frozenset({"", "NA", "N/A", "NaN", "nan", "NaT", "NULL", "Null", "null", "?"})

# Beyond this, float64 cannot tell neighbouring integers apart.
EXACT_INTEGERS = 2**53

_NUMBER = re.compile(
    r"[+-]?(\d+\.?\d*([eE][+-]?\d+)?|\.\d+([eE][+-]?\d+)?|inf|infinity)", re.I | re.A
)


def counted(count: int, noun: str) -> str:
    """`1 row`, `2 rows`."""
    return f"{count} {noun}" if count == 1 else f"{count} {noun}s"


def indices(rows: Any) -> np.ndarray:
    """Row indices from indices, or from a boolean mask."""
    rows = np.asarray(rows)
    return np.flatnonzero(rows) if rows.dtype == bool else rows.astype(np.intp)


def is_number(word: str) -> bool:
    """Whether a cell's text is a number, an infinity included.

    >>> is_number("-1.5e3"), is_number("12 kg")
    (True, False)
    """
    return _NUMBER.fullmatch(word) is not None


@dataclass(frozen=True, eq=False)
class Origin:
    """Where rows came from: what to call the table, and the number that a person knows each row by.

    `rows` has shape (n,). In a text file it is the line on which the row begins, the header being
    line 1; elsewhere it is the index, from 0.
    """

    name: str
    rows: np.ndarray
    in_lines: bool = False

    def take(self, rows: np.ndarray) -> Origin:
        return replace(self, rows=self.rows[rows])

    def place(self, row: int) -> str:
        counting = "" if self.in_lines else " (counting from 0)"
        return f"{self.name}: row {self.rows[row]}{counting}"


@dataclass(frozen=True, eq=False)
class Words:
    """Text in which words repeat: cell i is `words[codes[i]]`, or missing where the code is -1.

    `words` is sorted and has no word twice; `codes` is int32 of shape (n,).
    """

    codes: np.ndarray
    words: Sequence[str]

    @classmethod
    def of(cls, cells: Sequence[str | None]) -> Words:
        """From a string (or None) per cell, without blanks at the ends and missing-markers."""
        clean = {cell: cell.strip() for cell in set(cells) if cell is not None}
        words = sorted(set(clean.values()) - MISSING)
        index = {word: code for code, word in enumerate(words)}
        code = {cell: index.get(word, -1) for cell, word in clean.items()}
        codes = np.fromiter(map(code.get, cells, repeat(-1)), np.int32, len(cells))  # type: ignore[arg-type]
        return cls(codes, words)

    def take(self, rows: np.ndarray) -> Words:
        return replace(self, codes=self.codes[rows])

    def counts(self) -> np.ndarray:
        """How many cells hold each word: shape (len(words),)."""
        return np.bincount(self.codes[self.codes >= 0], minlength=len(self.words))

    def decode(self) -> np.ndarray:
        """One string, or None where missing, per cell: an object array of shape (n,)."""
        return np.array([*self.words, None], dtype=object)[self.codes]

    def gather(self, per_word: Iterable[Any], missing: Any, dtype: Any) -> np.ndarray:
        """A value per cell from a value per word."""
        # The value for missing cells stands last, where the code -1 finds it.
        return np.array([*per_word, missing], dtype=dtype)[self.codes]


@dataclass(frozen=True, eq=False)
class Column:
    """A named column of a table. It is not changed after it is made.

    `kind` says what the cells were recognised as: "number", "integer" (whole numbers that float64
    holds exactly), "boolean" (true and false), or "text". `spelling` is a polars Series of the
    cells as they were written, where the column was read from a text file.

    >>> from chainrule.data import Table
    >>> column = Table.from_rows([{"age": 31}, {"age": None}])["age"]
    >>> column.kind, column.values
    ('integer', array([31., nan]))
    """

    name: str
    kind: Kind
    data: np.ndarray | Words
    origin: Origin
    spelling: Any = None

    def __len__(self) -> int:
        return len(self.origin.rows)

    @property
    def values(self) -> np.ndarray:
        """Shape (n,): float64, NaN where missing; for text objects, None where missing."""
        return self.data.decode() if isinstance(self.data, Words) else self.data

    @property
    def missing(self) -> np.ndarray:
        """Which cells hold nothing: bool of shape (n,)."""
        return self.data.codes < 0 if isinstance(self.data, Words) else np.isnan(self.data)

    def take(self, rows: np.ndarray) -> Column:
        """The cells at these indices, or where this boolean mask is true."""
        rows = indices(rows)
        return self._take(rows, self.origin.take(rows))

    def _take(self, rows: np.ndarray, origin: Origin) -> Column:
        data = self.data.take(rows) if isinstance(self.data, Words) else self.data[rows]
        spelling = None if self.spelling is None else self.spelling.gather(rows)
        return replace(self, data=data, origin=origin, spelling=spelling)

    def place(self, row: int) -> str:
        """Where a cell is, for a message: `ages.csv: row 7, column 'age'`."""
        return f"{self.origin.place(row)}, column {self.name!r}"

    def written(self, row: int) -> str:
        """A cell as it stands in the file."""
        if self.spelling is not None:
            return str(self.spelling[row])
        value = self.values[row]
        return str(int(value)) if self.kind == "integer" else str(value)

    def numbers(self) -> np.ndarray:
        """The column as float64 of shape (n,), NaN where missing.

        Raises DataError where a cell is text or infinite, naming its row and value.
        """
        values = self.data
        if isinstance(values, Words):
            stray = self.not_numbers()
            if stray.any():
                raise self._text_where_numbers_were_said(stray)
            # Words that no cell here uses (the column may be part of another) can be anything.
            parsed = (float(word) if is_number(word) else np.nan for word in values.words)
            values = values.gather(parsed, np.nan, np.float64)
        infinite = np.isinf(values)
        if infinite.any():
            row = int(np.argmax(infinite))
            raise DataError(
                f"{self.place(row)}: the value {self.written(row)} is infinite"
                f"{_and_more(infinite, 'infinite value')}. Usual causes are a division by zero or "
                "a number beyond 1.8e308. Leave the cell empty, which counts as missing, or give "
                "the number."
            )
        return values

    def text(self) -> Words:
        """The column as text: as it was written, or else numbers in their shortest form."""
        if isinstance(self.data, Words):
            return self.data
        if self.spelling is not None:
            return Words.of(self.spelling.to_list())
        distinct, inverse = np.unique(self.data, return_inverse=True)
        show = {"integer": lambda v: str(int(v)), "boolean": lambda v: str(bool(v))}.get(
            self.kind, str
        )
        words = Words.of([None if np.isnan(v) else show(v) for v in distinct.tolist()])
        return Words(words.codes[inverse], words.words)

    def not_numbers(self) -> np.ndarray:
        """Which cells are text that cannot be read as a number: bool of shape (n,)."""
        if not isinstance(self.data, Words):
            return np.zeros(len(self), dtype=bool)
        return self.data.gather((not is_number(word) for word in self.data.words), False, bool)

    def nearly_numbers(self) -> str:
        """A sentence for a column that is text because of a few cells only; else empty."""
        stray = self.not_numbers()
        count, present = int(stray.sum()), int((~self.missing).sum())
        if not 0 < count < 0.1 * present:
            return ""
        row = int(np.argmax(stray))
        return (
            f"It was read as text because {counted(count, 'cell')} of {present} cannot be read as "
            f"a number: the first is {self.written(row)!r}, {self.origin.place(row)}."
        )

    def _text_where_numbers_were_said(self, stray: np.ndarray) -> DataError:
        row, count = int(np.argmax(stray)), int(stray.sum())
        present = int((~self.missing).sum())
        return DataError(
            f"{self.place(row)}: {self.written(row)!r} is text where numbers were said ({count} of "
            f"the {present} filled cells cannot be read as a number). A number is written like 12, "
            "-0.5 or 1e-3, without unit, currency or thousands separator. Correct the cells, "
            "leave them empty, or treat the column as categorical."
        )


def _and_more(mask: np.ndarray, what: str) -> str:
    count = int(mask.sum()) - 1
    return f" (and {counted(count, f'more {what}')} in this column)" if count else ""
