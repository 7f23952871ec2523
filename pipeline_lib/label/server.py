"""Serve the page on loopback until it is interrupted."""

import errno
import socket
from collections.abc import Callable
from contextlib import closing
from typing import cast

from pipeline_lib.core.errors import CohortposeError
from pipeline_lib.label.access import TOKEN, Access, Application
from pipeline_lib.label.annotations import Annotations
from pipeline_lib.label.project import Project

DEFAULT_PORT = 8765
_LOOPBACK = "127.0.0.1"
_MOST_WEBSOCKET_BYTES = 2**20
# Longest time in seconds for which a page may lose its connection, such as a tunnel.
_RECONNECT_TIMEOUT = 3600.0


class LabelPageError(CohortposeError):
    """Report that the page cannot be served."""


def serve(project: Project, port: int | None, announce: Callable[[str], None]) -> None:
    """Serve the page of a project until the process is interrupted.

    Parameters
    ----------
    project
        What is labelled.
    port
        Port on 127.0.0.1; None: 8765, or any free one where that is taken.
    announce
        Is called with the address, which holds the token, before the first request is answered.

    Raises
    ------
    LabelPageError
        If NiceGUI is not installed, or the port is taken.
    """
    require_nicegui()
    import uvicorn  # noqa: PLC0415 - of the extra `label`

    annotations = Annotations(project)
    with closing(listen(port)) as listening:
        access = Access(_build(annotations))
        config = uvicorn.Config(
            access,
            log_level="warning",
            # It would name every address that is asked for.
            access_log=False,
            server_header=False,
            # There is no proxy whose word counts.
            proxy_headers=False,
            ws_max_size=_MOST_WEBSOCKET_BYTES,
            timeout_graceful_shutdown=1,
        )
        announce(f"http://{_LOOPBACK}:{listening.getsockname()[1]}/?{TOKEN}={access.token}")
        uvicorn.Server(config).run(sockets=[listening])


def require_nicegui() -> None:
    """Refuse to serve the page without its library, NiceGUI.

    Raises
    ------
    LabelPageError
        If it is not installed.
    """
    try:
        import nicegui  # noqa: F401, PLC0415
    except ImportError as error:
        raise LabelPageError(
            f"`cohortpose label` needs NiceGUI ({error}): install the extra `label`, "
            "`pip install 'cohortpose[label]'`"
        ) from None


def _build(annotations: Annotations) -> Application:
    """Return the application: the routes, and NiceGUI below them."""
    from fastapi import FastAPI  # noqa: PLC0415
    from fastapi.exceptions import RequestValidationError  # noqa: PLC0415
    from nicegui import ui  # noqa: PLC0415

    from pipeline_lib.label.page import define_page  # noqa: PLC0415
    from pipeline_lib.label.proofreaders import Proofreaders  # noqa: PLC0415
    from pipeline_lib.label.routes import explain_request, make_router  # noqa: PLC0415
    from pipeline_lib.label.track_routes import make_track_router  # noqa: PLC0415

    app = FastAPI(docs_url=None, redoc_url=None, openapi_url=None)
    app.add_exception_handler(RequestValidationError, explain_request)
    app.include_router(make_router(annotations))
    app.include_router(make_track_router(Proofreaders(annotations.project)))
    define_page(annotations)
    ui.run_with(
        app,
        title="cohortpose label",
        dark=True,
        tailwind=False,
        reconnect_timeout=_RECONNECT_TIMEOUT,
        # The browser asks whether its copy is still right: the package may be newer.
        cache_control_directives="private, no-cache",
        show_welcome_message=False,
    )
    return cast("Application", app)


def listen(port: int | None) -> socket.socket:
    """Return a socket on 127.0.0.1 that takes connections.

    Raises
    ------
    LabelPageError
        If the port is taken.
    """
    for tried in (DEFAULT_PORT, 0) if port is None else (port,):
        listening = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            listening.bind((_LOOPBACK, tried))
            listening.listen(64)
        except OSError as error:
            listening.close()
            if port is None and tried and error.errno == errno.EADDRINUSE:
                continue
            raise LabelPageError(
                f"port {tried} of {_LOOPBACK}: {error.strerror}; choose another one by --port, or "
                "leave it out"
            ) from None
        return listening
    raise AssertionError("port 0 is any free one")  # pragma: no cover
