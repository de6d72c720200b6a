"""Tasks on a Ray cluster, behind the interface of ``concurrent.futures``."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import Executor, Future
from typing import Any

__all__ = ["OnRay"]


class OnRay(Executor):
    """Tasks of Ray Core: on the cluster of this machine, or the one that ``RAY_ADDRESS`` names, else on this machine.

    A task whose node dies is run again on another. Nodes need this library, and the folders that tasks write to.

    Args:
        cpus: that each task takes.
        gpus: that each task takes; a fraction, such as 0.25, lets so many share one.

    Raises:
        ImportError: Ray is not installed.
    """

    def __init__(self, *, cpus: float = 1, gpus: float = 0) -> None:
        try:
            import ray
        except ImportError as error:
            raise ImportError('running on Ray needs pip install "ppl-disentangle[ray]"') from error
        if not ray.is_initialized():
            ray.init(log_to_driver=False)
        self._task = ray.remote(_call).options(num_cpus=cpus, num_gpus=gpus, max_retries=3)
        self._running: dict[Future[Any], Any] = {}

    def submit(self, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Future[Any]:
        """Run ``fn(*args, **kwargs)`` somewhere in the cluster."""
        reference = self._task.remote(fn, args, kwargs)
        future: Future[Any] = reference.future()
        self._running[future] = reference
        future.add_done_callback(lambda ended: self._running.pop(ended, None))
        return future

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:
        """Leave the cluster as it is; with ``cancel_futures`` interrupt the tasks under way."""
        import ray

        for reference in list(self._running.values()) if cancel_futures else ():
            ray.cancel(reference)


def _call(fn: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    return fn(*args, **kwargs)
