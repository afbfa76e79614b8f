"""Making tensors: from arrays, lists, buffers and DLPack, and filled ones."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from chainrule.errors import DataError, DTypeError, GradientError, OutOfMemoryError, ShapeError
from chainrule.tensor import dtypes
from chainrule.tensor.graph import OFF, state
from chainrule.tensor.locate import located
from chainrule.tensor.shapes import normalise_shape
from chainrule.tensor.tensor import Tensor

INTERNAL = ("as_operand", "beside", "check_device")


def check_device(device: Any) -> None:
    """DataError (a ValueError) for any device but the CPU."""
    if device is not None and not (isinstance(device, str) and device == "cpu"):
        raise DataError(f"there is no device {device!r}; chainrule runs on 'cpu'")


@located
def asarray(
    obj: Any,
    /,
    *,
    dtype: Any = None,
    device: Any = None,
    copy: bool | None = None,
    requires_grad: bool = False,
) -> Tensor:
    """A tensor from a Python number, nested lists, a buffer, a NumPy array, or DLPack.

    A NumPy array is copied, so that later writing to it does not reach the tensor; `copy=False`
    borrows it instead. Python floats become float32 unless `dtype` says otherwise; the dtype of an
    array is kept.

    Raises:
        DTypeError: the object holds no numbers.
        DataError: nested lists of unequal length.
        ValueError: `copy=False` where a copy is needed.

    >>> import chainrule as cr
    >>> cr.asarray([[1.0, 2.0], [3.0, 4.0]])
    tensor([[1., 2.],
            [3., 4.]])
    """
    check_device(device)
    wanted = None if dtype is None else dtypes.as_dtype(dtype)
    if isinstance(obj, Tensor):
        if wanted is not None and wanted != obj.dtype:
            if copy is False:
                raise DataError(f"{obj.dtype} cannot become {wanted} without a copy")
            tensor = obj.astype(wanted)
        else:
            tensor = obj.astype(obj.dtype) if copy else obj
        if requires_grad and not tensor.requires_grad:
            tensor = tensor.detach()
            tensor.requires_grad = True
        return tensor
    array = _to_numpy(obj, wanted, copy)
    tensor = Tensor(array)
    if requires_grad:
        tensor.requires_grad = True
    return tensor


def _to_numpy(obj: Any, wanted: np.dtype | None, copy: bool | None) -> np.ndarray:
    if isinstance(obj, (bool, int, float, complex)) and not isinstance(obj, np.generic):
        default = dtypes.bool_ if isinstance(obj, bool) else dtypes.scalar_dtype(obj, dtypes.bool_)
        try:
            return np.asarray(obj, dtype=wanted or default)
        except (OverflowError, ValueError):
            raise DTypeError(f"{obj} does not fit into {wanted or default}") from None
    if isinstance(obj, np.ndarray) or hasattr(obj, "__array_interface__"):
        array = np.asarray(obj)
        if wanted is not None and array.dtype != wanted:
            if copy is False:
                raise DataError(f"{array.dtype} cannot become {wanted} without a copy")
            _check_numbers(array, obj)
            dtypes.check_parts(array.dtype, wanted)
            with np.errstate(invalid="ignore"):  # a NaN becomes some whole number, as in NumPy
                return array.astype(wanted)
        _check_numbers(array, obj)
        if not array.dtype.isnative:
            array = array.astype(array.dtype.newbyteorder("="))
        return array if copy is False else np.array(array)
    if hasattr(obj, "__dlpack__"):
        array = _borrowed(obj)
        if wanted is None:
            return array if copy is False else array.copy()
        dtypes.check_parts(array.dtype, wanted)
        with np.errstate(invalid="ignore"):
            return array.astype(wanted)
    if isinstance(obj, (list, tuple)) and _holds_tensors(obj):
        obj = _unwrap(obj)
    is_buffer = isinstance(obj, (bytes, bytearray, memoryview)) or hasattr(obj, "typecode")
    try:
        array = np.asarray(obj)
    except ValueError as error:
        raise DataError(
            f"nested lists must all have the same lengths to form a tensor ({error})"
        ) from None
    if isinstance(obj, (bytes, bytearray)):
        array = np.frombuffer(obj, np.uint8)
    _check_numbers(array, obj)
    if wanted is None and not is_buffer and not _holds_numpy(obj):
        # Python numbers have no dtype of their own and take the defaults.
        if array.dtype == dtypes.float64:
            wanted = dtypes.default_float
        elif array.dtype == dtypes.complex128:
            wanted = dtypes.default_complex
    if copy is False:
        if is_buffer and (wanted is None or wanted == array.dtype):
            return array
        raise DataError(f"a {type(obj).__name__} cannot become a tensor without a copy")
    if wanted is not None:
        dtypes.check_parts(array.dtype, wanted)
        if wanted.kind in "iu" and not is_buffer:
            _check_fits(array, wanted)
    return np.array(array, dtype=wanted)


def _check_fits(array: np.ndarray, wanted: np.dtype) -> None:
    """Numbers that a user wrote out do not wrap around."""
    limits = np.iinfo(wanted)
    inside = (array >= limits.min) & (array < limits.max + 1)
    if not inside.all():
        raise DTypeError(f"{array[~inside][0]} does not fit into {wanted}")


def _holds_numpy(obj: Any) -> bool:
    while isinstance(obj, (list, tuple)) and obj:
        obj = obj[0]
    return isinstance(obj, (np.ndarray, np.generic))


def _holds_tensors(obj: Any) -> bool:
    """Whether a tensor is anywhere in nested lists."""
    if isinstance(obj, (list, tuple)):
        return any(map(_holds_tensors, obj))
    return isinstance(obj, Tensor)


def _unwrap(obj: Any) -> Any:
    if isinstance(obj, (list, tuple)):
        return [_unwrap(item) for item in obj]
    if isinstance(obj, Tensor) and obj.requires_grad and state.depth != OFF:
        raise GradientError(
            "asarray of a list of tensors would lose their derivatives. Write cr.stack([...]), "
            "or x.detach() for the values alone."
        )
    return obj.numpy() if isinstance(obj, Tensor) else obj


def _check_numbers(array: np.ndarray, obj: Any) -> None:
    if array.dtype.name not in dtypes.NAMES:
        raise DTypeError(
            f"a tensor holds numbers, and this {type(obj).__name__} became {array.dtype}. "
            "Encode text and categories as integers first; None is not a number."
        )


@located
def from_dlpack(x: Any, /, *, device: Any = None, copy: bool | None = None) -> Tensor:
    """A tensor that borrows the memory of another framework's array, without a copy.

    Writing to it there afterwards is at the caller's risk: a tensor's value is taken not to change.

    Raises:
        DTypeError: `x` does not speak DLPack, or holds a dtype that NumPy has not.
    """
    check_device(device)
    if not hasattr(x, "__dlpack__"):
        raise DTypeError(f"{type(x).__name__} does not offer __dlpack__; write cr.asarray")
    array = _borrowed(x)
    return Tensor(array.copy() if copy else array)


def _borrowed(x: Any) -> np.ndarray:
    """The array whose memory another framework's object offers."""
    try:
        return np.from_dlpack(x)
    except (RuntimeError, BufferError, TypeError) as error:
        raise DTypeError(
            f"this {type(x).__name__} cannot be taken through DLPack: {error}"
        ) from None


