"""Arguments of every kind for any function, drawn by its signature.

Most are what a parameter's name and annotation promise, with shapes that have to do with one
another, so that calls get past the first check; some are what nobody should hand over.
"""

import inspect
from collections.abc import Callable
from typing import Any

import numpy as np
from hypothesis import strategies as st

import chainrule as cr
from chainrule import nn

DTYPES = [np.dtype(name) for name in (
    "f4", "f4", "f4", "f8", "f8", "f2", "i8", "i4", "u1", "i1", "u8", "bool", "c8", "c16",
)]  # fmt: skip
SIZES = [0, 1, 2, 2, 3, 3, 4]
EXTREME = [np.nan, np.inf, -np.inf, 0.0, -0.0, 1e30, -1e30, 1e-40, 2.0**62]
HUGE = [10**12, 2**63, 10**30]
"""Sizes that no machine has memory for."""
WHOLE = [-1, 0, 1, 2, 2, 3, 4, -2, -5, 7]
REAL = [0.0, 0.5, 1.0, 2.0, -1.0, 0.1, -0.5, 3.0, 1e-8, 1e30, np.nan, np.inf, -np.inf]
AXES = [None, 0, 1, -1, 2, -2, 5, (0,), (0, 1), (-1, 0), (1, 1), [0, 2], ()]
DTYPE_ARGUMENTS = [
    None, cr.float32, cr.float64, cr.int64, cr.bool, cr.complex64, cr.float16, cr.uint8, "float32",
    np.float64, float, int, "banana", 3, np.dtype("O"), np.dtype("U3"), np.longdouble, ">f4",
]  # fmt: skip
WRONG = [
    None, True, "x", "", b"ab", 1j, {}, [], (), object(), [[1, 2], [3]], [None], ["a"], 2.5, -3,
    np.float64(0.5), np.int64(1), np.datetime64("2020-01-01"), np.array(["a", "b"]), slice(1),
    np.array([None]), Ellipsis, len, int, range(3), {1: 2}, {3, 4}, np.array([1, 2], ">i4"),
    np.zeros(2, [("a", "f4")]), cr.Tensor, [True, 2.5], np.ones(2, np.longdouble), *HUGE,
]  # fmt: skip
TEXTS = [
    "mean", "sum", "none", "fro", "nuc", "same", "valid", "constant", "reflect", "replicate",
    "circular", "nearest", "bilinear", "bicubic", "area", "tanh", "left", "right", "ij,jk->ik",
    "ii", "...i", "ij", "xy", "ortho", "forward", "raw", "complete", "linear", "lower", "max",
    "relu", "fan_in", "batchmean", "prod", "amax", "euclidean",
]  # fmt: skip
FUNCTIONS = [
    lambda x=0.0, *more: (cr.asarray(x) ** 2).sum(), lambda x=0.0, *more: cr.sin(x),
    lambda x=0.0, *more: cr.matmul(x, x), lambda x=0.0, *more: None, lambda x=0.0, *more: x,
    lambda x=0.0, *more: [x, {"a": x}], lambda x=0.0, *more: cr.sum(x) > 1, 3, None,
]  # fmt: skip
"""Functions that take anything, and whose errors are the library's; and what is no function."""


def shape_of(draw: Any) -> tuple[int, ...]:
    rank = draw(st.sampled_from([0, 1, 1, 2, 2, 2, 3, 3, 4, 5]))
    return tuple(draw(st.sampled_from(SIZES)) for _ in range(rank))


def near(draw: Any, shape: tuple[int, ...]) -> tuple[int, ...]:
    """The shape itself, mostly, or one that has to do with it, or has not."""
    how = draw(st.integers(0, 9))
    if how == 5:
        return shape[1:]
    if how == 6:
        return tuple(n if draw(st.booleans()) else 1 for n in shape)
    if how == 7:
        return shape[::-1]
    if how == 8:
        return shape_of(draw)
    return shape[:1] if how == 9 else shape


def array(draw: Any, shape: tuple[int, ...], dtypes: list[np.dtype] = DTYPES) -> np.ndarray:
    """An array of the shape, of any of the dtypes, of any memory order and numbers."""
    dtype = draw(st.sampled_from(dtypes))
    rng = np.random.default_rng(draw(st.integers(0, 255)))
    order = draw(st.sampled_from(["plain"] * 4 + ["transposed", "reversed", "strided", "repeated"]))
    wide = (2 * shape[0], *shape[1:]) if order == "strided" and shape else shape
    kind = draw(st.sampled_from(["normal", "normal", "whole", "unit", "extreme"]))
    x = rng.standard_normal(wide) * 2
    if kind == "whole":
        x = rng.integers(0, 4, wide).astype(float)
    elif kind == "unit":
        x = rng.random(wide)
    elif kind == "extreme":
        x = np.where(rng.random(wide) < 0.3, rng.choice(EXTREME, wide), x)
    with np.errstate(all="ignore"):
        if dtype.kind == "c":
            x = x + 1j * rng.standard_normal(wide)
        if dtype.kind in "iu":
            x = np.nan_to_num(x, posinf=100, neginf=0).clip(0 if dtype.kind == "u" else -99, 100)
        x = np.asarray(x).astype(dtype)
    if order == "transposed":
        return np.asarray(x.T.copy()).T
    if order == "repeated" and x.size:
        return np.broadcast_to(x.reshape(-1)[0], shape)
    if order in ("strided", "reversed") and shape:
        return x[:: 2 if order == "strided" else -1]
    return x


