"""checkpoint: what a function computed on the way is computed again instead of kept."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from functools import wraps
from typing import Any

import numpy as np

from chainrule.calculus.transforms import require_function
from chainrule.ops.bodies import apart, common, flat, joined, kind
from chainrule.ops.composite import alias
from chainrule.ops.operation import Operation
from chainrule.places import user_place
from chainrule.tensor import dtypes
from chainrule.tensor.creation import as_operand
from chainrule.tensor.generator import Draws
from chainrule.tensor.graph import (
    DERIVATIVE,
    Node,
    describe_only,
    reachable,
    recording,
    state,
)
from chainrule.tensor.locate import explained
from chainrule.tensor.tensor import Tensor
from chainrule.tree import flatten


@explained
def checkpoint(f: Callable[..., Any]) -> Callable[..., Any]:
    """A function that computes the same as `f` and keeps nothing but its arguments for `backward`.

    When a derivative comes back, `f` runs once more, with the same random numbers, and is
    differentiated then: memory for time (Chen et al. 2016, arXiv:1604.06174). A network of n equal
    blocks, each of them checkpointed, keeps n inputs and the inside of one block, and costs a
    second forward pass.

    Derivatives flow to the arguments and to the parameters that `f` uses from around it. What it
    writes into buffers is written once. Where there is nothing to save it is `f` itself: in forward
    mode, and while a function is traced (inside of `vmap`; in `cr.compile`, which plans memory
    itself). Write `cr.checkpoint(cr.vmap(f))` to have both.

    Args:
        f: a function of tensors, or of nested dicts, lists and tuples of them, such as a module.

    >>> import chainrule as cr
    >>> block = cr.checkpoint(lambda x: cr.exp(cr.sin(x)))
    >>> round(cr.grad(block)(cr.asarray(0.0)).item(), 6)
    1.0
    """

    require_function(f, "checkpoint")

    @wraps(f, updated=())
    def checkpointed(*args: Any, **kwargs: Any) -> Any:
        leaves, rebuild = flatten([list(args), kwargs])
        traced = any(isinstance(x, Tensor) and x._value is None for x in leaves)
        if state.depth != DERIVATIVE or state.tracer is not None or traced:
            return f(*args, **kwargs)
        places = [
            i for i, x in enumerate(leaves) if isinstance(x, Tensor) and dtypes.is_float(x.dtype)
        ]

        def run(xs: Sequence[Tensor]) -> Any:
            full = list(leaves)
            for i, x in zip(places, xs, strict=True):
                full[i] = x
            positional, keywords = rebuild(full)
            return f(*positional, **keywords)

        return _recorded(run, [leaves[i] for i in places])

    return checkpointed


def _recorded(run: Callable[[Sequence[Tensor]], Any], xs: list[Tensor]) -> Any:
    """The results of `run`, as one node that keeps `xs`."""
    start = describe_only((), np.dtype(bool)).serial
    draws = Draws()
    with draws.recorded():
        fresh = [alias(x) if x.requires_grad else x.detach() for x in xs]
        result = run(fresh)
    found, rebuild = flatten(result)
    outputs: list[Any] = [as_operand(y) for y in found]
    places = [i for i, y in enumerate(outputs) if y.requires_grad]
    moving = [outputs[i] for i in places]
    if not moving:
        return result
    inside = reachable([y._node for y in moving], start)
    made = {x._node for x in fresh}
    free = read_from_outside(inside, made)
    versions = {pair for node in inside for pair in node.versions}
    kinds = [kind(y) for y in moving]
    value = flat([y.numpy() for y in moving], common(kinds))
    for i in places:
        outputs[i] = None  # nothing holds the graph that was recorded
    del result, found, fresh, inside, made, moving

    def again(operands: Sequence[Tensor]) -> Tensor:
        with draws.replayed():
            results = [as_operand(y) for y in flatten(run(operands))[0]]
        return joined([results[i] for i in places], common(kinds))

    nodes = tuple(x._node if x.requires_grad else None for x in xs) + tuple(free)
    node = Node(
        _checkpoint, nodes, {"again": again, "count": len(xs)}, value.shape, value.dtype, True
    )
    node.wanted = tuple(n is not None and n.needs_grad for n in nodes)
    node.saved = [*(x._value for x in xs), *free, None, None]
    node.versions = tuple(versions)
    node.place = user_place(2)
    for i, part in zip(places, apart(Tensor(value, node), kinds), strict=True):
        outputs[i] = part
    return rebuild(outputs)


def read_from_outside(nodes: Sequence[Node], given: Collection[Any] = ()) -> list[Node]:
    """What nodes that were just recorded read, that was there before and derivatives flow to.

    What stands for the arguments, `given`, reads them, which does not count.
    """
    inside = set(nodes)
    read = (n for node in nodes if node not in given for n in node.inputs)
    return list(
        dict.fromkeys(n for n in read if n is not None and n.needs_grad and n not in inside)
    )


class _Checkpoint(Operation):
    """Operands: the arguments, then what the function reads from around it. Its results lie flat
    behind one another; `again` computes them from the arguments."""

    kind = "checkpoint"
    display_only = True
    formula_text = "y = what the function computes"
    batching = None
    _operations = None

    def __init__(self) -> None:
        self.name = self.__name__ = self.lower = "checkpoint"

    def pull(
        self, node: Node, gradient: Tensor, wanted: tuple[bool, ...], keep: bool, walk: Any
    ) -> list[Tensor | None]:
        assert node.saved is not None
        count = node.attrs["count"]
        operands = [
            Tensor(entry, source if keep else None)
            for entry, source in zip(node.saved[:count], node.inputs[:count], strict=True)
        ]
        with recording(DERIVATIVE):
            fresh = [
                alias(x) if want else x for x, want in zip(operands, wanted[:count], strict=True)
            ]
            output = node.attrs["again"](fresh)
        targets = [*fresh, *(Tensor(None, n) for n in node.inputs[count:])]
        chosen = [t for t, want in zip(targets, wanted, strict=True) if want]
        found = iter(walk(output, gradient, chosen, keep=keep))
        return [next(found) if want else None for want in wanted]


_checkpoint = _Checkpoint()
