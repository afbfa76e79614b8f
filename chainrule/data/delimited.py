"""Reading delimited text (CSV and its relatives).

polars turns bytes into cells; where rows begin, how many fields each has and which delimiter they
use is found here, over the bytes as an array, so that a message can name the row.
"""

from __future__ import annotations

import csv
import io
from typing import Any, NamedTuple

import numpy as np

from chainrule.data.cells import EXACT_INTEGERS, Column, Origin, counted
from chainrule.data.tables import Table, check_names
from chainrule.data.values import clean_text, words_of_polars
from chainrule.errors import DataError

DELIMITERS = ",;\t|"
_NEWLINE, _QUOTE = ord("\n"), ord('"')
_SAMPLE = 1 << 16  # bytes from which the delimiter is told


def read_delimited(name: str, data: bytes) -> Table:
    """The table in these bytes, which messages call `name`; the first row is the header.

    The delimiter is the one of , ; tab | that cuts the rows most evenly. Raises DataError for bytes
    that are not UTF-8, for rows whose number of fields is not the header's, and for what no table
    has.
    """
    data = _utf8(name, data)
    if not data.strip():
        raise DataError(f"{name}: the file is empty. A table begins with a row of column names.")
    delimiter = _sniff(data)
    data, records = _well_quoted(name, data, delimiter)
    _check_fields(name, records)
    rows = _cells(data, delimiter, records)
    header = ["" if cell is None else cell.strip() for cell in rows.row(0)]
    origin = Origin(name, records.lines[1:], in_lines=True)
    if not len(origin.rows):
        raise DataError(f"{name}: there is a header ({len(header)} columns), but no rows below it.")
    columns = [clean_text(series) for series in rows.slice(1).get_columns()]
    header, columns, notes = _leave_out_unnamed(name, header, columns)
    check_names(name, header)
    made = [
        _column(title, cells, origin, delimiter)
        for title, cells in zip(header, columns, strict=True)
    ]
    return Table.build(made, origin, notes)


def _utf8(name: str, data: bytes) -> bytes:
    """Bytes known to be UTF-8, without a byte order mark and with plain line ends."""
    if data.startswith((b"\xff\xfe", b"\xfe\xff")):
        raise DataError(f"{name}: byte 0: the file is UTF-16 text. {_way_out('UTF-16')}")
    if b"\0" in data:
        where = data.index(b"\0")
        raise DataError(
            f"{name}: byte {where} is zero, which text never holds: this is not a CSV file, or it "
            f"is UTF-16 without its mark. {_way_out('UTF-16LE')}"
        )
    try:
        data.isascii() or data.decode("utf-8")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise DataError(
            f"{name}: byte {error.start} (row {line}) is 0x{data[error.start]:02x}, which is not "
            "UTF-8 text. Usually such a file was written as Latin-1 or Windows-1252. "
            f"{_way_out('WINDOWS-1252')}"
        ) from None
    data = data.removeprefix(b"\xef\xbb\xbf")
    return data.replace(b"\r\n", b"\n").replace(b"\r", b"\n") if b"\r" in data else data


def _way_out(encoding: str) -> str:
    return f"Save it as UTF-8, or convert it: iconv -f {encoding} -t UTF-8 old.csv > new.csv."


class _Records(NamedTuple):
    """The records of a file: its rows that are not blank. A quoted cell may span lines."""

    lines: np.ndarray  # the line on which each begins, from 1: shape (records,)
    fields: np.ndarray  # into how many the delimiter cuts each: shape (records,)
    blank: np.ndarray  # the bytes that end a blank row, on which nothing at all stands
    well_quoted: bool  # whether every quotation mark in the file opens, closes or doubles


def _scan(data: bytes, delimiter: str) -> _Records:
    a = np.frombuffer(data, np.uint8)
    newlines, cuts = np.flatnonzero(a == _NEWLINE), np.flatnonzero(a == ord(delimiter))
    ends, well_quoted = newlines, True
    quotes = np.flatnonzero(a == _QUOTE)
    if len(quotes):
        # A byte is quoted where an odd number of marks stands before it. A doubled mark closes and
        # opens again with nothing in between, so that it changes nothing.
        ends = newlines[np.searchsorted(quotes, newlines) % 2 == 0]
        cuts = cuts[np.searchsorted(quotes, cuts) % 2 == 0]
        opening, closing = quotes[::2], quotes[1::2]
        edges = np.array([_NEWLINE, ord(delimiter), _QUOTE], np.uint8)
        before, after = a[opening[opening > 0] - 1], a[closing[closing < len(a) - 1] + 1]
        well_quoted = len(quotes) % 2 == 0 and bool(
            np.isin(before, edges).all() and np.isin(after, edges).all()
        )
    if not len(ends) or ends[-1] != len(a) - 1:
        ends = np.append(ends, len(a))
    starts = np.concatenate(([0], ends[:-1] + 1))
    fields = 1 + np.diff(np.searchsorted(cuts, ends), prepend=0)
    lines = 1 + np.searchsorted(newlines, starts)
    filled = starts < ends
    return _Records(lines[filled], fields[filled], ends[~filled], well_quoted)


def _sniff(data: bytes) -> str:
    sample = data[:_SAMPLE] if data[0] != _NEWLINE else data.lstrip(b"\n")[:_SAMPLE]
    if len(sample) == _SAMPLE:
        sample = sample[: sample.rfind(b"\n") + 1 or _SAMPLE]
    best, delimiter = (0.0, 1), DELIMITERS[0]
    for candidate in DELIMITERS:
        fields = _scan(sample, candidate).fields
        score = (float(np.mean(fields == fields[0])), int(fields[0]))
        if fields[0] > 1 and score > best:
            best, delimiter = score, candidate
    return delimiter


