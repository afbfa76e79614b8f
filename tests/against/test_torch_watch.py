"""Training loops of PyTorch, watched while they run."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch

from chainrule.lens.diagnose.watch import Watch, watch

nn, F = torch.nn, torch.nn.functional
RNG = np.random.default_rng(0)
X = torch.tensor(RNG.normal(size=(96, 6)), dtype=torch.float32)
LABELS = (X[:, 0] > 0).long() + (X[:, 1] > 0.5).long()
REAL = X[:, :1] * 2 - X[:, 1:2]


def classifier() -> Any:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(6, 8), nn.ReLU(), nn.Linear(8, 3))


def loop(
    model: Any,
    optimizer: Any,
    loss: Callable = F.cross_entropy,
    *,
    y: torch.Tensor = LABELS,
    epochs: int = 4,
    step: Callable | None = None,
) -> None:
    for _ in range(epochs):
        for i in range(0, 96, 16):
            value = loss(model(X[i : i + 16]), y[i : i + 16])
            if step is not None:
                step(i // 16, value)
                continue
            optimizer.zero_grad()
            value.backward()
            optimizer.step()


def events(watching: Watch) -> set[str]:
    return {event.kind for event in watching.trace.events}


def test_a_loop_is_measured_and_can_be_made_again() -> None:
    model = classifier()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    first = {n: p.detach().numpy().copy() for n, p in model.named_parameters()}
    with watch(model, optimizer) as watching:
        loop(model, optimizer)
    trace, setup = watching.trace, watching.setup
    assert trace.steps == 24
    assert trace.batch_size == 16
    assert trace.samples[0].step == 0
    assert watching.first.facts.kind == "cross_entropy"
    assert events(watching) == set()
    assert (setup.task, setup.epochs, setup.batch_size, setup.sign, setup.clear) == (
        "classes", 4, 16, 1.0, True,
    )  # fmt: skip
    rows = np.concatenate([setup.x, setup.x_held])
    assert sorted(map(bytes, rows)) == sorted(map(bytes, X.numpy()))
    for name, value in setup.framework.parameters(setup.model).items():
        np.testing.assert_array_equal(value, first[name])
    # The update of plain descent is −η g.
    for sample in trace.samples:
        for p in sample.parameters.values():
            assert p.fresh == pytest.approx(1, abs=1e-6)
            assert p.update == pytest.approx(0.1 * p.gradient, rel=1e-4)
            assert p.descent < 0


def test_watching_changes_no_bit_of_a_run() -> None:
    def run(watched: bool) -> list[torch.Tensor]:
        torch.manual_seed(1)
        model = nn.Sequential(
            nn.Linear(6, 8), nn.BatchNorm1d(8), nn.ReLU(inplace=True), nn.Dropout(0.3),
            nn.Linear(8, 3),
        )  # fmt: skip
        optimizer = torch.optim.Adam(model.parameters(), lr=0.01)
        if watched:
            with watch(model, optimizer):
                loop(model, optimizer)
        else:
            loop(model, optimizer)
        return [*model.parameters(), *model.buffers(), torch.rand(3)]

    assert all(torch.equal(a, b) for a, b in zip(run(False), run(True), strict=True))


def test_nothing_is_left_behind() -> None:
    backward = torch.Tensor.backward, torch.autograd.backward, torch.amp.GradScaler.scale
    model = classifier()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)

    def leave_early() -> None:
        with watch(model, optimizer):
            model(X)  # recorded, and never gone back through
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        leave_early()
    assert backward == (
        torch.Tensor.backward, torch.autograd.backward, torch.amp.GradScaler.scale,
    )  # fmt: skip
    assert not model._forward_hooks
    assert not model._forward_pre_hooks
    assert not torch.nn.modules.module._global_forward_hooks
    assert not torch.nn.modules.module._global_forward_pre_hooks
    assert not optimizer._optimizer_step_pre_hooks
    assert torch.overrides._len_torch_function_stack() == 0


def test_gradients_that_are_never_cleared() -> None:
    model = classifier()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.01)

    def step(_: int, value: torch.Tensor) -> None:
        value.backward()
        optimizer.step()

    with watch(model, optimizer) as watching:
        loop(model, optimizer, step=step)
    assert events(watching) == {"stale-gradients"}
    assert watching.setup.clear is False
    assert watching.trace.samples[-1].parameters["0.weight"].fresh < 0.999


@pytest.mark.parametrize("how", ["loss", "maximize"])
def test_a_loop_that_climbs(how: str) -> None:
    model = classifier()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.01, maximize=how == "maximize")

    def step(_: int, value: torch.Tensor) -> None:
        optimizer.zero_grad()
        (-value if how == "loss" else value).backward()
        optimizer.step()

    with watch(model, optimizer) as watching:
        loop(model, optimizer, step=step)
    if how == "loss":
        assert events(watching) == {"wrong-sign"}
        assert watching.setup.sign == -1
    assert all(
        (p.descent > 0) is (how == "maximize")
        for s in watching.trace.samples for p in s.parameters.values()
    )  # fmt: skip


def test_gradients_cleared_between_backward_and_step() -> None:
    model = classifier()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.01)

    def step(_: int, value: torch.Tensor) -> None:
        value.backward()
        optimizer.zero_grad()
        optimizer.step()

    with watch(model, optimizer) as watching:
        loop(model, optimizer, step=step)
    assert "cleared-before-step" in events(watching)


def accumulating(model: Any, optimizer: Any) -> None:
    def step(i: int, value: torch.Tensor) -> None:
        (value / 3).backward()
        if i % 3 == 2:
            optimizer.step()
            optimizer.zero_grad()

    loop(model, optimizer, step=step)


def scaled(model: Any, optimizer: Any) -> None:
    scaler = torch.amp.GradScaler("cpu", init_scale=1024.0)

    def step(_: int, value: torch.Tensor) -> None:
        optimizer.zero_grad()
        scaler.scale(value).backward()
        scaler.step(optimizer)
        scaler.update()

    loop(model, optimizer, step=step)


def clipped(model: Any, optimizer: Any) -> None:
    def step(_: int, value: torch.Tensor) -> None:
        optimizer.zero_grad(set_to_none=False)
        torch.autograd.backward(value)
        nn.utils.clip_grad_norm_(model.parameters(), 0.1)
        optimizer.step()

    loop(model, optimizer, step=step)


def evaluating(model: Any, optimizer: Any) -> None:
    def step(_: int, value: torch.Tensor) -> None:
        optimizer.zero_grad()
        value.backward()
        optimizer.step()
        model.eval()
        with torch.no_grad():
            F.cross_entropy(model(X), LABELS)
        model(X)  # with a graph, for nothing
        model.train()

    loop(model, optimizer, step=step)


def closures(model: Any, _: Any) -> None:
    optimizer = _

    def step(i: int, value: torch.Tensor) -> None:
        def closure() -> torch.Tensor:
            optimizer.zero_grad()
            loss = F.cross_entropy(model(X), LABELS)
            loss.backward()
            return loss

        optimizer.step(closure)

    loop(model, optimizer, epochs=1, step=step)


def two_optimizers(model: Any, optimizer: Any) -> None:
    head = torch.optim.SGD(model[2].parameters(), lr=0.01)

    def step(_: int, value: torch.Tensor) -> None:
        optimizer.zero_grad()
        head.zero_grad()
        value.backward()
        optimizer.step()
        head.step()

    loop(model, optimizer, step=step)


MEANT = {
    "accumulation": (accumulating, torch.optim.SGD, 8),
    "mixed precision": (scaled, torch.optim.SGD, 24),
    "clipping": (clipped, torch.optim.Adam, 24),
    "evaluation between": (evaluating, torch.optim.SGD, 24),
    "closures": (closures, torch.optim.LBFGS, 6),
    "two optimisers": (two_optimizers, torch.optim.SGD, 24),
}


@pytest.mark.parametrize("case", MEANT)
def test_what_is_meant_is_no_fault(case: str) -> None:
    run, kind, steps = MEANT[case]
    model = classifier()
    optimizer = kind(model.parameters(), lr=0.01)
    with watch(model, optimizer) as watching:
        run(model, optimizer)
    assert events(watching) == set()
    assert watching.trace.steps == steps
    assert len(watching.trace.samples) >= 1
    sample = watching.trace.samples[0]
    assert sample.loss == pytest.approx(1.1, abs=0.4) or case == "accumulation"
    assert sample.layers["0"].std > 0
    assert watching.setup.x.shape[1:] == (6,)


def test_a_loop_without_an_optimizer() -> None:
    model = classifier()

    def step(_: int, value: torch.Tensor) -> None:
        value.backward()
        with torch.no_grad():
            for p in model.parameters():
                p -= 0.05 * p.grad
                p.grad = None

    with watch(model) as watching:
        loop(model, None, step=step)
    assert watching.trace.steps >= 23
    assert events(watching) == set()
    assert watching.setup.framework.rate(watching.setup.optimizer) == pytest.approx(0.05, rel=1e-3)


def test_a_compiled_module_is_recorded_by_its_own_code() -> None:
    plain = classifier()
    model = torch.compile(plain, backend="eager")
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    with watch(model, optimizer) as watching:
        loop(model, optimizer)
    assert [layer.path for layer in watching.first.layers] == ["0", "2"]
    assert watching.first.layers[0].activation == "relu"
    assert watching.trace.steps == 24
    assert events(watching) == set()


def test_targets_of_a_loss_that_is_written_out() -> None:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(6, 4), nn.Tanh(), nn.Linear(4, 1))
    optimizer = torch.optim.SGD(model.parameters(), lr=0.05)
    with watch(model, optimizer) as watching:
        loop(model, optimizer, lambda out, y: ((out.squeeze(1) - y[:, 0]) ** 2).mean(), y=REAL)
    setup = watching.setup
    assert (setup.task, watching.first.facts.kind) == ("real", "mse")
    assert setup.y.shape[1:] == (1,)  # as the model's own output is compared with it
    both = np.concatenate([setup.y, setup.y_held])
    np.testing.assert_allclose(np.sort(both.ravel()), np.sort(REAL.numpy().ravel()))


def test_a_shape_that_broadcasts_by_accident_is_kept_as_it_is() -> None:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(6, 1))
    optimizer = torch.optim.SGD(model.parameters(), lr=0.05)
    with watch(model, optimizer) as watching:
        loop(model, optimizer, lambda out, y: ((out - y[:, 0]) ** 2).mean(), y=REAL)
    assert watching.setup.y.ndim == 1


def test_sequences_whose_loss_is_flattened() -> None:
    torch.manual_seed(0)
    tokens = torch.tensor(RNG.integers(0, 10, (48, 5)))
    model = nn.Sequential(nn.Embedding(10, 8), nn.Linear(8, 10))
    optimizer = torch.optim.Adam(model.parameters(), lr=0.01)
    with watch(model, optimizer) as watching:
        for _ in range(3):
            for i in range(0, 48, 16):
                optimizer.zero_grad()
                out, y = model(tokens[i : i + 16]), tokens[i : i + 16].roll(1, 1)
                F.cross_entropy(out.view(-1, 10), y.reshape(-1)).backward()
                optimizer.step()
    setup = watching.setup
    assert setup.x.shape[1:] == (5,)
    assert setup.y.shape[1:] == (5,)
    loss = setup.framework.loss_of(
        setup.loss, setup.framework.outputs(setup.model, setup.x), setup.y
    )
    assert loss == pytest.approx(float(watching.trace.losses[0]), rel=0.2)


def test_adversaries_are_no_stale_gradients() -> None:
    torch.manual_seed(0)
    generator = nn.Sequential(nn.Linear(2, 8), nn.ReLU(), nn.Linear(8, 6))
    critic = nn.Sequential(nn.Linear(6, 8), nn.LeakyReLU(0.2), nn.Linear(8, 1))
    of_generator = torch.optim.Adam(generator.parameters(), lr=1e-3)
    of_critic = torch.optim.Adam(critic.parameters(), lr=1e-3)
    ones, zeros = torch.ones(16, 1), torch.zeros(16, 1)
    loss = F.binary_cross_entropy_with_logits
    with watch(critic, of_critic) as first, watch(generator, of_generator) as second:
        for i in range(0, 96, 16):
            fake = generator(torch.randn(16, 2))
            of_critic.zero_grad()
            (loss(critic(X[i : i + 16]), ones) + loss(critic(fake.detach()), zeros)).backward()
            of_critic.step()
            of_generator.zero_grad()
            loss(critic(fake), ones).backward()
            of_generator.step()
    assert events(first) == set()
    assert events(second) == set()
    assert first.step == second.step == 6
    assert first.trace.losses[:6] == pytest.approx(2 * np.log(2), abs=0.3)
    assert second.trace.losses == pytest.approx(np.log(2), abs=0.3)
