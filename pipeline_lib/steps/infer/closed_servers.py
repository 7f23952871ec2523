"""Dask schedulers and workers without web pages: they listen to their own cluster alone.

Dask opens an HTTP port on every scheduler and worker, also without a dashboard. It asks nobody
who he is, so here it is not opened.
"""

from typing import Any

from distributed import Scheduler, Worker
from distributed.deploy.spec import SpecCluster


class ClosedScheduler(Scheduler):  # type: ignore[misc]
    """A scheduler without an HTTP port."""

    def start_http_server(self, *_: Any, **__: Any) -> None:  # noqa: ANN401 - Dask's
        """Open no port."""


class ClosedWorker(Worker):  # type: ignore[misc]
    """A worker without an HTTP port."""

    def start_http_server(self, *_: Any, **__: Any) -> None:  # noqa: ANN401 - Dask's
        """Open no port."""


class _ClosedCluster(SpecCluster):  # type: ignore[misc]
    """Starts a `ClosedScheduler`, as the last base of a kind of cluster."""

    def __init__(self, *arguments: Any, scheduler: Any, **more: Any) -> None:  # noqa: ANN401
        super().__init__(*arguments, scheduler={**scheduler, "cls": ClosedScheduler}, **more)


def close_scheduler(kind: type) -> type:
    """Return a kind of cluster that differs in its scheduler, which has no HTTP port.

    Parameters
    ----------
    kind
        A subclass of `distributed.SpecCluster` that says which scheduler it starts.
    """
    return type(kind.__name__, (kind, _ClosedCluster), {})
