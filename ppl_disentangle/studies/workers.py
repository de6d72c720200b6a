"""A pool of processes: one may crash, hang or run out of memory without harm to the others."""

from __future__ import annotations

import contextlib
import math
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
GRACE_SECONDS = 30.0
"""Time that an interrupted task has to save its work."""
POLL_SECONDS = 0.2


class TaskError(RuntimeError):
    """A task raised an error, ran too long, or ended its process; the message says which."""


class Workers(Executor):
    """Run tasks in long-lived processes, each with a time limit; a process that ends is replaced.

    ``concurrent.futures.ProcessPoolExecutor`` breaks when one of its processes crashes. Here only the
    task fails, with a :class:`TaskError`. Processes are spawned when they are first needed. If there are
    several GPUs, they are assigned to the processes in turn, and each process sees one.

    Args:
        count: Number of processes.
        timeout: Seconds after which a task is ended. Left out, tasks may take any time.

    Raises:
        ValueError: The count or the timeout is not positive.

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
        self._closed = False
        self._stopping = threading.Event()
        self._threads = []
        for number in range(count):
            thread = threading.Thread(target=self._serve, args=(number, timeout), daemon=True)
            self._threads.append(thread)
            thread.start()

    def submit(self, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Future[Any]:
        """Run ``fn(*args, **kwargs)`` in a process; the function and its arguments must be picklable."""
        if self._closed:
            raise RuntimeError("the workers have been shut down")
        future: Future[Any] = Future()
        self._tasks.put((future, (fn, args, kwargs)))
        return future

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:
        """Accept no more tasks.

        Args:
            wait: Whether to wait until all tasks have ended.
            cancel_futures: Whether to interrupt running tasks, as Ctrl-C does, and to drop waiting ones.
        """
        self._closed = True
        if cancel_futures:
            self._stopping.set()
        for _ in self._threads:
            self._tasks.put(None)
        if wait:
            for thread in self._threads:
                thread.join()

    def _serve(self, number: int, timeout: float | None) -> None:
        """The loop of one thread: hand tasks to its process, and replace a process that has ended."""
        worker: _Worker | None = None
        while (task := self._tasks.get()) is not None:
            future, call = task
            if self._stopping.is_set() or not future.set_running_or_notify_cancel():
                future.cancel()
                continue
            if worker is None or not worker.process.is_alive():
                worker = _Worker(number)
            try:
                future.set_result(worker.run(call, timeout, self._stopping))
            except BaseException as error:
                future.set_exception(error)
        if worker is not None:
            worker.stop()


class _Worker:
    """One process, at the other end of a pipe."""

    def __init__(self, number: int) -> None:
        self.pipe, other_end = SPAWN.Pipe()
        self.process = SPAWN.Process(target=_work, args=(other_end, number), daemon=True)
        self.process.start()
        other_end.close()

    def run(self, call: tuple[Any, ...], timeout: float | None, stopping: threading.Event) -> Any:
        """Run a call in the process and return its value.

        Raises:
            TaskError: The call raised an error, took too long, or ended the process.
        """
        try:
            self.pipe.send(call)
        except Exception as error:
            raise TaskError(f"the task cannot be sent to a process: {error}") from error
        self._wait(timeout, stopping)
        try:
            succeeded, value = self.pipe.recv()
        except EOFError:
            self.process.join()
            end = _describe_exit(self.process.exitcode)
            raise TaskError(f"the process of the task ended with {end}") from None
        if not succeeded:
            raise TaskError(value)
        return value

    def _wait(self, timeout: float | None, stopping: threading.Event) -> None:
        """Wait for a reply or the end of the process; interrupt the call once ``stopping`` is set."""
        seconds_left = math.inf if timeout is None else timeout
        while not wait([self.pipe, self.process.sentinel], POLL_SECONDS):
            seconds_left -= POLL_SECONDS
            if seconds_left <= 0:
                self.process.kill()
                self.process.join()
                raise TaskError(f"the task was ended after its {timeout:g} s")
            if stopping.is_set() and self.process.pid is not None:
                self.interrupt()
                return

    def interrupt(self) -> None:
        """Ask the call to save its work and to end, as Ctrl-C does; kill the process if it does not."""
        with contextlib.suppress(ProcessLookupError):
            os.kill(self.process.pid or 0, signal.SIGINT)
        if not wait([self.pipe, self.process.sentinel], GRACE_SECONDS):
            self.process.kill()

    def stop(self) -> None:
        """End the process."""
        with contextlib.suppress(OSError):
            self.pipe.send(None)
        self.process.join(GRACE_SECONDS)
        self.process.kill()


def _describe_exit(exitcode: int | None) -> str:
    """The exit status of a process, or the signal that ended it, as text."""
    if exitcode is None or exitcode >= 0:
        return f"status {exitcode}"
    note = ", as when memory runs out" if -exitcode == signal.SIGKILL else ""
    return f"signal {signal.Signals(-exitcode).name}{note}"


def _see_one_gpu(number: int) -> None:
    """Let this process see one of several GPUs. CUDA must not have been initialised yet."""
    variable = os.environ.get("CUDA_VISIBLE_DEVICES")
    if variable is not None:
        visible = variable.split(",")
    else:
        num_gpus = len(list(Path("/proc/driver/nvidia/gpus").glob("*")))
        visible = [str(i) for i in range(num_gpus)]
    if len(visible) > 1:
        os.environ["CUDA_VISIBLE_DEVICES"] = visible[number % len(visible)]


def _work(pipe: Connection, number: int) -> None:
    """The loop of one process: run one call after the other. An interrupt ends a call, not the loop."""
    _see_one_gpu(number)
    # a process that a shell started in the background inherits that interrupts are ignored
    signal.signal(signal.SIGINT, signal.default_int_handler)
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
            frame = traceback.extract_tb(error.__traceback__)[-1]
            reply = False, f"{type(error).__name__}: {error} ({frame.name}, line {frame.lineno})"
        pipe.send(reply)
