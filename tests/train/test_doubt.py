"""What is stored with a network about how far its answers hold, and what is refused."""

import json

import numpy as np
import pytest
from scipy.special import softmax
from scipy.stats import betabinom, kstest

import chainrule as cr
from chainrule import nn
from chainrule.data import ColumnEncoder, Table
from chainrule.train import TableNetwork
from chainrule.train import tabular as tabular_module
from chainrule.train.doubt import Doubt, share_held
from chainrule.train.last_layer import LastLayer


def blobs(rows, seed):
    """Two classes that overlap, so that scores are continuous and answers are often wrong."""
    rng = np.random.default_rng(seed)
    y = rng.integers(0, 2, rows)
    return rng.normal(size=(rows, 2)) + y[:, None], np.array(["no", "yes"])[y]


def line(rows, seed, noise=1.0):
    rng = np.random.default_rng(seed)
    x = rng.uniform(-1, 1, (rows, 1))
    return x, 5 + 3 * x[:, 0] + rng.normal(0, noise, rows)


@pytest.fixture(scope="module")
def classifier():
    return cr.Classifier(hidden=(8,), epochs=40, lr=0.02).fit(*blobs(400, 0))


@pytest.fixture(scope="module")
def regressor():
    return cr.Regressor(hidden=(8,), epochs=40, lr=0.02).fit(*line(400, 0))


# ---- which rows


def test_no_row_that_chose_the_epoch_calibrates(monkeypatch):
    seen = {}

    def spy(model, encoder, train, stopping, held, *, classes):
        seen.update(train=train[0], stopping=stopping[0], held=held[0])

    def fit(model, data, *, validation, **rest):
        seen.update(fitted=data[0], validation=validation[0])
        return original(model, data, validation=validation, **rest)

    original = tabular_module.fit
    monkeypatch.setattr(Doubt, "measured", spy)
    monkeypatch.setattr(tabular_module, "fit", fit)
    X, y = line(200, 1)
    cr.Regressor(hidden=(4,), epochs=1).fit(X, y)
    assert seen["stopping"].tobytes() == seen["validation"].tobytes()
    assert seen["train"].tobytes() == seen["fitted"].tobytes()
    sizes = [len(seen[name]) for name in ("train", "stopping", "held")]
    assert sizes == [170, 15, 15]
    together = np.concatenate([seen[name] for name in ("train", "stopping", "held")])
    assert len(np.unique(together)) == 200  # no row is in two parts


@pytest.mark.parametrize(("rows", "held"), [(0, 0), (17, 0), (18, 9), (180, 90), (90_000, 10_000)])
def test_how_many_rows_calibrate(rows, held):
    assert round(share_held(rows) * rows) == held


# ---- what is promised


def coverages(monkeypatch, make, data, covered, seeds, new):
    """How surprising each seed's coverage of new rows is: (seeds,), uniform if the law holds.

    The network is left untrained: the law is the same whatever it is worth.
    """
    monkeypatch.setattr(tabular_module, "fit", lambda model, *given, **options: None)
    rng, found = np.random.default_rng(0), []
    for seed in range(seeds):
        estimator = make(seed).fit(*data(140, seed))
        n = estimator.network_.doubt.rows
        k = int(np.ceil((n + 1) * 0.8))
        count = covered(estimator, *data(new, 10_000 + seed)).sum()
        law = betabinom(new, k, n + 1 - k)
        found.append(law.cdf(count - 1) + rng.random() * law.pmf(count))  # randomised, as discrete
    return np.array(found)


def test_sets_cover_by_the_beta_binomial_law(monkeypatch):
    def covered(clf, X, y):
        return clf.predict_set(X, coverage=0.8)[np.arange(len(y)), np.searchsorted(clf.classes_, y)]

    u = coverages(
        monkeypatch, lambda s: cr.Classifier(hidden=(4,), seed=s), blobs, covered, 100, 300
    )
    assert kstest(u, "uniform").pvalue > 0.01


