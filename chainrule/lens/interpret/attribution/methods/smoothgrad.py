"""SmoothGrad: gradients of noisy copies of the row, averaged."""

from __future__ import annotations

import numpy as np

from chainrule.errors import DataError
from chainrule.lens.interpret.attribution.attribute import Asked, Attribution
from chainrule.lens.interpret.subjects.subject import no_derivative


def attribution(asked: Asked, samples: int = 50, noise: float = 0.15) -> Attribution:
    """(x − b) ∘ mean over ε of ∂F/∂x (x + ε), ε normal (Smilkov et al. 2017).

    Args:
        samples: noisy copies.
        noise: the standard deviation of ε as a share of the range of the row's features, those of
            the baseline among them.
    """
    if not isinstance(samples, int) or samples < 2 or not noise > 0:
        raise DataError(f"samples is {samples!r} and noise {noise!r}; they are at least 2, above 0")
    if asked.x.dtype.kind != "f":
        raise no_derivative(asked.x.dtype)
    rng, n = np.random.default_rng(asked.seed), len(asked.x)
    features = tuple(range(1, asked.x.ndim))
    high = np.maximum(asked.x.max(features), asked.start.max())
    low = np.minimum(asked.x.min(features), asked.start.min())
    spread = noise * (high - low).reshape(-1, *[1] * len(features))
    total, squares = np.zeros(asked.x.shape), np.zeros(asked.x.shape)
    for at in range(0, samples, max(1, asked.at_once // n)):
        copies = min(max(1, asked.at_once // n), samples - at)
        moved = asked.x + spread * rng.normal(size=(copies, *asked.x.shape))
        flat = moved.astype(asked.x.dtype).reshape(-1, *asked.x.shape[1:])
        gradient = asked.gradient(flat, np.tile(asked.target, copies)).reshape(moved.shape)
        total += gradient.sum(0)
        squares += (gradient**2).sum(0)
    mean = total / samples
    error = np.sqrt(np.maximum(squares / samples - mean**2, 0) / (samples - 1))
    away = asked.x - asked.start
    return Attribution(
        "smoothgrad", away * mean, asked.outputs, asked.base,
        "the slope of the output around this row, averaged over small random changes, times how "
        "far the input is from its baseline",
        "how wide the noise is decides what is seen; the shares need not add up to the output",
        complete=False,
        notes={"samples": samples, "standard error": np.abs(away * error).tolist()},
    )  # fmt: skip
