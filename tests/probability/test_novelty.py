"""Scores of strangeness, the AUROC, what was seen of a table, and drift."""

import json
from typing import Any

import numpy as np
import pytest
from scipy import stats
from scipy.spatial.distance import mahalanobis
from sklearn.covariance import EmpiricalCovariance
from sklearn.discriminant_analysis import LinearDiscriminantAnalysis
from sklearn.metrics import roc_auc_score

from chainrule import probability as prob
from chainrule.data import ColumnEncoder, Table
from chainrule.errors import ChainruleError, CheckpointError, DataError, DTypeError, ShapeError
from chainrule.probability.novelty.described import Ecdf, chi_squared
from chainrule.probability.novelty.drift import holm

# ---- scores


def test_scores_of_outputs() -> None:
    rng = np.random.default_rng(0)
    logits = 3 * rng.standard_normal((50, 4))
    p = np.exp(logits) / np.exp(logits).sum(1, keepdims=True)
    np.testing.assert_allclose(prob.entropy_score(p), stats.entropy(p, axis=1), rtol=1e-9)
    np.testing.assert_allclose(prob.max_probability_score(p), 1 - p.max(1))
    for T in (0.5, 1.0, 20.0):
        np.testing.assert_allclose(
            prob.energy_score(logits, T), -T * np.log(np.exp(logits / T).sum(1)), rtol=1e-10
        )
    assert prob.energy_score([[1e4, 0.0]])[0] == -1e4
    draws = rng.dirichlet(np.ones(3), (7, 20))
    parts = stats.entropy(draws.mean(0), axis=1) - stats.entropy(draws, axis=2).mean(0)
    np.testing.assert_allclose(prob.disagreement_score(draws), parts, atol=1e-12)
    assert (prob.disagreement_score(draws[:1]) == 0).all()


def test_mahalanobis_distance() -> None:
    rng = np.random.default_rng(1)
    X = rng.standard_normal((300, 4)) @ rng.standard_normal((4, 4)) + 3
    new = 5 * rng.standard_normal((20, 4))
    made = prob.Mahalanobis().fit(X)
    oracle = EmpiricalCovariance().fit(X).mahalanobis(new)
    np.testing.assert_allclose(made.score(new), oracle, rtol=1e-9)
    np.testing.assert_allclose(made.parts(new).sum(1), oracle, rtol=1e-9)
    y = rng.integers(0, 3, 300)
    X[y == 1] += 4
    by_class = prob.Mahalanobis().fit(X, y)
    lda = LinearDiscriminantAnalysis(solver="lsqr", store_covariance=True).fit(X, y)
    inverse = np.linalg.inv(lda.covariance_)
    nearest = [min(mahalanobis(x, mean, inverse) ** 2 for mean in lda.means_) for x in new]
    np.testing.assert_allclose(by_class.score(new), nearest, rtol=1e-9)
    stored = prob.Mahalanobis.from_dict(json.loads(json.dumps(by_class.to_dict())))
    np.testing.assert_array_equal(stored.score(new), by_class.score(new))


def test_mahalanobis_of_few_directions_is_probabilistic_components() -> None:
    from sklearn.decomposition import PCA

    rng = np.random.default_rng(2)
    X, new = rng.standard_normal((200, 9)) * np.arange(1, 10), rng.standard_normal((10, 9))
    pca = PCA(3).fit(X)
    # scikit-learn divides the leading variances by n − 1, and so the rest.
    centred = new - pca.mean_
    oracle = np.einsum("ni,ij,nj->n", centred, pca.get_precision(), centred) * 200 / 199
    np.testing.assert_allclose(prob.Mahalanobis(rank=3).fit(X).score(new), oracle, rtol=1e-9)


def test_a_direction_that_never_varied_is_far() -> None:
    rng = np.random.default_rng(3)
    code = np.eye(3)[rng.integers(0, 3, 90)]
    made = prob.Mahalanobis().fit(np.concatenate([code, rng.standard_normal((90, 1))], 1))
    inside, both = made.score([[1.0, 0, 0, 0], [1.0, 1.0, 0, 0]])
    assert inside < 10 < 1e6 < both
    assert prob.Mahalanobis().fit(np.ones((5, 2))).score([[1.0, 1.0]]) == 0


