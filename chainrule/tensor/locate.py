"""Putting the operation, the module path and the user's line in front of an error."""

from __future__ import annotations

import inspect
import re
import reprlib
import sys
from collections.abc import Callable, Mapping, Sequence
from functools import wraps
from typing import Any, NoReturn, TypeVar

from chainrule.errors import ChainruleError, DTypeError, OutOfMemoryError, ShapeError
from chainrule.places import show, user_place
from chainrule.tensor.graph import state

F = TypeVar("F", bound=Callable[..., Any])


FOREIGN = (
    TypeError, ValueError, LookupError, ArithmeticError, AttributeError, MemoryError,
    RecursionError,
)  # fmt: skip
"""Errors of Python and NumPy that say that an argument is not what it should be."""


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


def ours(error: BaseException, mine: str, usage: str, given: str) -> ChainruleError:
    """An error of Python or NumPy as one of this library's, in the user's words.

    Args:
        mine: what Python calls the function, such as "Linear.__init__".
        usage: how it is called.
        given: what it was given, see `tell_of`.
    """
    text = str(error)
    if isinstance(error, MemoryError):
        return OutOfMemoryError(f"{text or 'there is not enough memory'}; take smaller sizes")
    told = text.replace(f"{mine}()", "it")
    told = re.sub("^(it )?missing", "it lacks", re.sub("^got ", "it got ", told))
    # What was wrong with a call, and what this library raised, is said well; the rest is about the
    # steps inside.
    known = told != text or told.startswith("it ") or _OF_A_CALL.search(told)
    if not known and (isinstance(error, (TypeError, AttributeError)) or about_steps(error)):
        told = f"it cannot work with {given or 'nothing'}"
    dtypes = (TypeError, AttributeError, OverflowError)
    kind = DTypeError if isinstance(error, dtypes) else ShapeError
    return kind(f"{told}. Write {usage}")


_OF_A_CALL = re.compile(r"\(\) (takes|got|missing)|positional arguments")


def about_steps(error: BaseException) -> bool:
    """Whether NumPy tells of something that the user has not written."""
    if isinstance(error, (KeyError, ZeroDivisionError, RecursionError)):
        return True
    return re.search("truth value|[uU][fF]unc|core dim|broadcast together", str(error)) is not None


def tell_of(args: Sequence[Any], named: Mapping[str, Any]) -> str:
    """What was given, shortly: (2, 3) float32, None, axis='x'."""
    parts = [_short(x) for x in args] + [f"{name}={_short(x)}" for name, x in named.items()]
    return ", ".join(parts)


def _short(x: Any) -> str:
    if hasattr(x, "shape") and hasattr(x, "dtype"):
        return f"{x.shape} {x.dtype}"
    if x is None or isinstance(x, (bool, int, float, complex, str, bytes, list, tuple, dict)):
        return reprlib.repr(x)
    return x.__name__ if hasattr(x, "__name__") else f"a {type(x).__name__}"


def bare(function: Callable[..., Any]) -> inspect.Signature:
    """How a function is called, without annotations."""
    parameters = inspect.signature(function).parameters.values()
    return inspect.Signature(
        [p.replace(annotation=p.empty) for p in parameters if p.name != "self"]
    )


_INSIDE = {"chainrule", "numpy", "scipy", "ml_dtypes", *sys.stdlib_module_names} - {"__main__"}


def _from_inside(error: BaseException) -> bool:
    """Whether no frame from which an error came is of somebody else's code."""
    trace = error.__traceback__
    while trace is not None:
        module = str(trace.tb_frame.f_globals.get("__name__"))
        if module.partition(".")[0] not in _INSIDE:
            return False
        trace = trace.tb_next
    return True


def explained(function: F) -> F:
    """Let what is wrong with a function's arguments be said in its own name.

    An argument that it cannot work with may show only inside of it, as an error of Python or NumPy.
    That becomes one of this library's; errors of functions that were handed over stay as they are.
    """

    @wraps(function)
    def wrapped(*args: Any, **kwargs: Any) -> Any:
        try:
            return function(*args, **kwargs)
        except ChainruleError:
            raise
        except FOREIGN as error:
            tell(error, function, args, kwargs)

    return wrapped  # type: ignore[return-value]


def located(function: F) -> F:
    """`explained`, and the operations that a function is made of fail in its name."""

    @wraps(function)
    def wrapped(*args: Any, **kwargs: Any) -> Any:
        outer = state.within
        state.within = outer or function.__name__
        try:
            return function(*args, **kwargs)
        except (ChainruleError, *FOREIGN) as error:
            tell(error, function, args, kwargs)
        finally:
            state.within = outer

    return wrapped  # type: ignore[return-value]


def _explained_init(init: Callable[..., None]) -> Callable[..., None]:
    @wraps(init)
    def wrapped(self: Any, *args: Any, **kwargs: Any) -> None:
        try:
            init(self, *args, **kwargs)
        except ChainruleError:
            raise
        except FOREIGN as error:
            tell(error, init, args, kwargs, type(self))

    return wrapped


class Explained:
    """The base of classes whose constructors say what is wrong with their arguments."""

    __slots__ = ()

    @_explained_init
    def __init__(self) -> None:
        pass

    def __init_subclass__(cls, **rest: Any) -> None:
        super().__init_subclass__(**rest)
        if "__init__" in vars(cls):
            cls.__init__ = _explained_init(cls.__init__)  # type: ignore[method-assign]


def tell(
    error: Exception,
    function: Callable[..., Any],
    args: Sequence[Any],
    named: Mapping[str, Any],
    kind: type | None = None,
) -> NoReturn:
    """Raise what came out of a function (of a class that the user called) with its name and place:
    an error of this library's, or as one an error that nobody else's code has to do with."""
    name = kind.__name__ if kind is not None else function.__name__
    if isinstance(error, ChainruleError):
        fail(name, error)
    if not _from_inside(error):
        raise error
    usage = f"{name}{bare(kind or function)}"
    fail(name, ours(error, function.__qualname__, usage, tell_of(args, named)))
