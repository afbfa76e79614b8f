"""What a posterior over weights costs, beside PyTorch and beside the network itself:

    python -m benchmarks.posteriors

100 samples by Monte Carlo dropout, of 128 rows and an MLP 784-512-256-10 with dropout at one place
or more: by `posterior(method="dropout")`; what lies before the first dropout once and then 100
forward passes of what lies behind, compiled; PyTorch as it is usually written, 100 forward passes
in training mode; and PyTorch with what lies before computed once and all samples as one batch, by
hand. Then the training of an ensemble of 8 beside that of one network by `fit`, both without what
compiling takes. On a busy machine threads that wait for one another are what is measured:
OMP_NUM_THREADS=1 CHAINRULE_NUM_THREADS=1 leaves each one.
"""

from __future__ import annotations

import argparse
import importlib.util
import itertools
import os
import sys
import time
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from benchmarks.machine import description
from benchmarks.race import Worker, take_turns
from benchmarks.ratio import ratio
from benchmarks.worker import own_output, serve

ROWS, SAMPLES, P = 128, 100, 0.2
SIZES = (784, 512, 256, 10)
DROPOUTS = {"last layer": (2,), "last two layers": (1, 2), "every layer": (0, 1, 2)}
"""Before which of the dense layers, counted from 0, there is dropout."""
SIDES = ("chainrule", "chainrule_tails", "torch", "torch_by_hand")


def layers(nn: Any, places: Sequence[int]) -> list[Any]:
    found = []
    for i, (n, m) in enumerate(itertools.pairwise(SIZES)):
        found += [nn.ReLU()] if i else []
        found += [nn.Dropout(P)] if i in places else []
        found.append(nn.Linear(n, m))
    return found


def chainrule_side(places: Sequence[int], tails: bool) -> Callable[[], Any]:
    import chainrule as cr
    from chainrule import nn
    from chainrule import probability as prob

    x = np.random.default_rng(0).standard_normal((ROWS, SIZES[0]), np.float32)
    cr.seed(0)
    model = nn.Sequential(*layers(nn, places))
    if not tails:
        found = prob.posterior(model, (x, np.zeros(ROWS, int)), method="dropout")
        return lambda: found.draws(x, SAMPLES)
    first = next(i for i, layer in enumerate(model) if isinstance(layer, nn.Dropout))
    before, behind = (
        cr.compile(nn.Sequential(*part)) for part in (list(model)[:first], list(model)[first:])
    )

    def step() -> Any:
        with cr.no_grad():
            h = before(cr.asarray(x, copy=False))
            return np.stack([behind(h).numpy() for _ in range(SAMPLES)])

    return step


def torch_side(places: Sequence[int], by_hand: bool) -> Callable[[], Any]:
    import torch
    from torch import nn

    x = torch.from_numpy(np.random.default_rng(0).standard_normal((ROWS, SIZES[0]), np.float32))
    model = nn.Sequential(*layers(nn, places)).train()
    first = next(i for i, layer in enumerate(model) if isinstance(layer, nn.Dropout))

    @torch.inference_mode()
    def step() -> Any:
        if not by_hand:
            return torch.stack([model(x) for _ in range(SAMPLES)])
        h = model[:first](x)
        return model[first:](h.expand(SAMPLES, *h.shape))

    return step


def facts(side: str) -> str:
    if side.startswith("torch"):
        import torch

        return f"PyTorch {torch.__version__}, {torch.get_num_threads()} threads"
    import chainrule as cr

    threads = os.environ.get("CHAINRULE_NUM_THREADS") or len(os.sched_getaffinity(0))
    return f"chainrule {cr.__version__}, {threads} threads"


def answer(side: str, workload: str) -> None:
    """What a worker does; see `benchmarks.worker`."""
    answers = own_output()
    if side.startswith("torch") and importlib.util.find_spec("torch") is None:
        print("null", file=answers)
        return
    make = torch_side if side.startswith("torch") else chainrule_side
    second = side in ("chainrule_tails", "torch_by_hand")
    serve(lambda: make(DROPOUTS[workload], second), lambda: facts(side), (), answers)