# ---- AUROC


def test_auroc_is_scikit_learns() -> None:
    rng = np.random.default_rng(4)
    for ties in (False, True):
        a, b = rng.standard_normal(80), rng.standard_normal(60) + 0.8
        if ties:
            a, b = a.round(), b.round()
        found = prob.auroc(a, b)
        truth = np.r_[np.zeros(80), np.ones(60)]
        assert float(found) == pytest.approx(roc_auc_score(truth, np.r_[a, b]), abs=1e-12)
        # DeLong's structural components, by their definition.
        kernel = (b[:, None] > a) + 0.5 * (b[:, None] == a)
        variance = kernel.mean(1).var(ddof=1) / 60 + kernel.mean(0).var(ddof=1) / 80
        wide = stats.norm.ppf(0.975) * np.sqrt(variance)
        assert (found.low, found.high) == pytest.approx((float(found) - wide, float(found) + wide))


def test_auroc_intervals_cover() -> None:
    rng, hits = np.random.default_rng(5), 0
    truth = stats.norm.cdf(1 / np.sqrt(2))
    for _ in range(400):
        found = prob.auroc(rng.standard_normal(60), rng.standard_normal(60) + 1, confidence=0.9)
        hits += found.low <= truth <= found.high
    assert stats.binomtest(hits, 400, 0.9).pvalue > 0.01


def test_auroc_without_variance_proves_little() -> None:
    for inside, outside, value in (([0, 1, 2], [3, 4, 5], 1.0), ([1, 1], [1, 1], 0.5)):
        found = prob.auroc(inside, outside)
        assert float(found) == value
        assert found.low < 0.3


# ---- what was seen


def table(rng: np.random.Generator, n: int) -> np.ndarray:
    """Two columns that go together, one that does not, and one of heavy tails."""
    age = rng.normal(40, 10, n)
    return np.stack([age, 2 * age + rng.normal(0, 2, n), rng.random(n), rng.standard_t(2, n)], 1)


NAMES = ["age", "weight", "share", "tail"]


def test_false_alarms_keep_their_rate() -> None:
    rng, alarms = np.random.default_rng(6), []
    for _ in range(150):
        seen = prob.SeenRange(NAMES).fit(table(rng, 150), table(rng, 99))
        alarms.append(seen.check(table(rng, 20), rate=0.1).flagged.mean())
    # At most 0.1 by Bonferroni; the tests are nearly the same for the heavy tail, so well below.
    assert 0.03 < np.mean(alarms) < 0.1


def test_what_lies_outside_is_named() -> None:
    rng = np.random.default_rng(7)
    X = table(rng, 400)
    seen = prob.SeenRange(NAMES).fit(X[:300], X[300:])
    found = seen.check([[150.0, 80, 0.5, 0], [30.0, 110, 0.5, 0], [40.0, 80, 0.5, 0]])
    assert found.flagged.tolist() == [True, True, False]
    cell = found.outside[0][0]
    assert (cell.column, cell.value) == ("age", "150")
    assert cell.by == pytest.approx((150 - X[:300, 0].max()) / X[:300, 0].std())
    assert not found.outside[1]
    assert "no column by itself; what is unusual together is" in found.told(1)
    assert {name for name, _ in found.unusual[1][:2]} == {"age", "weight"}
    assert len(found.warnings) == 2
    assert "is like those that were seen" in found.told(2)
    json.dumps(found.to_dict(), allow_nan=False)


def mixed(rng: np.random.Generator, n: int, colours: str = "rgb") -> Table:
    return Table.of(
        {
            "age": [None if rng.random() < 0.1 else float(a) for a in rng.normal(40, 10, n)],
            "colour": rng.choice(list(colours), n).tolist(),
            "constant": [1.0] * n,
        }
    )


