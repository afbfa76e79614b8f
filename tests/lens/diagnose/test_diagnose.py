"""`diagnose` itself: it changes nothing of the user's, and whatever it is given, it answers."""

import copy
import random
import sys
import threading
import time

import numpy as np
import pytest

import chainrule as cr
from chainrule import nn, optim
from chainrule.errors import DataError, DTypeError
from chainrule.lens.diagnose import Diagnosis, Rule, diagnose
from chainrule.lens.diagnose.rules import rule as registry
from chainrule.tensor import generator

RNG = np.random.default_rng(0)
X = RNG.normal(size=(120, 5)).astype(np.float32)
LABELS = (X[:, 0] + X[:, 1] > 0).astype(np.int64)
SHORT = {"epochs": 3, "budget": 0.0}


def network(*inside):
    cr.seed(1)
    return nn.Sequential(nn.Linear(5, 8), *inside, nn.ReLU(), nn.Dropout(0.1), nn.Linear(8, 2))


def found(model=None, data=(X, LABELS), loss=nn.cross_entropy, **options):
    return diagnose(network() if model is None else model, data, loss=loss, **{**SHORT, **options})


@pytest.fixture
def forgotten():
    """Rules that a test defines are not known after it."""
    known = dict(registry._known)
    yield
    registry._known.clear()
    registry._known.update(known)


# What the user has stays as it is


def test_nothing_of_the_users_is_changed():
    model = network(nn.BatchNorm1d(8))
    optimizer = optim.Adam(model.parameters(), lr=1e-2)
    for _ in range(3):  # running statistics, running averages, and gradients that wait
        nn.cross_entropy(model(X), LABELS).backward()
        optimizer.step()
    nn.cross_entropy(model(X), LABELS).backward()
    model[1].eval()
    before = copy.deepcopy(model.state_dict()), copy.deepcopy(optimizer.state_dict())
    gradients = [p.grad.numpy(copy=True) for p in model.parameters()]
    modes = [m.training for m in model.modules()]
    states = generator.default.state, np.random.get_state()[1].copy(), random.getstate()
    diagnose(model, (X, LABELS), loss=nn.cross_entropy, optimizer=optimizer, epochs=2, budget=2.0)
    after = model.state_dict(), optimizer.state_dict()
    assert [*map(repr, before)] == [*map(repr, after)]
    for name, value in before[0].items():
        np.testing.assert_array_equal(np.asarray(value), np.asarray(after[0][name]))
    for old, p in zip(gradients, model.parameters(), strict=True):
        np.testing.assert_array_equal(old, p.grad.numpy())
    assert modes == [m.training for m in model.modules()]
    assert states[0] == generator.default.state
    assert (states[1] == np.random.get_state()[1]).all()
    assert states[2] == random.getstate()


def test_the_same_seed_gives_the_same_answer():
    first, second = found(), found()
    assert [f.rule for f in first.findings] == [f.rule for f in second.findings]
    np.testing.assert_array_equal(first.trace.losses, second.trace.losses)


def test_what_is_watched_is_the_run_that_was_described():
    """The losses are those of a loop written by hand, over the same rows in the same order."""
    model, rows = nn.Sequential(nn.Linear(5, 2)), slice(None)
    optimizer = optim.SGD(model.parameters(), lr=0.1)
    seen = diagnose(
        model, (X, LABELS), loss=nn.cross_entropy, optimizer=optimizer, validation=(X, LABELS),
        epochs=4, batch_size=120, budget=0.0,
    )  # fmt: skip
    losses = []
    for _ in range(4):
        loss = nn.cross_entropy(model(X[rows]), LABELS[rows])
        losses.append(loss.item())
        loss.backward()
        optimizer.step()
    np.testing.assert_allclose(seen.trace.losses, losses, rtol=1e-5)


def test_a_long_run_is_stopped_and_judged_by_what_was_seen():
    began = time.perf_counter()
    seen = found(epochs=100_000, seconds=0.5)
    assert time.perf_counter() - began < 20
    assert seen.trace is not None
    assert not seen.trace.finished
    assert 0 < seen.about["steps"] < seen.about["steps_asked"]
    assert "stopped before" in str(seen)


# What the user gives


class Batches:
    """What a DataLoader looks like: it gives batches, and has a size of them."""

    batch_size = 16

    def __iter__(self):
        for start in range(0, len(X), 16):
            yield X[start : start + 16], LABELS[start : start + 16]


