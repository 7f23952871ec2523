"""Start Dask schedulers and workers without an HTTP server.

Dask opens an HTTP port on every scheduler and worker, even without a dashboard, and serves it
without authentication. These classes open none.
"""

import asyncio
from typing import Any

from distributed import Scheduler, Worker
from distributed.deploy.spec import SpecCluster

_SECONDS_FOR_HEARTBEAT = 2.0


class ClosedScheduler(Scheduler):  # type: ignore[misc]
    """Run a scheduler without an HTTP port."""

    def start_http_server(self, *_: Any, **__: Any) -> None:  # noqa: ANN401 - Dask's
        """Open no port."""


class ClosedWorker(Worker):  # type: ignore[misc]
    """Run a worker without an HTTP port that waits for its last heartbeat before it closes."""

    def __init__(self, *arguments: Any, **more: Any) -> None:  # noqa: ANN401 - Dask's
        self._heartbeats: set[asyncio.Task[Any] | None] = set()
        super().__init__(*arguments, **more)

    def start_http_server(self, *_: Any, **__: Any) -> None:  # noqa: ANN401 - Dask's
        """Open no port."""

    async def heartbeat(self) -> None:
        """Tell the scheduler that this worker lives."""
        task = asyncio.current_task()
        self._heartbeats.add(task)
        try:
            await super().heartbeat()
        finally:
            self._heartbeats.discard(task)

    async def close(self, *arguments: Any, **more: Any) -> str | None:  # noqa: ANN401 - Dask's
        """Wait for a heartbeat under way, two seconds at most, and close the worker.

        Dask's own worker closes the connection of a heartbeat under way, and so fills the
        log with errors of a run that is complete.
        """
        self.periodic_callbacks["heartbeat"].stop()
        under_way = [task for task in self._heartbeats if task and task != asyncio.current_task()]
        if under_way:
            await asyncio.wait(under_way, timeout=_SECONDS_FOR_HEARTBEAT)
        return await super().close(*arguments, **more)  # type: ignore[no-any-return]


class _ClosedCluster(SpecCluster):  # type: ignore[misc]
    """Make a kind of cluster start a `ClosedScheduler`; it must be the last base class."""

    def __init__(self, *arguments: Any, scheduler: Any, **more: Any) -> None:  # noqa: ANN401
        super().__init__(*arguments, scheduler={**scheduler, "cls": ClosedScheduler}, **more)


def close_scheduler(kind: type) -> type:
    """Return the same kind of cluster with a scheduler without an HTTP port.

    Parameters
    ----------
    kind
        Subclass of `distributed.SpecCluster` that passes on its scheduler's description.
    """
    return type(kind.__name__, (kind, _ClosedCluster), {})
