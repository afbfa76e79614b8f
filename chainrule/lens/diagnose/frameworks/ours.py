"""chainrule's own models, losses and optimisers, as `diagnose` asks for them."""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from typing import TYPE_CHECKING, Any

import numpy as np

from chainrule import nn, optim
from chainrule.calculus.reverse import pull_back
from chainrule.compile.compiled import Compiled
from chainrule.lens.diagnose.frameworks.framework import OptimizerFacts
from chainrule.lens.diagnose.frameworks.our_loops import following
from chainrule.lens.diagnose.frameworks.our_passes import read
from chainrule.lens.diagnose.frameworks.our_steps import compiled_step
from chainrule.lens.diagnose.frameworks.structures import joined, leaves, one_number
from chainrule.lens.diagnose.passes import Pass
from chainrule.nn.undisturbed import undisturbed
from chainrule.ops.joining import concat
from chainrule.probability.assumed import noted
from chainrule.tensor import generator
from chainrule.tensor.creation import as_operand
from chainrule.tensor.graph import FULL, no_grad, quiet, recording
from chainrule.tensor.tensor import Tensor

if TYPE_CHECKING:
    from chainrule.lens.diagnose.watch import Watch

ROWS_AT_ONCE = 4096


class Ours:
    """See `Framework`."""

    name = "chainrule"
    compiled_from = 300

    def __init__(self) -> None:
        self.leaf = 0

    def copy(self, *together: Any) -> tuple[Any, ...]:
        # What a module computed and kept (a list of activations) belongs to a graph, and its copy
        # does not.
        modules = (m for t in together if isinstance(t, nn.Module) for m in t.modules())
        kept = [t for m in modules for t in leaves(list(vars(m).values()), Tensor)]
        memo = {id(t): t.detach() for t in kept if t._node is not None and t._node.op is not None}
        return tuple(copy.deepcopy(list(together), memo))

    def observe(
        self,
        model: Any,
        x: np.ndarray,
        y: np.ndarray | None,
        loss: Callable[[Any, Any], Any] | None,
        *,
        training: bool = True,
    ) -> Pass:
        output: Any = None
        result: Any = None
        fault: BaseException | None = None
        with recording(FULL), undisturbed(model, training=training), quiet(), noted() as calls:
            try:
                output = result = model(self._cast(model, x))
                if loss is not None and y is not None:
                    result = one_number(loss(output, self._cast(model, y)), Tensor)
            except Exception as error:  # the user's own fault is a finding
                fault = error
        several = list(leaves(output, Tensor))
        main = several[min(self.leaf, len(several) - 1)] if several else None
        result = main if result is output else result
        return read(model, x, y, main, result, calls, training=training, error=fault)

    def _cast(self, model: Any, values: np.ndarray) -> Tensor:
        """Floating-point numbers in the dtype of the model's parameters."""
        array = np.asarray(values)
        first = next(iter(model.parameters()), None)
        if array.dtype.kind == "f" and first is not None and first.dtype.kind == "f":
            array = array.astype(first.dtype, copy=False)
        return as_operand(array)

    def settle(self, model: Any, x: np.ndarray) -> None:
        """There are no lazy layers here."""

    def parameters(self, model: Any) -> dict[str, np.ndarray]:
        return {name: cell.numpy() for name, cell in model.named_parameters()}

    def state(self, model: Any) -> dict[str, np.ndarray]:
        cells = [*model.named_parameters(), *model.named_buffers()]
        return {name: cell.numpy(copy=True) for name, cell in cells}

    def load(self, model: Any, state: dict[str, np.ndarray]) -> None:
        for name, cell in [*model.named_parameters(), *model.named_buffers()]:
            if name in state:
                cell.assign(state[name])

    def modules(self, model: Any) -> list[tuple[str, str, Any]]:
        return [(path, type(module).__name__, module) for path, module in model.named_modules()]

    def replace(self, model: Any, path: str, module: Any) -> Any:
        if not path:
            return module
        outer, _, name = path.rpartition(".")
        first = next((p for p in model.parameters() if p.dtype.kind == "f"), None)
        if first is not None:
            module.to(first.dtype)
        holder = dict(model.named_modules())[outer]
        setattr(holder, name, module)
        return model

    def layer(self, kind: str, *args: Any, **options: Any) -> Any:
        return getattr(nn, kind)(*args, **options)

    def sequence(self, *modules: Any) -> Any:
        return nn.Sequential(*modules)

    def set_requires_grad(self, model: Any, name: str, wanted: bool) -> None:
        dict(model.named_parameters())[name].requires_grad = wanted

    def frozen(self, model: Any) -> frozenset[str]:
        return frozenset(n for n, p in model.named_parameters() if not p.requires_grad)

    def loss(self, kind: str, reduction: str = "mean", **options: Any) -> Callable[[Any, Any], Any]:
        function = {
            "cross_entropy": nn.cross_entropy,
            "nll": nn.nll_loss,
            "bce": nn.binary_cross_entropy,
            "bce_with_logits": nn.binary_cross_entropy_with_logits,
            "mse": nn.mse_loss,
            "mae": nn.l1_loss,
            "huber": nn.huber_loss,
        }[kind]

        def loss(outputs: Any, targets: Any) -> Any:
            return function(outputs, targets, reduction=reduction, **options)

        loss.__name__ = function.__name__
        return loss

    def optimizer(self, kind: str, model: Any, **options: Any) -> Any:
        held = options.pop("held", None)
        wanted = [
            p
            for name, p in model.named_parameters()
            if p.requires_grad and (held is None or name in held)
        ]
        return getattr(optim, kind)(wanted, **options)

    def optimizer_facts(self, model: Any, optimizer: Any) -> OptimizerFacts:
        names = {id(p): name for name, p in model.named_parameters()}
        groups = optimizer.param_groups
        held = [id(p) for group in groups for p in group["params"]]
        options = {k: v for k, v in groups[0].items() if k not in ("params", "lr")}
        return OptimizerFacts(
            type(optimizer).__name__,
            float(groups[0]["lr"]),
            options,
            frozenset(names[i] for i in held if i in names),
            bool(options.get("maximize", False)),
            sum(i not in names for i in held),
        )

    def hold(self, model: Any, optimizer: Any, names: Sequence[str]) -> None:
        cells = dict(model.named_parameters())
        left = {id(cells[name]): cells[name] for name in names}
        groups, optimizer.param_groups = optimizer.param_groups, []
        optimizer.state, optimizer._bundles = {}, []
        for group in groups:
            kept = [p for p in group["params"] if left.pop(id(p), None) is not None]
            if group is groups[-1]:
                kept += left.values()
            # A schedule notes in the groups what rates it began with.
            notes = {k: v for k, v in group.items() if k not in optimizer.defaults}
            options = {k: v for k, v in group.items() if k in optimizer.defaults}
            optimizer.add_param_group({**options, "params": kept})
            optimizer.param_groups[-1].update({k: v for k, v in notes.items() if k != "params"})

    def set_options(self, optimizer: Any, **options: Any) -> None:
        for group in optimizer.param_groups:
            for name, value in options.items():
                group[name] = value

    def rate(self, optimizer: Any) -> float:
        return float(optimizer.param_groups[0]["lr"])

    def gradients(
        self, model: Any, x: np.ndarray, y: np.ndarray, loss: Any
    ) -> tuple[float, dict[str, np.ndarray]]:
        cells = {n: p for n, p in model.named_parameters() if p.requires_grad}
        with undisturbed(model, training=True), quiet():
            value = loss(model(self._cast(model, x)), self._cast(model, y))
            one = Tensor(np.ones((), value.dtype))
            found = pull_back(value, one, list(cells.values()), keep=False)
        return float(value.item()), {
            name: g.numpy() for name, g in zip(cells, found, strict=True) if g is not None
        }

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
        values: list[float] = []

        def closure() -> Any:
            value = loss(model(self._cast(model, x)), self._cast(model, y))
            (value if sign > 0 else -value).backward()
            if clip is not None:
                optim.clip_grad_norm_(model.parameters(), clip)
            values.append(float(value.item()))
            return value

        if isinstance(optimizer, optim.LBFGS):
            optimizer.step(closure)
            return values[0]
        closure()
        kept = None
        if not clear:
            kept = {p: p.grad for p in model.parameters() if p.grad is not None}
        optimizer.step()
        if kept is not None:
            for p, g in kept.items():
                p.grad = g
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
        def eager(x: np.ndarray, y: np.ndarray) -> float:
            return self.step(model, x, y, loss, optimizer, clear=clear, sign=sign, clip=clip)

        if steps < self.compiled_from or not clear or isinstance(optimizer, optim.LBFGS):
            return eager
        return compiled_step(
            model, loss, optimizer, sign, clip, lambda a: self._cast(model, a), eager
        )

    def outputs(self, model: Any, x: np.ndarray, *, training: bool = False) -> np.ndarray:
        with undisturbed(model, training=training), no_grad(), quiet():
            return self._prediction(self._whole(model, x)).numpy(copy=True)

    def evaluated(
        self, model: Any, x: np.ndarray, y: np.ndarray, loss: Any, *, training: bool = False
    ) -> tuple[np.ndarray, float]:
        with undisturbed(model, training=training), no_grad(), quiet():
            whole = self._whole(model, x)
            value = loss(whole, self._cast(model, y))
            return self._prediction(whole).numpy(copy=True), float(value.item())

    def leaves(self, model: Any, x: np.ndarray) -> list[tuple[int, ...]]:
        with undisturbed(model, training=False), no_grad(), quiet():
            return [t.shape for t in leaves(model(self._cast(model, x)), Tensor)]

    def _whole(self, model: Any, x: np.ndarray) -> Any:
        parts = [
            model(self._cast(model, x[start : start + ROWS_AT_ONCE]))
            for start in range(0, max(len(x), 1), ROWS_AT_ONCE)
        ]
        return joined(parts, Tensor, concat)

    def _prediction(self, output: Any) -> Tensor:
        found = list(leaves(output, Tensor))
        if not found:
            raise TypeError(f"the model gives {type(output).__name__}, which holds no tensor")
        prediction: Tensor = found[min(self.leaf, len(found) - 1)]
        return prediction

    def loss_of(self, loss: Any, outputs: np.ndarray, y: np.ndarray) -> float:
        with no_grad(), quiet():
            target = np.asarray(y)
            if target.dtype.kind == "f":
                target = target.astype(outputs.dtype, copy=False)
            return float(loss(as_operand(outputs), as_operand(target)).item())

    def seed(self, seed: int) -> None:
        generator.seed(seed)

    def following(self, watch: Watch) -> AbstractContextManager[None]:
        return following(watch)

    def describe(self, thing: Any) -> str:
        if isinstance(thing, Compiled):
            thing = thing.__wrapped__
        return getattr(thing, "__name__", None) or repr(thing).splitlines()[0]
