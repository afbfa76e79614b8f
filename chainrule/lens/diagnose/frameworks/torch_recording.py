"""Recording what a PyTorch module and its loss compute, as operations in chainrule's vocabulary.

A `TorchFunctionMode` sees every function that is given a tensor, above the level at which PyTorch
takes it apart: `F.linear`, `x + y`, `F.cross_entropy`. Values are copied at once, since a later
operation may work in place; gradients are asked for by the edges of the autograd graph as they
were when the operation ran, for the same reason.
"""

from __future__ import annotations

import os
import sys
import types
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch.nn.modules.module import (
    register_module_forward_hook,
    register_module_forward_pre_hook,
)
from torch.overrides import TorchFunctionMode

from chainrule.lens.diagnose.frameworks.structures import leaves
from chainrule.lens.diagnose.frameworks.torch_loss import loss_facts
from chainrule.lens.diagnose.frameworks.torch_names import (
    ARITHMETIC,
    REVERSED,
    SAME,
    arguments,
    chainrule_name,
    plain_name,
)
from chainrule.lens.diagnose.passes import Op, Pass

_LIBRARIES = tuple(
    os.path.dirname(os.path.abspath(path)) + os.sep
    for path in (torch.__file__, sys.modules["chainrule"].__file__ or "")
)
_IDLE = frozenset({"_stacklevel", "inplace", "size_average", "reduce", "input"})
"""Arguments that say nothing of what is computed."""
_OPENED = {"multi_head_attention_forward"}
"""Functions whose parts are recorded instead of them."""


def array(tensor: torch.Tensor) -> np.ndarray:
    """A tensor's values as NumPy's own, a copy; bfloat16, which NumPy lacks, as float32."""
    tensor = tensor.detach()
    if tensor.is_sparse:
        tensor = tensor.to_dense()
    if tensor.dtype == torch.bfloat16:
        tensor = tensor.float()
    return np.array(tensor.resolve_conj().resolve_neg().cpu().numpy())


def tensors_in(thing: Any) -> Iterator[torch.Tensor]:
    """The tensors in nested tuples, lists, dictionaries, and objects that are dictionaries."""
    return leaves(thing, torch.Tensor)


def first_tensor(thing: Any) -> torch.Tensor | None:
    """The first tensor of what a module gave back."""
    return next(tensors_in(thing), None)


@dataclass
class _Made:
    op: Op
    edge: Any