def tensor(draw: Any, shape: tuple[int, ...], dtypes: list[np.dtype] = DTYPES) -> Any:
    """An array as a tensor (perhaps one that wants a gradient), or as it is, or as lists."""
    x = array(draw, shape, dtypes)
    how = draw(st.integers(0, 9 if dtypes is DTYPES else 8))
    if how >= 7:
        return x.tolist() if how == 9 else x
    wants = how < 3 and x.dtype.kind in "fc"
    return cr.asarray(x, copy=None if wants else False, requires_grad=wants)


class Arguments:
    """The arguments of one call: operands whose shapes have to do with one another.

    With `wrong=False` nothing is of a kind that it should not be, though it may have any value.
    """

    def __init__(self, draw: Any, dtypes: list[np.dtype] = DTYPES, *, wrong: bool = True) -> None:
        self.draw, self.dtypes, self.wrong = draw, dtypes, wrong
        self.shape = shape_of(draw)

    def below(self, n: int) -> int:
        return self.draw(st.integers(0, n - 1))

    def one_of(self, values: Any) -> Any:
        return self.draw(st.sampled_from(values))

    def operand(self) -> Any:
        if self.wrong and self.below(12) == 0:
            return self.one_of(REAL + WHOLE)
        return tensor(self.draw, near(self.draw, self.shape), self.dtypes)

    def several(self, values: list) -> Any:
        found = [self.one_of(values) for _ in range(self.below(5))]
        return found if self.below(2) else tuple(found)

    def value(self, p: inspect.Parameter) -> Any:
        """A value for a parameter, of the kind that its name and annotation promise, mostly."""
        if self.wrong and self.below(8) == 0:
            return self.one_of(WRONG)
        name, said, default = p.name, str(p.annotation), p.default
        if default is not p.empty and self.below(6) == 0:
            return default
        if name == "dtype":
            return self.one_of(DTYPE_ARGUMENTS)
        if name in ("axis", "axes", "dim", "dims", "source", "destination"):
            return self.one_of(AXES)
        if name in ("params", "parameters"):
            arrays = [array(self.draw, self.shape) for _ in range(self.below(3))]
            return [nn.Parameter(x, requires_grad=x.dtype.kind in "fc") for x in arrays]
        if name == "optimizer":
            return cr.optim.SGD([nn.Parameter([1.0, 2.0])], lr=0.1)
        if "Module" in said or name in ("model", "module"):
            return nn.Sequential(nn.Linear(3, 4), nn.ReLU(), nn.Linear(4, 2))
        if "Callable" in said or name in ("f", "function", "matvec"):
            return self.one_of(FUNCTIONS)
        if said in ("bool", "bool | None") or isinstance(default, bool):
            return self.one_of([True, False])
        if "Sequence[int]" in said or name.endswith(("shape", "size")):
            few = self.below(2)
            return self.several(WHOLE) if few else self.one_of([self.shape, -1, 2, 3])
        if "int" in said.split(" | ") or type(default) is int:
            return self.one_of(WHOLE)
        if said.startswith("float") or type(default) is float:
            return self.one_of(REAL)
        if said.startswith("str") or isinstance(default, str):
            return self.one_of([default if isinstance(default, str) else "x", *TEXTS])
        if isinstance(default, tuple):
            return self.several(WHOLE + REAL)
        if name in ("arrays", "tensors", "operands"):
            return [self.operand() for _ in range(self.below(4))]
        how = self.below(10)
        if default is p.empty or how < 4:
            return self.operand() if how < 7 else self.one_of(WHOLE + REAL)
        return self.several(WHOLE) if how < 7 else self.one_of([*WHOLE, *REAL, *TEXTS])

    def of(self, function: Callable[..., Any], spoil: bool = True) -> tuple[list, dict[str, Any]]:
        """(positional, named) arguments; with `spoil` seldom too many, too few, or unknown."""
        given: list[Any] = []
        named: dict[str, Any] = {}
        for p in inspect.signature(function).parameters.values():
            optional = p.default is not p.empty
            if p.kind is p.VAR_POSITIONAL:
                given += [self.value(p) for _ in range(self.below(4))]
            elif p.kind is p.VAR_KEYWORD or (optional and self.below(2)):
                continue
            elif p.kind is p.KEYWORD_ONLY or (optional and p.kind is not p.POSITIONAL_ONLY):
                named[p.name] = self.value(p)
            else:
                given.append(self.value(p))
        spoiled = self.below(40) if spoil and self.wrong else -1
        if spoiled == 0:
            named["banana"] = 1
        elif spoiled == 1:
            given.append(self.one_of(WRONG))
        elif spoiled == 2 and given:
            given.pop()
        return given, named


def shown(function: Any, given: list, named: dict[str, Any]) -> str:
    """A call as text that tells what was handed over."""

    def text(x: Any) -> str:
        if isinstance(x, (np.ndarray, cr.Tensor)):
            a = x if isinstance(x, np.ndarray) else x.numpy()
            kind = "array" if isinstance(x, np.ndarray) else "tensor"
            return f"{kind}({a.tolist()!r}, {a.dtype.str!r}, shape={a.shape}, strides={a.strides})"
        if isinstance(x, (list, tuple)) and any(isinstance(i, (np.ndarray, cr.Tensor)) for i in x):
            return f"[{', '.join(map(text, x))}]"
        return repr(x)

    parts = [*map(text, given), *(f"{k}={text(v)}" for k, v in named.items())]
    return f"{getattr(function, '__name__', function)}({', '.join(parts)})"
