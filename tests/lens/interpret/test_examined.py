"""What `interpret` claims, against laws and counts that are written here without its code."""

import numpy as np
import pytest
from scipy import special, stats

import chainrule as cr
from chainrule import nn
from chainrule import probability as prob
from tests.lens.interpret.networks import line

W = np.array([[2.0, -1.0, 0.0], [-1.0, 2.0, 0.5], [0.0, 0.0, -1.0]])
OPTIONS = {
    "point": {},
    "dropout": {},
    "ensemble": {"members": 2, "epochs": 2},
    "laplace": {},
    "swag": {"epochs": 4, "rank": 2},
    "variational": {"epochs": 20},
    "hmc": {"draws": 20, "warmup": 20, "chains": 2},
}


def drawn(p, rng):
    return (rng.random(len(p))[:, None] > p.cumsum(1)).sum(1)


def rows_of(n, seed=1):
    """Rows, and labels of a network that is linear with the weights W."""
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(n, 3))
    return x, drawn(special.softmax(x @ W.T, 1), rng)


def sure(times):
    """The true network with its logits multiplied."""
    model = nn.Linear(3, 3).to(np.float64)
    model.load_state_dict({"weight": times * W, "bias": np.zeros(3)})
    return model


def probabilities(x, times):
    return special.softmax(x @ (times * W).T, 1)


@pytest.fixture(scope="module")
def case():
    x, y = rows_of(1300)
    model, held, new = sure(2.5), slice(0, 800), slice(1200, 1260)
    training = x[800:1200], y[800:1200]
    before = bits(model)
    found = cr.interpret(model, x[new], calibration=(x[held], y[held]), training=training)
    assert bits(model) == before
    return found, probabilities(x[held], 2.5), y[held], probabilities(x[new], 2.5)


def bits(model):
    """Weights, mode, and what the default generator would draw next."""
    state = {name: np.asarray(value).tobytes() for name, value in model.state_dict().items()}
    counter = cr.tensor.generator.default.state
    return state, [module.training for module in model.modules()], counter


@pytest.mark.parametrize("method", OPTIONS)
def test_the_doubt_of_every_method_has_two_parts_and_the_network_stays(method):
    x, y = rows_of(60)
    cr.seed(0)
    model = nn.Sequential(nn.Linear(3, 4), nn.Tanh(), nn.Dropout(0.2), nn.Linear(4, 3))
    before = bits(model)
    found = prob.posterior(model, (x, y), method=method, **OPTIONS[method]).predict(3 * x[:20])
    assert bits(model) == before
    whole, each = found.draws.mean(0), special.entr(found.draws).sum(-1).mean(0)
    np.testing.assert_allclose(found.probabilities, whole, atol=1e-12)
    np.testing.assert_allclose(found.entropy, special.entr(whole).sum(-1), atol=1e-9)
    np.testing.assert_allclose(found.aleatoric, each, atol=1e-9)
    np.testing.assert_allclose(found.entropy, found.aleatoric + found.epistemic, atol=1e-12)
    assert (found.epistemic == 0).all() if method == "point" else (found.epistemic > 0).all()


def test_worth_is_a_count_of_held_out_rows(case):
    found, p, y, new = case
    confidence, hit = p.max(1), p.argmax(1) == y
    for row in found.rows:
        given, worth = new[row.row].max(), row.worth
        distance = np.abs(confidence - given)
        near = distance <= 0.05
        if near.sum() < 30:
            near = distance <= min(0.1, np.sort(distance)[29])
        n, right = near.sum(), hit[near].mean()
        # Wilson 1927: the shares from which `right` is at most 1.96 standard errors away.
        z = stats.norm.ppf(0.975)
        ends = np.roots([1 + z**2 / n, -(2 * right + z**2 / n), right**2])
        assert row.probability == pytest.approx(given)
        assert (worth.rows, worth.right) == (n, pytest.approx(right))
        assert worth.mean == pytest.approx(confidence[near].mean())
        np.testing.assert_allclose([worth.low, worth.high], np.sort(ends), atol=1e-9)
    assert {row.worth.verdict for row in found.rows} >= {"over-confident", "as it says"}


