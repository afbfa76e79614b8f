"""Whatever is handed to a public function, it gives a result or one of the library's errors.

No other exception, no warning, no words of the library's inside or of NumPy's in a message, no
hang, and no attempt at memory that is not there. Names are read off the namespaces, arguments are
drawn by signature (`inputs.py`), so a new function is tested from the moment that it exists.
`CHAINRULE_FUZZ=100 pytest tests/test_bad_input.py` draws a hundred calls for each name, new ones at
each run; without it there are a few, the same ones every time.
"""

import contextlib
import faulthandler
import inspect
import os
import re
import resource
import signal
import warnings
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest
import scipy.special
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

import chainrule as cr
from chainrule import nn, optim
from chainrule import probability as prob
from chainrule.nn.utils import parametrizations, rnn
from tests import inputs

MORE = int(os.environ.get("CHAINRULE_FUZZ", "0"))
EXAMPLES = settings(
    max_examples=MORE or 3,
    derandomize=not MORE,
    database=None,
    deadline=None,
    phases=[Phase.generate],  # the call that failed is small, and told
    print_blob=False,
    suppress_health_check=list(HealthCheck),
)
SECONDS = 60
"""What is not answered after so long, on however busy a machine, hangs."""
SPARE = 3 << 30
"""Bytes that a call with small operands may take."""
INTERNAL = re.compile(
    r"has no attribute|__(?!dlpack|array_namespace)\w+__|\b_[a-z]\w*\(|not subscriptable"
    r"|object is not iterable|unsupported operand|has no len|unhashable|cannot unpack"
    r"|broadcast together|[uU][fF]unc|must be real number|only integer|only 0-dim|truth value"
    r"|argument must be|core dim"
)
"""Words of Python and NumPy that tell a user nothing about what was wrong."""

NAMESPACES = {
    "": cr, "nn.": nn, "nn.init.": nn.init, "linalg.": cr.linalg, "fft.": cr.fft,
    "special.": cr.special, "random.": cr.random, "optim.": optim, "prob.": prob,
    "prob.information.": prob.information, "nn.utils.rnn.": rnn,
    "nn.utils.parametrizations.": parametrizations, "nn.utils.": nn.utils,
}  # fmt: skip
APART = {
    "compile", "fit", "load", "save", "read_arrays", "read_metadata", "explain", "seed",
    "set_num_threads", "summary", "check_gradients", "functional_call", "skipped", "check_lengths",
    "lengths_of", "padded", "steps_within",
}  # fmt: skip
"""Functions with effects on files, threads or the generator, and those that run for long, whose
arguments have tests beside them; and those that only the library uses."""


def public() -> Iterator[tuple[str, Any]]:
    seen = set()
    for prefix, space in NAMESPACES.items():
        for name in dir(space):
            found = getattr(space, name, None)
            home = getattr(found, "__module__", None) or ""
            mine = home.startswith("chainrule.") and home != "chainrule.lazy"
            if not hasattr(space, "__path__") and name not in getattr(space, "__all__", ()):
                mine = home == space.__name__  # others are what a module imports
            if name[0] == "_" or not callable(found) or not mine or name in APART:
                continue
            if id(found) not in seen and not name.endswith("Error"):
                seen.add(id(found))
                yield prefix + name, found


EVERYTHING = dict(public())
FUNCTIONS = {name: f for name, f in EVERYTHING.items() if not inspect.isclass(f)}
CLASSES = {name: f for name, f in EVERYTHING.items() if inspect.isclass(f)}
BASES = (nn.Module, nn.Parameter, nn.Buffer, optim.Optimizer, prob.Distribution, prob.Transform)
MADE = {
    name: kind
    for name, kind in CLASSES.items()
    if (issubclass(kind, (*BASES, cr.Generator)) and kind not in BASES[:1] + BASES[3:])
    or name.endswith(("LR", "Scheduler", "Plateau"))
}


class Hang(BaseException):
    """Nothing came back."""


@contextlib.contextmanager
def guarded() -> Iterator[list[warnings.WarningMessage]]:
    """Warnings are noted; memory is short; what does not come back is told with its place."""

    def stop(*_: Any) -> None:
        raise Hang

    with open("/proc/self/statm") as file:
        used = int(file.read().split()[0]) * resource.getpagesize()
    soft, hard = resource.getrlimit(resource.RLIMIT_AS)
    before = signal.signal(signal.SIGALRM, stop)
    resource.setrlimit(resource.RLIMIT_AS, (used + SPARE, hard))
    signal.setitimer(signal.ITIMER_REAL, SECONDS)
    faulthandler.dump_traceback_later(2 * SECONDS, exit=True)  # where it is not Python that hangs
    try:
        with warnings.catch_warnings(record=True) as noted:
            warnings.simplefilter("always")
            yield noted
    finally:
        faulthandler.cancel_dump_traceback_later()
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
        resource.setrlimit(resource.RLIMIT_AS, (soft, hard))


