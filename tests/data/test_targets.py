"""TargetEncoder: which targets are classes, what labels come back, and which cannot be learnt."""

import json

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from chainrule.data import Table, TargetEncoder
from chainrule.data.delimited import read_delimited
from chainrule.errors import CheckpointError, DataError


def from_csv(*cells):
    text = "y,x\n" + "".join(f"{cell},1\n" for cell in cells)
    return read_delimited("t.csv", text.encode())["y"]


@pytest.mark.parametrize(
    ("target", "task"),
    [
        (["a", "b", "a", "b"], "classes"),
        ([True, False, True, False], "classes"),
        ([0, 1, 0, 1], "classes"),
        ([0.0, 1.0, 0.0, 1.0], "classes"),
        (list(range(10)) * 10, "classes"),
        (list(range(21)) * 10, "real"),
        ([1, 2, 3, 4, 5, 6], "real"),
        ([0.5, 1.0, 0.5, 1.0], "real"),
        (list(range(1000)), "real"),
    ],
)
def test_the_task_is_told_from_the_target(target, task):
    encoder = TargetEncoder().decide(target)
    assert encoder.task == task
    assert encoder.reason


labels = st.one_of(
    st.lists(st.text("abé ", min_size=1, max_size=3).map(str.strip).filter(bool), unique=True),
    st.lists(st.integers(-(2**53), 2**53), unique=True),
    st.lists(st.integers(-1000, 1000).map(float), unique=True),
    st.just([True, False]),
)


@given(labels, st.data())
def test_labels_come_back_as_they_were(classes, data):
    assume(len(classes) > 1)
    y = classes * 2 + data.draw(st.lists(st.sampled_from(classes), max_size=10))
    encoder = TargetEncoder("classes").fit(y)
    codes = encoder.transform(y)
    assert codes.dtype == np.int64
    assert codes.min() >= 0
    assert codes.max() == len(classes) - 1
    back = encoder.inverse(codes).tolist()
    assert back == y
    assert set(map(type, back)) == set(map(type, y))
    # np.unique is what scikit-learn's classes_ are.
    assert encoder.classes.tolist() == np.unique(y).tolist()
    loaded = TargetEncoder.from_dict(json.loads(json.dumps(encoder.to_dict())))
    assert loaded.classes.dtype == encoder.classes.dtype
    assert loaded.inverse(loaded.transform(y)).tolist() == y


@given(st.lists(st.floats(-1e300, 1e300), min_size=2), st.integers(0, 10**6))
def test_real_targets_are_standardised_and_come_back(values, seed):
    assume(np.ptp(np.array(values) / 1e300) * 1e300 > 1e-6 * max(map(abs, values)))
    encoder = TargetEncoder("real").fit(values)
    z = encoder.transform(values)
    assert z.dtype == np.float32
    assert abs(z.mean(dtype=np.float64)) < 1e-5
    np.testing.assert_allclose(z.std(dtype=np.float64), 1, rtol=1e-5)
    np.testing.assert_allclose(encoder.inverse(z), values, rtol=1e-5, atol=1e-5 * encoder.std)
    loaded = TargetEncoder.from_dict(json.loads(json.dumps(encoder.to_dict())))
    assert (loaded.mean, loaded.std) == (encoder.mean, encoder.std)


def test_mean_and_deviation_are_those_of_the_training_rows():
    y = Table.of({"y": [1.5, 2.5, 100.0]})["y"]
    encoder = TargetEncoder().decide(y).fit(y.take([0, 1]))
    assert (encoder.mean, encoder.std) == (2.0, 0.5)
    np.testing.assert_array_equal(encoder.transform(y), [-1, 1, 196])
    assert encoder.name == "y"


def test_all_classes_are_known_though_training_lacks_one():
    y = Table.of({"y": ["a", "b", "c", "a", "b", "c"]})["y"]
    encoder = TargetEncoder().decide(y).fit(y.take([0, 1, 3, 4]))
    assert encoder.transform(y).tolist() == [0, 1, 2, 0, 1, 2]


@pytest.mark.parametrize(
    ("cells", "classes"),
    [
        (["7", "3", "7", "3"], [3, 7]),
        (["1.0", "2.0", "1.0", "2.0"], [1.0, 2.0]),
        (["True", "False", "True", "False"], ["False", "True"]),
        (["01", "02", "01", "02"], ["01", "02"]),
        (["yes", "no", "yes", "no"], ["no", "yes"]),
    ],
)
def test_labels_from_a_file_keep_their_spelling(cells, classes):
    encoder = TargetEncoder().fit(from_csv(*cells))
    assert encoder.classes.tolist() == classes
    assert set(map(type, encoder.classes.tolist())) == {type(classes[0])}
    assert encoder.inverse(encoder.transform(from_csv(*cells))).tolist() == [
        type(classes[0])(cell) for cell in cells
    ]


