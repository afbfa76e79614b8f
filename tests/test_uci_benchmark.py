"""The comparison on the UCI sets runs, on a set made here; its figures are not judged."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from benchmarks import uci

ROOT = Path(__file__).parents[1]


@pytest.fixture
def folder(tmp_path):
    """y = 3 x₀ + 10 + noise of 0.5, in the authors' files; 60 rows, 6 of them for the test."""
    own, rng = tmp_path / "yacht", np.random.default_rng(0)
    own.mkdir()
    x = rng.normal(size=(60, 3))
    np.savetxt(own / "data.txt", np.column_stack([x, 3 * x[:, 0] + 10 + 0.5 * rng.normal(size=60)]))
    np.savetxt(own / "index_features.txt", [0, 1, 2])
    np.savetxt(own / "index_target.txt", [3])
    for k in range(uci.SPLITS):
        order = np.random.default_rng(k).permutation(60)
        np.savetxt(own / f"index_train_{k}.txt", order[:54])
        np.savetxt(own / f"index_test_{k}.txt", order[54:])
    return tmp_path


def test_parts_are_standardised_by_what_is_learnt_from_alone(folder):
    inner, outer = uci.read(folder / "yacht")
    assert inner.x.shape == (20, 43, 3)
    assert inner.x_test.shape == (20, 11, 3)
    assert outer.x.shape == (20, 54, 3)
    np.testing.assert_allclose(outer.x.mean(1), 0, atol=1e-6)
    np.testing.assert_allclose(outer.y.std(1), 1, atol=1e-5)
    back = outer.y * outer.scale + outer.mean
    rows = np.loadtxt(folder / "yacht" / "index_train_3.txt").astype(int)
    np.testing.assert_allclose(back[3], np.loadtxt(folder / "yacht" / "data.txt")[rows, 3], 1e-5)
    np.testing.assert_allclose(back[:, 43:], inner.y_test, 1e-5)  # what is held out is the last


def test_both_methods_learn(folder, monkeypatch):
    monkeypatch.setattr(uci, "DROPOUT_STEPS", 300)
    monkeypatch.setattr(uci, "DRAWS", 30)
    monkeypatch.setattr(uci, "CHECKPOINTS", (40,))
    monkeypatch.setattr(uci, "LEARNING_RATES", (3e-2,))
    monkeypatch.setitem(uci.TAUS, "yacht", (1.0, 4.0, 9.0))
    parts = uci.read(folder / "yacht")
    for method in (uci.dropout, uci.ensemble):
        rmse, density = method("yacht", *parts).mean(0)
        assert 0.4 < rmse < 1.2, method.__name__
        # Of the true normal it is −½ ln 2πe σ² = −0.73, and of y's own spread −2.5.
        assert -1.7 < density < -0.5, method.__name__


def test_scores_are_those_of_a_normal_and_of_a_mixture():
    rmse, density = uci.scores(np.zeros((1, 2)), 4.0, np.array([2.0, -2.0]))
    assert rmse == 2.0
    assert density == pytest.approx(-0.5 * np.log(2 * np.pi * 4) - 0.5)
    _, density = uci.scores(np.array([[0.0], [2.0]]), 1.0, np.array([0.0]))
    normal = np.exp(-0.5 * np.array([0.0, 4.0])) / np.sqrt(2 * np.pi)
    assert density == pytest.approx(np.log(normal.mean()))


def test_a_missing_set_is_said(tmp_path):
    done = subprocess.run(
        [sys.executable, "-m", "benchmarks.uci", str(tmp_path)],
        cwd=ROOT, capture_output=True, text=True,
    )  # fmt: skip
    assert done.returncode == 2
    assert f"{tmp_path / 'yacht' / 'data.txt'} is not there" in done.stderr
