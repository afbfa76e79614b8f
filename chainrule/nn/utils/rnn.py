"""Sequences of several lengths in one batch: padded, or packed without the padding."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from chainrule.errors import CompileError, DTypeError, ShapeError
from chainrule.ops.indexing import take
from chainrule.ops.joining import concat, stack
from chainrule.ops.structure import moveaxis, reshape
from chainrule.tensor.creation import as_operand, full
from chainrule.tensor.graph import state
from chainrule.tensor.locate import located
from chainrule.tensor.tensor import Tensor


class PackedSequence(NamedTuple):
    """Sequences without padding: the first step of all, then the second of those that have one, …

    Made by `pack_padded_sequence` or `pack_sequence`, taken and given by RNN, LSTM and GRU.

    Attributes:
        data: (Σ lengths, …), the steps.
        batch_sizes: (longest length,), how many sequences have each step.
        sorted_indices: which sequence stands where, the longest first; None: as they were given.
        unsorted_indices: where each given sequence stands; None likewise.
    """

    data: Tensor
    batch_sizes: Tensor
    sorted_indices: Tensor | None = None
    unsorted_indices: Tensor | None = None


def lengths_of(packed: PackedSequence) -> np.ndarray:
    """How long each sequence is, the longest first."""
    sizes = _values(packed.batch_sizes, "batch_sizes")
    return (sizes[:, None] > np.arange(sizes[0])).sum(0)


@located
def pack_padded_sequence(
    input: Any, lengths: Any, batch_first: bool = False, enforce_sorted: bool = True
) -> PackedSequence:
    """Padded sequences, packed without the padding.

    Args:
        input: (longest length, batch, …), or (batch, longest length, …) with `batch_first`.
        lengths: (batch,), whole numbers of at least 1.
        enforce_sorted: refuse lengths that do not fall; otherwise they are sorted here, and what
            an RNN gives for them is put back in their order.

    Raises:
        ShapeError: there are other than `batch` lengths; one is 0 or longer than the input; they
            rise under `enforce_sorted`.
        DTypeError: they are no whole numbers.

    >>> import chainrule as cr
    >>> x = cr.asarray([[1.0, 10.0], [2.0, 0.0]])
    >>> packed = pack_padded_sequence(x, [2, 1])
    >>> packed.data.tolist(), packed.batch_sizes.tolist()
    ([1.0, 10.0, 2.0], [2, 1])
    """
    x = as_operand(input)
    if x.ndim < 2:
        raise ShapeError(f"padded sequences are (length, batch, …), not {x.shape}")
    x = moveaxis(x, 0, 1) if batch_first else x
    steps, batch = x.shape[:2]
    found = check_lengths(lengths, batch, steps, least=1)
    if not len(found):
        raise ShapeError("there is no sequence to pack: the batch is empty")
    order = np.argsort(-found, kind="stable")
    rising = np.flatnonzero(np.diff(found) > 0)
    if enforce_sorted and len(rising):
        i = int(rising[0])
        raise ShapeError(
            f"lengths fall from the longest on under enforce_sorted, and number {i + 1} "
            f"({found[i + 1]}) is longer than number {i} ({found[i]}). Write enforce_sorted=False, "
            "which sorts them and puts the results back in this order."
        )
    there = np.arange(found.max())[:, None] < found[order]
    flat = reshape(x, (steps * batch, *x.shape[2:]))
    places = (np.arange(found.max())[:, None] * batch + order)[there]
    packed = PackedSequence(take(flat, Tensor(places), axis=0), Tensor(there.sum(1)))
    if enforce_sorted:
        return packed
    return packed._replace(
        sorted_indices=Tensor(order), unsorted_indices=Tensor(np.argsort(order, kind="stable"))
    )


@located
def pad_packed_sequence(
    sequence: PackedSequence,
    batch_first: bool = False,
    padding_value: float = 0.0,
    total_length: int | None = None,
) -> tuple[Tensor, Tensor]:
    """(padded sequences, their lengths): `pack_padded_sequence` undone, in the order given there.

    Args:
        batch_first: give (batch, length, …) rather than (length, batch, …).
        padding_value: what stands behind the end of a sequence.
        total_length: how long to make them; the longest's length if left out.

    >>> import chainrule as cr
    >>> packed = pack_sequence([cr.asarray([1.0, 2.0]), cr.asarray([3.0])])
    >>> pad_packed_sequence(packed, batch_first=True)[0].tolist()
    [[1.0, 2.0], [3.0, 0.0]]
    """
    _check_packed(sequence)
    lengths = lengths_of(sequence)
    longest = int(lengths[0])
    if total_length is not None and total_length < longest:
        raise ShapeError(
            f"total_length {total_length} is shorter than the longest sequence, of {longest}"
        )
    order = sequence.unsorted_indices
    y = padded(sequence.data, lengths, longest if total_length is None else total_length,
               padding_value)  # fmt: skip
    if order is not None:
        y, lengths = take(y, order, axis=1), lengths[order.numpy()]
    return (moveaxis(y, 0, 1) if batch_first else y), Tensor(lengths)


def padded(data: Tensor, lengths: np.ndarray, steps: int, value: float = 0.0) -> Tensor:
    """(steps, batch, …) from packed data, whose lengths fall."""
    there = np.arange(steps)[:, None] < lengths
    places = np.full(there.shape, len(data))
    places[there] = np.arange(len(data))
    behind = full((1, *data.shape[1:]), value, dtype=data.dtype)
    return take(concat([data, behind], axis=0), Tensor(places), axis=0)


@located
def pack_sequence(sequences: Sequence[Any], enforce_sorted: bool = True) -> PackedSequence:
    """Sequences (length, …) of several lengths, packed.

    Raises:
        ShapeError: they differ in more than length; they get longer under `enforce_sorted`.

    >>> import chainrule as cr
    >>> pack_sequence([cr.asarray([1.0, 2.0]), cr.asarray([3.0])]).data.tolist()
    [1.0, 3.0, 2.0]
    """
    tensors = _sequences(sequences)
    lengths = [x.shape[0] for x in tensors]
    return pack_padded_sequence(pad_sequence(tensors), lengths, enforce_sorted=enforce_sorted)


@located
def unpack_sequence(packed: PackedSequence) -> list[Tensor]:
    """`pack_sequence` undone: a list of tensors (length, …).

    >>> import chainrule as cr
    >>> [x.tolist() for x in unpack_sequence(pack_sequence([[1.0, 2.0], [3.0]]))]
    [[1.0, 2.0], [3.0]]
    """
    return unpad_sequence(*pad_packed_sequence(packed))


@located
def pad_sequence(
    sequences: Sequence[Any],
    batch_first: bool = False,
    padding_value: float = 0.0,
    padding_side: str = "right",
) -> Tensor:
    """Sequences (length, …) as one tensor (longest, batch, …), filled up with `padding_value`.

    >>> import chainrule as cr
    >>> pad_sequence([[1.0, 2.0], [3.0]], batch_first=True)
    tensor([[1., 2.],
            [3., 0.]])
    """
    tensors = _sequences(sequences)
    if padding_side not in ("right", "left"):
        raise DTypeError(f'padding_side is "right" or "left", not {padding_side!r}')
    longest = max(x.shape[0] for x in tensors)
    filled = []
    for x in tensors:
        gap = full((longest - x.shape[0], *x.shape[1:]), padding_value, dtype=x.dtype)
        filled.append(concat([x, gap] if padding_side == "right" else [gap, x], axis=0))
    return stack(filled, axis=0 if batch_first else 1)


@located
def unpad_sequence(padded_sequences: Any, lengths: Any, batch_first: bool = False) -> list[Tensor]:
    """The sequences (length, …) of a padded batch, as a list.

    >>> import chainrule as cr
    >>> x = cr.asarray([[1.0, 2.0], [3.0, 0.0]])
    >>> [s.tolist() for s in unpad_sequence(x, [2, 1], batch_first=True)]
    [[1.0, 2.0], [3.0]]
    """
    x = as_operand(padded_sequences)
    x = x if batch_first else moveaxis(x, 0, 1)
    found = check_lengths(lengths, *x.shape[:2])
    return [x[i, : int(n)] for i, n in enumerate(found)]


def check_lengths(lengths: Any, batch: int, steps: int, least: int = 0) -> np.ndarray:
    """Lengths as an array, one for each of the batch and none beyond the steps."""
    given = as_operand(lengths) if not isinstance(lengths, Tensor) else lengths
    if given.dtype.kind not in "iu" and given.size:
        raise DTypeError(f"lengths are whole numbers, not {given.dtype}")
    if given.shape != (batch,):
        raise ShapeError(f"there is one length for each of {batch} sequences, not {given.shape}")
    found = _values(given, "lengths").astype(np.int64)
    wrong = np.flatnonzero((found < least) | (found > steps))
    if len(wrong):
        i = int(wrong[0])
        raise ShapeError(
            f"the length of sequence {i} is {found[i]}; lengths are {least} … {steps}, the steps "
            "of the input"
        )
    return found


def steps_within(lengths: Any, batch: int, steps: int) -> Tensor:
    """(steps, batch, 1): True at the steps that a sequence has."""
    given = as_operand(lengths)
    if _concrete(given):
        given = Tensor(check_lengths(given, batch, steps))
    elif given.shape != (batch,):
        raise ShapeError(f"there is one length for each of {batch} sequences, not {given.shape}")
    return Tensor(np.arange(steps).reshape(steps, 1, 1)) < reshape(given, (1, batch, 1))


def _concrete(x: Tensor) -> bool:
    """Whether the values now are those of every later run: nothing is being compiled."""
    return state.tracer is None and x._value is not None


def _values(x: Any, what: str) -> np.ndarray:
    x = as_operand(x)
    if not _concrete(x):
        raise CompileError(
            f"how long the packed sequences are decides about shapes, and {what} are not known "
            "while a function is traced. Pack outside of it, or give the padded batch to the layer "
            "with lengths=, whose shapes do not depend on them."
        )
    return x.numpy()


def _check_packed(sequence: Any) -> None:
    if not isinstance(sequence, PackedSequence):
        raise DTypeError(
            f"this takes a PackedSequence, as pack_padded_sequence gives it, not "
            f"{type(sequence).__name__}"
        )


def _sequences(sequences: Any) -> list[Tensor]:
    if not isinstance(sequences, (list, tuple)) or not sequences:
        raise DTypeError("sequences are a list of at least one tensor (length, …)")
    tensors = [as_operand(x) for x in sequences]
    first = tensors[0]
    for i, x in enumerate(tensors):
        if x.ndim == 0 or x.shape[1:] != first.shape[1:]:
            raise ShapeError(
                f"sequences are (length, …) and differ in length alone; number 0 is {first.shape}, "
                f"number {i} is {x.shape}"
            )
    return tensors
