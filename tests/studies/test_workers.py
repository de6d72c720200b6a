"""Tasks that crash, hang or raise, and the others, which do not notice."""

import os
import signal
import time
from pathlib import Path

import pytest

from ppl_disentangle.studies.workers import TaskError, Workers


def process(*_):
    return os.getpid()


def fails():
    raise KeyError("no such thing")


def dies(number):
    os.kill(os.getpid(), number)


def leaves():
    os._exit(3)


def hangs():
    time.sleep(600)


def saves_when_interrupted(path):
    path.touch()
    try:
        time.sleep(600)
    except KeyboardInterrupt:
        path.write_text("saved")
        raise


@pytest.fixture(scope="module")
def workers():
    with Workers(1, timeout=5) as workers:
        yield workers


def test_tasks_run_in_other_processes_which_live_on():
    with Workers(2) as workers:
        pids = set(workers.map(process, range(8)))
    assert os.getpid() not in pids
    assert len(pids) <= 2


BAD = {
    "raises": (fails, (), r"KeyError: 'no such thing' \(fails, line \d+\)"),
    "is killed": (dies, (signal.SIGKILL,), "ended with signal SIGKILL, as when memory runs out"),
    "breaks": (dies, (signal.SIGSEGV,), "ended with signal SIGSEGV"),
    "leaves": (leaves, (), "ended with status 3"),
    "hangs": (hangs, (), "was ended after its 5 s"),
    "cannot be sent": (lambda: 0, (), "cannot be sent to a process"),
}


@pytest.mark.parametrize(("task", "arguments", "message"), BAD.values(), ids=list(BAD))
def test_a_task_that_fails_says_how_and_the_next_one_succeeds(workers, task, arguments, message):
    with pytest.raises(TaskError, match=message):
        workers.submit(task, *arguments).result()
    assert workers.submit(process).result() != os.getpid()


def test_stopping_interrupts_the_task_under_way_lets_it_save_and_drops_the_others(tmp_path: Path):
    workers, path = Workers(1), tmp_path / "work"
    first, second = workers.submit(saves_when_interrupted, path), workers.submit(process)
    while not path.exists():
        time.sleep(0.05)
    start = time.monotonic()
    workers.shutdown(cancel_futures=True)
    assert time.monotonic() - start < 30
    assert path.read_text() == "saved"
    assert "KeyboardInterrupt" in str(first.exception())
    assert second.cancelled()
    with pytest.raises(RuntimeError, match="have been shut down"):
        workers.submit(process)


@pytest.mark.parametrize("options", [{"count": 0}, {"count": 1, "timeout": 0}], ids=str)
def test_numbers_that_are_not_positive_are_refused(options):
    with pytest.raises(
        ValueError, match="expected (at least one worker|a positive timeout), got 0"
    ):
        Workers(**options)


def test_each_process_sees_one_of_several_gpus(monkeypatch):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "4,7")
    with Workers(3) as workers:
        seen = [workers.submit(visible, 0.5) for _ in range(3)]
        assert sorted(future.result() for future in seen) == ["4", "4", "7"]
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "5")
    with Workers(1) as workers:
        assert workers.submit(visible, 0.0).result() == "5"


def visible(seconds):
    time.sleep(seconds)
    return os.environ.get("CUDA_VISIBLE_DEVICES")
