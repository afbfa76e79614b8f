"""A training loop of chainrule's, followed: what it does is told to a `Watch`.

A step that is to be measured is recorded in full: the depth of recording is raised before its
forward pass and put back before the backward pass, so the graph that is read is the user's own. A
compiled function runs operation by operation for it.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING, Any

import numpy as np

from chainrule.lens.diagnose.frameworks.our_passes import read
from chainrule.lens.diagnose.layers import WEIGHTED
from chainrule.lens.diagnose.passes import LossFacts, Pass
from chainrule.lens.diagnose.rebuilt import aligned
from chainrule.places import Scope
from chainrule.probability.assumed import noted
from chainrule.tensor import debug
from chainrule.tensor.cell import Cell
from chainrule.tensor.graph import DERIVATIVE, FULL, OFF, no_grad, reachable, state
from chainrule.tensor.tensor import Tensor
from chainrule.tree import flatten

if TYPE_CHECKING:
    from chainrule.lens.diagnose.watch import Watch


@contextmanager
def following(watch: Watch) -> Iterator[None]:
    """See `Framework.following`."""
    depth, before = state.depth, debug.watchers
    with ExitStack() as stack:
        follower = Follower(watch, stack.enter_context(noted()))
        debug.watchers = (*before, follower)
        follower.ready()
        try:
            yield
        finally:
            try:
                follower.leave()
            finally:
                debug.watchers, state.depth = before, depth


class Follower(debug.Watcher):
    """What chainrule's hooks tell, in the terms of a `Watch`.

    Args:
        calls: the list to which losses note their calls.
    """

    def __init__(self, watch: Watch, calls: list[Any]) -> None:
        self.watch, self.calls = watch, calls
        self.model, self.optimizer = watch.model, watch.optimizer
        self.cells: dict[str, Cell] = dict(watch.model.named_parameters())
        self.ids = {id(cell) for cell in self.cells.values()}
        self.modules = {id(module) for module in watch.model.modules()}
        self.passed: list[tuple[Any, tuple, Any]] = []  # (module, arguments, result)
        self.version = self._version()
        self.parts: set[int] = set()  # compiled functions without a backward pass
        self.rehearsing = False  # a compiled function runs operation by operation, to be recorded
        self.given: list[np.ndarray] = []  # the arrays handed to it
        self.places: tuple[int, int] | None = None  # of x and y among them
        self.target_shape: tuple[int, ...] = ()  # of a row of y

    def ready(self) -> None:
        """Before a forward pass: record it in full, or not."""
        if state.depth == OFF or self.rehearsing:
            return
        watch = self.watch
        due = watch.due() or (watch.collecting and not watch.backwards)
        state.depth = FULL if due else DERIVATIVE

    def leave(self) -> None:
        """The end of the block: an update by hand after the last backward pass counts."""
        self._by_hand()

    # Told by modules

    def calling(self, scope: Scope) -> None:
        if id(scope.module) in self.modules and (
            scope.parent is None or id(scope.parent.module) not in self.modules
        ):
            self._by_hand()
            if not self.passed:
                self.calls.clear()
            self.ready()

    def called(self, scope: Scope, args: tuple, result: Any) -> None:
        if id(scope.module) not in self.modules:
            return
        if scope.parent is not None and id(scope.parent.module) in self.modules:
            return
        if state.depth == OFF:
            self.watch.evaluated(scope.module.training)  # type: ignore[attr-defined]
            return
        if not self.watch.backwards and len(self.passed) > 64:
            self.passed.clear()  # outputs that nobody learns from
        self.passed.append((scope.module, args, result))

    # Told by backward

    def going_back(self, loss: Tensor) -> None:
        node = loss._node
        full = node is not None and node.value is not None
        if full and state.depth == FULL:
            state.depth = DERIVATIVE
        if loss.size == 1 and self.passed and node is not None:
            behind = set(reachable([node]))
            mine = [p for p in self.passed if any(t._node in behind for t in _tensors(p[2]))]
            if mine:
                if full:
                    self._read(loss, mine)
                if not self.rehearsing:
                    self.watch.loss(float(loss.item()))
                self.passed.clear()
        if self.rehearsing:
            raise _Enough

    def _read(self, loss: Tensor, passed: list[tuple[Any, tuple, Any]]) -> None:
        module, args, result = next((p for p in passed if p[0] is self.model), passed[-1])
        x = _first_array(args if module is self.model else passed[0][1])
        if x is None:
            return
        watch, measured = self.watch, self.watch.due()
        with watch.measuring(), no_grad():
            run = read(
                self.model, x, None, result, loss, self.calls,
                training=self.model.training, gradients=measured,
            )  # fmt: skip
        if len([p for p in passed if p[0] is self.model]) > 1 or _behind_another(run):
            # Two outputs in one loss, or a loss of what another network makes of the output.
            run.facts, run.y = LossFacts("custom", prediction=run.output), None
        if measured:
            watch.saw(run, self._left())
        targets = aligned(run)
        if self.rehearsing:
            self._find_places(run.x, run.facts.target, targets)
        elif watch.collecting and not watch.backwards:
            watch.keep(x, targets)

    def _left(self) -> float:
        """The norm of the gradients that parameters of the optimiser hold."""
        held = self._held()
        parts = [
            p.grad.numpy() for p in self.cells.values() if id(p) in held and p.grad is not None
        ]
        return float(np.sqrt(sum(float(np.vdot(g, g)) for g in parts)))

    def _held(self) -> set[int]:
        if self.optimizer is None:
            return self.ids
        return {id(p) for group in self.optimizer.param_groups for p in group["params"]}

    # Told by optimisers

    def _mine(self, optimizer: Any) -> bool:
        if self.optimizer is not None:
            return optimizer is self.optimizer
        return any(id(p) in self.ids for g in optimizer.param_groups for p in g["params"])

    def stepping(self, optimizer: Any) -> None:
        if self.rehearsing:
            raise _Enough
        if self._mine(optimizer) and self.watch.recorded:
            held = self._held()
            self.watch.stepping(
                {
                    name: None if p.grad is None else p.grad.numpy()
                    for name, p in self.cells.items()
                    if id(p) in held
                }
            )

    def stepped(self, optimizer: Any) -> None:
        if self._mine(optimizer):
            self._stepped()

    def cleared(self, optimizer: Any) -> None:
        if self._mine(optimizer):
            self.watch.dropped()
            self.ready()

    def _stepped(self) -> None:
        self.watch.stepped()
        if self.optimizer is None:
            self.version = self._version()
        self.ready()

    def _version(self) -> int:
        return sum(cell.version for cell in self.cells.values())

    def _by_hand(self) -> None:
        """Without an optimiser: whether the parameters were written to since the backward pass."""
        if self.optimizer is None and self.watch.backwards and self._version() != self.version:
            self._stepped()

    # Told by compiled functions

    def entering(self, function: Any) -> None:
        if state.depth == FULL and id(function) not in self.parts:
            state.depth = DERIVATIVE  # it runs natively, and is looked at in `running`

    def running(self, function: Any, traced: Any, args: tuple, kwargs: dict) -> None:
        """Run the function itself up to its backward pass, recorded, and take all of it back."""
        due = self.watch.due() or (self.watch.collecting and self.places is None)
        if not due or self.rehearsing or id(function) in self.parts or state.depth == OFF:
            return
        leaves, _ = flatten([list(args), kwargs])
        self.given = [a for a in map(_array, leaves) if a is not None]
        depth, scope, self.rehearsing = state.depth, state.scope, True
        self.passed.clear()
        try:
            with self.watch.measuring(), _taken_back(traced):
                state.depth = FULL
                function.__wrapped__(*args, **kwargs)
            self.parts.add(id(function))  # it has no backward pass of its own
        except _Enough:
            pass
        finally:
            state.depth, state.scope, self.rehearsing = depth, scope, False
            self.passed.clear()

    def ran(self, traced: Any, tensors: Sequence[Tensor], result: Any) -> None:
        if not any(id(cell) in self.ids for cell in traced.written):
            return
        watch = self.watch
        if watch.collecting and self.places is not None:
            arrays = [t._value for t in tensors]
            if max(self.places) < len(arrays):
                x, y = (np.asarray(arrays[i]) for i in self.places)
                watch.keep(x, y.reshape(len(y), *self.target_shape))
        number = next((t for t in _tensors(result) if t.size == 1 and t.dtype.kind == "f"), None)
        watch.loss(float("nan") if number is None else float(number.item()))
        self._stepped()

    def _find_places(self, x: np.ndarray, y: np.ndarray | None, targets: np.ndarray | None) -> None:
        """Which of a compiled function's arguments are inputs and targets."""
        if y is None or targets is None or y.size != targets.size:
            return
        found = []
        for wanted in (x, y):
            same = [i for i, a in enumerate(self.given) if np.shares_memory(a, wanted)]
            alike = [i for i, a in enumerate(self.given)
                     if a.shape == wanted.shape and a.dtype.kind == wanted.dtype.kind]  # fmt: skip
            if not same and len(alike) != 1:
                return
            found.append((same or alike)[0])
        self.places, self.target_shape = (found[0], found[1]), targets.shape[1:]


