"""Changes: the setup that is given keeps its bits, the changed one is what the words say."""

from __future__ import annotations

import numpy as np
import pytest

from chainrule import nn, optim
from chainrule.lens.diagnose import changes
from chainrule.lens.diagnose.diagnose import setup_of
from chainrule.lens.diagnose.frameworks.randomness import randomness_kept
from chainrule.lens.diagnose.setup import Setup
from chainrule.lens.diagnose.training import train
from chainrule.tensor import generator


def blobs(n: int = 120, classes: int = 3, columns: int = 4) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(0)
    y = rng.integers(0, classes, n)
    centres = rng.normal(size=(classes, columns)) * 2
    return (centres[y] + rng.normal(size=(n, columns))).astype("f"), y


def network(*extra: nn.Module, units: int = 3, columns: int = 4) -> nn.Sequential:
    return nn.Sequential(
        nn.Linear(columns, 8), nn.ReLU(), nn.Linear(8, 6), nn.Tanh(), nn.Linear(6, units), *extra
    )


def setup(model=None, data=None, loss=nn.cross_entropy, optimizer=None, **rest) -> Setup:
    model = network() if model is None else model
    optimizer = (
        optim.SGD(model.parameters(), lr=0.1, momentum=0.9) if optimizer is None else optimizer
    )
    rest = {"epochs": 2, **rest}
    return setup_of(model, data or blobs(), loss=loss, optimizer=optimizer, **rest)


def bits(s: Setup) -> tuple:
    return (
        {n: v.tobytes() for n, v in s.framework.state(s.model).items()},
        repr(s.model),
        [p.requires_grad for p in s.model.parameters()],
        [{k: v for k, v in g.items() if k != "params"} for g in s.optimizer.param_groups],
        [id(p) for g in s.optimizer.param_groups for p in g["params"]],
        *(v.tobytes() for v in (s.x, s.y, s.x_held, s.y_held)),
        (s.epochs, s.batch_size, s.clear, s.sign, s.clip),
        repr(generator.default.state),
    )


REAL = (blobs()[0], (blobs()[0] @ np.array([30.0, -20, 10, 5]) + 100).astype("f"))

EVERY = {
    "set_rate": changes.set_rate(0.01),
    "use_optimizer": changes.use_optimizer("Adam", lr=1e-3),
    "set_options": changes.set_options(momentum=0.5),
    "set_decay": changes.set_decay(1e-3),
    "use_loss": changes.use_loss("mse"),
    "mean_reduction": changes.mean_reduction(),
    "remove_module": changes.remove_module("3"),
    "replace_module": changes.replace_module("1", "GELU"),
    "insert_after": changes.insert_after("0", "BatchNorm1d", 8),
    "insert_before": changes.insert_before("4", "LayerNorm", 6),
    "use_activation": changes.use_activation("SiLU"),
    "fit_head": changes.fit_head(setup()),
    "reinitialise": changes.reinitialise(),
    "standardise_inputs": changes.standardise_inputs(),
    "scale_inputs": changes.scale_inputs(0.1),
    "encode_targets": changes.encode_targets(),
    "train_longer": changes.train_longer(2),
    "set_batch_size": changes.set_batch_size(16),
    "unfreeze": changes.unfreeze(["0.weight"]),
    "hold": changes.hold(["0.weight"]),
    "clear_gradients": changes.clear_gradients(),
    "descend": changes.descend(),
    "clip_gradients": changes.clip_gradients(1.0),
    "drop_rows": changes.drop_rows([0, 5, 7], "they are noise"),
    "balance_classes": changes.balance_classes(),
    "remove_column": changes.remove_column(1),
    "add_dropout": changes.add_dropout(0.2),
    "stop_early": changes.stop_early(),
    "widen": changes.widen("0", 2),
    "narrow": changes.narrow("2", 3),
    "combine": changes.combine(changes.set_rate(0.01), changes.remove_module("3")),
}