class Examples:
    """What a Dataset looks like."""

    def __len__(self):
        return len(X)

    def __getitem__(self, i):
        if i >= len(X):
            raise IndexError
        return X[i], LABELS[i]


class Frame:
    """What a DataFrame looks like."""

    columns = ("size", "weight", "age", "height", "width")

    def __init__(self, values):
        self.values = values

    def to_numpy(self):
        return self.values


@pytest.mark.parametrize(
    "data",
    [
        (X.tolist(), LABELS.tolist()),
        (cr.asarray(X), cr.asarray(LABELS)),
        [X, LABELS],
        (X.astype(object), LABELS.astype(object)),
        Batches(),
        Examples(),
        (Frame(X), Frame(LABELS)),
    ],
    ids=["lists", "tensors", "a list of two", "objects", "loader", "dataset", "frame"],
)
def test_data_of_every_kind(data):
    seen = found(data=data)
    assert seen.trace is not None
    assert seen.about["rows"] + seen.about["held_out"] == 120
    if isinstance(data, Batches):
        assert seen.about["batch_size"] == 16
    if isinstance(data, tuple) and isinstance(data[0], Frame):
        assert seen.about["columns"] == list(Frame.columns)


WORDS = np.array(["cat", "dog"])[LABELS]
HOLE = X.copy()
HOLE[7, 2] = np.nan


@pytest.mark.parametrize(
    ("data", "rule", "said"),
    [
        ((X, LABELS[:-1]), "data-error", "120 rows of inputs and 119 targets"),
        ((X[:0], LABELS[:0]), "data-error", "no rows"),
        ((iter(())), "data-error", "no rows"),
        ((X, 3), "data-error", "one int"),
        (([[1, 2], [3]], [0, 1]), "data-error", "no array"),
        ((X, WORDS), "target-encoding", "cat, dog"),
        ((Frame(np.where(X > 2, "tall", X.astype(object))), LABELS), "data-error", "'tall'"),
    ],
    ids=["lengths", "empty", "empty loader", "a number", "ragged", "words", "a word in a column"],
)
def test_data_that_cannot_be_used_are_a_finding(data, rule, said):
    seen = found(data=data)
    assert not seen.healthy
    assert seen.findings[0].rule == rule
    assert said in seen.findings[0].claim
    assert seen.findings[0].cause
    assert seen.findings[0].remedy is not None
    assert said in str(seen)


def test_a_word_in_a_column_is_told_by_its_name():
    values = X.astype(object)
    values[3, 1] = "tall"
    finding = found(data=(Frame(values), LABELS)).findings[0]
    assert finding.where == "weight"
    assert "row 3" in finding.claim


def test_validation_rows_that_do_not_fit():
    finding = found(validation=(X[:, :3], LABELS)).findings[0]
    assert (finding.rule, finding.where) == ("data-error", "validation")
    assert "(5,)" in finding.claim
    assert "(3,)" in finding.claim


def raises(outputs, targets):
    raise ValueError("I do not like these")


class Locked(nn.Module):
    def __init__(self):
        super().__init__()
        self.linear = nn.Linear(5, 2)
        self.lock = threading.Lock()

    def forward(self, x):
        return self.linear(x)


@pytest.mark.parametrize(
    ("model", "data", "loss"),
    [
        (nn.Linear(7, 2), (X, LABELS), nn.cross_entropy),
        (nn.Sequential(nn.Linear(5, 8), nn.Linear(9, 2)), (X, LABELS), nn.cross_entropy),
        (nn.Linear(5, 2), (X, LABELS), raises),
        (nn.Linear(5, 2), (X, LABELS), lambda out, y: (out - 1) ** 2),
        (nn.Linear(5, 2), (X, LABELS), lambda out, y: 3.0),
        (nn.Linear(5, 2), (X, LABELS), lambda out, y: None),
        (nn.Linear(5, 2), (X, LABELS + 5), nn.cross_entropy),
        (nn.Linear(5, 2), (X, np.stack([LABELS] * 3, 1)), nn.cross_entropy),
        (nn.Linear(5, 3), (X, X[:, :2]), nn.mse_loss),
        (nn.ReLU(), (X, LABELS), nn.cross_entropy),
        (nn.Linear(5, 2), (HOLE, LABELS), nn.cross_entropy),
        (nn.Linear(5, 2), (X * np.inf, LABELS), nn.cross_entropy),
        (Locked(), (X, LABELS), nn.cross_entropy),
    ],
    ids=[
        "inputs do not fit", "layers do not fit", "the loss raises", "no scalar", "a constant",
        "None", "labels outside", "targets of a wrong shape", "outputs and targets differ",
        "no parameters", "a NaN row", "NaN at step 0", "cannot be copied",
    ],
)  # fmt: skip
def test_the_users_own_faults_are_findings(model, data, loss):
    seen = found(model, data, loss)
    assert not seen.healthy
    assert Diagnosis.from_dict(seen.to_dict()).to_dict() == seen.to_dict()
    assert seen.findings[0].rule in str(seen)


