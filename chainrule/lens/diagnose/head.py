"""The head of a network: what stands last before the loss, and what it can say."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from chainrule.lens.diagnose.case import Case
from chainrule.lens.diagnose.layers import ACTIVATIONS, WEIGHTED
from chainrule.lens.diagnose.loss_forms import class_axis
from chainrule.lens.diagnose.passes import Pass

INFINITY = float("inf")
RANGES = {
    "relu": (0.0, INFINITY),
    "relu6": (0.0, 6.0),
    "softplus": (0.0, INFINITY),
    "exp": (0.0, INFINITY),
    "square": (0.0, INFINITY),
    "abs": (0.0, INFINITY),
    "sigmoid": (0.0, 1.0),
    "hardsigmoid": (0.0, 1.0),
    "softmax": (0.0, 1.0),
    "softmin": (0.0, 1.0),
    "sparsemax": (0.0, 1.0),
    "tanh": (-1.0, 1.0),
    "hardtanh": (-1.0, 1.0),
    "softsign": (-1.0, 1.0),
    "log_softmax": (-INFINITY, 0.0),
    "log_sigmoid": (-INFINITY, 0.0),
    "elu": (-1.0, INFINITY),
    "celu": (-1.0, INFINITY),
    "selu": (-1.7581, INFINITY),
    "gelu": (-0.17, INFINITY),
    "silu": (-0.2785, INFINITY),
    "mish": (-0.3089, INFINITY),
}
"""What an activation gives, whatever comes in (its least and largest values)."""
SOFTMAXES = ("softmax", "softmin", "sparsemax")
PASSED = frozenset(
    {"reshape", "flatten", "squeeze", "expand_dims", "unflatten", "astype", "identity",
     "broadcast_to", "permute_dims", "getitem", "drop", "dropout", "clip", "detach"}
)  # fmt: skip
"""What changes nothing about which values are possible (clip narrows them, and is looked through
to find what was clipped)."""


@dataclass(frozen=True, eq=False)
class Head:
    """What the loss takes as prediction.

    Attributes:
        name: the activation that makes it ("softmax", "relu", …), "linear", or "" if none.
        path: the module; "" where the user's own code calls it.
        place: where a finding about it points, see `Pass.place`.
        op: its position in `Pass.ops`.
        values: the prediction as the loss takes it.
        logged: whether a logarithm of it is taken before the loss.
        axis: of a softmax.
    """

    name: str
    path: str
    place: str
    op: int
    values: np.ndarray
    logged: bool = False
    axis: int | None = None

    @property
    def units(self) -> int:
        """Along the last axis, or along 1 for images; 1 for a vector of one number a row."""
        values = self.values
        return int(values.shape[-1]) if values.ndim > 1 else 1

    @property
    def squashes(self) -> bool:
        """Whether there are numbers that it cannot give."""
        return self.name in RANGES

    @property
    def low(self) -> float:
        return RANGES.get(self.name, (-INFINITY, INFINITY))[0]

    @property
    def high(self) -> float:
        return RANGES.get(self.name, (-INFINITY, INFINITY))[1]


def head_of(case: Case) -> Head | None:
    """The head of the first pass; None where the model's output is not one array."""
    if "head" not in case.memo:
        case.memo["head"] = _head(case.first, case.loss.prediction)
    return case.memo["head"]


def _head(run: Pass, prediction: int | None) -> Head | None:
    at = prediction if prediction is not None else run.output
    if at is None or at >= len(run.ops):
        return None
    values = np.asarray(run.ops[at].value)
    logged = False
    while True:
        op = run.ops[at]
        if op.name == "log" and at >= (run.output or 0):
            logged = True
        elif op.name in ("maximum", "minimum") and _scalar_beside(op.operands):
            pass  # clipped by hand
        elif op.name == "add" and _scalar_beside(op.operands, 1e-2):
            pass  # log(p + ε)
        elif op.name not in PASSED:
            break
        source = next((s for s in op.inputs if s is not None), None)
        if source is None:
            return Head("", op.path, run.place(at), at, values, logged)
        at = source
    op = run.ops[at]
    name = _name(run, at)
    axis = op.attrs.get("axis") if name in SOFTMAXES else None
    axis = axis if isinstance(axis, int) else None
    return Head(name, op.path, run.place(at), at, values, logged, axis)


def _scalar_beside(operands: tuple[Any, ...], most: float = INFINITY) -> bool:
    sizes = [np.size(v) for v in operands if v is not None]
    single = [v for v in operands if isinstance(v, np.ndarray | float | int) and np.size(v) == 1]
    least = min((float(np.max(np.abs(v))) for v in single), default=None)
    return len(sizes) < 2 or (least is not None and least <= most)


def _name(run: Pass, at: int) -> str:
    op = run.ops[at]
    if op.name in ACTIVATIONS:
        return op.name
    if op.name in WEIGHTED:
        return "linear"
    if op.name == "add" and any(p is not None for p in op.parameters):
        return "linear"
    if op.name == "divide" and op.value.ndim > 1 and _adds_to_one(op.value):
        return "softmax"  # written by hand: exp(z) / Σ exp(z)
    if op.path:  # an activation of several operations: softplus with its threshold
        inner = [o for o in run.ops[:at] if o.path == op.path and o.name in ACTIVATIONS]
        if inner and op.name in ("where", "multiply"):
            return inner[-1].name
    return ""


def _adds_to_one(values: np.ndarray) -> bool:
    return bool((values >= 0).all() and np.allclose(values.sum(-1), 1, atol=1e-4))


def classes_of(case: Case, head: Head) -> int:
    """How many classes the prediction has room for."""
    axis = class_axis(np.asarray(case.first.y), head.values.shape)
    if head.values.ndim < 2:
        return 1
    return int(head.values.shape[-1 if axis is None else axis])


def compares_elements(case: Case) -> bool:
    """Whether the loss compares the prediction with the targets number by number."""
    head, y = head_of(case), case.first.y
    if head is None or y is None or np.size(y) != head.values.size:
        return False
    if case.loss.kind in ("mse", "mae", "huber"):
        return True
    if case.loss.kind != "custom":
        return False
    # A difference of output and targets: log-cosh, quantile losses and the like.
    run = case.first
    return any(
        op.name == "subtract" and run.output in op.inputs and None in op.inputs
        and op.value.size == head.values.size
        for op in run.ops[(run.output or 0) + 1 :]
    )  # fmt: skip