@pytest.mark.parametrize("name", EVERY)
def test_what_is_given_keeps_its_bits_and_what_comes_out_trains(name: str) -> None:
    given = setup()
    before = bits(given)
    changed = EVERY[name].apply(given)
    assert bits(given) == before
    with randomness_kept():
        trained = train(changed)
    assert bits(given) == before
    assert not trained.trace.events, trained.trace.events
    assert np.isfinite(trained.trace.losses).all()
    own = {id(p) for p in changed.model.parameters()}
    held = {id(p) for g in changed.optimizer.param_groups for p in g["params"]}
    assert held == own
    assert not held & {id(p) for p in given.model.parameters()}
    assert EVERY[name].title
    assert EVERY[name].kind
    assert EVERY[name].code


def test_every_name_of_the_package_is_tried() -> None:
    elsewhere = {"Inapplicable", "standardise_targets", "reshape_targets"}
    assert set(EVERY) | elsewhere == set(changes.__all__)


def test_a_change_is_always_the_same() -> None:
    given = setup()
    for change in (EVERY["add_dropout"], EVERY["fit_head"], EVERY["insert_after"], EVERY["widen"]):
        one, other = change.apply(given), change.apply(given)
        first, second = (s.framework.state(s.model) for s in (one, other))
        assert all(np.array_equal(first[k], second[k]) for k in first)


PASTED = {
    **{name: EVERY[name] for name in (
        "remove_module", "replace_module", "insert_after", "insert_before", "reinitialise",
        "standardise_inputs", "unfreeze", "hold",
    )},
    "use_activation": changes.use_activation("SiLU", ["1", "3"]),
    "reinitialise some": changes.reinitialise("xavier", ["0", "2"]),
    "reinitialise lecun": changes.reinitialise("lecun"),
}  # fmt: skip


@pytest.mark.parametrize("name", PASTED)
def test_the_code_of_a_change_runs_as_it_is_pasted(name: str) -> None:
    model, (x, y) = network(), blobs()
    x = np.column_stack([x[:, :3], np.ones_like(x[:, 0])])  # a column that does not vary
    optimizer = optim.SGD(model[2:].parameters(), lr=0.1)
    pasted = {"model": model, "optimizer": optimizer, "X": x, "X_train": x, "nn": nn, "np": np}
    exec(PASTED[name].code, pasted)
    assert np.isfinite(pasted["X"]).all()
    changed = PASTED[name].apply(setup(network(), (x, y)))
    kinds = [[type(m).__name__ for m in each.modules()] for each in (model, changed.model)]
    plain = [[k for k in each if k not in ("Sequential", "Identity")] for each in kinds]
    assert plain[0] == plain[1]
    if name.startswith("reinitialise"):
        for mine, theirs in zip(model.parameters(), changed.model.parameters(), strict=True):
            own, other = np.asarray(mine), np.asarray(theirs)
            # The last layer feeds no rectifier: the program draws it smaller than the line does.
            inner = own.ndim > 1 and len(own) > 3
            assert not inner or 0.4 < own.std() / other.std() < 2.5
            assert own.ndim > 1 or np.array_equal(own, other) or "some" in name
    if name == "hold":
        assert any(p is model[0].weight for g in optimizer.param_groups for p in g["params"])


def test_a_layer_with_weights_is_no_activation() -> None:
    with pytest.raises(changes.Inapplicable):
        changes.use_activation("ReLU", ["2"]).apply(setup())


# Modules


def test_a_module_that_is_taken_out_of_a_sequential_is_out_of_the_list() -> None:
    given = setup(network(nn.Softmax(-1)))
    changed = changes.remove_module("5").apply(given)
    assert len(changed.model) == 5
    logits = np.log(given.framework.outputs(given.model, given.x))
    found = changed.framework.outputs(changed.model, given.x)
    centred = found - found.mean(1, keepdims=True)
    assert np.allclose(centred, logits - logits.mean(1, keepdims=True), atol=1e-4)