def test_answers_and_calibrated_probabilities_are_those_of_bare_arrays(case):
    found, p, y, new = case
    bare = cr.interpret(new, calibration=(p, y), detail=0)
    k = int(np.ceil((len(p) + 1) * 0.9))
    threshold = np.sort(1 - p[np.arange(len(p)), y])[k - 1]
    for ours, theirs, q in zip(found.rows, bare.rows, new, strict=True):
        assert ours.answers == theirs.answers
        assert ours.answers == tuple(str(c) for c in np.flatnonzero(1 - q <= threshold))
        # The temperature is fitted to logits here and to log-probabilities there.
        assert ours.calibrated == pytest.approx(theirs.calibrated, rel=1e-5)
        assert ours.worth.right == theirs.worth.right
        assert ours.entropy == pytest.approx(ours.aleatoric + ours.epistemic)
        assert theirs.entropy == pytest.approx(special.entr(q).sum())
    # The network is the true one times 2.5: cooling it by that gives the truth.
    assert found.calibration.method == "temperature"
    true = (special.softmax(np.log(new) / 2.5, 1))[np.arange(len(new)), new.argmax(1)]
    assert np.abs(np.array(found.table["calibrated"]) - true).max() < 0.06


N, COVERAGE, ASKED = 39, 0.9, 40
LAW = stats.betabinom(ASKED, 36, 4)  # k = ⌈40 · 0.9⌉, n + 1 − k


def test_answers_hold_the_truth_as_often_as_the_law_says():
    rng, hits = np.random.default_rng(0), []
    for _ in range(60):
        second = rng.random(N + ASKED)
        y, p = (rng.random(N + ASKED) < second).astype(int), np.c_[1 - second, second]
        found = cr.interpret(p[N:], calibration=(p[:N], y[:N]), coverage=COVERAGE, detail=0)
        hits.append(sum(str(y[N + row.row]) in row.answers for row in found.rows))
    assert abs(np.mean(hits) - LAW.mean()) < 3 * LAW.std() / 60**0.5
    few = cr.interpret(p[N:], calibration=(p[:8], y[:8]), coverage=COVERAGE, detail=0)
    assert all(row.answers == ("0", "1") for row in few.rows)
    assert any("too few" in warning for warning in few.warnings)


def test_intervals_hold_the_truth_as_often_as_the_law_says():
    rng, hits, model = np.random.default_rng(0), [], line([2.0], 1.0)
    for _ in range(40):
        x = rng.normal(size=(N + ASKED, 1))
        y = 2 * x[:, 0] + 1 + rng.normal(size=N + ASKED)
        found = cr.interpret(model, x[N:], calibration=(x[:N], y[:N]), coverage=COVERAGE, detail=0)
        hits.append(sum(row.low <= y[N + row.row] <= row.high for row in found.rows))
    assert abs(np.mean(hits) - LAW.mean()) < 3 * LAW.std() / 40**0.5
    widest = np.sort(np.abs(y[:N] - 2 * x[:N, 0] - 1))[35]
    np.testing.assert_allclose([row.high - row.low for row in found.rows], 2 * widest)


def test_calibrated_probabilities_are_found_miscalibrated_as_rarely_as_asked():
    rng, p_values = np.random.default_rng(5), []
    for seed in range(200):
        p = rng.dirichlet(np.ones(3), 150)
        p_values.append(prob.calibration_test(p, drawn(p, rng), resamples=99, seed=seed).p_value)
    assert stats.binomtest(sum(p <= 0.05 for p in p_values), 200, 0.05).pvalue > 0.01
    assert stats.kstest(p_values, "uniform").pvalue > 0.01
    true = special.softmax(rng.normal(0, 1.5, (400, 3)), 1)
    y, sharper = drawn(true, rng), special.softmax(2.5 * np.log(true), 1)
    assert prob.calibration_test(sharper, y).p_value < 0.01


@pytest.mark.parametrize("held", [45, 100, 400])
def test_rows_like_those_seen_are_rarely_strange_and_far_ones_always(held):
    rng, model, strange = np.random.default_rng(7), line([1.0, 0.0, 0.0]), 0
    repeats, least = 12, max(0.01, 2 / (held + 1))
    for _ in range(repeats):
        x = rng.standard_t(4, size=(100 + held + 101, 3))
        x[-1, 1] = 1000.0
        seen, apart, asked = x[:100], x[100 : 100 + held], x[100 + held :]
        found = cr.interpret(
            model, asked, calibration=(apart, apart.sum(1)), training=(seen, seen.sum(1)),
            detail=0, posterior="none",
        )  # fmt: skip
        strange += sum(row.strange for row in found.rows[:-1])
        assert found.rows[-1].strange
        assert found.rows[-1].outside[0].column == "x1"
        assert "x1" in found.rows[-1].sentence
    # A row's p-value is at most `least` as often as that, but rows of one fit share its luck.
    assert strange / (100 * repeats) < least + 3 * (least / held / repeats) ** 0.5


