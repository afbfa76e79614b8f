"""Matrix products: our own kernels against OpenBLAS (NumPy's) and PyTorch, in GFLOP/s.

    python -m benchmarks.products [--threads 1] [SUBSTRING]

The shapes are those of the workloads' layers, forward (x·Wᵀ) and backward (g·W and gᵀ·x), and of
squares. Each library has a process of its own, and they take turns; the figure is the best of five
rounds. OpenBLAS is left to choose its kernels: what the environment says of them is taken out.
`chainrule/compile/emit/tiling.py` rests on these figures.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import time
from collections.abc import Callable
from typing import Any

import numpy as np

Make = Callable[[], tuple[np.ndarray, np.ndarray]]
Run = Callable[[int], int]  # so many products or some more; gives how many

ROUNDS, SECONDS = 5, 0.02
LIBRARIES = ("chainrule", "openblas", "torch")
LAYERS = [  # batch, in, out
    (32, 64, 64), (32, 64, 10), (128, 784, 512), (128, 512, 256), (128, 256, 10),
    (256, 1024, 2048), (256, 2048, 2048), (256, 2048, 10), (1024, 128, 384), (1024, 128, 128),
    (1024, 128, 512), (1024, 512, 128), (1024, 128, 256), (64, 3136, 128), (64, 128, 10),
    (1, 64, 64), (1, 784, 512), (1, 2048, 2048), (1, 128, 512),
]  # fmt: skip
SQUARES = [32, 64, 128, 256, 512, 1024, 2048, 4096]


def operands() -> dict[str, Make]:
    """Each product by its name: what makes its two operands, as views of their memory."""

    def random(*shape: int) -> np.ndarray:
        return np.random.default_rng(0).standard_normal(shape).astype(np.float32)

    def product(
        a: tuple[int, int], b: tuple[int, int], *, turn_a: bool = False, turn_b: bool = False
    ) -> Make:
        def make() -> tuple[np.ndarray, np.ndarray]:
            left, right = random(*a), random(*b)
            return left.T if turn_a else left, right.T if turn_b else right

        return make

    found = {}
    for m, i, o in LAYERS:
        name = f"{m}×{i}→{o}"
        found[f"x·Wᵀ {name}"] = product((m, i), (o, i), turn_b=True)
        found[f"g·W  {name}"] = product((m, o), (o, i))
        found[f"gᵀ·x {name}"] = product((m, o), (m, i), turn_a=True)
    for n in SQUARES:
        found[f"a·b  {n}"] = product((n, n), (n, n))
    return found


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--library", choices=LIBRARIES, help=argparse.SUPPRESS)
    parser.add_argument("only", nargs="?", default="")
    options = parser.parse_args()
    if options.library:
        serve(options.library, options.threads)
        return
    workers = {name: start(name, options.threads) for name in LIBRARIES}
    print(f"GFLOP/s, {options.threads} threads{'':8}" + "".join(f"{n:>11}" for n in LIBRARIES))
    for name, make in operands().items():
        if options.only not in name:
            continue
        a, b = make()
        flops = 2 * a.shape[0] * a.shape[1] * b.shape[1]
        best = dict.fromkeys(LIBRARIES, np.inf)
        for _ in range(ROUNDS):
            for library, worker in workers.items():
                best[library] = min(best[library], ask(worker, name))
        print(f"{name:26}" + "".join(f"{flops / best[n] / 1e9:11.1f}" for n in LIBRARIES))
    for worker in workers.values():
        worker.communicate()


def start(library: str, threads: int) -> Any:
    """A process that times one library's products."""
    kept = {k: v for k, v in os.environ.items() if not k.startswith("OPENBLAS_")}
    variables = ("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS", "MKL_NUM_THREADS")
    command = [sys.executable, "-m", "benchmarks.products", "--library", library]
    return subprocess.Popen(
        [*command, "--threads", str(threads)],
        env=kept | dict.fromkeys(variables, str(threads)),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )


def ask(worker: Any, name: str) -> float:
    """Seconds that a product takes there."""
    worker.stdin.write(name + "\n")
    worker.stdin.flush()
    return float(worker.stdout.readline())


def serve(library: str, threads: int) -> None:
    """Answers each name of a product by the seconds that it takes, until the input ends."""
    makes, ready = operands(), {"chainrule": ours, "openblas": numpys, "torch": torchs}[library]
    name, run = "", None
    for line in sys.stdin:
        if line.strip() != name:
            name = line.strip()
            run = ready(*makes[name](), threads)
        assert run is not None
        print(seconds(run), flush=True)


def seconds(run: Run) -> float:
    """The time of one product, among as many as fill SECONDS."""
    times = 1
    while True:
        began = time.perf_counter()
        done = run(times)
        taken = time.perf_counter() - began
        if taken >= SECONDS:
            return taken / done
        times = max(2 * times, int(times * SECONDS / max(taken, 1e-9)))


def ours(a: np.ndarray, b: np.ndarray, threads: int) -> Run:
    """A thousand products in one call where they are short: what a compiled program pays."""
    from llvmlite import ir

    from chainrule.compile.emit import gemm
    from chainrule.compile.engine import compile_module
    from chainrule.compile.machine import machine
    from chainrule.compile.pool import Runner, Thunk, set_num_threads

    set_num_threads(threads)
    strides = [s // a.itemsize for s in (*a.strides, *b.strides)]
    shape = gemm.Contraction(a.dtype, (), a.shape[0], b.shape[1], a.shape[1], *strides)
    chosen, module = gemm.plan(shape, machine()), ir.Module("products")
    gemm.emit(module, "product", chosen, gemm.store_to(2, (shape.n, 1)))
    library = compile_module(module, ["product"])
    c = np.empty((shape.m, shape.n), a.dtype)
    addresses = np.array([x.ctypes.data for x in (a, b, c)], np.int64)
    thunk = Thunk(
        library.address("product"), addresses.ctypes.data, chosen.tasks, parallel=chosen.tasks > 1
    )
    together = 1000 if shape.flops < 1e6 else 1
    runner = Runner([thunk] * together, scratch=chosen.scratch)
    runner()
    np.testing.assert_allclose(c, a @ b, rtol=0, atol=1e-3 * shape.k**0.5)
    held = (a, b, c, library, addresses)  # what the program works on, for as long as it may run

    def run(times: int) -> int:
        assert held
        calls = -(-times // together)
        for _ in range(calls):
            runner()
        return calls * together

    return run


def numpys(a: np.ndarray, b: np.ndarray, threads: int) -> Run:
    c = np.empty((a.shape[0], b.shape[1]), a.dtype)

    def run(times: int) -> int:
        for _ in range(times):
            np.matmul(a, b, out=c)
        return times

    return run


def torchs(a: np.ndarray, b: np.ndarray, threads: int) -> Run:
    import torch

    torch.set_num_threads(threads)
    left, right = torch.from_numpy(a), torch.from_numpy(b)
    c = torch.empty(a.shape[0], b.shape[1])

    def run(times: int) -> int:
        for _ in range(times):
            torch.mm(left, right, out=c)
        return times

    return run


if __name__ == "__main__":
    main()
