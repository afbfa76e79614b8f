"""`explain`: the steps, their numbers, and that a wrong step is seen."""

import math

import numpy as np
import pytest

import chainrule as cr
from chainrule import nn
from chainrule.ops.declare import elementwise
from chainrule.ops.operation import registry
from chainrule.tensor.generator import default


@pytest.fixture
def model():
    cr.seed(0)
    return nn.Sequential(nn.Linear(3, 4), nn.Tanh(), nn.Dropout(0.5), nn.Linear(4, 2))


X = np.array([[0.5, -1.0, 2.0]], dtype=np.float32)


def test_steps_are_those_of_the_network(model):
    derivation = cr.explain(model, X, np.array([1]), loss=nn.cross_entropy)
    assert derivation.verified
    forward = [step for section in derivation.sections[:2] for step in section.walk()]
    operations = [step.operation for step in forward]
    assert operations == ["linear", "tanh", "linear", "softmax_cross_entropy", "mean"]
    assert [step.module for step in derivation.steps[:3]] == ["0", "1", "3"]
    by_hand = np.tanh(X @ model[0].weight.numpy().T + model[0].bias.numpy())
    assert derivation.steps[1].value == pytest.approx(by_hand, abs=1e-6)
    assert derivation.steps[0].place.startswith("test_explain.py:")
    assert forward[-1].name == "L"


def test_the_loss_is_minus_log_of_the_probability(model):
    derivation = cr.explain(model, X, np.array([1]), loss=nn.cross_entropy)
    loss = derivation["L"].value.item()
    (note,) = derivation.steps[3].notes
    assert f"{math.exp(-loss):.4g}" in note
    assert f"= {loss:.4g}" in note


def test_numbers_add_up(model):
    """The terms that are written out give the result that is written beside them."""
    step = cr.explain(model, X).steps[0]
    left, right = step.numbers.split(" = ", 1)[1].rsplit(" = ", 1)
    text = left.replace("·", "*").replace("−", "-")
    assert eval(text) == pytest.approx(float(right.replace("−", "-")), rel=2e-3)


def test_the_model_is_left_as_it_was(model):
    before = {k: v.tobytes() for k, v in model.state_dict().items()}
    state = default.state
    model.train()
    cr.explain(model, X, np.array([0]), loss=nn.cross_entropy)
    assert model.training
    assert model[2].training
    assert before == {k: v.tobytes() for k, v in model.state_dict().items()}
    assert all(p.grad is None for p in model.parameters())
    assert state == default.state


def test_an_operation_that_computes_something_else_than_its_formula_is_seen():
    before = dict(registry)
    try:
        wrong = elementwise(
            "wrong",
            lambda x: np.tanh(x) * 1.001,
            formula="tanh(x)",
            derivative=lambda x, y: 1 - y * y,
        )
        derivation = cr.explain(wrong, np.array([0.5]))
    finally:
        registry.clear()
        registry.update(before)
    assert not derivation.verified
    assert "does not hold" in str(derivation)
    assert not derivation.to_dict()["steps"][0]["check"]["holds"]


def test_data_and_text(model):
    derivation = cr.explain(model, X, np.array([1]), loss=nn.cross_entropy)
    data = derivation.to_dict()
    assert data["verified"] is True
    assert len(data["steps"]) == len(derivation.steps) == 5 + 10  # forward, and back
    assert data["steps"][0]["formula"]["plain"].startswith("y[…, i] = Σ_j weight[i, j]")
    text = str(derivation)
    assert f"in {len(derivation.steps)} steps recomputed" in text
    assert "0.weight" in text


def test_at_a_prompt_a_line_says_what_it_is(model):
    derivation = cr.explain(model, X, np.array([1]), loss=nn.cross_entropy)
    steps = f"{len(derivation.steps)} steps; print shows them"
    assert repr(derivation) == f"<Explanation Sequential on an input of shape {X.shape}, {steps}>"
    assert repr(derivation["z1"]) == "<Step z1 = linear(x, 0.weight, 0.bias)>"
    assert repr(derivation.sections[0]) == "<Section Forward pass, 3 parts>"


def test_convolutions_and_attention_are_explained():
    cr.seed(0)
    net = nn.Sequential(
        nn.Conv2d(1, 2, 3), nn.ReLU(), nn.MaxPool2d(2), nn.Flatten(), nn.Linear(8, 2)
    )
    image = np.random.default_rng(0).normal(size=(1, 1, 6, 6)).astype(np.float32)
    derivation = cr.explain(net, image)
    assert derivation.verified
    assert [s.operation for s in derivation.steps][:3] == ["conv2d", "relu", "max_pool2d"]
    q = np.random.default_rng(1).normal(size=(3, 4))
    found = cr.explain(lambda q: nn.scaled_dot_product_attention(q, q, q, is_causal=True), q)
    assert found.verified
    assert found.steps[-1].operation == "scaled_dot_product_attention"


def test_nothing_to_explain():
    with pytest.raises(cr.ChainruleError, match="no operation of chainrule led to it"):
        cr.explain(lambda x: 3.0, X)


def test_a_model_of_several_inputs():
    class Both(nn.Module):
        def __init__(self):
            self.left, self.right = nn.Linear(3, 2), nn.Linear(4, 2)

        def forward(self, a, b):
            return self.left(a) * cr.sigmoid(self.right(b))

    cr.seed(0)
    model, rng = Both(), np.random.default_rng(0)
    a, b = rng.normal(size=(5, 3)), rng.normal(size=(5, 4))
    found = cr.explain(model, (a, b), np.array([0, 1, 1, 0, 1]), loss=nn.cross_entropy)
    assert found.verified, found.verdict()
    assert "x1 (5, 3), x2 (5, 4) → Both" in found.text("black box")
    assert found.steps[0].operands == ("x1", "left.weight", "left.bias")
    assert found.weight("right.weight[1, 2]").verified
    assert "x2" in found.html()
    assert found.shapes().verified
