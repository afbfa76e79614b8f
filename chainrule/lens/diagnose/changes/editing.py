"""Editing the copy of a setup: modules in and out, while the optimiser and the names keep up."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from chainrule.errors import ChainruleError
from chainrule.lens.diagnose.frameworks.framework import Framework
from chainrule.lens.diagnose.frameworks.randomness import randomness_kept
from chainrule.lens.diagnose.passes import Pass
from chainrule.lens.diagnose.setup import Setup


class Inapplicable(ChainruleError):  # noqa: N818  (a state of things, caught by trials)
    """A change that cannot be made by a program in this setup; its text says why."""


def edited(setup: Setup, edit: Callable[[Framework, Any], Any]) -> Setup:
    """A copy of the setup with its model edited in place by `edit(framework, model) → model`.

    The optimiser then holds the parameters that it held before, as far as they are still there,
    and every new one. `moved` follows the modules, so that a later change finds them by the paths
    that they had before the first one.
    """
    made = setup.copied()
    framework = made.framework
    before = framework.modules(made.model)  # keeps them alive, so that no id is given twice
    held = framework.optimizer_facts(made.model, made.optimizer).held
    known = _addresses(framework.parameters(made.model))
    with randomness_kept():  # what is drawn for new layers is always the same
        framework.seed(setup.seed)
        model = edit(framework, made.model)
    frozen, after = framework.frozen(model), _addresses(framework.parameters(model))
    names = [
        name for address, name in after.items()
        if (known[address] in held if address in known else name not in frozen)
    ]  # fmt: skip
    framework.hold(model, made.optimizer, names)
    return made.with_(model=model, moved=_moved(made, before, framework.modules(model)))


def _addresses(parameters: dict[str, np.ndarray]) -> dict[int, str]:
    """Address → name: a parameter is the same if its numbers lie at the same place."""
    return {values.ctypes.data: name for name, values in parameters.items()}


def _moved(
    setup: Setup, before: Sequence[tuple[str, str, Any]], after: Sequence[tuple[str, str, Any]]
) -> dict[str, str | None]:
    """Where every module is now, by its first path, as far as that is not where it was."""
    paths = {id(module): path for path, _, module in after}
    now = {path: paths.get(id(module)) for path, _, module in before}
    known = {id(module) for _, _, module in before}
    new = {path for path, _, module in after if id(module) not in known}
    found: dict[str, str | None] = {}
    for first in {*now, *setup.moved}:
        path = setup.moved.get(first, first)
        if path is not None:
            # What is gone without a trace was replaced if something new has its path.
            path = now.get(path) or (path if path in new or not path else None)
        if path != first:
            found[first] = path
    return found


def place_of(setup: Setup, path: str) -> str:
    """Where the module now is that stood at this path before any change.

    Raises:
        Inapplicable: a change before took it out, or there never was one.
    """
    now = setup.moved.get(path, path)
    if now is None or not any(p == now for p, _, _ in setup.framework.modules(setup.model)):
        raise Inapplicable(f"there is no module at {path!r} (any more)")
    return now


def module_at(framework: Framework, model: Any, path: str) -> Any:
    return next(module for p, _, module in framework.modules(model) if p == path)


def spliced(framework: Framework, model: Any, path: str, modules: Sequence[Any]) -> Any:
    """The model with other modules in the place of the one at `path`: none, one or several.

    In a Sequential they stand in its list, as a user would write it; elsewhere code refers to the
    name, so that an `Identity`, or several in a row, stand under it.
    """
    here = module_at(framework, model, path)
    outer, _, _ = path.rpartition(".")
    if path:
        holder = module_at(framework, model, outer)
        if type(holder).__name__ == "Sequential":
            row: list[Any] = []
            for module in holder:
                row.extend(modules if module is here else [module])
            made = framework.sequence(*row)
            return framework.replace(model, outer, made)
    if not modules:
        return framework.replace(model, path, framework.layer("Identity"))
    one = modules[0] if len(modules) == 1 else framework.sequence(*modules)
    return framework.replace(model, path, one)


def seen(setup: Setup, rows: int = 16) -> Pass:
    """A recorded pass of a few rows."""
    return setup.framework.observe(setup.model, *setup.batch(rows), setup.loss)


def leaf(setup: Setup, path: str) -> str | None:
    """The class of a module without modules in it, at a present path; None where there is none."""
    found = {p: kind for p, kind, _ in setup.framework.modules(setup.model)}
    has_parts = any(p.startswith(f"{path}.") for p in found)
    return None if not path or has_parts else found.get(path)


def output_shape(setup: Setup) -> tuple[int, ...] | None:
    """The shape of the outputs for all training rows, (rows, …); None if the model does not run."""
    try:
        outputs = setup.framework.outputs(setup.model, setup.x[: min(4, len(setup.x))])
    except Exception:  # whatever the user's own forward raises
        return None
    return (len(setup.y), *np.shape(outputs)[1:])
