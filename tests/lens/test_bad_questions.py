"""Odd input to `explain`: a clear error, or an explanation that is right."""

import functools
import subprocess
import sys

import numpy as np
import pytest

import chainrule as cr
from chainrule import nn, optim
from chainrule.errors import ChainruleError, DataError, DTypeError, ShapeError
from chainrule.lens.explain import Explanation, bayes, broadcast

X = np.random.default_rng(0).normal(size=(5, 3))
Y = np.array([0, 1, 0, 1, 1])


def network() -> nn.Sequential:
    cr.seed(0)
    return nn.Sequential(nn.Linear(3, 4), nn.Tanh(), nn.Linear(4, 2))


@pytest.fixture(scope="module")
def explanation() -> Explanation:
    return cr.explain(network(), X, Y, loss=nn.cross_entropy)


def proof_runs(derivation, tmp_path) -> bool:
    path = derivation.save(tmp_path / "proof.py")
    done = subprocess.run([sys.executable, "-I", path], capture_output=True, text=True, check=False)
    assert not done.returncode, done.stderr
    return True


@pytest.mark.parametrize(
    ("ask", "kind", "message"),
    [
        (lambda e: e.open(3), DTypeError, "a step is named by text"),
        (lambda e: e.part(3), DataError, "there is no section 3"),
        (lambda e: e.save(None), DTypeError, "named by its path"),
        (lambda e: e.probability(classes=3), DTypeError, "classes are names"),
        (lambda e: cr.explain(network(), X, Y, loss="mse"), DTypeError, "a loss is a function"),
        (lambda e: cr.explain(network(), X, names={3: X}), DTypeError, "names are text"),
    ],
)
def test_what_is_no_name_is_refused(explanation, ask, kind, message):
    with pytest.raises(kind, match=message):
        ask(explanation)


def test_data_that_were_computed_are_data():
    w = cr.asarray(X)
    w.requires_grad = True
    found = cr.explain(network(), cr.tanh(w) * 2, Y, loss=nn.cross_entropy)
    assert found.verified
    assert [step.operation for step in found.part("Forward").steps] == ["linear", "tanh", "linear"]
    np.testing.assert_allclose(found.given["x"], np.tanh(X) * 2, rtol=1e-6)


def test_what_ran_before_explain_cannot_be_explained():
    w = cr.asarray(X)
    w.requires_grad = True
    before = cr.tanh(w)
    with pytest.raises(ChainruleError, match="`tanh` gave before explain was called"):
        cr.explain(lambda x: x * before, X)
    assert cr.explain(lambda x: x * before.detach(), X).verified


@pytest.mark.parametrize("model", [lambda x: (x.sin(), x.cos()), lambda x: x])
def test_outputs_that_are_no_tensor_of_the_graph_are_written(model):
    def loss(output, y):
        return (output[0] * output[1]).sum()

    found = cr.explain(model, X, Y, loss=loss)
    assert found.verified
    assert "loss(…, y (5,)) → " in found.text("black box")


@pytest.mark.parametrize("name", ["a\nb", "a<b>\"'&\\frac{", "a b" * 40])
def test_odd_names_are_written(name, tmp_path):
    class Odd(nn.Module):
        def __init__(self):
            super().__init__()
            setattr(self, name, nn.Linear(3, 2))

        def forward(self, x):
            return getattr(self, name)(x)

    model = Odd()
    found = cr.explain(
        model, X, Y, loss=nn.cross_entropy, optimizer=optim.SGD(model.parameters(), lr=0.1)
    )
    for derivation in (found, found.weight(f"{name}.weight[0, 0]")):
        assert derivation.text()
        assert derivation.html()
        assert derivation.latex()
        assert proof_runs(derivation, tmp_path)


def test_the_first_steps_of_radam_are_proved(tmp_path):
    """In them a number is chosen where an array could have been."""
    model = network()
    optimizer = optim.RAdam(model.parameters(), lr=0.1)
    found = cr.explain(model, X, Y, loss=nn.cross_entropy, optimizer=optimizer)
    assert found.verified
    assert proof_runs(found, tmp_path)


