"""How the counts of the sample comparison are printed. Without PyTorch, for `conftest.py`."""

from __future__ import annotations

from collections import Counter


def lines(counts: Counter[str]) -> list[str]:
    """`float64 agreed`, `float64 gradients`, and `left out: reason` -> lines."""
    left_out = {k.partition(": ")[2]: n for k, n in counts.items() if k.startswith("left out")}
    dtypes = [d for d in ("float64", "float32", "complex128", "int64") if counts[f"{d} agreed"]]
    return [
        *(
            f"{dtype}: {counts[f'{dtype} agreed']:,} samples of {counts[f'{dtype} names']} names "
            f"agree, {counts[f'{dtype} gradients']:,} of them in their gradients too"
            for dtype in dtypes
        ),
        f"left out: {sum(left_out.values()):,} samples",
        *(f"  {n:,}: {reason}" for reason, n in sorted(left_out.items(), key=lambda p: -p[1])),
    ]
