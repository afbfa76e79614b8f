"""One weight: its paths against an enumeration in NumPy, its gradient against differences."""

import itertools
from dataclasses import replace

import numpy as np
import pytest

import chainrule as cr
from chainrule import nn
from chainrule.lens.explain.explanation import Explanation
from chainrule.lens.explain.questions import paths as paths_module
from chainrule.lens.explain.questions.paths import Paths, product
from chainrule.lens.explain.questions.slopes import curvature, slope
from chainrule.lens.explain.record import record
from chainrule.ops.notation.tree import Datum
from chainrule.ops.trigonometry import tanh
from chainrule.tensor.generator import default

rng = np.random.default_rng(0)
X = rng.normal(size=(5, 3))
Y = np.array([0, 1, 1, 0, 1])


def mlp(dtype="float64"):
    cr.seed(0)
    return nn.Sequential(nn.Linear(3, 4), nn.Tanh(), nn.Linear(4, 2)).to(dtype)


def weights(model):
    return [p.numpy(copy=True).astype(np.float64) for p in model.parameters()]


def loss(w1, b1, w2, b2):
    """The same network in NumPy."""
    logits = np.tanh(X @ w1.T + b1) @ w2.T + b2
    shifted = logits - logits.max(1, keepdims=True)
    return -(shifted[range(5), Y] - np.log(np.exp(shifted).sum(1))).mean()


def enumerated(w1, b1, w2, b2, i, j):
    """The product along every path from w1[i, j]: through each example n and each logit k."""
    a = np.tanh(X @ w1.T + b1)
    logits = a @ w2.T + b2
    p = np.exp(logits) / np.exp(logits).sum(1, keepdims=True)
    return {
        (n, k): X[n, j] * (1 - a[n, i] ** 2) * w2[k, i] * (p[n, k] - (k == Y[n])) / 5
        for n, k in itertools.product(range(5), range(2))
    }


def asked(model, x, y=None, loss=None, training=False):
    """An explanation of which only questions are asked."""
    recorded = record(model, x, y, loss=loss, training=training)
    return Explanation("", (), recorded.given, recorded=recorded)


def explained(model=None, x=X, **options):
    return asked(model or mlp(), x, Y, loss=nn.cross_entropy, **options)


def failing(derivation):
    return [(step.name, str(step.check)) for step in derivation.failed]


def test_paths_are_those_of_an_enumeration():
    model = mlp()
    derivation = explained(model).weight("0.weight[1, 2]")
    expected = enumerated(*weights(model), 1, 2)
    largest = sorted(expected.values(), key=abs, reverse=True)
    found = [derivation[f"path {i}"].value.item() for i in range(1, 6)]
    assert found == pytest.approx(largest[:5], rel=1e-10)
    whole = derivation["∂L/∂0.weight[1, 2] over paths"]
    assert "[5 more terms" in whole.numbers
    assert whole.value == pytest.approx(sum(largest), rel=1e-10)
    assert derivation["number of paths"].value == 10
    assert derivation.verified, failing(derivation)


def test_a_path_is_written_with_its_local_derivatives():
    model = mlp()
    step = explained(model).weight("0.weight[1, 2]")["path 1"]
    (n, k), expected = max(enumerated(*weights(model), 1, 2).items(), key=lambda item: abs(item[1]))
    title = f"path 1: 0.weight[1, 2] → z1[{n}, 1] → a1[{n}, 1] → z2[{n}, {k}] → a2[{n}] → L"
    assert step.title == title
    w1, b1, w2, _ = weights(model)
    first, second, third, _, last = (datum.value for datum in step.elements[0].instance.data)
    assert (first, third, last) == pytest.approx((X[n, 2], w2[k, 1], 1 / 5), rel=1e-12)
    assert second == pytest.approx(1 - np.tanh(X[n] @ w1[1] + b1[1]) ** 2, rel=1e-12)
    assert step.value == pytest.approx(expected)


def test_the_units_of_a_later_layer_carry_the_gradient():
    model = mlp()
    step = explained(model).weight("0.weight[1, 2]")["∂L/∂0.weight[1, 2] by way of z2"]
    # Through the logit k of the example n, both paths of which are one here.
    expected = enumerated(*weights(model), 1, 2)
    assert step.value == pytest.approx(sum(expected.values()), rel=1e-10)
    first, second = (datum.value for datum in step.elements[0].instance.data[:2])
    assert first * second == pytest.approx(max(expected.values(), key=abs), rel=1e-10)
    assert step.verified


