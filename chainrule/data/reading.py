"""Reading a table from a file: delimited text, Parquet or .npz, as its first bytes tell."""

from __future__ import annotations

import difflib
import io
import os
import zipfile
from pathlib import Path

import numpy as np

from chainrule.data.cells import Column, Origin
from chainrule.data.delimited import read_delimited
from chainrule.data.tables import Table, check_names
from chainrule.data.values import column_of, column_of_polars
from chainrule.errors import DataError
from chainrule.tensor.locate import explained


@explained
def read_table(path: str | os.PathLike[str]) -> Table:
    """The table in a file: CSV (delimited by comma, semicolon, tab or |), Parquet, or .npz.

    Text is UTF-8, with a header in the first row. In an .npz file a one-dimensional array is a
    column under its own name, and the columns of a two-dimensional array X are X0, X1, …, or have
    the names in an array `columns` or `feature_names`. Nothing in a file is executed.

    Raises DataError, with the place in the file, for what cannot be read as a table.

    >>> import pathlib, tempfile
    >>> folder = tempfile.TemporaryDirectory()
    >>> path = pathlib.Path(folder.name, "shoes.csv")
    >>> _ = path.write_text("size;colour\\n41;red\\n;blue\\n")
    >>> read_table(path)
    Table of 2 rows: size (integer), colour (text)
    >>> folder.cleanup()
    """
    path = Path(path)
    data = _bytes_of(path)
    for magic, what in _NOT_TABLES.items():
        if data.startswith(magic):
            raise DataError(f"{path.name} is {what}.")
    if data.startswith(b"PAR1"):
        return _read_parquet(path.name, data)
    if data.startswith(b"PK\x03\x04"):
        return _read_npz(path.name, data)
    return read_delimited(path.name, data)


_NOT_TABLES = {
    b"\x1f\x8b": "compressed by gzip: unpack it with gunzip first",
    b"\x93NUMPY": "a single NumPy array without names: save it as np.savez('table.npz', X=X, y=y)",
    b"\xd0\xcf\x11\xe0": "an Excel workbook: save the sheet as CSV",
    b"SQLite format 3\0": "an SQLite database: export the table as CSV",
    b"\x89HDF\r\n": "an HDF5 file: export the table as CSV, Parquet or .npz",
    b"ARROW1": "an Arrow (Feather) file: save the table as Parquet",
    b"%PDF": "a PDF document: a table is read from CSV, Parquet or .npz",
}


def _bytes_of(path: Path) -> bytes:
    if path.is_dir():
        raise DataError(
            f"{path} is a directory, not a file. Give the path of a table inside of it."
        )
    try:
        return path.read_bytes()
    except FileNotFoundError:
        folder = path.parent
        names = [entry.name for entry in folder.iterdir()] if folder.is_dir() else []
        close = difflib.get_close_matches(path.name, names, n=3)
        if not folder.is_dir():
            way = f"The directory {folder} does not exist either."
        elif close:
            way = f"Did you mean {' or '.join(str(folder / name) for name in close)}?"
        else:
            way = f"It was looked for in {folder.resolve()}."
        raise DataError(f"there is no file {path}. {way}") from None
    except OSError as error:
        raise DataError(f"{path} cannot be read: {error.strerror or error}.") from None


def _read_parquet(name: str, data: bytes) -> Table:
    import polars as pl

    try:
        frame = pl.read_parquet(io.BytesIO(data))
    except (Exception, pl.exceptions.PanicException) as error:
        # Which errors a damaged file leads to is the reader's affair; all of them mean the same
        # here.
        raise DataError(
            f"{name}: the Parquet file is damaged or cut off ({_first_line(error)})."
        ) from None
    origin = Origin(name, np.arange(frame.height))
    return Table.build([column_of_polars(s.name, s, origin) for s in frame.get_columns()], origin)


def _read_npz(name: str, data: bytes) -> Table:
    arrays = _npz_arrays(name, data)
    names = {key: arrays.pop(key) for key in ("columns", "feature_names") if key in arrays}
    titles = [str(title) for array in names.values() for title in np.ravel(array).tolist()]
    arrays = {key: array for key, array in arrays.items() if array.ndim}
    if not arrays:
        raise DataError(
            f"{name} holds no array with rows. Save one with np.savez('table.npz', X=X, y=y)."
        )
    lengths = {key: len(array) for key, array in arrays.items()}
    if len(set(lengths.values())) > 1:
        raise DataError(
            f"{name}: the arrays differ in their number of rows: "
            + ", ".join(f"{key!r} {length}" for key, length in lengths.items())
            + ". Every array in the file is a part of one table; keep others in another file."
        )
    origin = Origin(name, np.arange(next(iter(lengths.values()))))
    columns: list[Column] = []
    for key, array in arrays.items():
        columns += _npz_columns(name, key, array, titles, origin)
    check_names(name, [column.name for column in columns])
    return Table.build(columns, origin)


def _npz_columns(
    name: str, key: str, array: np.ndarray, titles: list[str], origin: Origin
) -> list[Column]:
    if array.ndim > 2:
        raise DataError(
            f"{name}: the array {key!r} has shape {array.shape}, and a table's has (rows,) or "
            f"(rows, columns). Save it as {key}.reshape(len({key}), -1)."
        )
    if array.ndim == 1:
        return [column_of(key, array, origin)]
    if len(titles) == array.shape[1]:
        names = titles
    elif array.shape[1] == 1:
        names = [key]
    else:
        names = [f"{key}{j}" for j in range(array.shape[1])]
    return [column_of(title, array[:, j], origin) for j, title in enumerate(names)]


def _npz_arrays(name: str, data: bytes) -> dict[str, np.ndarray]:
    arrays: dict[str, np.ndarray] = {}
    key = ""
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            members = archive.namelist()
        if all(member.endswith(".npy") for member in members):
            with np.load(io.BytesIO(data), allow_pickle=False) as loaded:
                for key in loaded.files:
                    arrays[key] = loaded[key]
            return arrays
    except Exception as error:  # damage shows in many ways: zip records, zlib, header syntax, sizes
        if "allow_pickle" in str(error):
            raise DataError(
                f"{name}: the array {key!r} holds Python objects, which can only be loaded by "
                "running code. Save it as numbers or as strings: np.asarray(values, dtype=str)."
            ) from None
        which = f"the array {key!r}" if key else "the .npz file"
        raise DataError(f"{name}: {which} is damaged or cut off ({_first_line(error)}).") from None
    excel = any(member.startswith("xl/") for member in members)
    what = (
        "an Excel workbook: save the sheet as CSV" if excel else "a zip archive, but not of arrays"
    )
    raise DataError(f"{name} is {what}.")


def _first_line(error: BaseException) -> str:
    return (str(error) or type(error).__name__).splitlines()[0]
