"""Module: a network or a part of one, and the parameters and buffers that it holds.

A module keeps its parameters, buffers and submodules as ordinary attributes. What is asked of it
(`named_parameters`, `state_dict`, `train`) looks through them in the order in which they were
assigned, so there is nothing to register, and nothing breaks where a subclass forgets
`super().__init__()`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np

from chainrule.errors import ChainruleError, DTypeError
from chainrule.nn.state import Incompatible, load_state
from chainrule.places import Scope
from chainrule.tensor import debug, dtypes
from chainrule.tensor.cell import Cell
from chainrule.tensor.creation import as_operand
from chainrule.tensor.graph import changed, quiet, state
from chainrule.tensor.locate import FOREIGN, Explained, fail, tell
from chainrule.tensor.tensor import Tensor

Self = TypeVar("Self", bound="Module")
Kind = TypeVar("Kind")


class Parameter(Cell, Explained):
    """A tensor that training changes: the optimiser writes into its storage.

    Args:
        data: the first value, copied; Python floats become float32.
        requires_grad: whether gradients are wanted; False freezes it.

    Raises:
        GradientError: gradients are wanted of data that is not floating-point.

    >>> import chainrule as cr
    >>> w = Parameter([1.0, 2.0])
    >>> (w * w).sum().backward()
    >>> w.grad
    tensor([2., 4.])
    """

    __slots__ = ()

    def __init__(self, data: Any, requires_grad: bool = True) -> None:
        super().__init__(_value_of(data))
        self.requires_grad = requires_grad

    def __deepcopy__(self, memo: dict) -> Parameter:
        copied = memo[id(self)] = Parameter(self._value, self.requires_grad)
        return copied

    def __reduce__(self) -> Any:
        return Parameter, (self.numpy(copy=True), self.requires_grad)


class Buffer(Cell, Explained):
    """A tensor that belongs to a module and is saved with it, but is not trained.

    Args:
        data: the first value, copied; Python floats become float32.
        persistent: whether `state_dict` holds it.
    """

    __slots__ = ("persistent",)

    def __init__(self, data: Any, persistent: bool = True) -> None:
        super().__init__(_value_of(data))
        self.persistent = persistent

    def __deepcopy__(self, memo: dict) -> Buffer:
        copied = memo[id(self)] = Buffer(self._value, self.persistent)
        return copied

    def __reduce__(self) -> Any:
        return Buffer, (self.numpy(copy=True), self.persistent)


def _value_of(data: Any) -> np.ndarray:
    return as_operand(data)._concrete("a parameter or buffer")


class Module:
    """The base of every network and layer: subclass it and write `forward`.

    Parameters, buffers and submodules are the attributes that are `Parameter`, `Buffer` or
    `Module`; a list of modules goes into a `ModuleList`. Calling the module calls `forward`, and
    notes where it happens, so that an error names the path to the layer (`encoder.0.fc1`).

    Attributes:
        training: whether layers behave as in training (`train()`) or as in use (`eval()`).

    >>> import chainrule as cr
    >>> from chainrule import nn
    >>> class Net(nn.Module):
    ...     def __init__(self):
    ...         self.hidden = nn.Linear(4, 8)
    ...         self.out = nn.Linear(8, 2)
    ...     def forward(self, x):
    ...         return self.out(nn.relu(self.hidden(x)))
    >>> net = Net()
    >>> net(cr.ones((3, 4))).shape
    (3, 2)
    >>> [name for name, _ in net.named_parameters()]
    ['hidden.weight', 'hidden.bias', 'out.weight', 'out.bias']
    """

    training: bool = True

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        """What the module computes; every subclass writes its own."""
        raise ChainruleError(
            f"{type(self).__name__} has no forward. Write `def forward(self, x):` in the class; "
            "calling the module calls it."
        )

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        outer = state.scope
        state.scope = Scope(self, outer)
        if state.tracer is not None:
            state.tracer.saw(self)
        if debug.watchers:
            debug.watched("calling", state.scope)
        try:
            if state.quiet:
                result = self.forward(*args, **kwargs)
            else:
                with quiet():
                    result = self.forward(*args, **kwargs)
            if debug.observers:
                debug.tell_call(state.scope, args, result)
            if debug.watchers:
                debug.watched("called", state.scope, args, result)
            return result
        except ChainruleError as error:
            if getattr(error, "located", False):
                raise
            fail(type(self).__name__, error)
        except FOREIGN as error:
            kind = type(self)
            if not kind.__module__.startswith("chainrule."):
                raise
            tell(error, self.forward, args, kwargs)
        finally:
            state.scope = outer

    # Attributes

    if not TYPE_CHECKING:

        def __getattr__(self, name: str) -> Any:
            """A parameter that is computed from others (`nn.utils.parametrize`)."""
            computed = self.__dict__.get("parametrizations")
            if computed is not None and name in computed:
                return computed[name]()
            raise AttributeError(f"{type(self).__name__!r} object has no attribute {name!r}")

    def __setattr__(self, name: str, value: Any) -> None:
        if name in self.__dict__.get("parametrizations", ()):
            raise ChainruleError(
                f"{type(self).__name__}.{name} is computed from others, and cannot be set. Write "
                f"to module.parametrizations.{name}, or first make it an ordinary parameter with "
                f"nn.utils.parametrize.remove_parametrizations(module, {name!r})."
            )
        if isinstance(value, (Cell, Module)):
            if name == "training" or callable(getattr(type(self), name, None)):
                raise ChainruleError(
                    f"{type(self).__name__}.{name} is taken: it cannot hold a "
                    f"{type(value).__name__}. Choose another name."
                )
            if isinstance(value, Module):
                self._refuse_circle(name, value)
        elif isinstance(value, Tensor) and isinstance(self.__dict__.get(name), Cell):
            raise DTypeError(
                f"{type(self).__name__}.{name} is a {type(self.__dict__[name]).__name__}, and a "
                "plain tensor in its place would no longer be trained or saved. Write its values "
                f"with module.{name}.assign(value), or put nn.Parameter(value) in its place."
            )
        if state.tracer is not None:
            state.tracer.sets_attribute(self, name, value)
        changed()
        object.__setattr__(self, name, value)

    def _refuse_circle(self, name: str, value: Module) -> None:
        for path, module in value.named_modules():
            if module is self:
                inner = f"whose {path!r} is" if path else "which is"
                raise ChainruleError(
                    f"{type(self).__name__}.{name} cannot hold this {type(value).__name__}, "
                    f"{inner} the {type(self).__name__} again: a module cannot be inside of "
                    "itself. To refer to an outer module, keep it in a tuple: self.outer = (outer,)"
                )

    def add_module(self, name: str, module: Module | None) -> None:
        """Put a submodule under a name, as assigning the attribute does.

        Raises:
            DTypeError: it is no module, or the name is no text without dots.
        """
        if not isinstance(name, str) or not name or "." in name:
            raise DTypeError(f"a module's name is text without dots, not {name!r}")
        setattr(self, name, None if module is None else check_module(module, type(self).__name__))

    def register_parameter(self, name: str, parameter: Parameter | None) -> None:
        """Put a parameter under a name, as assigning the attribute does."""
        if parameter is not None and not isinstance(parameter, Parameter):
            raise DTypeError(f"{name} is to be a Parameter, not a {type(parameter).__name__}")
        setattr(self, name, parameter)

    def register_buffer(self, name: str, tensor: Any, persistent: bool = True) -> None:
        """Put a buffer under a name: `self.name = Buffer(tensor, persistent)`; None for none."""
        setattr(self, name, None if tensor is None else Buffer(tensor, persistent))

    # Looking through the attributes

    def _own(self, kind: type[Kind]) -> Iterator[tuple[str, Kind]]:
        for name, value in vars(self).items():
            if isinstance(value, kind):
                yield name, value

    def _walk(self, prefix: str) -> Iterator[tuple[str, Module]]:
        """(dotted name, module) for every path that leads to one, itself first."""
        yield prefix, self
        for name, child in self._own(Module):
            yield from child._walk(_join(prefix, name))

    def named_modules(self, prefix: str = "") -> Iterator[tuple[str, Module]]:
        """(dotted name, module), itself first and each module once."""
        return _once(self._walk(prefix))

    def modules(self) -> Iterator[Module]:
        """Itself and every module inside, each once."""
        return (module for _, module in self.named_modules())

    def named_children(self) -> Iterator[tuple[str, Module]]:
        """(name, module) of the modules directly inside, each once."""
        return _once(self._own(Module))

    def children(self) -> Iterator[Module]:
        """The modules directly inside, each once."""
        return (module for _, module in self.named_children())

    def _named(self, kind: type[Kind], prefix: str) -> Iterator[tuple[str, Kind]]:
        for path, module in self._walk(prefix):
            for name, value in module._own(kind):
                yield _join(path, name), value

    def named_parameters(self, prefix: str = "") -> Iterator[tuple[str, Parameter]]:
        """(dotted name, parameter), each parameter once, however many modules share it."""
        return _once(self._named(Parameter, prefix))

    def parameters(self) -> Iterator[Parameter]:
        """Every parameter once: what an optimiser takes."""
        return (parameter for _, parameter in self.named_parameters())

    def named_buffers(self, prefix: str = "") -> Iterator[tuple[str, Buffer]]:
        """(dotted name, buffer), each once."""
        return _once(self._named(Buffer, prefix))

    def buffers(self) -> Iterator[Buffer]:
        """Every buffer once."""
        return (buffer for _, buffer in self.named_buffers())

    # Changing the whole

    def apply(self: Self, function: Callable[[Module], Any]) -> Self:
        """Call `function` on every module inside, then on this one.

        >>> from chainrule import nn
        >>> net = nn.Sequential(nn.Linear(2, 2), nn.Linear(2, 1))
        >>> def zero(module):
        ...     if isinstance(module, nn.Linear):
        ...         nn.init.zeros_(module.weight)
        >>> net.apply(zero)[0].weight.tolist()
        [[0.0, 0.0], [0.0, 0.0]]
        """
        for module in reversed(list(self.modules())):
            function(module)
        return self

    def train(self: Self, mode: bool = True) -> Self:
        """Behave as in training: dropout drops, batch normalisation uses and tracks the batch."""
        self.training = bool(mode)
        for child in self.children():
            child.train(mode)
        return self

    def eval(self: Self) -> Self:
        """Behave as in use: nothing is dropped, batch normalisation uses what it tracked."""
        return self.train(False)

    def requires_grad_(self: Self, requires_grad: bool = True) -> Self:
        """Set `requires_grad` of every parameter; False freezes the module."""
        for parameter in self.parameters():
            parameter.requires_grad = requires_grad
        return self

    def zero_grad(self) -> None:
        """Forget the gradients of every parameter."""
        for parameter in self.parameters():
            parameter.grad = None

    def to(self: Self, target: Any) -> Self:
        """Convert the floating-point parameters and buffers to a dtype; "cpu" changes nothing.

        Parameters stay the same objects. What is computed with them follows, because layers cast
        floating-point input to their parameters' dtype.

        Raises:
            DTypeError: the dtype is not a real floating-point one.
            ValueError: a device other than "cpu".

        >>> import chainrule as cr
        >>> from chainrule import nn
        >>> nn.Linear(2, 1).to(cr.float64).weight.dtype
        dtype('float64')
        """
        if isinstance(target, str) and target.split(":")[0] in ("cpu", "cuda", "gpu", "mps"):
            if target != "cpu":
                raise ValueError(f"there is no device {target!r}; chainrule runs on 'cpu'")
            return self
        dtype = dtypes.as_dtype(target)
        if not dtypes.is_float(dtype) or dtype.kind == "c":
            raise DTypeError(
                f"parameters are converted to a real floating-point dtype, not {dtype}"
            )
        for _, cell in _once(self._named(Cell, "")):
            if dtypes.is_float(cell.dtype) and cell.dtype != dtype:
                convert(cell, dtype)
        return self

    # State

    def _state(self) -> Iterator[tuple[str, Cell]]:
        """(name, cell) of everything that is saved, in PyTorch's order."""
        for path, module in self._walk(""):
            for name, parameter in module._own(Parameter):
                yield _join(path, name), parameter
            for name, buffer in module._own(Buffer):
                if buffer.persistent:
                    yield _join(path, name), buffer

    def state_dict(self) -> dict[str, np.ndarray]:
        """name → a copy of the value, of every parameter and persistent buffer.

        Names and shapes are PyTorch's for the same architecture.

        >>> from chainrule import nn
        >>> {name: a.shape for name, a in nn.Sequential(nn.Linear(4, 2)).state_dict().items()}
        {'0.weight': (2, 4), '0.bias': (2,)}
        """
        return {name: cell.numpy(copy=True) for name, cell in self._state()}

    def load_state_dict(self, state_dict: Any, strict: bool = True) -> Incompatible:
        """Write values by name into the parameters and buffers.

        Everything is checked before anything is written, so a failure leaves the module as it was.

        Args:
            state_dict: name → NumPy array, tensor, or PyTorch tensor.
            strict: refuse missing and unexpected names; otherwise only shapes must fit.

        Returns:
            (missing_keys, unexpected_keys), two lists, empty under `strict`.

        Raises:
            CheckpointError: names that are missing, unexpected or hold another shape, all of them.
        """
        return load_state(f"this {type(self).__name__}", dict(self._state()), state_dict, strict)

    # Showing

    def extra_repr(self) -> str:
        """What stands between the brackets of `repr`; subclasses may say more."""
        return ""

    def __repr__(self) -> str:
        extra = self.extra_repr()
        children = [
            f"({name}): {child!r}".replace("\n", "\n  ") for name, child in self._own(Module)
        ]
        if not children:
            return f"{type(self).__name__}({extra})"
        lines = [*([extra] if extra else []), *children]
        return f"{type(self).__name__}(\n  " + "\n  ".join(lines) + "\n)"


