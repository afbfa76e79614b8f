"""The Tensor: a handle to an immutable value and to the node that made it.

Operations are not known here. A declaration in `ops/` names the operator or the method that it
serves, and puts itself on the class.
"""

from __future__ import annotations

import inspect
import sys
import weakref
from typing import TYPE_CHECKING, Any

import numpy as np

from chainrule.errors import ChainruleError, DataError, DTypeError, GradientError, ShapeError
from chainrule.tensor import dtypes
from chainrule.tensor.graph import Node, changed, constant, leaf, state
from chainrule.tensor.locate import explained

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from chainrule.tensor.cell import Cell


def _short(value: Any) -> str:
    text = repr(value)
    return text if len(text) < 60 else "..."


_API_VERSIONS = ("2021.12", "2022.12", "2023.12", "2024.12", "2025.12")
API_VERSION = _API_VERSIONS[-1]
"""The version of the Array API standard that the library follows."""


class Tensor:
    """An n-dimensional array whose every operation knows its derivative.

    Make one with `chainrule.asarray`, `zeros`, `arange` and their like. The value never changes;
    `x[i] = v` and `x += y` give the handle a new value, which other handles do not see.

    Attributes of the Array API standard (`shape`, `dtype`, `ndim`, `size`, `T`, `mT`, `device`),
    `grad` and `requires_grad` as in PyTorch.
    """

    __slots__ = ("__weakref__", "_base", "_grad", "_node", "_value")
    __array_ufunc__ = None  # ndarray * tensor asks the tensor

    _value: np.ndarray | None
    _node: Node | None
    _grad: Tensor | None
    _base: Cell | None

    if TYPE_CHECKING:
        # Operators and methods are put on the class by the declarations in `ops/`.
        real: Tensor
        imag: Tensor

        def __getattr__(self, name: str) -> Callable[..., Tensor]: ...
        def __add__(self, other: Any) -> Tensor: ...
        def __radd__(self, other: Any) -> Tensor: ...
        def __sub__(self, other: Any) -> Tensor: ...
        def __rsub__(self, other: Any) -> Tensor: ...
        def __mul__(self, other: Any) -> Tensor: ...
        def __rmul__(self, other: Any) -> Tensor: ...
        def __truediv__(self, other: Any) -> Tensor: ...
        def __rtruediv__(self, other: Any) -> Tensor: ...
        def __floordiv__(self, other: Any) -> Tensor: ...
        def __mod__(self, other: Any) -> Tensor: ...
        def __pow__(self, other: Any) -> Tensor: ...
        def __rpow__(self, other: Any) -> Tensor: ...
        def __matmul__(self, other: Any) -> Tensor: ...
        def __rmatmul__(self, other: Any) -> Tensor: ...
        def __neg__(self) -> Tensor: ...
        def __pos__(self) -> Tensor: ...
        def __abs__(self) -> Tensor: ...
        def __invert__(self) -> Tensor: ...
        def __and__(self, other: Any) -> Tensor: ...
        def __or__(self, other: Any) -> Tensor: ...
        def __xor__(self, other: Any) -> Tensor: ...
        def __eq__(self, other: Any) -> Tensor: ...  # type: ignore[override]
        def __ne__(self, other: Any) -> Tensor: ...  # type: ignore[override]
        def __lt__(self, other: Any) -> Tensor: ...
        def __le__(self, other: Any) -> Tensor: ...
        def __gt__(self, other: Any) -> Tensor: ...
        def __ge__(self, other: Any) -> Tensor: ...
        def __getitem__(self, key: Any) -> Tensor: ...
        def __setitem__(self, key: Any, value: Any) -> None: ...
        def backward(
            self, gradient: Any = None, *, create_graph: bool = False, retain_graph: bool = False
        ) -> None: ...

    def __init__(self, value: np.ndarray | None, node: Node | None = None) -> None:
        if (
            type(value) is not np.ndarray
            and (node is None or value is not None)
            and not hasattr(value, "dtype")
        ):
            raise DTypeError(f"Tensor has no constructor; write cr.asarray({_short(value)})")
        self._value = value
        self._node = node
        self._grad = None
        self._base = None

    # Shape and dtype

    @property
    def shape(self) -> tuple[int, ...]:
        value = self._value
        return value.shape if value is not None else self._node.shape  # type: ignore[union-attr]

    @property
    def dtype(self) -> np.dtype:
        value = self._value
        return value.dtype if value is not None else self._node.dtype  # type: ignore[union-attr]

    @property
    def ndim(self) -> int:
        return len(self.shape)

    @property
    def size(self) -> int:
        n = 1
        for length in self.shape:
            n *= length
        return n

    @property
    def device(self) -> str:
        """Where the value lives; only "cpu" for now."""
        return "cpu"

    @explained
    def to_device(self, device: str, /, *, stream: object = None) -> Tensor:
        """The tensor itself, for "cpu"; DataError, a ValueError, for any other device."""
        if not (isinstance(device, str) and device == "cpu"):
            raise DataError(f"there is no device {device!r}; chainrule runs on 'cpu'")
        return self

    # Derivatives

    @property
    def requires_grad(self) -> bool:
        """Whether derivatives flow through this tensor; set it to True on one you made yourself."""
        return self._node is not None and self._node.needs_grad

    @requires_grad.setter
    def requires_grad(self, wanted: bool) -> None:
        if state.tracer is not None and state.tracer.sets_requires_grad(self, wanted):
            return
        if state.batches and self._value is None:
            if wanted == self.requires_grad:
                return
            raise GradientError(
                "requires_grad cannot be set on one example of a function under vmap. Write "
                "cr.vmap(cr.grad(f)) for the gradient of each example."
            )
        if self._node is not None and self._node.op is not None:
            if wanted == self.requires_grad:
                return
            raise GradientError(
                f"requires_grad cannot be changed on the result of `{self._node.op.name}`, only on "
                "a tensor that you made yourself. Write x.detach() to stop derivatives here."
            )
        if not wanted:
            self._node = None
        elif not dtypes.is_float(self.dtype):
            raise GradientError(
                f"a tensor of {self.dtype} cannot require gradients: derivatives need a "
                "floating-point dtype. Write x.astype(cr.float32) first."
            )
        elif self._node is None or not self._node.needs_grad:
            self._node = leaf(self.shape, self.dtype, self)
        changed()

    @explained
    def requires_grad_(self, wanted: bool = True) -> Tensor:
        """Set `requires_grad` and return the tensor, as PyTorch has it."""
        self.requires_grad = wanted
        return self

    @property
    def grad(self) -> Tensor | None:
        """∂L/∂self, between `L.backward()` and the optimiser's step; None before."""
        if state.tracer is not None:
            state.tracer.touch(self)
        return self._grad

    @grad.setter
    def grad(self, value: Tensor | None) -> None:
        if value is not None:
            if not isinstance(value, Tensor):
                raise DTypeError(f"a gradient is a Tensor or None, not {type(value).__name__}")
            if value.shape != self.shape:
                raise ShapeError(
                    f"a gradient has the shape of its tensor, {self.shape}, not {value.shape}"
                )
        if state.tracer is not None:
            state.tracer.touch(self)
        changed()
        self._grad = value

    @property
    def is_leaf(self) -> bool:
        """Whether no operation made this tensor."""
        return self._node is None or self._node.op is None

    @explained
    def detach(self) -> Tensor:
        """The same value, through which no derivative flows.

        >>> import chainrule as cr
        >>> x = cr.asarray([1.0], requires_grad=True)
        >>> (x * 2).detach().requires_grad
        False
        """
        if self._value is None or state.tracer is not None:
            return another_handle(self).stop_gradient()
        result = Tensor(self._value)
        share(result, self)
        return result

    # Values

    def _concrete(self, purpose: str) -> np.ndarray:
        if state.tracer is not None:
            state.tracer.reads(self, purpose)
        if self._value is None:
            raise ChainruleError(
                f"{purpose} needs the value of a tensor, which does not exist while a function is "
                f"being traced: it has only a shape {self.shape} and a dtype {self.dtype}. "
                "Write cr.where instead of an `if` on a tensor."
            )
        return self._value

    @explained
    def numpy(self, *, copy: bool = False) -> np.ndarray:
        """The value as a NumPy array: a read-only view, or your own with `copy=True`.

        The view of a parameter is live: it shows what the optimiser writes.

        >>> import chainrule as cr
        >>> cr.asarray([1.0, 2.0]).numpy()
        array([1., 2.], dtype=float32)
        """
        value = self._concrete("numpy()")
        if copy:
            return value.copy()
        view = value.view()
        view.flags.writeable = False
        return view

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> np.ndarray:
        value = self.numpy(copy=bool(copy))
        if dtype is not None and value.dtype != np.dtype(dtype):
            if copy is False:
                raise DataError(f"{value.dtype} cannot become {np.dtype(dtype)} without a copy")
            return value.astype(dtype)
        return value

    @explained
    def __array_namespace__(self, *, api_version: str | None = None) -> Any:
        """The module whose functions take this tensor, by the Array API standard."""
        if api_version not in (None, *_API_VERSIONS):
            raise ChainruleError(
                f"there is no version {api_version!r} of the Array API here; there are "
                f"{', '.join(_API_VERSIONS)}, each a part of the next"
            )
        return sys.modules["chainrule"]

    def __dlpack__(
        self,
        *,
        stream: object = None,
        max_version: Any = None,
        dl_device: Any = None,
        copy: bool | None = None,
    ) -> Any:
        """The value for another framework; `copy=True` hands out a copy of its own.

        Without a copy it is marked as read-only where the consumer speaks DLPack 1.
        """
        if self.requires_grad:
            raise GradientError(
                "a tensor that requires gradients is not handed out through DLPack: what is done "
                "to it there would be missing from its derivative. Write x.detach() first."
            )
        value = self._concrete("DLPack")
        if max_version is not None and max_version[0] >= 1 and not copy:
            value = self.numpy()
        return value.__dlpack__(
            stream=stream, max_version=max_version, dl_device=dl_device, copy=copy
        )

    def __dlpack_device__(self) -> tuple[int, int]:
        return (1, 0)  # kDLCPU

    @explained
    def item(self) -> Any:
        """The one element as a Python number; ShapeError if there is not exactly one."""
        value = self._concrete("item()")
        if value.size != 1:
            raise ShapeError(
                f"item() is for a tensor of one element; this one has the shape {self.shape}. "
                "Write x.tolist() or x.numpy()."
            )
        return value.item()

    @explained
    def tolist(self) -> Any:
        """Nested Python lists of numbers."""
        return self._concrete("tolist()").tolist()

    def _scalar(self, kind: str) -> Any:
        value = self._concrete(f"{kind}()")
        if value.size != 1:
            raise ShapeError(
                f"{kind}() of a tensor needs one element, and this one has the shape {self.shape}. "
                "For a condition write .any() or .all(); element by element use & and | and "
                "cr.where."
            )
        return value.item()

    def __bool__(self) -> bool:
        return bool(self._scalar("bool"))

    def __int__(self) -> int:
        if self.dtype.kind == "c":
            raise DTypeError(f"int() is of a real number, and this is {self.dtype}; write x.real")
        return int(self._scalar("int"))

    def __float__(self) -> float:
        if self.dtype.kind == "c":
            raise DTypeError(f"float() is of a real number, and this is {self.dtype}; write x.real")
        return float(self._scalar("float"))

    def __complex__(self) -> complex:
        return complex(self._scalar("complex"))

    def __index__(self) -> int:
        if self.dtype.kind not in "iu":
            raise DTypeError(f"an index is a whole number, and this tensor is {self.dtype}")
        return int(self._scalar("index"))

    def __len__(self) -> int:
        if not self.shape:
            raise DTypeError("len() of a tensor without dimensions; it holds a single number")
        return self.shape[0]

    def __iter__(self) -> Iterator[Tensor]:
        for i in range(len(self)):
            yield self[i]

    def __hash__(self) -> int:
        return id(self)

    def __format__(self, spec: str) -> str:
        return format(self.item(), spec) if spec else str(self)

    def __repr__(self) -> str:
        if self._value is None or (state.tracer is not None and self._base is self):
            return f"tensor(traced, shape={self.shape}, dtype={self.dtype})"
        body = np.array2string(self._value, separator=", ", prefix="tensor(")
        extra = "" if self.dtype == dtypes.default_float else f", dtype={self.dtype}"
        return f"tensor({body}{extra}{', requires_grad=True' if self.requires_grad else ''})"

    def __copy__(self) -> Tensor:
        return self.detach()

    def __deepcopy__(self, memo: dict) -> Tensor:
        if not self.is_leaf:
            raise GradientError(
                f"the result of `{self._node.op.name}` belongs to a graph and cannot be "  # type: ignore[union-attr]
                "copied deeply. Write x.detach() first."
            )
        copied = Tensor(self._concrete("a copy").copy())
        copied.requires_grad = self.requires_grad
        return copied

    def __reduce__(self) -> Any:
        from chainrule.tensor.creation import asarray

        return asarray, (self.numpy(copy=True),)


