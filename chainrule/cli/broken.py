"""Scripts that train badly, each for one reason: something to try `chainrule diagnose` on."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from chainrule.errors import DataError

_SCRIPT = '''\
"""{title}: something is wrong with how this network learns. What?

    chainrule diagnose broken_{file}.py
"""

import numpy as np
from sklearn.datasets import load_digits

import chainrule as cr
from chainrule import nn, optim

cr.seed(0)
rng = np.random.default_rng(0)
X, y = load_digits(return_X_y=True)
X = {inputs}
order = rng.permutation(len(X))
train, test = order[:{rows}], order[1300:]
{prepare}
model = {model}
{initialise}optimizer = {optimizer}

for epoch in range({epochs}):
    rng.shuffle(train)
    for rows in np.array_split(train, -(-len(train) // 32)):
        loss = {loss}
        loss.backward()
        optimizer.step()
model.eval()
{judge}
'''
_ACCURACY = """right = np.asarray(model(X[test])).argmax(1) == y[test]
print(f"loss {loss.item():.4f}, accuracy on {len(test)} digits not seen: {right.mean():.3f}")"""
_SQUARES = """wrong = np.mean((np.asarray(model(X[test])) - y[test]) ** 2) / np.var(y[test])
print(f"loss {loss.item():.4f}, error on rows not seen: {wrong:.3f} of a constant's")"""

_MLP = """nn.Sequential(
    nn.Linear(64, 64), nn.ReLU(),
    nn.Linear(64, 32), nn.ReLU(),
    nn.Linear(32, 10),
)"""
_DEEP = """nn.Sequential(
    nn.Linear(64, 32), nn.{0}(),
    nn.Linear(32, 32), nn.{0}(), nn.Linear(32, 32), nn.{0}(),
    nn.Linear(32, 32), nn.{0}(), nn.Linear(32, 32), nn.{0}(),
    nn.Linear(32, 32), nn.{0}(), nn.Linear(32, 32), nn.{0}(),
    nn.Linear(32, 10),
)"""
_INITIALISE = """for name, parameter in model.named_parameters():
    if name.endswith("weight"):
        {0}
