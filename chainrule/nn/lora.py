"""Fine-tuning a few numbers of a large model: low-rank changes of its dense layers."""

from __future__ import annotations

import fnmatch
import math
from typing import Any, TypeVar

from chainrule.errors import ChainruleError, DTypeError
from chainrule.nn import init
from chainrule.nn.freezing import freeze, patterns_of
from chainrule.nn.layers.layer import cast, positive
from chainrule.nn.layers.linear import Linear
from chainrule.nn.module import Module, Parameter, check_module
from chainrule.nn.utils.parametrize import is_parametrized
from chainrule.ops.linear_algebra import linear, matmul
from chainrule.ops.random import dropout
from chainrule.tensor.creation import zeros
from chainrule.tensor.graph import no_grad
from chainrule.tensor.locate import explained
from chainrule.tensor.tensor import Tensor

M = TypeVar("M", bound=Module)


class LoRALinear(Linear):
    """A dense layer whose weight stays, and a change of low rank that is trained:
    y = x Wᵀ + b + (lora_alpha / r) · x Aᵀ Bᵀ (Hu et al. 2021, arXiv:2106.09685).

    B is zeros at first, so that it begins as the dense layer. The names of weight and bias are
    those of `Linear`, so that its files load, with strict=False.

    Args:
        in_features, out_features, bias: as in `Linear`.
        r: the rank of the change.
        lora_alpha: by what the change is scaled, divided by r.
        lora_dropout: the probability with which what goes into A is dropped in training.

    Attributes:
        weight, bias: as in `Linear`; they are frozen.
        lora_A: (r, in_features), Kaiming-uniform as `Linear`'s weight.
        lora_B: (out_features, r), zeros.

    >>> import chainrule as cr
    >>> layer = LoRALinear(4, 3, r=2)
    >>> [name for name, p in layer.named_parameters() if p.requires_grad]
    ['lora_A', 'lora_B']
    >>> layer(cr.ones((5, 4))).shape
    (5, 3)
    """

    def __init__(
        self,
        in_features: int,
        out_features: int,
        bias: bool = True,
        r: int = 8,
        lora_alpha: float = 16.0,
        lora_dropout: float = 0.0,
    ) -> None:
        super().__init__(in_features, out_features, bias)
        self._adapt(r, lora_alpha, lora_dropout)

    def _adapt(self, r: int, lora_alpha: float, lora_dropout: float) -> None:
        self.r, self.lora_alpha = positive(r, "r"), lora_alpha
        if isinstance(lora_alpha, bool) or not isinstance(lora_alpha, (int, float)):
            raise DTypeError(f"lora_alpha is a number, not {lora_alpha!r}")
        if not isinstance(lora_dropout, (int, float)) or not 0 <= lora_dropout < 1:
            raise DTypeError(f"lora_dropout is a probability from 0 to 1, not {lora_dropout!r}")
        self.lora_dropout = lora_dropout
        dtype = self.weight.dtype
        self.lora_A = Parameter(zeros((r, self.in_features), dtype=dtype))
        self.lora_B = Parameter(zeros((self.out_features, r), dtype=dtype))
        init.kaiming_uniform_(self.lora_A, a=math.sqrt(5))
        for frozen in (self.weight, self.bias):
            if frozen is not None:
                frozen.requires_grad = False

    @classmethod
    def of(cls, dense: Linear, r: int, lora_alpha: float, lora_dropout: float) -> LoRALinear:
        """A dense layer with a change beside it; weight and bias are its own parameters."""
        layer = cls.__new__(cls)
        for name, value in vars(dense).items():
            setattr(layer, name, value)
        layer._adapt(r, lora_alpha, lora_dropout)
        return layer

    def change(self) -> Tensor:
        """(out_features, in_features), what is added to the weight."""
        return matmul(self.lora_B, self.lora_A) * (self.lora_alpha / self.r)

    def merged(self) -> Linear:
        """A dense layer that computes the same, its weight and bias trainable."""
        dense = Linear.__new__(Linear)
        for name, value in vars(self).items():
            if not name.startswith("lora_") and name != "r":
                setattr(dense, name, value)
        with no_grad():
            dense.weight = Parameter(self.weight + self.change())
        if dense.bias is not None:
            dense.bias.requires_grad = True
        return dense

    def forward(self, x: Any) -> Tensor:
        x = cast(x, self.weight)
        y = super().forward(x)
        if self.lora_dropout and self.training:
            x = dropout(x, self.lora_dropout)
        return y + linear(linear(x, self.lora_A), self.lora_B) * (self.lora_alpha / self.r)


