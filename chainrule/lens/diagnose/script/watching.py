"""Finding the models that a script trains, and watching each with its optimiser."""

from __future__ import annotations

import importlib.util
import sys
import weakref
from collections.abc import Callable
from contextlib import ExitStack
from functools import wraps
from typing import Any

from chainrule.lens.diagnose.frameworks.framework import framework_of
from chainrule.lens.diagnose.unseen import looking
from chainrule.lens.diagnose.watch import Watch
from chainrule.optim.optimizer import Optimizer
from chainrule.tensor import debug
from chainrule.tensor.graph import OFF, state


class Watching:
    """Inside of the block, every model that is called where gradients are recorded is watched, with
    the optimiser that holds its parameters.

    Attributes:
        watches: one for each model, in the order of their first calls.
        optimizers: how many optimisers were made.
        called: whether a model was called at all, with gradients or without.
    """

    def __init__(self) -> None:
        self.watches: list[Watch] = []
        self.called = False
        self.optimizers = 0
        self._optimizers: list[weakref.ref] = []
        self._known: set[int] = set()
        self._stack = ExitStack()

    def __enter__(self) -> Watching:
        self._stack.__enter__()
        self._stack.callback(_remembered(Optimizer, self._made))
        self._watcher = _Calls(self)
        debug.watchers = (*debug.watchers, self._watcher)
        if "torch" in sys.modules:
            self._follow_torch()
        else:
            finder = _AfterImport("torch", self._follow_torch)
            sys.meta_path.insert(0, finder)
            self._stack.callback(finder.leave)
        return self

    def __exit__(self, kind: Any, error: BaseException | None, trace: Any) -> None:
        # What ends a script from outside is no fault of its loop.
        fault = isinstance(error, Exception)
        self._stack.__exit__(*((kind, error, trace) if fault else (None, None, None)))
        debug.watchers = tuple(w for w in debug.watchers if w is not self._watcher)

    def main(self) -> Watch | None:
        """The one that made the most steps."""
        return max(self.watches, key=lambda w: (w.step, w.first is not None), default=None)

    def _follow_torch(self) -> None:
        from chainrule.lens.diagnose.frameworks.torch_watch import OutermostCalls, optimizers_of

        calls = OutermostCalls(self.sees)
        self._stack.callback(calls.off)

        def made(optimizer: Any) -> None:
            self._made(optimizer)
            calls.on()

        self._stack.callback(_remembered(optimizers_of(), made))
        calls.on()

    def _made(self, optimizer: Any) -> None:
        if looking.get():
            return
        self.optimizers += 1
        self._optimizers.append(weakref.ref(optimizer))

    def sees(self, model: Any, learning: bool) -> bool:
        """An outermost module is called. Whether others may still come: an optimiser was made whose
        model was not called yet, or none was made."""
        if looking.get():
            return True
        self.called = True
        if learning and id(model) not in self._known:
            self._begin(model)
        used = {id(watch.optimizer) for watch in self.watches}
        waiting = [o for o in self._alive() if id(o) not in used]
        return bool(waiting) or not used - {id(None)}

    def _begin(self, model: Any) -> None:
        if not any(p.requires_grad for p in model.parameters()):
            return
        self._known.add(id(model))
        try:
            watch = Watch(framework_of(model), model, self._optimizer_of(model))
        except Exception as error:  # it cannot be copied; the script is not to notice
            print(f"chainrule: {type(model).__name__} is not watched: {error}", file=sys.stderr)
            return
        self.watches.append(watch)
        self._stack.enter_context(watch)

    def _alive(self) -> list[Any]:
        return [o for ref in self._optimizers if (o := ref()) is not None]

    def _optimizer_of(self, model: Any) -> Any:
        """The optimiser that holds most of the model's parameters; the newest where none does."""
        own = {id(p) for p in model.parameters()}

        def held(optimizer: Any) -> int:
            return sum(id(p) in own for g in optimizer.param_groups for p in g["params"])

        return max(reversed(self._alive()), key=held, default=None)


class _Calls(debug.Watcher):
    """chainrule's modules, when they are called."""

    def __init__(self, watching: Watching) -> None:
        self.watching = watching
        self.traced: list[Any] = []

    def calling(self, scope: Any) -> None:
        if scope.parent is None:
            self.watching.sees(scope.module, state.depth != OFF)

    def tracing(self, scope: Any) -> None:
        if scope.parent is None:
            self.traced.append(scope.module)

    def running(self, function: Any, traced: Any, args: tuple, kwargs: dict) -> None:
        """A compiled function runs natively: what modules it calls was seen when it was traced."""
        written = {id(cell) for cell in traced.written}
        for module in self.traced:
            trained = any(id(p) in written for p in module.parameters())
            self.watching.sees(module, trained)
        self.traced.clear()


def _remembered(kind: Any, tell: Callable[[Any], None]) -> Callable[[], None]:
    """`tell(new)` of every new object of a class; returns what undoes it."""
    own = kind.__init__

    @wraps(own)
    def init(self: Any, *args: Any, **options: Any) -> None:
        own(self, *args, **options)
        tell(self)

    kind.__init__ = init

    def undo() -> None:
        kind.__init__ = own

    return undo


class _AfterImport:
    """Calls a function after a module was imported for the first time."""

    def __init__(self, name: str, then: Callable[[], None]) -> None:
        self.name, self.then = name, then

    def find_spec(self, name: str, path: Any = None, target: Any = None) -> Any:
        if name != self.name:
            return None
        self.leave()
        spec = importlib.util.find_spec(name)
        if spec is None or spec.loader is None:
            return spec
        own = spec.loader.exec_module

        def exec_module(module: Any) -> None:
            own(module)
            self.then()

        spec.loader.exec_module = exec_module  # type: ignore[method-assign]
        return spec

    def leave(self) -> None:
        if self in sys.meta_path:
            sys.meta_path.remove(self)
