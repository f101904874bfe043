"""The machine's matrix-multiply peak: what no training step can exceed.

Square matrices of several sizes, the best of all repeats: a bound, not an average. bfloat16 is measured where the
processor multiplies in it; elsewhere it is emulated, a hundred times slower, and the engine stays in float32.
"""

from __future__ import annotations

import time
from collections.abc import Callable

import joblib
import torch

from benchmarks.processes import side_by_side
from benchmarks.record import Tables
from benchmarks.settings import Settings, precision

TYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16}


def measure(settings: Settings) -> Tables:
    """Measure GFLOP/s in each type: one process with a thread per core, and one single-threaded process per core."""
    cores = joblib.cpu_count()
    sizes = (512, 1024, 2048) if not settings.quick else (64,)
    seconds = 0.6 if not settings.quick else 0.01
    rows = []
    for processes, threads in ((1, cores), (cores, 1)):
        for name in dict.fromkeys(("float32", precision())):
            found = side_by_side(rates, processes, name, sizes, threads, seconds)
            best = max(sum(together) for together in zip(*found, strict=True))
            rows.append({"type": name, "processes": processes, "threads": threads, "gflops": best})
    return {"peak": rows}


def rates(meet: Callable, name: str, sizes: tuple[int, ...], threads: int, seconds: float) -> list[float]:
    """Return this process's best GFLOP/s at each size, all processes multiplying at once."""
    torch.set_num_threads(threads)
    rates = []
    for size in sizes:
        a, b = torch.randn(2, size, size, generator=torch.Generator().manual_seed(0)).to(TYPES[name])
        product = a @ b
        meet()
        best, end = 0.0, time.perf_counter() + seconds
        while time.perf_counter() < end:
            start = time.perf_counter()
            torch.matmul(a, b, out=product)
            best = max(best, 2 * size**3 / (time.perf_counter() - start) / 1e9)
        rates.append(best)
    return rates
