"""PyTorch modules of every kind: a diagnosis, and what was handed over as it was, to the bit."""

import copy
import random

import numpy as np
import pytest

import chainrule as cr

torch = pytest.importorskip("torch")
prune = pytest.importorskip("torch.nn.utils.prune")
F = torch.nn.functional
N = torch.nn
RNG = np.random.default_rng(0)
X = RNG.normal(size=(48, 6)).astype(np.float32)
LABELS = (X[:, 0] + X[:, 1] > 0).astype(np.int64)


def network():
    torch.manual_seed(0)
    return N.Sequential(
        N.Linear(6, 8), N.BatchNorm1d(8), N.ReLU(), N.Dropout(0.2), N.Linear(8, 2)
    )  # fmt: skip


def found(model, data=(X, LABELS), loss=F.cross_entropy, **options):
    options = {"epochs": 2, "batch_size": 16, "budget": 0, **options}
    diagnosis = cr.diagnose(model, data, loss=loss, **options)
    assert str(diagnosis)
    assert not [why for _, why in diagnosis.not_looked_at if "failed" in why]
    return diagnosis


def rules(diagnosis):
    return [f.rule for f in diagnosis.findings]


class Several(N.Module):
    def __init__(self, form):
        super().__init__()
        self.features, self.head, self.form = N.Linear(6, 4), N.Linear(4, 2), form

    def forward(self, x):
        h = self.features(x)
        return self.form(h, self.head(h.tanh()))


class Keeping(N.Module):
    def __init__(self):
        super().__init__()
        self.linear, self.kept, self.calls = N.Linear(6, 2), [], 0

    def forward(self, x):
        self.calls += 1
        self.kept.append(self.linear(x))
        return self.kept[-1]


class OwnLoss(N.Module):
    def __init__(self):
        super().__init__()
        self.scale = N.Parameter(torch.ones(2))
        self.register_buffer("mean", torch.zeros(()))

    def forward(self, outputs, targets):
        loss = F.cross_entropy(outputs * self.scale, targets)
        self.mean.mul_(0.9).add_(0.1 * loss.detach())
        return loss


def picture(model, optimizer, schedule):
    held = [*model.named_parameters(), *model.named_buffers()]
    grads = [None if p.grad is None else p.grad.numpy().tobytes() for p in model.parameters()]
    return repr(
        (
            [(n, id(t), t.detach().numpy().tobytes()) for n, t in held],
            grads,
            [(n, id(m), m.training, len(m._forward_hooks)) for n, m in model.named_modules()],
            optimizer.state_dict(),
            schedule.state_dict(),
            torch.get_rng_state().numpy().tobytes(),
            random.getstate(),
            [np.asarray(part).tobytes() for part in np.random.get_state()],
        )
    )


@pytest.mark.parametrize("kind", ["SGD", "Adam", "AdamW", "RMSprop"])
@pytest.mark.parametrize("columns", [6, 5])
def test_what_is_given_stays_as_it_is(kind, columns):
    model = network()
    groups = [
        {"params": model[0].parameters()},
        {"params": [*model[1].parameters(), *model[4].parameters()], "lr": 0.02},
    ]
    optimizer = getattr(torch.optim, kind)(groups, lr=0.01)
    schedule = torch.optim.lr_scheduler.StepLR(optimizer, 2)
    for _ in range(3):
        F.cross_entropy(model(torch.tensor(X)), torch.tensor(LABELS)).backward()
        optimizer.step()
        schedule.step()
    model[1].eval()
    before = picture(model, optimizer, schedule)
    cr.diagnose(
        model, (X[:, :columns], LABELS), loss=F.cross_entropy, optimizer=optimizer,
        schedule=schedule, epochs=2, budget=0.5,
    )  # fmt: skip
    assert picture(model, optimizer, schedule) == before


def pruned():
    model = network()
    prune.l1_unstructured(model[0], "weight", 0.5)
    return model


def kept():
    model = Keeping()
    model(torch.tensor(X))
    return model


@pytest.mark.parametrize(
    "make",
    [
        lambda: N.Sequential(N.LazyLinear(8), N.LazyBatchNorm1d(), N.ReLU(), N.LazyLinear(2)),
        lambda: N.Sequential(N.utils.spectral_norm(N.Linear(6, 8)), N.ReLU(), N.Linear(8, 2)),
        lambda: N.Sequential(
            N.utils.parametrizations.spectral_norm(N.Linear(6, 8)), N.ReLU(), N.Linear(8, 2)
        ),
        pruned,
        kept,
    ],
    ids=["lazy", "spectral norm", "spectral norm, parametrised", "pruned", "keeping"],
)
def test_modules_that_compute_their_weights_or_keep_activations(make):
    model = make()
    diagnosis = found(model)
    assert "model-error" not in rules(diagnosis)
    assert diagnosis.trace.steps
    if isinstance(model, Keeping):
        assert (model.calls, len(model.kept)) == (1, 1)


@pytest.mark.parametrize(
    ("form", "loss"),
    [
        (lambda h, z: (h, z), lambda o, y: F.cross_entropy(o[1], y) + 0.1 * (o[0] ** 2).mean()),
        (lambda h, z: {"h": h, "z": [z]}, lambda o, y: F.cross_entropy(o["z"][0], y)),
    ],
)
def test_several_outputs(form, loss):
    diagnosis = found(Several(form), loss=loss, epochs=60, batch_size=8)
    assert "model-error" not in rules(diagnosis)
    assert diagnosis.trace.epochs[-1].train_error < 0.7


def test_a_loss_with_weights_and_a_state():
    model, loss = network(), OwnLoss()
    optimizer = torch.optim.Adam([*model.parameters(), *loss.parameters()])
    assert "model-error" not in rules(found(model, loss=loss, optimizer=optimizer))
    assert (loss.scale.grad, float(loss.mean)) == (None, 0.0)


def test_nothing_to_train_and_nothing_to_see():
    model = network().requires_grad_(False)
    assert rules(found(model)) == ["frozen-parameters"]
    assert rules(found(N.Linear(6, 2, device="meta"))) == ["model-error"]


def test_a_watched_loop_may_copy_and_save_its_model(tmp_path):
    model = network()
    optimizer = torch.optim.Adam(model.parameters())
    copies = []
    with cr.watch(model, optimizer) as watching:
        for _ in range(3):
            optimizer.zero_grad()
            F.cross_entropy(model(torch.tensor(X)), torch.tensor(LABELS)).backward()
            optimizer.step()
            copies.append(copy.deepcopy(model))
            F.cross_entropy(copies[-1](torch.tensor(X)), torch.tensor(LABELS)).backward()
        torch.save(model, tmp_path / "model.pt")
        with cr.watch(model, optimizer):  # and be watched twice
            pass
    assert watching.trace.steps == 3
    assert len(watching.trace.losses) == 3


def test_a_watch_says_what_it_cannot_copy_or_use():
    model = network()
    with pytest.raises(cr.DTypeError, match="optimizer is int"):
        cr.watch(model, 3)
    model.generator = (i for i in range(3))
    with pytest.raises(cr.DTypeError, match="cannot be copied"):
        cr.watch(model)
