"""Writes docs/vocabulary.md, with the counts of a run: python -m tests.against.torch_vocabulary"""

from __future__ import annotations

import re
import textwrap
from collections import Counter
from pathlib import Path

from tests.against.torch_conventions import FORWARD, PREPARED, REAL_ONLY, ROUGH, TRUTH
from tests.against.torch_counts import lines
from tests.against.torch_creation import RANDOM
from tests.against.torch_names import ONE
from tests.against.torch_samples import NAMES, OPS, counted, dtypes
from tests.against.torch_uncovered import REASONS, UNCOVERED

PAGE = Path(__file__).resolve().parents[2] / "docs" / "vocabulary.md"

TEXT = """\
# The vocabulary, beside PyTorch's

PyTorch has sample inputs for {all} names (`torch.testing`'s `op_db`, variants counted each). Of
these {covered} are covered by meaning: {one} by one call of one operation, {composed} by a short
composition; {random} are random or undefined numbers, of which shape and dtype are compared. The
other {uncovered} are not covered, for the reasons below. `make test-oracles` runs every sample on
both sides: values, and for random cotangents the gradients of all inputs. It counted:

```text
{counts}
```

This page is written by `python -m tests.against.torch_vocabulary`; the tables that it is made from
are in `tests/against/torch_*.py`, and each composition stands there as code.

## Which name an operation has

One function has one name:

1. the name in the [Array API standard](array-api.md), where it has one: `cr.concat`, `cr.multiply`;
2. else the one that NumPy (in `cr.special` SciPy) and PyTorch share: `cr.fmod`, `special.ndtr`;
3. else that of the one that has it: `cr.interp`, `special.betainc`; `cr.topk`, `cr.scatter_add`.
   All of `nn` has PyTorch's names.

A second name exists only as a method of `Tensor`, and only where PyTorch's users type it without
thinking while the standard's has no method: `x.permute`, `x.transpose`, `x.unsqueeze`. There is no
second function of `cr`: no `cr.cat`, `cr.mul`, `cr.unsqueeze`. (The top level's `cr.lgamma` is
SciPy's `gammaln` in `cr.special`.) What to write for PyTorch's words:

{renamed}

## Where the two differ

- An axis of a number: PyTorch lets `x.sum(dim=0)` of a 0-d array stand for the number. By the
  standard an axis is one of those that there are; the samples are run with the axis written out.
- Casts from complex to real: PyTorch drops the imaginary part. By the standard "casting a complex
  floating-point array to a real-valued data type should not be permitted".
- `squeeze` of an axis that is not of size 1: PyTorch leaves it; by the standard it is an error.
- `median` is the mean of the two in the middle, as in NumPy; PyTorch's is the lower, here
  `quantile(x, 0.5, method="lower")`.
- `var` and `std` have the standard's correction of 0; PyTorch's is 1.
{tables}
- Singular and eigenvectors are compared by what does not depend on their free phase.

## One operation

{same}

## A short composition

{composition}

## Random or undefined

{drawn}

## Not covered

{reasons}
"""


def page(counts: str) -> str:
    named = {t: ours.__name__ for t, ours in ONE.items() if t in NAMES and NAMES[t] is ours}
    composed = [n for n in NAMES if n not in named and n not in RANDOM]
    renamed = {
        t: o for t, o in named.items() if t.split(".")[-1] != o.split(".")[-1] and "." not in t
    }
    return TEXT.format(
        all=len(OPS),
        covered=len(NAMES),
        one=len(named),
        composed=len(composed),
        random=len(RANDOM),
        uncovered=len(UNCOVERED),
        counts=counts,
        renamed=_filled(sorted(f"`{t}`: `{o}`" for t, o in renamed.items() if t[0] != "_"), "; "),
        tables="\n".join(map(_point, _tables())),
        same=_filled([_code(n) for n in named]),
        composition=_filled([_code(n) for n in composed]),
        drawn=_filled([_code(n) for n in RANDOM]),
        reasons="\n".join(
            _point(f"{reason}: {', '.join(map(_code, names.split()))}")
            for reason, names in REASONS.items()
        ),
    )


def _tables() -> list[str]:
    rough = "; ".join(f"`{name}` ({why})" for name, why in ROUGH.items())
    return [
        f"Here for real numbers only: {_listed(REAL_ONLY)}.",
        f"Values only, without gradients: {_listed(FORWARD)}. Indices repeat in their samples; in "
        "PyTorch each value has the gradient of its place, and here the one that stays has it. The "
        "variants `max_unpool*.grad`, where none repeats, agree.",
        f"Samples that are made valid for both sides first, or mean the same then: "
        f"{_listed(PREPARED)}.",
        f"Not compared in float32, where rounding decides: {rough}.",
        f"SciPy decides, and PyTorch is within 1e-6 of it: {_listed(TRUTH)}.",
    ]


def counts_of(text: str) -> str:
    """The counts that a page tells."""
    found = re.search(r"```text\n(.*?)\n```", text, re.DOTALL)
    assert found is not None
    return found[1]


def _code(name: str) -> str:
    return f"`{name}`"


def _listed(names: object) -> str:
    return ", ".join(_code(n) for n in sorted(names))  # type: ignore[call-overload]


def _point(text: str) -> str:
    return textwrap.fill(
        f"- {text}", 98, subsequent_indent="  ", break_long_words=False, break_on_hyphens=False
    )


def _filled(words: list[str], between: str = ", ") -> str:
    return textwrap.fill(between.join(words), 98, break_long_words=False, break_on_hyphens=False)


def main() -> None:
    counts: Counter[str] = Counter()
    for name in NAMES:
        for dtype in dtypes(name):
            counts += counted(name, dtype)
    PAGE.write_text(page("\n".join(lines(counts))))


if __name__ == "__main__":
    main()