def test_intervals_cover_by_the_beta_binomial_law(monkeypatch):
    def covered(reg, X, y):
        low, high = reg.predict_interval(X, coverage=0.8).T
        return (low <= y) & (y <= high)

    u = coverages(monkeypatch, lambda s: cr.Regressor(hidden=(4,), seed=s), line, covered, 100, 300)
    assert kstest(u, "uniform").pvalue > 0.01


def test_sets_are_the_published_ones(classifier):
    """LAC from its definition, on the rows that were held back."""
    network, (X, _) = classifier.network_, blobs(50, 7)
    scores = np.sort(network.doubt.conformal.cells.scores[None, None])
    assert len(scores) == network.doubt.rows == 30
    q = scores[int(np.ceil(31 * 0.9)) - 1]
    outputs = network.outputs(Table.from_arrays(X))[0].astype(np.float64)
    p = softmax(outputs / network.doubt.temperature, 1)
    assert (classifier.predict_set(X, 0.9) == (1 - p <= q)).all()
    assert (classifier.predict_set(X, 0.5) <= classifier.predict_set(X, 0.9)).all()


def test_probabilities_are_recalibrated_where_it_helps():
    """Labels of which a part is wrong: what the stored recalibrator makes of the outputs."""
    X, y = blobs(200, 3)
    clf = cr.Classifier(hidden=(8,), epochs=3).fit(X, y)
    doubt, outputs = clf.network_.doubt, clf.network_.outputs(Table.from_arrays(X[:5]))[0]
    doubt = Doubt(**{**vars(doubt), "recalibrator": cr.probability.TemperatureScaling()})
    doubt.recalibrator.fit(4 * outputs, np.array([0, 1, 0, 1, 0]))
    clf.network_.doubt = doubt
    expected = softmax(outputs.astype(np.float64) / doubt.recalibrator.temperature, 1)
    assert clf.predict_proba(X[:5]) == pytest.approx(expected, abs=1e-12)
    assert (clf.predict(X[:5]) == clf.classes_[expected.argmax(1)]).all()


# ---- noise and what the rows leave open


def test_the_last_layer_of_a_real_target_is_bayesian_linear_regression():
    rng = np.random.default_rng(0)
    features, noise = rng.normal(size=(40, 3)).astype(np.float32), 0.5
    layer = nn.Linear(3, 1)
    y = features @ np.array([1.0, -2.0, 0.5], np.float32) + 0.3
    found = LastLayer.fitted(layer, features, y + rng.normal(0, noise, 40), noise=noise)
    phi = np.column_stack([features.astype(np.float64), np.ones(40)])
    gram = phi.T @ phi / noise**2
    prior = (found.right.T @ (np.zeros((4, 4)) - gram) @ found.right).diagonal() + found.precision
    assert prior == pytest.approx(np.full((1, 4), prior[0, 0]), rel=1e-6)  # one number for all
    inverse = np.linalg.inv(gram + prior[0, 0] * np.eye(4))
    new = rng.normal(size=(5, 3))
    wide = np.column_stack([new, np.ones(5)])
    exact = np.einsum("ni,ij,nj->n", wide, inverse, wide)
    assert found.spread(new)[:, 0] == pytest.approx(exact, rel=1e-6)


def test_draws_of_classes_have_the_covariance_that_is_said():
    rng = np.random.default_rng(0)
    features, layer = rng.normal(size=(60, 2)).astype(np.float32), nn.Linear(2, 3)
    last = LastLayer.fitted(layer, features, rng.integers(0, 3, 60), noise=None)
    draws = last.draws(np.zeros((1, 3)), np.array([[2.0, -1.0]]), 100_000)[:, 0]
    exact = last.left @ np.diag(last.spread(np.array([[2.0, -1.0]]))[0]) @ last.left.T
    assert np.cov(draws.T) == pytest.approx(exact, abs=0.05 * np.abs(exact).max())