class Written(nn.Module):
    def __init__(self) -> None:
        self.hidden = nn.Linear(4, 8)
        self.act = nn.ReLU()
        self.out = nn.Linear(8, 3)
        self.soft = nn.Softmax(-1)

    def forward(self, x):
        return self.soft(self.out(self.act(self.hidden(x))))


class Functional(Written):
    def forward(self, x):
        return nn.softmax(self.out(nn.relu(self.hidden(x))), -1)


def test_a_module_that_code_refers_to_becomes_an_identity() -> None:
    given = setup(Written())
    changed = changes.remove_module("soft").apply(given)
    assert type(changed.model.soft).__name__ == "Identity"
    assert not np.allclose(changed.framework.outputs(changed.model, given.x).sum(1), 1)
    inserted = changes.insert_after("hidden", "BatchNorm1d", 8).apply(given)
    names = [n for n, _ in inserted.model.named_parameters()]
    assert names[:4] == ["hidden.0.weight", "hidden.0.bias", "hidden.1.weight", "hidden.1.bias"]
    assert len(inserted.framework.optimizer_facts(inserted.model, inserted.optimizer).held) == 6


def test_what_is_called_in_the_users_own_code_cannot_be_replaced() -> None:
    given = setup(Functional())
    for change in (
        changes.use_activation("Tanh"),
        changes.fit_head(given),
        changes.add_dropout(0.1),
        changes.remove_module(""),
    ):
        with pytest.raises(changes.Inapplicable):
            change.apply(given)


def test_paths_are_those_before_the_first_change() -> None:
    given = setup(network(nn.Softmax(-1)))
    both = changes.combine(
        changes.remove_module("1"), changes.remove_module("5"), changes.replace_module("3", "GELU")
    ).apply(given)
    kinds = [type(m).__name__ for m in both.model]
    assert kinds == ["Linear", "Linear", "GELU", "Linear"]
    with pytest.raises(changes.Inapplicable):
        changes.combine(changes.remove_module("1"), changes.remove_module("1")).apply(given)
    with pytest.raises(changes.Inapplicable):
        changes.remove_module("9").apply(given)


def test_frozen_and_unheld_parameters_stay_so_when_their_names_change() -> None:
    model = network()
    model[0].requires_grad_(False)
    held = list(model[4].parameters())
    given = setup(model, optimizer=optim.Adam(held, lr=1e-3))
    changed = changes.insert_before("2", "LayerNorm", 8).apply(given)
    facts = changed.framework.optimizer_facts(changed.model, changed.optimizer)
    assert facts.held == {"2.weight", "2.bias", "5.weight", "5.bias"}
    assert changed.framework.frozen(changed.model) == {"0.weight", "0.bias"}


def test_groups_of_the_optimiser_keep_their_options() -> None:
    model = network()
    groups = [
        {"params": list(model[0].parameters()), "lr": 0.5},
        {"params": [*model[2].parameters(), *model[4].parameters()], "lr": 0.1},
    ]
    given = setup(model, optimizer=optim.SGD(groups, lr=0.1, momentum=0.9))
    changed = changes.insert_after("0", "BatchNorm1d", 8).apply(given)
    assert [g["lr"] for g in changed.optimizer.param_groups] == [0.5, 0.1]
    assert [len(g["params"]) for g in changed.optimizer.param_groups] == [2, 6]
    slower = changes.set_rate(0.05).apply(given)
    assert np.allclose([g["lr"] for g in slower.optimizer.param_groups], [0.05, 0.01])


def test_widened_and_narrowed_layers_have_the_sizes_and_the_scale() -> None:
    given = setup(network(columns=4))
    wide = changes.widen("0", 8).apply(given)
    assert [p.shape for p in wide.model.parameters()][:3] == [(64, 4), (64,), (6, 64)]
    first, second = (
        s.framework.observe(s.model, s.x, s.y, s.loss).layers[1].z.std() for s in (given, wide)
    )
    assert 0.4 < second / first < 2.5
    norm = nn.Sequential(nn.Linear(4, 8), nn.BatchNorm1d(8), nn.ReLU(), nn.Linear(8, 3))
    narrow = changes.narrow("0", 5).apply(setup(norm))
    assert narrow.framework.outputs(narrow.model, given.x).shape == (len(given.x), 3)


