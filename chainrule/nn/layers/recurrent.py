"""Recurrent networks: a state that is carried on from step to step of a sequence."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, ClassVar

from chainrule.errors import DTypeError, ShapeError
from chainrule.nn import init
from chainrule.nn.layers.layer import Layer, cast, positive
from chainrule.nn.module import Parameter
from chainrule.nn.utils.rnn import PackedSequence, lengths_of, padded, steps_within
from chainrule.ops.activation import relu
from chainrule.ops.choosing import where
from chainrule.ops.indexing import take
from chainrule.ops.joining import concat, stack
from chainrule.ops.linear_algebra import linear, matmul
from chainrule.ops.random import dropout
from chainrule.ops.recurrent import gru_update, lstm_update
from chainrule.ops.scan import scan
from chainrule.ops.structure import expand_dims, matrix_transpose, moveaxis, reshape
from chainrule.ops.trigonometry import tanh
from chainrule.tensor.creation import zeros
from chainrule.tensor.tensor import Tensor

State = tuple[Tensor, ...]  # (h,), or (h, c)


class _Recurrence(Layer):
    """What a cell and a whole recurrent network have in common: one step."""

    _gates: ClassVar[int] = 1
    _states: ClassVar[int] = 1
    hidden_size: int
    nonlinearity: str = "tanh"

    def _before(
        self, x: Tensor, weight: Tensor, b_ih: Tensor | None, b_hh: Tensor | None
    ) -> Tensor:
        """What comes in, through its weights: for all steps at once."""
        joined = b_ih
        if b_ih is not None and b_hh is not None and self._gates != 3:
            joined = b_ih + b_hh
        return linear(x, weight, joined)

    def _step(self, inside: Tensor, carry: State, weight: Tensor, b_hh: Tensor | None) -> State:
        """The state after a step; `weight` is (size of h, gates · hidden_size)."""
        through = matmul(carry[0], weight)
        size = self.hidden_size
        if self._gates == 4:
            both = lstm_update(inside + through, carry[1])
            return both[..., :size], both[..., size:]
        if self._gates == 3:
            return (gru_update(inside, through if b_hh is None else through + b_hh, carry[0]),)
        return ((tanh if self.nonlinearity == "tanh" else relu)(inside + through),)

    def _given_states(self, hx: Any, shapes: Sequence[tuple[int, ...]], like: Tensor) -> State:
        """The first states, zeros if none are given, in these shapes."""
        states = self._separate(hx, like)
        if states is None:
            return tuple(zeros(shape, dtype=like.dtype) for shape in shapes)
        for name, h, shape in zip("hc", states, shapes, strict=False):
            if h.shape != shape:
                raise ShapeError(f"the state {name} has the shape {h.shape}, and {shape} is needed")
        return states

    def _separate(self, hx: Any, like: Tensor) -> State | None:
        """What the user gives for a state, as one tensor or two."""
        if hx is None:
            return None
        if self._states == 1:
            if isinstance(hx, (tuple, list)) and hx and isinstance(hx[0], Tensor):
                raise DTypeError(f"the state of a {type(self).__name__} is one tensor, not a pair")
            hx = (hx,)
        elif not isinstance(hx, (tuple, list)) or len(hx) != 2:
            raise DTypeError(
                f"the state of an {type(self).__name__} is a pair (h, c), not {type(hx).__name__}"
            )
        return tuple(cast(h, like) for h in hx)

    def _draw(self) -> None:
        bound = 1 / math.sqrt(self.hidden_size)
        for parameter in self.parameters():
            init.uniform_(parameter, -bound, bound)


def _check_nonlinearity(nonlinearity: Any) -> str:
    if nonlinearity not in ("tanh", "relu"):
        raise DTypeError(f'nonlinearity is "tanh" or "relu", not {nonlinearity!r}')
    return nonlinearity


class _Network(_Recurrence):
    """Layers of recurrences over whole sequences."""

    bidirectional: bool
    num_layers: int

    def _build(
        self, input_size: int, hidden_size: int, num_layers: int, bias: bool, batch_first: bool,
        dropout: float, bidirectional: bool, proj_size: int = 0,
    ) -> None:  # fmt: skip
        self.input_size = positive(input_size, "input_size")
        self.hidden_size = size = positive(hidden_size, "hidden_size")
        self.num_layers = positive(num_layers, "num_layers")
        self.bias, self.batch_first = bool(bias), bool(batch_first)
        if isinstance(dropout, bool) or not isinstance(dropout, (int, float)):
            raise DTypeError(f"dropout is a probability from 0 to 1, not {dropout!r}")
        if not 0 <= dropout <= 1:
            raise DTypeError(f"dropout is a probability from 0 to 1, not {dropout!r}")
        self.dropout, self.bidirectional = dropout, bool(bidirectional)
        if positive(proj_size, "proj_size", 0) >= size:
            raise ShapeError(f"proj_size {proj_size} is smaller than hidden_size {size}, or 0")
        rows, out = self._gates * size, proj_size or size
        directions = 2 if bidirectional else 1
        for layer in range(num_layers):
            width = input_size if layer == 0 else out * directions
            for suffix in ("", "_reverse")[:directions]:
                shapes: dict[str, tuple[int, ...]] = {
                    "weight_ih": (rows, width), "weight_hh": (rows, out)
                }  # fmt: skip
                if bias:
                    shapes |= {"bias_ih": (rows,), "bias_hh": (rows,)}
                if proj_size:
                    shapes["weight_hr"] = (proj_size, size)
                for name, shape in shapes.items():
                    setattr(self, f"{name}_l{layer}{suffix}", Parameter(zeros(shape)))
        self._draw()

    def forward(self, input: Any, hx: Any = None, *, lengths: Any = None) -> tuple[Any, Any]:
        """(the last layer's h at every step, the last state of every layer).

        Args:
            input: (length, batch, input_size), or (batch, length, input_size) with `batch_first`,
                or one sequence (length, input_size); or a `PackedSequence`, for which the first
                result is one, too.
            hx: the first state, (num_layers · directions, batch, size); for an LSTM the pair
                (h, c). Zeros if left out.
            lengths: (batch,), how long each padded sequence is; what comes behind its end changes
                no state, and its results there are 0.

        Raises:
            ShapeError: another number of features, or a state of another shape.
        """
        if isinstance(input, PackedSequence):
            return self._forward_packed(input, hx, lengths)
        x = cast(input, self.any_parameter())
        order = "batch, length" if self.batch_first else "length, batch"
        if x.ndim not in (2, 3) or x.shape[-1] != self.input_size:
            raise ShapeError(
                f"{type(self).__name__} takes ({order}, {self.input_size}), or one sequence "
                f"(length, {self.input_size}), not {x.shape}"
            )
        if x.ndim == 2:
            if lengths is not None:
                raise ShapeError("lengths belong to a batch; cut one sequence off yourself")
            given = self._separate(hx, x)
            hx = None if given is None else _packed_up([expand_dims(h, 1) for h in given])
            y, last = self._run(x[:, None], hx, None)
            return y[:, 0], _packed_up([h[:, 0] for h in last])
        x = moveaxis(x, 0, 1) if self.batch_first else x
        steps, batch = x.shape[:2]
        there = None if lengths is None else steps_within(lengths, batch, steps)
        y, last = self._run(x, hx, there)
        return (moveaxis(y, 0, 1) if self.batch_first else y), _packed_up(last)

    def _forward_packed(self, packed: PackedSequence, hx: Any, lengths: Any) -> tuple[Any, Any]:
        if lengths is not None:
            raise ShapeError("a PackedSequence has its lengths already; leave lengths= out")
        data = cast(packed.data, self.any_parameter())
        if data.shape[1:] != (self.input_size,):
            raise ShapeError(
                f"{type(self).__name__} takes steps of {self.input_size} features, and the packed "
                f"data is {data.shape}"
            )
        given = self._separate(hx, data)
        if packed.sorted_indices is not None and given is not None:
            order = packed.sorted_indices
            hx = _packed_up([take(h, order, axis=1) if h.ndim == 3 else h for h in given])
        long = lengths_of(packed)
        steps, batch = int(long[0]), len(long)
        there = steps_within(long, batch, steps)
        y, last = self._run(padded(data, long, steps), hx, there)
        places = there.numpy().reshape(-1).nonzero()[0]
        flat = take(reshape(y, (steps * batch, y.shape[-1])), Tensor(places), axis=0)
        if packed.unsorted_indices is not None:
            last = [take(h, packed.unsorted_indices, axis=1) for h in last]
        return packed._replace(data=flat), _packed_up(last)

    def _run(self, x: Tensor, hx: Any, there: Tensor | None) -> tuple[Tensor, list[Tensor]]:
        """(h at every step, the last states) of time-major sequences."""
        directions = 2 if self.bidirectional else 1
        count, batch = self.num_layers * directions, x.shape[1]
        out = getattr(self, "proj_size", 0) or self.hidden_size
        shapes = [(count, batch, out), (count, batch, self.hidden_size)][: self._states]
        first = self._given_states(hx, shapes, x)
        ends: list[State] = []
        for layer in range(self.num_layers):
            if layer and self.training and self.dropout:
                x = dropout(x, self.dropout)
            results = []
            for suffix in ("", "_reverse")[:directions]:
                carry = tuple(h[len(ends)] for h in first)
                y, end = self._walk_through(x, carry, there, f"_l{layer}{suffix}")
                results.append(y)
                ends.append(end)
            x = results[0] if directions == 1 else concat(results, axis=-1)
        return x, [stack(states) for states in zip(*ends, strict=True)]

    def _walk_through(
        self, x: Tensor, carry: State, there: Tensor | None, suffix: str
    ) -> tuple[Tensor, State]:
        """(h at every step, the last state) of one layer in one direction."""
        b_ih, b_hh = (getattr(self, f"{n}{suffix}", None) for n in ("bias_ih", "bias_hh"))
        inside = self._before(x, getattr(self, f"weight_ih{suffix}"), b_ih, b_hh)
        weight = matrix_transpose(getattr(self, f"weight_hh{suffix}"))
        project = getattr(self, f"weight_hr{suffix}", None)
        turned = None if project is None else matrix_transpose(project)

        def step(before: State, given: Any) -> tuple[State, Tensor]:
            inputs, counts = given
            after = self._step(inputs, before, weight, b_hh)
            if turned is not None:
                after = (matmul(after[0], turned), *after[1:])
            if counts is None:
                return after, after[0]
            after = tuple(where(counts, a, b) for a, b in zip(after, before, strict=True))
            return after, where(counts, after[0], 0.0)

        last, y = scan(step, carry, (inside, there), reverse=suffix.endswith("_reverse"))
        return y, last


def _packed_up(states: list[Tensor]) -> Any:
    return states[0] if len(states) == 1 else tuple(states)


_SHARED = """
    Takes (length, batch, input_size) and gives (all h of the last layer, the last state), see
    `forward`. Compiled, each layer is one loop.

    Args:
        input_size: the features of each step.
        hidden_size: the size of the state.
        num_layers: how many, each on the h of the one before.
        bias: whether each product has one (two, as in PyTorch: bias_ih and bias_hh).
        batch_first: whether sequences are (batch, length, input_size); states are not.
        dropout: the probability with which what goes from layer to layer is dropped in training.
        bidirectional: whether a second state walks from the end to the start; its h stands behind
            the first one's.
"""
_WEIGHTS = """
    Attributes:
        weight_ih_l0, weight_hh_l0, bias_ih_l0, bias_hh_l0, …, for each layer, those of the other
            direction with `_reverse`; all drawn from U(−k, k) with k = 1/√hidden_size.
"""


class RNN(_Network):
    __doc__ = f"""Elman's network: h' = tanh(W_ih x + b_ih + W_hh h + b_hh) (Elman 1990, Finding
    structure in time).
{_SHARED}        nonlinearity: "tanh" or "relu".
{_WEIGHTS}
    >>> import chainrule as cr
    >>> y, h = RNN(3, 5)(cr.ones((7, 2, 3)))
    >>> y.shape, h.shape
    ((7, 2, 5), (1, 2, 5))
    """

    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        num_layers: int = 1,
        nonlinearity: str = "tanh",
        bias: bool = True,
        batch_first: bool = False,
        dropout: float = 0.0,
        bidirectional: bool = False,
    ) -> None:
        self.nonlinearity = _check_nonlinearity(nonlinearity)
        self._build(input_size, hidden_size, num_layers, bias, batch_first, dropout, bidirectional)


class GRU(_Network):
    __doc__ = f"""Gated recurrent units: h' = n + z (h − n), with n = tanh(W_in x + b_in + r (W_hn h
    + b_hn)), r = σ(W_ir x + b_ir + W_hr h + b_hr) and z the same with weights of its own (Cho et
    al. 2014, arXiv:1406.1078). Weights hold r, z and n behind one another.
{_SHARED}{_WEIGHTS}
    >>> import chainrule as cr
    >>> y, h = GRU(3, 5, bidirectional=True)(cr.ones((7, 2, 3)))
    >>> y.shape, h.shape
    ((7, 2, 10), (2, 2, 5))
    """

    _gates = 3

    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        num_layers: int = 1,
        bias: bool = True,
        batch_first: bool = False,
        dropout: float = 0.0,
        bidirectional: bool = False,
    ) -> None:
        self._build(input_size, hidden_size, num_layers, bias, batch_first, dropout, bidirectional)


class LSTM(_Network):
    __doc__ = f"""Long short-term memory: c' = σ(f) c + σ(i) tanh(g) and h' = σ(o) tanh(c'), where
    i, f, g and o are each W x + b + W h + b with weights of their own, which stand behind one
    another (Hochreiter, Schmidhuber 1997).
{_SHARED}        proj_size: if not 0, h' is multiplied by weight_hr (proj_size, hidden_size) (Sak et
            al. 2014, arXiv:1402.1128).
{_WEIGHTS}
    >>> import chainrule as cr
    >>> y, (h, c) = LSTM(3, 5, num_layers=2, batch_first=True)(cr.ones((2, 7, 3)))
    >>> y.shape, h.shape, c.shape
    ((2, 7, 5), (2, 2, 5), (2, 2, 5))
    """

    _gates, _states = 4, 2

    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        num_layers: int = 1,
        bias: bool = True,
        batch_first: bool = False,
        dropout: float = 0.0,
        bidirectional: bool = False,
        proj_size: int = 0,
    ) -> None:
        self.proj_size = proj_size
        self._build(
            input_size, hidden_size, num_layers, bias, batch_first, dropout, bidirectional,
            proj_size,
        )  # fmt: skip


class _Cell(_Recurrence):
    """One step, as a layer."""

    def _build(self, input_size: int, hidden_size: int, bias: bool) -> None:
        self.input_size = positive(input_size, "input_size")
        self.hidden_size = positive(hidden_size, "hidden_size")
        rows = self._gates * hidden_size
        self.weight_ih = Parameter(zeros((rows, input_size)))
        self.weight_hh = Parameter(zeros((rows, hidden_size)))
        self.bias_ih = Parameter(zeros((rows,))) if bias else None
        self.bias_hh = Parameter(zeros((rows,))) if bias else None
        self.bias = bool(bias)
        self._draw()

    def forward(self, input: Any, hx: Any = None) -> Any:
        """The next state.

        Args:
            input: (batch, input_size), or (input_size,).
            hx: the state, (batch, hidden_size), or (hidden_size,); for an LSTM the pair (h, c).
                Zeros if left out.
        """
        x = cast(input, self.any_parameter())
        if x.ndim not in (1, 2) or x.shape[-1] != self.input_size:
            raise ShapeError(
                f"{type(self).__name__} takes (batch, {self.input_size}) or ({self.input_size},), "
                f"not {x.shape}"
            )
        carry = self._given_states(hx, [(*x.shape[:-1], self.hidden_size)] * self._states, x)
        inside = self._before(x, self.weight_ih, self.bias_ih, self.bias_hh)
        after = self._step(inside, carry, matrix_transpose(self.weight_hh), self.bias_hh)
        return _packed_up(list(after))


class RNNCell(_Cell):
    """One step of an `RNN`: h' = tanh(W_ih x + b_ih + W_hh h + b_hh).

    Args:
        input_size: the features of what comes in.
        hidden_size: the size of the state.
        bias: whether there are b_ih and b_hh.
        nonlinearity: "tanh" or "relu".

    >>> import chainrule as cr
    >>> RNNCell(3, 5)(cr.ones((2, 3))).shape
    (2, 5)
    """

    def __init__(
        self, input_size: int, hidden_size: int, bias: bool = True, nonlinearity: str = "tanh"
    ) -> None:
        self.nonlinearity = _check_nonlinearity(nonlinearity)
        self._build(input_size, hidden_size, bias)


class GRUCell(_Cell):
    """One step of a `GRU`: takes (x, h) and gives h'.

    >>> import chainrule as cr
    >>> GRUCell(3, 5)(cr.ones((2, 3))).shape
    (2, 5)
    """

    _gates = 3

    def __init__(self, input_size: int, hidden_size: int, bias: bool = True) -> None:
        self._build(input_size, hidden_size, bias)


class LSTMCell(_Cell):
    """One step of an `LSTM`: takes (x, (h, c)) and gives (h', c').

    >>> import chainrule as cr
    >>> h, c = LSTMCell(3, 5)(cr.ones((2, 3)))
    >>> h.shape, c.shape
    ((2, 5), (2, 5))
    """

    _gates, _states = 4, 2

    def __init__(self, input_size: int, hidden_size: int, bias: bool = True) -> None:
        self._build(input_size, hidden_size, bias)
