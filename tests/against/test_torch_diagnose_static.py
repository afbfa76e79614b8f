"""The static rules on PyTorch networks: the same findings as on chainrule's own."""

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from torch import nn  # noqa: E402
from torch.nn import functional as F  # noqa: E402

from benchmarks.diagnosis_static import findings  # noqa: E402
from benchmarks.diagnosis_static.making import (  # noqa: E402
    BIT,
    BITS,
    HOT,
    POSITIVE,
    REAL,
    SEQUENCES,
    Y3,
    Y10,
    U,
    X,
)
from chainrule.lens.diagnose.case import Case  # noqa: E402
from chainrule.lens.diagnose.diagnose import setup_of  # noqa: E402

L, S = nn.Linear, nn.Sequential
OUTPUT = "loss-output-mismatch output-activation"


class Own(nn.Module):
    def __init__(self, function, **parts):
        super().__init__()
        self.function = function
        for name, part in parts.items():
            setattr(self, name, part)

    def forward(self, x):
        return self.function(self, x)


def net(out, *behind):
    return S(L(6, 16), nn.ReLU(), L(16, out), *behind)


def alarms(model, x, y, loss, optimizer=None):
    torch.manual_seed(0)
    setup = setup_of(
        model,
        (x, y),
        loss=loss,
        optimizer=optimizer,
        epochs=20,
        batch_size=16,
        validation=(x[:32], y[:32]),
    )
    return [f for f in findings(Case(setup)) if f.severity != "advice"]


def filled(model, value):
    with torch.no_grad():
        for p in model.parameters():
            p.fill_(value if p.ndim > 1 else 0.0)
    return model


def frozen(model, *names):
    for name, p in model.named_parameters():
        p.requires_grad = name not in names
    return model


def by_hand(p, y):
    p = torch.clamp(p, 1e-6, 1 - 1e-6)
    return -(y * torch.log(p) + (1 - y) * torch.log(1 - p)).mean()


