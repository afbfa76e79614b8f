"""Rules of five published tools, with their thresholds, on the traces that `diagnose` measured.

Each function gives the tool's alarms as names of our rules, so that it can be counted whether one
names a right cause; an alarm that names none of our causes is "". Where a trace lacks what a rule
reads, the nearest number is taken, and said:

- root mean squares stand for means of absolute values (they are larger: alarms for small gradients
  are rather too few);
- the share of pre-activations beyond a bound comes from their mean and deviation, as if normal;
- accuracy is 1 − held-out error of the trace, at the epochs that were evaluated.
"""

from __future__ import annotations

from itertools import pairwise
from math import erf, sqrt

import numpy as np

from chainrule.lens.diagnose.setup import Setup
from chainrule.lens.diagnose.trace import LayerSample, Trace


def alarms(setup: Setup, trace: Trace | None) -> dict[str, list[str]]:
    """Tool → its alarms. A run that could not start alarms them all, as a crash would."""
    if trace is None or not trace.samples or not trace.steps:
        return {name: [""] for name in TOOLS}
    return {name: sorted(set(tool(setup, trace))) for name, tool in TOOLS.items()}


def umlaut(setup: Setup, trace: Trace) -> list[str]:
    """UMLAUT (CHI 2021), `heuristics.py`."""
    found = _input_outside(setup, "input-scale")
    if setup.rate > 0.01:
        found.append("learning-rate-too-high")
    if setup.rate < 1e-7:
        found.append("learning-rate-too-low")
    seen = [e for e in trace.epochs if e.held_out_loss is not None]
    for before, after in pairwise(seen[1:]):
        assert before.held_out_loss is not None
        assert after.held_out_loss is not None
        if after.held_out_loss > before.held_out_loss and after.train_loss < before.train_loss:
            found.append("overfit")
    if setup.task != "real":
        for e in seen:
            held, train = _accuracy(e.held_out_error), _accuracy(e.train_error)
            if held > 0.95 or held > train + 0.05:
                found.append("leakage")
    layers = list(trace.layers.values())
    for facts in layers[:-1]:
        if not facts["activation"]:
            found.append("no-nonlinearity")
    last = layers[-1] if layers else {"activation": ""}
    if last["activation"] not in ("", "softmax"):
        found.append("output-activation")
    if last["activation"] != "softmax":  # "missing softmax", for regression too
        found.append("loss-output-mismatch")
    return found


def deep_diagnosis(setup: Setup, trace: Trace) -> list[str]:
    """DeepDiagnosis (ICSE 2022), `callback/callbacks.py`. Its weight-variance rule is given the
    variance of one number, which is NaN, and cannot fire."""
    found = _input_outside(setup, "input-scale")
    for sample in trace.samples:
        if not np.isfinite(sample.loss):
            found.append("non-finite")
        for layer in sample.layers.values():
            if _at_most_zero(layer) >= 0.7:
                found.append("dead-units")
            if _beyond(layer, -5, 5) > 0.5:
                found.append("saturated-units")
        for p in sample.parameters.values():
            if p.gradient is not None and p.gradient < 1e-7:
                found.append("vanishing-gradients")
            if p.update is not None and p.weight > 0:
                ratio = p.update / p.weight
                if not 1e-5 <= ratio <= 0.1:
                    found.append(
                        "learning-rate-too-high" if ratio > 0.1 else "learning-rate-too-low"
                    )
    for name in trace.samples[0].parameters:
        _, weights = trace.series("parameters", name, "weight")
        if _run_of_equals(weights) >= 5:
            found.append("frozen-parameters")
    errors = np.array([e.train_error for e in trace.epochs if e.train_error is not None])
    if _run_of_equals(errors) >= 20:
        found.append("not-learning")
    return found


def deep_localize(setup: Setup, trace: Trace) -> list[str]:
    """DeepLocalize (ICSE 2021): NaN, infinity or an exact zero in a layer's mean activation, weight
    or gradient; a loss that stagnates."""
    found = []
    for sample in trace.samples:
        if not np.isfinite(sample.loss):
            found.append("non-finite")
        for layer in sample.layers.values():
            if not layer.finite:
                found.append("non-finite")
            elif layer.mean == 0:
                found.append("dead-units")
        for p in sample.parameters.values():
            if not p.finite:
                found.append("non-finite")
            elif p.gradient == 0:
                found.append("vanishing-gradients")
            elif p.weight == 0 and sample.step > 0:
                found.append("bad-initialisation")
    losses = np.array([e.train_loss for e in trace.epochs[1:]])
    if len(losses) >= 5 and np.isfinite(losses).all() and np.ptp(losses[-5:]) < 1e-4:
        found.append("not-learning")
    return found


