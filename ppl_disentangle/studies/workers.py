"""A pool of processes of which one may crash, hang or run out of memory without harm to the others."""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import queue
import signal
import threading
import traceback
from collections.abc import Callable
from concurrent.futures import Executor, Future
from multiprocessing.connection import Connection, wait
from pathlib import Path
from typing import Any

__all__ = ["TaskError", "Workers"]

SPAWN = multiprocessing.get_context("spawn")
GRACE = 30.0  # seconds that a task has to save its work once it is interrupted


class TaskError(RuntimeError):
    """A task raised an error, ran too long, or took its process with it; the message says which."""


class Workers(Executor):
    """Long-lived processes for tasks that may fail badly: each task has a time limit, and each process a successor.

    ``concurrent.futures.ProcessPoolExecutor`` is lost with the first of its processes. Here only the task fails, with a
    :class:`TaskError`. Processes are started as they are needed, by spawning. Of several GPUs each process
    sees one, in turn.

    Args:
        count: number of processes.
        timeout: seconds that a task may take; ``None``: any.

    Raises:
        ValueError: a count or a timeout that is not positive.

    Example:
        >>> import operator
        >>> with Workers(1, timeout=60) as workers:
        ...     workers.submit(operator.add, 1, 2).result()
        3
    """

    def __init__(self, count: int, *, timeout: float | None = None) -> None:
        if count < 1:
            raise ValueError(f"expected at least one worker, got {count}")
        if timeout is not None and timeout <= 0:
            raise ValueError(f"expected a positive timeout, got {timeout}")
        self._tasks: queue.SimpleQueue[tuple[Future[Any], tuple[Any, ...]] | None] = (
            queue.SimpleQueue()
        )
        self._closed, self._stopping = False, threading.Event()
        self._threads = [
            threading.Thread(target=self._serve, args=(i, timeout), daemon=True)
            for i in range(count)
        ]
        for thread in self._threads:
            thread.start()

    def submit(self, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Future[Any]:
        """Run ``fn(*args, **kwargs)`` in one of the processes; all of it must be picklable."""
        if self._closed:
            raise RuntimeError("the workers have been shut down")
        future: Future[Any] = Future()
        self._tasks.put((future, (fn, args, kwargs)))
        return future

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:
        """Take no more tasks; with ``cancel_futures`` interrupt those under way, as Ctrl-C does, and drop the rest."""
        self._closed = True
        if cancel_futures:
            self._stopping.set()
        for _ in self._threads:
            self._tasks.put(None)
        if wait:
            for thread in self._threads:
                thread.join()

    def _serve(self, number: int, timeout: float | None) -> None:
        worker: _Worker | None = None
        while (task := self._tasks.get()) is not None:
            future, call = task
            if self._stopping.is_set() or not future.set_running_or_notify_cancel():
                future.cancel()
                continue
            worker = worker if worker is not None and worker.process.is_alive() else _Worker(number)
            try:
                future.set_result(worker.run(call, timeout, self._stopping))
            except BaseException as error:
                future.set_exception(error)
        if worker is not None:
            worker.stop()


class _Worker:
    """One process, at the other end of a pipe."""

    def __init__(self, number: int) -> None:
        self.pipe, other = SPAWN.Pipe()
        self.process = SPAWN.Process(target=_work, args=(other, number), daemon=True)
        self.process.start()
        other.close()

    def run(self, call: tuple[Any, ...], timeout: float | None, stopping: threading.Event) -> Any:
        """What the call returns.

        Raises:
            TaskError: it raised an error, took too long, or ended the process.
        """
        try:
            self.pipe.send(call)
        except Exception as error:
            raise TaskError(f"the task cannot be sent to a process: {error}") from error
        left, beat = timeout, 0.2
        while not wait([self.pipe, self.process.sentinel], beat):
            left = None if left is None else left - beat
            if left is not None and left <= 0:
                self.process.kill()
                self.process.join()
                raise TaskError(f"the task was ended after its {timeout:g} s")
            if stopping.is_set() and self.process.pid is not None:
                self.interrupt()
                break
        try:
            succeeded, value = self.pipe.recv()
        except EOFError:
            self.process.join()
            raise TaskError(
                f"the process of the task ended with {_in_words(self.process.exitcode)}"
            ) from None
        if not succeeded:
            raise TaskError(value)
        return value

    def interrupt(self) -> None:
        """Ask the task to save its work and to end, as Ctrl-C does."""
        with contextlib.suppress(ProcessLookupError):
            os.kill(self.process.pid or 0, signal.SIGINT)
        if not wait([self.pipe, self.process.sentinel], GRACE):
            self.process.kill()

    def stop(self) -> None:
        """End the process."""
        with contextlib.suppress(OSError):
            self.pipe.send(None)
        self.process.join(GRACE)
        self.process.kill()


def _in_words(exitcode: int | None) -> str:
    if exitcode is None or exitcode >= 0:
        return f"status {exitcode}"
    note = ", as when memory runs out" if -exitcode == signal.SIGKILL else ""
    return f"signal {signal.Signals(-exitcode).name}{note}"


def _see_one_gpu(number: int) -> None:
    """Of several GPUs, leave this process one; before it has asked for any."""
    named = os.environ.get("CUDA_VISIBLE_DEVICES")
    there = [str(i) for i, _ in enumerate(Path("/proc/driver/nvidia/gpus").glob("*"))]
    visible = there if named is None else named.split(",")
    if len(visible) > 1:
        os.environ["CUDA_VISIBLE_DEVICES"] = visible[number % len(visible)]


def _work(pipe: Connection, number: int) -> None:
    """What a process does: one call after the other. An interrupt ends a call, not the process."""
    _see_one_gpu(number)
    signal.signal(
        signal.SIGINT, signal.default_int_handler
    )  # ignored where a shell started this in the background
    while True:
        try:
            call = pipe.recv()
        except (EOFError, KeyboardInterrupt):
            return
        if call is None:
            return
        fn, args, kwargs = call
        try:
            reply = True, fn(*args, **kwargs)
        except BaseException as error:
            last = traceback.extract_tb(error.__traceback__)[-1]
            reply = False, f"{type(error).__name__}: {error} ({last.name}, line {last.lineno})"
        pipe.send(reply)