WRONG = {
    "softmax before cross-entropy": (
        "double-softmax",
        lambda: (net(3, nn.Softmax(1)), X, Y3, nn.CrossEntropyLoss()),
    ),
    "softmax function": (
        "double-softmax",
        lambda: (
            Own(lambda s, x: F.softmax(s.body(x), dim=1), body=net(3)),
            X,
            Y3,
            F.cross_entropy,
        ),
    ),
    "softmax in the loss": (
        "double-softmax",
        lambda: (net(3), X, Y3, lambda o, y: F.cross_entropy(torch.softmax(o, 1), y)),
    ),
    "sigmoid before cross-entropy": (
        OUTPUT,
        lambda: (net(3, nn.Sigmoid()), X, Y3, nn.CrossEntropyLoss()),
    ),
    "sigmoid before logits": (
        OUTPUT,
        lambda: (net(1, nn.Sigmoid()), X, BIT, nn.BCEWithLogitsLoss()),
    ),
    "no sigmoid": (OUTPUT, lambda: (net(1), X, BIT, nn.BCELoss())),
    "no sigmoid, by hand": (OUTPUT, lambda: (net(1), X, BIT, by_hand)),
    "ReLU before BCE": (OUTPUT, lambda: (net(1, nn.ReLU()), X, BIT, by_hand)),
    "one softmax unit": (OUTPUT, lambda: (net(1, nn.Softmax(1)), X, BIT, nn.BCELoss())),
    "one softmax unit for numbers": (
        OUTPUT,
        lambda: (net(1, nn.Softmax(1)), X, REAL, nn.MSELoss()),
    ),
    "nll of logits": (OUTPUT, lambda: (net(3), X, Y3, nn.NLLLoss())),
    "nll of probabilities": (OUTPUT, lambda: (net(3, nn.Softmax(1)), X, Y3, nn.NLLLoss())),
    "real targets with BCE": (OUTPUT, lambda: (net(1), X, 3 * REAL, nn.BCEWithLogitsLoss())),
    "ReLU before negative targets": (OUTPUT, lambda: (net(1, nn.ReLU()), X, REAL, nn.MSELoss())),
    "sigmoid before large targets": (
        OUTPUT,
        lambda: (net(1, nn.Sigmoid()), X, 2 * REAL, nn.L1Loss()),
    ),
    "softmax over the batch": (
        "softmax-axis",
        lambda: (net(3, nn.Softmax(0)), X, Y3, nn.CrossEntropyLoss()),
    ),
    "softmax in a hidden layer": (
        "hidden-softmax",
        lambda: (S(L(6, 16), nn.Softmax(1), L(16, 3)), X, Y3, nn.CrossEntropyLoss()),
    ),
    "nothing between": (
        "no-nonlinearity",
        lambda: (S(L(6, 16), L(16, 3)), X, Y3, nn.CrossEntropyLoss()),
    ),
    "column against row": ("broadcast-accident", lambda: (net(1), X, REAL[:, 0], nn.MSELoss())),
    "column against row, by hand": (
        "broadcast-accident",
        lambda: (net(1), X, REAL[:, 0], lambda o, y: ((o - y) ** 2).mean()),
    ),
    "column against row, BCE": (
        "broadcast-accident",
        lambda: (net(1, nn.Sigmoid()), X, BIT[:, 0], nn.BCELoss()),
    ),
    "mean over the batch": (
        "batch-crosstalk",
        lambda: (Own(lambda s, x: s.body(x - x.mean(0)), body=net(3)), X, Y3, F.cross_entropy),
    ),
    "labels from one": ("target-encoding", lambda: (net(3), X, Y3 + 1, nn.CrossEntropyLoss())),
    "a label too many": ("target-encoding", lambda: (net(9), X, Y10, nn.CrossEntropyLoss())),
    "labels as floats": (
        "target-encoding",
        lambda: (net(3), X, Y3.astype(np.float32), nn.CrossEntropyLoss()),
    ),
    "an uncalled layer": (
        "unreached-parameters",
        lambda: (Own(lambda s, x: s.body(x), body=net(3), spare=L(6, 6)), X, Y3, F.cross_entropy),
    ),
    "a cut gradient": (
        "unreached-parameters",
        lambda: (
            Own(lambda s, x: s.b(torch.relu(s.a(x)).detach()), a=L(6, 16), b=L(16, 3)),
            X,
            Y3,
            F.cross_entropy,
        ),
    ),
    "constant weights": (
        "symmetric-units",
        lambda: (
            filled(S(L(6, 16), nn.ReLU(), L(16, 16), nn.ReLU(), L(16, 3)), 0.01),
            X,
            Y3,
            nn.CrossEntropyLoss(),
        ),
    ),
    "inputs of thousands": ("input-scale", lambda: (net(3), 1000 * X, Y3, nn.CrossEntropyLoss())),
    "targets of thousands": ("target-scale", lambda: (net(1), X, 3000 + 500 * REAL, nn.MSELoss())),
    "widths that do not fit": (
        "model-error",
        lambda: (S(L(6, 16), L(17, 3)), X, Y3, nn.CrossEntropyLoss()),
    ),
    "the logarithm of 0": (
        "non-finite output-activation",
        lambda: (
            S(L(6, 16), nn.ReLU(), filled(L(16, 1), -1.0), nn.ReLU()),
            X,
            POSITIVE,
            lambda o, y: ((torch.log(o) - y) ** 2).mean(),
        ),
    ),
}

