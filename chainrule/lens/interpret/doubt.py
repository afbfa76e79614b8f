"""Whose the doubt is: a posterior over the weights, chosen by what is at hand."""

from __future__ import annotations

from typing import Any

import numpy as np

from chainrule.errors import ChainruleError, DTypeError
from chainrule.lens.interpret.subjects import Subject
from chainrule.nn.layers.dropout import Dropout
from chainrule.nn.layers.linear import Linear
from chainrule.nn.module import Module
from chainrule.posteriors.posterior import METHODS, Posterior, posterior
from chainrule.posteriors.predictive import ClassPredictive

MOST_TRAINING = 20_000
"""Rows that a posterior is fitted to, at most, where none was handed over."""

WIDTHS = tuple(2 ** (-k / 2) for k in range(11))
"""Shares of a posterior's width that are tried on held-out rows, the largest first."""
LEAST = 1e-12
"""Probabilities are not taken to be smaller where their logarithm is needed."""


def posterior_of(
    subject: Subject, asked: Any, training: tuple[np.ndarray, np.ndarray] | None, seed: int
) -> tuple[Posterior | None, str]:
    """(a posterior, why there is none in words).

    Without another wish the last layer's Laplace approximation is taken, which needs the training
    rows; without these dropout, where the network was trained with it.

    Args:
        asked: a `Posterior`, the name of a method, "none", or None.
        training: (inputs, targets) as the network takes them.
    """
    if isinstance(asked, Posterior):
        return asked, ""
    if asked is not None and asked not in (*METHODS, "none"):
        raise DTypeError(
            f"posterior is {asked!r}; it is what prob.posterior gave, or one of "
            f"{', '.join(METHODS)}, or none"
        )
    if asked == "none":
        return None, "no posterior was asked for"
    if not isinstance(subject.model, Module):
        return None, (
            "a posterior is found for chainrule's own networks, not for those of another framework"
        )
    if training is None:
        return None, (
            "the training rows are not known, from which a posterior over the weights is found: "
            "interpret(…, training=(X, y))"
        )
    x, y = training
    if len(x) > MOST_TRAINING:
        rows = np.random.default_rng(seed).permutation(len(x))[:MOST_TRAINING]
        x, y = x[rows], y[rows]
    modules = list(subject.model.modules())
    options: dict[str, Any] = {}
    if subject.reading == "log-odds":
        options["likelihood"] = "bernoulli"
    method = asked
    if method is None:
        method = "laplace" if any(isinstance(m, Linear) for m in modules) else "dropout"
    if method == "dropout" and not any(isinstance(m, Dropout) for m in modules):
        return None, "the network has neither a dense layer at its end nor dropout"
    if method == "laplace" and asked is None:
        options |= {"weights": "last-layer", "structure": "kron"}
    try:
        return posterior(subject.model, (x, y), method=method, **options), ""
    except ChainruleError as error:
        if asked is not None:
            raise
        return None, f"no posterior could be found: {error}"


def drawn_in(draws: np.ndarray, p: np.ndarray, width: float) -> ClassPredictive:
    """Draws (S, n, K) at a share of their distance from the network's own probabilities (n, K):
    ln p + width · (ln p_s − ln p), normalised.

    Where outputs are linear in the weights, this is the posterior with its standard deviations
    times the width, a cold one (Wenzel et al. 2020, eq. 2)."""
    from scipy.special import softmax

    own = np.log(np.maximum(p, LEAST))
    return ClassPredictive(softmax(own + width * (np.log(np.maximum(draws, LEAST)) - own), -1))


def width_of(draws: np.ndarray, p: np.ndarray, y: np.ndarray) -> float:
    """The largest of `WIDTHS` with which held-out rows are predicted as well as by the network
    alone: the mean log score is at most one standard error above its own (the rule of Breiman et
    al. 1984, §3.4.3). Of draws (S, n, K), its own probabilities (n, K), labels (n,).

    Laplace's approximation of a network that was trained with smoothed labels, or stopped early,
    leaves far more open than held-out rows bear out.

    >>> p = np.full((200, 2), [0.95, 0.05])
    >>> wide = np.stack([np.full((200, 2), [0.2, 0.8]), np.full((200, 2), [0.999, 0.001])])
    >>> y = (np.arange(200) % 20 == 0).astype(int)
    >>> width_of(wide, p, y) < 1, width_of(p[None], p, y)
    (True, 1.0)
    """
    own = -ClassPredictive(p[None]).log_prob(y)
    most = own.mean() + own.std(ddof=1) / len(y) ** 0.5
    tried = (width for width in WIDTHS if -drawn_in(draws, p, width).log_prob(y).mean() <= most)
    return next(tried, WIDTHS[-1])
