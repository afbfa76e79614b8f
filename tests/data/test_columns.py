"""ColumnEncoder: against scikit-learn's encoders, and what prediction tables may do to it."""

import json
import math

import numpy as np
import pytest
from hypothesis import assume, example, given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from sklearn.impute import SimpleImputer
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder, StandardScaler

from chainrule.data import ColumnEncoder, Table
from chainrule.data.delimited import read_delimited
from chainrule.errors import CheckpointError, DataError

numbers = st.floats(-1e6, 1e6, width=32) | st.just(math.nan)
texts = st.sampled_from(["red", "green", "blue", "missing", "unknown", "Red", None])


def fitted(**columns):
    return ColumnEncoder().fit(Table.of(columns))


def mixed_table(rows):
    x, k, s, b = zip(*rows, strict=True)
    return Table.of({"x": list(x), "k": list(k), "s": list(s), "b": list(b)})


eighths = st.integers(-(10**6), 10**6).map(lambda i: i / 8) | st.none()
mixed_rows = st.lists(
    st.tuples(eighths, st.integers(-5, 5) | st.none(), texts, st.booleans() | st.none()),
    min_size=1,
    max_size=12,
)


def encoder_of(rows):
    table = mixed_table(rows)
    assume(not all(table[name].missing.all() for name in table.names))
    return ColumnEncoder().fit(table)


@given(hnp.arrays(np.float64, (12, 3), elements=numbers), st.integers(1, 12))
@example(np.full((12, 3), 0.1), 12)
@example(np.arange(36.0).reshape(12, 3) * 1e5 + 0.1, 6)
def test_numbers_are_imputed_and_standardised_as_by_scikit_learn(X, n):
    train = X[:n]
    assume(not np.isnan(train).all(axis=0).any())
    spread = np.nanmax(train, axis=0) - np.nanmin(train, axis=0)
    # Where training says nothing of other values we give 0, and scikit-learn the difference itself.
    assume(((spread > 1e-3) | (spread == 0)).all())
    oracle = make_pipeline(SimpleImputer(strategy="median"), StandardScaler()).fit(train)
    encoder = ColumnEncoder().fit(Table.from_arrays(train))
    features = [name for name in encoder.feature_names_out if "=" not in name]
    values = encoder.transform(Table.from_arrays(X))
    ours = values[:, [encoder.feature_names_out.index(name) for name in features]]
    expected = np.where(spread == 0, 0, oracle.transform(X))
    np.testing.assert_allclose(ours, expected, rtol=1e-5, atol=1e-5)
    for j in range(3):
        name = f"X{j}=missing"
        assert (name in encoder.feature_names_out) == np.isnan(train[:, j]).any()
        if name in encoder.feature_names_out:
            indicator = values[:, encoder.feature_names_out.index(name)]
            np.testing.assert_array_equal(indicator, np.isnan(X[:, j]))


@given(st.lists(st.text("abcé", min_size=1, max_size=3), min_size=1, max_size=15), st.data())
def test_categories_are_one_hot_as_by_scikit_learn(train, data):
    test = data.draw(st.lists(st.sampled_from([*train, "never seen"]), min_size=1))
    oracle = OneHotEncoder(handle_unknown="ignore", sparse_output=False)
    oracle.fit(np.array(train, dtype=object)[:, None])
    encoder = fitted(c=train)
    values, notes = encoder.encode(Table.of({"c": test}))
    expected = oracle.transform(np.array(test, dtype=object)[:, None])
    np.testing.assert_array_equal(values[:, :-1], expected)
    np.testing.assert_array_equal(values[:, -1], 1 - expected.sum(axis=1))
    assert encoder.feature_names_out == (*(f"c={c}" for c in sorted(set(train))), "c=unknown")
    assert bool(notes) == ("never seen" in test)


