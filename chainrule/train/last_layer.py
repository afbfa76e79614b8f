"""What training rows leave open about the last layer of a network, small enough to be stored."""

from __future__ import annotations

import base64
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from chainrule.data.splits import generator
from chainrule.errors import CheckpointError
from chainrule.nn.layers.linear import Linear
from chainrule.nn.undisturbed import undisturbed

DRAWS = 100
"""Draws of the last layer's weights, where no closed form says what the outputs are worth."""


@dataclass(frozen=True)
class LastLayer:
    """The last layer's weights as a normal distribution, all layers before it taken as known.

    Laplace's approximation with Kronecker factors, the prior by marginal likelihood (MacKay 1992;
    Daxberger et al. 2021, "Laplace Redux", arXiv:2106.14806, §2). With φ the features that the
    layer takes, and a 1 behind them for its biases, the outputs of a row are

        Normal(f, left diag(s) leftᵀ),   s_i = Σ_j (rightᵀ φ)_j² / precision_ij.

    For one output, a real target, it is exact: Bayesian linear regression on the features.

    Attributes:
        precision: (K, d + 1), the eigenvalues of the weights' precision.
        left, right: (K, K) and (d + 1, d + 1), its eigenvectors.
        warnings: what keeps it from being trusted, in sentences.
    """

    precision: np.ndarray
    left: np.ndarray
    right: np.ndarray
    warnings: tuple[str, ...] = ()

    @classmethod
    def fitted(
        cls, layer: Linear, features: np.ndarray, y: np.ndarray, *, noise: float | None
    ) -> LastLayer:
        """Around the weights of `layer`, from what goes into it (n, d) and the targets (n,).

        Args:
            noise: σ of a real target; None for class codes.
        """
        from chainrule.posteriors.posterior import posterior

        assert layer.bias is not None
        phi = _with_one(features)
        weights = [part.numpy().astype(np.float64) for part in (layer.weight, layer.bias)]
        with undisturbed(layer):  # a new layer draws its first weights
            whole = Linear(phi.shape[1], layer.out_features, bias=False).to(np.float64)
            whole.load_state_dict({"weight": np.column_stack(weights)})
            own: dict[str, Any] = {} if noise is None else {"noise": noise}
            likelihood = "categorical" if noise is None else "normal"
            found = posterior(whole, (phi, y), method="laplace", likelihood=likelihood, **own)
        (block,) = found.gaussian.blocks
        return cls(block.values, block.left, block.right, tuple(found.warnings))

    def spread(self, features: np.ndarray) -> np.ndarray:
        """(n, K): s of each row; of one output the variance of f."""
        found: np.ndarray = (_with_one(features) @ self.right) ** 2 @ (1 / self.precision).T
        return found

    def draws(self, outputs: np.ndarray, features: np.ndarray, samples: int) -> np.ndarray:
        """(samples, n, K): outputs under draws of the weights, the same for whichever rows stand
        beside; nothing is taken from the default generator."""
        normals = generator(0).standard_normal((samples, 1, len(self.left)))
        scaled = np.sqrt(self.spread(features)) * normals
        found: np.ndarray = outputs + scaled @ self.left.T
        return found

    def to_dict(self) -> dict[str, Any]:
        """Everything, in float32, as data that JSON holds."""
        arrays = {name: _packed(getattr(self, name)) for name in ("precision", "left", "right")}
        return {**arrays, "warnings": list(self.warnings)}

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> LastLayer:
        """What `to_dict` described; CheckpointError where `data` is not whole."""
        try:
            precision, left, right = (
                _unpacked(data[name]) for name in ("precision", "left", "right")
            )
            rows, columns = precision.shape
            if left.shape != (rows, rows) or right.shape != (columns, columns):
                raise ValueError("its arrays do not fit together")
            return cls(precision, left, right, tuple(map(str, data["warnings"])))
        except (KeyError, TypeError, ValueError) as error:
            raise CheckpointError(
                f"the description of a last layer is not whole ({type(error).__name__}: {error}). "
                "The file is damaged, or was written by another version."
            ) from None


def _with_one(features: np.ndarray) -> np.ndarray:
    wide = features.astype(np.float64)
    return np.column_stack([wide, np.ones(len(wide))])


def _packed(values: np.ndarray) -> dict[str, Any]:
    """An array as text: its float32 in base64, little-endian."""
    data = base64.b64encode(values.astype("<f4").tobytes()).decode("ascii")
    return {"shape": list(values.shape), "float32": data}


def _unpacked(data: Any) -> np.ndarray:
    flat = np.frombuffer(base64.b64decode(data["float32"], validate=True), "<f4")
    return flat.astype(np.float64).reshape(data["shape"])
