"""read_table: what stands in a file comes out, and what is no table is refused with its place."""

import contextlib
import csv
import io
import math
import re
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from chainrule.data import Table, read_table
from chainrule.data.cells import MISSING
from chainrule.data.delimited import read_delimited
from chainrule.errors import DataError


def read(text: str | bytes) -> Table:
    return read_delimited("t.csv", text if isinstance(text, bytes) else text.encode())


def refusal(text: str | bytes) -> str:
    with pytest.raises(DataError) as caught:
        read(text)
    return str(caught.value)


def cells(table: Table) -> list[list[str | None]]:
    """What stands in the file, by rows, as text."""
    columns = [column.spelling.to_list() for column in table.columns.values()]
    return [list(row) for row in zip(*columns, strict=True)]


# Delimiters, quotation marks, line ends and blanks are what a reader can stumble over.
words = st.text(st.sampled_from("ab1,;\t|\"\n 'é漢"), max_size=6)


@given(
    rows=st.lists(st.tuples(words, words, words), min_size=1, max_size=6),
    delimiter=st.sampled_from(",;\t|"),
    quoting=st.sampled_from([csv.QUOTE_MINIMAL, csv.QUOTE_ALL]),
    line_end=st.sampled_from(["\n", "\r\n"]),
    mark=st.sampled_from([b"", b"\xef\xbb\xbf"]),
)
def test_cells_come_back_as_the_csv_module_wrote_them(rows, delimiter, quoting, line_end, mark):
    out = io.StringIO(newline="")
    writer = csv.writer(out, delimiter=delimiter, quoting=quoting, lineterminator=line_end)
    writer.writerows([("first", "second", "third"), *rows])
    table = read(mark + out.getvalue().encode())
    assert table.names == ("first", "second", "third")
    clean = [[cell.strip() for cell in row] for row in rows]
    assert cells(table) == [[None if c in MISSING else c for c in row] for row in clean]


@given(st.lists(st.floats(allow_nan=False) | st.none(), min_size=1))
@example([0.1, -0.0, 5e-324, 1.7976931348623157e308])
def test_numbers_come_back_to_the_last_bit(values):
    lines = ["" if value is None else repr(value) for value in values]
    column = read("x,y\n" + "".join(f"{line},1\n" for line in lines))["x"]
    expected = np.array([math.nan if value is None else value for value in values])
    assert column.values.tobytes() == expected.tobytes()


@given(st.lists(st.integers(-(2**53), 2**53), min_size=1))
def test_integers_are_recognised(values):
    column = read("x,y\n" + "".join(f"{value},a\n" for value in values))["x"]
    assert column.kind == "integer"
    assert column.values.tolist() == values


@given(st.binary(max_size=60) | st.text('a1,;"\n\r\t|é', max_size=60).map(str.encode))
@example(b'\n"\n')
@example(b"a,b\n1,2\n\n\n")
def test_any_bytes_make_a_table_or_a_data_error(data):
    with contextlib.suppress(DataError):
        table = read(data)
        assert len(table) > 0
        assert table.names


def test_any_file_makes_a_table_or_a_data_error(tmp_path):
    @given(st.sampled_from([b"PAR1", b"PK\x03\x04", b"\x93NUMPY"]), st.binary(max_size=40))
    def check(magic, rest):
        path = tmp_path / "t"
        path.write_bytes(magic + rest)
        with pytest.raises(DataError, match=r"^t[: ]"):
            read_table(path)

    check()


@pytest.mark.parametrize(
    ("text", "names"),
    [
        ("a,b\n1,x;y\n", ("a", "b")),
        ("a;b\n1;x,y\n", ("a", "b")),
        ("a\tb\n1\tx,y;z\n", ("a", "b")),
        ('a|b\n1|"x|y"\n', ("a", "b")),
        ('a;b\n"1,5";"2,5"\n', ("a", "b")),
        ("a;b,c\n1;2,3\n", ("a;b", "c")),
        ("a\n1\n2\n", ("a",)),
        ("\n\na,b\n1,2\n", ("a", "b")),
        (' a , "b"\n1,2\n', ("a", "b")),
    ],
)
def test_the_delimiter_is_told_from_the_rows(text, names):
    assert read(text).names == names


def test_kinds():
    table = read(
        "i,f,b,t,code,big,empty\n"
        "1,1.5,True,red,007,12345678901234567890,\n"
        " -2 ,1e3,false,NA,1,1,?\n"
        "null,.5,TRUE,?,2,2,NaN\n"
    )
    assert {name: column.kind for name, column in table.columns.items()} == {
        "i": "integer", "f": "number", "b": "boolean", "t": "text", "code": "text",
        "big": "number", "empty": "number",
    }  # fmt: skip
    np.testing.assert_array_equal(table["i"].values, [1, -2, np.nan])
    np.testing.assert_array_equal(table["b"].values, [1, 0, 1])
    assert table["t"].values.tolist() == ["red", None, None]
    assert table["code"].values.tolist() == ["007", "1", "2"]
    assert table["empty"].missing.all()