def answered(function: Callable[..., Any], given: list, named: dict[str, Any]) -> Any:
    """The answer, or None where it was one of our errors; anything else fails the test."""
    call = inputs.shown(function, given, named)
    answer, refusal = None, ""
    try:
        with guarded() as noted:
            answer = function(*given, **named)
    except cr.ChainruleError as error:
        refusal = str(error)
    except Hang:
        pytest.fail(f"{call}\nhas not come back after {SECONDS} s")
    except Exception as error:
        error.add_note(call)
        raise
    inside = INTERNAL.search(refusal.partition(". Write ")[0])
    assert not inside, f"{call}\ntells {inside.group()!r}: {refusal}"
    assert not noted, f"{call}\nwarns: {noted[0].message} ({noted[0].filename}:{noted[0].lineno})"
    return answer


@pytest.mark.parametrize("name", FUNCTIONS)
def test_functions(name: str) -> None:
    @EXAMPLES
    @given(data=st.data())
    def check(data: Any) -> None:
        arguments = inputs.Arguments(data.draw)
        answer = answered(FUNCTIONS[name], *arguments.of(FUNCTIONS[name]))
        if inspect.isfunction(answer):  # a transform's
            answered(answer, [arguments.operand() for _ in range(arguments.below(3))], {})

    check()


PARTS = ("log_prob", "cdf", "survival", "quantile", "sample", "expand", "inv", "state_dict")
ALONE = ("entropy", "enumerate_support", "step", "mean", "mode", "variance", "stddev", "__repr__")


@pytest.mark.parametrize("name", MADE)
def test_what_is_made(name: str) -> None:
    """Layers, optimisers, schedules, distributions, transforms: made, called, asked."""

    @EXAMPLES
    @given(data=st.data())
    def check(data: Any) -> None:
        arguments = inputs.Arguments(data.draw)
        made = answered(MADE[name], *arguments.of(MADE[name]))
        if made is None:
            return
        if isinstance(made, optim.Optimizer):
            for p in (p for group in made.param_groups for p in group["params"]):
                answered(lambda p: (p * p.conj()).real.sum().backward(), [p], {})
        if isinstance(made, nn.Module):
            answered(made, *arguments.of(made.forward))
        elif isinstance(made, prob.Transform):
            answered(made, [arguments.operand()], {})
        for part in PARTS:
            if callable(getattr(type(made), part, None)):
                function = getattr(made, part)
                answered(function, *arguments.of(function, spoil=False))
        for part in ALONE:
            if hasattr(type(made), part):

                def ask(part: str = part) -> Any:
                    found = getattr(made, part)
                    return found() if callable(found) else found

                answered(ask, [], {})

    check()


METHODS = [
    name
    for name in dir(cr.Tensor)
    if callable(getattr(cr.Tensor, name))
    and name not in dir(object)
    and (name[0] != "_" or name in {
        *(f"__{kind}{op}__" for kind in ("", "r", "i") for op in (
            "add", "sub", "mul", "truediv", "floordiv", "mod", "pow", "matmul", "and", "or",
            "xor", "lshift", "rshift")),
        "__eq__", "__ne__", "__lt__", "__le__", "__gt__", "__ge__", "__neg__", "__pos__", "__abs__",
        "__invert__", "__bool__", "__int__", "__float__", "__complex__", "__index__", "__len__",
        "__array_namespace__",
    })
]  # fmt: skip


@pytest.mark.parametrize("name", METHODS)
def test_methods(name: str) -> None:
    @EXAMPLES
    @given(data=st.data())
    def check(data: Any) -> None:
        arguments = inputs.Arguments(data.draw)
        x = cr.asarray(inputs.array(data.draw, arguments.shape))
        method = getattr(x, name)
        dunder = name.startswith("__")
        given, named = arguments.of(method)
        if dunder:
            given, named = [arguments.operand() for _ in inspect.signature(method).parameters], {}
        # The standard asks for Python's own errors where an infinity or a NaN has no whole number.
        standard = (OverflowError, ValueError) if name == "__int__" else ()
        with contextlib.suppress(*standard):
            answered(method, given, named)

    check()


