"""Tasks on a Ray cluster, behind the interface of ``concurrent.futures``."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import Executor, Future
from typing import Any

__all__ = ["OnRay"]


class OnRay(Executor):
    """Run tasks on Ray: on a running cluster, or, if there is none, on this machine.

    The cluster is the one that this machine belongs to, or the one that the environment variable
    ``RAY_ADDRESS`` names. A task whose node dies is run again on another node. Every node needs this
    library and access to the folders that the tasks write to.

    Args:
        cpus: Number of CPUs that each task takes.
        gpus: Number of GPUs that each task takes; with 0.25 four tasks share one GPU.

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
        """Interrupt the running tasks if ``cancel_futures`` is set. The cluster keeps running."""
        import ray

        for reference in list(self._running.values()) if cancel_futures else ():
            ray.cancel(reference)


def _call(fn: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    return fn(*args, **kwargs)
