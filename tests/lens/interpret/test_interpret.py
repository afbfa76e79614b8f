"""What `interpret` finds out, on made cases of which the truth is known."""

import json

import numpy as np
import pytest

import chainrule as cr
from chainrule import nn
from chainrule.errors import DataError, DTypeError, ShapeError
from chainrule.lens.interpret.calibration import FEWEST
from chainrule.lens.interpret.interpret import interpret
from chainrule.lens.interpret.interpretation import Interpretation
from chainrule.probability.calibration.reliability import expected_calibration_error
from chainrule.tensor import generator


def softmax(z):
    e = np.exp(z - z.max(1, keepdims=True))
    return e / e.sum(1, keepdims=True)


def drawn(n, sure=1.0, seed=0, classes=3):
    """(probabilities, labels): labels are drawn from softmax(z), and softmax(sure · z) is said."""
    rng = np.random.default_rng(seed)
    z = rng.normal(0, 1.5, (n, classes))
    y = (z + rng.gumbel(size=z.shape)).argmax(1)
    return softmax(sure * z), y


def told(found):
    return " ".join([found.sentence, *(row.sentence for row in found.rows), *found.warnings])


# Bare probabilities


def test_an_over_confident_network_is_found_so():
    p, y = drawn(2000, sure=3.0)
    found = interpret(p[:5], calibration=(p, y))
    facts = found.calibration
    assert "over-confident" in found.sentence
    assert facts.said > facts.right_high
    assert facts.test.p_value < 0.01
    # Temperature scaling is of the distortion's family: what is left is chance.
    assert facts.method == "temperature"
    assert facts.test_after.p_value > 0.05
    assert facts.nll_after < facts.nll
    sure = interpret(p[p.max(1) > 0.9][:1], calibration=(p, y))[0]
    assert sure.worth.verdict == "over-confident"
    assert sure.calibrated < sure.probability
    assert "the network is over-confident here; calibrated, this is" in sure.sentence


def test_a_calibrated_network_is_found_so():
    p, y = drawn(2000)
    found = interpret(p[:5], calibration=(p, y))
    assert "its probabilities mean what they say" in found.sentence
    assert "over-confident" not in found.sentence
    assert found.calibration.method == "identity"
    assert found.calibration.test_after is None
    assert found[0].calibrated == pytest.approx(found[0].probability)


def test_an_under_confident_network_is_found_so():
    p, y = drawn(2000, sure=0.4)
    assert "under-confident" in interpret(p[:2], calibration=(p, y)).sentence


def test_errors_in_both_directions_have_no_direction():
    """0.9 is said where 0.75 is right, and 0.6 where it is 0.75: right on average."""
    p = np.repeat([[0.9, 0.1], [0.6, 0.4]], 400, 0)
    y = np.tile([0, 0, 0, 1], 200)
    assert "right on average, too sure of some" in interpret(p[:1], calibration=(p, y)).sentence


def test_figures_are_those_of_the_rows():
    """Counted by hand: of the held-out rows within 0.05, how many are right."""
    p, y = drawn(3000, sure=1.5)
    found = interpret(p[:50], calibration=(p, y))
    said, right = p.max(1), p.argmax(1) == y
    for i, row in enumerate(found.rows):
        near = np.abs(said - said[i]) <= 0.05
        assert row.worth.rows == near.sum()
        assert row.worth.right == pytest.approx(right[near].mean())
        assert row.worth.low < row.worth.right < row.worth.high
        assert row.entropy == pytest.approx(-(p[i] * np.log(p[i])).sum())
        assert row.most == pytest.approx(np.log(3))
    facts = found.calibration
    assert facts.right == pytest.approx(right.mean())
    assert facts.before.ece == pytest.approx(expected_calibration_error(p, y))
    assert facts.nll == pytest.approx(-np.log(p[np.arange(3000), y]).mean())
    assert facts.brier == pytest.approx(((p - np.eye(3)[y]) ** 2).sum(1).mean())


def test_sets_hold_as_often_as_promised():
    p, y = drawn(1000, seed=1)
    new, true = drawn(4000, seed=2)
    found = interpret(new[:1000], y=true[:1000], calibration=(p, y), coverage=0.8)
    held = [row.truth in row.answers for row in found.rows]
    assert np.mean(held) == pytest.approx(0.8, abs=0.05)
    assert found.judged.covered == sum(held)
    assert found.judged.p_value > 0.01
    assert found.judged.right == pytest.approx((new[:1000].argmax(1) == true[:1000]).mean())


