"""Changes and trials of PyTorch's modules: what a change does is the same in both frameworks."""

from __future__ import annotations

import time

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from chainrule import nn, optim
from chainrule.lens.diagnose import Case, Finding, changes
from chainrule.lens.diagnose.diagnose import setup_of
from chainrule.lens.diagnose.frameworks.randomness import randomness_kept
from chainrule.lens.diagnose.setup import Setup
from chainrule.lens.diagnose.training import train
from chainrule.lens.diagnose.trials.trying import try_remedies


@pytest.fixture(autouse=True)
def _one_thread():
    """On a busy machine small networks are many times slower with several."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


def blobs(n: int = 120) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(0)
    y = rng.integers(0, 3, n)
    return (rng.normal(size=(3, 4))[y] * 2 + rng.normal(size=(n, 4))).astype("f"), y


def theirs(lr: float = 0.1, **rest) -> Setup:
    torch.manual_seed(0)
    model = torch.nn.Sequential(
        torch.nn.Linear(4, 8), torch.nn.ReLU(), torch.nn.Linear(8, 6), torch.nn.Tanh(),
        torch.nn.Linear(6, 3), torch.nn.Softmax(-1),
    )  # fmt: skip
    optimizer = torch.optim.SGD(model.parameters(), lr=lr, momentum=0.9)
    return setup_of(
        model, blobs(), loss=F.cross_entropy, optimizer=optimizer, **{"epochs": 3, **rest}
    )


def ours(like: Setup, lr: float = 0.1, **rest) -> Setup:
    model = nn.Sequential(
        nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, 6), nn.Tanh(), nn.Linear(6, 3), nn.Softmax(-1)
    )
    model.load_state_dict(like.framework.state(like.model))
    optimizer = optim.SGD(model.parameters(), lr=lr, momentum=0.9)
    return setup_of(
        model, blobs(), loss=nn.cross_entropy, optimizer=optimizer, **{"epochs": 3, **rest}
    )


def bits(s: Setup) -> tuple:
    return (
        {n: v.tobytes() for n, v in s.framework.state(s.model).items()},
        repr(s.model),
        repr(s.optimizer),
        [id(p) for g in s.optimizer.param_groups for p in g["params"]],
        torch.get_rng_state().numpy().tobytes(),
    )


SAME = {
    "set_rate": changes.set_rate(0.01),
    "use_optimizer": changes.use_optimizer("Adam", lr=1e-3),
    "set_options": changes.set_options(momentum=0.5),
    "set_decay": changes.set_decay(1e-3),
    "use_loss": changes.use_loss("mse"),
    "mean_reduction": changes.mean_reduction(),
    "remove_module": changes.remove_module("5"),
    "replace_module": changes.replace_module("1", "GELU"),
    "use_activation": changes.use_activation("SiLU"),
    "insert_after": changes.insert_after("0", "BatchNorm1d", 8),
    "fit_head": changes.fit_head(theirs()),
    "reinitialise": changes.reinitialise(),
    "standardise_inputs": changes.standardise_inputs(),
    "clip_gradients": changes.clip_gradients(0.1),
    "widen": changes.widen("0", 2),
    "narrow": changes.narrow("2", 3),
    "set_batch_size": changes.set_batch_size(16),
    "stop_early": changes.stop_early(),
    "hold": changes.hold(["0.weight"]),
    "unfreeze": changes.unfreeze(["0.weight"]),
    "combine": changes.combine(changes.remove_module("5"), changes.set_rate(0.5)),
}


@pytest.mark.parametrize("name", SAME)
def test_the_changed_run_is_the_same_in_both_frameworks(name: str) -> None:
    given = theirs()
    twin = ours(given)
    before = bits(given)
    changed, changed_twin = SAME[name].apply(given), SAME[name].apply(twin)
    assert bits(given) == before
    own = {id(p) for p in changed.model.parameters()}
    assert {id(p) for g in changed.optimizer.param_groups for p in g["params"]} == own
    with randomness_kept():
        trace, trace_twin = train(changed).trace, train(changed_twin).trace
    assert not trace.events
    assert np.allclose(trace.losses, trace_twin.losses, rtol=1e-3, atol=1e-5)
    ends = [t.epochs[-1].held_out_error for t in (trace, trace_twin)]
    assert ends[0] == pytest.approx(ends[1], rel=1e-3, abs=1e-4)


def test_a_schedule_of_pytorch_goes_on_with_the_changed_optimiser() -> None:
    given = theirs(lr=0.4)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(given.optimizer, T_max=8)
    given = given.with_(schedule=schedule)
    slow = changes.combine(changes.set_rate(0.04), changes.remove_module("5")).apply(given)
    assert slow.schedule.optimizer is slow.optimizer
    for _ in range(4):
        slow.optimizer.step()
        slow.schedule.step()
    assert slow.optimizer.param_groups[0]["lr"] == pytest.approx(0.02)


def test_remedies_of_a_module_of_pytorch_are_tried() -> None:
    given = theirs(lr=1e-3, epochs=8)
    before = bits(given)
    found = Finding("learning-rate-too-low", "optimizer", "planted",
                    remedies=(changes.set_decay(1e-4), changes.set_rate(0.3)))  # fmt: skip
    began = time.perf_counter()
    with randomness_kept():
        try_remedies(Case(given), [found], 20)
    assert time.perf_counter() - began < 24
    assert bits(given) == before
    assert found.trial.helped
    assert found.remedy.kind == "rate:0.3"