def test_first_weights_have_the_variance_of_the_formula() -> None:
    model = nn.Sequential(
        nn.Linear(4, 400), nn.ReLU(), nn.Linear(400, 300), nn.ReLU(), nn.Linear(300, 3)
    )
    given = setup(model)
    made = changes.reinitialise("he").apply(given)
    w = made.model[2].weight.numpy()
    # First layer aside, the weights feed a rectifier: 2/fan_in.
    assert w.var() == pytest.approx(2 / 400, rel=0.03)
    assert made.model[4].weight.numpy().var() == pytest.approx(1 / 300, rel=0.15)
    glorot = changes.reinitialise("xavier", ["2"]).apply(given)
    assert glorot.model[2].weight.numpy().var() == pytest.approx(2 / 700, rel=0.03)
    assert np.array_equal(glorot.model[0].weight.numpy(), model[0].weight.numpy())


# Losses and targets


@pytest.mark.parametrize("kind", ["cross_entropy", "mse", "mae", "bce_with_logits", "huber"])
def test_targets_follow_the_loss_there_and_back(kind: str) -> None:
    given = setup()
    changed = changes.use_loss(kind).apply(given)
    if kind != "cross_entropy":
        assert np.array_equal(changed.y, np.eye(3, dtype="f")[given.y])
        assert np.array_equal(changed.y_held, np.eye(3, dtype="f")[given.y_held])
    back = changes.use_loss("cross_entropy").apply(changed)
    assert np.array_equal(back.y, given.y)
    assert train(changed).trace.finished


def test_binary_targets_are_a_column_in_the_shape_of_the_output() -> None:
    x, y = blobs(classes=2)
    one = setup(network(units=1), (x, y), nn.binary_cross_entropy_with_logits)
    assert changes.use_loss("mse").apply(one).y.shape == (len(one.y), 1)

    def flat(outputs, targets):
        return ((outputs - targets) ** 2).mean()

    assert changes.reshape_targets().apply(setup(network(units=1), (x, y), flat)).y.shape[1:] == (
        1,
    )


CASES = {
    "one sigmoid unit for 3 classes": (
        lambda: network(nn.Sigmoid(), units=1), blobs(), nn.binary_cross_entropy, 3, "classes"),
    "one softmax unit for yes or no": (
        lambda: network(nn.Softmax(-1), units=1),
        (blobs(classes=2)[0], blobs(classes=2)[1].astype("f")[:, None]),
        nn.binary_cross_entropy, 1, "binary"),
    "softmax before cross-entropy": (
        lambda: network(nn.Softmax(-1)), blobs(), nn.cross_entropy, 3, "classes"),
    "ReLU head for real targets": (
        lambda: network(nn.ReLU(), units=1), REAL, nn.mse_loss, 1, "real"),
    "tanh head of two": (
        lambda: network(nn.Tanh(), nn.ReLU(), units=1), REAL, nn.l1_loss, 1, "real"),
}  # fmt: skip


@pytest.mark.parametrize("name", CASES)
def test_the_head_that_fits_the_task(name: str) -> None:
    build, data, loss, units, task = CASES[name]
    given = setup(build(), data, loss)
    before = bits(given)
    changed = changes.fit_head(given).apply(given)
    assert bits(given) == before
    assert changed.task == task
    outputs = changed.framework.outputs(changed.model, changed.x)
    assert outputs.shape == (len(changed.x), units)
    last = list(changed.model)[-1]
    assert type(last).__name__ == "Linear"
    result = train(changed.with_(epochs=20)).trace
    assert not result.events
    best = min(e.held_out_error for e in result.epochs if e.held_out_error is not None)
    if task != "real":
        assert best < 0.5