"""


@dataclass(frozen=True)
class Broken:
    """A script, as far as it differs from one that learns.

    Attributes:
        see: what running the script shows, and what is behind it.
        rules: the findings, of which one comes first.
    """

    see: str
    rules: tuple[str, ...]
    inputs: str = "(X / 16).astype(np.float32)"
    rows: int = 1300
    prepare: str = ""
    model: str = _MLP
    initialise: str = ""
    optimizer: str = "optim.Adam(model.parameters(), lr=1e-3)"
    epochs: int = 20
    loss: str = "nn.cross_entropy(model(X[rows]), y[rows])"
    judge: str = _ACCURACY

    def script(self, name: str) -> str:
        """The whole script."""
        parts = {k: v for k, v in vars(self).items() if k not in ("see", "rules")}
        prepare = f"{self.prepare}\n" if self.prepare else ""
        parts |= {"prepare": prepare, "title": name, "file": name.replace("-", "_")}
        return _SCRIPT.format(**parts)


BROKEN = {
    "vanishing": Broken(
        "The loss stays at that of guessing, ln 10 = 2.303: seven sigmoid layers pass back a "
        "gradient that shrinks by φ′ ≤ 1/4 in each.",
        ("vanishing-gradients", "bad-initialisation", "saturated-units"),
        model=_DEEP.format("Sigmoid"),
        optimizer="optim.SGD(model.parameters(), lr=0.05)",
    ),
    "exploding": Broken(
        "The loss is enormous or NaN: weights of variance 1 multiply the signal by √(n/2) in each "
        "layer.",
        ("bad-initialisation", "exploding-gradients"),
        model=_DEEP.format("ReLU"),
        initialise=_INITIALISE.format("parameter.assign(cr.random.normal(parameter.shape))"),
        optimizer="optim.SGD(model.parameters(), lr=0.01)",
    ),
    "double-softmax": Broken(
        "It learns, but the loss does not fall below ln(1 + 9/e) = 1.46: cross_entropy applies a "
        "second softmax.",
        ("double-softmax",),
        model=_MLP.replace("nn.Linear(32, 10),", "nn.Linear(32, 10), nn.Softmax(-1),"),
    ),
    "dead-relu": Broken(
        "Nothing changes any more: the biases of −20 keep every unit of the first layer at 0, "
        "where a ReLU passes no gradient.",
        ("dead-units", "bad-initialisation"),
        initialise="model[0].bias.assign(cr.full((64,), -20.0))\n",
    ),
    "labels-shuffled": Broken(
        "The training loss falls, and digits not seen are guessed: the targets were shuffled, the "
        "inputs were not.",
        ("label-mismatch",),
        prepare="rng.shuffle(y)",
        epochs=40,
    ),
    "label-noise": Broken(
        "Good at first, then worse on digits not seen: a quarter of the labels is wrong, and in "
        "the end they are learnt by heart.",
        ("label-noise",),
        model="nn.Sequential(nn.Linear(64, 256), nn.ReLU(), nn.Linear(256, 10))",
        optimizer="optim.Adam(model.parameters(), lr=5e-3)",
        prepare="wrong = train[rng.random(len(train)) < 0.25]\n"
        "y[wrong] = rng.integers(0, 10, len(wrong))",
        epochs=60,
    ),
    "learning-rate-too-high": Broken(
        "The loss jumps and does not come down: each step leaps across the valley, lr > 2/λ.",
        ("learning-rate-too-high", "optimizer-setting"),
        optimizer="optim.SGD(model.parameters(), lr=3.0)",
    ),
    "learning-rate-too-low": Broken(
        "The loss falls steadily and by nearly nothing: the steps are a thousand times too short.",
        ("learning-rate-too-low",),
        optimizer="optim.SGD(model.parameters(), lr=1e-5)",
    ),
    "too-few-steps": Broken(
        "Still far from the end, and falling: three epochs are too few at this rate.",
        ("too-few-steps", "learning-rate-too-low"),
        optimizer="optim.SGD(model.parameters(), lr=0.05)",
        epochs=3,
    ),
    "unscaled-inputs": Broken(
        "The loss starts in the thousands and ends at guessing: inputs of some 10⁴ blow up the "
        "first layer, whose weights expect numbers of about 1.",
        ("input-scale",),
        inputs="(X * 1000).astype(np.float32)",
        optimizer="optim.SGD(model.parameters(), lr=0.1)",
    ),
    "over-regularised": Broken(
        "The loss stays high on every row: the penalty on the weights is stronger than the data.",
        ("over-regularised",),
        optimizer="optim.SGD(model.parameters(), lr=0.1, weight_decay=0.2)",
    ),
    "frozen": Broken(
        "It learns badly: the optimiser was made with the last layer's parameters alone.",
        ("frozen-parameters",),
        optimizer="optim.SGD(model[-1].parameters(), lr=0.01)",
    ),
    "constant-init": Broken(
        "It learns little: all units of a layer start equal, get equal gradients and stay equal, "
        "so that a layer of 64 is worth a single unit.",
        ("symmetric-units", "bad-initialisation"),
        initialise="for parameter in model.parameters():\n"
        "    parameter.assign(cr.full(parameter.shape, 0.01))\n",
    ),
    "overfit": Broken(
        "The training loss goes to 0 while the error on digits not seen rises: how much more ink "
        "is above than below, measured with noise, from 600 pictures by 33,793 weights.",
        ("overfit",),
        rows=600,
        prepare="y = X[:, :32].sum(1) - X[:, 32:].sum(1)\n"
        "y = (y / y.std() + rng.normal(0, 0.7, len(y))).astype(np.float32)[:, None]",
        model="nn.Sequential(nn.Linear(64, 512), nn.ReLU(), nn.Linear(512, 1))",
        optimizer="optim.Adam(model.parameters(), lr=1e-2)",
        epochs=60,
        loss="nn.mse_loss(model(X[rows]), y[rows])",
        judge=_SQUARES,
    ),
    "wrong-sign": Broken(
        "The loss rises from step to step: it is made larger, since the sign is wrong.",
        ("wrong-sign",),
        optimizer="optim.SGD(model.parameters(), lr=0.01)",
        loss="-nn.cross_entropy(model(X[rows]), y[rows])",
    ),
    "hidden-softmax": Broken(
        "It hardly learns: a softmax between layers leaves numbers that add up to 1, and gradients "
        "to match.",
        ("hidden-softmax",),
        model=_MLP.replace("nn.Linear(64, 32), nn.ReLU()", "nn.Linear(64, 32), nn.Softmax(-1)"),
        optimizer="optim.SGD(model.parameters(), lr=0.05)",
    ),
}


def write_broken(name: str, folder: Path = Path()) -> Path:
    """Write the script of that name; one that is there already must be the same.

    Raises:
        DataError: there is no such network, or another file stands in its place.
    """
    if name not in BROKEN:
        raise DataError(f"there is no broken network {name!r}; there are {', '.join(BROKEN)}")
    path = folder / f"broken_{name.replace('-', '_')}.py"
    script = BROKEN[name].script(name)
    if path.exists() and path.read_text(encoding="utf-8") != script:
        raise DataError(f"{path} is there already, and is not written over; move it away first")
    path.write_text(script, encoding="utf-8")
    return path