def test_few_rows_are_trained_on_and_judged_by():
    xor = np.array([[0, 0], [0, 1], [1, 0], [1, 1]], dtype=np.float32)
    seen = found(nn.Linear(2, 1), (xor, np.array([[0.0], [1], [1], [0]])), nn.mse_loss)
    assert (seen.about["rows"], seen.about["held_out"]) == (4, "the same rows")
    one = found(data=(X[:1], LABELS[:1]))
    assert one.about["rows"] == 1


def test_holding_out_leaves_no_batch_of_one_row():
    """225 of 300 rows in batches of 32 would end with a single row, which BatchNorm refuses."""
    x = RNG.normal(size=(300, 5)).astype(np.float32)
    seen = found(network(nn.BatchNorm1d(8)), (x, (x[:, 0] > 0).astype(int)))
    assert seen.about["rows"] == 224
    assert seen.trace.finished


def test_no_epoch_is_no_training():
    seen = found(epochs=0)
    assert seen["no-training"].severity == "error"
    assert seen.trace is None


def test_a_batch_larger_than_the_data_is_said():
    seen = found(batch_size=1000)
    assert any("batch_size is 1000" in f.claim for f in seen.findings)
    assert seen.about["steps"] == 3


def test_an_optimiser_of_another_model():
    seen = found(optimizer=optim.SGD(nn.Linear(3, 3).parameters(), lr=0.1))
    assert not seen.healthy


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ({"model": 3}, "nn.Module"),
        ({"data": 3}, r"\(inputs, targets\)"),
        ({"data": [1, 2, 3]}, r"\(inputs, targets\)"),
        ({"loss": "cross_entropy"}, "a function"),
        ({"optimizer": "Adam"}, "optim.Adam"),
        ({"epochs": -1}, "epochs"),
        ({"epochs": 2.5}, "epochs"),
        ({"batch_size": 0}, "batch_size"),
    ],
)
def test_a_call_that_makes_no_sense_is_an_error(arguments, said):
    with pytest.raises(DTypeError, match=said):
        found(**arguments)


# Rules of one's own

MINE = """
from chainrule.lens.diagnose import Finding, Rule


class Short(Rule):
    name = "short-run"
    stage = "live"
    looks_at = "whether there were a thousand steps"

    def look(self, case):
        if case.trace.steps < 1000:
            yield Finding(self.name, "optimizer", f"only {case.trace.steps} steps")
"""


def test_a_rule_of_ones_own_in_one_file(tmp_path, forgotten):
    path = tmp_path / "mine.py"
    path.write_text(MINE)
    seen = found(rules=[path])
    assert seen["short-run"].claim == "only 9 steps"
    assert ("short-run", "whether there were a thousand steps") in seen.looked_at


def test_a_rule_that_fails_is_said_and_the_others_are_asked(forgotten):
    class Wrong(Rule):
        name = "wrong"
        stage = "static"
        looks_at = "nothing"

        def look(self, case):
            raise ZeroDivisionError("by 0")

    seen = found(rules=[Wrong])
    assert any(rule == "wrong" and "by 0" in why for rule, why in seen.not_looked_at)
    assert len(seen.looked_at) > 1


@pytest.mark.parametrize(
    ("text", "said"),
    [("x = 1", "defines no rule"), ("x = (", "do not run"), (None, "no file")],
)
def test_a_file_of_rules_that_cannot_be_used(tmp_path, text, said, forgotten):
    path = tmp_path / "mine.py"
    if text is not None:
        path.write_text(text)
    with pytest.raises(DataError, match=said):
        found(rules=[path])


def test_trials_that_fail_leave_the_findings(monkeypatch):
    def failing(case, findings, budget):
        raise ZeroDivisionError("in a trial")

    monkeypatch.setattr(sys.modules["chainrule.lens.diagnose.diagnose"], "try_remedies", failing)
    model = nn.Sequential(nn.Linear(5, 2), nn.Softmax(-1))
    seen = found(model, budget=1.0)
    assert seen["double-softmax"].trial is None
    assert any(what == "trials" and "in a trial" in why for what, why in seen.not_looked_at)
