"""The diagnosis of PyTorch's modules: the same picture of the same network in both frameworks."""

import copy
import random
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch

import chainrule as cr
from chainrule import nn, optim
from chainrule.lens.diagnose.case import Case
from chainrule.lens.diagnose.diagnose import setup_of
from chainrule.lens.diagnose.examine import examine
from chainrule.lens.diagnose.frameworks.ours import Ours
from chainrule.lens.diagnose.frameworks.torch import Torch
from chainrule.lens.diagnose.pace import Pace
from chainrule.lens.diagnose.passes import Pass
from chainrule.lens.diagnose.training import train

tnn = torch.nn
F = torch.nn.functional
RNG = np.random.default_rng(0)
X = RNG.normal(size=(12, 6)).astype(np.float32)
LABELS = RNG.integers(0, 3, 12)
REAL = RNG.normal(size=(12, 1)).astype(np.float32)
BINARY = (REAL > 0).astype(np.float32)
IMAGES = RNG.normal(size=(6, 1, 8, 8)).astype(np.float32)
BOOKKEEPING = {"random_keep", "astype"}
"""Operations of chainrule's own that PyTorch does inside of others."""


class Residual:
    """Written for both frameworks: functional activations, a parameter of the module's own."""

    @staticmethod
    def of(library: Any, tanh: Callable, values: Callable) -> Any:
        class Net(library.Module):
            def __init__(self) -> None:
                super().__init__()
                self.w = library.Parameter(values(np.zeros((6, 6), np.float32)))
                self.b = library.Parameter(values(np.zeros(6, np.float32)))
                self.inner = library.Linear(6, 6)
                self.head = library.Linear(6, 3)

            def forward(self, x: Any) -> Any:
                h = tanh(x @ self.w + self.b)
                h = h + tanh(self.inner(h))
                return self.head(h * 2 - 1)

        return Net()


def mlp(library: Any) -> Any:
    return library.Sequential(
        library.Linear(6, 8), library.BatchNorm1d(8), library.ReLU(), library.Linear(8, 8),
        library.LeakyReLU(0.1), library.LayerNorm(8), library.Linear(8, 3),
    )  # fmt: skip


def bounded(library: Any) -> Any:
    return library.Sequential(
        library.Linear(6, 8), library.Tanh(), library.Linear(8, 8), library.GELU(),
        library.Linear(8, 4), library.ELU(), library.Linear(4, 4), library.SiLU(),
        library.Linear(4, 1), library.Sigmoid(),
    )  # fmt: skip


def probabilities(library: Any) -> Any:
    return library.Sequential(library.Linear(6, 3), library.Softmax(1))


def log_probabilities(library: Any) -> Any:
    return library.Sequential(library.Linear(6, 3), library.LogSoftmax(1))


def convolutional(library: Any) -> Any:
    return library.Sequential(
        library.Conv2d(1, 3, 3, padding=1), library.BatchNorm2d(3), library.ReLU(),
        library.MaxPool2d(2), library.Conv2d(3, 4, 3), library.SiLU(),
        library.AdaptiveAvgPool2d(1), library.Flatten(), library.Linear(4, 3),
    )  # fmt: skip


def line(library: Any) -> Any:
    return library.Sequential(library.Linear(6, 1))


def residual(library: Any) -> Any:
    if library is nn:
        return Residual.of(nn, nn.tanh, cr.asarray)
    return Residual.of(tnn, torch.tanh, torch.tensor)


NETWORKS = {
    "mlp": (mlp, X, LABELS, nn.cross_entropy, F.cross_entropy, "cross_entropy"),
    "bounded": (
        bounded, X, BINARY, nn.binary_cross_entropy, F.binary_cross_entropy, "bce",
    ),
    "probabilities": (
        probabilities, X, LABELS, nn.CrossEntropyLoss(), tnn.CrossEntropyLoss(), "cross_entropy",
    ),
    "log-probabilities": (log_probabilities, X, LABELS, nn.nll_loss, F.nll_loss, "nll"),
    "convolutional": (
        convolutional, IMAGES, LABELS[:6], nn.cross_entropy, F.cross_entropy, "cross_entropy",
    ),
    "line": (line, X, REAL, nn.mse_loss, F.mse_loss, "mse"),
    "residual": (residual, X, LABELS, nn.cross_entropy, F.cross_entropy, "cross_entropy"),
    "logit": (
        line, X, BINARY, nn.binary_cross_entropy_with_logits, F.binary_cross_entropy_with_logits,
        "bce_with_logits",
    ),
}  # fmt: skip