@given(mixed_rows, mixed_rows, st.permutations(["x", "k", "s", "b"]))
def test_prediction_tables_in_any_order_with_anything_in_them(train, test, order):
    encoder = encoder_of(train)
    table = mixed_table(test)
    values, notes = encoder.encode(table)
    assert values.dtype == np.float32
    assert values.shape == (len(test), len(encoder.feature_names_out))
    assert np.isfinite(values).all()
    again = encoder.encode(table.select(order))
    assert again.values.tobytes() == values.tobytes()
    assert again.notes == notes
    # Each one-hot column has one 1 in each row.
    for name in ("s", "b"):
        slots = [j for j, f in enumerate(encoder.feature_names_out) if f.startswith(f"{name}=")]
        if slots:
            assert (values[:, slots].sum(axis=1) == 1).all()


@given(mixed_rows, st.randoms())
def test_the_order_of_the_training_rows_does_not_matter(rows, random):
    encoder = encoder_of(rows)
    shuffled = rows.copy()
    random.shuffle(shuffled)
    other = encoder_of(shuffled)
    assert other.feature_names_out == encoder.feature_names_out
    np.testing.assert_allclose(
        other.transform(mixed_table(rows)), encoder.transform(mixed_table(rows)), atol=1e-5
    )


@given(mixed_rows, mixed_rows)
def test_json_keeps_every_bit(train, test):
    encoder = encoder_of(train)
    back = ColumnEncoder.from_dict(json.loads(json.dumps(encoder.to_dict(), allow_nan=False)))
    assert back.to_dict() == encoder.to_dict()
    assert back.dropped == encoder.dropped
    table = mixed_table(test)
    assert back.transform(table).tobytes() == encoder.transform(table).tobytes()
    assert back.encode(table).notes == encoder.encode(table).notes


@pytest.mark.parametrize(
    "spoil",
    [
        lambda d: d.pop("columns"),
        lambda d: d.pop("dropped"),
        lambda d: d["columns"][0].pop("mean"),
        lambda d: d["columns"][0].update(mean="x"),
        lambda d: d["columns"][0].update(std=math.inf),
        lambda d: d["columns"][0].update(kind="other"),
        lambda d: d["columns"][1].update(categories=["red"]),
        lambda d: d.update(columns=[3]),
        lambda d: d.update(dropped=[]),
    ],
)
def test_a_damaged_description_is_refused(spoil):
    description = fitted(x=[1.0, 2.0], c=["red", "blue"]).to_dict()
    ColumnEncoder.from_dict(description)
    spoil(description)
    with pytest.raises(CheckpointError, match="the description of the columns is not whole"):
        ColumnEncoder.from_dict(description)


def test_nothing_is_learnt_from_rows_that_are_not_given():
    table = Table.of({"x": [0.0, 2.0, 1e6], "c": ["a", "b", "z"]})
    encoder = ColumnEncoder().fit(table.take([0, 1]))
    assert encoder.feature_names_out == ("x", "c=a", "c=b", "c=unknown")
    np.testing.assert_array_equal(
        encoder.transform(table)[:2], np.array([[-1, 1, 0, 0], [1, 0, 1, 0]], dtype=np.float32)
    )


def test_missing_cells():
    encoder = fitted(
        x=[1.0, None, 3.0, 8.0], y=[1.0, 2, 3, 4], s=["a", None, "b", "a"], t=list("abab")
    )
    assert encoder.feature_names_out == (
        "x", "x=missing", "y", "s=a", "s=b", "s=missing", "s=unknown", "t=a", "t=b", "t=unknown",
    )  # fmt: skip
    values, notes = encoder.encode(Table.of({"x": [None], "y": [None], "s": [None], "t": [None]}))
    mean, std = np.mean([1, 3, 3, 8]), np.std([1, 3, 3, 8])
    expected = [(3 - mean) / std, 1, 0, 0, 0, 1, 0, 0, 0, 1]
    np.testing.assert_allclose(values[0], expected, rtol=1e-6)
    assert notes == [
        "column 'y': 1 cell is missing, where no training row had one missing; taken as the "
        "training median, 2.5",
        "column 't': 1 cell is not among the categories that were learnt (first nothing, the "
        "table: row 0 (counting from 0)); taken as unknown",
    ]


