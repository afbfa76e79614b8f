"""A diagnosis as plain data, and read back from it.

JSON has no NaN and no infinity, and both are what a diagnosis is often about: numbers that are not
finite are written as the strings "NaN", "Infinity" and "-Infinity", which `float` reads.
"""

from __future__ import annotations

import math
import types
from collections.abc import Mapping, Sequence
from dataclasses import fields, is_dataclass
from typing import TYPE_CHECKING, Any, Union, get_args, get_origin, get_type_hints

import numpy as np

from chainrule.errors import ChainruleError
from chainrule.lens.diagnose.finding import Change, Finding, Measured

if TYPE_CHECKING:
    from chainrule.lens.diagnose.advice import Advice
    from chainrule.lens.diagnose.deep import Measurements
    from chainrule.lens.diagnose.trials.together import Together

_ODD = {"NaN": math.nan, "Infinity": math.inf, "-Infinity": -math.inf}


def plain(value: Any) -> Any:
    """Only dictionaries, lists, strings, numbers, truth values and None.

    >>> plain({"loss": np.float32(0.5), "worst": float("inf"), "shape": (2, 3)})
    {'loss': 0.5, 'worst': 'Infinity', 'shape': [2, 3]}
    """
    if isinstance(value, np.ndarray | np.generic):
        value = value.tolist()
    if value is None or isinstance(value, str | bool | int):
        return value
    if isinstance(value, float):
        if math.isfinite(value):
            return value
        return "NaN" if math.isnan(value) else "Infinity" if value > 0 else "-Infinity"
    if isinstance(value, Mapping):
        return {str(k): plain(v) for k, v in value.items()}
    if isinstance(value, Sequence | set | frozenset):
        return [plain(v) for v in value]
    if is_dataclass(value) and not isinstance(value, type):
        return {f.name: plain(getattr(value, f.name)) for f in fields(value)}
    return str(value)


def revived(kind: Any, value: Any) -> Any:
    """What `plain` made data of, again: `kind` is a dataclass or another annotation."""
    origin, arguments = get_origin(kind), get_args(kind)
    if origin in (Union, types.UnionType):
        if value is None and type(None) in arguments:
            return None
        return revived(arguments[0], value)
    if is_dataclass(kind):
        hints = get_type_hints(kind)
        known = {f.name for f in fields(kind)}
        return kind(**{k: revived(hints[k], v) for k, v in value.items() if k in known})  # type: ignore[operator]
    if kind is np.ndarray:
        return np.array([revived(float, v) for v in value], dtype=np.float32)
    if origin in (list, Sequence):
        return [revived(arguments[0], v) for v in value]
    if origin is tuple and arguments[-1] is Ellipsis:
        return tuple(revived(arguments[0], v) for v in value)
    if origin is tuple:
        return tuple(revived(a, v) for a, v in zip(arguments, value, strict=True))
    if origin is dict:
        return {k: revived(arguments[1], v) for k, v in value.items()}
    return _ODD.get(value, value) if isinstance(value, str) else value


def finding_of(data: Mapping[str, Any]) -> Finding:
    """A finding that was data; its changes say what they are, and cannot be applied any more."""
    from chainrule.lens.diagnose.trials.trial import Trial

    remedy, trial = data.get("remedy"), data.get("trial")
    remedies = [_change(each) for each in data.get("remedies") or ([remedy] if remedy else [])]
    return Finding(
        data["rule"],
        data["where"],
        data["claim"],
        [revived(Measured, each) for each in data["evidence"]],
        data["cause"],
        data["severity"],
        data["strength"],
        remedies,
        None if trial is None else revived(Trial, trial),
        tuple(data.get("explains", ())),
        chosen=None if remedy is None else _change(remedy),
        in_script=data.get("diff", ""),
    )


def together_of(data: Mapping[str, Any] | None) -> Together | None:
    """The changes that helped together, which were data."""
    from chainrule.lens.diagnose.trials.together import Together
    from chainrule.lens.diagnose.trials.trial import Trial

    if data is None:
        return None
    return Together(_change(data["change"]), tuple(data["rules"]), revived(Trial, data["trial"]))


def advice_of(data: Mapping[str, Any] | None) -> Advice | None:
    """The advice that was data."""
    from chainrule.lens.diagnose.advice import Advice

    return None if data is None else revived(Advice, data)


def measurements_of(data: Mapping[str, Any] | None) -> Measurements | None:
    """The deep measurements that were data."""
    from chainrule.lens.diagnose.deep import Measurements

    return None if data is None else revived(Measurements, data)


def _change(data: Mapping[str, Any]) -> Change:
    def apply(setup: Any) -> Any:
        raise ChainruleError(
            f"a diagnosis that was read from a file cannot {data['title']}; diagnose the network "
            "again, and apply the finding of that"
        )

    return Change(data["title"], apply, data.get("code", ""), data.get("kind", ""))