class Recorder(TorchFunctionMode):
    """Records the functions that run while it is entered.

    Attributes:
        ops: what ran, with the values, without gradients.
        called: whether the model was called; `x` the first tensor that it was given, `output` what
            it gave back.
        leaf: which of the tensors that it gave back is the prediction.
    """

    def __init__(self, model: torch.nn.Module, leaf: int = 0) -> None:
        super().__init__()
        self.model = model
        self.paths = {id(module): path for path, module in model.named_modules()}
        self.names = {id(p): name for name, p in model.named_parameters()}
        self.values = {name: array(p) for name, p in model.named_parameters()}
        self.made: list[_Made] = []
        self.x: torch.Tensor | None = None
        self.output: Any = None
        self.leaf = leaf
        self.called = False
        self._modules: list[str] = []
        self._position: dict[int, int] = {}
        self._inputs: dict[int, np.ndarray] = {}
        self._alive: list[torch.Tensor] = []  # so that an id stays its tensor's
        self._hooks: list[Any] = []
        self.unregistered: dict[int, str] = {}

    def __enter__(self) -> Recorder:
        self._hooks = [
            register_module_forward_pre_hook(self.enters),
            register_module_forward_hook(self._leaves),
        ]
        super().__enter__()
        return self

    def __exit__(self, *error: Any) -> None:
        super().__exit__(*error)
        for hook in self._hooks:
            hook.remove()

    def enters(self, module: torch.nn.Module, args: Any) -> None:
        """A module is called."""
        outer = self._modules[-1] if self._modules else ""
        self._modules.append(self.paths.get(id(module), outer))
        if module is self.model:
            self.called = True
            self.x = first_tensor(args)

    def _leaves(self, module: torch.nn.Module, args: tuple[Any, ...], output: Any) -> None:
        if self._modules:
            self._modules.pop()
        if module is self.model:
            self.output = output

    def __torch_function__(
        self,
        func: Callable[..., Any],
        types: Any,
        args: tuple[Any, ...] = (),
        kwargs: dict[str, Any] | None = None,
    ) -> Any:
        options = kwargs or {}
        name = plain_name(func)
        if name in _OPENED:
            with self._again():
                return _opened(func)(*args, **options)
        before = [
            (t, self._position.get(id(t))) for t in _operands(chainrule_name(name), args, options)
        ]
        arrays = [self._value(t, position) for t, position in before]
        result = func(*args, **options)
        if name == "__setitem__":  # writes into its first operand
            self._note(func, name, args, options, before, arrays, args[0], args[0])
            return result
        if before and not _told(func, name):
            for part in _results(name, result):
                self._note(func, name, args, options, before, arrays, part, result)
        return result

    def _again(self) -> Any:
        """The mode once more, inside of the handler, where it is off."""
        return _Inside(self)

    def _note(
        self,
        func: Callable[..., Any],
        name: str,
        args: tuple[Any, ...],
        options: dict[str, Any],
        before: list[tuple[Any, int | None]],
        arrays: list[Any],
        tensor: torch.Tensor,
        result: Any,
    ) -> None:
        facts = arguments(func, name, args, options)
        source = before[0][1] if before else None
        same = name in SAME or (chainrule_name(name) == "drop" and not _drops(facts))
        first = before[0][0] if before else None
        if (same or (name in ("float", "double") and tensor is first)) and first is not None:
            self._alive.append(tensor)
            if source is not None:
                self._position[id(tensor)] = source
            elif id(first) in self.names:
                self.names.setdefault(id(tensor), self.names[id(first)])
            return
        if name in REVERSED:
            before, arrays = before[::-1], arrays[::-1]
        if name in ("addmm", "baddbmm"):  # bias + x @ W
            before, arrays = before[1:] + before[:1], arrays[1:] + arrays[:1]
        parameters = tuple(self.names.get(id(t)) for t, _ in before)
        for t, _ in before:
            foreign = isinstance(t, torch.nn.Parameter) and id(t) not in self.names
            if foreign and t.requires_grad and self._modules:
                self.unregistered[id(t)] = _place()
        op = Op(
            chainrule_name(name),
            self._path(parameters),
            tuple(position for _, position in before),
            parameters,
            tuple(arrays),
            array(tensor),
            attrs={
                key: value
                for key, value in facts.items()
                if not (key in _IDLE or key.isdigit() or _has_tensor(value))
            },
            place=_place(),
        )
        edge = None
        graph = tensor.grad_fn is not None or torch.is_grad_enabled()
        if tensor.requires_grad and graph and (tensor.is_floating_point() or tensor.is_complex()):
            edge = torch.autograd.graph.get_gradient_edge(tensor)
        others = [] if chainrule_name(name) == "getitem" else tensors_in(result)
        for part in [tensor, *others]:
            self._position[id(part)] = len(self.made)
            self._alive.append(part)
        self.made.append(_Made(op, edge))

    def _path(self, parameters: tuple[str | None, ...]) -> str:
        """The module that runs, or the one inside of it whose parameter is used (attention uses
        its projection's weight without calling it)."""
        running = self._modules[-1] if self._modules else ""
        owner = next((p.rpartition(".")[0] for p in parameters if p is not None), "")
        inside = owner.startswith(f"{running}." if running else "")
        return owner if self._modules and inside and len(owner) > len(running) else running

    def _value(self, operand: Any, position: int | None) -> Any:
        if not isinstance(operand, torch.Tensor):
            return None if operand is None else np.asarray(operand)
        name = self.names.get(id(operand))
        if name in self.values:
            return self.values[name]
        if position is not None:
            value = self.made[position].op.value
            if value.shape == tuple(operand.shape):
                return value
        if id(operand) not in self._inputs:
            self._inputs[id(operand)] = array(operand)
            self._alive.append(operand)
        return self._inputs[id(operand)]

    def position_of(self, tensor: torch.Tensor | None) -> int | None:
        """Which operation made a tensor."""
        return None if tensor is None else self._position.get(id(tensor))

    def read(
        self,
        found: Pass,
        result: torch.Tensor | None,
        loss_name: str = "",
        *,
        retain: bool = False,
    ) -> Pass:
        """Fill a pass with what was recorded up to `result`, the loss or the output; `retain`
        leaves the autograd graph as it is, for the user's own backward pass."""
        outputs = list(tensors_in(self.output))
        output = outputs[min(self.leaf, len(outputs) - 1)] if outputs else None
        found.parameters = self.values
        found.gradients = dict.fromkeys(self.values)
        found.unregistered = tuple(self.unregistered.values())
        if output is not None:
            found.outputs = array(output)
        if result is None:
            found.ops = [made.op for made in self.made]
            return found
        kept = self._ancestors(self.position_of(result))
        place = {old: new for new, old in enumerate(kept)}
        for old in kept:
            op = self.made[old].op
            op.inputs = tuple(None if i is None else place.get(i) for i in op.inputs)
            found.ops.append(op)
        at = self.position_of(output)
        found.output = place.get(at) if at is not None else None
        self._differentiate(found, result, kept, retain)
        if result is not output:
            if result.numel() == 1:
                found.loss = float(result.detach().reshape(()).item())
            found.facts = loss_facts(found, loss_name)
        return found

    def _ancestors(self, position: int | None) -> list[int]:
        wanted: set[int] = set()
        waiting = [] if position is None else [position]
        while waiting:
            at = waiting.pop()
            if at not in wanted:
                wanted.add(at)
                waiting += [i for i in self.made[at].op.inputs if i is not None]
        return sorted(wanted)

    def _differentiate(
        self, found: Pass, result: torch.Tensor, kept: list[int], retain: bool
    ) -> None:
        if result.numel() != 1 or not result.requires_grad:
            return
        named = {name: p for name, p in self.model.named_parameters() if p.requires_grad}
        edges = [(op, self.made[old].edge) for op, old in zip(found.ops, kept, strict=True)]
        edges = [(op, edge) for op, edge in edges if edge is not None]
        gradients = torch.autograd.grad(
            result.sum(),
            [*named.values(), *(edge for _, edge in edges)],
            allow_unused=True,
            retain_graph=retain,
        )
        for name, gradient in zip(named, gradients, strict=False):
            found.gradients[name] = None if gradient is None else array(gradient)
        for (op, _), gradient in zip(edges, gradients[len(named) :], strict=True):
            if gradient is not None and gradient.shape == op.value.shape:
                op.gradient = array(gradient)


