"""Parameters that are computed from others whenever they are read."""

from __future__ import annotations

from typing import Any

from chainrule.errors import ChainruleError, DTypeError, ShapeError
from chainrule.nn.layers.containers import ModuleDict, ModuleList
from chainrule.nn.module import Module, Parameter, check_module
from chainrule.tensor.locate import explained
from chainrule.tensor.tensor import Tensor


class ParametrizationList(ModuleList):
    """The parametrisations of one parameter, one after the other, and what they begin with.

    Attributes:
        original: the parameter that is trained; or original0, original1, … where the last
            parametrisation's `right_inverse` gives several.
    """

    def originals(self) -> list[Parameter]:
        """What is trained instead of the parameter."""
        return [p for _, p in self._own(Parameter)]

    def forward(self) -> Tensor:
        first, *rest = self
        value = first(*self.originals())
        for parametrization in rest:
            value = parametrization(value)
        return value


@explained
def register_parametrization(module: Module, tensor_name: str, parametrization: Module) -> Module:
    """Let a parameter of `module` be parametrization(what is trained) from now on.

    `module.weight` then is no parameter but a tensor, computed whenever it is read; what is trained
    and saved is `module.parametrizations.weight.original`. If the parametrisation has a
    `right_inverse`, training begins at right_inverse(weight), which may be a tuple of several
    tensors (original0, original1, …); otherwise at the weight itself. A second parametrisation of
    the same parameter takes what the first gives.

    Args:
        module: any module.
        tensor_name: the name of its parameter, such as "weight".
        parametrization: a module from the original(s) to the value.

    Returns:
        The module.

    Raises:
        ChainruleError: there is no such parameter.
        ShapeError: the value has another shape than the parameter.

    >>> import chainrule as cr
    >>> from chainrule import nn
    >>> class Symmetric(nn.Module):
    ...     def forward(self, x):
    ...         return cr.triu(x) + cr.triu(x, k=1).mT
    >>> layer = register_parametrization(nn.Linear(3, 3), "weight", Symmetric())
    >>> bool((layer.weight == layer.weight.mT).all())
    True
    """
    check_module(module, "register_parametrization")
    check_module(parametrization, "register_parametrization")
    name, kind = tensor_name, type(module).__name__
    if is_parametrized(module, name):
        chain = _chains(module)[name]
        value = chain()
        _check_shape(parametrization(value), value, name)
        chain.append(parametrization)
        return module
    parameter = vars(module).get(name)
    if not isinstance(parameter, Parameter):
        names = ", ".join(n for n, _ in module._own(Parameter)) or "none"
        raise ChainruleError(f"{kind} has no parameter {name!r}; it has {names}")
    inverse = getattr(parametrization, "right_inverse", None)
    originals = parameter if inverse is None else inverse(parameter)
    chain = ParametrizationList([parametrization])
    if isinstance(originals, tuple):
        for i, value in enumerate(originals):
            setattr(chain, f"original{i}", Parameter(value.detach(), parameter.requires_grad))
    else:
        same = originals is parameter
        chain.original = parameter if same else Parameter(
            originals.detach(), parameter.requires_grad
        )  # fmt: skip
    _check_shape(chain(), parameter, name)
    install(module, name, chain)
    return module


def install(module: Module, name: str, chain: ParametrizationList) -> None:
    """Put a chain in the place of a parameter."""
    if name in vars(module):
        delattr(module, name)
    if "parametrizations" not in vars(module):
        module.add_module("parametrizations", ModuleDict())
    _chains(module)[name] = chain


@explained
def is_parametrized(module: Module, tensor_name: str | None = None) -> bool:
    """Whether a parameter of the module, or this one, is computed from others."""
    check_module(module, "is_parametrized")
    found = vars(module).get("parametrizations")
    if not isinstance(found, ModuleDict):
        return False
    return len(found) > 0 if tensor_name is None else tensor_name in found


@explained
def remove_parametrizations(
    module: Module, tensor_name: str, leave_parametrized: bool = True
) -> Module:
    """Make a parametrised parameter an ordinary one again.

    Args:
        leave_parametrized: with the value that it has now; otherwise with that of its original,
            which must be a single one.

    >>> from chainrule import nn
    >>> layer = nn.utils.parametrizations.weight_norm(nn.Linear(2, 3))
    >>> layer = remove_parametrizations(layer, "weight")
    >>> [name for name, _ in layer.named_parameters()]
    ['bias', 'weight']
    """
    if not is_parametrized(module, tensor_name):
        raise ChainruleError(f"{type(module).__name__}.{tensor_name} has no parametrisation")
    chain = _chains(module)[tensor_name]
    originals = chain.originals()
    if leave_parametrized:
        value = chain().detach()
    elif len(originals) > 1:
        raise ChainruleError(
            f"{tensor_name} is computed from {len(originals)} tensors, none of which stands for "
            "it; write leave_parametrized=True"
        )
    else:
        value = originals[0].detach()
    parameter = Parameter(value, originals[0].requires_grad)
    del _chains(module)[tensor_name]
    if not len(_chains(module)):
        delattr(module, "parametrizations")
    setattr(module, tensor_name, parameter)
    return module


def _chains(module: Module) -> ModuleDict:
    return vars(module)["parametrizations"]


def _check_shape(found: Any, wanted: Tensor, name: str) -> None:
    if not isinstance(found, Tensor):
        raise DTypeError(f"a parametrisation gives a tensor, not {type(found).__name__}")
    if found.shape != wanted.shape:
        raise ShapeError(
            f"the parametrisation of {name!r} gives the shape {found.shape}, and {wanted.shape} is "
            "that of the parameter"
        )