def both(build: Callable) -> tuple[Any, Any]:
    """The same network in chainrule and PyTorch, with the same weights."""
    ours, theirs = build(nn), build(tnn)
    rng = np.random.default_rng(1)
    state = {
        name: rng.normal(size=tuple(p.shape)).astype(np.float32) * 0.5
        for name, p in theirs.named_parameters()
    }
    Ours().load(ours, state)
    Torch().load(theirs, state)
    return ours, theirs


def names(run: Pass) -> list[str]:
    """The operations up to the model's output."""
    assert run.output is not None
    return [op.name for op in run.ops[: run.output + 1] if op.name not in BOOKKEEPING]


@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("case", NETWORKS)
def test_the_same_network_gives_the_same_pass(case: str, training: bool) -> None:
    build, x, y, our_loss, their_loss, kind = NETWORKS[case]
    ours, theirs = both(build)
    one = Ours().observe(ours, x, y, our_loss, training=training)
    other = Torch().observe(theirs, x, y, their_loss, training=training)
    assert one.error is None
    assert other.error is None
    if training:  # in evaluation chainrule normalises by plain arithmetic
        assert names(one) == names(other)
    np.testing.assert_allclose(other.loss, one.loss, rtol=1e-5)
    np.testing.assert_allclose(other.outputs, one.outputs, rtol=1e-4, atol=1e-5)
    assert one.gradients.keys() == other.gradients.keys()
    for name, gradient in one.gradients.items():
        np.testing.assert_allclose(other.gradients[name], gradient, rtol=1e-4, atol=1e-5)
    assert other.facts.kind == kind
    assert other.facts.reduction == "mean"
    assert other.facts.prediction == other.output
    np.testing.assert_array_equal(other.facts.target, y)
    if not training:
        return
    described = [
        [(a.path, a.kind, a.weight, a.bias, a.fan_in, a.units, a.norm, a.activation, a.residual,
          a.last) for a in run.layers]
        for run in (one, other)
    ]  # fmt: skip
    assert described[0] == described[1]
    for a, b in zip(one.layers, other.layers, strict=True):
        for what in ("z", "h", "delta", "h_gradient"):
            np.testing.assert_allclose(
                getattr(b, what), getattr(a, what), rtol=1e-3, atol=1e-5, err_msg=f"{a.path} {what}"
            )


def test_dropout_is_seen_in_training_only() -> None:
    model = tnn.Sequential(tnn.Linear(6, 8), tnn.Dropout(0.25), tnn.ReLU(), tnn.Linear(8, 3))
    run = Torch().observe(model, X, LABELS, F.cross_entropy)
    assert names(run) == ["linear", "drop", "relu", "linear"]
    assert run.layers[0].dropout == 0.25
    run = Torch().observe(model, X, LABELS, F.cross_entropy, training=False)
    assert names(run) == ["linear", "relu", "linear"]
    assert run.layers[0].activation == "relu"


class Written(tnn.Module):
    """What people write: in-place operations, views, slices, a dictionary inside."""

    def __init__(self) -> None:
        super().__init__()
        self.a = tnn.Linear(6, 8)
        self.b = tnn.Linear(4, 3)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        h = self.a(x.contiguous())
        h += 1
        h = F.relu_(h)
        first, second = h.view(-1, 8).chunk(2, dim=1)
        h = torch.cat([first, 2 - second], dim=1)[:, ::2]
        return self.b(h)


def test_operations_in_place_keep_the_values_before_them() -> None:
    torch.manual_seed(0)
    model = Written()
    run = Torch().observe(model, X, LABELS, F.cross_entropy)
    assert run.error is None
    assert names(run) == [
        "linear", "add", "relu", "reshape", "getitem", "getitem", "subtract", "concat", "getitem",
        "linear",
    ]  # fmt: skip
    by_hand = X @ model.a.weight.detach().numpy().T + model.a.bias.detach().numpy()
    np.testing.assert_allclose(run.ops[0].value, by_hand, atol=1e-5)
    np.testing.assert_allclose(run.ops[1].value, by_hand + 1, atol=1e-5)
    np.testing.assert_allclose(run.ops[2].value, np.maximum(by_hand + 1, 0), atol=1e-5)
    # ∂L/∂(value of an operation) by central differences of a shift of it.
    for position in (0, 1, 2):
        gradient = run.ops[position].gradient
        assert gradient is not None
        direction = np.random.default_rng(position).normal(size=by_hand.shape)

        def loss(t: float, position: int = position, direction: np.ndarray = direction) -> float:
            shift = torch.tensor(t * direction)
            double = copy.deepcopy(model).double()
            h = double.a(torch.tensor(X).double())
            h = h + shift if position == 0 else h
            h = h + 1
            h = h + shift if position == 1 else h
            h = torch.relu(h)
            h = h + shift if position == 2 else h
            h = torch.cat([h[:, :4], 2 - h[:, 4:]], 1)[:, ::2]
            return F.cross_entropy(double.b(h), torch.tensor(LABELS)).item()

        measured = (loss(1e-5) - loss(-1e-5)) / 2e-5
        np.testing.assert_allclose((gradient * direction).sum(), measured, rtol=1e-4, atol=1e-6)


