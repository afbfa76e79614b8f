"""check_arrays: what scikit-learn refuses is refused, in words that its users know."""

import re
import warnings

import numpy as np
import pytest
from scipy import sparse
from sklearn.exceptions import DataConversionWarning
from sklearn.utils.validation import check_X_y

from chainrule.data import check_arrays, check_features
from chainrule.errors import DataError, DTypeError

X = np.arange(6.0).reshape(3, 2)
Y = np.array([0, 1, 0])
NAN, INF = X.copy(), X.copy()
NAN[2, 1], INF[1, 0] = np.nan, -np.inf
DICT = X.astype(object)
DICT[0, 0] = {"foo": "bar"}


# The last entry of each: what stands in our message, and in scikit-learn's where it is checked.
@pytest.mark.parametrize(
    ("X", "y", "phrase"),
    [
        (NAN, Y, "Input X contains NaN"),
        (INF, Y, "Input X contains infinity or a value too large for dtype('float64')"),
        (X[:, 0], Y, "Reshape your data either using array.reshape(-1, 1)"),
        (np.float64(3), Y, "Expected 2D array, got scalar array instead"),
        (np.zeros((0, 2)), Y[:0], "0 sample(s) (shape=(0, 2)) while a minimum of 1 is required"),
        (np.zeros((3, 0)), Y, "0 feature(s) (shape=(3, 0)) while a minimum of 1 is required"),
        (X, Y[:2], "Found input variables with inconsistent numbers of samples"),
        (X, None, "requires y to be passed, but the target y is None"),
        (X * 1j, Y, "Complex data not supported"),
        (X, X, "y should be a 1d array, got an array of shape (3, 2) instead"),
        (X, [0.0, np.nan, 1.0], "Input y contains NaN"),
        (
            X,
            [0.0, np.inf, 1.0],
            "Input y contains infinity or a value too large for dtype('float64')",
        ),
    ],
)
def test_the_messages_are_those_of_scikit_learn(X, y, phrase):
    with pytest.raises(ValueError, match=re.escape(phrase)):
        check_X_y(X, y)
    with pytest.raises(DataError, match=re.escape(phrase)):
        check_arrays(X, y)


@pytest.mark.parametrize(
    ("X", "y", "message"),
    [
        (NAN, Y, r"1 of 6 values; the first is at row 2, column 1: X\[2, 1\]\. Impute"),
        (INF, Y, r"row 1, column 0: X\[1, 0\]"),
        (X.reshape(3, 2, 1), Y, r"got 3D array .*X.reshape\(len\(X\), -1\)"),
        (sparse.csr_array(X), Y, "Sparse data was passed for X, but dense data is required"),
        (X, sparse.csr_array(X), "Sparse data was passed for y"),
        ([["a", "b"]] * 3, Y, "X has dtype <U1.*Text is encoded as categories"),
        (np.array([[1.5, "x"]] * 3, dtype=object), Y, r"X\[0, 1\] is 'x', which is not a number"),
        (np.array([[1.5, None]] * 3, dtype=object), Y, r"contains NaN.*X\[0, 1\]"),
        ([[1, 2], [3]], Y[:2], "X, a list, cannot be made an array"),
        (X, np.array(["a", None, "b"], dtype=object), r"Input y contains NaN: .* y\[1\]"),
        (X, [0.0, np.nan, np.nan], r"2 of 3 values; the first is at y\[1\]"),
        (X, np.zeros(3, complex), "Complex data not supported: y is complex"),
    ],
)
def test_the_place_is_named(X, y, message):
    with pytest.raises(DataError, match=message):
        check_arrays(X, y)


def test_an_object_that_is_no_number_is_a_type_error():
    with pytest.raises(
        DTypeError, match=r"X\[0, 0\] is a dict: .* argument must be a string or a"
    ) as e:
        check_features(DICT)
    assert isinstance(e.value, TypeError)


def test_a_column_vector_is_taken_with_a_warning():
    with pytest.warns(DataConversionWarning, match="A column-vector y was passed when a 1d array"):
        _, y = check_arrays(X, Y[:, None])
    assert (y == Y).all()


def test_the_number_of_features():
    with pytest.raises(
        DataError, match="X has 2 features, but Classifier is expecting 3 features as input"
    ):
        check_features(X, estimator="Classifier", n_features=3)
    assert check_features(X, n_features=2) is X


@pytest.mark.parametrize(
    ("dtype", "becomes"),
    [
        (np.float32, np.float32), (np.float64, np.float64), (np.float16, np.float32),
        (np.int64, np.float64), (np.uint8, np.float64), (bool, np.float64), (object, np.float64),
    ],
)  # fmt: skip
def test_dtypes(dtype, becomes):
    given = np.array([[0, 1], [1, 1]]).astype(dtype)
    with warnings.catch_warnings(action="error"):
        made = check_features(given)
    assert made.dtype == becomes
    np.testing.assert_array_equal(made, [[0, 1], [1, 1]])


def test_finite_numbers_whose_sum_is_not_are_accepted():
    large = np.full((3, 2), 1e308)
    assert check_features(large) is large


def test_labels_keep_their_type():
    for y in (["a", "b", "a"], [True, False, True], np.array([1, 2, 1], dtype=np.int8)):
        assert check_arrays(X, y)[1].dtype == np.asarray(y).dtype
