"""Methods side by side, and the distances between what they predict."""

import json

import numpy as np
import pytest
from scipy import stats

import chainrule as cr
from chainrule import nn
from chainrule.errors import DataError
from chainrule.posteriors.compare import compare, distances
from chainrule.posteriors.predictive import ClassPredictive, RealPredictive

QUICK = {
    "hmc": {"draws": 40, "warmup": 40, "chains": 2},
    "variational": {"epochs": 50},
    "ensemble": {"members": 2, "epochs": 3},
}


def test_distances_of_classes():
    p = ClassPredictive(np.array([[[0.5, 0.5, 0.0], [0.2, 0.3, 0.5]]]))
    r = ClassPredictive(np.array([[[0.3, 0.7, 0.0], [0.2, 0.3, 0.5]]]))
    found = distances(p, r)
    assert found["total variation"] == pytest.approx(0.1)
    assert found["divergence"] == pytest.approx(stats.entropy([0.3, 0.7], [0.5, 0.5]) / 2)
    assert found["disagreement"] == 0.5
    assert set(distances(r, r).values()) == {0.0}


def test_distances_of_real_targets():
    r = RealPredictive(np.array([[0.0, 1.0]]), np.array([[4.0, 4.0]]))
    moved = RealPredictive(r.means + 1, r.noise)
    wide = RealPredictive(r.means, r.noise * 4)
    assert distances(moved, r) == pytest.approx(
        {"mean": 0.5, "std": 0, "wasserstein": 0.5}, rel=1e-3
    )
    # W₁ of N(0, a²) and N(0, b²) is (b − a) √(2/π).
    wanted = {"mean": 0, "std": np.log(2), "wasserstein": np.sqrt(2 / np.pi)}
    assert distances(wide, r) == pytest.approx(wanted, rel=1e-3)


def test_every_method_has_a_row_and_the_reference_is_last():
    cr.seed(0)
    rng = np.random.default_rng(0)
    X = rng.normal(size=(30, 2))
    y = (X[:, 0] > 0).astype(int)
    model = nn.Sequential(nn.Linear(2, 3), nn.Tanh(), nn.Linear(3, 2))
    before = model.state_dict()
    found = compare(model, (X, y), X[:5], samples=50, options=QUICK)
    assert found.methods == ("point", "dropout", "ensemble", "laplace", "variational", "hmc")
    assert "nn.Dropout" in found["dropout"].failed
    for method in ("point", "ensemble", "laplace", "variational", "hmc"):
        row = found[method]
        assert not row.failed
        assert row.distances["total variation"] >= 0
        assert row.seconds > 0
    assert found["point"].epistemic == 0
    assert json.loads(json.dumps(found.to_dict()))["reference"] == "hmc"
    assert all((before[k] == v).all() for k, v in model.state_dict().items())
    with pytest.raises(DataError, match="not compared"):
        found["swag"]


def test_without_a_reference_there_is_nothing():
    with pytest.raises(DataError, match="no reference"):
        compare(
            nn.Linear(2, 1), (np.zeros((3, 2)), np.zeros(3)), np.zeros((1, 2)),
            options={"hmc": {"draws": 1}},
        )  # fmt: skip
