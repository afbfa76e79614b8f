"""Gradient × input: the first-order share of each input."""

from __future__ import annotations

from chainrule.lens.interpret.attribution.attribute import Asked, Attribution


def attribution(asked: Asked) -> Attribution:
    """(x − b) ∘ ∂F/∂x, the baseline b being 0 unless one is given (Shrikumar et al. 2016)."""
    values = (asked.x - asked.start) * asked.gradient(asked.x)
    return Attribution(
        "gradient-x-input", values, asked.outputs, asked.base,
        "how much the output would change if this input went to its baseline, as the slope at this "
        "very row says",
        "the slope holds nearby only: where the network saturates it is small though the input "
        "decides; the shares need not add up to the output",
        complete=False,
    )  # fmt: skip