@located
def full(shape: Any, fill_value: Any, *, dtype: Any = None, device: Any = None) -> Tensor:
    """A tensor of one repeated number.

    >>> import chainrule as cr
    >>> cr.full((2, 2), 7.0)
    tensor([[7., 7.],
            [7., 7.]])
    """
    check_device(device)
    if isinstance(fill_value, Tensor) and fill_value.requires_grad and state.depth != OFF:
        raise GradientError(
            "full of a tensor would lose its derivative. Write cr.broadcast_to(x, shape), or "
            "x.item() for the number alone."
        )
    value = _to_numpy(fill_value, None if dtype is None else dtypes.as_dtype(dtype), None)
    if value.ndim:
        raise ShapeError(f"full repeats one number; fill_value has the shape {value.shape}")
    return Tensor(np.full(normalise_shape(shape), value))


def _float_or(dtype: Any) -> np.dtype:
    return dtypes.default_float if dtype is None else dtypes.as_dtype(dtype)


@located
def zeros(shape: Any, *, dtype: Any = None, device: Any = None) -> Tensor:
    """Zeros; float32 unless `dtype` says otherwise."""
    check_device(device)
    return Tensor(np.zeros(normalise_shape(shape), _float_or(dtype)))


@located
def ones(shape: Any, *, dtype: Any = None, device: Any = None) -> Tensor:
    """Ones; float32 unless `dtype` says otherwise."""
    check_device(device)
    return Tensor(np.ones(normalise_shape(shape), _float_or(dtype)))


@located
def empty(shape: Any, *, dtype: Any = None, device: Any = None) -> Tensor:
    """A tensor whose values nobody has set (they are zeros, so that no run depends on chance)."""
    return zeros(shape, dtype=dtype, device=device)


def _like(x: Any, dtype: Any) -> np.dtype:
    return x.dtype if dtype is None else dtypes.as_dtype(dtype)


@located
def zeros_like(x: Tensor, /, *, dtype: Any = None, device: Any = None) -> Tensor:
    """Zeros in the shape and dtype of `x`."""
    x = as_operand(x)
    return zeros(x.shape, dtype=_like(x, dtype), device=device)


@located
def ones_like(x: Tensor, /, *, dtype: Any = None, device: Any = None) -> Tensor:
    """Ones in the shape and dtype of `x`."""
    x = as_operand(x)
    return ones(x.shape, dtype=_like(x, dtype), device=device)


@located
def empty_like(x: Tensor, /, *, dtype: Any = None, device: Any = None) -> Tensor:
    """A tensor in the shape and dtype of `x` whose values nobody has set."""
    return zeros_like(x, dtype=dtype, device=device)


@located
def full_like(x: Tensor, /, fill_value: Any, *, dtype: Any = None, device: Any = None) -> Tensor:
    """One repeated number in the shape and dtype of `x`."""
    x = as_operand(x)
    return full(x.shape, fill_value, dtype=_like(x, dtype), device=device)


