"""The layers of a pass: each operation with a weight, and the activation that follows it."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from chainrule.lens.diagnose.passes import Layer, Op, Pass

WEIGHTED = {
    "linear": "linear",
    "matmul": "matmul",
    "conv1d": "conv",
    "conv2d": "conv",
    "conv3d": "conv",
    "conv_transpose1d": "conv",
    "conv_transpose2d": "conv",
    "conv_transpose3d": "conv",
    "embedding": "embedding",
    "lstm": "recurrent",
    "gru": "recurrent",
    "rnn": "recurrent",
}
ACTIVATIONS = frozenset(
    {
        "relu", "relu6", "leaky_relu", "prelu", "elu", "selu", "celu", "gelu", "silu", "mish",
        "softplus", "softsign", "sigmoid", "tanh", "hardtanh", "hardsigmoid", "hardswish",
        "log_sigmoid", "softmax", "log_softmax", "softmin", "sparsemax", "exp", "sin", "abs",
        "square", "tanhshrink", "hardshrink", "softshrink", "threshold", "glu",
    }
)  # fmt: skip
NORMS = frozenset(
    {"batch_norm", "batch_norm_eval", "layer_norm", "group_norm", "instance_norm", "rms_norm"}
)
TRANSPARENT = frozenset(
    {
        "add", "reshape", "flatten", "squeeze", "expand_dims", "permute_dims", "drop", "dropout",
        "getitem", "astype", "multiply", "unflatten", "broadcast_to", "identity",
    }
)  # fmt: skip
"""What may stand between a weight and its activation; `add` is a bias (or goes around a layer)."""
TURNS = frozenset({"matrix_transpose", "permute_dims"})
POOLS = frozenset({"max_pool1d", "max_pool2d", "avg_pool1d", "avg_pool2d", "mean"})


def layers_of(run: Pass) -> list[Layer]:
    """Each operation of the model with a parameter as its weight, and what follows it."""
    found = []
    seen: set[str] = set()
    for position, op in run.model_ops():
        kind = WEIGHTED.get(op.name)
        if kind is None:
            continue
        weight = next((p for p in _weights(run, op) if p is not None), None)
        if weight is None:
            continue
        layer = _layer(run, position, op, kind, weight)
        if layer.path in seen:
            layer.path = weight
        seen.add(layer.path)
        found.append(layer)
    return found


def _weights(run: Pass, op: Op) -> Iterator[str | None]:
    """For each operand the parameter that it is, be it transposed first (`x @ w.T`)."""
    for name, source in zip(op.parameters, op.inputs, strict=True):
        turned = source is not None and run.ops[source].name in TURNS
        yield name if source is None or not turned else run.ops[source].parameters[0]


def _layer(run: Pass, position: int, op: Op, kind: str, weight: str) -> Layer:
    value = run.parameters[weight]
    axis = 1 if kind == "conv" else -1
    units = op.value.shape[axis] if op.value.ndim else 1
    bias = next((p for p in op.parameters if p not in (None, weight)), None)
    if kind == "recurrent":
        bias = None
    fan_in = max(1, value.size // max(units, 1)) if kind != "embedding" else 1
    if kind == "recurrent":
        fan_in = value.shape[-1]
    layer = Layer(
        path=op.path or weight.rpartition(".")[0] or weight,
        kind=kind,
        op=position,
        weight=weight,
        bias=bias,
        fan_in=fan_in,
        units=units,
        x=next((v for v in op.operands if isinstance(v, np.ndarray)), None),
        z=op.value,
        h=op.value,
        delta=op.gradient,
        h_gradient=op.gradient,
        unit_axis=axis,
    )
    _follow(run, layer)
    return layer


def _follow(run: Pass, layer: Layer) -> None:
    """Walk on from the weight as long as there is one way: bias, normalisation, activation."""
    at = layer.op
    while True:
        if at == run.output:
            layer.last = True
        readers = [r for r in run.readers[at] if _is_model(run, r)]
        if len(readers) != 1:
            return
        at = readers[0]
        op = run.ops[at]
        if op.name in NORMS and not layer.activation:
            layer.norm, layer.norm_op = op.name, at
        elif op.name in ACTIVATIONS and not layer.activation:
            layer.activation, layer.activation_op = op.name, at
            layer.h, layer.h_gradient = op.value, op.gradient
        elif op.name in ("drop", "dropout"):
            layer.dropout = float(op.attrs.get("p", 0.0))
        elif op.name == "add":
            others = [p for p, s in zip(op.parameters, op.inputs, strict=True) if s is None]
            bias = next((p for p in others if p is not None), None)
            if bias is not None and layer.bias is None and not layer.activation:
                layer.bias = bias
                layer.z, layer.delta = op.value, op.gradient
                if not layer.activation:
                    layer.h, layer.h_gradient = op.value, op.gradient
            elif all(s is not None for s in op.inputs):
                layer.residual = True
        elif op.name not in TRANSPARENT and op.name not in POOLS:
            return


def _is_model(run: Pass, position: int) -> bool:
    first = run.facts.operation
    return first is None or position < first