class _Inside:
    """A recorder's mode, entered again without its hooks."""

    def __init__(self, recorder: Recorder) -> None:
        self.recorder = recorder

    def __enter__(self) -> None:
        TorchFunctionMode.__enter__(self.recorder)

    def __exit__(self, *error: Any) -> None:
        TorchFunctionMode.__exit__(self.recorder, *error)


def _opened(function: Any) -> Callable[..., Any]:
    """A function of PyTorch's that does not hand itself over to the mode, so that its parts do."""
    scope = {**function.__globals__, "has_torch_function": lambda _: False}
    made = types.FunctionType(
        function.__code__, scope, function.__name__, function.__defaults__, function.__closure__
    )
    made.__kwdefaults__ = function.__kwdefaults__
    return made


def _operands(name: str, args: tuple[Any, ...], options: dict[str, Any]) -> list[Any]:
    """Tensors in order, and the number that arithmetic is done with."""
    found: list[Any] = []
    for value in [*args, *options.values()]:
        if isinstance(value, (tuple, list)):
            found += [v for v in value if isinstance(v, torch.Tensor)]
        elif isinstance(value, torch.Tensor):
            found.append(value)
    if name in ARITHMETIC and len(args) == 2 and len(found) == 1:
        number = args[1] if isinstance(args[0], torch.Tensor) else args[0]
        found.insert(len(found) if args[0] is found[0] else 0, number)
    return found


def _results(name: str, result: Any) -> list[torch.Tensor]:
    """What an operation each is noted for: the parts that a tensor is cut into, the first of other
    results (a maximum, and where it is)."""
    parts = list(tensors_in(result))
    return parts if chainrule_name(name) == "getitem" else parts[:1]


def _told(function: Any, name: str) -> bool:
    """Whether a function only tells of a tensor, and computes nothing of its values."""
    if getattr(function, "__name__", "") == "__get__":
        return name not in ("T", "mT", "H", "mH", "data", "real", "imag")
    return name in ("__set__", "backward", "register_hook", "__array__", "numpy")


def _drops(facts: dict[str, Any]) -> bool:
    return bool(facts.get("training", True)) and float(facts.get("p", 0.5)) > 0


def _has_tensor(value: Any) -> bool:
    return next(tensors_in(value), None) is not None


def _place() -> str:
    """The innermost line that is neither PyTorch's nor ours."""
    frame: Any = sys._getframe(2)
    while frame is not None:
        name = frame.f_code.co_filename
        if not name.startswith(_LIBRARIES) and not name.startswith("<frozen"):
            return f"{os.path.basename(name)}:{frame.f_lineno}"
        frame = frame.f_back
    return ""
