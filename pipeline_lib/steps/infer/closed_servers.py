"""Start Dask schedulers and workers without an HTTP server.

Dask opens an HTTP port on every scheduler and worker, even without a dashboard, and serves it
without authentication. These classes open none.
"""

from typing import Any

from distributed import Scheduler, Worker
from distributed.deploy.spec import SpecCluster


class ClosedScheduler(Scheduler):  # type: ignore[misc]
    """Run a scheduler without an HTTP port."""

    def start_http_server(self, *_: Any, **__: Any) -> None:  # noqa: ANN401 - Dask's
        """Open no port."""


class ClosedWorker(Worker):  # type: ignore[misc]
    """Run a worker without an HTTP port."""

    def start_http_server(self, *_: Any, **__: Any) -> None:  # noqa: ANN401 - Dask's
        """Open no port."""


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