class Attentive(tnn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.embedding = tnn.Embedding(20, 8)
        self.encoder = tnn.TransformerEncoderLayer(8, 2, 16, batch_first=True)
        self.recurrent = tnn.GRU(8, 5, batch_first=True)
        self.head = tnn.Linear(5, 3)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        h = self.encoder(self.embedding(x))
        h, _ = self.recurrent(h)
        return self.head(h[:, -1])


def test_attention_recurrence_and_embeddings_are_layers() -> None:
    run = Torch().observe(Attentive(), RNG.integers(0, 20, (12, 7)), LABELS, F.cross_entropy)
    assert run.error is None
    assert {layer.path: layer.kind for layer in run.layers} == {
        "embedding": "embedding",
        "encoder.self_attn": "linear",
        "encoder.self_attn.out_proj": "linear",
        "encoder.linear1": "linear",
        "encoder.linear2": "linear",
        "recurrent": "recurrent",
        "head": "linear",
    }
    assert all(g is not None for g in run.gradients.values())


WRITTEN_OUT = {
    "mean square": (line, REAL, lambda o, t: ((o - t) ** 2).mean(), "mse", "mean", 1.0),
    "half of it": (line, REAL, lambda o, t: 0.5 * (o - t).pow(2).mean(), "mse", "mean", 1.0),
    "sum of squares": (line, REAL, lambda o, t: torch.square(t - o).sum(), "mse", "sum", 1.0),
    "negated": (line, REAL, lambda o, t: -((o - t) ** 2).mean(), "mse", "mean", -1.0),
    "absolute": (line, REAL, lambda o, t: (o - t).abs().mean(), "mae", "mean", 1.0),
    "nothing known": (line, REAL, lambda o, t: ((o - t) ** 4).mean(), "custom", "mean", 1.0),
    "picked": (
        probabilities, LABELS, lambda o, t: -torch.log(o)[torch.arange(len(t)), t].sum(),
        "nll", "sum", 1.0,
    ),
    "of logits": (
        lambda library: library.Sequential(library.Linear(6, 3)), LABELS,
        lambda o, t: -F.log_softmax(o, 1).gather(1, t[:, None]).mean(),
        "cross_entropy", "mean", 1.0,
    ),
    "one-hot": (
        log_probabilities, LABELS, lambda o, t: -(o * F.one_hot(t, 3)).sum(1).mean(),
        "nll", "mean", 1.0,
    ),
    "two classes": (
        bounded, BINARY, lambda o, t: -(t * o.log() + (1 - t) * (1 - o).log()).mean(),
        "bce", "mean", 1.0,
    ),
    "not reduced yet": (
        line, REAL, lambda o, t: F.mse_loss(o, t, reduction="none").sum(), "mse", "sum", 1.0,
    ),
    "negated function": (line, REAL, lambda o, t: -F.mse_loss(o, t), "mse", "mean", -1.0),
}  # fmt: skip


@pytest.mark.parametrize("case", WRITTEN_OUT)
def test_losses_that_are_written_out_are_recognised(case: str) -> None:
    build, y, loss, kind, reduction, sign = WRITTEN_OUT[case]
    torch.manual_seed(3)
    facts = Torch().observe(build(tnn), X, y, loss).facts
    assert (facts.kind, facts.reduction, facts.sign) == (kind, reduction, sign)


def everything(model: tnn.Module) -> list[bytes]:
    tensors = [*model.parameters(), *model.buffers()]
    gradients = [p.grad for p in model.parameters() if p.grad is not None]
    return [t.detach().numpy().tobytes() for t in [*tensors, *gradients]] + [
        str([m.training for m in model.modules()]).encode(),
        torch.get_rng_state().numpy().tobytes(),
        repr(random.getstate()).encode(),
        repr(np.random.get_state()).encode(),
    ]


def test_looking_leaves_no_trace() -> None:
    model = tnn.Sequential(
        tnn.Embedding(20, 6, max_norm=0.5), tnn.Flatten(), tnn.Linear(42, 8), tnn.BatchNorm1d(8),
        tnn.Dropout(0.5), tnn.Linear(8, 3),
    )  # fmt: skip
    x = RNG.integers(0, 20, (12, 7))
    F.cross_entropy(model(torch.tensor(x)), torch.tensor(LABELS)).backward()
    model[3].eval()
    with torch.no_grad():
        model[0].weight.mul_(3)  # rows longer than max_norm, which a pass shortens
    before = everything(model)
    framework = Torch()
    framework.observe(model, x, LABELS, F.cross_entropy)
    framework.observe(model, x, LABELS, lambda o, t: o @ t)  # fails
    framework.outputs(model, x)
    framework.gradients(model, x, LABELS, F.cross_entropy)
    assert everything(model) == before


def test_a_fault_is_part_of_the_pass() -> None:
    model = tnn.Sequential(tnn.Linear(6, 8), tnn.Sequential(tnn.ReLU(), tnn.Linear(5, 3)))
    run = Torch().observe(model, X, LABELS, F.cross_entropy)
    assert isinstance(run.error, RuntimeError)
    assert [op.name for op in run.ops] == ["linear", "relu"]
    found, _, _ = examine(Case(setup_of(model, (X, LABELS), loss=F.cross_entropy)), ("static",))
    assert (found[0].rule, found[0].where) == ("model-error", "1.1")


def test_gradients_agree_with_backward() -> None:
    torch.manual_seed(0)
    model = mlp(tnn)
    loss, found = Torch().gradients(model, X, LABELS, F.cross_entropy)
    value = F.cross_entropy(model(torch.tensor(X)), torch.tensor(LABELS))
    value.backward()
    assert loss == value.item()
    for name, p in model.named_parameters():
        np.testing.assert_array_equal(found[name], p.grad.numpy())


@pytest.mark.parametrize("kind", ["SGD", "Adam", "LBFGS"])
def test_a_step_is_the_step_of_a_loop(kind: str) -> None:
    torch.manual_seed(0)
    model = mlp(tnn)
    optimizer = getattr(torch.optim, kind)(model.parameters(), lr=0.05)
    other, copied = Torch().copy(model, optimizer)
    x, y = torch.tensor(X), torch.tensor(LABELS)

    def closure() -> torch.Tensor:
        optimizer.zero_grad()
        loss = F.cross_entropy(model(x), y)
        loss.backward()
        return loss

    for _ in range(3):
        optimizer.step(closure)
        Torch().step(other, X, LABELS, F.cross_entropy, copied)
    for p, q in zip(model.parameters(), other.parameters(), strict=True):
        assert torch.equal(p, q)


def test_gradients_add_up_where_a_loop_does_not_clear_them() -> None:
    torch.manual_seed(0)
    model = line(tnn)
    other = copy.deepcopy(model)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    for _ in range(3):
        Torch().step(model, X, REAL, F.mse_loss, optimizer, clear=False, sign=-1, clip=0.5)
    optimizer = torch.optim.SGD(other.parameters(), lr=0.1)
    for _ in range(3):
        (-F.mse_loss(other(torch.tensor(X)), torch.tensor(REAL))).backward()
        tnn.utils.clip_grad_norm_(other.parameters(), 0.5)
        optimizer.step()
    for p, q in zip(model.parameters(), other.parameters(), strict=True):
        assert torch.equal(p, q)


def test_copies_belong_together() -> None:
    model = mlp(tnn)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9)
    schedule = torch.optim.lr_scheduler.StepLR(optimizer, 1, 0.5)
    before = everything(model)
    other, copied, following = Torch().copy(
        torch.compile(model, backend="eager"), optimizer, schedule
    )
    start = Torch().state(other)
    Torch().step(other, X, LABELS, F.cross_entropy, copied)
    following.step()  # would warn of a step that was not made
    assert Torch().rate(copied) == 0.05
    assert Torch().rate(optimizer) == 0.1
    assert everything(model) == before
    assert any((start[n] != p).any() for n, p in Torch().parameters(other).items())


