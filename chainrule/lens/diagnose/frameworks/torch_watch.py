"""Hooks that follow a training loop of the user's own in PyTorch; see `Watch` for what is told.

Of a step that is not measured they cost a few calls: before the model's forward pass, at
`backward()` and around the optimiser's step. A step that is measured is recorded by the same
`Recorder` as any other pass, from the model's call to `backward()`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import wraps
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch.nn.modules.module import (
    register_module_forward_hook,
    register_module_forward_pre_hook,
)
from torch.overrides import TorchFunctionMode

from chainrule.lens.diagnose.frameworks.torch import plain
from chainrule.lens.diagnose.frameworks.torch_recording import (
    Recorder,
    array,
    first_tensor,
    tensors_in,
)
from chainrule.lens.diagnose.passes import Pass
from chainrule.lens.diagnose.rebuilt import aligned

if TYPE_CHECKING:
    from chainrule.lens.diagnose.watch import Watch


@contextmanager
def following(watch: Watch) -> Iterator[None]:
    """The hooks are there for the time of the block."""
    loop = _Loop(watch)
    with loop.hooked(), at_backward(loop.backward, loop.went_back), at_scaling(loop.scaled):
        for module, args in _beginning:
            if module is watch.model:
                loop.forward_begins(module, args, {})
        try:
            yield
        finally:
            loop.stop_recording()
            loop.step_by_hand()


class _Loop:
    """What is known of the step in hand."""

    def __init__(self, watch: Watch) -> None:
        self.watch = watch
        self.model = plain(watch.model)
        self.compiled = self.model is not watch.model
        self.called = False
        self.recorder: Recorder | None = None
        self.finder: _TargetFinder | None = None
        self.x: torch.Tensor | None = None
        self.unscaled: tuple[torch.Tensor, torch.Tensor] | None = None
        self.target: np.ndarray | None = None
        self.result: torch.Tensor | None = None
        self.reached = False  # the backward pass came to this model's output
        self.paused = True
        self.row: tuple[int, ...] | None = None  # the shape of a target
        self.versions = self._versions()
        groups = watch.optimizer.param_groups if watch.optimizer is not None else None
        self.held = groups and {id(p) for group in groups for p in group["params"]}

    @contextmanager
    def hooked(self) -> Iterator[None]:
        optimizer = self.watch.optimizer
        hooks = [
            self.watch.model.register_forward_pre_hook(
                _Hook(self.forward_begins), with_kwargs=True
            ),
            self.watch.model.register_forward_hook(_Hook(self.forward_ended)),
        ]
        if optimizer is not None:
            hooks += [
                optimizer.register_step_pre_hook(self.stepping),
                optimizer.register_step_post_hook(self.stepped),
            ]
        try:
            yield
        finally:
            for hook in hooks:
                hook.remove()

    # The forward pass

    def forward_begins(self, module: Any, args: tuple[Any, ...], options: dict[str, Any]) -> None:
        if not torch.is_grad_enabled():
            self.watch.evaluated(module.training)
            return
        self.step_by_hand()
        self._forget()
        self.stop_recording()
        self.called = True
        given = list(tensors_in((args, options)))
        self.x = given[0].detach() if len(given) == 1 else None
        if self.watch.due():
            with self.watch.measuring():
                self.recorder = Recorder(self.model)
            self.recorder.__enter__()
            self.paused = False
            if self.compiled:
                torch.compiler.set_stance("force_eager")
            else:
                self.recorder.enters(module, given)

    def forward_ended(self, module: Any, args: tuple[Any, ...], output: Any) -> None:
        if self.recorder is not None and self.compiled:
            torch.compiler.set_stance("default")
        if not self.called or not torch.is_grad_enabled():
            return
        tensor = first_tensor(output)
        if tensor is not None and tensor.requires_grad:
            tensor.register_hook(self._reaches)
        if self.recorder is None and self.watch.collecting:
            self.finder = _TargetFinder(output, len(self.x) if self.x is not None else 0)
            self.finder.__enter__()
            self.paused = False

    def stop_recording(self) -> None:
        """What was recorded is not looked at."""
        self._pause()
        self.recorder = self.finder = None

    def _pause(self) -> None:
        if not self.paused:
            for mode in (self.finder, self.recorder):
                if mode is not None:
                    mode.__exit__(None, None, None)
        self.paused = True

    def _go_on(self) -> None:
        for mode in (self.recorder, self.finder):
            if mode is not None:
                mode.__enter__()
        self.paused = False

    # The backward pass

    def scaled(self, loss: Any, scaled: Any) -> None:
        """A loss was multiplied against underflow (automatic mixed precision)."""
        if isinstance(loss, torch.Tensor):
            self.unscaled = (scaled, loss)

    def backward(self, result: torch.Tensor) -> None:
        """A backward pass is about to begin, of this model's loss or another's."""
        self._pause()
        self.reached = False
        self.result = None
        if not self.called or result.numel() != 1:
            return
        self._forget()
        scaled = self.unscaled is not None and self.unscaled[0] is result
        self.result = self.unscaled[1] if scaled and self.unscaled is not None else result
        if self.recorder is not None:
            with self.watch.measuring():
                run = self._read(self.recorder, self.result)
            if any(g is not None for g in run.gradients.values()):
                self.watch.saw(run, self._left())
                self.target = aligned(run)
                self.row = None if self.target is None else self.target.shape[1:]
                self.reached = True

    def _reaches(self, gradient: torch.Tensor) -> None:
        self.reached = True

    def went_back(self) -> None:
        """It is over; where it did not reach this model, this model's own is still to come."""
        if not self.reached or self.result is None:
            self._go_on()
            return
        watch, target = self.watch, self.target
        watch.loss(float(self.result.detach().reshape(()).item()))
        if self.finder is not None:
            target = self.finder.target
        if watch.collecting and self.x is not None and self.x.ndim:
            with watch.measuring():
                watch.keep(array(self.x), self._by_row(target, len(self.x)))
        self.recorder = self.finder = self.result = self.unscaled = self.target = None
        self.called = False
        if watch.optimizer is None:
            self.stepping()  # nothing tells when the step comes: it uses these gradients

    def _forget(self) -> None:
        """Gradients that were cleared without a step belong to none: those of another model's loss,
        for example, that goes back through this one."""
        if self.watch.backwards and not any(
            p.grad is not None and bool(p.grad.any()) for p in self._held_parameters()
        ):
            self.watch.forget()

    def _held_parameters(self) -> list[torch.Tensor]:
        return [p for p in self.model.parameters() if self.held is None or id(p) in self.held]

    def _read(self, recorder: Recorder, result: torch.Tensor) -> Pass:
        model = self.model
        x = recorder.x if recorder.x is not None else torch.zeros(0)
        found = Pass(
            array(x),
            None,
            frozen=frozenset(n for n, p in model.named_parameters() if not p.requires_grad),
            training=model.training,
        )
        recorder.read(found, result, retain=True)
        found.y = found.facts.target
        return found

    def _by_row(self, target: np.ndarray | None, rows: int) -> np.ndarray | None:
        """The target in the form that the model's own outputs are compared with."""
        if target is None or self.row is None:
            return target
        shape = (rows, *self.row)
        return target.reshape(shape) if target.size == np.prod(shape) else target

    def _left(self) -> float:
        """The norm of the gradients that the optimiser's parameters hold."""
        squares = [float(np.vdot(g, g)) for g in self._gradients().values() if g is not None]
        return float(np.sqrt(sum(squares)))

    # The update

    def stepping(self, *_: Any) -> None:
        if self.watch.recorded:
            self.watch.stepping(self._gradients())

    def stepped(self, *_: Any) -> None:
        self.watch.stepped()

    def _gradients(self) -> dict[str, np.ndarray | None]:
        return {
            name: None if p.grad is None else array(p.grad)
            for name, p in self.model.named_parameters()
            if self.held is None or id(p) in self.held
        }

    def _versions(self) -> int:
        return sum(p._version for p in self.model.parameters())

    def step_by_hand(self) -> None:
        """A loop without an optimiser made a step if parameters were written to after a backward
        pass."""
        if self.watch.optimizer is None:
            versions = self._versions()
            if versions != self.versions and self.watch.backwards:
                self.watch.stepped()
            self.versions = versions


