"""PyTorch's models, losses and optimisers, as `diagnose` asks for them."""

from __future__ import annotations

import copy
import inspect
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import nn
from torch.nn import functional as F

from chainrule.lens.diagnose.frameworks.framework import OptimizerFacts
from chainrule.lens.diagnose.frameworks.randomness import randomness_kept
from chainrule.lens.diagnose.frameworks.structures import joined, one_number
from chainrule.lens.diagnose.frameworks.torch_recording import (
    Recorder,
    array,
    first_tensor,
    tensors_in,
)
from chainrule.lens.diagnose.passes import Pass

if TYPE_CHECKING:
    from chainrule.lens.diagnose.watch import Watch

ROWS_AT_ONCE = 4096
_LOSSES = {
    "cross_entropy": F.cross_entropy,
    "nll": F.nll_loss,
    "bce": F.binary_cross_entropy,
    "bce_with_logits": F.binary_cross_entropy_with_logits,
    "mse": F.mse_loss,
    "mae": F.l1_loss,
    "huber": F.huber_loss,
}


class Torch:
    """See `Framework`."""

    name = "torch"
    compiled_from = None

    def __init__(self) -> None:
        self.leaf = 0

    def copy(self, *together: Any) -> tuple[Any, ...]:
        memo: dict[int, Any] = {}
        for module in (m for t in together if isinstance(t, nn.Module) for m in t.modules()):
            # What a module computed and kept (a weight made of its norm and direction, a list of
            # activations) cannot be copied with its graph, and is computed anew.
            kept = (t for t in tensors_in(list(vars(module).values())) if t.grad_fn is not None)
            memo.update({id(t): t.detach().clone() for t in kept})
        made = tuple(copy.deepcopy(plain(thing), memo) for thing in together)
        for thing, copied in zip(together, made, strict=True):
            if isinstance(thing, torch.optim.Optimizer):
                _complete(thing, copied, memo)
        return made

    def observe(
        self,
        model: Any,
        x: np.ndarray,
        y: np.ndarray | None,
        loss: Callable[[Any, Any], Any] | None,
        *,
        training: bool = True,
    ) -> Pass:
        model = plain(model)
        found = Pass(x, y, frozen=self.frozen(model), training=training)
        recorder = Recorder(model, self.leaf)
        result: Any = None
        with undisturbed(model, training=training), torch.enable_grad():
            try:
                given = self._cast(model, x)
                target = None if y is None else self._cast(model, y)
                with recorder:
                    result = output = model(given)
                    if loss is not None and target is not None:
                        result = one_number(loss(output, target), torch.Tensor)
            except Exception as error:  # the user's own fault is a finding
                found.error = error
            if loss is not None and found.error is not None:
                result = first_tensor(recorder.output)
            return recorder.read(found, first_tensor(result), loss_name(loss))

    def _cast(self, model: Any, values: np.ndarray) -> torch.Tensor:
        """On the device of the model's parameters; floating-point numbers in their dtype, labels as
        int64."""
        values = np.asarray(values)
        first = next(iter(model.parameters()), torch.zeros(()))
        dtype = None
        if values.dtype.kind == "f" and first.is_floating_point():
            dtype = first.dtype
        elif values.dtype.kind in "iu":
            dtype = torch.int64
            values = values.astype(np.int64)
        return torch.tensor(values, dtype=dtype, device=first.device)

    def settle(self, model: Any, x: np.ndarray) -> None:
        model = plain(model)
        if any(nn.parameter.is_lazy(t) for _, t in _held(model)):
            modes = [(module, module.training) for module in model.modules()]
            with randomness_kept(), torch.no_grad():
                model.eval()(self._cast(model, x))
            for module, mode in modes:
                module.training = mode

    def parameters(self, model: Any) -> dict[str, np.ndarray]:
        return {name: _view(p) for name, p in plain(model).named_parameters()}

    def state(self, model: Any) -> dict[str, np.ndarray]:
        return {name: array(t) for name, t in _held(plain(model))}

    def load(self, model: Any, state: dict[str, np.ndarray]) -> None:
        with torch.no_grad():
            for name, tensor in _held(plain(model)):
                if name in state:
                    tensor.copy_(torch.tensor(state[name]))

    def modules(self, model: Any) -> list[tuple[str, str, Any]]:
        return [(path, type(m).__name__, m) for path, m in plain(model).named_modules()]

    def replace(self, model: Any, path: str, module: Any) -> Any:
        if not path:
            return module
        outer, _, name = path.rpartition(".")
        first = next((p for p in plain(model).parameters() if p.is_floating_point()), None)
        if first is not None:
            module.to(first.device, first.dtype)
        setattr(plain(model).get_submodule(outer), name, module)
        return model

    def layer(self, kind: str, *args: Any, **options: Any) -> Any:
        return getattr(nn, kind)(*args, **options)

    def sequence(self, *modules: Any) -> Any:
        return nn.Sequential(*modules)

    def set_requires_grad(self, model: Any, name: str, wanted: bool) -> None:
        plain(model).get_parameter(name).requires_grad_(wanted)

    def frozen(self, model: Any) -> frozenset[str]:
        return frozenset(n for n, p in plain(model).named_parameters() if not p.requires_grad)

    def loss(self, kind: str, reduction: str = "mean", **options: Any) -> Callable[[Any, Any], Any]:
        function: Any = _LOSSES[kind]

        def loss(outputs: Any, targets: Any) -> Any:
            return function(outputs, targets, reduction=reduction, **options)

        loss.__name__ = f"F.{function.__name__}"
        return loss

    def optimizer(self, kind: str, model: Any, **options: Any) -> Any:
        held = options.pop("held", None)
        wanted = [
            p
            for name, p in plain(model).named_parameters()
            if p.requires_grad and (held is None or name in held)
        ]
        return getattr(torch.optim, kind)(wanted, **options)

    def optimizer_facts(self, model: Any, optimizer: Any) -> OptimizerFacts:
        names = {id(p): name for name, p in plain(model).named_parameters()}
        groups = optimizer.param_groups
        held = [id(p) for group in groups for p in group["params"]]
        options = {k: v for k, v in groups[0].items() if k not in ("params", "lr")}
        return OptimizerFacts(
            type(optimizer).__name__,
            self.rate(optimizer),
            options,
            frozenset(names[i] for i in held if i in names),
            bool(options.get("maximize", False)),
            sum(i not in names for i in held),
        )

    def hold(self, model: Any, optimizer: Any, names: Sequence[str]) -> None:
        cells = dict(plain(model).named_parameters())
        left = {id(cells[name]): cells[name] for name in names}
        optimizer.state.clear()
        for group in optimizer.param_groups:
            kept = [p for p in group["params"] if left.pop(id(p), None) is not None]
            if group is optimizer.param_groups[-1]:
                kept += left.values()
            group["params"] = kept

    def set_options(self, optimizer: Any, **options: Any) -> None:
        for group in optimizer.param_groups:
            group.update(options)

    def rate(self, optimizer: Any) -> float:
        return float(optimizer.param_groups[0].get("lr", float("nan")))

    def gradients(
        self, model: Any, x: np.ndarray, y: np.ndarray, loss: Any
    ) -> tuple[float, dict[str, np.ndarray]]:
        model = plain(model)
        named = {n: p for n, p in model.named_parameters() if p.requires_grad}
        with undisturbed(model, training=True), torch.enable_grad():
            value = loss(model(self._cast(model, x)), self._cast(model, y))
            found = torch.autograd.grad(value, list(named.values()), allow_unused=True)
        gradients = {n: array(g) for n, g in zip(named, found, strict=True) if g is not None}
        return float(value.item()), gradients

    def step(
        self,
        model: Any,
        x: np.ndarray,
        y: np.ndarray,
        loss: Any,
        optimizer: Any,
        *,
        clear: bool = True,
        sign: float = 1.0,
        clip: float | None = None,
    ) -> float:
        given, target = self._cast(model, x), self._cast(model, y)
        values: list[float] = []

        def closure() -> Any:
            if clear:
                for p in model.parameters():
                    p.grad = None
            value = loss(model(given), target)
            (value if sign > 0 else -value).backward()
            if clip is not None:
                nn.utils.clip_grad_norm_(model.parameters(), clip)
            values.append(float(value.item()))
            return value

        with torch.enable_grad():
            if _asks_again(optimizer):
                optimizer.step(closure)
            else:
                closure()
                optimizer.step()
        return values[0]

    def stepper(
        self,
        model: Any,
        loss: Any,
        optimizer: Any,
        *,
        steps: int = 0,
        clear: bool = True,
        sign: float = 1.0,
        clip: float | None = None,
    ) -> Callable[[np.ndarray, np.ndarray], float]:
        def step(x: np.ndarray, y: np.ndarray) -> float:
            return self.step(model, x, y, loss, optimizer, clear=clear, sign=sign, clip=clip)

        return step

    def outputs(self, model: Any, x: np.ndarray, *, training: bool = False) -> np.ndarray:
        model = plain(model)
        with undisturbed(model, training=training), torch.no_grad():
            return array(self._prediction(self._whole(model, x)))

    def evaluated(
        self, model: Any, x: np.ndarray, y: np.ndarray, loss: Any, *, training: bool = False
    ) -> tuple[np.ndarray, float]:
        model = plain(model)
        with undisturbed(model, training=training), torch.no_grad():
            whole = self._whole(model, x)
            value = loss(whole, self._cast(model, y))
            return array(self._prediction(whole)), float(value.item())

    def leaves(self, model: Any, x: np.ndarray) -> list[tuple[int, ...]]:
        model = plain(model)
        with undisturbed(model, training=False), torch.no_grad():
            return [tuple(t.shape) for t in tensors_in(model(self._cast(model, x)))]

    def _whole(self, model: Any, x: np.ndarray) -> Any:
        parts = [
            model(self._cast(model, x[start : start + ROWS_AT_ONCE]))
            for start in range(0, max(len(x), 1), ROWS_AT_ONCE)
        ]
        return joined(parts, torch.Tensor, torch.cat)

    def _prediction(self, output: Any) -> torch.Tensor:
        found = list(tensors_in(output))
        if not found:
            raise TypeError(f"the model gives {type(output).__name__}, which holds no tensor")
        return found[min(self.leaf, len(found) - 1)]

    def loss_of(self, loss: Any, outputs: np.ndarray, y: np.ndarray) -> float:
        given = torch.tensor(np.asarray(outputs))
        target = np.asarray(y)
        kind = given.dtype if target.dtype.kind == "f" else None
        if target.dtype.kind in "iu":
            target, kind = target.astype(np.int64), torch.int64
        with torch.no_grad():
            return float(loss(given, torch.tensor(target, dtype=kind)).item())

    def seed(self, seed: int) -> None:
        torch.manual_seed(seed)

    def following(self, watch: Watch) -> AbstractContextManager[None]:
        from chainrule.lens.diagnose.frameworks.torch_watch import following

        return following(watch)

    def describe(self, thing: Any) -> str:
        if isinstance(thing, torch.optim.Optimizer):
            return f"optim.{type(thing).__name__}({_options(thing)})"
        if isinstance(thing, nn.Module):
            text = repr(thing).splitlines()[0]
            return f"nn.{text}" if type(thing).__module__.startswith("torch.nn") else text
        name = getattr(thing, "__name__", None) or repr(thing).splitlines()[0]
        is_f = getattr(F, name, None) is thing
        return f"F.{name}" if is_f else name


