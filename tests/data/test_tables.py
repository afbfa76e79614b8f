"""Table and Column: made from Python's data, taken apart, and asked for numbers or text."""

import datetime
import subprocess
import sys
from decimal import Decimal

import numpy as np
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from chainrule.data import Table
from chainrule.data.cells import MISSING, Words, is_number
from chainrule.data.values import words_of_polars
from chainrule.errors import DataError


def test_importing_data_does_not_import_polars():
    code = "import sys, chainrule.data; print('polars' in sys.modules, 'scipy' in sys.modules)"
    answer = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    )
    assert answer.stdout.split() == ["False", "False"]


def column(values):
    return Table.of({"c": values})["c"]


@pytest.mark.parametrize(
    ("values", "kind", "expected"),
    [
        ([1, None, 3], "integer", [1, np.nan, 3]),
        ([1, 2.5], "number", [1, 2.5]),
        ([True, None], "boolean", [1, np.nan]),
        ([Decimal("1.5"), None], "number", [1.5, np.nan]),
        ([2**60, 1], "number", [2.0**60, 1]),
        ([2**70, 1], "number", [2.0**70, 1]),
        ([None, None], "number", [np.nan, np.nan]),
        (range(3), "integer", [0, 1, 2]),
        (np.array([1, 2], dtype=np.uint8), "integer", [1, 2]),
        (np.array([0.5, np.nan], dtype=np.float16), "number", [0.5, np.nan]),
        (np.ma.array([1.0, 2.0], mask=[False, True]), "number", [1, np.nan]),
        (pl.Series([1, 2]), "integer", [1, 2]),
    ],
)
def test_numbers_from_python(values, kind, expected):
    made = column(values)
    assert made.kind == kind
    np.testing.assert_array_equal(made.values, expected)
    assert made.values.dtype == np.float64
    assert made.missing.tolist() == np.isnan(expected).tolist()


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        (["a", " b ", None, "NA", ""], ["a", "b", None, None, None]),
        (["1", "2"], ["1", "2"]),
        ([1, "a", float("nan")], ["1", "a", None]),
        (np.array(["x", "y"]), ["x", "y"]),
        (np.array([b"x", b"\xc3\xa9"]), ["x", "é"]),
        (np.array(["x"], dtype=np.dtypes.StringDType()), ["x"]),
        ([datetime.date(2020, 1, 2), None], ["2020-01-02", None]),
        (np.array(["2020-01-02", "NaT"], dtype="datetime64[D]"), ["2020-01-02", None]),
    ],
)
def test_text_from_python(values, expected):
    assert column(values).kind == "text"
    assert column(values).values.tolist() == expected


@given(st.lists(st.none() | st.text("ab 漢é😀?N", max_size=3)))
def test_words_are_the_same_from_python_and_from_polars(cells):
    words = Words.of(cells)
    clean = [None if c is None or c.strip() in MISSING else c.strip() for c in cells]
    assert words.decode().tolist() == clean
    assert list(words.words) == sorted(set(clean) - {None})
    same = words_of_polars(pl.Series(clean, dtype=pl.String))
    assert (same.codes.tolist(), list(same.words)) == (words.codes.tolist(), list(words.words))


@given(st.text("0123456789+-.eEinfty_ x", max_size=8))
def test_a_number_is_what_polars_reads_as_one(word):
    read = pl.Series([word]).cast(pl.Float64, strict=False)[0]
    assert is_number(word) == (read is not None)
    if is_number(word):
        assert float(word) == read


@given(st.lists(st.tuples(st.integers(), st.text(max_size=3)), min_size=1), st.data())
def test_taking_rows_is_indexing(rows, data):
    table = Table.from_rows(rows, ["n", "s"])
    chosen = data.draw(st.lists(st.integers(0, len(rows) - 1)))
    mask = data.draw(st.lists(st.booleans(), min_size=len(rows), max_size=len(rows)))
    for some in (chosen, np.array(mask)):
        taken = table.take(some)
        for name in table.names:
            want = table[name].values[np.array(some, dtype=bool if some is not chosen else int)]
            np.testing.assert_array_equal(taken[name].values, want)
            np.testing.assert_array_equal(table[name].take(some).values, want)
    assert table.take(chosen).origin.rows.tolist() == chosen


class Series:
    """As much of a pandas.Series of objects as a Table asks for."""

    def __init__(self, values, dtype=object):
        self.values = np.array(values, dtype=dtype)

    def to_numpy(self):
        return self.values

    def isna(self):
        return Series([value is NA for value in self.values], bool)


