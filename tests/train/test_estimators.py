"""`Classifier` and `Regressor` as scikit-learn sees them."""

import numpy as np
import pytest
from sklearn.base import clone
from sklearn.datasets import load_diabetes, load_iris
from sklearn.model_selection import cross_val_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.utils.estimator_checks import check_estimator

import chainrule as cr


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize(
    "estimator",
    [cr.Classifier(hidden=(32,), epochs=40), cr.Regressor(hidden=(32,), epochs=60, dropout=0.0)],
    ids=["Classifier", "Regressor"],
)
def test_check_estimator(estimator):
    results = check_estimator(estimator, on_fail=None)
    failed = {r["check_name"]: repr(r["exception"]) for r in results if r["status"] == "failed"}
    assert not failed
    assert sum(r["status"] == "passed" for r in results) > 45


def test_iris_as_well_as_a_linear_model():
    X, y = load_iris(return_X_y=True)
    names = load_iris().target_names[y]
    assert cross_val_score(cr.Classifier(epochs=60), X, names, cv=3).mean() > 0.93


def test_diabetes_better_than_the_mean():
    X, y = load_diabetes(return_X_y=True)
    assert cross_val_score(cr.Regressor(epochs=40), X, y, cv=3).mean() > 0.4


def test_probabilities_add_up_and_agree_with_the_labels():
    X, y = load_iris(return_X_y=True)
    clf = cr.Classifier(epochs=20).fit(X, y)
    p = clf.predict_proba(X)
    assert p.shape == (150, 3)
    assert p.sum(1) == pytest.approx(np.ones(150))
    assert (clf.classes_[p.argmax(1)] == clf.predict(X)).all()
    assert clf.n_features_in_ == 4
    assert clf.n_iter_ == len(clf.history_.epochs)


def test_temperature_makes_smoothed_labels_sure_again():
    X, y = load_iris(return_X_y=True)
    clf = cr.Classifier(epochs=60).fit(X, y)
    assert clf.network_.temperature < 1  # smoothed labels were not sure enough


def test_the_same_seed_gives_the_same_network():
    X, y = load_iris(return_X_y=True)
    a, b, c = (cr.Classifier(epochs=3, seed=s).fit(X, y).predict_proba(X) for s in (1, 1, 2))
    assert a.tobytes() == b.tobytes() != c.tobytes()


def test_frames_with_text_and_holes():
    import polars as pl

    rng = np.random.default_rng(0)
    colour = rng.choice(["red", "blue"], 200)
    size = rng.normal(size=200)
    size[::17] = np.nan
    y = np.where(colour == "red", "warm", "cold")
    frame = pl.DataFrame({"size": size, "colour": colour})
    clf = cr.Classifier(hidden=(16,), epochs=60).fit(frame, y)
    assert clf.score(frame, y) > 0.95
    assert list(clf.feature_names_in_) == ["size", "colour"]
    # Columns in another order, and a colour that was never seen.
    assert (clf.predict(frame.select("colour", "size")) == clf.predict(frame)).all()
    assert clf.predict({"size": [0.0], "colour": ["green"]}).shape == (1,)
    with pytest.raises(cr.DataError, match="colour"):
        clf.predict(frame.select("size"))


def test_in_a_pipeline_and_cloned():
    X, y = load_iris(return_X_y=True)
    pipe = make_pipeline(StandardScaler(), clone(cr.Classifier(hidden=8, epochs=30)))
    assert pipe.fit(X, y).score(X, y) > 0.6


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"hidden": (0,)}, "hidden"),
        ({"hidden": "big"}, "hidden"),
        ({"activation": "step"}, "relu, gelu"),
        ({"dropout": 1.0}, "dropout"),
        ({"lr": -1}, "lr"),
        ({"epochs": 0}, "epochs"),
        ({"batch_size": 2.5}, "batch_size"),
        ({"seed": -1}, "seed"),
        ({"validation_fraction": 1.5}, "validation_fraction"),
        ({"label_smoothing": 2}, "label_smoothing"),
    ],
)
def test_bad_settings(options, says):
    X, y = load_iris(return_X_y=True)
    with pytest.raises(cr.DataError, match=says):
        cr.Classifier(**options).fit(X, y)


def test_bad_data():
    X, y = load_iris(return_X_y=True)
    holes = X.copy()
    holes[3, 1] = np.nan
    with pytest.raises(cr.DataError, match="row 3, column 1"):
        cr.Classifier().fit(holes, y)
    holes[3, 1] = np.inf
    with pytest.raises(cr.DataError, match="infinity"):
        cr.Regressor().fit(holes, y)
    with pytest.raises(cr.DataError, match="not fitted"):
        cr.Classifier().predict(X)
    with pytest.raises(cr.DataError, match="seen once"):
        cr.Classifier().fit(X, np.r_[y[:-1], 7])


def test_saved_and_loaded_predictions_are_equal(tmp_path):
    from chainrule.train import TableNetwork

    X, y = load_iris(return_X_y=True)
    clf = cr.Classifier(epochs=5).fit(X, y)
    clf.save(tmp_path / "iris.safetensors")
    network = TableNetwork.load(tmp_path / "iris.safetensors")
    outputs, _ = network.outputs(cr.data.Table.from_arrays(X))
    assert (network.probabilities(outputs) == clf.predict_proba(X)).all()
    cr.save(clf.network_.model, tmp_path / "bare.safetensors")
    with pytest.raises(cr.CheckpointError, match=r"cr\.load"):
        TableNetwork.load(tmp_path / "bare.safetensors")
