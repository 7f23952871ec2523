"""Define the verb about live cameras."""

from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from pipeline_lib.cli_output import echo, echo_text
from pipeline_lib.cli_running import load, report_errors

if TYPE_CHECKING:
    from pipeline_lib.core.settings.outputs.live import LiveSettings


def live(  # noqa: PLR0913 - one for each option
    *,
    source: Annotated[
        list[str] | None,
        typer.Option(
            help="Camera: camera:0, /dev/video0, rtsp://…, video:PATH, folder:PATH, shm:NAME, "
            "zmq:tcp://HOST:PORT or genicam:SERIAL, with or without NAME= before it; several for "
            "several cameras. Without it, `live.cameras` of the config."
        ),
    ] = None,
    model: Annotated[
        str | None,
        typer.Option(
            help="Bundle (a path, https:// or hf://owner/name/file@revision), or a results folder; "
            "without it, that of the config."
        ),
    ] = None,
    config: Annotated[
        Path | None, typer.Option("--config", "-c", help="Config with a section `live`.")
    ] = None,
    output: Annotated[
        Path, typer.Option(help="Folder for poses, videos, times, triggers and counts.")
    ] = Path("live"),
    seconds: Annotated[
        float | None,
        typer.Option(min=0.001, help="How long; without it, until the sources end or Ctrl+C."),
    ] = None,
    fps: Annotated[
        float | None, typer.Option(min=0.001, help="Frames per second asked of every camera.")
    ] = None,
    cropping: Annotated[
        int | None,
        typer.Option(min=0, help="Side in network px of a window that follows the animals."),
    ] = None,
    ahead_ms: Annotated[
        float | None,
        typer.Option(min=0, help="Rules see points as they will be this long after the capture."),
    ] = None,
    record: Annotated[bool, typer.Option(help="Record poses and video.")] = True,
    preview: Annotated[
        bool, typer.Option("--preview", help="Show the cameras in the browser.")
    ] = False,
    port: Annotated[
        int | None, typer.Option(min=1, max=65535, help="Port of the preview on 127.0.0.1.")
    ] = None,
    recover: Annotated[
        bool,
        typer.Option(
            "--recover", help="Only turn what a killed run has left in --output into its results."
        ),
    ] = False,
) -> None:
    """Predict live cameras, act on what they show, and record it all.

    The newest frame wins: frames that came while another was predicted are dropped and counted.
    Rules, actions and processors are set in the config (`live`).
    """
    with report_errors():
        if recover:
            from pipeline_lib.live.recording.finish import finish_recordings

            for path in finish_recordings(output):
                echo(path)
            return
        from pipeline_lib.live.run import LiveRequest, run_live

        changes = {"cropping": cropping, "ahead_ms": ahead_ms}
        settings, network = _read(config, model, source or [], fps)
        chosen = {name: value for name, value in changes.items() if value is not None}
        settings = _change(settings, "prediction", chosen)
        if not record:
            settings = _change(settings, "recording", {"poses": False, "video": False})
        if seconds is not None:
            settings = settings.model_copy(update={"seconds": seconds})
        watch = None
        if preview:
            from pipeline_lib.live.preview import show_preview

            watch = partial(show_preview, port=port, announce=_announce)
        run_live(LiveRequest(settings, network, output), watch=watch)


def _read(
    config: Path | None, model: str | None, sources: list[str], fps: float | None
) -> "tuple[LiveSettings, str]":
    """Return settings and network: of the config, or of the command line alone."""
    from pydantic import ValidationError

    from pipeline_lib.core.errors import ConfigError
    from pipeline_lib.core.settings.outputs.live import CameraSettings, LiveSettings

    settings, network = LiveSettings(), model
    if config is not None:
        whole, results = load(config)
        settings = whole.live
        network = model or whole.model.bundle or str(results.root)
    if network is None:
        raise ConfigError("live", ["expected --model (a bundle or a results folder) or --config"])
    cameras: list[Any] = list(settings.cameras)
    try:
        if sources:
            cameras = [
                CameraSettings(name=name, source=place)
                for name, place in _name_sources(sources).items()
            ]
        if fps is not None:
            cameras = [
                CameraSettings.model_validate({**one.model_dump(), "fps": fps}) for one in cameras
            ]
        values = {**settings.model_dump(), "cameras": [one.model_dump() for one in cameras]}
        return LiveSettings.model_validate(values), network
    except ValidationError as error:
        raise ConfigError("--source", [one["msg"] for one in error.errors()]) from None


def _name_sources(sources: list[str]) -> dict[str, str]:
    """Return sources by the name before `=`, or as `camera`, `camera2` and so on."""
    named: dict[str, str] = {}
    for number, text in enumerate(sources, 1):
        name, found, place = text.partition("=")
        # An address may have `=` in it.
        own = found and name.replace("-", "").replace("_", "").isalnum()
        key = name if own else ("camera" if number == 1 else f"camera{number}")
        if key in named:
            raise typer.BadParameter(f"two sources are named {key!r}", param_hint="--source")
        named[key] = place if own else text
    return named


def _change(settings: "LiveSettings", section: str, values: dict[str, Any]) -> "LiveSettings":
    """Return settings with other values in a section, checked as those of a config."""
    from pydantic import ValidationError

    from pipeline_lib.core.errors import ConfigError

    own = getattr(settings, section)
    try:
        changed = type(own).model_validate({**own.model_dump(), **values})
    except ValidationError as error:
        raise ConfigError("live", [one["msg"] for one in error.errors()]) from None
    return settings.model_copy(update={section: changed})


def _announce(address: str) -> None:
    echo_text(f"Preview at {address}\nOnly whoever has this address sees it.")
