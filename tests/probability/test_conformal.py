"""Conformal prediction: its law, the published algorithms written out, and what it says of bad
input."""

import json
import math
from typing import Any

import numpy as np
import pytest
from scipy import stats

import chainrule as cr
from benchmarks import conformal as bench
from chainrule import probability as prob
from chainrule.errors import ChainruleError, CheckpointError, DataError, DTypeError, ShapeError
from chainrule.probability.conformal.law import rank

SCORES = ("lac", "aps", "raps")


def rows(rng: np.random.Generator, n: int, classes: int = 4) -> tuple[np.ndarray, np.ndarray]:
    """Probabilities of a network that is far too sure, and labels."""
    truth = rng.dirichlet(np.ones(classes), n)
    y = (truth.cumsum(1) < rng.random((n, 1))).sum(1)
    sure = truth**3 + 1e-9
    return sure / sure.sum(1, keepdims=True), y


# ---- the law


@pytest.mark.parametrize(("n", "coverage"), [(19, 0.9), (50, 0.8), (99, 0.9)])
def test_coverage_given_the_calibration_is_beta(n: int, coverage: float) -> None:
    """Targets are standard normal, so the coverage of ±q is known: 2Φ(q) − 1."""
    rng, found = np.random.default_rng(0), []
    for _ in range(600):
        sets = prob.ConformalRegressor().fit(np.zeros(n), rng.standard_normal(n))
        found.append(2 * stats.norm.cdf(sets.predict_interval([0.0], coverage).high[0]) - 1)
    k = math.ceil((n + 1) * coverage - 1e-9)
    assert stats.kstest(found, stats.beta(k, n + 1 - k).cdf).pvalue > 0.01
    assert stats.kstest(found, stats.beta(k - 1, n + 2 - k).cdf).pvalue < 0.01  # another rank's
    law = prob.Guarantee(n, coverage)
    assert (law.k, law.mean) == (k, pytest.approx(k / (n + 1)))
    grid = np.linspace(0, 1, 11)
    np.testing.assert_allclose(law.cdf(grid), stats.beta(k, n + 1 - k).cdf(grid), atol=1e-12)
    np.testing.assert_allclose(law.interval(0.8), stats.beta(k, n + 1 - k).ppf([0.1, 0.9]))


def uniform_parts(hits: list[int], m: int, n: int, coverage: float) -> np.ndarray:
    """The probability-integral transform of hits under BetaBin(m, k, n + 1 − k), ties broken."""
    k = math.ceil((n + 1) * coverage - 1e-9)
    law, u = stats.betabinom(m, k, n + 1 - k), np.random.default_rng(5).random(len(hits))
    counted = np.array(hits)
    return law.cdf(counted - 1) + u * law.pmf(counted)


@pytest.mark.parametrize("score", SCORES)
def test_hits_among_new_rows_are_beta_binomial(score: str) -> None:
    rng, generator, hits = np.random.default_rng(1), cr.Generator(1), []
    n, m, coverage = 39, 40, 0.85
    for _ in range(300):
        p, y = rows(rng, n + m)
        sets = prob.conformal_sets(
            p[:n], y[:n], p[n:], coverage=coverage, score=score, generator=generator
        )
        hits.append(int(sets.covered(y[n:]).sum()))
    assert stats.kstest(uniform_parts(hits, m, n, coverage), "uniform").pvalue > 0.01
    assert stats.kstest(uniform_parts(hits, m, n, coverage - 0.05), "uniform").pvalue < 0.01