def plain(thing: Any) -> Any:
    """What `torch.compile` was given, and anything else as it is."""
    return getattr(thing, "_orig_mod", thing) if isinstance(thing, nn.Module) else thing


def loss_name(loss: Any) -> str:
    """How the user calls a loss; empty for a function of the user's own."""
    if isinstance(loss, nn.Module) and type(loss).__module__.startswith("torch.nn"):
        return f"nn.{type(loss).__name__}"
    name = getattr(loss, "__name__", "")
    return name if name.startswith("F.") else f"F.{name}" if getattr(F, name, 0) is loss else ""


@contextmanager
def undisturbed(model: nn.Module, *, training: bool) -> Iterator[None]:
    """A module in training or evaluation mode for the time of the block; afterwards its modes, its
    parameters and buffers and all random generators are as before, to the bit."""
    modules = list(model.modules())
    modes = [module.training for module in modules]
    own = [dict(module._buffers) for module in modules]
    held = [(t, t.detach().clone()) for t in model.buffers()]
    # Only an embedding of bounded norm writes to its weight in a forward pass.
    held += [
        (m.weight, m.weight.detach().clone())
        for m in modules
        if getattr(m, "max_norm", None) is not None and isinstance(m.weight, torch.Tensor)
    ]
    with randomness_kept():
        try:
            model.train(training)
            yield
        finally:
            for module, mode, buffers in zip(modules, modes, own, strict=True):
                module.training = mode
                module._buffers.update(buffers)
            with torch.no_grad():
                for tensor, value in held:
                    if not torch.equal(tensor, value):
                        tensor.copy_(value)


