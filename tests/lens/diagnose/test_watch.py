"""A training loop of one's own, watched: measured, and the same to the bit."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import chainrule as cr
from chainrule import nn, optim
from chainrule.lens.diagnose.pace import Pace
from chainrule.lens.diagnose.watch import Watch, watch
from chainrule.tensor import debug, generator
from chainrule.tensor.graph import state

RNG = np.random.default_rng(0)
X = RNG.normal(size=(96, 6)).astype("f")
LABELS = (X[:, 0] + X[:, 1] * X[:, 2] > 0).astype(np.int64)
REAL = (X[:, :1] - 2 * X[:, 1:2] + 1).astype("f")
BATCH = 32


def network(dropout: float = 0.2) -> nn.Module:
    cr.seed(0)
    return nn.Sequential(
        nn.Linear(6, 16), nn.BatchNorm1d(16), nn.ReLU(), nn.Dropout(dropout), nn.Linear(16, 2)
    )


def plain_network() -> nn.Module:
    cr.seed(0)
    return nn.Sequential(nn.Linear(6, 16), nn.ReLU(), nn.Linear(16, 2))


def batches(epochs: int, x: np.ndarray = X, y: np.ndarray = LABELS) -> Any:
    for epoch in range(epochs):
        order = np.random.default_rng(epoch).permutation(len(x))
        for start in range(0, len(x), BATCH):
            rows = order[start : start + BATCH]
            yield cr.asarray(x[rows]), cr.asarray(y[rows])


class Always(Pace):
    """Measure each step."""

    def due(self, step: int, elapsed: float) -> bool:
        return True


def always(watching: Watch) -> Watch:
    watching.pace = Always()
    return watching


Loop = Callable[[nn.Module, Any], None]


def eager(model: nn.Module, optimizer: Any) -> None:
    for x, y in batches(3):
        loss = nn.cross_entropy(model(x), y)
        loss.backward()
        optimizer.step()


def compiled(model: nn.Module, optimizer: Any) -> None:
    @cr.compile
    def step(x: Any, y: Any) -> Any:
        loss = nn.cross_entropy(model(x), y)
        loss.backward()
        optimizer.step()
        return loss

    for x, y in batches(3):
        step(x, y)


def compiled_model(model: nn.Module, optimizer: Any) -> None:
    forward = cr.compile(model)
    for x, y in batches(3):
        loss = nn.cross_entropy(forward(x), y)
        loss.backward()
        optimizer.step()


def accumulating(model: nn.Module, optimizer: Any) -> None:
    for x, y in batches(4):
        loss = nn.cross_entropy(model(x), y)
        loss.backward()
        optimizer.step(every=3)


@pytest.mark.parametrize("loop", [compiled, eager, accumulating])
def test_a_watched_loop_does_the_same_to_the_bit(loop: Loop) -> None:
    found = []
    for watched in (False, True):
        model = network()
        optimizer = optim.Adam(model.parameters(), lr=1e-2)
        if watched:
            with always(watch(model, optimizer)) as watching:
                loop(model, optimizer)
            assert not watching.trace.events
        else:
            loop(model, optimizer)
        weights = {name: value.tobytes() for name, value in model.state_dict().items()}
        running = {k: v for k, v in optimizer.state_dict()["state"].items()}
        found.append((weights, str(running), generator.default.state))
    assert found[0] == found[1]
    assert debug.watchers == ()
    assert state.depth == 1


@pytest.mark.parametrize("loop", [eager, compiled, compiled_model])
def test_each_step_is_measured_and_the_rows_are_kept(loop: Loop) -> None:
    model = plain_network()
    optimizer = optim.SGD(model.parameters(), lr=0.1)
    with always(watch(model, optimizer)) as watching:
        loop(model, optimizer)
    trace, first = watching.trace, watching.first
    assert trace.steps == 9
    assert first is not None
    least = 8 if loop is compiled_model else 9  # what it is shows at its first step
    assert len(trace.samples) >= least
    for sample in trace.samples:
        for values in sample.parameters.values():
            # Plain descent: Δw = −η g, so its size is η times that of g, and Σ g Δw = −η Σ g².
            assert values.gradient is not None
            assert values.update == pytest.approx(0.1 * values.gradient, rel=1e-2)
            assert values.descent is not None
            assert values.descent < 0
            assert values.fresh is None or values.fresh == pytest.approx(1)
        assert sample.loss == pytest.approx(trace.losses[sample.step], rel=1e-5)
        assert sample.rate == 0.1
    assert watching.setup.task == "classes"
    assert (watching.setup.batch_size, first.facts.kind) == (BATCH, "cross_entropy")
    if loop is not compiled_model:
        rows = np.concatenate([watching.setup.x, watching.setup.x_held])
        assert sorted(map(bytes, rows)) == sorted(map(bytes, X))
        assert watching.setup.epochs == 3
        assert [e.epoch for e in trace.epochs] == [0, 1, 2, 3]
        kept = {bytes(row): label for row, label in zip(X, LABELS, strict=True)}
        ours = zip(watching.setup.x, watching.setup.y, strict=True)
        assert all(kept[bytes(row)] == label for row, label in ours)


def test_the_first_weights_are_kept_apart() -> None:
    model = network()
    before = model.state_dict()
    optimizer = optim.Adam(model.parameters(), lr=1e-2)
    with watch(model, optimizer) as watching:
        eager(model, optimizer)
    setup = watching.setup
    for name, value in setup.model.state_dict().items():
        np.testing.assert_array_equal(value, before[name])
    held = {id(p) for group in setup.optimizer.param_groups for p in group["params"]}
    assert held == {id(p) for p in setup.model.parameters()}


def events(watching: Watch) -> dict[str, str]:
    return {event.kind: event.where for event in watching.trace.events}


def test_gradients_that_are_used_again_are_seen() -> None:
    model = network(0.0)
    optimizer = optim.SGD(model.parameters(), lr=0.01)
    with always(watch(model, optimizer)) as watching:
        for x, y in batches(2):
            nn.cross_entropy(model(x), y).backward()
            kept = [p.grad for p in model.parameters()]
            optimizer.step()
            for p, gradient in zip(model.parameters(), kept, strict=True):
                p.grad = gradient
    assert events(watching) == {"stale-gradients": "optimizer"}
    fresh = [s.parameters["0.weight"].fresh for s in watching.trace.samples]
    assert fresh[0] == pytest.approx(1)
    assert fresh[3] is not None
    assert fresh[3] < 0.99
    assert not watching.setup.clear


@pytest.mark.parametrize("optimizer_climbs", [True, False])
def test_a_step_that_climbs_is_seen(optimizer_climbs: bool) -> None:
    model = network(0.0)
    optimizer = optim.SGD(model.parameters(), lr=0.01, maximize=optimizer_climbs)
    with always(watch(model, optimizer)) as watching:
        for x, y in batches(2):
            loss = nn.cross_entropy(model(x), y)
            (loss if optimizer_climbs else -loss).backward()
            optimizer.step()
    assert events(watching)["wrong-sign"] == ("optimizer" if optimizer_climbs else "loss")
    assert watching.setup.sign == (1 if optimizer_climbs else -1)


def test_updates_by_hand_are_steps() -> None:
    model = nn.Linear(6, 1)
    with always(watch(model)) as watching:
        for x, y in batches(2, X, REAL):
            loss = ((model(x) - y) ** 2).mean()
            loss.backward()
            for p in model.parameters():
                assert p.grad is not None
                p.assign(p.detach() - 0.05 * p.grad)
                p.grad = None
    assert not watching.trace.events
    assert watching.trace.steps == len(watching.trace.samples) == 6
    facts = watching.framework.optimizer_facts(watching.setup.model, watching.setup.optimizer)
    assert facts.kind == "SGD"
    assert facts.rate == pytest.approx(0.05, rel=1e-3)


def test_a_loop_that_never_steps() -> None:
    model = network()
    optimizer = optim.SGD(model.parameters(), lr=0.1)
    with watch(model, optimizer) as watching:
        for x, y in batches(1):
            nn.cross_entropy(model(x), y).backward()
    assert events(watching) == {"no-step": "optimizer"}
    assert watching.trace.steps == 3


def test_modes_that_are_the_wrong_way_round() -> None:
    model = network()
    optimizer = optim.SGD(model.parameters(), lr=0.1)
    with watch(model, optimizer) as watching:
        model.eval()
        for x, y in batches(1):
            nn.cross_entropy(model(x), y).backward()
            optimizer.step()
        model.train()
        with cr.no_grad():
            model(cr.asarray(X))
    assert set(events(watching)) == {"eval-in-training", "train-in-evaluation"}


def test_an_error_passes_and_is_the_finding() -> None:
    model = network()
    with pytest.raises(cr.ShapeError), watch(model) as watching:
        model(cr.asarray(X[:, :5]))
    (finding,) = watching.findings
    assert (finding.rule, finding.severity) == ("no-training", "error")
    assert "5" in finding.claim
    assert debug.watchers == ()


def test_a_loop_that_never_trains_is_a_finding() -> None:
    with watch(network()) as watching:
        pass
    assert [f.rule for f in watching.findings] == ["no-training"]
    assert not watching.diagnosis.healthy


def test_a_loss_of_ones_own_is_taken_again_if_it_is_handed_over() -> None:
    def loss(o: Any, y: Any) -> Any:
        return cr.log(cr.cosh(o - y)).mean()

    for given in (None, loss):
        model = nn.Linear(6, 1)
        optimizer = optim.SGD(model.parameters(), lr=0.1)
        with watch(model, optimizer, loss=given) as watching:
            for x, y in batches(2, X, REAL):
                loss(model(x), y).backward()
                optimizer.step()
        assert watching.setup.task == "real"
        if given is None:
            with pytest.raises(cr.DataError, match="hand it over"):
                watching.setup.loss(None, None)
        else:
            assert watching.setup.loss is loss
        looked = {rule for rule, _ in watching.diagnosis.looked_at}
        assert looked


def test_targets_are_given_the_outputs_shape_where_the_loop_does() -> None:
    model = nn.Linear(6, 1)
    optimizer = optim.SGD(model.parameters(), lr=0.1)
    with watch(model, optimizer) as watching:
        for x, y in batches(1, X, REAL[:, 0]):
            nn.mse_loss(model(x).squeeze(-1), y).backward()
            optimizer.step()
    assert watching.setup.y.shape[1:] == (1,)
    out = watching.framework.outputs(watching.setup.model, watching.setup.x)
    assert np.isfinite(watching.framework.loss_of(watching.setup.loss, out, watching.setup.y))


def test_nan_is_noted_where_it_begins() -> None:
    model = network(0.0)
    optimizer = optim.SGD(model.parameters(), lr=1e30)
    with always(watch(model, optimizer)) as watching:
        eager(model, optimizer)
    found = {event.kind: event for event in watching.trace.events}
    assert 0 < found["non-finite"].step < 4
    assert found["non-finite"].facts["times"] > 2


def test_time_spent_stays_within_the_share() -> None:
    pace = Pace(share=0.02, first=1, grace=0.05)
    now, measured = 0.0, []
    for step in range(20_000):
        now += 1e-3
        if pace.due(step, now):
            measured.append(step)
            now += 0.015
            pace.measured(step, 0.015)
    assert measured[:2] == [0, 1]
    assert pace.spent <= 0.02 * now + 0.05
    assert pace.spent > 0.9 * 0.02 * now
    gaps = np.diff(measured)
    assert gaps.max() < 2000


def test_two_networks_that_train_against_each_other_are_each_followed() -> None:
    cr.seed(0)
    maker, judge = nn.Linear(3, 6), nn.Sequential(nn.Linear(6, 8), nn.ReLU(), nn.Linear(8, 1))
    first, second = optim.Adam(judge.parameters()), optim.Adam(maker.parameters())
    score = nn.binary_cross_entropy_with_logits
    with always(watch(judge, first)) as one, always(watch(maker, second)) as other:
        for x, _ in batches(2):
            z = cr.asarray(RNG.normal(size=(BATCH, 3)).astype("f"))
            made, yes, no = maker(z), cr.ones((BATCH, 1)), cr.zeros((BATCH, 1))
            (score(judge(x), yes) + score(judge(made.detach()), no)).backward()
            first.step()
            score(judge(made), yes).backward()
            second.step()
            first.zero_grad()
    assert (one.trace.steps, other.trace.steps) == (6, 6)
    assert (len(one.trace.samples), len(other.trace.samples)) == (6, 6)
    for watching in (one, other):
        assert not watching.trace.events
        assert watching.diagnosis.healthy  # of what cannot be told, nothing is said
        assert watching.diagnosis.not_looked_at
