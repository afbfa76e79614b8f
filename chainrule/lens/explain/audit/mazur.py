"""The audit of the web's most copied worked example of backpropagation.

Matt Mazur, "A Step by Step Backpropagation Example" (2015): a 2-2-2 network of sigmoids, one row,
L = Σ ½(target − output)², rate 0.5, the biases left alone. The weights that the post lists after
the step follow the right rule; the loss that it states, 0.291027924, and its outputs after 10,000
steps do not. They are what comes out where the gradients of the hidden layer are taken with output
weights that were updated already.
"""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import numpy as np

from chainrule import nn, optim
from chainrule.lens.explain.derivation import Derivation, Element, Section, Step
from chainrule.lens.explain.explanation import explain
from chainrule.lens.explain.remark import Remark, remarked
from chainrule.lens.explain.statement import Recomputed, stated
from chainrule.ops.notation import Instance
from chainrule.ops.notation.tree import Datum
from chainrule.tensor.dtypes import float64
from chainrule.tensor.tensor import Tensor

X = np.array([[0.05, 0.10]])
TARGET = np.array([[0.01, 0.99]])
HIDDEN = np.array([[0.15, 0.20], [0.25, 0.30]])
OUTPUT = np.array([[0.40, 0.45], [0.50, 0.55]])
BIASES = (0.35, 0.60)
RATE = 0.5
PUBLISHED = {
    "loss": 0.298371109,
    "weights": ((0.149780716, 0.19956143), (0.24975114, 0.29950229)),
    "loss after one step": 0.291027924,
    "outputs after 10,000 steps": (0.015912196, 0.984065734),
}
"""What the post prints."""


def half_squared_error(output: Tensor, target: Tensor) -> Tensor:
    """Σ ½(target − output)²."""
    return (0.5 * (target - output) ** 2).sum()


def network() -> nn.Module:
    """The network of the example, in float64; its biases are frozen, as in the post."""
    model = nn.Sequential(nn.Linear(2, 2), nn.Sigmoid(), nn.Linear(2, 2), nn.Sigmoid()).to(float64)
    for layer, weight, bias in ((model[0], HIDDEN, BIASES[0]), (model[2], OUTPUT, BIASES[1])):
        layer.weight.assign(weight)
        layer.bias.assign(np.full(2, bias))
        layer.bias.requires_grad = False
    return model


def trained(steps: int, *, stale: bool) -> tuple[list[float], float]:
    """(outputs, loss) after so many steps, in plain arithmetic without arrays.

    Args:
        stale: take the hidden layer's gradients with output weights that were updated already.
    """
    hidden, output = HIDDEN.tolist(), OUTPUT.tolist()
    (x,), (target,) = X.tolist(), TARGET.tolist()
    units = range(2)

    def sigmoid(z: float) -> float:
        return 1 / (1 + math.exp(-z))

    def forward() -> tuple[list[float], list[float]]:
        h = [sigmoid(sum(hidden[j][i] * x[i] for i in units) + BIASES[0]) for j in units]
        return h, [sigmoid(sum(output[k][j] * h[j] for j in units) + BIASES[1]) for k in units]

    for _ in range(steps):
        h, out = forward()
        delta = [(out[k] - target[k]) * out[k] * (1 - out[k]) for k in units]
        moved = [[output[k][j] - RATE * delta[k] * h[j] for j in units] for k in units]
        used = moved if stale else output
        back = [sum(delta[k] * used[k][j] for k in units) * h[j] * (1 - h[j]) for j in units]
        hidden = [[hidden[j][i] - RATE * back[j] * x[i] for i in units] for j in units]
        output = moved
    _, out = forward()
    return out, sum(0.5 * (t - o) ** 2 for t, o in zip(target, out, strict=True))


def mazur() -> Derivation:
    """Work through the example, and show where its published loss after one step is wrong.

    >>> derivation = mazur()
    >>> derivation.verified
    True
    >>> print(f"{derivation['L after one step'].value.item():.11f}")
    0.29102777369
    >>> print(f"{derivation['L by the stale rule'].value.item():.9f}")
    0.291027924
    """
    model = network()
    optimizer = optim.SGD(model.parameters(), lr=RATE)
    whole = explain(model, X, TARGET, loss=half_squared_error, optimizer=optimizer)
    title = "Mazur's worked example of backpropagation, audited"
    return Derivation(
        title,
        (*whole.sections, _audit(whole)),
        whole.given,
        (
            "The published loss after one step, 0.291027924, is wrong from the 7th digit on: the "
            "right rule gives 0.29102777369.",
            "It is what comes out (0.291027923905) where the hidden layer's gradients are taken "
            "with output weights that were updated already, although the weights that the post "
            "lists follow the right rule.",
        ),
    )