def test_rows_of_another_kind_are_said_to_be():
    p, y = drawn(1000, seed=1)
    new, true = drawn(500, sure=-1.0, seed=2)
    found = interpret(new, y=true, calibration=(p, y))
    assert found.judged.p_value < 0.001
    assert "of another kind than the held-out ones" in found.sentence


@pytest.mark.parametrize("n", [9, FEWEST - 1])
def test_too_few_rows_are_said_to_be(n):
    p, y = drawn(n)
    found = interpret(p[:1], calibration=(p, y))
    assert found.calibration is None
    assert found[0].calibrated is None
    assert f"There are {n} held-out rows, and {FEWEST} are needed" in told(found)
    assert "mean what they say" not in told(found)


def test_too_few_rows_near_a_probability():
    p = np.repeat([[0.95, 0.05], [0.6, 0.4]], [200, 3], 0)
    y = np.zeros(203, int)
    row = interpret(p[-1:], calibration=(p, y))[0]
    assert row.worth.verdict == "too few rows"
    assert row.worth.right is None
    assert "Only 3 held-out rows were given about 0.60: too few" in row.sentence


def test_too_few_rows_for_a_coverage_rule_nothing_out():
    p, y = drawn(60)
    found = interpret(p[:1], calibration=(p, y), coverage=0.99)
    assert found[0].answers == ("0", "1", "2")
    assert "no class can be ruled out" in found[0].sentence
    assert "too few for a coverage of 0.99" in told(found)


def test_a_class_that_was_never_seen_is_named():
    p, y = drawn(400, classes=4)
    seen = y != 2
    found = interpret(p[:2], calibration=(p[seen], y[seen]), classes=["a", "b", "c", "d"])
    assert "No held-out row is of class c" in told(found)


def test_without_held_out_rows_nothing_is_claimed():
    found = interpret(drawn(3)[0])
    assert "No held-out rows were given" in told(found)
    assert "nobody knows how often such answers are right" in found[0].sentence
    assert found[0].answers is None


# Networks


def cloud(n, seed=0):
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(n, 3)).astype(np.float32)
    y = (x[:, 0] - x[:, 1] + rng.normal(size=n) > 0).astype(int)
    return x, y


@pytest.fixture(scope="module")
def trained():
    """(network, its training rows, other rows)."""
    cr.seed(0)
    x, y = cloud(400)
    model = nn.Sequential(nn.Linear(3, 8), nn.Tanh(), nn.Dropout(0.2), nn.Linear(8, 2))
    cr.fit(model, (x, y), loss=nn.cross_entropy, epochs=15, batch_size=32, seed=0)
    return model, (x, y), cloud(400, seed=1)


def test_a_network_and_its_probabilities_give_the_same(trained):
    model, _, held = trained
    x = cloud(6, seed=2)[0]
    ours = interpret(model, x, calibration=held, detail=0)
    model.eval()
    said, apart = (softmax(model(rows).numpy().astype(float)) for rows in (x, held[0]))
    same(ours, interpret(said, calibration=(apart, held[1])))


def same(ours, other):
    assert other.calibration.test.ece == pytest.approx(ours.calibration.test.ece, abs=1e-5)
    assert other.calibration.nll == pytest.approx(ours.calibration.nll, abs=1e-5)
    for a, b in zip(ours.rows, other.rows, strict=True):
        assert (b.answer, b.answers, b.worth.rows) == (a.answer, a.answers, a.worth.rows)
        assert b.probability == pytest.approx(a.probability, abs=1e-5)
        assert b.calibrated == pytest.approx(a.calibrated, abs=1e-4)


def state(model):
    return (
        {k: v.copy() for k, v in model.state_dict().items()},
        [m.training for m in model.modules()],
        generator.default.state,
    )


@pytest.mark.parametrize("mode", ["train", "eval"])
def test_the_network_is_left_as_it_was(trained, mode):
    model, training, held = trained
    getattr(model, mode)()
    before = state(model)
    found = interpret(model, held[0][:4], calibration=held, training=training)
    after = state(model)
    assert before[1:] == after[1:]
    assert all((before[0][k] == after[0][k]).all() for k in before[0])
    assert found[0].why is not None or found[1].why is not None