def test_facts_of_an_optimizer() -> None:
    model = mlp(tnn)
    optimizer = torch.optim.SGD([*model[0].parameters(), torch.zeros(2)], lr=0.1, maximize=True)
    facts = Torch().optimizer_facts(model, optimizer)
    assert (facts.kind, facts.rate, facts.maximize, facts.foreign) == ("SGD", 0.1, True, 1)
    assert facts.held == {"0.weight", "0.bias"}
    assert Torch().describe(optimizer) == "optim.SGD(lr=0.1, maximize=True)"
    assert Torch().describe(tnn.CrossEntropyLoss()) == "nn.CrossEntropyLoss()"
    assert Torch().describe(F.mse_loss) == "F.mse_loss"


def test_changing_a_model_in_place() -> None:
    framework = Torch()
    model = framework.sequence(framework.layer("Linear", 6, 3), framework.layer("Softmax", 1))
    changed = framework.replace(model, "1", framework.layer("Identity"))
    assert [kind for _, kind, _ in framework.modules(changed)] == [
        "Sequential", "Linear", "Identity",
    ]  # fmt: skip
    framework.set_requires_grad(model, "0.bias", False)
    assert framework.frozen(model) == {"0.bias"}
    optimizer = framework.optimizer("Adam", model, lr=0.01)
    assert framework.optimizer_facts(model, optimizer).held == {"0.weight"}
    framework.set_options(optimizer, lr=0.5, weight_decay=0.1)
    assert framework.rate(optimizer) == 0.5


