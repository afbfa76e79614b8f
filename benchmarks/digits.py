"""Test accuracy of `chainrule fit` on the digits: `python -m benchmarks.digits`.

Split N is what `--seed N` draws: a stratified fifth of the 1797 digits is held out for the test.
`chainrule demo` is split 0.
"""

from __future__ import annotations

import statistics
import tempfile
from pathlib import Path

from chainrule.cli.digits import write_digits
from chainrule.train import Settings, fit_table

SPLITS = range(10)


def main() -> None:
    """Print each split's test accuracy and training time, then their mean."""
    found = []
    with tempfile.TemporaryDirectory() as folder:
        table = write_digits(Path(folder) / "digits.npz")
        for seed in SPLITS:
            out = Path(folder) / f"split-{seed}"
            run = fit_table(table, "digit", out=out, settings=Settings(seed=seed), quiet=True)
            score, seconds = run.scores[0], run.history.epochs[-1].seconds
            found.append(score.value)
            print(f"split {seed}: test {score}; trained in {seconds:.1f} s", flush=True)
    low, high = min(found), max(found)
    print(f"mean of {len(found)} splits {statistics.mean(found):.4f}, from {low:.4f} to {high:.4f}")


if __name__ == "__main__":
    main()