@pytest.mark.parametrize(("name", "which", "index"), [
    ("0.weight[1, 2]", 0, (1, 2)), ("0.bias[3]", 1, (3,)), ("2.weight[ 1,0 ]", 2, (1, 0)),
    ("2.weight[-1, -4]", 2, (1, 0)), ("2.bias[0]", 3, (0,)),
])  # fmt: skip
def test_gradient_curvature_and_changes_against_numpy(name, which, index):
    model = mlp()
    derivation = explained(model).weight(name)
    assert derivation.verified, failing(derivation)

    def moved(by):
        changed = weights(model)
        changed[which][index] += by
        return loss(*changed)

    h = 1e-4
    slope_, bend = (moved(h) - moved(-h)) / (2 * h), (moved(h) - 2 * moved(0) + moved(-h)) / h**2
    shown = f"{['0.weight', '0.bias', '2.weight', '2.bias'][which]}{list(index)}"
    assert derivation[f"∂L/∂{shown}"].value == pytest.approx(slope_, rel=1e-6)
    assert derivation[f"∂²L/∂{shown}²"].value == pytest.approx(bend, rel=1e-4)
    for by, sign in ((0.01, "+"), (-0.01, "−")):
        tried = derivation[f"ΔL tried ({shown} {sign} 0.01)"].value
        assert tried == pytest.approx(moved(by) - moved(0), rel=1e-9)
        expected = derivation[f"ΔL expected ({shown} {sign} 0.01)"].value
        assert expected == pytest.approx(by * slope_ + by**2 / 2 * bend, rel=1e-6)


class Twice(nn.Module):
    def __init__(self):
        self.inner = nn.Linear(3, 3, bias=False)

    def forward(self, x):
        h = x + self.inner(x)
        return h + self.inner(h)


def test_a_network_with_two_ways_round_a_layer():
    """A residual connection: paths with the layer and without it, and a weight used twice."""
    cr.seed(1)
    model = Twice().to("float64")
    target = rng.normal(size=(5, 3))
    derivation = asked(model, X, target, loss=nn.mse_loss).weight("inner.weight[0, 1]")
    assert derivation.verified, failing(derivation)
    w = model.inner.weight.numpy(copy=True)
    h = X + X @ w.T
    out = h + h @ w.T
    delta = 2 * (out - target) / 15
    # The second use; the first by way of the residual; the first through the second layer.
    second = [h[n, 1] * delta[n, 0] for n in range(5)]
    around = [X[n, 1] * delta[n, 0] for n in range(5)]
    through = [X[n, 1] * w[k, 0] * delta[n, k] for n in range(5) for k in range(3)]
    every = sorted([*second, *around, *through], key=abs, reverse=True)
    assert derivation["number of paths"].value == len(every)
    found = [derivation[f"path {i}"].value.item() for i in range(1, 6)]
    assert found == pytest.approx(every[:5], rel=1e-10)
    assert derivation["∂L/∂inner.weight[0, 1]"].value == pytest.approx(sum(every), rel=1e-10)


class Sequence(nn.Module):
    def __init__(self):
        self.table = nn.Embedding(6, 4)
        self.recurrent = nn.LSTM(4, 3, batch_first=True)
        self.out = nn.Linear(3, 2)

    def forward(self, x):
        return self.out(self.recurrent(self.table(x))[0][:, -1])


class Attending(nn.Module):
    def __init__(self):
        self.table = nn.Embedding(6, 8)
        self.layer = nn.TransformerEncoderLayer(8, 2, 8, batch_first=True)
        self.out = nn.Linear(8, 2)

    def forward(self, x):
        return self.out(self.layer(self.table(x)).mean(axis=1))


def images():
    return nn.Sequential(
        nn.Conv2d(1, 2, 3), nn.BatchNorm2d(2), nn.ReLU(), nn.MaxPool2d(2), nn.Dropout(0.4),
        nn.Flatten(), nn.Linear(18, 2),
    )  # fmt: skip


IDS = np.array([[0, 1, 2, 3], [5, 1, 0, 4]])
PICTURES = rng.normal(size=(2, 1, 8, 8)).astype(np.float32)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize(("build", "x", "names", "training"), [
    (Sequence, IDS, ["recurrent.weight_hh_l0[2, 1]", "table.weight[1, 0]"], False),
    (Attending, IDS, ["layer.self_attn.in_proj_weight[3, 2]", "layer.norm1.weight[0]"], False),
    (images, PICTURES, ["0.weight[1, 0, 2, 1]", "1.weight[0]", "6.weight[1, 7]"], False),
    (images, PICTURES, ["0.weight[1, 0, 2, 1]", "1.weight[0]", "0.bias[0]"], True),
])  # fmt: skip
def test_every_kind_of_network(build, x, names, training, dtype):
    cr.seed(3)
    model = build().to(dtype)
    explanation = asked(
        model, x, np.array([0, 1]), loss=nn.cross_entropy, training=training
    )  # fmt: skip
    for name in names:
        derivation = explanation.weight(name)
        assert derivation.verified, failing(derivation)
        gradient = derivation.steps[0].value
        total = next(s for s in derivation.steps if s.name.endswith("over paths")).value
        assert total == pytest.approx(gradient, rel=1e-3, abs=1e-6)


