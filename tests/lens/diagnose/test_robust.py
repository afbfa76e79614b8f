"""Whatever is handed over: a diagnosis, and what was handed over as it was, to the bit."""

import random

import numpy as np
import pytest

import chainrule as cr
from chainrule import nn, optim
from chainrule.tensor import generator
from chainrule.tensor.graph import state

RNG = np.random.default_rng(0)
X = RNG.normal(size=(48, 6)).astype(np.float32)
LABELS = (X[:, 0] + X[:, 1] > 0).astype(np.int64)


def network(outputs=2):
    cr.seed(0)
    return nn.Sequential(
        nn.Linear(6, 8), nn.BatchNorm1d(8), nn.ReLU(), nn.Dropout(0.2), nn.Linear(8, outputs)
    )


def found(model, data=(X, LABELS), loss=nn.cross_entropy, **options):
    options = {"epochs": 2, "batch_size": 16, "budget": 0, **options}
    diagnosis = cr.diagnose(model, data, loss=loss, **options)
    assert str(diagnosis)
    assert not [why for _, why in diagnosis.not_looked_at if "failed" in why]
    return diagnosis


def rules(diagnosis):
    return [f.rule for f in diagnosis.findings]


class Several(nn.Module):
    """Features and logits, of which the loss wants both."""

    def __init__(self, form):
        super().__init__()
        self.features, self.head, self.form = nn.Linear(6, 4), nn.Linear(4, 2), form

    def forward(self, x):
        h = self.features(x)
        return self.form(h, self.head(h.tanh()))


class Keeping(nn.Module):
    """Keeps what it computed, and counts its calls."""

    def __init__(self):
        super().__init__()
        self.linear, self.kept, self.calls = nn.Linear(6, 2), [], 0

    def forward(self, x):
        self.calls += 1
        self.kept.append(self.linear(x))
        return self.kept[-1]


class OwnLoss(nn.Module):
    """A loss that learns a scale, and counts."""

    def __init__(self):
        super().__init__()
        self.scale, self.calls = nn.Parameter(np.ones(2, np.float32)), 0

    def forward(self, outputs, targets):
        self.calls += 1
        return nn.cross_entropy(outputs * self.scale, targets)


def picture(model, optimizer, schedule):
    cells = [*model.named_parameters(), *model.named_buffers()]
    return repr(
        (
            [(n, id(c), c.numpy().tobytes()) for n, c in cells],
            [None if p.grad is None else p.grad.numpy().tobytes() for p in model.parameters()],
            [(n, id(m), m.training, sorted(vars(m))) for n, m in model.named_modules()],
            [{k: v for k, v in group.items() if k != "params"} for group in optimizer.param_groups],
            [
                {k: np.asarray(v).tobytes() for k, v in values.items()}
                for values in optimizer.state_dict()["state"].values()
            ],
            vars(schedule)["last_epoch"] if hasattr(schedule, "last_epoch") else None,
            generator.default.state,
            random.getstate(),
            [np.asarray(part).tobytes() for part in np.random.get_state()],
        )
    )


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("watched", ["good", "a rate too high", "a model that fails"])
def test_what_is_given_stays_as_it_is(seed, watched):
    rng = np.random.default_rng(seed)
    model = network()
    rate = 1e4 if watched == "a rate too high" else 0.01
    kind = [optim.SGD, optim.Adam, optim.AdamW, optim.RMSprop][seed]
    optimizer = kind(
        [
            {"params": list(model[0].parameters())},
            {"params": [p for m in model[1:] for p in m.parameters()], "lr": 2 * rate},
        ],
        lr=rate,
    )
    schedule = optim.StepLR(optimizer, 2)
    for _ in range(3):  # a state, and gradients that no step has used
        nn.cross_entropy(model(cr.asarray(X)), cr.asarray(LABELS)).backward()
        optimizer.step()
        schedule.step()
    nn.cross_entropy(model(cr.asarray(X)), cr.asarray(LABELS)).backward()
    for module in model:
        module.train(bool(rng.integers(2)))
    x = X[:, :5] if watched == "a model that fails" else X
    before = picture(model, optimizer, schedule)
    cr.diagnose(
        model, (x, LABELS), loss=nn.cross_entropy, optimizer=optimizer, schedule=schedule,
        epochs=2, budget=0.5, seed=seed,
    )  # fmt: skip
    assert picture(model, optimizer, schedule) == before