def test_standard_deviation_is_that_of_new_rows(regressor):
    X, y = line(4000, 9)
    std = regressor.predict_std(X)
    assert std.shape == (4000,)
    missed = np.sqrt(np.mean((y - regressor.predict(X)) ** 2))
    assert np.sqrt(np.mean(std**2)) == pytest.approx(missed, rel=0.3)  # 30 rows know it to ±13 %


def test_the_variance_fits_the_rows_held_back(regressor):
    """The mean of (y − ŷ)²/variance over them is 1; their scores are |y − ŷ|/σ before scaling."""
    doubt, model = regressor.network_.doubt, regressor.network_.model
    factor = np.mean(doubt.conformal.cells.scores[None, None] ** 2)
    aleatoric, epistemic = doubt.deviations(model, np.zeros((1, 1), np.float32))
    assert aleatoric**2 == pytest.approx(factor * doubt.noise**2)
    hidden = np.maximum(model[0].bias.numpy(), 0)[None]
    assert epistemic**2 == pytest.approx(factor * doubt.last.spread(hidden)[:, 0], rel=1e-5)


def test_far_away_more_is_left_open(regressor, classifier):
    table = Table.from_arrays(np.array([[0.0], [20.0]]))
    aleatoric, epistemic = regressor.network_.uncertainty(table)
    assert aleatoric[0] == aleatoric[1]
    assert epistemic[1] > 3 * epistemic[0] > 0
    table = Table.from_arrays(np.array([[0.5, 0.5], [5.0, 5.0]]))
    aleatoric, epistemic = classifier.network_.uncertainty(table)
    assert aleatoric[0] > 2 * aleatoric[1]  # between the classes
    assert (epistemic >= 0).all()
    assert (aleatoric + epistemic <= np.log(2)).all()


def test_target_units(monkeypatch):
    """A target in other units: everything is in those."""
    X, y = line(200, 4)
    a = cr.Regressor(hidden=(4,), epochs=2).fit(X, y)
    b = cr.Regressor(hidden=(4,), epochs=2).fit(X, 1000 * y - 7)
    assert b.predict_std(X) == pytest.approx(1000 * a.predict_std(X), rel=1e-3)
    wanted = 1000 * a.predict_interval(X) - 7
    assert b.predict_interval(X) == pytest.approx(wanted, rel=1e-3, abs=1)


def test_a_row_does_not_depend_on_those_beside_it(classifier):
    X, _ = blobs(30, 5)
    whole = classifier.network_.uncertainty(Table.from_arrays(X))
    alone = classifier.network_.uncertainty(Table.from_arrays(X[3:4]))
    assert [part[0] for part in alone] == pytest.approx([part[3] for part in whole], rel=1e-4)


def test_no_random_number_is_taken(classifier):
    X, _ = blobs(5, 5)
    cr.seed(3)
    first = cr.random.normal((4,)).numpy()
    cr.seed(3)
    classifier.predict_set(X)
    classifier.network_.uncertainty(Table.from_arrays(X))
    assert (cr.random.normal((4,)).numpy() == first).all()


def test_an_exact_fit_is_no_error():
    x = np.linspace(-1, 1, 40, dtype=np.float32)[:, None]
    model = nn.Sequential(nn.Linear(1, 1)).eval()
    model.load_state_dict({"0.weight": [[2.0]], "0.bias": [0.0]})
    rows, encoder = (x, 2 * x[:, 0]), ColumnEncoder().fit(Table.from_arrays(x))
    doubt = Doubt.measured(model, encoder, rows, rows, rows, classes=False)
    aleatoric, epistemic = doubt.deviations(model, x)
    assert (aleatoric > 0).all()
    assert np.hypot(aleatoric, epistemic).max() < 1e-5
    found = doubt.intervals(model, x, 0.9)
    assert (found.low <= found.high).all()


# ---- stored