def test_encoded_tables_are_told_by_their_columns() -> None:
    rng = np.random.default_rng(8)
    train, held = mixed(rng, 300), mixed(rng, 99)
    encoder = ColumnEncoder().fit(train)
    seen = prob.SeenRange(encoder).fit(encoder.transform(train), encoder.transform(held))
    assert [c.name for c in seen.columns] == ["age", "age=missing", "colour", "constant"]
    new = Table.of(
        {"age": [200.0, None, 41.0], "colour": ["r", "g", "mauve"], "constant": [1.0] * 3}
    )
    found = seen.check(encoder.transform(new))
    assert found.flagged.tolist() == [True, False, True]
    assert str(found.outside[0][0]).startswith("age = 200 (seen: ")
    assert str(found.outside[2][0]) == "colour = unknown (seen: b, g, r)"
    stored = prob.SeenRange.from_dict(json.loads(json.dumps(seen.to_dict(), allow_nan=False)))
    again = stored.check(encoder.transform(new))
    assert again.warnings == found.warnings
    np.testing.assert_array_equal(again.p_value, found.p_value)
    later = encoder.transform(mixed(rng, 200, "rrrgb"))
    drift = stored.drift(later)
    assert [test.column for test in drift.drifted] == ["colour"]
    assert "'colour' (chi-squared" in str(drift)


def test_held_back_rows_with_new_categories_are_reckoned_with() -> None:
    """Where one held-back row in ten has a category of its own, such a row is no alarm at 5 %."""
    X = np.zeros((200, 2))
    X[:, 0] = 1
    held = X[:60].copy()
    held[:6] = [0, 1]
    encoder = ColumnEncoder()
    encoder.fit(Table.of({"colour": ["a"] * 200}))
    seen = prob.SeenRange(encoder).fit(X, held)
    assert not seen.check([[0.0, 1.0]]).flagged.any()
    assert seen.check([[0.0, 1.0]]).outside[0][0].column == "colour"
    assert prob.SeenRange.from_dict(seen.to_dict()).check([[0.0, 1.0]]).p_value[0] > 0.05


def test_too_few_held_back_rows_are_told() -> None:
    rng = np.random.default_rng(9)
    seen = prob.SeenRange().fit(table(rng, 100), table(rng, 30))
    found = seen.check(np.full((1, 4), 1e6))
    assert not found.flagged.any()
    assert found.notes == (
        "30 held-back rows are too few for a warning at a false-alarm rate of 0.05; it takes 39.",
    )
    enough = prob.SeenRange().fit(table(rng, 100), table(rng, 39)).check(np.full((1, 4), 1e6))
    assert enough.flagged.all()
    assert not enough.notes


# ---- drift


def test_kolmogorov_smirnov_is_scipys() -> None:
    rng = np.random.default_rng(10)
    for shift in (0.0, 0.3, 2.0):
        a, b = rng.standard_normal(200), rng.standard_normal(150).round(1) + shift
        oracle = stats.ks_2samp(a, b, method="asymp")
        found = Ecdf.of(a).kolmogorov_smirnov(b)
        assert found == pytest.approx((oracle.statistic, oracle.pvalue), rel=1e-9)
        tied = stats.ks_2samp(a.round(1), b, method="asymp")
        assert Ecdf.of(a.round(1)).kolmogorov_smirnov(b)[0] == pytest.approx(tied.statistic)
    many, fewer = rng.standard_normal(5000), rng.standard_normal(400) + 0.1
    exact = stats.ks_2samp(many, fewer, method="asymp").statistic
    found = Ecdf.of(many).kolmogorov_smirnov(fewer)[0]
    assert exact - 2 / 256 < found <= exact


def test_chi_squared_is_scipys() -> None:
    a, b = np.array([40, 60, 25, 0, 1]), np.array([30, 90, 40, 2, 3])
    pooled = np.array([[26, 40, 60], [45, 30, 90]])  # the three rarest together
    oracle = stats.chi2_contingency(pooled, correction=False)
    assert chi_squared(a, b) == pytest.approx((oracle.statistic, oracle.pvalue))
    whole = stats.chi2_contingency([a[:3], b[:3]], correction=False)
    assert chi_squared(a[:3], b[:3]) == pytest.approx((whole.statistic, whole.pvalue))
    assert chi_squared(np.array([5, 0]), np.array([1, 0])) == (0.0, 1.0)


def test_holm_by_hand() -> None:
    """Example: 0.01·4, then the running maximum of 0.02·3, 0.03·2 and 0.05."""
    np.testing.assert_allclose(holm([0.05, 0.01, 0.03, 0.02]), [0.06, 0.04, 0.06, 0.06])
    assert holm([0.9, 0.8]).tolist() == [1.0, 1.0]


