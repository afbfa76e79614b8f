"""Networks whose pages are tested, each explained on a small batch."""

from functools import cache

import numpy as np

import chainrule as cr
from chainrule import nn, optim


class Block(nn.Module):
    """Pre-norm: attention and a dense part, each with a residual branch around it."""

    def __init__(self, width, heads):
        super().__init__()
        self.norm1 = nn.LayerNorm(width)
        self.attention = nn.MultiheadAttention(width, heads)
        self.norm2 = nn.LayerNorm(width)
        self.mlp = nn.Sequential(
            nn.Linear(width, 4 * width), nn.GELU(), nn.Linear(4 * width, width)
        )

    def forward(self, x):
        normed = self.norm1(x)
        x = x + self.attention(normed, normed, normed, is_causal=True)[0]
        return x + self.mlp(self.norm2(x))


class GPT(nn.Module):
    def __init__(self, vocabulary, width, heads, layers, tokens):
        super().__init__()
        self.token = nn.Embedding(vocabulary, width)
        self.position = nn.Embedding(tokens, width)
        self.blocks = nn.Sequential(*(Block(width, heads) for _ in range(layers)))
        self.norm = nn.LayerNorm(width)
        self.head = nn.Linear(width, vocabulary)

    def forward(self, x):
        x = self.token(x) + self.position(cr.arange(x.shape[1]))
        return self.head(self.norm(self.blocks(x)))


@cache
def gpt(vocabulary, width, heads, layers, tokens, batch):
    cr.seed(0)
    model = GPT(vocabulary, width, heads, layers, tokens)
    x, y = np.random.default_rng(0).integers(0, vocabulary, (2, batch, tokens))

    def loss(logits, labels):
        return nn.cross_entropy(logits.reshape(-1, vocabulary), labels)

    return cr.explain(model, x, y.reshape(-1), loss=loss, optimizer=optim.AdamW(model.parameters()))


@cache
def mlp():
    cr.seed(0)
    model = nn.Sequential(nn.Linear(64, 32), nn.ReLU(), nn.Linear(32, 10))
    x = np.random.default_rng(0).random((2, 64)).astype(np.float32)
    return cr.explain(
        model, x, np.array([3, 1]), loss=nn.cross_entropy,
        optimizer=optim.SGD(model.parameters(), lr=0.1),
    )  # fmt: skip


@cache
def cnn():
    cr.seed(0)
    model = nn.Sequential(
        nn.Conv2d(1, 8, 3, padding=1), nn.BatchNorm2d(8), nn.ReLU(), nn.MaxPool2d(2),
        nn.Conv2d(8, 16, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2), nn.Flatten(), nn.Linear(64, 10),
    )  # fmt: skip
    x = np.random.default_rng(0).random((2, 1, 8, 8)).astype(np.float32)
    return cr.explain(
        model, x, np.array([3, 1]), loss=nn.cross_entropy,
        optimizer=optim.Adam(model.parameters(), lr=1e-3),
    )  # fmt: skip


networks = {"mlp": mlp, "cnn": cnn, "transformer": lambda: gpt(20, 16, 2, 2, 6, 1)}