def test_commas_within_numbers():
    np.testing.assert_array_equal(read("a;b\n1,5;1\n12,25;2\n")["a"].values, [1.5, 12.25])
    np.testing.assert_array_equal(read('a,b\n"1,500",1\n20,2\n')["a"].values, [1500, 20])
    np.testing.assert_array_equal(read("a;b\n1,234,567;1\n2;2\n")["a"].values, [1234567, 2])
    assert read('a,b\n"1,2",1\n"3,12",2\n')["a"].kind == "text"  # several answers in one cell
    message = refusal("a;b\n7;1\n1,500;1\n2,250;2\n")
    assert "row 3, column 'a': '1,500' is 1.500 where the comma" in message


def test_rows_are_known_by_the_line_they_begin_on():
    table = read('a,b\n\n1,"two\nlines"\n\n2,x\n"3\n",y\n4,z\n')
    assert table.origin.rows.tolist() == [3, 6, 7, 9]
    assert table.take([1])["a"].place(0) == "t.csv: row 6, column 'a'"


def test_marks_within_a_cell_that_is_not_quoted():
    table = read('size,what\n5" pipe,steel\n6" pipe, "brass, polished"\n')
    assert cells(table) == [['5" pipe', "steel"], ['6" pipe', "brass, polished"]]


def test_quoted_line_ends_over_many_rows_agree_with_the_csv_module():
    # Large enough for polars to cut it into chunks that several threads read.
    rng = np.random.default_rng(0)
    pool = np.array(["plain", "a,b", 'say "x"', "two\nlines", "é\n\n,"], dtype=object)
    rows = [(str(i), *pool[rng.integers(0, len(pool), 3)]) for i in range(60_000)]
    out = io.StringIO(newline="")
    csv.writer(out, lineterminator="\n").writerows([("n", "x", "y", "z"), *rows])
    table = read(out.getvalue())
    assert table["n"].values.tolist() == list(range(60_000))
    for j, name in enumerate("xyz", start=1):
        assert table[name].values.tolist() == [row[j].strip() for row in rows]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "the file is empty"),
        (" \n\n ", "the file is empty"),
        ("a,b\n", r"there is a header \(2 columns\), but no rows"),
        ("a,b\n1,2\n3\n", "row 3 has 1 field where the header has 2. "),
        ("a,b\n1,2,3\n3\n", "row 2 has 3 fields where the header has 2, as have 1 row more"),
        ("a,b,a\n1,2,3\n", "the columns 1 and 3 are both called 'a'"),
        ("a,\n1,2\n3,5\n", "column 2 has no name in the header"),
        (b"a,b\n1,2\n3,caf\xe9\n", r"byte 13 \(row 3\) is 0xe9, which is not UTF-8"),
        ("a,b\n1,2\n".encode("utf-16"), "byte 0: the file is UTF-16"),
        ("a,b\n1,2\n".encode("utf-16-le"), "byte 1 is zero"),
        ('a,b\n1,2\n3,"x\n4,5\n', "row 3: the quotation marks do not pair up"),
        ('a,b\n1,"x"y\n', "row 2: the quotation marks do not pair up"),
    ],
)
def test_what_is_no_table_is_refused_with_its_place(text, message):
    assert re.match(f"t.csv: {message}", refusal(text))


def test_unnamed_columns_that_say_nothing_are_left_out_and_named():
    table = read(",a,\n0,5,\n1,7,\n")  # a data frame's index, and a delimiter at the end
    assert table.names == ("a",)
    assert table.notes == (
        "column 1 of t.csv has no name and only numbers the rows; it is left out",
        "column 3 of t.csv has no name and no values; it is left out",
    )


def test_paths(tmp_path):
    (tmp_path / "flowers.csv").write_text("a\n1\n")
    with pytest.raises(DataError, match=r"Did you mean .*flowers\.csv\?"):
        read_table(tmp_path / "flower.csv")
    with pytest.raises(DataError, match="It was looked for in "):
        read_table(tmp_path / "zzz")
    with pytest.raises(DataError, match=r"The directory .*nowhere does not exist either"):
        read_table(tmp_path / "nowhere" / "x.csv")
    with pytest.raises(DataError, match="is a directory, not a file"):
        read_table(tmp_path)