def _audit(whole: Any) -> Section:
    recorded = whole.recorded
    gradients = {
        name: recorded.gradients.get(tensor._node) for name, tensor in recorded.parameters.items()
    }
    w1, w2 = (gradients[name] for name in ("0.weight", "2.weight"))
    new_hidden = stated(
        "new 0.weight",
        "The hidden weights after one step, by the right rule",
        "W[i, j] = w[i, j] − lr · g[i, j]",
        {"w": HIDDEN, "g": w1, "lr": RATE},
        (2, 2),
        digits=9,
        names={"w": "0.weight", "g": "∂L/∂0.weight"},
        notes=("These are the weights w1 … w4 that the post lists, to all of its digits.",),
        claims=(Recomputed("the post's w1 … w4", np.array(PUBLISHED["weights"]), 5e-9),),
    )
    new_output = stated(
        "new 2.weight",
        "The output weights after one step",
        "W[i, j] = w[i, j] − lr · g[i, j]",
        {"w": OUTPUT, "g": w2, "lr": RATE},
        (2, 2),
        digits=9,
        names={"w": "2.weight", "g": "∂L/∂2.weight"},
    )
    assert new_hidden.value is not None
    assert new_output.value is not None
    right = _loss("L after one step", "The loss after one step, by the right rule",
                  new_hidden, new_output, stale=False)  # fmt: skip
    stale_hidden = _stale_hidden(recorded, new_output)
    wrong = _loss("L by the stale rule", "The loss after one step, by the stale rule",
                  stale_hidden, new_output, stale=True)  # fmt: skip
    wrong = replace(
        wrong,
        claims=(
            *wrong.claims,
            Recomputed(
                "the loss that the post states",
                np.array(PUBLISHED["loss after one step"]),
                5e-10,
            ),
        ),
        notes=("This is the loss that the post states, 0.291027924.",),
    )
    gap = stated(
        "the error of the published loss",
        "How far the published loss is off",
        "published − right",
        {"published": PUBLISHED["loss after one step"], "right": right.value},
        names={"published": "the published loss", "right": "L after one step"},
        rule="comparison",
        digits=12,
    )
    return Section(
        "Audit: the step that the post took",
        (new_hidden, new_output, right, stale_hidden, wrong, gap, *_long_run()),
        summary="the published loss follows from hidden gradients with updated output weights",
    )


def _stale_hidden(recorded: Any, new_output: Step) -> Step:
    """The hidden weights, with the gradient carried back through the new output weights."""
    by_name = {recorded.name(node): node for node in recorded.nodes}
    delta = recorded.gradients[by_name["z2"]]
    hidden = by_name["a1"].value
    return stated(
        "stale 0.weight",
        "The hidden weights where δ is carried back through output weights updated already",
        "W[i, j] = w[i, j] − lr · (Σ_k d[0, k] · V[k, i]) · h[0, i] · (1 − h[0, i]) · x[0, j]",
        {"w": HIDDEN, "lr": RATE, "d": delta, "V": new_output.value, "h": hidden, "x": X},
        (2, 2),
        digits=9,
        names={
            "w": "0.weight",
            "d": "δz2",
            "V": "new 2.weight",
            "h": "a1",
            "x": "x",
        },
        rule="a stale rule: the chain rule asks for the weights that made the loss",
        notes=(
            "The chain rule takes ∂z2/∂a1 = W where the loss was computed, at the old weights; "
            "here it is taken at the new ones.",
        ),
    )


def _loss(name: str, title: str, hidden: Step, output: Step, *, stale: bool) -> Step:
    """The loss with these weights, from the formula of the whole network."""
    formula = (
        "h[i] = 1 / (1 + exp(−(Σ_j W[i, j] · x[j] + b))); "
        "o[k] = 1 / (1 + exp(−(Σ_i V[k, i] · h[i] + c))); "
        "L = Σ_k (t[k] − o[k])² / 2"
    )
    loss = trained(1, stale=stale)[1]
    return stated(
        name,
        title,
        formula,
        {
            "W": hidden.value,
            "V": output.value,
            "x": X[0],
            "t": TARGET[0],
            "b": BIASES[0],
            "c": BIASES[1],
        },
        names={"W": hidden.name, "V": output.name},
        rule="the forward pass with the new weights",
        digits=12,
        claims=(Recomputed("plain arithmetic, number by number", np.array(loss), 1e-14),),
    )


def _long_run() -> tuple[Step, ...]:
    """The outputs after 10,000 steps, by both rules."""
    found = []
    for name, stale in (
        ("outputs after 10,000 steps", False),
        ("the same by the stale rule", True),
    ):
        outputs, loss = trained(10_000, stale=stale)
        claims: tuple[Any, ...] = (Recomputed("the same with matrices", _by_training(stale), 1e-9),)
        if stale:
            published = np.array(PUBLISHED["outputs after 10,000 steps"])
            claims = (*claims, Recomputed("the outputs that the post states", published, 5e-10))
        step = Step(
            name,
            name,
            rule="the step above, 10,000 times",
            elements=tuple(
                Element((k,), Instance(Datum(o), o, digits=9)) for k, o in enumerate(outputs)
            ),
            value=np.array(outputs),
            claims=claims,
            notes=("These are the outputs that the post states.",) if stale else (),
        )
        found.append(remarked(step, Remark("Their loss is {}.", (loss,), _half_square, 1e-15)))
    return tuple(found)


def _half_square(outputs: np.ndarray) -> tuple[float, ...]:
    """The loss of outputs, with arrays."""
    return (float(((TARGET - outputs) ** 2).sum() / 2),)


def _by_training(stale: bool) -> np.ndarray:
    """The outputs after 10,000 steps, with arrays."""
    w, v = HIDDEN.copy(), OUTPUT.copy()
    for _ in range(10_000):
        h = 1 / (1 + np.exp(-(X @ w.T + BIASES[0])))
        out = 1 / (1 + np.exp(-(h @ v.T + BIASES[1])))
        delta = (out - TARGET) * out * (1 - out)
        moved = v - RATE * delta.T @ h
        w = w - RATE * (delta @ (moved if stale else v) * h * (1 - h)).T @ X
        v = moved
    h = 1 / (1 + np.exp(-(X @ w.T + BIASES[0])))
    return (1 / (1 + np.exp(-(h @ v.T + BIASES[1]))))[0]
