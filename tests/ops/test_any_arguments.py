"""Arguments of every kind, thrown at the operations beyond the standard: each gives a result or one
of the library's errors."""

import contextlib
import inspect
import random
import warnings

import numpy as np
import pytest

import chainrule as cr
from chainrule import nn

RANKED = [
    f"{name}{rank}d{more}"
    for rank in (1, 2, 3)
    for name, more in [
        ("conv", ""), ("conv_transpose", ""), ("max_pool", ""), ("max_pool", "_with_indices"),
        ("avg_pool", ""), ("lp_pool", ""), ("adaptive_avg_pool", ""), ("adaptive_max_pool", ""),
        ("max_unpool", ""), ("dropout", ""),
    ]
]  # fmt: skip
NAMES = [
    *RANKED,
    "interpolate", "unfold", "fold", "pixel_shuffle", "pixel_unshuffle", "channel_shuffle",
    "grid_sample", "affine_grid", "pad", "einsum", "topk", "kthvalue", "median", "nanmedian",
    "quantile", "nanquantile", "cummax", "cummin", "logcumsumexp", "bincount", "histogram",
    "nansum", "nanmean", "nanmax", "nanmin", "nan_to_num", "cdist", "pdist", "pairwise_distance",
    "normalize", "cov", "corrcoef", "masked_fill", "masked_select", "masked_scatter", "lerp",
    "isclose", "allclose", "trapezoid", "cumulative_trapezoid", "interp", "polyval", "rot90",
    "unflatten", "split", "chunk", "tensor_split", "hstack", "vstack", "dstack", "scatter",
    "scatter_reduce", "index_add", "index_copy", "index_fill", "index_select", "segment_sum",
    "segment_mean", "segment_max", "segment_min", "segment_prod", "alpha_dropout",
    "feature_alpha_dropout",
]  # fmt: skip
OTHERS = [
    -1, 0, 1, 2, 3, 7, 0.5, -2.5, None, True, "x", "same", "reflect", "bilinear", (1, 2), (1,),
    (2, 2), [1, 0], (1, 2, 3), (None, 2), "sum", "mean", float("nan"), float("inf"), 1j, {},
    object(),
]  # fmt: skip


def array(draw):
    shape = [draw.choice([0, 1, 2, 2, 3, 4]) for _ in range(draw.choice([0, 1, 1, 2, 2, 3, 4, 5]))]
    x = np.random.default_rng(draw.randrange(99)).standard_normal(shape) * draw.choice([1, 3, 1e30])
    with warnings.catch_warnings(), np.errstate(all="ignore"):
        warnings.simplefilter("ignore")
        x = np.asarray(x).astype(draw.choice(["f4", "f4", "f8", "f2", "i8", "bool", "c8", "u1"]))
    if x.dtype.kind == "f" and x.size and draw.random() < 0.1:
        x.reshape(-1)[0] = np.nan
    return cr.asarray(x) if draw.random() < 0.7 else x


def arguments(draw, name, function):
    def value():
        return array(draw) if draw.random() < 0.75 else draw.choice(OTHERS)

    if name == "einsum":
        equation = draw.choice(["ij,jk", "ii", "...i", "i,i->i", 3])
        return [equation, *(array(draw) for _ in range(draw.choice([1, 2])))], {}
    given, named = [], {}
    for p in inspect.signature(function).parameters.values():
        if p.kind is p.KEYWORD_ONLY:
            if draw.random() < 0.25:
                named[p.name] = value()
        elif p.kind is not p.VAR_POSITIONAL and (p.default is p.empty or draw.random() < 0.3):
            operand = "Tensor" in str(p.annotation) and draw.random() < 0.8
            given.append(array(draw) if operand else value())
    return given, named


@pytest.mark.parametrize("name", NAMES)
def test_every_argument_gives_a_result_or_an_error_of_ours(name):
    function = getattr(cr, name, None) or getattr(nn, name)
    draw = random.Random(name)
    for _ in range(60):
        given, named = arguments(draw, name, function)
        with np.errstate(all="ignore"), contextlib.suppress(cr.ChainruleError):
            function(*given, **named)
