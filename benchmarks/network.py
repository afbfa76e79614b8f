"""The networks, written once for chainrule and for PyTorch, which have the same names."""

from __future__ import annotations

import itertools
from typing import Any

from benchmarks.workloads import CNN, GPT, LSTM, MLP, Workload


def network(workload: Workload, nn: Any, functional: Any) -> Any:
    """A module of the library whose layers `nn` and functions `functional` hold."""
    match workload:
        case MLP():
            return _mlp(workload, nn)
        case CNN():
            return _cnn(workload, nn)
        case GPT():
            return _gpt(workload, nn, functional)
        case LSTM():
            return _lstm(workload, nn)


def _mlp(workload: MLP, nn: Any) -> Any:
    layers = []
    for n, m in itertools.pairwise(workload.sizes):
        layers += [nn.Linear(n, m), nn.ReLU()]
    return nn.Sequential(*layers[:-1])


def _cnn(workload: CNN, nn: Any) -> Any:
    layers = []
    for n, m in itertools.pairwise(workload.channels):
        layers += [nn.Conv2d(n, m, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2)]
    return nn.Sequential(
        *layers,
        nn.Flatten(),
        nn.Linear(workload.flat, workload.hidden),
        nn.ReLU(),
        nn.Linear(workload.hidden, workload.classes),
    )


def _gpt(workload: GPT, nn: Any, functional: Any) -> Any:
    width, heads = workload.width, workload.heads

    class Block(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.norm1 = nn.LayerNorm(width)
            self.qkv = nn.Linear(width, 3 * width)
            self.out = nn.Linear(width, width)
            self.norm2 = nn.LayerNorm(width)
            self.mlp = nn.Sequential(
                nn.Linear(width, 4 * width), nn.GELU(), nn.Linear(4 * width, width)
            )

        def attention(self, x: Any) -> Any:
            batch, tokens, _ = x.shape
            qkv = self.qkv(x).reshape(batch, tokens, 3, heads, width // heads)
            q, k, v = qkv.permute(2, 0, 3, 1, 4)
            y = functional.scaled_dot_product_attention(q, k, v, is_causal=True)
            return self.out(y.permute(0, 2, 1, 3).reshape(batch, tokens, width))

        def forward(self, x: Any) -> Any:
            x = x + self.attention(self.norm1(x))
            return x + self.mlp(self.norm2(x))

    class Decoder(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.token = nn.Embedding(workload.vocabulary, width)
            self.position = nn.Embedding(workload.tokens, width)
            self.blocks = nn.Sequential(*[Block() for _ in range(workload.layers)])
            self.norm = nn.LayerNorm(width)
            self.head = nn.Linear(width, workload.vocabulary)

        def forward(self, tokens: Any) -> Any:
            x = self.token(tokens) + self.position.weight
            logits = self.head(self.norm(self.blocks(x)))
            return logits.reshape(-1, workload.vocabulary)

    return Decoder()


def _lstm(workload: LSTM, nn: Any) -> Any:
    # PyTorch has the layer; in chainrule it is a function of one step, handed to `scan`.
    from benchmarks import recurrent

    layer = nn.LSTM if hasattr(nn, "LSTM") else recurrent.LSTM

    class Last(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.lstm = layer(workload.inputs, workload.hidden, batch_first=True)
            self.head = nn.Linear(workload.hidden, workload.classes)

        def forward(self, x: Any) -> Any:
            states, _ = self.lstm(x)
            return self.head(states[:, -1])

    return Last()