def test_categories_called_unknown_and_missing_share_the_slots():
    encoder = fitted(c=["unknown", "missing", "red", None])
    assert encoder.feature_names_out == ("c=missing", "c=red", "c=unknown")
    values = encoder.transform(Table.of({"c": [None, "missing", "blue", "unknown"]}))
    np.testing.assert_array_equal(values.argmax(axis=1), [0, 0, 2, 2])


def test_true_and_false_in_any_spelling():
    train = read_delimited("t.csv", b"b,x\ntrue,1\nFALSE,2\n")
    encoder = ColumnEncoder().fit(train)
    assert encoder.feature_names_out == ("b=false", "b=true", "b=unknown", "x")
    values = encoder.transform(read_delimited("p.csv", b"x,b\n1,True\n1,false\n1,perhaps\n"))
    np.testing.assert_array_equal(values[:, :3], [[0, 1, 0], [1, 0, 0], [0, 0, 1]])
    typed = encoder.transform(Table.of({"b": [True, False], "x": [1, 1]}))
    np.testing.assert_array_equal(typed[:, :3], [[0, 1, 0], [1, 0, 0]])


def test_categories_that_look_like_numbers_at_prediction():
    encoder = ColumnEncoder().fit(read_delimited("t.csv", b"c,x\n1.50,1\n2,2\nA,3\n"))
    values = encoder.transform(read_delimited("p.csv", b"c,x\n1.50,1\n2,1\n1.5,1\n"))
    assert encoder.feature_names_out[:4] == ("c=1.50", "c=2", "c=A", "c=unknown")
    np.testing.assert_array_equal(values[:, :4].argmax(axis=1), [0, 1, 3])


def test_missing_columns_are_named_and_others_ignored():
    encoder = fitted(height=[1.0, 2.0], colour=["a", "b"], size=[3.0, 4.0])
    with pytest.raises(DataError, match=r"lacks 'colour', 'size', .*Did you mean 'color'"):
        encoder.transform(Table.of({"height": [1.0], "color": ["a"]}))
    more = Table.of({"height": [1.0], "colour": ["a"], "size": [3.0], "extra": ["?"], "id": [7]})
    assert encoder.encode(more).notes == [
        "columns that training did not have are ignored: 'extra', 'id'"
    ]


def test_before_fit():
    with pytest.raises(DataError, match="has not learnt anything yet"):
        ColumnEncoder().transform(Table.of({"a": [1]}))


def test_infinity_in_a_feature():
    table = read_delimited("ages.csv", b"age,y\n31,0\n-inf,1\n")
    message = r"ages.csv: row 3, column 'age': the value -inf is infinite"
    with pytest.raises(DataError, match=message):
        ColumnEncoder().fit(table)
    with pytest.raises(DataError, match=message):
        fitted(age=[1.0, 2.0]).transform(table)


def test_text_where_numbers_were_said():
    table = read_delimited("ages.csv", b"age,y\n31,0\nforty,1\n,1\n")
    message = r"ages.csv: row 3, column 'age': 'forty' is text where numbers were said \(1 of the 2"
    with pytest.raises(DataError, match=message):
        ColumnEncoder(numeric=["age"]).fit(table)
    with pytest.raises(DataError, match=message):
        fitted(age=[1.0, 2.0]).transform(table)
    assert "age=forty" in ColumnEncoder().fit(table).feature_names_out


def test_a_column_that_is_text_because_of_a_few_cells_is_told():
    lines = [f"{i % 15}" for i in range(40)]
    table = read_delimited(
        "t.csv", ("a,b\n" + "".join(f"{v},1\n" for v in [*lines, "12O"])).encode()
    )
    (note,) = (n for n in ColumnEncoder().fit(table).notes if "'a'" in n)
    assert note == (
        "column 'a': It was read as text because 1 cell of 41 cannot be read as a number: the "
        "first is '12O', t.csv: row 42."
    )