@pytest.mark.parametrize(
    ("target", "task", "message"),
    [
        (
            ["a", None, "a", "b", "b"],
            "auto",
            r"missing in 1 of 5 rows: 3\..*table.take\(~table\['y'\]",
        ),
        (["a", "a", "b"], "auto", r"t.csv: row 4, column 'y': the class 'b' is seen once\."),
        ([1, 1, 2, 2, 3, 3, 4], "classes", r"the class 4 is seen once.*say task='real'"),
        (["a", "b", "c"], "auto", r"the class 'a' is seen once \(and 2 more such classes\)"),
        (["a", "a"], "auto", "has one class, 'a', in every row"),
        ([1, 1], "auto", "has one class, 1, in every row"),
        ([5, 5], "real", "is 5 in every row; there is nothing to learn"),
        (
            [1.5, 2.5],
            "classes",
            r"Unknown label type: continuous. t.csv: row 2, .*1.5 is a fraction",
        ),
        ([2**60, 2**60 + 1] * 2, "classes", r"beyond 2\*\*53"),
        (["1", "2", "x", "3"], "real", "row 4, column 'y': 'x' is text where numbers were said"),
        (["1.5", "inf", "3"], "auto", "row 3, column 'y': the value inf is infinite"),
        (["a"], "auto", "1 sample"),
        ([*range(30), "4O"], "auto", r"seen once \(.* read as text because 1 cell of 31 .*'4O'"),
    ],
)
def test_targets_that_cannot_be_learnt(target, task, message):
    cells = ["" if cell is None else cell for cell in target]
    with pytest.raises(DataError, match=message):
        TargetEncoder(task).fit(from_csv(*cells))


def test_labels_that_are_no_class():
    encoder = TargetEncoder().fit(from_csv("a", "b", "a", "b"))
    with pytest.raises(
        DataError, match=r"row 3, column 'y': 'c' is none of the classes .*'a', 'b'"
    ):
        encoder.transform(from_csv("a", "c"))
    numbers = TargetEncoder().fit([1, 3, 1, 3])
    for strange in (0, 2, 4, 2.5):
        with pytest.raises(DataError, match="is none of the classes learnt: 1, 3"):
            numbers.transform([1, strange])


def test_words_that_no_target_has_are_no_classes():
    y = Table.of({"y": ["a", "b", "c", "a", "c"]})["y"]
    encoder = TargetEncoder().fit(y.take([0, 2, 3, 4]))
    assert encoder.classes.tolist() == ["a", "c"]
    assert encoder.transform(y.take([2, 0])).tolist() == [1, 0]
    with pytest.raises(DataError, match=r"row 2 .*the class 'c' is seen once\. It"):
        TargetEncoder().fit(y.take([0, 2, 3]))


def test_missing_targets_after_training():
    for y in ([0.5, 1.5], ["a", "b", "a", "b"], [1, 2, 1, 2]):
        encoder = TargetEncoder().fit(y)
        with pytest.raises(DataError, match="the target 'y' is missing in 1 of 2 rows: 1"):
            encoder.transform([y[0], None])


def test_before_fit():
    with pytest.raises(DataError, match="has not learnt anything yet"):
        TargetEncoder().transform([1, 2])
    with pytest.raises(DataError, match="has not learnt anything yet"):
        TargetEncoder("real").decide([1.5, 2.5]).transform([1.5, 2.5])


def test_an_unknown_task_and_a_wrong_shape():
    with pytest.raises(DataError, match="task='regression' is not known"):
        TargetEncoder("regression")
    with pytest.raises(DataError, match=r"this one has \(2, 2\)"):
        TargetEncoder().fit(np.zeros((2, 2)))


@pytest.mark.parametrize(
    ("target", "spoil"),
    [
        ([0.5, 1.5], lambda d: d.pop("std")),
        ([0.5, 1.5], lambda d: d.update(mean=float("nan"))),
        ([0.5, 1.5], lambda d: d.update(task="other")),
        (["a", "b"] * 2, lambda d: d.update(classes=["a", 1])),
        (["a", "b"] * 2, lambda d: d.update(classes=[["a"]])),
        (["a", "b"] * 2, lambda d: d.update(classes=[])),
        (["a", "b"] * 2, lambda d: d.pop("task")),
    ],
)
def test_a_damaged_description_is_refused(target, spoil):
    description = TargetEncoder().fit(target).to_dict()
    TargetEncoder.from_dict(description)
    spoil(description)
    with pytest.raises(CheckpointError, match="the description of the target is not whole"):
        TargetEncoder.from_dict(description)
