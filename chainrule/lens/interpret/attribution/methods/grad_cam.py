"""Grad-CAM: where in an image the last convolution saw what speaks for an answer."""

from __future__ import annotations

import numpy as np

from chainrule.errors import DataError, ShapeError
from chainrule.lens.interpret.attribution.attribute import Asked, Attribution
from chainrule.ops.resampling import interpolate
from chainrule.tensor.creation import asarray

MODES = {1: "linear", 2: "bilinear", 3: "trilinear"}


def attribution(asked: Asked) -> Attribution:
    """ReLU(Σ_k α_k A^k), α_k the mean of ∂F/∂A^k over the places of map k of the last convolution
    (Selvaraju et al. 2017, eq. 1 and 2), made as large as the image and shared out evenly over its
    channels."""
    maps, slopes = asked.subject.maps(asked.x, np.eye(asked.width)[asked.target])
    places = asked.x.shape[2:]
    if maps.ndim != asked.x.ndim or len(maps) != len(asked.x) or len(places) not in MODES:
        raise ShapeError(
            f"Grad-CAM reads rows (channels, places…) and maps of such; rows are "
            f"{asked.x.shape[1:]}, and the last convolution gives {maps.shape[1:]}"
        )
    if not np.isfinite(maps).all() or not np.isfinite(slopes).all():
        raise DataError("a map of the last convolution, or its slope, is not finite")
    weights = slopes.mean(tuple(range(2, slopes.ndim)), keepdims=True)
    seen = np.maximum((weights * maps).sum(1, keepdims=True), 0.0)
    large = interpolate(asarray(seen), places, mode=MODES[len(places)], align_corners=False)
    values = np.broadcast_to(large.numpy() / asked.x.shape[1], asked.x.shape)
    return Attribution(
        "grad-cam", np.array(values), asked.outputs, asked.background,
        "the places where the maps of the last convolution speak for this output, weighted by "
        "their mean slope",
        "places, not pixels: it is as coarse as the last maps; what speaks against the output is "
        "cut off; the shares do not add up to the output",
        complete=False, notes={"map": list(maps.shape[2:])},
    )  # fmt: skip