class _Hook:
    """A hook on a module that its copies and what is saved of it have no part in: the loop may copy
    the model (the best one so far, a moving average), and the copy tells nobody."""

    def __init__(self, tell: Callable[..., None] | None = None) -> None:
        self.tell = tell

    def __call__(self, *told: Any) -> None:
        if self.tell is not None:
            self.tell(*told)

    def __reduce__(self) -> tuple[type[_Hook], tuple[()]]:
        return _Hook, ()


class _TargetFinder(TorchFunctionMode):
    """Looks at the functions between the model's output and `backward()` for what the output is
    compared with: the first operand with a row for each example that does not come from it."""

    def __init__(self, output: Any, rows: int) -> None:
        super().__init__()
        self.rows = rows
        self.target: np.ndarray | None = None
        self._derived = {id(t): t for t in tensors_in(output)}

    def __torch_function__(
        self,
        func: Callable[..., Any],
        types: Any,
        args: tuple[Any, ...] = (),
        kwargs: dict[str, Any] | None = None,
    ) -> Any:
        options = kwargs or {}
        given = list(tensors_in((args, options)))
        result = func(*args, **options)
        if any(id(t) in self._derived for t in given):
            if self.target is None:
                others = (t for t in given if id(t) not in self._derived)
                target = next((t for t in others if self._fits(t)), None)
                self.target = None if target is None else array(target)
            self._derived.update((id(t), t) for t in tensors_in(result))
        return result

    def _fits(self, tensor: torch.Tensor) -> bool:
        return tensor.ndim > 0 and self.rows > 0 and len(tensor) % self.rows == 0