@pytest.mark.parametrize(
    ("start", "what"),
    [(b"\x1f\x8b\x08", "gunzip"), (b"\x93NUMPY\x01", "np.savez"), (b"SQLite format 3\0", "SQLite")],
)
def test_other_formats_are_named(tmp_path, start, what):
    path = tmp_path / "table.csv"
    path.write_bytes(start + bytes(20))
    with pytest.raises(DataError, match=what):
        read_table(path)


def test_parquet(tmp_path):
    path = tmp_path / "t.parquet"
    frame = pl.DataFrame(
        {
            "i": [1, None, 3], "f": [0.5, None, math.nan], "s": ["a", " ", "NA"],
            "b": [True, None, False], "big": [2**60, 1, 2], "c": ["x", "y", None],
        },
        schema_overrides={"c": pl.Categorical, "i": pl.Int8},
    )  # fmt: skip
    frame.write_parquet(path)
    table = read_table(path)
    kinds = [column.kind for column in table.columns.values()]
    assert kinds == ["integer", "number", "text", "boolean", "number", "text"]
    np.testing.assert_array_equal(table["i"].values, [1, np.nan, 3])
    np.testing.assert_array_equal(table["b"].values, [1, np.nan, 0])
    np.testing.assert_array_equal(table["f"].values, [0.5, np.nan, np.nan])
    assert table["s"].values.tolist() == ["a", None, None]
    assert table["c"].values.tolist() == ["x", "y", None]
    assert Table.of(frame)["c"].values.tolist() == ["x", "y", None]
    data = path.read_bytes()
    for length in (4, 8, len(data) // 2, len(data) - 1):
        path.write_bytes(data[:length])
        with pytest.raises(DataError, match="damaged or cut off"):
            read_table(path)


def test_parquet_with_columns_that_are_no_cells(tmp_path):
    path = tmp_path / "t.parquet"
    pl.DataFrame({"a": [[1], [2, 3]]}).write_parquet(path)
    with pytest.raises(DataError, match=r"t.parquet: column 'a' has the type List"):
        read_table(path)


def save(folder: Path, **arrays: np.ndarray) -> Path:
    np.savez(folder / "t.npz", **arrays)
    return folder / "t.npz"


def test_npz(tmp_path):
    X = np.arange(6, dtype=np.float32).reshape(3, 2)
    y = np.array(["a", "b", "a"])
    table = read_table(save(tmp_path, X=X, y=y, k=np.array([[1], [2], [3]])))
    assert table.names == ("X0", "X1", "y", "k")
    np.testing.assert_array_equal(table["X1"].values, X[:, 1])
    assert table["y"].values.tolist() == ["a", "b", "a"]
    assert table["k"].kind == "integer"
    named = read_table(save(tmp_path, X=X, feature_names=np.array(["height", "width"])))
    assert named.names == ("height", "width")


@pytest.mark.parametrize(
    ("arrays", "message"),
    [
        ({"X": np.zeros((3, 2)), "y": np.zeros(2)}, "differ in their number of rows: 'X' 3, 'y' 2"),
        ({"X": np.zeros((3, 2, 2))}, r"'X' has shape \(3, 2, 2\)"),
        ({"X": np.zeros((0, 2))}, "no rows"),
        ({"n": np.array(3)}, "holds no array with rows"),
        ({"z": np.zeros(3, complex)}, "column 'z' has dtype complex128"),
    ],
)
def test_npz_that_is_no_table(tmp_path, arrays, message):
    with pytest.raises(DataError, match=message):
        read_table(save(tmp_path, **arrays))


class Trap:
    def __reduce__(self):
        return (exec, ("raise SystemExit('code from a file was run')",))


def test_npz_never_runs_code(tmp_path):
    path = save(tmp_path, X=np.array([Trap(), Trap()], dtype=object))
    with pytest.raises(DataError, match="'X' holds Python objects"):
        read_table(path)


def test_npz_damaged_anywhere(tmp_path):
    path = save(tmp_path, X=np.arange(40.0).reshape(20, 2), y=np.arange(20))
    data = path.read_bytes()
    good = {name: column.values for name, column in read_table(path).columns.items()}
    rng = np.random.default_rng(0)
    refused = 0
    for position in rng.integers(4, len(data), 150):
        changed = bytearray(data)
        changed[position] ^= 0xFF
        for damaged in (changed, data[:position]):
            path.write_bytes(damaged)
            try:
                table = read_table(path)
            except DataError:
                refused += 1
            else:  # some bytes of a zip archive mean nothing, such as the time of day
                for name, column in table.columns.items():
                    np.testing.assert_array_equal(column.values, good.get(name, column.values))
    assert refused > 200


def test_excel_is_named(tmp_path):
    import zipfile

    path = tmp_path / "book.xlsx"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("xl/workbook.xml", "<workbook/>")
    with pytest.raises(DataError, match="Excel workbook: save the sheet as CSV"):
        read_table(path)
