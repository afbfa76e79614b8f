"""Time chainrule and its peers: `make bench`, or

    python -m benchmarks --workloads tiny,mnist --frameworks chainrule_eager,torch_eager --rounds 9
    python -m benchmarks --tables first,memory,inference,shapes,growth

Each framework has a process of its own and starts from the same weights. Results are compared
before times are. A ratio above 1 says that chainrule is faster.
"""

from __future__ import annotations

import argparse
import pkgutil
import sys
from collections.abc import Callable, Iterable

from benchmarks import frameworks
from benchmarks.machine import description
from benchmarks.tables import TABLES, Bench
from benchmarks.workloads import ALL

FRAMEWORKS = [module.name for module in pkgutil.iter_modules(frameworks.__path__)]


def main() -> None:
    parser = argparse.ArgumentParser(
        "python -m benchmarks", description="Time chainrule and its peers."
    )
    for what, known, default in (
        ("tables", list(TABLES), ["main"]),
        ("workloads", list(ALL), list(ALL)),
        ("frameworks", FRAMEWORKS, FRAMEWORKS),
    ):
        parser.add_argument(
            f"--{what}", type=_names_among(known), default=default, metavar="A,B",
            help=f"some of {', '.join(known)}",
        )  # fmt: skip
    parser.add_argument("--rounds", type=int, default=9, help="how often each has its turn (9)")
    parser.add_argument(
        "--turn", type=float, default=0.5,
        help="seconds of a turn (0.5); a third of them in the tables of many rows",
    )  # fmt: skip
    options = parser.parse_args()
    if options.rounds < 1:
        parser.error("--rounds is at least 1")

    print(description())
    bench = Bench(options.workloads, options.frameworks, options.rounds, options.turn)
    for name in options.tables:
        table = TABLES[name]
        print(f"\n# {name}: {table.__doc__}")
        table(bench)
    if bench.failures:
        sys.exit("not timed: " + "\n".join(bench.failures))


def _names_among(known: Iterable[str]) -> Callable[[str], list[str]]:
    def names(text: str) -> list[str]:
        found = text.split(",")
        for name in found:
            if name not in known:
                raise argparse.ArgumentTypeError(f"{name!r} is none of {', '.join(known)}")
        return found

    return names


if __name__ == "__main__":
    main()