def _well_quoted(name: str, data: bytes, delimiter: str) -> tuple[bytes, _Records]:
    """The same rows with their quotation marks as RFC 4180 has them, which polars needs.

    Marks within a cell that is not quoted (`5" pipe`), and blanks before a quoted cell, are common.
    """
    records = _scan(data, delimiter)
    if records.well_quoted:
        return data, records
    out = io.StringIO(newline="")
    writer = csv.writer(out, delimiter=delimiter, lineterminator="\n")
    reader = csv.reader(
        io.StringIO(data.decode("utf-8"), newline=""),
        delimiter=delimiter,
        strict=True,
        skipinitialspace=True,
    )
    line = 1
    try:
        for row in reader:
            writer.writerow(row)
            line = reader.line_num + 1
    except csv.Error as error:
        raise DataError(
            f"{name}: row {line}: the quotation marks do not pair up ({error}). A quoted cell ends "
            "with a mark before the delimiter or the end of the line, and a mark inside of it is "
            "doubled."
        ) from None
    data = out.getvalue().encode("utf-8")
    return data, _scan(data, delimiter)


def _cells(data: bytes, delimiter: str, records: _Records) -> Any:
    """A polars frame of strings, with a row per record."""
    import polars as pl

    if len(records.blank):
        data = np.delete(np.frombuffer(data, np.uint8), records.blank).tobytes()
    schema = {f"field {j}": pl.String for j in range(records.fields[0])}
    return pl.read_csv(data, separator=delimiter, has_header=False, schema=schema)


def _check_fields(name: str, records: _Records) -> None:
    ragged = np.flatnonzero(records.fields != records.fields[0])
    if len(ragged):
        first = ragged[0]
        also = f", as have {counted(len(ragged) - 1, 'row')} more" if len(ragged) > 1 else ""
        raise DataError(
            f"{name}: row {records.lines[first]} has {counted(records.fields[first], 'field')} "
            f"where the header has {records.fields[0]}{also}. The usual cause is a delimiter "
            'inside of a cell, which must then stand in quotation marks ("Smith, J."), or a row '
            "that was cut off."
        )


def _leave_out_unnamed(
    name: str, header: list[str], columns: list[Any]
) -> tuple[list[str], list[Any], tuple[str, ...]]:
    """Without the columns that have no name and say nothing: empty, or only numbering the rows."""
    notes, kept = [], []
    for j, (title, cells) in enumerate(zip(header, columns, strict=True)):
        if title:
            kept.append(j)
        elif cells.null_count() == len(cells):
            notes.append(f"column {j + 1} of {name} has no name and no values; it is left out")
        elif _numbers_the_rows(cells):
            notes.append(
                f"column {j + 1} of {name} has no name and only numbers the rows; it is left out"
            )
        else:
            raise DataError(
                f"{name}: column {j + 1} has no name in the header (row 1). Give it one, or take "
                "the column out."
            )
    return [header[j] for j in kept], [columns[j] for j in kept], tuple(notes)


def _numbers_the_rows(cells: Any) -> bool:
    import polars as pl

    numbers = cells.cast(pl.Int64, strict=False)
    if numbers.null_count():
        return False
    values = numbers.to_numpy()
    return values[0] in (0, 1) and bool((np.diff(values) == 1).all())


def _column(name: str, cells: Any, origin: Origin, delimiter: str) -> Column:
    """A column of clean strings, as numbers where every cell that is not missing is one."""
    import polars as pl

    missing = cells.null_count()
    if missing == len(cells):
        return Column(name, "number", np.full(len(cells), np.nan), origin, cells)
    plain = _plain_numbers(name, cells, origin, delimiter)
    numbers = plain.cast(pl.Float64, strict=False)
    if numbers.null_count() == missing:
        integers = plain.cast(pl.Int64, strict=False)
        whole = integers.null_count() == missing
        # A zero in front is how codes are written (007, the postcode 01067), and codes are names.
        if not whole or not plain.str.contains(r"^[+-]?0\d").any():
            exact = whole and integers.abs().max() <= EXACT_INTEGERS
            return Column(name, "integer" if exact else "number", numbers.to_numpy(), origin, cells)
    lower = cells.str.to_lowercase()
    if lower.is_in(["true", "false"]).sum() == len(cells) - missing:
        truth = (lower == "true").cast(pl.Float64).to_numpy()
        return Column(name, "boolean", truth, origin, cells)
    return Column(name, "text", words_of_polars(cells), origin, cells)


def _plain_numbers(name: str, cells: Any, origin: Origin, delimiter: str) -> Any:
    """The cells with the commas in their numbers turned into what they mean, if that is certain.

    A comma is a decimal point (1,5; never in a file that is delimited by commas) or groups
    thousands (1,234.5), if it can be that in every cell that has one.
    """
    with_comma = cells.filter(cells.str.contains(",", literal=True).fill_null(False))
    if not len(with_comma):
        return cells
    grouped = with_comma.str.contains(r"^[+-]?[1-9]\d{0,2}(,\d{3})+(\.\d*)?$").all()
    decimal = delimiter != "," and with_comma.str.contains(r"^[+-]?\d+,\d+$").all()
    if grouped and decimal:
        row = int(cells.str.contains(",", literal=True).fill_null(False).arg_true()[0])
        raise DataError(
            f"{origin.place(row)}, column {name!r}: {cells[row]!r} is "
            f"{cells[row].replace(',', '.')} where the comma is a decimal point, and "
            f"{cells[row].replace(',', '')} where it groups thousands; no cell of the column tells "
            "which. Write the numbers without commas."
        )
    if decimal:
        return cells.str.replace(",", ".", literal=True)
    return cells.str.replace_all(",", "", literal=True) if grouped else cells
