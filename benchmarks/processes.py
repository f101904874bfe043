"""Fresh processes for measurements, one alone or several side by side in step.

What one contender leaves in a process (threads, allocator, patched libraries) must not meet the next one, so each
gets its own. This module times nothing.
"""

from __future__ import annotations

import multiprocessing
import traceback
from collections.abc import Callable
from multiprocessing import connection
from pathlib import Path
from typing import Any

PRELOADED = ("torch", "torchvision.transforms", "mri_aug.models.training")  # imported once, before any process is made


class ProcessError(RuntimeError):
    """A measurement's process raised or died; ``missing`` is true where only an import failed."""

    def __init__(self, message: str, *, missing: bool = False):
        super().__init__(message)
        self.missing = missing


def in_process(function: Callable, *arguments: Any) -> Any:
    """Return ``function(*arguments)`` computed in a fresh process.

    Raises
    ------
    ProcessError
    """
    return side_by_side(_alone, 1, function, *arguments)[0]


def side_by_side(function: Callable, n: int, *arguments: Any) -> list[Any]:
    """Run ``function(meet, *arguments)`` in ``n`` fresh processes at once and return what each gave.

    Calling ``meet()`` waits until all have called it, so that what follows starts together.

    Raises
    ------
    ProcessError
        With the last line of the first failure.
    """
    context = _context()
    barrier = context.Barrier(n)
    pipes = [context.Pipe(duplex=False) for _ in range(n)]
    processes = [context.Process(target=_child, args=(sender, barrier, function, arguments)) for _, sender in pipes]
    for process, (_, sender) in zip(processes, pipes, strict=True):
        process.start()
        sender.close()  # ours: the pipe then ends when the child's end does
    receivers = [receiver for receiver, _ in pipes]
    results, waiting = {}, list(receivers)
    try:
        while waiting:  # in the order they finish: one that died is heard of while the others wait for it
            for receiver in connection.wait(waiting):
                results[receiver] = _received(receiver, function)
                waiting.remove(receiver)
        return [results[receiver] for receiver in receivers]
    finally:
        if waiting:
            barrier.abort()  # releases those that wait for the one which failed
        for process in processes:
            process.join(timeout=60)
            if process.is_alive():
                process.kill()


def _context():
    if "forkserver" not in multiprocessing.get_all_start_methods():
        return multiprocessing.get_context("spawn")
    # A server that has imported torch and done nothing with it: as fresh as a new interpreter, seconds sooner.
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(list(PRELOADED))
    return context


def _alone(meet: Callable, function: Callable, *arguments: Any) -> Any:
    return function(*arguments)


def _child(sender, barrier, function: Callable, arguments: tuple) -> None:
    # The server's method would be this process's default too, and slow every DataLoader that has workers.
    multiprocessing.set_start_method(multiprocessing.get_all_start_methods()[0], force=True)
    try:
        sender.send(("done", function(barrier.wait, *arguments)))
    except ImportError as error:
        sender.send(("missing", f"{type(error).__name__}: {error}"))
    except Exception as error:
        traceback.print_exc()
        sender.send(("failed", f"{type(error).__name__}: {error}"))


def _received(receiver, function: Callable) -> Any:
    try:
        status, value = receiver.recv()
    except EOFError:
        raise ProcessError(f"the process of {function.__name__} died without a word") from None
    if status != "done":
        raise ProcessError(str(value).splitlines()[0], missing=status == "missing")
    return value


def resident_megabytes(name: str = "VmRSS") -> float | None:
    """Return this process's resident memory in MB: ``VmRSS`` now, ``VmHWM`` at its peak; None where not Linux."""
    status = Path("/proc/self/status")
    if not status.is_file():
        return None
    fields = dict(line.split(":", 1) for line in status.read_text().splitlines())
    return int(fields[name].split()[0]) / 1000