KEYS = [
    0, 1, -1, 5, -7, None, Ellipsis, slice(None), slice(1, None), slice(None, None, -1),
    slice(9, 2), slice(None, None, 0), slice(0.5), slice("a"), True, False, 1.5, "a", 1j, [0, 1],
    [], [True, False],
    np.array([0, 0]), np.array([[1, 0], [0, -1]]), np.array([True, False]), np.array(1), np.ones(2),
    np.array([7]), 10**30, {}, object(), np.int64(1), np.array([], int), [[0], [1, 2]], len,
]  # fmt: skip


@settings(EXAMPLES, max_examples=MORE * 10 or 80)
@given(data=st.data())
def test_indexing_as_numpy_does(data: Any) -> None:
    """x[key] has NumPy's value wherever both take the key; x[key] = v writes what NumPy writes."""
    arguments = inputs.Arguments(data.draw)
    a = inputs.array(data.draw, arguments.shape)
    one = data.draw(st.sampled_from(KEYS))
    some = tuple(data.draw(st.lists(st.sampled_from(KEYS), max_size=3)))
    key = one if data.draw(st.booleans()) else some
    x = cr.asarray(a)
    found = answered(lambda x, key: x[key], [x, key], {})
    if found is not None:
        np.testing.assert_array_equal(found.numpy(), a[key])
    v = data.draw(st.sampled_from([0, 1, 2.5, [1, 2], None, "a", np.ones((2, 2)), 1j, 300, np.nan]))

    def put(x: Any, key: Any, v: Any) -> Any:
        x[key] = v
        return x

    answered(put, [x, key, v], {})


@pytest.mark.parametrize("name", {**FUNCTIONS, **MADE})
def test_an_unknown_keyword_is_told(name: str) -> None:
    function = EVERYTHING[name]
    takes = inspect.signature(function).parameters.values()
    if any(p.kind is p.VAR_KEYWORD for p in takes):
        return
    required = [p for p in takes if p.default is p.empty and p.kind is not p.VAR_POSITIONAL]
    with pytest.raises(cr.ChainruleError):
        function(*[1.0 for _ in required], banana=1)


@pytest.mark.parametrize("size", inputs.HUGE)
def test_what_does_not_fit_into_memory_is_told(size: int) -> None:
    x = cr.ones(2)
    for make in (
        lambda: cr.zeros(size), lambda: cr.ones((size, 2)), lambda: cr.full(size, 1.0),
        lambda: cr.eye(size), lambda: cr.arange(size), lambda: cr.linspace(0, 1, size),
        lambda: cr.broadcast_to(x, (size, 2)) + 1, lambda: cr.repeat(x, size),
        lambda: cr.tile(x, (size,)), lambda: cr.pad(x, (0, size)), lambda: cr.one_hot(x, size),
        lambda: cr.random.normal((size,)), lambda: cr.random.permutation(size),
        lambda: cr.fft.fft(x, n=size), lambda: cr.fft.fftfreq(size), lambda: nn.Linear(size, size),
        lambda: nn.Embedding(size, 3), lambda: cr.bincount(cr.asarray([size])),
        lambda: cr.empty((size, 0, size)) if size > 2**62 else cr.zeros(size),
        lambda: cr.linalg.vander(x, N=size), lambda: cr.asarray([size, 1]).reshape(size),
    ):  # fmt: skip
        answered_with_error = False
        with guarded():
            try:
                make()
            except cr.ChainruleError:
                answered_with_error = True
        assert answered_with_error, inspect.getsource(make)


@pytest.mark.parametrize(
    "wrong",
    [
        lambda: cr.asarray([300], dtype=cr.uint8), lambda: cr.asarray([1e30], dtype=cr.int32),
        lambda: cr.asarray([1j], dtype=cr.float32), lambda: cr.asarray([2.0**63], dtype=cr.int64),
        lambda: cr.arange(300, dtype=cr.uint8), lambda: cr.arange(2**63),
        lambda: cr.sum(cr.asarray([1j]), dtype=cr.float32), lambda: cr.xlogy(1j, 2.0),
        lambda: cr.full_like(cr.ones(2), cr.asarray(1j)), lambda: cr.pad(cr.arange(2), 1, np.nan),
        lambda: cr.ones(2, dtype=np.longdouble), lambda: cr.Tensor([1.0, 2.0]),
        lambda: cr.add(1, 2, alpha=2), lambda: cr.ones(2).exp(out=None), lambda: nn.Linear(2),
        lambda: nn.Linear(2, 2)(), lambda: optim.SGD(), lambda: prob.TanhTransform(1),
    ],
)  # fmt: skip
def test_what_once_gave_another_number_or_error(wrong: Callable[[], Any]) -> None:
    with pytest.raises(cr.ChainruleError):
        wrong()


