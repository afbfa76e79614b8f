"""What it costs to have chainrule: time to import it and to ask for help, and megabytes on disk.

python -m benchmarks.startup
"""

from __future__ import annotations

import importlib.metadata
import importlib.util
import os
import re
import statistics
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

RUNS = 20


def main() -> None:
    print(f"{'seconds of a whole process':32} {'least':>8} {'median':>8}")
    for title, command in {
        "python, nothing": ("-c", "pass"),
        "import numpy": ("-c", "import numpy"),
        "import chainrule": ("-c", "import chainrule"),
        "its first tensor": ("-c", "import chainrule; chainrule.ones(1) + 1"),
        "its first network": ("-c", "from chainrule import nn; nn.Linear(1, 1)"),
        "chainrule --help": ("-c", "from chainrule.cli import main; main()", "--help"),
    }.items():
        times = run_times(command)
        print(f"{title:32} {min(times):8.3f} {statistics.median(times):8.3f}")
    for name in ("chainrule", "torch", "jax"):
        parts = installed_sizes(name)
        if not parts:
            print(f"\n{name} is not installed")
            continue
        print(f"\n{name + ' and what it needs':32} {sum(parts.values()) / 1e6:8.1f} MB")
        for part, size in sorted(parts.items(), key=lambda item: -item[1]):
            print(f"  {part:30} {size / 1e6:8.1f}")


def run_times(arguments: Sequence[str], runs: int = RUNS) -> list[float]:
    """Seconds that `python ARGUMENTS` takes, with everything compiled to bytecode and in cache."""
    environment = {k: v for k, v in os.environ.items() if k != "PYTHONDONTWRITEBYTECODE"}
    times = []
    for i in range(runs + 1):
        start = time.perf_counter()
        subprocess.run(
            [sys.executable, *arguments], check=True, env=environment, stdout=subprocess.DEVNULL
        )
        if i:  # the first one warms
            times.append(time.perf_counter() - start)
    return times


def installed_sizes(name: str) -> dict[str, int]:
    """Bytes on disk of an installed distribution and of each that it needs, without extras."""
    found: dict[str, int] = {}
    waiting = [name]
    while waiting:
        name = re.sub(r"[-_.]+", "-", waiting.pop()).lower()
        if name in found:
            continue
        try:
            distribution = importlib.metadata.distribution(name)
        except importlib.metadata.PackageNotFoundError:
            continue  # not needed on this platform
        files = {Path(str(file.locate())) for file in distribution.files or ()}
        spec = importlib.util.find_spec(name) if name == "chainrule" else None
        if spec is not None and spec.origin is not None:  # an editable install lists no files
            files |= set(Path(spec.origin).parent.rglob("*"))
        found[name] = sum(file.stat().st_size for file in files if file.is_file())
        for requirement in distribution.requires or ():
            needed, _, marker = requirement.partition(";")
            if "extra" not in marker:
                waiting.append(re.split(r"[^\w.-]", needed.strip())[0])
    return found


if __name__ == "__main__":
    main()
