"""What tracing a function gives: nodes, what their leaves stand for, and what is written.

A `Program` is a piece of the one graph. Its nodes have no values, but for constants (`op is None`
and `value` is an array). The other leaves are its inputs, each with a source that says where its
value comes from at a call.
"""

from __future__ import annotations

import weakref
from dataclasses import dataclass, field

import numpy as np

from chainrule.tensor.generator import Stream as Stream
from chainrule.tensor.graph import Node, reachable
from chainrule.tensor.tensor import Tensor


@dataclass(frozen=True)
class Argument:
    """The array of the flattened tensor argument number `position` of this call.

    Shape and dtype are guarded. `name` is the function's own, to be shown. With `strides` (in
    elements) every call hands over an array that has them; otherwise they may be any.
    """

    position: int
    name: str = field(default="argument", compare=False)
    strides: tuple[int, ...] | None = None


@dataclass(frozen=True, eq=False)
class Storage:
    """Memory that stays where it is: of a cell, or of an optimiser's running value.

    Attributes:
        array: the C-contiguous array that holds the value, now and at every call.
        name: what it is called where the program is shown.
    """

    array: np.ndarray
    name: str


@dataclass(frozen=True, eq=False)
class Captured:
    """A tensor from outside that is no cell: its value is read at each call.

    Shape and dtype are guarded.
    """

    reference: weakref.ref[Tensor]
    name: str = "outside"

    def tensor(self) -> Tensor | None:
        """The tensor whose value is meant now; None where there is none any more."""
        return self.reference()


@dataclass(frozen=True, eq=False)
class Gradient(Captured):
    """The gradient that a tensor from outside has when the call begins."""

    def tensor(self) -> Tensor | None:
        owner = self.reference()
        return None if owner is None else owner._grad


@dataclass(frozen=True)
class Scalar:
    """One of the numbers that the host computes before each call; its node has no dimensions."""

    index: int

    @property
    def name(self) -> str:
        return f"n{self.index}"


Source = Argument | Storage | Captured | Scalar


@dataclass
class Program:
    """A function as a graph.

    An executable made of it has

        run(arrays, scalars, streams) -> list of arrays, one for each output

    with the arrays of the `Argument` and `Captured` inputs in the order of `inputs`, the `scalars`
    numbers, and for each stream (key as one number of 64 bits, counter).

    Attributes:
        inputs: each leaf that is no constant, and where its value comes from.
        outputs: what a call returns: any nodes, inputs and constants among them, one perhaps twice.
            They have their values from before the writes.
        writes: (storage, node): at the end, when everything has been read, the node's value is
            written there; shape and dtype are equal.
        scalars: how many numbers the host computes.
        streams: how many generators are drawn from. A random operation has the attributes
            `key=Stream(i)` and `counter`, the number of blocks after the counter of stream i.
        name: of the function, for messages.
    """

    inputs: list[tuple[Node, Source]]
    outputs: list[Node]
    writes: list[tuple[Storage, Node]] = field(default_factory=list)
    scalars: int = 0
    streams: int = 0
    name: str = "function"

    def nodes(self) -> list[Node]:
        """Every node that is needed, leaves too, in an order in which they can be computed."""
        return reachable([*self.outputs, *(node for _, node in self.writes)])