def _one_number(value: Any, name: str) -> Any:
    """A number, out of a tensor or an array where it is in one."""
    if isinstance(value, (Tensor, np.ndarray)) and value.size == 1:
        value = value.item()
    if not isinstance(value, (int, float, complex, np.number)):
        raise DTypeError(f"{name} takes numbers, not {value!r}")
    return value


def _plain_number(value: Any, name: str) -> Any:
    """A finite real number, out of a tensor or an array where it is in one."""
    value = _one_number(value, name)
    if not isinstance(value, (int, float, np.integer, np.floating)) or not math.isfinite(value):
        raise DTypeError(f"{name} takes finite real numbers, not {value!r}")
    return value


@located
def arange(
    start: Any, /, stop: Any = None, step: Any = 1, *, dtype: Any = None, device: Any = None
) -> Tensor:
    """Evenly spaced numbers from `start` (0 if alone) up to, without, `stop`.

    >>> import chainrule as cr
    >>> cr.arange(3)
    tensor([0, 1, 2], dtype=int64)
    """
    check_device(device)
    if stop is None:
        start, stop = 0, start
    start, stop, step = (_plain_number(v, "arange") for v in (start, stop, step))
    if step == 0:
        raise ShapeError("arange needs a step that is not 0")
    if dtype is None:
        whole = all(isinstance(v, (int, np.integer)) for v in (start, stop, step))
        dtype = dtypes.default_int if whole else dtypes.default_float
    dtype = dtypes.as_dtype(dtype)
    if dtype.kind in "iu":
        _check_range(start, stop, step, dtype)
    return Tensor(np.arange(start, stop, step, dtype=dtype))


def _check_range(start: Any, stop: Any, step: Any, dtype: np.dtype) -> None:
    """NumPy's arange wraps around, or is empty, where its ends do not fit into the dtype."""
    count = max(0, math.ceil((stop - start) / step))
    if count >= 2**48:
        raise OutOfMemoryError(f"{count} numbers do not fit into memory")
    limits = np.iinfo(dtype)
    for value in (start, start + (count - 1) * step) if count else ():
        if not limits.min <= value <= limits.max:
            raise DTypeError(f"{value} does not fit into {dtype}")


@located
def linspace(
    start: Any,
    stop: Any,
    /,
    num: int,
    *,
    dtype: Any = None,
    device: Any = None,
    endpoint: bool = True,
) -> Tensor:
    """`num` evenly spaced numbers from `start` to `stop`, without it if not `endpoint`.

    Of complex ends they are complex64, else float32, unless `dtype` says otherwise.

    Raises:
        DTypeError: an end is no number, or is complex and `dtype` is not; `num` is not whole.
        ShapeError: `num` is negative.

    >>> import chainrule as cr
    >>> cr.linspace(0.0, 1.0, 3)
    tensor([0. , 0.5, 1. ])
    """
    check_device(device)
    start, stop = _one_number(start, "linspace"), _one_number(stop, "linspace")
    if isinstance(num, bool) or not hasattr(num, "__index__"):
        raise DTypeError(f"num is how many there are, one of the whole numbers, not {num!r}")
    (num,) = normalise_shape(num)
    kind = _float_or(dtype)
    if isinstance(start, (complex, np.complexfloating)) or isinstance(
        stop, (complex, np.complexfloating)
    ):
        if dtype is None:
            kind = dtypes.default_complex
        elif kind.kind != "c":
            raise DTypeError(f"numbers between {start} and {stop} are complex, not {kind}")
    with np.errstate(all="ignore"):
        return Tensor(np.linspace(start, stop, num, endpoint=endpoint, dtype=kind))


@located
def eye(
    n_rows: int, n_cols: int | None = None, /, *, k: int = 0, dtype: Any = None, device: Any = None
) -> Tensor:
    """Ones on the k-th diagonal, zeros elsewhere."""
    check_device(device)
    n_rows, n_cols = normalise_shape((n_rows, n_rows if n_cols is None else n_cols))
    return Tensor(np.eye(n_rows, n_cols, k, dtype=_float_or(dtype)))


def beside(number: Any, x: Tensor) -> Tensor:
    """A Python number in the dtype that it has beside a tensor; DTypeError if it does not fit."""
    dtype = dtypes.scalar_dtype(number, x.dtype)
    try:
        return Tensor(np.asarray(number, dtype))
    except OverflowError:
        raise DTypeError(f"{number} does not fit into {dtype}") from None


def as_operand(x: Any) -> Tensor:
    """A tensor from whatever a user may hand to an operation; arrays are borrowed, not copied."""
    if isinstance(x, Tensor):
        return x
    if isinstance(x, np.ndarray):
        return asarray(x, copy=False if x.dtype.isnative else None)
    return asarray(x)


__all__ = [
    "arange",
    "asarray",
    "empty",
    "empty_like",
    "eye",
    "from_dlpack",
    "full",
    "full_like",
    "linspace",
    "ones",
    "ones_like",
    "zeros",
    "zeros_like",
]