def _held(model: nn.Module) -> list[tuple[str, torch.Tensor]]:
    return [*model.named_parameters(), *model.named_buffers()]


def _view(parameter: torch.Tensor) -> np.ndarray:
    parameter = parameter.detach()
    if parameter.dtype == torch.bfloat16 or parameter.device.type != "cpu":
        return array(parameter)
    found: np.ndarray = parameter.numpy()
    return found


def _asks_again(optimizer: Any) -> bool:
    """Whether a step evaluates the loss itself, several times (L-BFGS)."""
    taken = inspect.signature(type(optimizer).step).parameters.get("closure")
    return taken is not None and taken.default is inspect.Parameter.empty


def _complete(optimizer: Any, copied: Any, memo: dict[int, Any]) -> None:
    """What a deep copy of an optimiser leaves out: the attributes of its own class (L-BFGS), and
    the mark by which a schedule sees that a step was made before its own."""
    for name, value in vars(optimizer).items():
        if name not in vars(copied) and name != "step":
            setattr(copied, name, copy.deepcopy(value, memo))
    if "step" not in vars(optimizer):
        return
    own = type(copied).step

    def step(*args: Any, **options: Any) -> Any:
        copied._opt_called = True
        return own(copied, *args, **options)

    step._wrapped_by_lr_sched = True  # type: ignore[attr-defined]
    copied.step = step


def _options(optimizer: Any) -> str:
    """The options that differ from the class's defaults."""
    taken = inspect.signature(type(optimizer)).parameters
    group = optimizer.param_groups[0]
    return ", ".join(
        f"{name}={group[name]:g}" if isinstance(group[name], float) else f"{name}={group[name]}"
        for name, parameter in taken.items()
        if name in group and name != "params" and (name == "lr" or group[name] != parameter.default)
    )