def test_the_model_is_left_as_it_was():
    cr.seed(4)
    model = images()
    before = {k: v.tobytes() for k, v in model.state_dict().items()}
    explanation = asked(
        model, PICTURES, np.array([0, 1]), loss=nn.cross_entropy, training=True
    )  # fmt: skip
    state = default.state
    assert explanation.weight("0.weight[0, 0, 0, 0]").verified
    assert before == {k: v.tobytes() for k, v in model.state_dict().items()}
    assert state == default.state
    assert model.training
    assert all(p.grad is None for p in model.parameters())


def test_training_afterwards_changes_no_answer():
    model = mlp()
    explanation = explained(model)
    before = explanation.weight("0.weight[1, 2]")
    slope_ = before.steps[0].value.item()
    optimizer = cr.optim.SGD(model.parameters(), lr=0.5)
    nn.cross_entropy(model(cr.asarray(X)), cr.asarray(Y)).backward()
    optimizer.step()
    assert before.verified, failing(before)
    after = explanation.weight("0.weight[1, 2]")
    assert after.verified, failing(after)
    assert after.steps[0].value == slope_
    assert after["path 1"].value == before["path 1"].value


def test_dropout_drops_the_same_when_a_change_is_tried():
    cr.seed(5)
    model = nn.Sequential(nn.Linear(3, 40), nn.Dropout(0.5), nn.Linear(40, 2)).to("float64")
    explanation = explained(model, training=True)
    cr.random.uniform((7,))  # what is drawn in between makes no difference
    derivation = explanation.weight("0.weight[0, 0]")
    assert derivation.verified, failing(derivation)
    before = derivation["ΔL tried (0.weight[0, 0] + 0.01)"].elements[0].instance.data[1].value
    assert before == pytest.approx(explanation.recorded.result.value.item(), rel=1e-12)


def test_asked_of_an_explanation():
    derivation = cr.explain(mlp("float32"), X, Y, loss=nn.cross_entropy).weight("0.weight[1, 2]")
    assert derivation.title == "The weight 0.weight[1, 2]"
    assert derivation.verified, failing(derivation)


# Where nothing arrives


def test_a_dead_unit_is_named():
    cr.seed(0)
    model = nn.Sequential(nn.Linear(3, 2), nn.ReLU(), nn.Linear(2, 1)).to("float64")
    model[0].bias.assign(np.array([-50.0, 0.0]))
    derivation = asked(model, X, X[:, :1], loss=nn.mse_loss).weight("0.weight[0, 1]")
    assert derivation.verified, failing(derivation)
    assert derivation.steps[0].value == 0
    why = next(step for step in derivation.steps if step.title.startswith("Why it is 0"))
    assert why.title == "Why it is 0: relu lets no change of z1 through to a1"
    assert "0.weight[0, 1] changes 5 elements of z1" in why.notes[0]
    assert not any(step.name.startswith("path") for step in derivation.steps)
    assert derivation["ΔL tried (0.weight[0, 1] + 0.01)"].value == 0


def test_an_input_of_zeros_and_a_word_that_does_not_occur():
    x = X.copy()
    x[:, 1] = 0
    derivation = explained(x=x).weight("0.weight[2, 1]")
    assert derivation.verified, failing(derivation)
    why = next(step for step in derivation.steps if step.title.startswith("Why it is 0"))
    assert "linear" in why.title
    cr.seed(0)
    model = Sequence()
    explanation = asked(model, IDS[:1], np.array([0]), loss=nn.cross_entropy)
    derivation = explanation.weight("table.weight[5, 0]")
    assert derivation.verified
    assert any("not looked up" in note for step in derivation.steps for note in step.notes)