def test_the_doubt_has_two_parts_that_are_the_entropy(trained):
    model, training, held = trained
    found = interpret(model, held[0][:40], calibration=held, training=training, detail=0)
    for row in found.rows:
        assert row.aleatoric + row.epistemic == pytest.approx(row.entropy, abs=1e-9)
        assert row.epistemic >= 0
    assert any("of the doubt would go with more data" in row.sentence for row in found.rows)
    point = interpret(model, held[0][:4], calibration=held, training=training, posterior="point")
    assert all(row.epistemic in (None, 0.0) for row in point.rows)


def test_a_posterior_that_leaves_too_much_open_is_narrowed():
    """A network whose held-out answers are near to certain, and a posterior that says otherwise."""
    from chainrule.lens.interpret.doubt import drawn_in, width_of

    rng = np.random.default_rng(0)
    z = 6.0 * np.eye(3)[rng.integers(3, size=500)]
    p = softmax(z)
    y = (z + rng.gumbel(size=z.shape)).argmax(1)
    draws = softmax(np.reshape(z + rng.normal(0, 8, (40, *z.shape)), (-1, 3))).reshape(40, -1, 3)
    width = width_of(draws, p, y)
    assert width < 0.5
    narrow, wide = drawn_in(draws, p, width), drawn_in(draws, p, 1.0)
    np.testing.assert_allclose(wide.draws, draws, atol=1e-9)
    assert -narrow.log_prob(y).mean() < -wide.log_prob(y).mean()
    assert narrow.epistemic.mean() < wide.epistemic.mean()


def test_rows_outside_of_what_was_seen_are_named(trained):
    model, training, held = trained
    far = np.array([[0.1, 9.0, 0.0], [0.1, 0.2, 0.0]], np.float32)
    found = interpret(model, far, calibration=held, training=training, detail=0,
                      columns=["a", "b", "c"])  # fmt: skip
    assert found[0].strange
    assert not found[1].strange
    assert found[0].outside[0].column == "b"
    assert "lies outside of what the network saw, in b = 9" in found[0].sentence
    assert "1 of 2 rows lies outside" in found.sentence


def test_rows_that_were_learnt_or_held_out_are_said_to_be(trained):
    model, training, held = trained
    rows = np.concatenate([training[0][:3], held[0][:2]])
    said = told(interpret(model, rows, calibration=held, training=training, detail=0))
    assert "3 of these rows are among the training rows" in said
    assert "2 of these rows are among the held-out ones" in said


def test_estimators_answer_in_their_own_words():
    rng = np.random.default_rng(0)
    x = rng.normal(size=(400, 2))
    y = np.where(x[:, 0] > 0, "yes", "no")
    clf = cr.Classifier(hidden=(8,), epochs=15, dropout=0.0).fit(x[:250], y[:250])
    found = interpret(clf, x[390:], y[390:], calibration=(x[250:390], y[250:390]))
    assert {row.answer for row in found.rows} <= {"yes", "no"}
    assert [row.truth for row in found.rows] == y[390:].tolist()
    # The network's own probabilities: recalibrating them keeps which answer is likeliest.
    assert [row.answer for row in found.rows] == clf.predict(x[390:]).tolist()


# Real targets


def test_real_targets():
    """y = 3 a + noise of 0.5, in a unit of its own."""
    rng = np.random.default_rng(0)
    x = rng.normal(size=(700, 2))
    y = 100 + 30 * x[:, 0] + 5 * rng.normal(size=700)
    reg = cr.Regressor(hidden=(8,), epochs=80, seed=0).fit(x[:400], y[:400])
    found = interpret(reg, x[600:], y[600:], calibration=(x[400:600], y[400:600]),
                      training=(x[:400], y[:400]))  # fmt: skip
    facts = found.calibration
    assert facts.rmse == pytest.approx(5, rel=0.3)
    assert facts.nothing == pytest.approx(y[400:600].std(), rel=0.1)
    assert facts.said == pytest.approx(facts.rmse, rel=0.3)
    truth = y[600:]
    inside = [row.low <= t <= row.high for row, t in zip(found.rows, truth, strict=True)]
    assert found.judged.covered == sum(inside)
    assert 0.8 < np.mean(inside) <= 1
    assert found.judged.rmse == pytest.approx(
        np.sqrt(np.mean((np.array(found.table["answer"]) - truth) ** 2))
    )
    assert found[0].std == pytest.approx(5, rel=0.4)
    assert float(found[0].truth) == pytest.approx(truth[0], rel=1e-4)
    np.testing.assert_allclose(found.table["answer"], reg.predict(x[600:]), rtol=1e-4)