def test_nothing_to_train_without_an_optimiser():
    model = network()
    for p in model.parameters():
        p.requires_grad = False
    assert rules(found(model)) == ["frozen-parameters"]


@pytest.mark.parametrize(
    ("form", "loss"),
    [
        (lambda h, z: (h, z), lambda o, y: nn.cross_entropy(o[1], y) + 0.1 * (o[0] ** 2).mean()),
        (lambda h, z: {"h": h, "z": [z]}, lambda o, y: nn.cross_entropy(o["z"][0], y)),
    ],
)
def test_several_outputs(form, loss):
    diagnosis = found(Several(form), loss=loss, optimizer=None, epochs=60, batch_size=8)
    assert "model-error" not in rules(diagnosis)
    assert diagnosis.trace.epochs[-1].train_error < 0.7  # of the logits, not of the features


def test_a_model_and_a_loss_that_keep_what_they_see():
    model, loss = Keeping(), OwnLoss()
    model(cr.asarray(X))
    optimizer = optim.Adam([*model.parameters(), *loss.parameters()], lr=0.05)
    diagnosis = found(model, loss=loss, optimizer=optimizer)
    assert "model-error" not in rules(diagnosis)
    assert (model.calls, len(model.kept), loss.calls) == (1, 1, 0)
    assert loss.scale.grad is None


@pytest.mark.parametrize("gives", [lambda z: None, lambda z: z.item(), lambda z: (z, 1), dict])
def test_a_loss_that_gives_no_tensor(gives):
    diagnosis = found(
        nn.Linear(6, 2),
        loss=lambda o, y: gives(nn.cross_entropy(o, y)) if gives is not dict else {},
    )
    first = diagnosis.findings[0]
    assert (first.rule, first.where) == ("model-error", "loss")
    assert "not a tensor of one number" in first.claim


def test_a_compiled_loss_and_an_optimiser_that_asks_again():
    model = network()
    loss = cr.compile(lambda o, y: nn.cross_entropy(o, y))
    assert "model-error" not in rules(found(model, loss=loss))
    optimizer = optim.LBFGS(model.parameters())
    assert "model-error" not in rules(found(model, optimizer=optimizer, batch_size=36))


def test_a_watched_optimiser_that_asks_again():
    model = nn.Linear(6, 2)
    optimizer = optim.LBFGS(model.parameters())

    def closure():
        loss = nn.cross_entropy(model(cr.asarray(X)), cr.asarray(LABELS))
        loss.backward()
        return loss

    with cr.watch(model, optimizer) as watching:
        for _ in range(3):
            optimizer.step(closure)
    assert watching.trace.steps == 3
    assert watching.trace.samples


def test_nothing_is_recorded_after_a_watch():
    model = nn.Linear(6, 2)
    depth = state.depth
    with cr.watch(model):
        for _ in range(3):
            nn.cross_entropy(model(cr.asarray(X)), cr.asarray(LABELS)).backward()
            for p in model.parameters():
                p.assign(p.detach() - 0.1 * p.grad)
                p.grad = None
    assert state.depth == depth


@pytest.mark.parametrize(
    "options",
    [
        {"budget": "60s"}, {"budget": float("nan")}, {"budget": -1}, {"seconds": None},
        {"optimizer": optim.Adam}, {"optimizer": "adam"}, {"loss": nn.CrossEntropyLoss},
        {"schedule": "cosine"}, {"schedule": optim.StepLR}, {"epochs": -1}, {"batch_size": 0},
    ],
)  # fmt: skip
def test_a_senseless_call(options):
    given = {"loss": nn.cross_entropy, **options}
    with pytest.raises(cr.DTypeError, match=next(iter(options))):
        cr.diagnose(network(), (X, LABELS), **given)


def test_data_that_cannot_be_read():
    class Broken:
        def __len__(self):
            return 3

        def __getitem__(self, i):
            raise OSError("no such image")

    first = found(network(), Broken()).findings[0]
    assert (first.rule, first.where) == ("data-error", "data")
    assert "no such image" in first.claim


def test_data_without_an_end(monkeypatch):
    monkeypatch.setattr("chainrule.lens.diagnose.given.MOST_SECONDS", 0.05)

    class Endless:
        batch_size = 8

        def __iter__(self):
            while True:
                yield X[:8], LABELS[:8]

    assert found(network(), Endless()).about["rows"] >= 6


def test_inputs_that_are_nothing_but_nan():
    assert rules(found(network(), (X * np.nan, LABELS)))[0] == "non-finite"
