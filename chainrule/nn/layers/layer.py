"""Layer: a module that can say how it was made, and so be shown, saved and made again."""

from __future__ import annotations

import inspect
import operator
from collections.abc import Callable
from typing import Any, ClassVar

from chainrule.errors import DTypeError
from chainrule.nn.module import Module, Parameter
from chainrule.tensor import dtypes
from chainrule.tensor.creation import as_operand
from chainrule.tensor.locate import Explained
from chainrule.tensor.tensor import Tensor


class Layer(Module, Explained):
    """A module of the library. Each argument of its constructor is an attribute of that name.

    (`bias=True` is the exception that PyTorch made: the attribute is the parameter, or None.)
    """

    def configuration(self) -> dict[str, Any]:
        """The arguments that make such a layer, read back from its attributes."""
        found = {}
        for name, parameter in inspect.signature(type(self)).parameters.items():
            value = getattr(self, name, parameter.default)
            if isinstance(parameter.default, bool) and not isinstance(value, bool):
                value = value is not None
            found[name] = value
        return found

    def any_parameter(self) -> Parameter:
        """The first parameter: its dtype is the layer's. It is read as it is, while a weight may
        be computed each time (`nn.utils.parametrize`)."""
        return next(self.parameters())

    def extra_repr(self) -> str:
        """The arguments without a default, and those that differ from theirs."""
        parameters = inspect.signature(type(self)).parameters
        return ", ".join(
            f"{name}={value!r}"
            for name, value in self.configuration().items()
            if value is not (default := parameters[name].default)
            and (hasattr(value, "shape") or value != default)
        )


class FunctionLayer(Layer):
    """A layer that is one function: `class ReLU(FunctionLayer, function=relu)`.

    The function's parameters without a default are what `forward` takes; those with one are the
    arguments of the constructor.
    """

    function: ClassVar[Callable[..., Tensor]]
    _options: ClassVar[tuple[str, ...]]

    def __init_subclass__(cls, function: Callable[..., Tensor] | None = None, **rest: Any) -> None:
        super().__init_subclass__(**rest)
        if function is None:
            return
        cls.function = staticmethod(function)
        options = [p for p in inspect.signature(function).parameters.values() if _optional(p)]
        cls._options = tuple(p.name for p in options)
        cls.__signature__ = inspect.Signature(options)  # type: ignore[attr-defined]
        cls.__doc__ = cls.__doc__ or function.__doc__

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        bound = inspect.signature(type(self)).bind(*args, **kwargs)
        bound.apply_defaults()
        for name, value in bound.arguments.items():
            setattr(self, name, value)

    def forward(self, *operands: Any) -> Tensor:
        function = type(self).function
        if not self._options:
            return function(*operands)
        return function(*operands, **{name: getattr(self, name) for name in self._options})


def _optional(parameter: inspect.Parameter) -> bool:
    return parameter.default is not parameter.empty


def cast(x: Any, like: Tensor) -> Tensor:
    """x as a tensor; real floating-point numbers in the dtype of a layer's parameter."""
    if not isinstance(x, Tensor):
        x = as_operand(x)
    dtype, wanted = x.dtype, like.dtype
    if dtype == wanted or not dtypes.is_float(dtype) or "c" in (dtype.kind, wanted.kind):
        return x
    return x.astype(wanted)


def positive(value: Any, what: str, least: int = 1) -> int:
    """A whole number of at least `least`; DTypeError says of which argument it is not one."""
    try:
        number = least - 1 if isinstance(value, bool) else operator.index(value)
    except TypeError:
        number = least - 1
    if number < least:
        raise DTypeError(f"{what} is a whole number of at least {least}, not {value!r}")
    return number