def test_a_spread_that_is_too_small_is_found_so():
    """The noise of the training rows is a third of that of the held-out ones."""
    rng = np.random.default_rng(1)
    x = rng.normal(size=(500, 1)).astype(np.float32)
    y = 2 * x[:, 0] + rng.normal(0, np.where(np.arange(500) < 250, 0.1, 0.3))
    model = nn.Linear(1, 1)
    model.weight.assign(cr.asarray([[2.0]]))
    model.bias.assign(cr.asarray([0.0]))
    found = interpret(model, x[:2], calibration=(x[250:], y[250:]), training=(x[:250], y[:250]))
    assert "over-confident; its standard deviations should be multiplied" in found.sentence
    assert found.calibration.factor == pytest.approx(3, rel=0.2)


def test_methods_are_compared_on_the_same_prior_and_noise(monkeypatch):
    from chainrule.posteriors import compare as comparing

    asked = {}

    def compare(model, data, x, **own):
        asked.update(own, rows=len(data[0]), x=len(x))

    monkeypatch.setattr(comparing, "compare", compare)
    rng = np.random.default_rng(0)
    x = rng.normal(size=(100, 2)).astype(np.float32)
    line = nn.Linear(2, 1)
    line.weight.assign(cr.asarray([[1.0, 1.0]]))
    line.bias.assign(cr.asarray([0.0]))
    y = x.sum(1) + 0.25 * np.tile([1.0, -1.0], 50)
    interpret(line, x[:3], training=(x, y), compare=True, detail=0)
    assert asked == {"precision": 1.0, "noise": pytest.approx(0.25), "rows": 100, "x": 3}
    wide = nn.Sequential(nn.Linear(2, 300), nn.Tanh(), nn.Linear(300, 1))
    with pytest.raises(DataError, match=r"1,201 weights.*500 at most"):
        interpret(wide, x[:3], training=(x, y), compare=True, detail=0)
    with pytest.raises(DataError, match="its training rows are needed"):
        interpret(line, x[:3], compare=True, detail=0)


# Bad input


@pytest.mark.parametrize(
    ("given", "error", "said"),
    [
        ({"calibration": (np.eye(3), [0, 1])}, ShapeError, "3 rows"),
        ({"calibration": (np.eye(3), [0, 1, 7])}, DataError, "7"),
        ({"calibration": (np.full((4, 3), 0.5), [0, 1, 2, 0])}, DataError, "adds up to 1.5"),
        ({"calibration": (np.eye(2), [0, 1])}, ShapeError, "2 classes"),
        ({"calibration": np.eye(3)}, DTypeError, "pair"),
        ({"coverage": 1.5}, DataError, "share between 0 and 1"),
        ({"x": np.eye(3)}, DTypeError, "no network"),
        ({"posterior": "laplace"}, DataError, "no weights"),
        ({"y": [0, 1]}, ShapeError, "rows"),
    ],
)
def test_what_cannot_be_is_refused(given, error, said):
    with pytest.raises(error, match=said):
        interpret(np.eye(3), **given)


def test_what_a_network_cannot_take_is_refused(trained):
    model, training, held = trained
    with pytest.raises(DTypeError, match="takes the rows"):
        interpret(model)
    with pytest.raises(ShapeError):
        interpret(model, np.ones((2, 5), np.float32))
    with pytest.raises(DataError, match="nan"):
        interpret(model, np.full((2, 3), np.nan, np.float32))
    with pytest.raises(DataError, match="no method"):
        interpret(model, held[0][:2], calibration=held, training=training, method="tea-leaves")
    with pytest.raises(DTypeError, match="posterior is 'tea'"):
        interpret(model, held[0][:2], training=training, posterior="tea")
    with pytest.raises(DataError, match="no class"):
        interpret(model, held[0][:2], calibration=(held[0], np.full(400, "x")))


def test_data_are_json(trained):
    model, training, held = trained
    found = interpret(model, held[0][:3], held[1][:3], calibration=held, training=training)
    data = json.loads(json.dumps(found.to_dict(), allow_nan=False))
    assert data["sentence"] == found.sentence
    assert len(data["rows"]) == 3
    assert data["calibration"]["rows"] == 400
    assert data["table"]["answer"] == found.table["answer"]
    assert Interpretation("x").to_dict()["rows"] == []