def test_the_epsilon_of_rms_norm_is_that_of_its_dtype():
    """The check, which is in float64, has the ε of float32: at 0 it is all that there is."""
    layer = nn.RMSNorm(2)
    x = np.array([[1e-9, -2e-9], [3.0, 4.0]])
    found = cr.explain(layer, x, np.ones((2, 2)), loss=nn.mse_loss)
    assert found.verified, [str(step.check) for step in found.failed]
    eps = float(np.finfo(np.float32).eps)
    wide = x.astype(np.float32).astype(np.float64)
    expected = wide / np.sqrt((wide**2).mean(-1, keepdims=True) + eps)
    np.testing.assert_allclose(found.steps[0].value, expected, rtol=1e-6)


def test_numbers_below_the_smallest_are_no_false_alarm(tmp_path):
    """Softplus and SiLU underflow in float32 where they do not in float64."""
    x = cr.asarray([[-170.0, -640.0, 1e-40]], dtype=cr.float32)
    for f in (nn.silu, nn.softplus, nn.sigmoid, lambda x: x * 0.3):
        found = cr.explain(f, x, np.ones(1), loss=lambda output, y: output.sum())
        assert found.verified, [str(step.check) for step in found.failed]
        assert proof_runs(found, tmp_path)


def test_small_probabilities_are_proved(tmp_path):
    """exp(−160) is off by 160 units where its exponent is off by one."""
    x = cr.asarray([[0.3, -160.7, 1.1], [81.3, -75.9, 77.7]], dtype=cr.float64)
    found = cr.explain(nn.softmax, x)
    assert found.verified
    assert proof_runs(found, tmp_path)


@pytest.mark.parametrize("count", [1e300, 10**18, np.inf])
def test_counts_that_float64_cannot_tell_apart_are_refused(count):
    with pytest.raises(DataError, match="whole numbers from 0 to 100,000,000"):
        bayes([[count, 1], [1, 1]])
    assert bayes([[10**8, 1], [1, 10**8]]).verified


@pytest.mark.parametrize("shapes", [((1,) * 70, (2,)), ((10**12,), (10**12, 1))])
def test_arrays_that_cannot_exist_are_not_broadcast(shapes):
    with pytest.raises(ShapeError, match=r"axes|cannot exist"):
        broadcast(*shapes)
    assert broadcast((10**12,), (0, 1)).verified


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("value", [np.inf, -np.inf, np.nan, 1e30])
def test_rows_that_are_not_finite_give_no_warning(value):
    x = X.copy()
    x[2, 1] = value
    found = cr.explain(network(), x, Y, loss=nn.cross_entropy)
    assert found.verified, [str(step.check) for step in found.failed]
    assert found.text()
    assert found.shapes().verified
    assert cr.explain(cr.logsumexp, np.full(2, -np.inf)).verified


def test_a_compiled_module_is_explained_as_the_module():
    model = nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4), nn.Dropout(0.5), nn.Linear(4, 2))
    means = np.array(model[1].running_mean)
    found = cr.explain(cr.compile(model), X, Y, loss=nn.cross_entropy)
    expected = cr.explain(model, X, Y, loss=nn.cross_entropy)
    assert found.verified
    np.testing.assert_array_equal(found["L"].value, expected["L"].value)
    assert found.weight("0.weight[0, 0]").verified
    np.testing.assert_array_equal(np.array(model[1].running_mean), means)
    assert model.training


@pytest.mark.parametrize("path", ["", ".", "x.pdf", "x"])
def test_files_without_a_known_ending_are_refused(explanation, path):
    with pytest.raises(DataError, match="a derivation is saved as"):
        explanation.save(path, kind=".html" if path in ("", ".") else "")


@pytest.mark.parametrize("logits", [[800.0, 801.0, 802.0], [-900.0, -901.0, -905.0]])
def test_a_softmax_whose_sum_is_no_floating_point_number(logits, tmp_path):
    found = cr.explain(nn.softmax, np.array([logits]))
    assert found.verified
    shifted = np.exp(np.array(logits) - max(logits))
    assert found.steps[-1].value[0] == pytest.approx(shifted / shifted.sum())
    proof = found.save(tmp_path / "proof.py")
    done = subprocess.run([sys.executable, "-I", str(proof)], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def test_a_loss_that_is_no_single_number_says_why_there_is_no_backward_pass():
    loss = functools.partial(nn.cross_entropy, reduction="none")
    found = cr.explain(network(), X, Y, loss=loss)
    (step,) = found.part("Backward pass").steps
    assert "starts at one real number" in step.notes[0]
