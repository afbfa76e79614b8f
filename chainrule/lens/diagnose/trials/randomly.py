"""Random changes: what somebody would try who knows nothing of the cause."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

import numpy as np

from chainrule.lens.diagnose import changes
from chainrule.lens.diagnose.finding import Change
from chainrule.lens.diagnose.setup import Setup

if TYPE_CHECKING:
    from chainrule.lens.diagnose.trials.running import Runner


def families(change: Change) -> set[str]:
    """What kinds of things it changes: "rate", "optimizer", "activation", …"""
    return {part.split(":")[0] for part in change.kind.split(" + ")}


def pool(setup: Setup) -> list[Change]:
    """The usual knobs, turned up and down from where they stand: rate, optimiser, activation,
    batch size, first weights, decay, dropout, clipping (AutoTrainer's list, ICSE 2021, without its
    order)."""
    rate, kind = setup.rate, setup.framework.optimizer_facts(setup.model, setup.optimizer).kind
    optimisers = {"Adam": 1e-3, "RMSprop": 1e-3, "SGD": 1e-2}
    found = [changes.set_rate(rate * 10), changes.set_rate(rate / 10)] if rate > 0 else []
    found += [changes.use_optimizer(k, lr=lr) for k, lr in optimisers.items() if k != kind]
    found += [changes.use_activation(k) for k in ("ReLU", "Tanh", "SELU", "LeakyReLU")]
    found += [
        changes.set_batch_size(max(1, min(2 * setup.batch_size, len(setup.x) // 2))),
        changes.set_batch_size(max(1, setup.batch_size // 2)),
        changes.reinitialise("he"),
        changes.reinitialise("xavier"),
        changes.set_decay(1e-3),
        changes.add_dropout(0.2),
        changes.clip_gradients(1.0),
    ]
    return found


def random_change(runner: Runner, seed: int, remedies: Iterable[Change]) -> Change | None:
    """Another one for each seed, of a family that none of the remedies belongs to."""
    avoided = set().union(*map(families, remedies))
    found = pool(runner.case.setup)
    for i in np.random.default_rng([runner.case.setup.seed, seed]).permutation(len(found)):
        if not families(found[i]) & avoided and runner.setup(found[i]) is not None:
            return found[i]
    return None