def share(view: Tensor, base: Tensor) -> None:
    """Note that `view` may look into the storage of the cell that `base` looks into."""
    cell = base._base
    if cell is not None and view._value is not None:
        view._base = cell
        cell.live_views.append(weakref.ref(view))


def another_handle(tensor: Tensor) -> Tensor:
    """The same value and node; an update in place of one handle is not seen through the other."""
    if state.tracer is not None:
        tensor = state.tracer.lift(tensor)
    handle = Tensor(tensor._value, tensor._node)
    share(handle, tensor)
    return handle


def node_of(tensor: Tensor) -> Node:
    """The tensor's node, a constant where it has none."""
    if tensor._node is None:
        return constant(tensor._concrete("a constant"))
    return tensor._node


def attach(name: str) -> Callable[[Any], Any]:
    """Put a function on Tensor as the method or operator `name`; refuses to replace one."""

    def put(function: Any) -> Any:
        if name in Tensor.__dict__ and name not in ("__hash__", "__eq__"):
            raise RuntimeError(f"Tensor.{name} is taken by {Tensor.__dict__[name]!r}")
        inner = inspect.unwrap(function)
        if inspect.isfunction(inner):  # messages of Python's have these names
            inner.__name__, inner.__qualname__ = name, f"Tensor.{name}"
        setattr(Tensor, name, function)
        return function

    return put