def test_the_law_holds_within_groups_and_classes() -> None:
    rng, counts = np.random.default_rng(2), {"group": np.zeros(2), "class": np.zeros(2)}
    for _ in range(60):
        p, y = rows(rng, 400)
        hard = rng.random(400) < 0.3
        y = np.where(hard, rng.integers(0, 4, 400), y)  # noise in one group only
        new = np.arange(400) >= 200
        named = np.where(hard, "hard", "easy")
        grouped = prob.ConformalClassifier().fit(p[~new], y[~new], named[~new])
        sets = grouped.predict_set(p[new], 0.8, named[new])
        counts["group"] += [sets.covered(y[new])[hard[new]].sum(), hard[new].sum()]
        by_class = prob.ConformalClassifier(by_class=True).fit(p[~new], y[~new])
        sets = by_class.predict_set(p[new], 0.8)
        counts["class"] += [sets.covered(y[new])[y[new] == 3].sum(), (y[new] == 3).sum()]
        assert {law.where for law in sets.guarantees} == {f"class {c}" for c in range(4)}
    # k/(n+1) lies between 0.8 and 0.8 + 1/(n+1) with about 60 or 50 rows a cell.
    for hit, total in counts.values():
        assert 0.78 < hit / total < 0.84
    whole = prob.ConformalClassifier().fit(p[~new], y[~new]).predict_set(p[new], 0.8)
    assert whole.covered(y[new])[hard[new]].mean() < 0.75  # what grouping is for


@pytest.mark.parametrize("score", SCORES)
def test_too_few_rows_rule_nothing_out(score: str) -> None:
    rng = np.random.default_rng(3)
    p, y = rows(rng, 8)
    sets = prob.conformal_sets(p, y, p, coverage=0.9, score=score)
    assert sets.members.all()
    assert sets.guarantee.vacuous
    assert sets.guarantee.mean == 1.0
    assert len(sets.warnings) == 1
    assert "takes 9" in sets.warnings[0]
    p, y = rows(rng, 9)
    sets = prob.conformal_sets(p, y, p, coverage=0.9, score=score)
    assert not sets.warnings
    found = prob.conformal_intervals(np.zeros(3), [1.0, 2.0, 3.0], [0.0])
    assert (found.low[0], found.high[0]) == (-np.inf, np.inf)
    assert json.loads(json.dumps(found.to_dict(), allow_nan=False))["intervals"] == [[None, None]]