# Where NumPy or SciPy has a function of the same name and takes the arguments, the values agree.

MEANT_DIFFERENTLY = {
    # the Array API's words: the last two axes; the sorted values; nothing to be sorted along
    "linalg.trace", "linalg.diagonal", "unique_values", "unique_inverse", "unique_all", "argsort",
    "diagonal", "linalg.matrix_norm", "linalg.vector_norm", "linalg.norm",
    "floor_divide",  # of an infinity: the standard says infinity
    "reciprocal",  # of whole numbers: NumPy's is a whole number
    "special.polygamma",  # of infinite order
    "special.lambertw",  # real for real numbers
    "linspace", "trace", "split",  # of arrays: NumPy's makes further axes
    "from_dlpack", "empty", "empty_like", "finfo", "iinfo", "isdtype", "result_type", "can_cast",
    "linalg.eig", "linalg.eigh", "linalg.eigvals", "linalg.qr", "linalg.svd", "linalg.lstsq",
    "load", "save",
    "diff",  # None is an array to NumPy
    "linalg.matrix_power",  # infinities, multiplied in another order
}  # fmt: skip
"""What is no function of values, or not of one value alone, and what the standard has otherwise."""
PEERS = {
    prefix + name: (getattr(space, name), getattr(peer, name))
    for prefix, space, peer in (
        ("", cr, np), ("linalg.", cr.linalg, np.linalg), ("fft.", cr.fft, np.fft),
        ("special.", cr.special, scipy.special),
    )
    for name in dir(space)
    if name[0] != "_" and callable(getattr(peer, name, None))
    and not inspect.isclass(getattr(space, name)) and callable(getattr(space, name))
    and prefix + name not in MEANT_DIFFERENTLY
}  # fmt: skip
PRECISE = [np.dtype(name) for name in ("f8", "f8", "c16", "i8")]


def as_arrays(x: Any) -> Any:
    if isinstance(x, (list, tuple)):
        return type(x)(map(as_arrays, x))
    return x.detach().numpy() if isinstance(x, cr.Tensor) else x


def agree(ours: Any, theirs: Any, call: str) -> None:
    if isinstance(ours, (list, tuple)):
        assert len(ours) == len(theirs), call
        for a, b in zip(ours, theirs, strict=True):
            agree(a, b, call)
        return
    ours, theirs = np.asarray(as_arrays(ours)), np.asarray(theirs)
    assert ours.shape == theirs.shape, f"{call}\nis of shape {ours.shape}, not {theirs.shape}"
    if ours.dtype.kind == theirs.dtype.kind:  # a number that was no array is float32 here
        with np.errstate(over="ignore"):
            theirs = theirs.astype(ours.dtype)
    finite = np.abs(theirs[np.isfinite(theirs)]) if theirs.dtype.kind in "iufc" else ours
    with np.errstate(all="ignore"):
        scale = float(np.max(finite, initial=1.0))
        loose = 1e-9 if ours.dtype in (np.float64, np.complex128) else 1e-5
        near = np.isclose(ours, theirs, rtol=loose, atol=loose * scale, equal_nan=True)
        # Where a complex number is infinite or NaN, its other part is nobody's promise.
        wild = ~np.isfinite(ours) & ~np.isfinite(theirs) if ours.dtype.kind == "c" else near
    assert np.all(near | wild), f"{call}\nis {ours.tolist()}, not {theirs.tolist()}"


@pytest.mark.parametrize("name", PEERS)
def test_values_agree_with_numpy_and_scipy(name: str) -> None:
    function, peer = PEERS[name]

    @EXAMPLES
    @given(data=st.data())
    def check(data: Any) -> None:
        arguments = inputs.Arguments(data.draw, PRECISE, wrong=False)
        given, named = arguments.of(function)
        named = {k: v for k, v in named.items() if k not in ("dtype", "device")}
        ours = answered(function, given, named)
        if ours is None:
            return
        try:
            with guarded():
                theirs = peer(*as_arrays(given), **{k: as_arrays(v) for k, v in named.items()})
        except Exception:
            return  # it has no such arguments
        agree(ours, theirs, inputs.shown(name, given, named))

    check()