def test_a_network_that_is_never_wrong_has_no_spread():
    x = np.random.default_rng(0).normal(size=(70, 2))
    given = {"calibration": (x[:60], x[:60, 0])}
    found = cr.interpret(line([1.0, 0.0]), x[60:], detail=0, **given)
    assert found.calibration is None
    assert any("exactly right" in warning for warning in found.warnings)
    np.testing.assert_allclose(found.table["low"], x[60:, 0])
    np.testing.assert_allclose(found.table["high"], x[60:, 0])
    assert "nan" not in str(found).lower()


def test_so_few_held_out_rows_that_none_can_be_strange_are_told_of():
    x = np.random.default_rng(0).normal(size=(140, 2))
    given = {"calibration": (x[100:130], x[100:130, 0]), "training": (x[:100], x[:100, 0])}
    found = cr.interpret(line([1.0, 0.0]), x[130:], detail=0, posterior="none", **given)
    assert not any(row.strange for row in found.rows)
    assert any("it takes 39" in warning for warning in found.warnings)


def test_more_rows_take_the_epistemic_part_and_leave_the_aleatoric_one():
    asked = np.random.default_rng(9).normal(size=(100, 3))
    true = special.entr(probabilities(asked, 1.0)).sum(1).mean()
    parts = []
    for n in (60, 3000):
        x, y = rows_of(n, seed=3)
        cr.seed(0)
        model = nn.Linear(3, 3).to(np.float64)
        cr.fit(
            model, (x, y), loss=nn.cross_entropy, epochs=12000 // n, batch_size=60,
            optimizer=cr.optim.Adam(model.parameters(), lr=0.02),
        )  # fmt: skip
        own = prob.posterior(model, (x, y), method="laplace", structure="full")
        found = cr.interpret(model, asked, posterior=own, detail=0)
        handed = own.predict(asked, samples=200)
        np.testing.assert_allclose([row.epistemic for row in found.rows], handed.epistemic)
        parts.append(np.mean([(row.aleatoric, row.epistemic) for row in found.rows], 0))
    (_, before), (aleatoric, after) = parts
    assert after < before / 10
    assert aleatoric == pytest.approx(true, abs=0.05)


def test_the_smallest_change_that_flips_a_linear_network_is_the_one_found():
    weights = np.array([2.0, -1.0, 0.5])
    rng = np.random.default_rng(0)
    x = rng.normal(size=(400, 3)) * [1.0, 2.0, 0.5]
    y = (rng.random(400) < special.expit(x @ weights + 0.4)).astype(int)
    model = nn.Linear(3, 2).to(np.float64)
    model.load_state_dict({"weight": np.stack([-weights, weights]) / 2, "bias": [-0.2, 0.2]})
    found = cr.interpret(
        model, x[:8], calibration=(x[100:], y[100:]), training=(x[:100], y[:100]), detail=8,
        posterior="none",
    )  # fmt: skip
    spread = x[:100].std(0)
    steepest = np.argmax(np.abs(weights) * spread)  # moves the margin most a standard deviation
    checked = 0
    for row in found.rows:
        margin = x[row.row] @ weights + 0.4
        there = x[row.row, steepest] - margin / weights[steepest]
        if not x[:100, steepest].min() < there < x[:100, steepest].max():
            continue
        assert row.flip.becomes == str(int(margin < 0))
        ((name, _, after),) = row.flip.changes
        assert name == f"x{steepest}"
        told = x[row.row].copy()
        told[steepest] = float(after)  # as a reader would type it in
        assert (told @ weights + 0.4 > 0) != (margin > 0)
        least = abs(margin) / np.abs(weights * spread).max()
        assert least <= row.flip.distance < least * 1.01 + 1e-6  # written to three digits
        checked += 1
    assert checked >= 6
