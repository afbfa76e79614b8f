"""What is computed: shapes, and data and first weights made by NumPy, the same for every framework.

Weights have the names and the layout that PyTorch gives them for the networks in `network.py`. A
workload is a training step, or with `training=False` the forward pass alone.
"""

from __future__ import annotations

import itertools
import math
from dataclasses import dataclass, replace

import numpy as np

LEARNING_RATE = 1e-3

Shapes = dict[str, tuple[int, ...]]


@dataclass(frozen=True)
class MLP:
    """Dense layers with ReLU between them."""

    sizes: tuple[int, ...]
    batch: int
    training: bool = True

    def __str__(self) -> str:
        return f"MLP {'-'.join(map(str, self.sizes))}, batch {self.batch}"

    def shapes(self) -> Shapes:
        found: Shapes = {}
        for i, (n, m) in enumerate(itertools.pairwise(self.sizes)):
            found |= {f"{2 * i}.weight": (m, n), f"{2 * i}.bias": (m,)}
        return found

    def data(self, random: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
        x = random.standard_normal((self.batch, self.sizes[0]), np.float32)
        return x, random.integers(0, self.sizes[-1], self.batch)

    def products(self) -> tuple[int, int]:
        layers = [2 * self.batch * n * m for n, m in itertools.pairwise(self.sizes)]
        return sum(layers), layers[0]


@dataclass(frozen=True)
class CNN:
    """Two times 3×3 convolution with padding 1, ReLU and 2×2 max pool, then two dense layers."""

    channels: tuple[int, ...]
    image: int
    hidden: int
    classes: int
    batch: int
    training: bool = True

    def __str__(self) -> str:
        path = "→".join(map(str, self.channels))
        return (
            f"3×3 convolutions {path}, then {self.flat}-{self.hidden}-{self.classes}, "
            f"batch {self.batch} of {self.image}×{self.image}"
        )

    @property
    def flat(self) -> int:
        return self.channels[-1] * (self.image // 2 ** (len(self.channels) - 1)) ** 2

    def shapes(self) -> Shapes:
        found: Shapes = {}
        for i, (n, m) in enumerate(itertools.pairwise(self.channels)):
            found |= {f"{3 * i}.weight": (m, n, 3, 3), f"{3 * i}.bias": (m,)}
        first = 3 * (len(self.channels) - 1) + 1  # after the last pool comes Flatten
        return found | {
            f"{first}.weight": (self.hidden, self.flat),
            f"{first}.bias": (self.hidden,),
            f"{first + 2}.weight": (self.classes, self.hidden),
            f"{first + 2}.bias": (self.classes,),
        }

    def data(self, random: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
        shape = (self.batch, self.channels[0], self.image, self.image)
        x = random.standard_normal(shape, np.float32)
        return x, random.integers(0, self.classes, self.batch)

    def products(self) -> tuple[int, int]:
        layers = [
            2 * self.batch * (self.image // 2**i) ** 2 * 9 * n * m
            for i, (n, m) in enumerate(itertools.pairwise(self.channels))
        ]
        dense = 2 * self.batch * self.hidden * (self.flat + self.classes)
        return sum(layers) + dense, layers[0]


@dataclass(frozen=True)
class GPT:
    """A decoder of pre-normalised blocks: causal attention, then 4×width GELU, both with a residual
    connection; learned positions; a head of its own."""

    layers: int
    width: int
    heads: int
    tokens: int
    vocabulary: int
    batch: int
    training: bool = True

    def __str__(self) -> str:
        return (
            f"{self.layers} layers, width {self.width}, {self.heads} heads, {self.tokens} tokens, "
            f"vocabulary {self.vocabulary}, batch {self.batch}"
        )

    def shapes(self) -> Shapes:
        w = self.width
        found: Shapes = {"token.weight": (self.vocabulary, w), "position.weight": (self.tokens, w)}
        for i in range(self.layers):
            block = {
                "norm1.weight": (w,),
                "norm1.bias": (w,),
                "qkv.weight": (3 * w, w),
                "qkv.bias": (3 * w,),
                "out.weight": (w, w),
                "out.bias": (w,),
                "norm2.weight": (w,),
                "norm2.bias": (w,),
                "mlp.0.weight": (4 * w, w),
                "mlp.0.bias": (4 * w,),
                "mlp.2.weight": (w, 4 * w),
                "mlp.2.bias": (w,),
            }
            found |= {f"blocks.{i}.{name}": shape for name, shape in block.items()}
        return found | {
            "norm.weight": (w,),
            "norm.bias": (w,),
            "head.weight": (self.vocabulary, w),
            "head.bias": (self.vocabulary,),
        }

    def data(self, random: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
        text = random.integers(0, self.vocabulary, (self.batch, self.tokens + 1))
        return text[:, :-1].copy(), text[:, 1:].copy()

    def products(self) -> tuple[int, int]:
        rows, w = self.batch * self.tokens, self.width
        dense = 2 * rows * w * (3 + 1 + 4 + 4) * w
        attention = (
            2 * 2 * rows * (self.tokens + 1) // 2 * w
        )  # a token sees itself and those before
        return self.layers * (dense + attention) + 2 * rows * w * self.vocabulary, 0


@dataclass(frozen=True)
class LSTM:
    """One layer over a sequence, and a dense layer on its last state."""

    inputs: int
    hidden: int
    classes: int
    steps: int
    batch: int
    training: bool = True

    def __str__(self) -> str:
        return (
            f"LSTM {self.inputs}-{self.hidden} over {self.steps} steps, then {self.classes}, "
            f"batch {self.batch}"
        )

    def shapes(self) -> Shapes:
        n, h = self.inputs, self.hidden
        return {
            "lstm.weight_ih_l0": (4 * h, n),
            "lstm.weight_hh_l0": (4 * h, h),
            "lstm.bias_ih_l0": (4 * h,),
            "lstm.bias_hh_l0": (4 * h,),
            "head.weight": (self.classes, h),
            "head.bias": (self.classes,),
        }

    def data(self, random: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
        x = random.standard_normal((self.batch, self.steps, self.inputs), np.float32)
        return x, random.integers(0, self.classes, self.batch)

    def products(self) -> tuple[int, int]:
        inputs = 2 * self.batch * self.steps * 4 * self.hidden * self.inputs
        states = 2 * self.batch * self.steps * 4 * self.hidden * self.hidden
        head = 2 * self.batch * self.hidden * self.classes
        return inputs + states + head, inputs + states // self.steps  # the first state is data too


Workload = MLP | CNN | GPT | LSTM

_GPT = GPT(layers=4, width=128, heads=4, tokens=64, vocabulary=256, batch=16)

WORKLOADS: dict[str, Workload] = {
    "tiny": MLP((64, 64, 10), batch=32),
    "mnist": MLP((784, 512, 256, 10), batch=128),
    "wide": MLP((1024, 2048, 2048, 10), batch=256),
    "cnn": CNN((1, 32, 64), image=28, hidden=128, classes=10, batch=64),
    "gpt": _GPT,
}


INFERENCE: dict[str, Workload] = {
    f"{name}-1": replace(WORKLOADS[name], batch=1, training=False)
    for name in ("tiny", "mnist", "gpt")
}

SHAPES: dict[str, Workload] = {
    "lstm": LSTM(inputs=64, hidden=128, classes=10, steps=64, batch=32),
    **{
        f"mlp-{width}-{batch}": MLP((width, width, width, 10), batch)
        for width in (32, 1024, 4096)
        for batch in (1, 32, 256, 4096)
    },
}

GROWTH: dict[str, Workload] = {
    "gpt": _GPT,
    **{f"gpt-tokens-{k}": replace(_GPT, tokens=64 * k) for k in (2, 4, 8)},
    **{f"gpt-layers-{k}": replace(_GPT, layers=4 * k) for k in (2, 4, 8)},
}

ALL: dict[str, Workload] = WORKLOADS | INFERENCE | SHAPES | GROWTH


def flops(workload: Workload) -> int:
    """Floating-point operations of the products of one step, a multiplication and an addition each.

    `products()` gives those of the forward pass, and how many of them belong to the layer that
    reads the data. Backward, each product has two derivatives; the data want none.
    """
    forward, first = workload.products()
    return 3 * forward - first if workload.training else forward


def parameters(workload: Workload) -> int:
    """How many numbers the weights are."""
    return sum(map(math.prod, workload.shapes().values()))


def data(workload: Workload) -> tuple[np.ndarray, np.ndarray]:
    """(inputs, targets) of the one batch that every step sees."""
    return workload.data(np.random.default_rng(1))


def weights(workload: Workload) -> dict[str, np.ndarray]:
    """The first weights by name, float32: U(−1/√n, 1/√n) with n inputs; 1 for a normalisation."""
    random = np.random.default_rng(2)
    found = {}
    for name, shape in workload.shapes().items():
        if "norm" in name:
            found[name] = np.full(shape, float(name.endswith("weight")), np.float32)
        else:
            bound = 1 / math.sqrt(math.prod(shape[1:]))
            found[name] = random.uniform(-bound, bound, shape).astype(np.float32)
    return found