def convert(cell: Cell, dtype: np.dtype) -> None:
    """Give a cell storage of another dtype; it stays the object that others hold."""
    changed()
    cell._value = cell.storage().astype(dtype)  # views of the old storage keep it
    if cell.grad is not None:
        cell.grad = cell.grad.astype(dtype)
    if cell.requires_grad:
        cell.requires_grad = False  # the leaf in the graph has a dtype, too
        cell.requires_grad = True


def _join(prefix: str, name: str) -> str:
    return f"{prefix}.{name}" if prefix else name


def _once(pairs: Iterator[tuple[str, Kind]]) -> Iterator[tuple[str, Kind]]:
    seen: set[int] = set()
    for name, value in pairs:
        if id(value) not in seen:
            seen.add(id(value))
            yield name, value


def check_module(module: Any, owner: str) -> Module:
    """The module itself; DTypeError says what to write for a class or a function."""
    if isinstance(module, Module):
        return module
    name = getattr(module, "__name__", type(module).__name__)
    hint = ""
    if isinstance(module, type) and issubclass(module, Module):
        hint = f" The class was given; make a layer of it with {name}(…)."
    elif callable(module):
        hint = f" For the function {name} there may be a layer, as nn.ReLU() for nn.relu; or write "
        hint += "a Module whose forward calls it."
    raise DTypeError(f"{owner} holds modules, and {name!r} is not one.{hint}")
