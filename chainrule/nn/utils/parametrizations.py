"""The usual parametrisations of weights: length and direction apart, and a bounded spectrum."""

from __future__ import annotations

from typing import Any

from chainrule.errors import ChainruleError, ShapeError
from chainrule.nn import init
from chainrule.nn.layers.layer import Layer, positive
from chainrule.nn.module import Buffer, Module, check_module
from chainrule.nn.utils.parametrize import is_parametrized, register_parametrization
from chainrule.ops.arithmetic import maximum, sqrt
from chainrule.ops.linear_algebra import matmul, vecdot
from chainrule.ops.reduction import sum
from chainrule.ops.structure import matrix_transpose, moveaxis, reshape, stop_gradient
from chainrule.tensor.creation import zeros
from chainrule.tensor.graph import no_grad
from chainrule.tensor.locate import explained
from chainrule.tensor.shapes import normalise_axis
from chainrule.tensor.tensor import Tensor


class WeightNorm(Layer):
    """(g, v) → g v / ‖v‖, with a length for each index of the axis `dim`; None: for the whole."""

    def __init__(self, dim: int | None = 0) -> None:
        self.dim = dim

    def forward(self, g: Tensor, v: Tensor) -> Tensor:
        return v * (g / self._norm(v))

    def right_inverse(self, weight: Tensor) -> tuple[Tensor, Tensor]:
        """(g, v) that give the weight."""
        return self._norm(weight), weight

    def _norm(self, v: Tensor) -> Tensor:
        if self.dim is None:
            return sqrt(sum(v * v))
        kept = normalise_axis(self.dim, v.ndim)
        axes = tuple(i for i in range(v.ndim) if i != kept)
        return sqrt(sum(v * v, axes, keepdims=True))


@explained
def weight_norm(module: Module, name: str = "weight", dim: int | None = 0) -> Module:
    """Train a weight's length g and direction v apart: weight = g v / ‖v‖ (Salimans, Kingma 2016,
    arXiv:1602.07868).

    Args:
        module: a layer.
        name: the name of its parameter.
        dim: the axis each index of which has a length of its own; None: one for the whole.

    Returns:
        The layer, whose parameters now are parametrizations.weight.original0 (g) and original1 (v).

    >>> from chainrule import nn
    >>> layer = nn.utils.parametrizations.weight_norm(nn.Linear(4, 3))
    >>> [(n, p.shape) for n, p in layer.named_parameters()][1:]
    [('parametrizations.weight.original0', (3, 1)), ('parametrizations.weight.original1', (3, 4))]
    """
    return register_parametrization(module, name, WeightNorm(dim))


class SpectralNorm(Layer):
    """weight → weight / σ, with σ its largest singular value, estimated by power iteration.

    Args:
        rows, columns: the shape of the weight as a matrix, the axis `dim` in front.
        n_power_iterations: how many steps each use in training makes.
        dim: the axis of the outputs.
        eps: keeps lengths away from 0.

    Attributes:
        _u, _v: (rows,) and (columns,), the singular vectors so far.
    """

    def __init__(
        self, rows: int, columns: int, n_power_iterations: int = 1, dim: int = 0, eps: float = 1e-12
    ) -> None:
        self.rows, self.columns = positive(rows, "rows"), positive(columns, "columns")
        self.n_power_iterations = positive(n_power_iterations, "n_power_iterations")
        self.dim, self.eps = dim, eps
        self._u, self._v = Buffer(zeros((rows,))), Buffer(zeros((columns,)))
        for vector in (self._u, self._v):
            init.normal_(vector)
            vector.assign(self._unit(vector))

    def forward(self, weight: Tensor) -> Tensor:
        matrix = self._matrix(weight)
        if self.training:
            self.iterate(matrix, self.n_power_iterations)
        u, v = (stop_gradient(x).astype(weight.dtype) for x in (self._u, self._v))
        return weight / vecdot(u, matmul(matrix, v))

    def iterate(self, matrix: Tensor, times: int) -> None:
        """u ← W v / ‖W v‖, v ← Wᵀ u / ‖Wᵀ u‖."""
        with no_grad():
            matrix = stop_gradient(matrix)
            u, v = self._u.astype(matrix.dtype), self._v.astype(matrix.dtype)
            for _ in range(times):
                u = self._unit(matmul(matrix, v))
                v = self._unit(matmul(matrix_transpose(matrix), u))
            self._u.assign(u)
            self._v.assign(v)

    def _matrix(self, weight: Tensor) -> Tensor:
        return reshape(moveaxis(weight, self.dim, 0), (self.rows, self.columns))

    def _unit(self, x: Tensor) -> Tensor:
        return x / maximum(sqrt(sum(x * x)), self.eps)


@explained
def spectral_norm(
    module: Module,
    name: str = "weight",
    n_power_iterations: int = 1,
    eps: float = 1e-12,
    dim: int | None = None,
) -> Module:
    """Divide a weight by its largest singular value, so that the layer stretches nothing by more
    than 1 (Miyato et al. 2018, arXiv:1802.05957).

    The singular value is that of a power iteration, which goes on by `n_power_iterations` steps
    whenever the weight is used in training, and stands still in use.

    Args:
        module: a layer.
        name: the name of its parameter, a matrix or more.
        eps: keeps lengths away from 0.
        dim: the axis of the outputs; by default 0, and 1 for transposed convolutions.

    >>> from chainrule import nn
    >>> layer = nn.utils.parametrizations.spectral_norm(nn.Linear(4, 3))
    >>> list(layer.parametrizations.weight.state_dict())
    ['original', '0._u', '0._v']
    """
    check_module(module, "spectral_norm")
    weight: Any = vars(module).get(name)
    if is_parametrized(module, name):
        weight = getattr(module, name)
    if not isinstance(weight, Tensor):
        raise ChainruleError(f"{type(module).__name__} has no parameter {name!r}")
    if weight.ndim < 2:
        raise ShapeError(f"a spectrum is that of a matrix, and {name!r} has shape {weight.shape}")
    if dim is None:
        dim = 1 if type(module).__name__.startswith("ConvTranspose") else 0
    dim = normalise_axis(dim, weight.ndim)
    rows = weight.shape[dim]
    norm = SpectralNorm(rows, weight.size // max(rows, 1), n_power_iterations, dim, eps)
    if weight.dtype != norm._u.dtype:
        norm.to(weight.dtype)
    norm.iterate(norm._matrix(weight), 15)
    return register_parametrization(module, name, norm.train(module.training))
