"""The last layer of a network, and what goes into it."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from chainrule.errors import DataError
from chainrule.nn.layers.linear import Linear
from chainrule.posteriors.joint import Joint
from chainrule.posteriors.laplace.curvature import checked, in_blocks
from chainrule.posteriors.laplace.taps import holders, tapped
from chainrule.tensor.creation import asarray
from chainrule.tensor.graph import no_grad
from chainrule.tensor.products import on_one_thread

Through = Callable[[np.ndarray], tuple[np.ndarray, np.ndarray]]


def last_layer(joint: Joint) -> tuple[Linear, Through]:
    """The dense layer that gives the network's outputs, and a function from rows to what goes into
    it and what comes out.

    Raises:
        DataError: the last layer with trained parameters is not dense, or something that changes
            its outputs comes behind it.
    """
    layers = list({id(m): m for m in holders(joint.model, joint.parameters).values()}.values())
    with no_grad(), tapped(layers) as calls:
        outputs = joint.outputs(None, asarray(joint.x[:2], copy=False))
    if not calls:
        raise DataError(f"{type(joint.model).__name__} calls no layer that has trained parameters")
    last = calls[-1]
    where = f"{last.scope.path() or type(last.layer).__name__!r}"
    if not isinstance(last.layer, Linear) or np.ndim(last.x) != 2:
        raise DataError(
            f"the last layer with trained parameters is {where}, a {type(last.layer).__name__}; "
            "weights='last-layer' is of a dense one, nn.Linear, on one vector for each row. Take "
            "weights='all'."
        )
    if sum(call.layer is last.layer for call in calls) > 1:
        raise DataError(f"the last layer, {where}, is called several times; take weights='all'")
    if not np.array_equal(last.result.numpy().reshape(-1), outputs.numpy().reshape(-1)):
        raise DataError(
            f"the network's outputs are not those of its last layer, {where}: something that is "
            "not trained comes behind it and changes them. The likelihoods take logits and plain "
            "numbers; leave it out (a Softmax or LogSoftmax, say), or take weights='all'."
        )
    layer = last.layer

    def of_block(rows: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        with no_grad(), tapped([layer]) as calls:
            joint.outputs(None, asarray(rows, copy=False))
        features = np.asarray(calls[0].x).astype(joint.dtype, copy=False)
        return features, calls[0].result.numpy()

    @on_one_thread()
    def through(x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        features, outputs = in_blocks(x, of_block)
        return features, checked(outputs, x)

    return layer, through
