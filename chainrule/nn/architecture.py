"""A module's architecture as JSON, and a module made from it again.

Only the library's own layers are made again, by class name and constructor arguments, so that
reading a file never runs code. What is not in the arguments (which parameters are shared or frozen,
the mode) stands beside them.
"""

from __future__ import annotations

import json
from typing import Any

from chainrule.errors import ChainruleError, CheckpointError
from chainrule.nn import init
from chainrule.nn.layers.containers import Container
from chainrule.nn.layers.layer import Layer
from chainrule.nn.module import Module


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
    if isinstance(module, Container):
        children = {
            name: _describe(child, f"{path}.{name}" if path else name)
            for name, child in module._own(Module)
        }
        return {"class": kind.__name__, "modules": children}
    assert isinstance(module, Layer)
    arguments = module.configuration()
    for name, value in arguments.items():
        try:
            json.dumps(value)
        except TypeError:
            raise CheckpointError(
                f"{kind.__name__}{f' in {path!r}' if path else ''} was made with {name}= a "
                f"{type(value).__name__}, which the description of a model cannot hold. Save the "
                "weights alone: cr.save(model.state_dict(), path)"
            ) from None
    return {"class": kind.__name__, "arguments": arguments}


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
    for name in architecture["frozen"]:
        getattr(*_place(model, name)).requires_grad = False
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
        # JSON has no tuples: a pair of sizes comes back as a list.
        arguments = description["arguments"].items()
        return kind(**{k: tuple(v) if isinstance(v, list) else v for k, v in arguments})
    except (ChainruleError, TypeError, KeyError) as error:
        if isinstance(error, CheckpointError):
            raise
        raise CheckpointError(f"{where}, a {name}, cannot be made again: {error}") from None


def _own_class(name: str) -> type[Module] | None:
    from chainrule import nn

    kind = getattr(nn, name, None)
    return kind if isinstance(kind, type) and issubclass(kind, (Layer, Container)) else None


def _place(model: Module, name: str) -> tuple[Any, str]:
    """(the module that holds it, the attribute) of a parameter's dotted name."""
    *path, attribute = name.split(".")
    owner: Any = model
    for part in path:
        owner = getattr(owner, part)
    return owner, attribute