def test_a_loss_that_sums_becomes_its_mean() -> None:
    for loss in (
        lambda o, t: nn.cross_entropy(o, t, reduction="sum"),
        lambda o, t: -(nn.log_softmax(o, -1)[np.arange(len(t.numpy())), t]).sum(),
    ):
        given = setup(loss=loss)
        changed = changes.mean_reduction().apply(given)
        outputs = given.framework.outputs(given.model, given.x)
        total = given.framework.loss_of(given.loss, outputs, given.y)
        mean = given.framework.loss_of(changed.loss, outputs, given.y)
        assert mean == pytest.approx(total / len(given.x), rel=1e-5)


def test_targets_are_encoded_from_any_values() -> None:
    x, y = blobs()
    odd = np.array([0.1, 0.7, 3.5], "f")[y]
    given = setup(data=(x, odd))
    changed = changes.encode_targets().apply(given)
    assert np.array_equal(np.array([0.1, 0.7, 3.5], "f")[changed.y], given.y)
    assert changed.y.dtype == np.int64


# Data


def test_standardising_uses_the_training_rows_alone_and_keeps_the_yardstick() -> None:
    x = blobs()[0] * 50 + 300
    given = setup(data=(x, blobs()[1]))
    made = changes.standardise_inputs().apply(given)
    mean, std = given.x.mean(0, dtype="d"), given.x.std(0, dtype="d")
    assert np.allclose(made.x, (given.x - mean) / std, atol=1e-4)
    assert np.allclose(made.x_held, (given.x_held - mean) / std, atol=1e-4)
    real = setup(network(units=1), (REAL[0], REAL[1][:, None]), nn.mse_loss)
    scaled = changes.standardise_targets().apply(real)
    assert scaled.y.std() == pytest.approx(1, rel=1e-4)
    from chainrule.lens.diagnose.yardstick import error_of

    said = real.y_held + 10
    rescaled = (said - real.y.mean()) / real.y.std()
    assert error_of(said, real.y_held, "real") == pytest.approx(
        error_of(rescaled, scaled.y_held, "real"), rel=1e-3
    )


def test_classes_are_balanced_and_rows_are_dropped() -> None:
    x, y = blobs(200, 2)
    rare = np.flatnonzero((y == 0) | (np.arange(200) % 10 == 0))
    given = setup(network(units=2), (x[rare], y[rare]))
    counts = np.bincount(changes.balance_classes().apply(given).y)
    assert abs(int(counts[0]) - int(counts[1])) <= 1
    less = changes.drop_rows([1, 3], "planted").apply(given)
    assert np.array_equal(less.x, np.delete(given.x, [1, 3], 0))


def test_a_schedule_is_scaled_with_the_rate_and_stretched_with_the_run() -> None:
    model = network()
    opt = optim.SGD(model.parameters(), lr=0.4)
    schedule = optim.CosineAnnealingLR(opt, T_max=8)
    given = setup(model, optimizer=opt, schedule=schedule)
    slow = changes.set_rate(0.04).apply(given)
    assert slow.schedule.optimizer is slow.optimizer
    for _ in range(4):
        slow.schedule.step()
    assert slow.optimizer.param_groups[0]["lr"] == pytest.approx(0.02)
    assert changes.train_longer(3).apply(given).schedule.T_max == 24
    moved = changes.insert_after("0", "LayerNorm", 8).apply(given)
    assert moved.schedule.optimizer is moved.optimizer


def test_the_best_epoch_is_kept_when_stopping_early() -> None:
    rng = np.random.default_rng(0)
    x = rng.normal(size=(60, 20)).astype("f")
    y = (x[:, 0] + rng.normal(size=60) > 0).astype(int)
    model = nn.Sequential(nn.Linear(20, 64), nn.ReLU(), nn.Linear(64, 2))
    given = setup(model, (x, y), optimizer=optim.Adam(model.parameters(), lr=0.02), epochs=60)
    plain = train(given).trace.epochs[-1]
    early = train(changes.stop_early().apply(given)).trace.epochs[-1]
    assert early.held_out_loss < plain.held_out_loss