class Frame:
    """As much of a pandas.DataFrame as a Table asks for."""

    def __init__(self, columns, *series):
        self.columns, self.series = columns, series
        self.shape = (len(series[0].values), len(series))
        self.iloc = self

    def __getitem__(self, place):
        return self.series[place[1]]

    def isna(self):
        raise AssertionError("a frame is asked column by column")


class NA:
    def __bool__(self):
        raise TypeError("boolean value of NA is ambiguous")


NA = NA()


def test_frames_that_know_what_is_missing():
    given = Series(["a", NA])
    table = Table.of(Frame(["s", 5], given, Series([NA, 2])))
    assert table.names == ("s", "5")
    assert table["s"].values.tolist() == ["a", None]
    np.testing.assert_array_equal(table["5"].values, [np.nan, 2])
    assert given.values[1] is NA  # the frame is as it was
    with pytest.raises(DataError, match="the columns 1 and 2 are both called 's'"):
        Table.of(Frame(["s", "s"], given, given))


def test_selecting_and_dropping():
    table = Table.from_arrays(np.eye(3), names=["a", "b", "c"])
    assert table.select(["c", "a"]).names == ("c", "a")
    assert table.drop("b").names == ("a", "c")
    assert "b" in table
    with pytest.raises(DataError, match=r"no column 'B'. Did you mean 'b'\?"):
        table["B"]
    with pytest.raises(DataError, match=r"no column 'target'. There are: 'a', 'b', 'c'"):
        table.drop("target")


def test_rows_may_lack_names():
    table = Table.from_rows([{"a": 1}, {"b": "x", "a": 2}])
    assert table.names == ("a", "b")
    assert table["b"].values.tolist() == [None, "x"]


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (3, "no table can be made of a int"),
        ("x.csv", "`read_table` the path of a file"),
        ([{"a": 1}], r"`Table.from_rows` takes a list of rows"),
        (np.zeros(3), r"this one has shape \(3,\)"),
        (np.zeros((0, 3)), "no rows"),
        (np.zeros((3, 0)), "no columns"),
        ({}, "no columns"),
        ({"a": []}, "no rows"),
        ({"a": [1, 2], "b": [1]}, "column 'b' has 1 rows, and column 'a' 2"),
        ({"a": 3}, "column 'a' is no list or array of one dimension"),
        ({"a": "abc"}, "column 'a' is no list or array of one dimension"),
        ({"a": np.zeros((2, 2))}, "column 'a' is no list or array of one dimension"),
        ({"a": [1, {}]}, r"row 1 \(counting from 0\), column 'a': the cell holds a dict"),
        ({"a": [[1], [1, 2]]}, r"row 0 .* column 'a': the cell holds a list"),
        ({"a": [1j, 2]}, "column 'a' has dtype complex128"),
        ({1: [1], "1": [2]}, "both called '1'"),
    ],
)
def test_what_is_no_table(data, message):
    with pytest.raises(DataError, match=message):
        Table.of(data)


def test_rows_that_do_not_fit():
    with pytest.raises(DataError, match=r"row 1 .* has 1 values for 2 columns"):
        Table.from_rows([(1, 2), (3,)], ["a", "b"])
    with pytest.raises(DataError, match="need the columns' names"):
        Table.from_rows([(1, 2)])


def test_text_that_holds_numbers_gives_numbers():
    np.testing.assert_array_equal(column(["1", None, "2.5"]).numbers(), [1, np.nan, 2.5])


def test_text_where_numbers_were_said_names_the_first():
    text = column(["1", None, "2 kg", "x"])
    with pytest.raises(
        DataError, match=r"row 2 .*'2 kg' is text where numbers were said \(2 of the 3"
    ):
        text.numbers()
    # The word is not among the rows taken, and so no fault of theirs.
    np.testing.assert_array_equal(text.take([0, 1]).numbers(), [1, np.nan])


def test_infinity_is_named():
    with pytest.raises(
        DataError, match=r"row 1 .*column 'c': the value -inf is infinite \(and 1 more"
    ):
        column([1.0, -np.inf, np.inf]).numbers()


def test_numbers_as_text():
    assert column([1, 20, None]).text().decode().tolist() == ["1", "20", None]
    assert column([0.5, 2.0]).text().decode().tolist() == ["0.5", "2.0"]
    assert column([True, False]).text().decode().tolist() == ["True", "False"]