RIGHT = {
    "cross-entropy": lambda: (net(3), X, Y3, nn.CrossEntropyLoss()),
    "smoothed": lambda: (net(3), X, Y3, nn.CrossEntropyLoss(label_smoothing=0.1)),
    "weighted": lambda: (net(3), X, Y3, nn.CrossEntropyLoss(weight=torch.tensor([1.0, 2.0, 4.0]))),
    "one-hot": lambda: (net(3), X, HOT, nn.CrossEntropyLoss()),
    "log-softmax": lambda: (net(3, nn.LogSoftmax(1)), X, Y3, nn.NLLLoss()),
    "sigmoid": lambda: (net(1, nn.Sigmoid()), X, BIT, nn.BCELoss()),
    "sigmoid by hand": lambda: (net(1, nn.Sigmoid()), X, BIT, by_hand),
    "logits": lambda: (net(4), X, BITS, nn.BCEWithLogitsLoss()),
    "regression": lambda: (net(1), X, REAL, nn.MSELoss()),
    "regression as a vector": lambda: (
        Own(lambda s, x: s.body(x).squeeze(-1), body=net(1)),
        X,
        REAL[:, 0],
        nn.HuberLoss(),
    ),
    "softplus": lambda: (net(1, nn.Softplus()), X, POSITIVE, nn.MSELoss()),
    "autoencoder": lambda: (S(L(6, 3), nn.ReLU(), L(3, 6), nn.Sigmoid()), U, U, nn.MSELoss()),
    "BatchNorm on raw pixels": lambda: (
        S(nn.BatchNorm1d(6), L(6, 16), nn.ReLU(), L(16, 3)),
        255 * U,
        Y3,
        nn.CrossEntropyLoss(),
    ),
    "LSTM": lambda: (
        Own(lambda s, x: s.b(s.a(x)[0][:, -1]), a=nn.LSTM(6, 12, batch_first=True), b=L(12, 3)),
        SEQUENCES,
        Y3,
        F.cross_entropy,
    ),
    "transformer": lambda: (
        Own(
            lambda s, x: s.c(s.b(s.a(x)).mean(1)),
            a=L(6, 16),
            b=nn.TransformerEncoderLayer(16, 4, 32, batch_first=True),
            c=L(16, 3),
        ),
        SEQUENCES,
        Y3,
        F.cross_entropy,
    ),
    "residual": lambda: (
        Own(
            lambda s, x: s.c((h := s.a(x)) + s.b(torch.relu(h))),
            a=L(6, 16),
            b=L(16, 16),
            c=L(16, 3),
        ),
        X,
        Y3,
        F.cross_entropy,
    ),
}


@pytest.mark.parametrize("name", WRONG)
def test_a_mismatch_is_found(name):
    rules, make = WRONG[name]
    found = alarms(*make())
    assert found
    assert found[0].rule in rules.split(), [(f.rule, f.claim) for f in found]


@pytest.mark.parametrize("name", RIGHT)
def test_a_healthy_network_is_let_be(name):
    assert not [(f.rule, f.claim) for f in alarms(*RIGHT[name]())]


def test_a_frozen_head_is_found_and_a_frozen_beginning_is_not():
    def made(*names):
        model = frozen(S(L(6, 16), nn.ReLU(), L(16, 16), nn.ReLU(), L(16, 3)), *names)
        held = [p for p in model.parameters() if p.requires_grad]
        return alarms(model, X, Y3, nn.CrossEntropyLoss(), torch.optim.SGD(held, lr=0.1))

    assert [f.rule for f in made("4.weight", "4.bias")] == ["frozen-parameters"]
    assert not made("0.weight", "0.bias")


def test_a_sum_is_found_by_hand_and_by_name():
    for loss in (nn.CrossEntropyLoss(reduction="sum"), lambda o, y: F.cross_entropy(o, y) * len(y)):
        model = net(3)
        found = alarms(model, X, Y3, loss, torch.optim.SGD(model.parameters(), lr=0.1))
        assert [f.rule for f in found] == ["sum-reduction"]


@pytest.mark.parametrize(
    ("function", "rule", "place"),
    [
        (lambda s, x: F.softmax(s.body(x), -1), "double-softmax", "body.2"),
        (lambda s, x: torch.log(s.body(x) - 99), "non-finite", "body.2"),
        (lambda s, x: s.body(x) - s.body(x).mean(0), "batch-crosstalk", "body.2"),
        (lambda s, x: s.body(torch.cat([x, x], 1)), "model-error", "body.0"),
    ],
)
def test_what_the_models_own_code_does_is_placed_at_the_layer_before_it(function, rule, place):
    found = alarms(Own(function, body=net(3)), X, Y3, F.cross_entropy)
    assert [f.where for f in found if f.rule == rule] == [place]
