"""Monte Carlo dropout: the masks of dropout, left on, as draws of the weights.

Gal, Ghahramani 2016, "Dropout as a Bayesian approximation", arXiv:1506.02142: each mask is a draw
from an approximate posterior under which a unit's outgoing weights are all there or all 0.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np

from chainrule.calculus.vmap import vmap
from chainrule.compile.compiled import compile
from chainrule.errors import ChainruleError, DataError, ShapeError
from chainrule.nn.layers.normalisation import _BatchNorm
from chainrule.nn.module import Module
from chainrule.nn.undisturbed import undisturbed
from chainrule.nn.utils.parametrizations import SpectralNorm
from chainrule.posteriors.joint import Joint
from chainrule.posteriors.posterior import Posterior
from chainrule.posteriors.predictive import ClassPredictive, RealPredictive
from chainrule.tensor import generator as generators
from chainrule.tensor.creation import asarray, zeros
from chainrule.tensor.generator import Draws, Generator
from chainrule.tensor.graph import FULL, Node, no_grad, reachable, recording
from chainrule.tensor.tensor import Tensor

AT_ONCE = 2**24
"""Numbers that the largest intermediate result of all draws may have; more rows go one after the
other, in blocks."""


class Dropout(Posterior):
    """A network whose dropout stays on. It was trained with dropout, or this means little.

    All draws are one batched call (`vmap`) of the network, compiled; what depends on no mask,
    as all that lies before the first dropout, is computed once. So it is for a module of any form;
    one whose Python code looks at values runs once for each draw instead.

    The same rows have the same draws at every call: they follow the generator as it was when the
    posterior was made. Each row of a draw has its own mask, as in training.
    """

    method = "dropout"

    def __init__(self, joint: Joint, state: tuple[int, int, int]) -> None:
        super().__init__(joint)
        self.state = state
        self._compiled = compile(self._together)
        self._largest = self._examined()

    def predict(self, x: Any, *, samples: int = 100) -> ClassPredictive | RealPredictive:
        """The mixture over `samples` draws of the masks.

        Raises:
            DataError: fewer draws than one.
        """
        return self.predictive(self.draws(x, samples))

    def draws(self, x: Any, samples: int = 100) -> np.ndarray:
        """(samples, n, …): the network's outputs under each draw of the masks."""
        if isinstance(samples, bool) or not isinstance(samples, int) or samples < 1:
            raise DataError(f"samples is {samples!r}; it is how many draws there are, 1 or more")
        x = self.joint.inputs(x)
        blocks = max(1, -(-len(x) * samples * self._largest // AT_ONCE))
        rows = -(-len(x) // blocks)
        with _dropping(self.joint.model, self.state):
            if rows == len(x):
                return self._block(x, samples)
            # The last block is as long as the others, so that one compiled program serves all.
            starts = [*range(0, len(x) - rows, rows), len(x) - rows]
            found: np.ndarray | None = None
            for start in starts:
                part = self._block(x[start : start + rows], samples)
                if found is None:
                    found = np.empty((samples, len(x), *part.shape[2:]), part.dtype)
                found[:, start : start + rows] = part
            assert found is not None
            return found

    def _block(self, x: np.ndarray, samples: int) -> np.ndarray:
        rows = asarray(x, copy=False)
        try:
            outputs: np.ndarray = self._compiled(rows, samples).numpy()
            return outputs
        except ChainruleError:  # Python code looks at values; whatever else it is, is said below
            return self._one_by_one(rows, samples)

    def _together(self, x: Tensor, samples: int) -> Tensor:
        return vmap(lambda _: self.joint.outputs(None, x))(zeros(samples))

    def _one_by_one(self, x: Tensor, samples: int) -> np.ndarray:
        model = self.joint.model
        before = [buffer.numpy(copy=True) for buffer in model.buffers()]
        found = np.stack([self.joint.outputs(None, x).numpy() for _ in range(samples)])
        for (name, buffer), value in zip(model.named_buffers(), before, strict=True):
            if not np.array_equal(buffer.numpy(), value, equal_nan=True):
                raise DataError(
                    f"with dropout on, {type(model).__name__} writes to its buffer {name!r}: "
                    "something that is no dropout runs as in training, and would mix the rows. "
                    "Make normalisation of nn.BatchNorm1d, which stays in evaluation mode here."
                )
        return found

    def _examined(self) -> int:
        """The size of the largest intermediate result that depends on a mask, for one row.

        Raises:
            DataError: nothing is drawn.
        """
        model, noted = self.joint.model, Draws()
        with _dropping(model, self.state), recording(FULL), noted.recorded():
            output = self.joint.outputs(None, asarray(self.joint.x[:1], copy=False))
        if not noted.found:
            raise DataError(
                f"{type(model).__name__} drops nothing: it has no dropout with p above 0, and each "
                "draw would be the same. Put nn.Dropout(0.1) before its last layers and train it "
                "with them; or take method='laplace', which a network without dropout has, too."
            )
        if output.shape[:1] != (1,):
            raise ShapeError(f"one row goes in, and the outputs have the shape {output.shape}")
        assert output._node is not None
        drawn: dict[Node, int] = {}
        for node in reachable([output._node]):
            if node.op is not None and (not node.inputs or any(n in drawn for n in node.inputs)):
                drawn[node] = math.prod(node.shape)
        return max(drawn.values(), default=1)


def fit(joint: Joint, *, generator: Generator | None = None) -> Dropout:
    """Nothing is fitted.

    Args:
        generator: where the masks come from; `cr.seed`'s if left out, which stays as it is.

    Raises:
        DataError: the model drops nothing.

    Of y = w·x with dropout of x the variance is p/(1 − p) Σ_j (w_j x_j)², here 3² + 4²:

    >>> import chainrule as cr
    >>> from chainrule import nn, probability as prob
    >>> model = nn.Sequential(nn.Dropout(0.5), nn.Linear(2, 1, bias=False))
    >>> model[1].weight.assign([[1.0, 1.0]])
    >>> x = np.array([[3.0, 4.0]])
    >>> own = prob.posterior(model, (x, [7.0]), method="dropout", noise=0.1)
    >>> found = own.predict(x, samples=4000)
    >>> bool(abs(found.epistemic[0] - 25) < 2), found.aleatoric.round(2)
    (True, array([0.01]))
    """
    return Dropout(joint, (generator or generators.default).state)


@contextmanager
def _dropping(model: Module, state: tuple[int, int, int]) -> Iterator[None]:
    """The model with what it draws in training, and nothing else of it; afterwards as before."""
    with undisturbed(model, training=True), no_grad():
        for module in model.modules():
            if isinstance(module, (_BatchNorm, SpectralNorm)):  # they track, and do not draw
                object.__setattr__(module, "training", False)
        generators.default.state = state
        yield