def test_identifiers_are_dropped_with_a_reason():
    names = [f"person {i}" for i in range(30)]
    table = Table.of({"name": names, "x": range(30), "group": ["a", "b", "c"] * 10})
    encoder = ColumnEncoder().fit(table)
    assert encoder.dropped == {
        "name": "has 30 different texts in 30 rows, as identifiers, dates and free text do."
    }
    assert encoder.feature_names_out == ("x", "group=a", "group=b", "group=c", "group=unknown")
    assert encoder.transform(table.drop("name")).shape == (30, 5)
    assert encoder.encode(table).notes == []
    kept = ColumnEncoder(categorical=["name"]).fit(table)
    assert "name=person 7" in kept.feature_names_out


def test_rare_categories_share_unknown():
    often = [f"c{i:03}" for i in range(256) for _ in range(3)]
    encoder = fitted(c=[*often, "rare", "scarce"])
    assert len(encoder.feature_names_out) == 257
    assert encoder.notes == (
        "column 'c' has 258 categories; the 2 rarest share one feature, unknown",
    )
    assert encoder.transform(Table.of({"c": ["rare"]}))[0, 256] == 1


def test_declared_columns():
    table = Table.of({"code": [3, 1, 3], "n": ["1", "2", "4"]})
    encoder = ColumnEncoder(numeric=["n"], categorical=["code"]).fit(table)
    assert encoder.feature_names_out == ("code=1", "code=3", "code=unknown", "n")
    with pytest.raises(
        DataError, match=r"no column 'cod', which was declared. Did you mean 'code'"
    ):
        ColumnEncoder(numeric=["cod"]).fit(table)
    with pytest.raises(DataError, match="both numeric and categorical"):
        ColumnEncoder(numeric=["n"], categorical=["n"]).fit(table)


def test_columns_that_tell_nothing():
    encoder = fitted(empty=[None, None], same=[7.0, 7.0], x=[1.0, 2.0])
    assert encoder.dropped == {"empty": "has no value in any training row."}
    assert encoder.notes == ("columns with one value in all training rows tell nothing: 'same'",)
    # Nothing was learnt about a value other than 7, and so it must not reach an untrained weight.
    values = encoder.transform(Table.of({"same": [7.0, 5000.0], "x": [1.0, 2.0]}))
    np.testing.assert_array_equal(values[:, 0], [0, 0])
    with pytest.raises(DataError, match="no column is left to learn from: 'empty' has no value"):
        fitted(empty=[None, None])


@pytest.mark.parametrize("scale", [1e-300, 1e-30, 1.0, 1e30, 1e300])
def test_the_scale_of_a_column_does_not_matter(scale):
    x = np.array([1.0, 2.0, 4.0, np.nan])
    values = fitted(x=x * scale).transform(Table.of({"x": x * scale}))
    np.testing.assert_allclose(values, fitted(x=x).transform(Table.of({"x": x})), rtol=1e-6)


def test_rounding_noise_is_a_constant():
    # 0.1 + 0.2 and 0.3 differ in the last place; divided by their spread, they would be ±1.
    assert (fitted(x=[0.3, 0.1 + 0.2]).transform(Table.of({"x": [0.3, 0.1 + 0.2]})) == 0).all()


def test_numbers_too_large_to_compute_with():
    with pytest.raises(DataError, match=r"row 1 .*column 'x': 1.7e\+308 is too large"):
        fitted(x=[-1.7e308, 1.7e308, -1.7e308])
    with pytest.raises(
        DataError, match=r"row 1 .*column 'x': 1e\+200 is too far from the training"
    ):
        fitted(x=[1.0, 2.0]).transform(Table.of({"x": [1.0, 1e200]}))