@contextmanager
def at_backward(tell: Callable[[torch.Tensor], None], then: Callable[[], None]) -> Iterator[None]:
    """`tell(loss)` before each backward pass that the user's code begins, and `then()` after it.

    Both ways to begin one are wrapped: `loss.backward()`, which PyTorch hands to a function mode
    before it calls the other, and `torch.autograd.backward`.
    """
    of_tensor, plain_function = torch.Tensor.backward, torch.autograd.backward
    inside = False

    def once(result: Any, call: Callable[[], Any]) -> Any:
        nonlocal inside
        if inside or not isinstance(result, torch.Tensor):
            return call()
        inside = True
        try:
            tell(result)
            found = call()
            then()
            return found
        finally:
            inside = False

    @wraps(of_tensor)
    def backward_of_tensor(self: Any, *args: Any, **options: Any) -> Any:
        return once(self, lambda: of_tensor(self, *args, **options))

    @wraps(plain_function)
    def backward(tensors: Any, *args: Any, **options: Any) -> Any:
        return once(first_tensor(tensors), lambda: plain_function(tensors, *args, **options))

    torch.Tensor.backward = backward_of_tensor
    torch.autograd.backward = backward
    try:
        yield
    finally:
        torch.Tensor.backward, torch.autograd.backward = of_tensor, plain_function


@contextmanager
def at_scaling(tell: Callable[[Any, Any], None]) -> Iterator[None]:
    """`tell(loss, scaled loss)` where mixed precision scales a loss."""
    scaler = torch.amp.GradScaler
    scale = scaler.scale

    @wraps(scale)
    def scale_and_tell(self: Any, outputs: Any) -> Any:
        scaled = scale(self, outputs)
        tell(outputs, scaled)
        return scaled

    scaler.scale = scale_and_tell
    try:
        yield
    finally:
        scaler.scale = scale


def optimizers_of() -> Any:
    """The class of all optimisers."""
    return torch.optim.Optimizer


class OutermostCalls:
    """Tells of each module that is called by no other module, before it runs.

    Args:
        tell: (module, whether gradients are recorded) → whether to go on telling; it may begin to
            follow the module, and then this very call is followed.
    """

    def __init__(self, tell: Callable[[Any, bool], bool]) -> None:
        self.tell = tell
        self._depth = 0
        self._hooks: list[Any] = []

    def on(self) -> None:
        """Begin to tell, or go on."""
        if not self._hooks:
            self._depth = 0
            self._hooks = [
                register_module_forward_pre_hook(self._begins),
                register_module_forward_hook(self._ended, always_call=True),
            ]

    def off(self) -> None:
        """Tell no more: a hook on every module costs a few percent of a small network's step."""
        for hook in self._hooks:
            hook.remove()
        self._hooks = []

    def _begins(self, module: Any, args: Any) -> None:
        self._depth += 1
        if self._depth == 1 and next(module.parameters(), None) is not None:
            _beginning.append((module, args))
            try:
                if not self.tell(module, torch.is_grad_enabled()):
                    self.off()
            finally:
                _beginning.pop()

    def _ended(self, *_: Any) -> None:
        self._depth = max(0, self._depth - 1)


_beginning: list[tuple[Any, tuple[Any, ...]]] = []
"""The call that is being told of: hooks that are added to its module now are not run for it."""