def test_rounding_does_not_move_the_rank() -> None:
    for n in (1, 8, 9, 19, 49, 99, 199, 999):
        for percent in range(1, 100):
            exact = -(-(n + 1) * percent // 100)
            assert rank(n, percent / 100) == rank(n, 1 - (100 - percent) / 100) == exact


def test_p_value_of_what_was_observed() -> None:
    law = prob.Guarantee(99, 0.9)
    oracle = stats.betabinom(500, 90, 10)
    for hits in (400, 449, 450, 490):
        both = 2 * min(oracle.cdf(hits), oracle.sf(hits - 1))
        assert law.p_value(hits, 500) == pytest.approx(min(1, both), rel=1e-9)
    with pytest.raises(DataError, match="cannot be covered"):
        law.p_value(5, 4)


def test_the_benchmark_sees_another_law() -> None:
    given = bench.generated(bench.temperature)
    line = bench.covered("too sure", "raps", given, 99, 0.9, 150)
    assert line.p_value(prob.Guarantee(99, 0.9)) > 0.01
    assert line.p_value(prob.Guarantee(99, 0.88)) < 0.01


# ---- the published algorithms, row by row


def published(p: np.ndarray, u: float, q: float, lam: float, k_reg: int) -> set[int]:
    """RAPS (Angelopoulos et al. 2021, Algorithm 3, allowing empty sets; λ = 0: APS)."""
    order = sorted(range(len(p)), key=lambda c: -p[c])
    kept = set()
    for place, c in enumerate(order, 1):
        before = sum(p[order[j]] for j in range(place - 1))
        if before + u * p[c] + lam * max(0, place - k_reg) <= q:
            kept.add(c)
    return kept


@pytest.mark.parametrize(("score", "lam", "k_reg"), [("aps", 0.0, 0), ("raps", 0.05, 2)])
@pytest.mark.parametrize("randomised", [True, False])
def test_sets_as_published(score: str, lam: float, k_reg: int, randomised: bool) -> None:
    rng = np.random.default_rng(4)
    (p, y), (new, _) = rows(rng, 60, 6), rows(rng, 40, 6)
    made = prob.ConformalClassifier(score, randomised=randomised, lam=lam, k_reg=k_reg)
    sets = made.fit(p, y, generator=cr.Generator(7)).predict_set(
        new, 0.8, generator=cr.Generator(8)
    )
    draws = [
        cr.random.uniform((n,), dtype=cr.float64, generator=cr.Generator(seed)).numpy()
        if randomised else np.zeros(n)
        for n, seed in ((60, 7), (40, 8))
    ]  # fmt: skip
    scores = []
    for row, label, u in zip(p, y, draws[0], strict=True):
        place = 1 + int((row > row[label]).sum())
        penalty = lam * max(0, place - k_reg)
        scores.append(row[row > row[label]].sum() + u * row[label] + penalty)
    q = sorted(scores)[math.ceil(61 * 0.8) - 1]
    assert [set(labels) for labels in sets.labels()] == [
        published(row, u, q + 1e-12, lam, k_reg) for row, u in zip(new, draws[1], strict=True)
    ]
    if not randomised:
        assert not sets.empty.any()


def test_lac_has_empty_sets_and_says_so() -> None:
    """A network that is right in 99 % of rows cannot cover 60 % but by leaving sets empty."""
    p = np.full((200, 2), 0.01)
    p[:, 0] = 0.99 - np.linspace(0, 0.3, 200)
    p[:, 1] = 1 - p[:, 0]
    sets = prob.conformal_sets(p, np.zeros(200, int), p, coverage=0.6)
    assert sets.coverage_of(np.zeros(200, int)) == pytest.approx(0.605)
    assert sets.empty.sum() == 79
    assert "79 are empty" in str(sets)


def test_without_chance_nothing_is_drawn_and_more_is_covered() -> None:
    """The likeliest class has score 0, so that it is in every set: as often right as the network
    is, whatever was asked for."""
    (p, y), (new, truth) = rows(np.random.default_rng(5), 400), rows(np.random.default_rng(6), 400)
    before = cr.tensor.generator.default.state
    sets = prob.conformal_sets(p, y, new, coverage=0.4, score="aps", randomised=False)
    assert cr.tensor.generator.default.state == before
    assert (sets.sizes == 1).all()
    assert sets.coverage_of(truth) == (new.argmax(1) == truth).mean() > 0.45
    assert sets.guarantee.tied == (p.argmax(1) == y).sum()
    assert "at least" in str(sets.guarantee)
    prob.conformal_sets(p, y, new, score="aps")
    assert cr.tensor.generator.default.state != before
    with pytest.raises(DTypeError, match="randomised"):
        prob.ConformalClassifier("aps", randomised=1)  # type: ignore[arg-type]


# ---- reals


def test_scores_of_reals() -> None:
    rng = np.random.default_rng(6)
    mean, scale = rng.standard_normal(80), rng.uniform(0.5, 2, 80)
    y = mean + scale * rng.standard_normal(80)
    k = math.ceil(81 * 0.9)
    q = np.sort(np.abs(y - mean) / scale)[k - 1]
    found = prob.conformal_intervals((mean, scale), y, (mean, scale), score="normalised")
    np.testing.assert_allclose(np.asarray(found), np.stack([mean - q * scale, mean + q * scale], 1))
    assert found.coverage_of(y) == pytest.approx(k / 80)
    low, high = mean - scale, mean + scale
    q = np.sort(np.maximum(low - y, y - high))[k - 1]
    found = prob.conformal_intervals(np.stack([low, high], 1), y, (low, high), score="cqr")
    np.testing.assert_allclose(found.low, low - q)
    np.testing.assert_allclose(found.widths, high - low + 2 * q)
    narrow = prob.conformal_intervals((mean - 9, mean + 9), y, ([0.0], [1.0]), score="cqr")
    assert narrow.empty.all()
    assert narrow.widths[0] == 0


def test_groups_of_reals() -> None:
    y = np.array([1.0, -1.0, 1.0] * 10 + [10.0, -10.0] * 10)
    groups = [0] * 30 + [1] * 20
    made = prob.ConformalRegressor().fit(np.zeros(50), y, groups)
    found = made.predict_interval([0.0, 0.0, 0.0], 0.9, [0, 1, 2])
    assert found.high.tolist() == [1.0, 10.0, math.inf]
    assert found.warnings == ("calibration never saw group 2: nothing is ruled out there.",)
    with pytest.raises(DataError, match="groups"):
        made.predict_interval([0.0])


# ---- cross


@pytest.mark.parametrize("folds", [5, 40])
def test_jackknife_plus_as_published(folds: int) -> None:
    """Barber et al. 2021, eq. 1.2 and 3.1, by loops; K = n is the jackknife+."""
    rng = np.random.default_rng(7)
    n, coverage = 40, 0.85
    fold = np.arange(n) % folds
    y, own, models = rng.standard_normal(n), rng.standard_normal(n), rng.standard_normal((folds, 6))
    found = prob.CrossConformalRegressor().fit(own, y, fold).predict_interval(models, coverage)
    alpha = 1 - coverage
    for row in range(6):
        below = sorted(models[fold[i], row] - abs(y[i] - own[i]) for i in range(n))
        above = sorted(models[fold[i], row] + abs(y[i] - own[i]) for i in range(n))
        assert found.low[row] == below[math.floor(alpha * (n + 1)) - 1]
        assert found.high[row] == above[math.ceil(coverage * (n + 1)) - 1]
    assert found.guarantee.to_dict()["least"] <= 0.7


def test_cross_sets_by_loops() -> None:
    rng = np.random.default_rng(8)
    n, coverage = 45, 0.8
    (p, y), fold = rows(rng, n), np.arange(n) % 3
    models = np.stack([rows(rng, 70)[0] for _ in range(3)])
    sets = prob.CrossConformalClassifier().fit(p, y, fold).predict_set(models, coverage)
    for row in range(70):
        for c in range(4):
            count = sum(1 - p[i, y[i]] < 1 - models[fold[i], row, c] for i in range(n))
            assert sets.members[row, c] == (count < coverage * (n + 1))
    kept = prob.CrossConformalClassifier.from_dict(
        json.loads(json.dumps(prob.CrossConformalClassifier().fit(p, y, fold).to_dict()))
    )
    assert (kept.predict_set(models, coverage).members == sets.members).all()


def test_cross_intervals_cover() -> None:
    """Least squares with 5 folds: about 1 − α, and never below 1 − 2α by more than chance."""
    rng, hits = np.random.default_rng(9), []
    for _ in range(200):
        X, w = rng.standard_normal((41, 3)), np.array([1.0, -2.0, 0.5])
        y = X @ w + rng.standard_normal(41)
        fold = np.arange(40) % 5
        models = [np.linalg.lstsq(X[:40][fold != f], y[:40][fold != f])[0] for f in range(5)]
        own = np.array([X[i] @ models[fold[i]] for i in range(40)])
        cross = prob.CrossConformalRegressor().fit(own, y[:40], fold)
        found = cross.predict_interval([X[40:] @ model for model in models], 0.8)
        hits.append(found.covered(y[40:])[0])
    assert stats.binomtest(int(np.sum(hits)), 200, 0.8).pvalue > 0.01


def test_cross_says_what_is_wrong() -> None:
    cross = prob.CrossConformalRegressor()
    with pytest.raises(DataError, match="no calibration rows"):
        cross.predict_interval([[1.0]])
    with pytest.raises(DataError, match="from 0, at least two"):
        cross.fit([1.0, 2.0], [1.0, 2.0], [1, 2])
    cross.fit([1.0, 2.0], [1.0, 2.0], [0, 1])
    with pytest.raises(ShapeError, match="3 models, and 2 folds"):
        cross.predict_interval(np.ones((3, 4)))
    with pytest.raises(ShapeError, match="different numbers of rows"):
        cross.predict_interval([[1.0], [1.0, 2.0]])
    assert cross.predict_interval(np.ones((2, 3))).warnings


# ---- adaptive


def test_adaptive_level_as_published() -> None:
    """Gibbs and Candès 2021, eq. 2, by a loop over a window; scores tie, and a tie is covered."""
    rng = np.random.default_rng(10)
    scale = np.concatenate([np.ones(300), np.full(300, 4.0)])
    y, start = (scale * rng.standard_normal(600)).round(1), rng.standard_normal(60).round(1)
    made = prob.ConformalRegressor().fit(np.zeros(60), start)
    stream = prob.AdaptiveConformal(made, 0.9, gamma=0.02)
    found = stream.follow(np.zeros(600), y)
    level, window, high = 0.1, list(np.abs(start)), []
    for s in np.abs(y):
        k = math.ceil(round(61 * (1 - level), 9))
        high.append(math.inf if k > 60 else -math.inf if k < 1 else sorted(window)[k - 1])
        level += 0.02 * (0.1 - (s > high[-1]))
        window = [*window[1:], s]
    np.testing.assert_array_equal(found.high, high)
    assert stream.level == pytest.approx(level)
    fixed = made.predict_interval(np.zeros(600)).covered(y)[300:].mean()
    assert fixed < 0.5 < 0.86 < found.covered(y)[300:].mean()


@pytest.mark.parametrize("gamma", [0.005, 0.1])
def test_adaptive_bound_holds_against_an_adversary(gamma: float) -> None:
    made = prob.ConformalRegressor().fit(np.zeros(50), np.linspace(0, 1, 50))
    stream, missed, T = prob.AdaptiveConformal(made, 0.8, gamma=gamma), 0, 1500
    for t in range(T):
        edge = stream.predict([0.0]).high[0]
        y = edge + 1 if np.isfinite(edge) and t % 3 else 1e3 * t if t % 7 == 0 else 0.0
        missed += not stream.follow([0.0], [y]).covered([y])[0]
    assert abs(missed / T - 0.2) <= (0.8 + gamma) / (gamma * T)


def test_adaptive_classes_and_storing_in_the_middle() -> None:
    rng = np.random.default_rng(11)
    p, y = rows(rng, 700)
    made = prob.ConformalClassifier("aps").fit(p[:200], y[:200], generator=cr.Generator(0))
    stream = prob.AdaptiveConformal(made, 0.9, gamma=0.02)
    generator = cr.Generator(1)
    stream.follow(p[200:400], y[200:400], generator=generator)
    stored = prob.AdaptiveConformal.from_dict(json.loads(json.dumps(stream.to_dict())))
    a = stream.follow(p[400:], y[400:], generator=cr.Generator(2))
    b = stored.follow(p[400:], y[400:], generator=cr.Generator(2))
    assert (a.members == b.members).all()
    assert abs(a.coverage_of(y[400:]) - 0.9) < 0.04
    with pytest.raises(DataError, match="no promise"):
        _ = a.guarantee
    grouped = prob.ConformalClassifier(by_class=True).fit(p, y)
    with pytest.raises(DataError, match="by group or by class"):
        prob.AdaptiveConformal(grouped)


# ---- stored; bad input


@pytest.mark.parametrize("groups", [False, True])
def test_stored_as_data(groups: bool) -> None:
    rng = np.random.default_rng(12)
    p, y = rows(rng, 120)
    named = {"groups": np.arange(120) % 3} if groups else {}
    made = prob.ConformalClassifier("raps", by_class=True, lam=0.2, k_reg=1).fit(
        p, y, generator=cr.Generator(0), **named
    )
    again = prob.ConformalClassifier.from_dict(json.loads(json.dumps(made.to_dict())))
    sets = [m.predict_set(p, 0.7, generator=cr.Generator(1), **named) for m in (made, again)]
    assert (sets[0].members == sets[1].members).all()
    assert sets[0].guarantees == sets[1].guarantees
    real = prob.ConformalRegressor("cqr").fit((p[:, 0], p[:, 1]), p[:, 2], **named)
    stored = prob.ConformalRegressor.from_dict(json.loads(json.dumps(real.to_dict())))
    pair = [m.predict_interval((p[:, 0], p[:, 1]), **named).high for m in (real, stored)]
    np.testing.assert_array_equal(*pair)
    for kind, whole in (
        (prob.ConformalClassifier, made.to_dict()),
        (prob.ConformalRegressor, real.to_dict()),
    ):
        for key in whole:
            with pytest.raises(CheckpointError, match="not whole"):
                kind.from_dict({k: v for k, v in whole.items() if k != key})
            with pytest.raises(CheckpointError, match="not whole"):
                kind.from_dict({**whole, key: object()})


P = np.array([[0.7, 0.3], [0.2, 0.8]])
WRONG: list[tuple[Any, type[ChainruleError], str]] = [
    (lambda: prob.conformal_sets(P, [0, 2], P), DataError, "there are 2 classes"),
    (lambda: prob.conformal_sets(P * 2, [0, 1], P), DataError, "softmax"),
    (lambda: prob.conformal_sets(P, [0, 1], np.ones((1, 3)) / 3), ShapeError, "of 3 classes"),
    (lambda: prob.conformal_sets(P, [0, 1], P, coverage=90), DataError, "between 0 and 1"),
    (lambda: prob.conformal_sets(P, [0, 1], P, coverage="0.9"), DTypeError, "number"),
    (lambda: prob.conformal_sets(P, [0, 1], P, score="thr"), DataError, "lac"),
    (lambda: prob.conformal_sets(P, [0, 1], P, groups=[0, 1]), DataError, "together"),
    (lambda: prob.conformal_sets(P[:0], [], P), DataError, "no row"),
    (lambda: prob.ConformalClassifier().predict_set(P), DataError, "call fit"),
    (lambda: prob.ConformalClassifier("raps", lam=-1), DataError, "negative"),
    (lambda: prob.ConformalClassifier().fit(P, [0, 1], [0.5, 1.5]), DTypeError, "whole number"),
    (lambda: prob.ConformalClassifier().fit(P, [0, 1], [0]), ShapeError, "2 rows"),
    (lambda: prob.ConformalRegressor().fit([[1.0, 2.0]], [1.0]), ShapeError, "one number a row"),
    (lambda: prob.ConformalRegressor("cqr").fit([1.0], [1.0]), ShapeError, "upper quantile"),
    (lambda: prob.ConformalRegressor("normalised").fit(([1.0], [0.0]), [1.0]), DataError, "σ"),
    (lambda: prob.ConformalRegressor().fit([np.nan], [1.0]), DataError, "finite"),
    (lambda: prob.ConformalRegressor().fit([], []), DataError, "no row"),
    (lambda: prob.ConformalRegressor().fit([1.0], [1.0, 2.0]), ShapeError, "1 rows"),
    (lambda: prob.AdaptiveConformal(prob.ConformalRegressor()), DataError, "call fit"),
    (lambda: prob.AdaptiveConformal(3), DTypeError, "ConformalClassifier"),
]  # fmt: skip


@pytest.mark.parametrize(("wrong", "kind", "text"), WRONG)
def test_bad_input_is_told(wrong: Any, kind: type[ChainruleError], text: str) -> None:
    with pytest.raises(kind, match=text):
        wrong()


def test_a_class_never_seen_is_never_ruled_out() -> None:
    rng = np.random.default_rng(13)
    p, y = rows(rng, 200)
    seen = y != 2
    sets = prob.ConformalClassifier(by_class=True).fit(p[seen], y[seen]).predict_set(p)
    assert sets.members[:, 2].all()
    assert sets.warnings == ("calibration never saw class 2: nothing is ruled out there.",)