def test_both_optimizers_are_described_alike() -> None:
    ours, theirs = both(mlp)
    one = Ours().optimizer_facts(ours, optim.SGD(ours.parameters(), lr=0.1, momentum=0.9))
    other = Torch().optimizer_facts(
        theirs, torch.optim.SGD(theirs.parameters(), lr=0.1, momentum=0.9)
    )
    assert (one.kind, one.rate, one.held, one.maximize) == (
        other.kind, other.rate, other.held, other.maximize,
    )  # fmt: skip
    assert one.options["momentum"] == other.options["momentum"]


def deep(library: Any) -> Any:
    parts = [part for _ in range(8) for part in (library.Linear(6, 6), library.Sigmoid())]
    return library.Sequential(*parts, library.Linear(6, 3))


def clipped(library: Any) -> Any:
    return library.Sequential(
        library.Linear(6, 8), library.Tanh(), library.Linear(8, 1), library.ReLU()
    )


MANY = RNG.normal(size=(200, 6)).astype(np.float32)
THREE = (MANY[:, 0] > 0).astype(int) + (MANY[:, 1] > 0)
NUMBERS = MANY[:, :1] * 2 - MANY[:, 1:2]
FAULTS = {
    "double softmax": (probabilities, THREE, nn.cross_entropy, F.cross_entropy, "Adam", 0.01),
    "vanishing": (deep, THREE, nn.cross_entropy, F.cross_entropy, "SGD", 0.01),
    "output": (clipped, NUMBERS, nn.mse_loss, F.mse_loss, "Adam", 0.01),
    "broadcast": (
        line, NUMBERS[:, 0], lambda o, t: ((o - t) ** 2).mean(), lambda o, t: ((o - t) ** 2).mean(),
        "Adam", 0.01,
    ),
    "rate": (line, NUMBERS, nn.mse_loss, F.mse_loss, "SGD", 50.0),
}  # fmt: skip


@pytest.mark.parametrize("case", FAULTS)
def test_both_frameworks_have_the_same_findings(case: str) -> None:
    build, y, our_loss, their_loss, kind, rate = FAULTS[case]
    ours, theirs = both(build)
    found = [
        findings(setup_of(model, (MANY, y), loss=loss, optimizer=optimizer, epochs=4))
        for model, loss, optimizer in (
            (ours, our_loss, getattr(optim, kind)(ours.parameters(), lr=rate)),
            (theirs, their_loss, getattr(torch.optim, kind)(theirs.parameters(), lr=rate)),
        )
    ]
    assert found[0]
    assert found[0] == found[1]


def findings(setup: Any) -> list[tuple[str, str, str]]:
    trained = train(setup, pace=Pace(share=1.0))
    case = Case(setup, trained.trace, setup.framework.state(trained.setup.model))
    found, _, _ = examine(case, ("static", "live"))
    return [(f.rule, f.where, f.severity) for f in found]