def test_a_path_that_stops_where_it_does_not_is_seen():
    """The claim that an operation lets nothing through fails where it lets something through."""
    cr.seed(0)
    model = nn.Sequential(nn.Linear(3, 2), nn.ReLU(), nn.Linear(2, 1)).to("float64")
    model[0].bias.assign(np.array([-50.0, 50.0]))
    explanation = asked(model, X, X[:, :1], loss=nn.mse_loss)
    dead = explanation.weight("0.weight[0, 1]")
    (why,) = (step for step in dead.steps if step.title.startswith("Why it is 0"))
    (claim,) = why.claims
    alive = Paths(explanation.recorded, claim.paths.leaf, 4)
    assert not replace(why, claims=(replace(claim, paths=alive),)).verified
    assert not replace(why, value=why.value + 1e-3).verified


def test_cancelling_paths():
    """A bias in front of batch normalisation: many paths, whose sum is 0."""
    cr.seed(6)
    model = nn.Sequential(nn.Linear(3, 2), nn.BatchNorm1d(2), nn.Linear(2, 2)).to("float64")
    derivation = explained(model, training=True).weight("0.bias[0]")
    assert derivation.verified, failing(derivation)
    assert abs(derivation.steps[0].value) < 1e-15
    assert abs(derivation["path 1"].value) > 1e-3


def test_a_weight_at_a_kink():
    """ReLU at exactly 0: the derivative lies between the slopes of both sides."""
    model = nn.Sequential(nn.Linear(1, 1), nn.ReLU()).to("float64")
    model[0].weight.assign(np.zeros((1, 1)))
    model[0].bias.assign(np.zeros(1))
    x = np.array([[1.0]])
    derivation = asked(model, x, np.ones((1, 1)), loss=nn.mse_loss).weight("0.weight[0, 0]")
    assert derivation.verified, failing(derivation)
    assert derivation.steps[0].value == 0


# Large networks


def test_too_many_paths(monkeypatch):
    model = mlp()
    exact = explained(model).weight("0.weight[1, 2]")
    monkeypatch.setattr(paths_module, "WORK", 0)
    derivation = explained(model).weight("0.weight[1, 2]")
    assert derivation.verified, failing(derivation)
    # Every walk has the same choices here, so that the estimate is exact.
    assert derivation["number of paths"].value == exact["number of paths"].value
    whole = derivation["∂L/∂0.weight[1, 2] over paths"]
    assert whole.value == pytest.approx(exact.steps[0].value, rel=1e-12)
    expected = enumerated(*weights(model), 1, 2).values()
    for i in range(1, 6):
        value = derivation[f"path {i}"].value
        assert any(value == pytest.approx(other, rel=1e-10) for other in expected)
    assert "too many paths" in whole.notes[0]


def test_the_estimate_of_the_number_of_paths(monkeypatch):
    cr.seed(7)
    model = Attending()
    options = {"loss": nn.cross_entropy}
    name = "layer.linear1.weight[0, 0]"
    exact = asked(model, IDS, np.array([0, 1]), **options).weight(name)["number of paths"]
    monkeypatch.setattr(paths_module, "WORK", 0)
    found = asked(model, IDS, np.array([0, 1]), **options).weight(name)["number of paths"]
    assert found.value == pytest.approx(exact.value, rel=0.5)


def test_chunks_of_columns_give_the_same(monkeypatch):
    recorded = record(mlp(), X, Y, loss=nn.cross_entropy)
    leaf = recorded.parameters["0.weight"]._node
    whole = Paths(recorded, leaf, 5)
    monkeypatch.setattr(paths_module, "CHUNK", 1)
    pieces = Paths(recorded, leaf, 5)
    assert whole.count == pieces.count == 10
    assert [product(p) for p in whole.largest()[0]] == [product(p) for p in pieces.largest()[0]]


# What is altered is seen


def altered(step):
    """The step with one of its numbers altered, in every way."""
    if step.value is not None:
        yield replace(step, value=step.value * (1 + 1e-4) + (1e-4 if not step.value.any() else 0))
    for at, element in enumerate(step.elements):
        instance = element.instance
        for datum in {d for d in instance.data if isinstance(d, Datum)}:
            other = replace(datum, value=datum.value * (1 + 1e-4))
            written = swapped(instance.written, datum, other)
            changed = replace(element, instance=replace(instance, written=written))
            yield replace(step, elements=(*step.elements[:at], changed, *step.elements[at + 1 :]))


def swapped(part, old, new):
    if part == old:
        return new
    if hasattr(part, "left"):
        return replace(part, left=swapped(part.left, old, new), right=swapped(part.right, old, new))
    return part


def test_every_altered_number_is_seen():
    derivation = explained().weight("0.weight[1, 2]")
    count = 0
    for step in derivation.steps:
        assert step.verified, step.name
        for wrong in altered(step):
            count += 1
            assert not wrong.verified, wrong.title
    assert count > 60