def auto_trainer(setup: Setup, trace: Trace) -> list[str]:
    """AutoTrainer (ICSE 2021), `utils/monitor.py`: gradient alarms need a failure of accuracy."""
    errors = [e.train_error for e in trace.epochs if e.train_error is not None]
    accuracies = np.array([_accuracy(e) for e in errors])
    failed = not errors or accuracies[-1] < 0.6 or not np.isfinite(trace.losses).all()
    found = []
    if not np.isfinite(trace.losses).all() or (trace.losses > 1e3).any():
        found.append("non-finite")
    swings = np.abs(np.diff(accuracies)) >= 0.03
    falls = np.diff(accuracies) <= -0.03
    if len(swings) and falls.mean() >= 0.2:
        found.append("learning-rate-too-high")
    if len(accuracies) > 1 and np.diff(accuracies).max() < 0.01 and failed:
        found.append("learning-rate-too-low")
    if failed:
        found.append("not-learning")
        for sample in trace.samples:
            found += _auto_trainer_gradients(sample.parameters, trace)
            if any(abs(layer.mean) >= 10 for layer in sample.layers.values()):
                found.append("input-scale")
    return found


def _auto_trainer_gradients(parameters: dict, trace: Trace) -> list[str]:
    names = [f["weight"] for f in trace.layers.values() if f["weight"] in parameters]
    if len(names) < 2:
        return []
    first, last = (parameters[n].gradient for n in (names[0], names[-1]))
    found = []
    if first is not None and last:
        if first / last < 1e-3 and first < 1e-4:
            found.append("vanishing-gradients")
        if first / last > 70:
            found.append("exploding-gradients")
    if any(parameters[n].zero >= 0.7 for n in names):
        found.append("dead-units")
    return found


def sage_maker(setup: Setup, trace: Trace) -> list[str]:
    """SageMaker Debugger's built-in rules, from awsdocs."""
    found = []
    if abs(float(np.mean(setup.x))) > 0.2 and setup.x.ndim == 4:
        found.append("input-scale")
    if setup.task == "classes" and np.asarray(setup.y).ndim == 1:
        _, counts = np.unique(setup.y, return_counts=True)
        if counts.max() / counts.min() > 10:
            found.append("class-imbalance")
    for sample in trace.samples:
        for path, layer in sample.layers.items():
            act = trace.layers[path]["activation"] if path in trace.layers else ""
            if act == "relu" and layer.zero > 0.99:  # active less than 1 % of the time
                found.append("dead-units")
            low, high = {"tanh": (-9.4999, 9.4999), "sigmoid": (-23, 17)}.get(
                act, (-np.inf, np.inf)
            )
            if np.isfinite(low) and _beyond(layer, low, high) > 0.5:
                found.append("saturated-units")
        for p in sample.parameters.values():
            if p.gradient is not None and p.gradient < 1e-7:
                found.append("vanishing-gradients")
            if p.update is not None and p.weight > 0:
                ratio = p.update / p.weight
                if ratio > 10:
                    found.append("learning-rate-too-high")
                elif ratio < 1e-8:
                    found.append("learning-rate-too-low")
            if not p.finite:
                found.append("non-finite")
    first = trace.samples[0].parameters.values()
    sizes = [p.weight**2 for p in first if p.weight > 0]
    if sizes and max(sizes) / min(sizes) > 10:
        found.append("bad-initialisation")
    seen = [(e.train_loss, e.held_out_loss) for e in trace.epochs[1:] if e.held_out_loss]
    if any(train > 0 and (held - train) / train > 0.1 for train, held in seen):
        found.append("overfit")
    losses = trace.losses
    if len(losses) > 20 and not losses[10:].min() < losses[:10].min():
        found.append("not-learning")
    return found


TOOLS = {
    "UMLAUT": umlaut,
    "DeepDiagnosis": deep_diagnosis,
    "DeepLocalize": deep_localize,
    "AutoTrainer": auto_trainer,
    "SageMaker Debugger": sage_maker,
}


def _input_outside(setup: Setup, rule: str) -> list[str]:
    x = np.asarray(setup.x)
    outside = x.dtype.kind == "f" and bool(((x < -1) | (x > 1)).any())
    return [rule] if outside else []


def _accuracy(error: float | None) -> float:
    """1 − error, for want of the base rate; an upper bound of none, 0 at a constant's error."""
    return float("nan") if error is None else 1 - error


def _at_most_zero(layer: LayerSample) -> float:
    """The share of activations ≤ 0, from the histogram."""
    if not layer.counts or not layer.finite:
        return layer.zero
    edges = np.linspace(*layer.edges, len(layer.counts) + 1)
    below = np.array(layer.counts)[edges[1:] <= 0].sum() / sum(layer.counts)
    return max(float(below), layer.zero)


def _beyond(layer: LayerSample, low: float, high: float) -> float:
    """P(z < low or z > high) for normal z."""
    if not np.isfinite(layer.z_std) or layer.z_std == 0:
        return float(not low <= layer.z_mean <= high)

    def below(v: float) -> float:
        return 0.5 * (1 + erf((v - layer.z_mean) / layer.z_std / sqrt(2)))

    return below(low) + 1 - below(high)


def _run_of_equals(values: np.ndarray) -> int:
    """The longest run of equal numbers."""
    longest = here = 1 if len(values) else 0
    for same in np.diff(values) == 0:
        here = here + 1 if same else 1
        longest = max(longest, here)
    return longest