def dropout_table(rounds: int, turn: float) -> None:
    print(f"\n{SAMPLES} samples by Monte Carlo dropout of {ROWS} rows, MLP "
          f"{'-'.join(map(str, SIZES))}; times in ms, ratios to chainrule's")  # fmt: skip
    for workload in DROPOUTS:
        workers = [Worker(side, workload, module="benchmarks.posteriors") for side in SIDES]
        try:
            present = [worker for worker in workers if worker.facts is not None]
            times = take_turns(present, rounds, turn)
        finally:
            for worker in workers:
                worker.stop()
        ours = times["chainrule"]
        print(f"dropout before {workload}; {', '.join(sorted({w.facts for w in present}))}")
        for side, found in times.items():
            beside = "" if found is ours else str(ratio(found, ours))
            print(f"    {side:16} {1e3 * float(np.median(found)):8.1f}   {beside}", flush=True)


# Ensembles

MEMBERS = 8
NETWORKS = {
    "8-50-1, batch 32": ((8, 50, 1), 32), "8-50-1, batch 128": ((8, 50, 1), 128),
    "64-64-10, batch 32": ((64, 64, 10), 32), "64-64-64-10, batch 32": ((64, 64, 64, 10), 32),
}  # fmt: skip


def ensemble_table(rounds: int) -> None:
    print(f"\ntraining {MEMBERS} networks as an ensemble beside one by `fit`: µs a step")
    print(f"{'':22} {'ensemble':>9} {'one':>9}   ensemble / one")
    for name, (sizes, batch) in NETWORKS.items():
        together, alone = training_times(sizes, batch, rounds)
        found = ratio(together, alone)
        print(f"{name:22} {1e6 * float(np.median(together)):9.1f} "
              f"{1e6 * float(np.median(alone)):9.1f}   {found}", flush=True)  # fmt: skip


def training_times(
    sizes: Sequence[int], batch: int, rounds: int
) -> tuple[list[float], list[float]]:
    """Seconds per step of an ensemble and of one network: those that further epochs take."""
    import chainrule as cr
    from chainrule import nn, optim, train
    from chainrule import probability as prob

    rng, rows, few = np.random.default_rng(0), 40 * batch, 5
    x = rng.standard_normal((rows, sizes[0]), np.float32)
    y = rng.standard_normal((rows, sizes[-1]), np.float32)

    def network() -> Any:
        cr.seed(0)
        found = [nn.Linear(sizes[0], sizes[1])]
        for n, m in itertools.pairwise(sizes[1:]):
            found += [nn.ReLU(), nn.Linear(n, m)]
        return nn.Sequential(*found)

    def together(epochs: int) -> None:
        prob.posterior(network(), (x, y), method="ensemble", members=MEMBERS, epochs=epochs,
                       batch_size=batch)  # fmt: skip

    def alone(epochs: int) -> None:
        model = network()
        train.fit(model, (x, y), loss=nn.mse_loss, optimizer=optim.Adam(model.parameters()),
                  epochs=epochs, batch_size=batch)  # fmt: skip

    def per_step(train: Callable[[int], None]) -> float:
        began = time.perf_counter()
        train(few)
        middle = time.perf_counter()
        train(6 * few)
        return ((time.perf_counter() - middle) - (middle - began)) / (5 * few * (rows // batch))

    times: tuple[list[float], list[float]] = [], []
    for _ in range(rounds):
        for found, what in zip(times, (together, alone), strict=True):
            found.append(per_step(what))
    return times


def main() -> None:
    parser = argparse.ArgumentParser("python -m benchmarks.posteriors", description=__doc__)
    parser.add_argument("--rounds", type=int, default=7, help="how often each has its turn (7)")
    parser.add_argument("--turn", type=float, default=0.5, help="seconds of a turn (0.5)")
    options = parser.parse_args()
    print(description())
    dropout_table(options.rounds, options.turn)
    ensemble_table(options.rounds)


if __name__ == "__main__":
    if sys.argv[1:2] == ["--framework"]:
        answer(sys.argv[2], sys.argv[4])
    else:
        main()