@pytest.mark.parametrize("factor", [1.01, -1.0, 0.0])
def test_a_wrong_derivative_is_seen(monkeypatch, factor):
    pull = type(tanh).pull

    def wrong(self, node, gradient, *rest):
        found = pull(self, node, gradient, *rest)
        return [None if f is None else f * factor for f in found] if self is tanh else found

    monkeypatch.setattr(type(tanh), "pull", wrong)
    derivation = explained(mlp("float32")).weight("0.weight[1, 2]")
    assert not derivation.verified
    assert not derivation.steps[0].verified


def test_a_wrong_local_derivative_is_seen(monkeypatch):
    push = type(tanh).push

    def wrong(self, tangents, node, *rest):
        found = push(self, tangents, node, *rest)
        return found * 1.01 if self is tanh else found

    monkeypatch.setattr(type(tanh), "push", wrong)
    derivation = explained().weight("0.weight[1, 2]")
    assert not derivation["path 1"].verified
    assert "difference quotients" in derivation["path 1"].check.route


# What is asked for wrongly


@pytest.mark.parametrize(("name", "kind", "words"), [
    ("0.weight[4, 0]", IndexError, r"\(4, 3\): the index 4 of axis 0 goes from 0 to 3"),
    ("0.weight[0, -4]", IndexError, "the index -4 of axis 1 goes from 0 to 2"),
    ("0.weight", ValueError, r"no single weight.*0\.weight\[0, 0\] … 0\.weight\[3, 2\]"),
    ("0.weight[1]", ValueError, "no single weight"),
    ("0.weight[1, x]", ValueError, "no single weight"),
    ("0.weigth[1, 2]", ValueError, r"no parameter '0.weigth'; close are 0\.weight"),
    ("nothing[1]", ValueError, r"There are 0\.weight, 0\.bias, 2\.weight, 2\.bias"),
    ("", ValueError, "no parameter ''"),
    ("]0[", ValueError, "no parameter"),
    (3, TypeError, "named by text"),
])  # fmt: skip
def test_names_that_mean_nothing(name, kind, words):
    explanation = explained()
    with pytest.raises(kind, match=words) as caught:
        explanation.weight(name)
    assert isinstance(caught.value, cr.ChainruleError)


def test_weights_without_a_gradient():
    model = mlp()
    model[0].requires_grad_(False)
    with pytest.raises(cr.GradientError, match=r"0\.weight is frozen"):
        explained(model).weight("0.weight[0, 0]")
    model = Twice()
    model.unused = nn.Linear(2, 2)
    with pytest.raises(cr.GradientError, match=r"no path leads from unused\.weight to the loss"):
        asked(model, X, X, nn.mse_loss).weight("unused.weight[0, 0]")
    with pytest.raises(cr.ChainruleError, match="starts at a single number"):
        asked(mlp(), X).weight("0.weight[0, 0]")
    with pytest.raises(cr.DataError, match="has no parameters"):
        asked(lambda x: (x * x).sum(), X).weight("w[0]")
    bad = X.copy()
    bad[0, 0] = np.nan
    with pytest.raises(cr.ChainruleError, match="the loss is nan"):
        explained(x=bad).weight("0.weight[0, 0]")


# Slopes


@pytest.mark.parametrize(("f", "value"), [
    (lambda t: np.sin(t + 0.3) - np.sin(0.3), np.cos(0.3)),
    (lambda t: 3 * t, 3.0),
    (lambda t: t**3, 0.0),
    (lambda t: np.exp(5 * t) - 1, 5.0),
])  # fmt: skip
def test_slopes_lie_within_their_bound(f, value):
    found, bound = slope(f, 1e-3, 1e-16)
    assert abs(found - value) <= bound < 1e-3


@pytest.mark.parametrize("place", [*np.linspace(-1.2, 1.2, 49), 0.0])
def test_a_kink_anywhere_near_lies_within_the_bound(place):
    """|t − place·h| and a curved part: the slope at 0 is what it is, or one of the two at 0."""
    h = 1e-3

    def f(t):
        return abs(t - place * h) - abs(place * h) + t + t * t

    found, bound = slope(f, h, 1e-16)
    for side in [1.0] if place < 0 else [-1.0] if place > 0 else [-1.0, 0.0, 1.0]:
        assert abs(found - (1 + side)) <= bound + 1e-12


def test_curvatures_lie_within_their_bound():
    found, bound = curvature(lambda t: np.cos(2 * t) - 1, 1e-2, 1e-16)
    assert abs(found + 4) <= bound < 1e-1
    found, bound = curvature(lambda t: max(t, 0.0), 1e-2, 1e-16)
    assert abs(found) <= bound