def test_drift_is_found_and_seldom_where_there_is_none() -> None:
    rng, alarms = np.random.default_rng(11), 0
    for _ in range(100):
        seen = prob.SeenRange(NAMES).fit(table(rng, 200), table(rng, 80))
        alarms += bool(seen.drift(table(rng, 100), rate=0.1).drifted)
    assert stats.binomtest(alarms, 100, 0.1, alternative="greater").pvalue > 0.01
    assert alarms > 0
    moved = table(rng, 100)
    moved[:, 2] += 0.3
    found = seen.drift(moved)
    assert found.drifted[0].column == "share"
    together = table(rng, 100)
    together[:, 1] = rng.permutation(together[:, 1])  # each column as it was, not their pairs
    found = seen.drift(together)
    assert [test.column for test in found.drifted] == ["all columns together"]
    assert found.p_value < 0.001
    assert json.loads(json.dumps(found.to_dict()))["rows"] == 100
    assert "no proof" in str(seen.drift(table(rng, 30)))


# ---- bad input

X2 = np.array([[0.0, 1.0], [1.0, 3.0], [2.0, 2.0]])
SEEN = prob.SeenRange().fit(X2, X2)
WRONG: list[tuple[Any, type[ChainruleError], str]] = [
    (lambda: prob.energy_score([1.0]), ShapeError, "rows, classes"),
    (lambda: prob.energy_score(X2, 0), DataError, "above 0"),
    (lambda: prob.energy_score(X2, "1"), DTypeError, "number"),
    (lambda: prob.disagreement_score(X2), ShapeError, "draws, rows, classes"),
    (lambda: prob.entropy_score(X2), DataError, "softmax"),
    (lambda: prob.Mahalanobis().score(X2), DataError, "call fit"),
    (lambda: prob.Mahalanobis().fit(X2[:1]), DataError, "at least two"),
    (lambda: prob.Mahalanobis().fit(X2, [0, 2, 2]), DataError, "class 1"),
    (lambda: prob.Mahalanobis().fit(X2, [-1, 0, 0]), DataError, "-1"),
    (lambda: prob.Mahalanobis().fit(X2).score([[1.0]]), ShapeError, "features"),
    (lambda: prob.Mahalanobis(0), DataError, "at least one"),
    (lambda: prob.Mahalanobis(2.5), DTypeError, "whole number"),
    (lambda: prob.auroc([1.0], [1.0, 2.0]), DataError, "at least two"),
    (lambda: prob.auroc(X2, X2), ShapeError, "one number a row"),
    (lambda: prob.auroc([1.0, 2.0], [1.0, np.nan]), DataError, "finite"),
    (lambda: prob.SeenRange(["a"]).fit(X2, X2), ShapeError, "2 features, and 1"),
    (lambda: prob.SeenRange([1, 2]).fit(X2, X2), DTypeError, "names"),
    (lambda: prob.SeenRange().fit(X2, X2[:, :1]), ShapeError, "held_back 1"),
    (lambda: prob.SeenRange().fit(X2, X2[:0]), DataError, "no row"),
    (lambda: prob.SeenRange().check(X2), DataError, "call fit"),
    (lambda: SEEN.check(X2[:, :1]), ShapeError, "training rows had 2"),
    (lambda: SEEN.check(X2, rate=5), DataError, "between 0 and 1"),
    (lambda: SEEN.drift(X2[:0]), DataError, "no row"),
]  # fmt: skip


@pytest.mark.parametrize(("wrong", "kind", "text"), WRONG)
def test_bad_input_is_told(wrong: Any, kind: type[ChainruleError], text: str) -> None:
    with pytest.raises(kind, match=text):
        wrong()


@pytest.mark.parametrize("kind", [prob.SeenRange, prob.Mahalanobis])
def test_damaged_descriptions_are_told(kind: Any) -> None:
    made = SEEN if kind is prob.SeenRange else SEEN.distance
    for key in made.to_dict():
        with pytest.raises(CheckpointError, match="not whole"):
            kind.from_dict({k: v for k, v in made.to_dict().items() if k != key})
        with pytest.raises(CheckpointError, match="not whole"):
            kind.from_dict({**made.to_dict(), key: "x"})
