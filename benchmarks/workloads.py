"""What is trained: shapes, and data and first weights made by NumPy, the same for every framework.

Weights have the names and the layout that PyTorch gives them for the networks in `network.py`.
"""

from __future__ import annotations

import itertools
import math
from dataclasses import dataclass

import numpy as np

LEARNING_RATE = 1e-3

Shapes = dict[str, tuple[int, ...]]


@dataclass(frozen=True)
class MLP:
    """Dense layers with ReLU between them."""

    sizes: tuple[int, ...]
    batch: int

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


@dataclass(frozen=True)
class CNN:
    """Two times 3×3 convolution with padding 1, ReLU and 2×2 max pool, then two dense layers."""

    channels: tuple[int, ...]
    image: int
    hidden: int
    classes: int
    batch: int

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


Workload = MLP | CNN | GPT

WORKLOADS: dict[str, Workload] = {
    "tiny": MLP((64, 64, 10), batch=32),
    "mnist": MLP((784, 512, 256, 10), batch=128),
    "wide": MLP((1024, 2048, 2048, 10), batch=256),
    "cnn": CNN((1, 32, 64), image=28, hidden=128, classes=10, batch=64),
    "gpt": GPT(layers=4, width=128, heads=4, tokens=64, vocabulary=256, batch=16),
}


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
