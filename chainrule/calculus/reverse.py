"""Reverse mode: the chain rule from the output back, node by node, newest first."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from chainrule.errors import DTypeError, GradientError, ShapeError
from chainrule.ops.structure import permute_dims
from chainrule.places import show
from chainrule.tensor import debug
from chainrule.tensor.creation import as_operand
from chainrule.tensor.graph import (
    DERIVATIVE,
    FULL,
    OFF,
    Node,
    ancestors,
    changed,
    quiet,
    recording,
    state,
)
from chainrule.tensor.locate import explained
from chainrule.tensor.tensor import Tensor, another_handle, attach


def pull_back(
    output: Tensor,
    gradient: Tensor,
    targets: Sequence[Tensor],
    *,
    keep: bool,
    free: bool = False,
    through: bool = False,
) -> list[Tensor | None]:
    """The cotangents of `targets`, given that of `output`; None where no path leads to one.

    Args:
        output: any tensor that a derivative flows through.
        gradient: ∂L/∂output.
        targets: tensors with nodes, at which the walk ends.
        keep: record the derivative itself, so that it can be differentiated again.
        free: let the intermediate values go where the walk has passed.
        through: go on behind targets, to those that they were made of.
    """
    wanted = {id(target._node) for target in targets}
    found: dict[int, Tensor] = {}
    if output._node is not None and output._node.needs_grad:
        nodes = ancestors([output._node])
        useful = set(wanted)
        for node in reversed(nodes):
            if any(n is not None and id(n) in useful for n in node.inputs):
                useful.add(id(node))
        _walk(
            [node for node in reversed(nodes) if id(node) in useful],
            {output._node: gradient},
            lambda node, g: found.__setitem__(id(node), g),
            wanted,
            useful,
            keep,
            free,
            through,
        )
    return [found.get(id(target._node)) for target in targets]


def _walk(
    oldest_first: list[Node],
    cotangents: dict[Node, Tensor],
    deliver: Callable[[Node, Tensor], None],
    ends: set[int],
    useful: set[int] | None,
    keep: bool,
    free: bool,
    through: bool = False,
) -> None:
    own: set[Node] = set()  # whose cotangent is an array that nobody else holds
    plain = not keep and state.tracer is None and not debug.observers
    with recording(max(state.depth, DERIVATIVE) if keep else OFF), quiet():
        outer = debug.of
        try:
            while oldest_first:
                node = oldest_first.pop()
                gradient = cotangents.pop(node, None)
                if gradient is None:
                    continue
                if node.op is None or id(node) in ends or node.owner is not None:
                    # A sum hands one tensor to both operands; `a.grad *= 2` must not reach `b`'s.
                    deliver(node, another_handle(gradient))
                    if node.op is None or not through:
                        continue
                _check(node)
                debug.of = node
                wanted = node.wanted
                if useful is not None:
                    wanted = tuple(
                        [w and id(n) in useful for w, n in zip(wanted, node.inputs, strict=True)]
                    )
                if plain and _add(node, gradient, cotangents, own):
                    results: Sequence[Tensor | None] = ()
                else:
                    results = node.op.pull(node, gradient, wanted, keep, pull_back)
                for source, want, cotangent in zip(node.inputs, wanted, results, strict=False):
                    if want and source is not None and cotangent is not None:
                        if cotangent.shape != source.shape:
                            raise _wrong_shape(node, source, cotangent)
                        other = cotangents.get(source)
                        cotangents[source] = cotangent if other is None else other + cotangent
                if free:
                    node.saved = None
                    if state.tracer is None:
                        node.inputs = ()
        finally:
            debug.of = outer


def _add(node: Node, gradient: Tensor, cotangents: dict[Node, Tensor], own: set[Node]) -> bool:
    """Add the cotangent of a node's only operand to what there is; False where that cannot be."""
    add = getattr(node.op, "add_cotangent", None)
    if add is None:
        return False
    (source, *others), g = node.inputs, gradient._value
    if others or source is None or g is None or g.dtype != source.dtype:
        return False
    other = cotangents.get(source)
    total = None if other is None else other._value
    if other is not None and total is None:
        return False
    if total is None or source not in own:
        array = _zeros(source)
        if total is not None:
            np.copyto(array, total)
        cotangents[source], total = Tensor(array), array
        own.add(source)
    add(total, g, **node.attrs)
    return True


def _zeros(node: Node) -> np.ndarray:
    """Zeros in the memory order of a node's value, where permuting axes made it."""
    if node.op is not permute_dims:
        return np.zeros(node.shape, node.dtype)
    axes = node.attrs["axes"]
    return np.zeros([node.shape[i] for i in np.argsort(axes)], node.dtype).transpose(axes)


