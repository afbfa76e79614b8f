"""From a recorded pass, and the step that followed, to the numbers that are kept of them."""

from __future__ import annotations

import numpy as np

from chainrule.lens.diagnose.passes import Layer, Pass
from chainrule.lens.diagnose.trace import BINS, LayerSample, ParameterSample, Sample

FLAT = 0.1
"""A bounded activation is saturated where its slope is below a tenth."""


def rms(values: np.ndarray) -> float:
    """√(mean of squares); NaN or infinity where an element is."""
    flat = np.asarray(values).reshape(-1)
    if not flat.size:
        return 0.0
    with np.errstate(all="ignore"):
        total = float(np.dot(flat, flat)) if flat.dtype.kind == "f" else float("nan")
        if not TINY < total < HUGE:  # squares leave float32, or the numbers are not finite
            wide = flat.astype(np.float64)
            total = float(np.dot(wide, wide))
        return float(np.sqrt(total / flat.size))


TINY, HUGE = 1e-30, 1e30
"""Between them a sum of squares in float32 has lost nothing."""


def slope_of(layer: Layer, run: Pass) -> np.ndarray | None:
    """|φ′(z)| of each element of the layer's activation, from its input and its result; None for
    activations that mix elements."""
    if layer.activation_op is None:
        return np.ones((), np.float32)
    op = run.ops[layer.activation_op]
    z = next((v for v in op.operands if isinstance(v, np.ndarray)), None)
    h = op.value
    with np.errstate(all="ignore"):
        if op.name in ("relu", "relu6", "threshold"):
            inside = (h > 0) if op.name != "relu6" else (h > 0) & (h < 6)
            return inside.astype(np.float32)
        if op.name == "sigmoid":
            return h * (1 - h)
        if op.name == "tanh":
            return 1 - h * h
        if z is None or op.name in ("softmax", "log_softmax", "softmin", "sparsemax", "glu"):
            return None
        if op.name == "leaky_relu":
            return np.where(z > 0, 1.0, float(op.attrs.get("negative_slope", 0.01)))
        if op.name in ("elu", "selu", "celu", "gelu", "silu", "mish", "softplus", "softsign",
                       "hardtanh", "hardsigmoid", "hardswish", "log_sigmoid", "prelu"):  # fmt: skip
            if op.gradient is None or layer.norm:
                return None
            before = run.ops[op.inputs[0]].gradient if op.inputs[0] is not None else None
            if before is None or before.shape != op.gradient.shape:
                return None
            ratio = np.where(op.gradient != 0, before / op.gradient, np.nan)
            return np.abs(ratio)
    return None


BOUNDED = {"sigmoid": 0.25, "tanh": 1.0, "hardtanh": 1.0, "hardsigmoid": 1 / 6, "softsign": 1.0}
"""Activations that flatten at both ends, and their steepest slope."""


def layer_sample(layer: Layer, run: Pass, rows: int) -> LayerSample:
    """The numbers of a layer in this pass."""
    h = np.asarray(layer.h, dtype=np.float32)
    finite = bool(np.isfinite(h).all())
    slope = slope_of(layer, run)
    saturated = 0.0
    if layer.activation in BOUNDED and slope is not None:
        saturated = float(np.mean(slope < FLAT * BOUNDED[layer.activation]))
    mean_slope = 1.0 if slope is None else float(np.nanmean(np.square(slope, dtype=np.float64)))
    weight = run.parameters.get(layer.weight or "")
    with np.errstate(all="ignore"):
        part = layer.fan_in * rms(weight) ** 2 if weight is not None else 1.0
        counts, edges = _histogram(h.reshape(-1)) if finite else ([], (0.0, 0.0))
        z = np.asarray(layer.z, dtype=np.float32)
        return LayerSample(
            mean=float(h.mean()),
            std=float(h.std()),
            z_mean=float(z.mean()),
            z_std=float(z.std()),
            zero=_zeros(h),
            saturated=saturated,
            slope=mean_slope,
            weight_part=float(part),
            delta=None if layer.delta is None else rms(layer.delta) * rows,
            counts=counts,
            edges=edges,
            finite=finite,
        )


def _zeros(values: np.ndarray) -> float:
    return float(1 - np.count_nonzero(values) / max(values.size, 1))


def _histogram(h: np.ndarray) -> tuple[list[int], tuple[float, float]]:
    h = h[:: max(1, -(-h.size // COUNTED))]
    low, high = float(h.min()), float(h.max())
    if not high - low > 1e-5 * max(abs(low), abs(high)):  # too near for edges between them
        return [int(h.size)], (low, high)
    counts, _ = np.histogram(h, BINS, (low, high))
    return counts.tolist(), (low, high)


COUNTED = 1 << 14
"""Of a larger layer, about so many elements at equal distances make the histogram."""


def parameter_sample(weight: np.ndarray, gradient: np.ndarray | None) -> ParameterSample:
    """The numbers of a parameter before the step."""
    size = rms(weight)
    if gradient is None:
        return ParameterSample(size, finite=bool(np.isfinite(size)))
    g = rms(gradient)
    return ParameterSample(
        size,
        g,
        zero=_zeros(gradient),
        finite=bool(np.isfinite(size) and np.isfinite(g)),
    )


def sample_of(run: Pass, step: int, rate: float) -> Sample:
    """The numbers of a pass; `with_update` adds those of the step that followed."""
    rows = len(run.x)
    return Sample(
        step,
        run.loss,
        rate,
        rows,
        {n: parameter_sample(w, run.gradients.get(n)) for n, w in run.parameters.items()},
        {layer.path: layer_sample(layer, run, rows) for layer in run.layers},
    )


def with_update(sample: Sample, run: Pass, after: dict[str, np.ndarray]) -> None:
    """Note what the optimiser's step really changed."""
    for name, kept in sample.parameters.items():
        if name not in after:
            continue
        change = after[name] - run.parameters[name]
        kept.update = rms(change)
        kept.finite = kept.finite and bool(np.isfinite(kept.update))
        gradient = run.gradients.get(name)
        if gradient is not None:
            with np.errstate(all="ignore"):
                kept.descent = float(np.vdot(gradient, change))