class _Enough(BaseException):
    """Ends a rehearsal at its backward pass, past the user's own `except Exception`."""


@contextmanager
def _taken_back(traced: Any) -> Iterator[None]:
    """Afterwards all that a compiled function changes is as it was before, to the bit."""
    cells = [(cell, cell.numpy(copy=True), cell.version) for cell in traced.written
             if cell.grad is None and not cell.requires_grad]  # fmt: skip
    handles = [where() for where, _ in traced.replaced if not isinstance(where, int)]
    tensors = [(t, t._value, t._node, t._base) for t in handles if t is not None]
    attributes = [(holder, name, getattr(holder, name)) for holder, name, _ in traced.final]
    generators = [(generator, generator.state) for generator, _ in traced.draws]
    try:
        yield
    finally:
        for cell, value, version in cells:
            if cell.version != version:
                cell.assign(value)
                cell.version = version
        for tensor, value, node, base in tensors:
            tensor._value, tensor._node, tensor._base = value, node, base
        for holder, name, value in attributes:
            setattr(holder, name, value)
        for generator, before in generators:
            generator.state = before


def _behind_another(run: Pass) -> bool:
    """Whether weights that are not the model's stand between its output and the loss."""
    if run.output is None:
        return False
    reached = {run.output}
    for i in range(run.output + 1, len(run.ops)):
        op = run.ops[i]
        if reached.isdisjoint(s for s in op.inputs if s is not None):
            continue
        if op.name in WEIGHTED and not any(p in run.parameters for p in op.parameters):
            return True
        reached.add(i)
    return False


def _tensors(result: Any) -> list[Tensor]:
    if isinstance(result, Tensor):
        return [result]
    return [leaf for leaf in flatten(result)[0] if isinstance(leaf, Tensor)]


def _array(leaf: Any) -> np.ndarray | None:
    if isinstance(leaf, Tensor):
        return leaf._value
    return leaf if isinstance(leaf, np.ndarray) else None


def _first_array(args: tuple) -> np.ndarray | None:
    return next((a for a in map(_array, flatten(list(args))[0]) if a is not None and a.ndim), None)
