"""`interpret`: what a network's answers are worth."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Any

from chainrule.errors import DataError, DTypeError
from chainrule.lens.interpret.answering import Answering
from chainrule.lens.interpret.attribution.attribute import METHODS
from chainrule.lens.interpret.case import case_of_network, case_of_probabilities
from chainrule.lens.interpret.interpretation import Interpretation
from chainrule.lens.interpret.view import view_of
from chainrule.tensor.locate import explained


@explained
def interpret(
    model: Any,
    x: Any = None,
    y: Any = None,
    *,
    calibration: tuple[Any, Any] | None = None,
    training: tuple[Any, Any] | None = None,
    posterior: Any = None,
    coverage: float = 0.9,
    columns: Sequence[str] | None = None,
    classes: Sequence[Any] | None = None,
    reading: Any = None,
    method: str = "integrated-gradients",
    detail: int = 3,
    compare: bool = False,
    seed: int = 0,
) -> Interpretation:
    """What a network's answers are worth.

    How often such answers are right, how much of the doubt is the data's and how much the
    network's, which answers cannot be ruled out, what in the input made it so. The network is
    afterwards as it was, to the bit.

    Args:
        model: a network of chainrule's or of PyTorch's, a `Classifier` or `Regressor`; or bare
            probabilities (rows, classes) of any framework, and then there is no `x`.
        x: the rows that are asked about.
        y: their targets, where they are known: then the answers are judged, too.
        calibration: (X, y), or (probabilities, y), of rows that nothing was learnt from. Without
            them nobody knows what a probability is worth, and the answer says so.
        training: (X, y) that the network was trained on: for the posterior, for what lies outside
            of what it saw, and for the training rows that are most alike.
        posterior: a `prob.posterior` of the model, or a method's name; by default the last layer's
            Laplace approximation, from the training rows. "none" leaves it away.
        coverage: how often the sets (intervals) shall hold the true answer.
        columns, classes: names of the inputs' columns, and of the classes in the order of codes.
        reading: what the outputs are, where that is not clear: "logits", "log-odds",
            "probabilities" or "values".
        method: of the attribution.
        detail: how many rows are looked into in depth, the most doubtful first.
        compare: whether posteriors by several methods are put side by side. Takes its time.
        seed: of what is drawn.

    Raises:
        DataError, ShapeError: rows that do not fit together, a label that is no class.
        DTypeError: no network.

    >>> import numpy as np
    >>> import chainrule as cr
    >>> from chainrule import nn
    >>> cr.seed(0)
    >>> rng = np.random.default_rng(0)
    >>> X = rng.normal(size=(600, 2)).astype(np.float32)
    >>> y = (X[:, 0] + 0.5 * rng.normal(size=600) > 0).astype(int)
    >>> model = nn.Sequential(nn.Linear(2, 16), nn.Tanh(), nn.Linear(16, 2))
    >>> _ = cr.fit(model, (X[:300], y[:300]), loss=nn.cross_entropy, epochs=30)
    >>> found = cr.interpret(model, X[500:503], calibration=(X[300:500], y[300:500]),
    ...                      training=(X[:300], y[:300]))
    >>> len(found), found.calibration.rows, found[0].worth.rows >= 30
    (3, 200, True)
    """
    began = time.perf_counter()
    if isinstance(coverage, bool) or not isinstance(coverage, float) or not 0 < coverage < 1:
        raise DataError(f"coverage is {coverage!r}; it is a share between 0 and 1, such as 0.9")
    if isinstance(detail, bool) or not isinstance(detail, int) or detail < 0:
        raise DataError(f"detail is {detail!r}; it is how many rows are looked into, 0 or more")
    if method not in METHODS:
        raise DataError(f"there is no method {method!r}; there are {', '.join(METHODS)}")
    bare = not (callable(model) or hasattr(model, "__interpreted__"))
    if bare and x is not None:
        raise DTypeError(
            f"{type(model).__name__} is no network. With bare probabilities there is no x: they "
            "are the rows, cr.interpret(probabilities, y=…, calibration=(probabilities_c, y_c))"
        )
    if not bare and x is None:
        raise DTypeError("interpret takes the rows that are asked about: interpret(model, x)")
    view = view_of(None if bare else model, columns, classes)
    case = (
        case_of_probabilities(view, model, calibration, y)
        if bare
        else case_of_network(view, x, calibration, training, reading, y=y)
    )
    answering = Answering(case, coverage, seed)
    answering.calibrate()
    answering.doubt(posterior)
    answering.regions()
    answering.judge()
    answering.places()
    answering.look_into(method, detail)
    if compare:
        answering.compare()
    found = answering.written()
    found.about["seconds"] = time.perf_counter() - began
    return found
