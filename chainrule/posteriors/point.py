"""The point estimate: all of the posterior at the model's own weights."""

from __future__ import annotations

from typing import Any

from chainrule.nn.undisturbed import undisturbed
from chainrule.posteriors.joint import Joint
from chainrule.posteriors.posterior import Posterior
from chainrule.posteriors.predictive import ClassPredictive, RealPredictive
from chainrule.tensor.creation import asarray
from chainrule.tensor.graph import no_grad


class Point(Posterior):
    """A network as it is. Its epistemic part is 0: it has no doubt about its weights."""

    method = "point"

    def predict(self, x: Any, *, samples: int = 1) -> ClassPredictive | RealPredictive:
        joint = self.joint
        with undisturbed(joint.model), no_grad():
            outputs = joint.outputs(None, asarray(joint.inputs(x), copy=False)).numpy()
        return self.predictive(outputs[None])


def fit(joint: Joint) -> Point:
    """Nothing is fitted."""
    return Point(joint)