def _wrong_shape(node: Node, source: Node, cotangent: Tensor) -> GradientError:
    position = next(i for i, n in enumerate(node.inputs) if n is source)
    return GradientError(
        f"the derivative of `{node.op.name}`{_at(node)} in its operand {position} has the shape "
        f"{cotangent.shape}, and the operand {source.shape}. Usually a broadcast was not summed: "
        "write g.sum_to(operand.shape) in its vjp."
    )


def _check(node: Node) -> None:
    if node.saved is None:
        raise GradientError(
            f"a backward pass has been through `{node.op.name}`{_at(node)} before and let its "
            "intermediate values go. Call backward(retain_graph=True) the first time, or compute "
            "the loss again."
        )
    for cell, version in node.versions:
        if cell.version != version:
            raise GradientError(
                f"`{node.op.name}`{_at(node)} saved a parameter of shape {cell.shape} for its "
                f"derivative, and the parameter was written to since (version {version}, now "
                f"{cell.version}): the gradient would belong to neither. Call backward() before "
                "the optimiser's step, and compute the loss anew after it."
            )


def _at(node: Node) -> str:
    where = f" in `{node.scope.describe()}`" if node.scope is not None else ""
    place = show(node.place)
    return f"{where} ({place})" if place else where


def _deliver_to_owner(node: Node, gradient: Tensor) -> None:
    owner = node.owner() if node.owner is not None else None
    if owner is not None and state.batches and gradient._value is None:
        raise GradientError(
            "backward() inside of a function under vmap would give a parameter the gradient of one "
            "example of many. Write cr.vmap(cr.grad(loss), in_axes=...), with the parameters as an "
            "argument (nn.functional_call)."
        )
    if owner is not None:
        changed()
        owner._grad = gradient if owner._grad is None else owner._grad + gradient


@attach("backward")
@explained
def backward(
    self: Tensor, gradient: Any = None, *, create_graph: bool = False, retain_graph: bool = False
) -> None:
    """Put ∂self/∂p into `p.grad` of every parameter p, adding to what is there.

    Intermediate values are let go as the pass goes by, so that a second one is refused unless
    `retain_graph` or `create_graph` (which makes the gradients differentiable themselves) is set.

    Args:
        gradient: ∂L/∂self where self is not a single number; its shape is self's.

    Raises:
        GradientError: nothing that self was made of requires gradients; self is not a single
            number and no `gradient` was given; a saved value is gone or was written to.

    >>> import chainrule as cr
    >>> w = cr.asarray([1.0, 2.0], requires_grad=True)
    >>> (w * w).sum().backward()
    >>> w.grad
    tensor([2., 4.])
    """
    node = self._node
    if node is None or not node.needs_grad:
        raise GradientError(
            "backward() from a tensor that no derivative flows to: nothing that it was made of "
            "requires gradients, or it came through something without a derivative (argmax, a "
            "comparison, astype to integers, detach, no_grad). Use parameters, or set "
            "x.requires_grad = True before computing."
        )
    seed = _seed(self, gradient)
    if debug.watchers:
        debug.watched("going_back", self)
    keep = create_graph or state.depth == FULL or (self._value is None and state.tracer is None)
    _walk(
        ancestors([node])[::-1],
        {node: seed},
        _deliver_to_owner,
        set(),
        None,
        keep,
        free=not (retain_graph or keep),
    )


def _seed(output: Tensor, gradient: Any) -> Tensor:
    if gradient is None:
        if output.dtype.kind == "c":
            raise GradientError(
                f"backward() starts at a real number, and this tensor is {output.dtype}. Take "
                "abs() or .real first, or pass gradient=, ∂L/∂Re + i ∂L/∂Im of this tensor."
            )
        if output.size != 1:
            raise GradientError(
                f"backward() starts at a single number, and this tensor has the shape "
                f"{output.shape}. Write .sum() or .mean() first, or pass gradient= of that shape."
            )
        return Tensor(np.ones(output.shape, output.dtype))
    return matching(gradient, output, "the gradient handed to backward()", "the tensor")


def matching(value: Any, like: Tensor, what: str, whose: str) -> Tensor:
    """A value as a tensor of the shape and dtype of another; ShapeError where the shapes differ."""
    if isinstance(value, (bool, int, float, np.generic)):
        value = np.asarray(value, like.dtype)  # a plain number is not narrowed on the way
    found = as_operand(value)
    if found.shape != like.shape:
        raise ShapeError(
            f"{what} has the shape {found.shape}, and {whose} {like.shape}; they must be equal"
        )
    if found.dtype.kind == "c" and like.dtype.kind != "c":
        raise DTypeError(
            f"{what} is {found.dtype}, and {whose} {like.dtype}: of a real number it is real. "
            "Write .real"
        )
    return found if found.dtype == like.dtype else found.astype(like.dtype)
