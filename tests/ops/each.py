"""A test of many samples as one test of each operation: thousands of tests cost more than they do.

    @on_each(CASES)  # of pytest.param(op, args, kwargs, id=…)
    def test_it(op, args, kwargs): …

All samples of an operation are run, and those that fail are told together, each by its id.
"""

import functools
import inspect
from collections.abc import Callable, Iterable
from typing import Any

import pytest


def on_each(cases: Iterable[Any]) -> Callable[[Callable[..., None]], Any]:
    """Run a test of `(op, args, kwargs)`, and of whatever else it wants, on these cases.

    The test itself is the result's `__wrapped__`.
    """
    of: dict[str, list[Any]] = {}
    for case in cases:
        of.setdefault(case.values[0].name, []).append(case)

    def decorate(test: Callable[..., None]) -> Any:
        @functools.wraps(test)
        def run(operation: str, **others: Any) -> None:
            failures = []
            for case in of[operation]:
                try:
                    test(*case.values, **others)
                except Exception as failure:
                    failure.add_note(f"sample {case.id}")
                    failures.append(failure)
            if failures:
                raise ExceptionGroup(", ".join(f.__notes__[-1] for f in failures), failures)

        operation, *_ = inspect.signature(run, follow_wrapped=False).parameters.values()
        _, _, _, *others = inspect.signature(test).parameters.values()
        run.__signature__ = inspect.Signature([operation, *others])  # type: ignore[attr-defined]
        return pytest.mark.parametrize("operation", of)(run)

    return decorate
