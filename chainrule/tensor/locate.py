"""Putting the operation, the module path and the user's line in front of an error."""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from typing import Any, NoReturn, TypeVar

from chainrule.errors import ChainruleError
from chainrule.places import show, user_place
from chainrule.tensor.graph import state

F = TypeVar("F", bound=Callable[..., Any])


def fail(name: str, error: BaseException) -> NoReturn:
    """Raise `error` as "`name` in `module` (file:line): text", unless that is done already."""
    if not getattr(error, "located", False):
        what = state.within or name
        path = state.scope.describe() if state.scope is not None else what
        where = f" in `{path}`" if path != what else ""
        place = show(user_place(2))
        head = f"`{what}`{where}{f' ({place})' if place else ''}"
        error.args = (f"{head}: {error}",)
        error.located = True  # type: ignore[attr-defined]
    raise error.with_traceback(None) from None


def located(function: F) -> F:
    """Let the errors of a function that is made of operations carry its own name."""

    @wraps(function)
    def wrapped(*args: Any, **kwargs: Any) -> Any:
        outer = state.within
        state.within = outer or function.__name__
        try:
            return function(*args, **kwargs)
        except ChainruleError as error:
            fail(function.__name__, error)
        finally:
            state.within = outer

    return wrapped  # type: ignore[return-value]
