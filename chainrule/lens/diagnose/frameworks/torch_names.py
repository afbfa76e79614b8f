"""PyTorch's functions by chainrule's names, and their arguments by chainrule's names."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from functools import cache
from typing import Any

_NAMES = {
    "add": "add __add__ __radd__ __iadd__",
    "subtract": "sub rsub __sub__ __rsub__ __isub__",
    "multiply": "mul __mul__ __rmul__ __imul__",
    "divide": "div true_divide __truediv__ __rtruediv__ __div__ __rdiv__ __idiv__ __itruediv__",
    "pow": "__pow__ __rpow__ __ipow__ float_power",
    "negative": "neg __neg__",
    "abs": "absolute __abs__",
    "matmul": "mm bmm mv addmm baddbmm __matmul__ __rmatmul__",
    "vecdot": "dot inner vdot",
    "equal": "eq __eq__",
    "not_equal": "ne __ne__",
    "less": "lt __lt__",
    "less_equal": "le __le__",
    "greater": "gt __gt__",
    "greater_equal": "ge __ge__",
    "reshape": "view view_as reshape_as unflatten",
    "expand_dims": "unsqueeze",
    "permute_dims": "permute transpose swapaxes swapdims movedim moveaxis",
    "matrix_transpose": "t T mT H mH adjoint",
    "broadcast_to": "expand expand_as",
    "concat": "cat concatenate stack hstack vstack",
    "getitem": "__getitem__ gather index_select select narrow take_along_dim chunk split unbind",
    "setitem": "__setitem__ index_put scatter scatter_add index_add index_copy",
    "where": "masked_fill",
    "stop_gradient": "detach data",
    "clip": "clamp clamp_min clamp_max",
    "max": "amax",
    "min": "amin",
    "drop": "dropout dropout1d dropout2d dropout3d alpha_dropout feature_dropout "
    "feature_alpha_dropout",
    "log_sigmoid": "logsigmoid",
    "rnn": "rnn_tanh rnn_relu",
    "astype": "type half bfloat16 double float int long bool",
}
_CHAINRULE = {torch: ours for ours, names in _NAMES.items() for torch in names.split()}

ARITHMETIC = frozenset(
    [
        "add",
        "subtract",
        "multiply",
        "divide",
        "pow",
        "maximum",
        "minimum",
        "less",
        "less_equal",
        "greater",
        "greater_equal",
        "equal",
        "not_equal",
        "remainder",
        "floor_divide",
    ]
)
"""By chainrule's names: functions one of whose operands may be a Python number."""
SAME = frozenset(
    [
        "contiguous",
        "clone",
        "cpu",
        "cuda",
        "to",
        "requires_grad_",
        "retain_grad",
        "type_as",
        "rename",
        "pin_memory",
        "identity",
        "positive",
        "__pos__",
        "refine_names",
        "native_dropout",
        "alias",
        "lift_fresh",
    ]
)
"""Functions whose result is their first operand, as far as a diagnosis is concerned."""
REVERSED = frozenset(["__rsub__", "rsub", "__rtruediv__", "__rdiv__", "__rpow__", "__rmatmul__"])
"""Functions that are given their operands the other way round."""

_ARGUMENTS = {
    "softmax": "input axis",
    "log_softmax": "input axis",
    "mean": "input axis keepdims",
    "sum": "input axis keepdims",
    "max": "input axis keepdims",
    "min": "input axis keepdims",
    "squeeze": "input axis",
    "unsqueeze": "input axis",
    "cat": "tensors axis",
    "stack": "tensors axis",
    "flatten": "input start_axis end_axis",
    "conv1d": "input weight bias stride padding dilation groups",
    "conv2d": "input weight bias stride padding dilation groups",
    "conv3d": "input weight bias stride padding dilation groups",
    "clamp": "input min max",
    "getitem": "input pattern",
    "__getitem__": "input pattern",
    "gather": "input axis index",
}
"""Positional arguments of functions that Python knows no signature of."""
_RENAMED = {"dim": "axis", "keepdim": "keepdims", "start_dim": "start_axis", "end_dim": "end_axis"}


def plain_name(function: Callable[..., Any]) -> str:
    """PyTorch's own name: that of the attribute for a property, without the mark of an in-place
    form."""
    name = getattr(function, "__name__", "") or ""
    if name == "__get__":  # x.T, x.data
        name = getattr(getattr(function, "__self__", None), "__name__", "")
    if name.startswith("__"):
        return name
    return name.strip("_")


def chainrule_name(name: str) -> str:
    """What chainrule calls the function of that name; the name itself where it knows none."""
    return _CHAINRULE.get(name, name)


@cache
def _signature(function: Callable[..., Any]) -> inspect.Signature | None:
    try:
        return inspect.signature(function)
    except (TypeError, ValueError):
        return None


def arguments(
    function: Callable[..., Any], name: str, args: tuple[Any, ...], options: dict[str, Any]
) -> dict[str, Any]:
    """The arguments by name, with their defaults where Python knows them, those that are not
    named by their position."""
    found: dict[str, Any] = {}
    signature = _signature(function) if name not in _ARGUMENTS else None
    if signature is not None:
        try:
            bound = signature.bind(*args, **options)
            bound.apply_defaults()
            found = dict(bound.arguments)
        except TypeError:
            signature = None
    if signature is None:
        names = _ARGUMENTS.get(name, "").split()
        for i, value in enumerate(args):
            found[names[i] if i < len(names) else str(i)] = value
        found.update(options)
    found.update(found.pop("kwargs", {}))
    return {_RENAMED.get(key, key): value for key, value in found.items()}