@explained
def add_lora(
    model: M,
    targets: Any = "*",
    *,
    r: int = 8,
    lora_alpha: float = 16.0,
    lora_dropout: float = 0.0,
) -> M:
    """Freeze a model, and give its dense layers changes of low rank, which alone are trained.

    Layers are exchanged in place for `LoRALinear`, with the parameters that they had. A `Linear`
    itself comes back as a LoRALinear. What is no `Linear`, such as the three projections that
    `MultiheadAttention` keeps in one parameter, stays frozen.

    Args:
        model: a model, or a `Linear`.
        targets: names of the layers, a pattern such as "encoder.*" or several; a layer is also
            found by its last name, as "linear1".
        r, lora_alpha, lora_dropout: as in `LoRALinear`.

    Returns:
        The model.

    Raises:
        ChainruleError: no dense layer has such a name; it says which there are.

    >>> from chainrule import nn
    >>> model = nn.add_lora(nn.Sequential(nn.Linear(8, 8), nn.ReLU(), nn.Linear(8, 2)), "0", r=2)
    >>> [name for name, p in model.named_parameters() if p.requires_grad]
    ['0.lora_A', '0.lora_B']
    """
    check_module(model, "add_lora")
    wanted = patterns_of(targets)
    if type(model) is Linear:
        changed: Any = LoRALinear.of(model, r, lora_alpha, lora_dropout)  # type: ignore[arg-type]
        return changed
    modules = model.named_modules()
    dense = [(n, m) for n, m in modules if type(m) is Linear and not is_parametrized(m)]
    chosen = [(n, m) for n, m in dense if any(_matches(n, p) for p in wanted)]
    if not chosen:
        names = ", ".join(n for n, _ in dense) or "none"
        raise ChainruleError(
            f"no dense layer of this {type(model).__name__} is named {' or '.join(wanted)}; it has "
            f"{names}"
        )
    freeze(model)
    _exchange(model, {id(m): LoRALinear.of(m, r, lora_alpha, lora_dropout) for _, m in chosen})
    return model


@explained
def merge_lora(model: M) -> M:
    """Add the changes of all `LoRALinear` to their weights, and make them `Linear` again.

    The model computes the same, at the cost that it had at first. Their weights are trainable
    again; what `add_lora` froze besides stays frozen.

    >>> import chainrule as cr
    >>> from chainrule import nn
    >>> model = nn.merge_lora(nn.Sequential(nn.LoRALinear(4, 2)))
    >>> model
    Sequential(
      (0): Linear(in_features=4, out_features=2)
    )
    """
    check_module(model, "merge_lora")
    if isinstance(model, LoRALinear):
        dense: Any = model.merged()
        return dense
    _exchange(model, {id(m): m.merged() for m in model.modules() if isinstance(m, LoRALinear)})
    return model


def _matches(name: str, pattern: str) -> bool:
    return fnmatch.fnmatchcase(name, pattern) or name.rpartition(".")[2] == pattern


def _exchange(model: Module, by_id: dict[int, Module]) -> None:
    """Put these modules in the place of those with the ids, wherever they are used."""
    for module in list(model.modules()):
        for name, child in list(module._own(Module)):
            if id(child) in by_id:
                setattr(module, name, by_id[id(child)])