def test_saved_and_loaded(classifier, regressor, tmp_path):
    for estimator in (classifier, regressor):
        estimator.save(tmp_path / "model")
        network, again = estimator.network_, TableNetwork.load(tmp_path / "model")
        table = table_of(estimator)
        outputs = network.outputs(table)[0]
        assert (again.labels(outputs) == network.labels(outputs)).all()
        assert np.concatenate(again.uncertainty(table)) == pytest.approx(
            np.concatenate(network.uncertainty(table)), rel=1e-4
        )
        assert again.familiarity(table).to_dict() == network.familiarity(table).to_dict()
        assert str(again.doubt) == str(network.doubt)
        if estimator is classifier:
            assert (again.sets(table).members == network.sets(table).members).all()
        else:
            found, own = np.asarray(again.intervals(table)), np.asarray(network.intervals(table))
            assert found == pytest.approx(own, rel=1e-5)


def table_of(estimator):
    return Table.from_arrays(
        np.linspace(-1, 1, 6).reshape(-1, 1).repeat(estimator.n_features_in_, 1)
    )


def test_files_without_it_still_load(classifier, tmp_path):
    network, path = classifier.network_, tmp_path / "old"
    described = {
        "encoder": network.encoder.to_dict(),
        "target": network.target.to_dict(),
        "settings": {**vars(network.settings), "hidden": list(network.settings.hidden)},
    }
    cr.save(network.model, path, metadata={"table": described})
    old, table = TableNetwork.load(path), table_of(classifier)
    outputs = old.outputs(table)[0]
    assert old.probabilities(outputs) == pytest.approx(softmax(outputs.astype(np.float64), 1))
    with pytest.raises(cr.DataError, match="earlier version"):
        old.sets(table)


@pytest.mark.parametrize(
    "change",
    [
        lambda d: d.pop("rows"),
        lambda d: d["last"].pop("left"),
        lambda d: d["last"]["right"].update(shape=[2, 2]),
        lambda d: d["last"]["right"].update(float32="?"),
        lambda d: d["recalibrator"].update(method="magic"),
        lambda d: d.update(conformal=None),
        lambda d: d.update(seen={}),
    ],
)
def test_damaged_descriptions(classifier, change):
    data = json.loads(json.dumps(classifier.network_.doubt.to_dict()))
    change(data)
    with pytest.raises(cr.CheckpointError, match="not whole"):
        Doubt.from_dict(data)


# ---- too few rows


def test_too_few_rows_are_said():
    X, y = line(60, 2)
    reg = cr.Regressor(hidden=(4,), epochs=2).fit(X, y)
    for ask in (reg.predict_interval, reg.predict_std):
        with pytest.raises(cr.DataError, match=r"18 validation rows.*validation_fraction=0\.3"):
            ask(X)
    clf = cr.Classifier(hidden=(4,), epochs=2).fit(X, y > 5)
    with pytest.raises(cr.DataError, match="CrossConformalClassifier"):
        clf.predict_set(X)
    more = cr.Regressor(hidden=(4,), epochs=2, validation_fraction=0.3).fit(X, y)
    assert more.predict_interval(X, 0.9).shape == (60, 2)
    with pytest.raises(cr.DataError, match=r"9 rows were held back.*0\.95 takes 19.*at most 0\.9,"):
        more.predict_interval(X, 0.95)


@pytest.mark.parametrize("coverage", [0, 1, 1.5, -1])
def test_coverage_is_a_share(regressor, coverage):
    with pytest.raises(cr.DataError, match="coverage"):
        regressor.predict_interval([[0.0]], coverage)
    with pytest.raises(cr.DTypeError, match="coverage"):
        regressor.predict_interval([[0.0]], "high")


def test_before_fit():
    for ask in (cr.Classifier().predict_set, cr.Regressor().predict_interval):
        with pytest.raises(cr.DataError, match="not fitted"):
            ask([[0.0]])
