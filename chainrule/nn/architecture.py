"""A module's architecture as JSON, and a module made from it again.

Only the library's own layers are made again, by class name and constructor arguments, so that
reading a file never runs code. An argument may be a module itself. The modules inside of a layer
are described too, for those that were exchanged after it was made. What is not in the arguments
(which parameters are shared or frozen, the mode) stands beside them.
"""

from __future__ import annotations

import json
from typing import Any

from chainrule.errors import ChainruleError, CheckpointError
from chainrule.nn import init
from chainrule.nn.layers.containers import Container
from chainrule.nn.layers.layer import Layer
from chainrule.nn.module import Module
from chainrule.nn.utils.parametrize import register_parametrization


def describe(model: Module) -> dict[str, Any]:
    """The architecture of a module, as JSON can hold it."""
    names: dict[int, str] = {}
    shared = {}
    for name, cell in model._state():
        if names.setdefault(id(cell), name) != name:
            shared[name] = names[id(cell)]
    return {
        "model": _describe(model, ""),
        "shared": shared,
        "frozen": [name for name, p in model.named_parameters() if not p.requires_grad],
        "training": model.training,
    }


def _describe(module: Module, path: str) -> dict[str, Any]:
    kind = type(module)
    if _own_class(kind.__name__) is not kind:
        return {"class": kind.__qualname__, "from": kind.__module__}
    children = {
        name: _describe(child, f"{path}.{name}" if path else name)
        for name, child in module._own(Module)
    }
    if isinstance(module, Container):
        return {"class": kind.__name__, "modules": children}
    assert isinstance(module, Layer)
    arguments = module.configuration()
    for name, value in arguments.items():
        if isinstance(value, Module):
            arguments[name] = {"module": _describe(value, f"{path}.{name}" if path else name)}
            continue
        try:
            json.dumps(value)
        except TypeError:
            raise CheckpointError(
                f"{kind.__name__}{f' in {path!r}' if path else ''} was made with {name}= a "
                f"{type(value).__name__}, which the description of a model cannot hold. Save the "
                "weights alone: cr.save(model.state_dict(), path)"
            ) from None
    found = {"class": kind.__name__, "arguments": arguments}
    return {**found, "modules": children} if children else found


def build(architecture: dict[str, Any]) -> Module:
    """The module of a description; its values are whatever, for the file's to replace them.

    Raises:
        CheckpointError: it holds a user's class, or one that this version does not know.
    """
    with init.skipped():
        model = _build(architecture["model"], "")
    for alias, name in architecture["shared"].items():
        owner, attribute = _place(model, alias)
        setattr(owner, attribute, getattr(*_place(model, name)))
    for name, parameter in model.named_parameters():
        parameter.requires_grad = name not in architecture["frozen"]
    return model.train(architecture["training"])


def _build(description: dict[str, Any], path: str) -> Module:
    name = description["class"]
    where = f"{path!r} of the model" if path else "the model"
    if "from" in description:
        raise CheckpointError(
            f"{where} is a {name} (of {description['from']}), a class of your own, and loading a "
            "file never runs code. Make the model yourself, then write "
            "model.load_state_dict(nn.read_arrays(path))"
        )
    kind = _own_class(name)
    if kind is None:
        raise CheckpointError(
            f"{where} is a {name}, which this version of chainrule does not have; it was saved by "
            "another version"
        )
    try:
        if issubclass(kind, Container):
            container: Any = kind()
            for child, inner in description["modules"].items():
                container.add_module(child, _build(inner, f"{path}.{child}" if path else child))
            return container
        arguments = {k: _argument(v, path) for k, v in description["arguments"].items()}
        layer: Any = kind(**arguments)
        _exchange(layer, description.get("modules", {}), path)
        return layer
    except (ChainruleError, TypeError, KeyError) as error:
        if isinstance(error, CheckpointError):
            raise
        raise CheckpointError(f"{where}, a {name}, cannot be made again: {error}") from None


def _argument(value: Any, path: str) -> Any:
    """An argument as the constructor takes it. JSON has no tuples: sizes come back as a list."""
    if isinstance(value, dict) and "module" in value:
        return _build(value["module"], path)
    return tuple(value) if isinstance(value, list) else value


def _exchange(layer: Module, described: dict[str, Any], path: str) -> None:
    """Put those modules into a layer that are others than its constructor made."""
    made = dict(layer._own(Module))
    for name in made:
        if name not in described:
            setattr(layer, name, None)
    for name, inner in described.items():
        if name == "parametrizations":
            for parameter, chain in inner["modules"].items():
                for part in chain["modules"].values():
                    register_parametrization(layer, parameter, _build(part, path))
            continue
        child = made.get(name)
        if child is None or json.loads(json.dumps(_describe(child, ""))) != inner:
            layer.add_module(name, _build(inner, f"{path}.{name}" if path else name))


def _own_class(name: str) -> type[Module] | None:
    from chainrule import nn

    kind = getattr(nn, name, None)
    for space in (nn.utils.parametrizations, nn.utils.parametrize):
        found = getattr(space, name, None)
        if getattr(found, "__module__", "") == space.__name__:
            kind = found
    return kind if isinstance(kind, type) and issubclass(kind, (Layer, Container)) else None


def _place(model: Module, name: str) -> tuple[Any, str]:
    """(the module that holds it, the attribute) of a parameter's dotted name."""
    *path, attribute = name.split(".")
    owner: Any = model
    for part in path:
        owner = getattr(owner, part)
    return owner, attribute
