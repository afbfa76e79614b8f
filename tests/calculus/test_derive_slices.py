"""Slices in derivatives, written with indices: against NumPy's slicing."""

import numpy as np
import pytest

import chainrule as cr
from chainrule import nn

Z = np.arange(1.0, 13.0).reshape(3, 4)

# What is taken of z (3, 4), and what the index form of ∂(Σ taken²)/∂z says.
KEYS = [
    (np.s_[1:3], "2 · z[i, j] if i ≥ 1 else 0"),
    (np.s_[..., :2], "2 · z[i, j] if j < 2 else 0"),
    (np.s_[:, 1:3], "2 · z[i, j] if j ≥ 1 and j < 3 else 0"),
    (np.s_[1, 2:], "2 · z[1, j] if i = 1 and j ≥ 2 else 0"),
    (np.s_[:, None, -1], "2 · z[i, 3] if j = 3 else 0"),
]


@pytest.mark.parametrize(("key", "text"), KEYS, ids=[str(key) for key, _ in KEYS])
def test_the_gradient_of_a_part_says_where_it_goes(key, text):
    derived = cr.derive(lambda z: (z[key] ** 2).sum(), Z)
    assert derived.verified
    assert derived.index == f"∂f/∂z[i, j] = {text}"
    expected = np.zeros_like(Z)
    expected[key] = 2 * Z[key]
    np.testing.assert_array_equal(derived._index_form.evaluate({"z": Z}), expected)


@pytest.mark.parametrize(
    "key", [np.s_[::2], np.s_[:, ::-1], np.s_[2, ::-2], np.s_[None, 1:, 0], np.s_[:2, :3]]
)
def test_what_a_slice_takes_is_an_index(key):
    derived = cr.derive(lambda z, w: (z[key] * w).sum(), (Z, Z[key] + 1), wrt="w")
    assert derived.verified
    assert "getitem" not in derived.index
    np.testing.assert_array_equal(derived._index_form.evaluate({"z": Z, "w": Z[key]}), Z[key])


def test_what_is_put_is_shorter_than_the_axis():
    derived = cr.derive(lambda z, w: (z[:, :2] * w).sum(), (Z, Z[:, :2] + 1), wrt="z")
    assert derived.verified
    assert derived.index == "∂f/∂z[i, j] = w[i, j] if j < 2 else 0"
    expected = np.zeros_like(Z)
    expected[:, :2] = Z[:, :2] + 1
    found = derived._index_form.evaluate({"z": Z, "w": Z[:, :2] + 1})
    np.testing.assert_array_equal(found, expected)


def test_the_gates_of_an_lstm_are_written_out_with_their_numbers():
    cr.seed(0)
    cell = nn.LSTM(2, 3)
    x = np.random.default_rng(0).normal(size=(2, 2)).astype(np.float32)
    derivation = cr.explain(lambda x: cell(x)[0], x, np.zeros((2, 3)), loss=nn.mse_loss)
    steps = [s for s in derivation.steps if "back through lstm_update" in s.title]
    assert steps
    for step in steps:
        assert "getitem" not in step.formula.plain()
        assert step.elements
        assert step.verified


def test_the_matrix_form_writes_a_slice_as_python_does():
    derived = cr.derive(lambda z, w: (z[..., 1:3] * w).sum(), (Z, Z[:, 1:3] + 1), wrt="w")
    assert derived.matrix == "z[..., 1:3]"
    assert derived.latex() == "z[..., 1:3]"


def test_what_is_put_with_gaps_stays_one_operation():
    derived = cr.derive(lambda z: (z[::2] ** 2).sum(), Z)
    assert derived.verified
    assert "add_at(" in derived.index
    assert "[::2]" in derived.index
