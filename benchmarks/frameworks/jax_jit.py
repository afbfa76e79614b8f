"""JAX: the whole step in one jitted function that updates its state in place.

Layouts are those of Flax: images and kernels with the channels last, weights (in, out).
"""

import itertools
import os
from collections.abc import Callable
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp

from benchmarks.workloads import CNN, GPT, LEARNING_RATE, LSTM, MLP, Workload, data, weights

LATER = ()

Parameters = dict[str, Any]


def build(workload: Workload) -> Callable[[], Any]:
    inputs, targets = data(workload)
    parameters = {name: jnp.asarray(w) for name, w in _native(workload).items()}
    if isinstance(workload, CNN):
        inputs = inputs.transpose(0, 2, 3, 1)
    inputs, targets = jnp.asarray(inputs), jnp.asarray(targets)
    forward = {MLP: _mlp, CNN: _cnn, GPT: _gpt, LSTM: _lstm}[type(workload)]
    if not workload.training:
        infer = jax.jit(partial(forward, workload))
        return lambda: infer(parameters, inputs).block_until_ready()

    def loss(parameters: Parameters, inputs: Any, targets: Any) -> Any:
        logits = jax.nn.log_softmax(forward(workload, parameters, inputs))
        return -jnp.take_along_axis(logits, targets[..., None], -1).mean()

    @partial(jax.jit, donate_argnums=0)
    def train(state: Any, inputs: Any, targets: Any) -> Any:
        parameters, m, v, t = state
        value, g = jax.value_and_grad(loss)(parameters, inputs, targets)
        return value, _adam(parameters, g, m, v, t + 1)

    zeros = partial(jax.tree.map, jnp.zeros_like)
    state = (parameters, zeros(parameters), zeros(parameters), jnp.zeros((), jnp.int32))

    def step() -> Any:
        nonlocal state
        value, state = train(state, inputs, targets)
        return value

    return step


def facts() -> str:
    return f"JAX {jax.__version__}, {len(os.sched_getaffinity(0))} threads"


def _native(workload: Workload) -> Parameters:
    """The weights in the layout that is usual in JAX."""
    found = weights(workload)
    if isinstance(workload, CNN):
        first = next(
            name for name in found if found[name].shape == (workload.hidden, workload.flat)
        )
        side = workload.image // 2 ** (len(workload.channels) - 1)
        w = found[first].reshape(workload.hidden, workload.channels[-1], side, side)
        found[first] = w.transpose(0, 2, 3, 1).reshape(workload.hidden, workload.flat)
    for name, w in found.items():
        if w.ndim == 4:
            found[name] = w.transpose(2, 3, 1, 0)
        elif w.ndim == 2 and name not in ("token.weight", "position.weight"):
            found[name] = w.T
    return found


def _adam(p: Parameters, g: Parameters, m: Parameters, v: Parameters, t: Any) -> Any:
    """Kingma, Ba 2015, arXiv:1412.6980, algorithm 1; ε is outside of the root, as in PyTorch."""
    b1, b2 = 0.9, 0.999
    m = jax.tree.map(lambda m, g: b1 * m + (1 - b1) * g, m, g)
    v = jax.tree.map(lambda v, g: b2 * v + (1 - b2) * g * g, v, g)
    rate, root = LEARNING_RATE / (1 - b1**t), jnp.sqrt(1 - b2**t)
    p = jax.tree.map(lambda p, m, v: p - rate * m / (jnp.sqrt(v) / root + 1e-8), p, m, v)
    return p, m, v, t


def _dense(p: Parameters, name: str | int, x: Any) -> Any:
    return x @ p[f"{name}.weight"] + p[f"{name}.bias"]


def _mlp(workload: MLP, p: Parameters, x: Any) -> Any:
    layers = len(workload.sizes) - 1
    for i in range(layers - 1):
        x = jax.nn.relu(_dense(p, 2 * i, x))
    return _dense(p, 2 * layers - 2, x)


def _cnn(workload: CNN, p: Parameters, x: Any) -> Any:
    last = 0
    for i, _ in enumerate(itertools.pairwise(workload.channels)):
        weight, bias = p[f"{3 * i}.weight"], p[f"{3 * i}.bias"]
        layout = ("NHWC", "HWIO", "NHWC")
        x = jax.lax.conv_general_dilated(x, weight, (1, 1), "SAME", dimension_numbers=layout)
        x = jax.nn.relu(x + bias)
        window = (1, 2, 2, 1)
        x = jax.lax.reduce_window(x, -jnp.inf, jax.lax.max, window, window, "VALID")
        last = 3 * i + 3
    x = x.reshape(workload.batch, workload.flat)
    return _dense(p, last + 3, jax.nn.relu(_dense(p, last + 1, x)))


def _norm(p: Parameters, name: str, x: Any) -> Any:
    mean, var = x.mean(-1, keepdims=True), x.var(-1, keepdims=True)
    return (x - mean) * jax.lax.rsqrt(var + 1e-5) * p[f"{name}.weight"] + p[f"{name}.bias"]


def _gpt(workload: GPT, p: Parameters, tokens: Any) -> Any:
    x = p["token.weight"][tokens] + p["position.weight"]
    batch, length, width = x.shape
    for i in range(workload.layers):
        block = f"blocks.{i}"
        qkv = _dense(p, f"{block}.qkv", _norm(p, f"{block}.norm1", x))
        heads = (batch, length, 3, workload.heads, width // workload.heads)
        q, k, v = jnp.moveaxis(qkv.reshape(heads), 2, 0)
        y = jax.nn.dot_product_attention(q, k, v, is_causal=True)
        x = x + _dense(p, f"{block}.out", y.reshape(batch, length, width))
        h = _dense(p, f"{block}.mlp.0", _norm(p, f"{block}.norm2", x))
        x = x + _dense(p, f"{block}.mlp.2", jax.nn.gelu(h, approximate=False))
    return _dense(p, "head", _norm(p, "norm", x))


def _lstm(workload: LSTM, p: Parameters, x: Any) -> Any:
    weight = p["lstm.weight_hh_l0"]

    def step(carry: Any, gates: Any) -> Any:
        h, c = carry
        i, f, g, o = jnp.split(gates + h @ weight, 4, -1)
        c = jax.nn.sigmoid(f) * c + jax.nn.sigmoid(i) * jnp.tanh(g)
        return (jax.nn.sigmoid(o) * jnp.tanh(c), c), None

    gates = x @ p["lstm.weight_ih_l0"] + p["lstm.bias_ih_l0"] + p["lstm.bias_hh_l0"]
    zeros = jnp.zeros((workload.batch, workload.hidden), x.dtype)
    (h, _), _ = jax.lax.scan(step, (zeros, zeros), gates.swapaxes(0, 1))
    return _dense(p, "head", h)
