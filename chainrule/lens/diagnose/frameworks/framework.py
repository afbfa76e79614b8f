"""What the diagnosis asks of a framework. Nothing else in `diagnose` knows which one it is."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from chainrule.lens.diagnose.passes import Pass

if TYPE_CHECKING:
    from chainrule.lens.diagnose.watch import Watch


@dataclass(frozen=True)
class OptimizerFacts:
    """What an optimiser is.

    Attributes:
        kind: its class, such as "SGD".
        rate: the learning rate of its first group.
        options: the first group's other options.
        held: the names of the model's parameters that it holds.
        maximize: whether it climbs.
        foreign: how many parameters it holds that the model does not have.
    """

    kind: str
    rate: float
    options: dict[str, Any] = field(default_factory=dict)
    held: frozenset[str] = frozenset()
    maximize: bool = False
    foreign: int = 0


class Framework(Protocol):
    """Arrays go in and come out as NumPy's; models, losses and optimisers are the framework's."""

    name: str
    """ "chainrule" or "torch"."""
    leaf: int
    """Which of the tensors that the model gives is its prediction, where it gives several."""

    def copy(self, *together: Any) -> tuple[Any, ...]:
        """Deep copies of model, optimiser, schedule, …, that refer to each other as they do."""

    def observe(
        self,
        model: Any,
        x: np.ndarray,
        y: np.ndarray | None,
        loss: Callable[[Any, Any], Any] | None,
        *,
        training: bool = True,
    ) -> Pass:
        """One recorded pass. The model (mode, buffers, gradients) and the random generators have
        the same bits afterwards. What the model or the loss raises is in `Pass.error`."""

    def settle(self, model: Any, x: np.ndarray) -> None:
        """Give layers that take their sizes from the first rows (lazy ones) their sizes."""

    def parameters(self, model: Any) -> dict[str, np.ndarray]:
        """Every parameter's value by name: views, not to be written to."""

    def state(self, model: Any) -> dict[str, np.ndarray]:
        """Copies of every parameter and buffer."""

    def load(self, model: Any, state: dict[str, np.ndarray]) -> None:
        """Write `state`'s values into the model."""

    def modules(self, model: Any) -> list[tuple[str, str, Any]]:
        """(path, class name, module) of every module, the outermost ("") first."""

    def replace(self, model: Any, path: str, module: Any) -> Any:
        """Put another module at a path, in place; returns the model (the new module for ""). The
        new one is given the dtype (and device) of the model's parameters."""

    def layer(self, kind: str, *args: Any, **options: Any) -> Any:
        """A new module of the framework by its class's name: ("Linear", 3, 4), ("Tanh",), …"""

    def sequence(self, *modules: Any) -> Any:
        """Modules one after the other, as one."""

    def set_requires_grad(self, model: Any, name: str, wanted: bool) -> None:
        """Freeze or unfreeze a parameter."""

    def frozen(self, model: Any) -> frozenset[str]:
        """Names of the parameters that ask for no gradient."""

    def loss(self, kind: str, reduction: str = "mean", **options: Any) -> Callable[[Any, Any], Any]:
        """A loss by `LossFacts.kind`."""

    def optimizer(self, kind: str, model: Any, **options: Any) -> Any:
        """A new optimiser by its class's name, over every parameter that asks for gradients;
        `held=` restricts it to those names."""

    def optimizer_facts(self, model: Any, optimizer: Any) -> OptimizerFacts:
        """What an optimiser is."""

    def hold(self, model: Any, optimizer: Any, names: Sequence[str]) -> None:
        """Let the optimiser hold these parameters of the model and no others, in place: those that
        it held stay in their groups, the others join the last group; running values are dropped."""

    def set_options(self, optimizer: Any, **options: Any) -> None:
        """Change options of every group (`lr`, `weight_decay`, `betas`, …)."""

    def rate(self, optimizer: Any) -> float:
        """The first group's learning rate now."""

    def gradients(self, model: Any, x: np.ndarray, y: np.ndarray, loss: Any
                  ) -> tuple[float, dict[str, np.ndarray]]:  # fmt: skip
        """(loss, gradients by name) of a batch in training mode; undisturbed, not recorded."""

    def step(self, model: Any, x: np.ndarray, y: np.ndarray, loss: Any, optimizer: Any, *,
             clear: bool = True, sign: float = 1.0, clip: float | None = None
             ) -> float:  # fmt: skip
        """One training step; returns the loss before it. `clear=False`: gradients are never
        cleared, so that they add up; `sign=-1`: the step climbs; `clip`: largest gradient norm.
        Where the loss is not finite the step is made all the same."""

    @property
    def compiled_from(self) -> int | None:
        """From how many steps on `stepper` compiles, which changes the last digits; None: never."""

    def stepper(self, model: Any, loss: Any, optimizer: Any, *, steps: int = 0, clear: bool = True,
                sign: float = 1.0, clip: float | None = None
                ) -> Callable[[np.ndarray, np.ndarray], float]:  # fmt: skip
        """(x, y) → the loss: `step` made many times, `steps` of which are to come without a look
        at what is between them, as fast as can be."""

    def outputs(self, model: Any, x: np.ndarray, *, training: bool = False) -> np.ndarray:
        """The model's outputs for all rows, undisturbed, without a graph."""

    def evaluated(
        self, model: Any, x: np.ndarray, y: np.ndarray, loss: Any, *, training: bool = False
    ) -> tuple[np.ndarray, float]:
        """(the outputs for all rows, the loss of all that the model gives); see `outputs`."""

    def leaves(self, model: Any, x: np.ndarray) -> list[tuple[int, ...]]:
        """The shapes of the tensors that the model gives for these rows; undisturbed."""

    def loss_of(self, loss: Any, outputs: np.ndarray, y: np.ndarray) -> float:
        """The loss of given outputs."""

    def seed(self, seed: int) -> None:
        """Seed what the model draws (dropout)."""

    def following(self, watch: Watch) -> AbstractContextManager[None]:
        """Hooks that tell `watch` what a loop of the user's does with `watch.model` and
        `watch.optimizer`, inside of the block; see `Watch` for what is told, and when."""

    def describe(self, thing: Any) -> str:
        """The thing as the user would write it, in one line (a module, an optimiser, a loss)."""


def framework_of(model: Any) -> Framework:
    """The framework that a model belongs to.

    Raises:
        DTypeError: it is no module of chainrule or PyTorch.
    """
    from chainrule.errors import DTypeError
    from chainrule.nn.module import Module

    if isinstance(model, Module):
        from chainrule.lens.diagnose.frameworks.ours import Ours

        return Ours()
    if _is_torch(model):
        from chainrule.lens.diagnose.frameworks.torch import Torch

        return Torch()
    raise DTypeError(
        f"diagnose takes a module of chainrule (nn.Module) or of PyTorch (torch.nn.Module), not "
        f"{type(model).__name__}"
    )


def _is_torch(model: Any) -> bool:
    return any(
        kind.__module__.startswith("torch.nn") and kind.__name__ == "Module"
        for kind in type(model).__mro__
    )
