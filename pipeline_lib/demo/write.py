"""Run the verb `demo`: write a cohort with known truth, to try every step without own data."""

import json
import logging
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from pydantic import ValidationError

from pipeline_lib.core.errors import CohortposeError
from pipeline_lib.demo.cohort import (
    DemoSettings,
    DemoVideo,
    describe_calibration,
    describe_cohort,
    describe_config,
    list_videos,
    make_settings,
)
from pipeline_lib.demo.project import (
    PROJECT,
    VideoLabels,
    write_project_config,
    write_video_labels,
)
from pipeline_lib.demo.recording import FilmedFrame, film, locate_bodyparts, walk_animals
from pipeline_lib.demo.render.animal import BODYPARTS
from pipeline_lib.demo.render.motion import Walks
from pipeline_lib.demo.scene import Scene, generate_scene
from pipeline_lib.demo.truth import VideoTruth, write_truth, write_truth_3d
from pipeline_lib.demo.video import cut_video, write_video
from pipeline_lib.io.publish import publish_text

__all__ = ["DemoSettings", "make_settings", "write_demo"]

# Raise this number when the same settings give other videos.
VERSION = 1
MARKER = "demo.json"
# Fewest visible bodyparts in a frame that somebody would label.
_MIN_VISIBLE = 3

_log = logging.getLogger(__name__)


def write_demo(folder: Path, settings: DemoSettings) -> None:
    """Write the demo cohort.

    The cohort consists of videos, the cohort sheet, a DeepLabCut project with labels, the truth, a
    calibration per session (with several cameras) and a config that runs it.

    Parameters
    ----------
    folder
        New or empty folder, or the folder of an earlier demo with the same settings, which is
        kept, and completed if it was interrupted.
    settings
        Settings of the demo.

    Raises
    ------
    CohortposeError
        If the folder contains anything else, or a demo with other settings.
    """
    if _claim_folder(folder, settings):
        _log.info("%s: this demo exists already", folder)
        return
    entries = list_videos(settings)
    for recording in range(settings.videos):
        _write_recording(folder, settings, [e for e in entries if e.recording == recording])
        _log.info("%s: recording %d of %d written", folder, recording + 1, settings.videos)
    if settings.damaged:
        cut_video(folder / entries[0].path, folder / entries[-1].path)
    labelled = [e for e in entries if e.recording < settings.labelled_recordings]
    write_project_config(
        folder / PROJECT,
        [folder / entry.path for entry in labelled],
        settings.individual_names,
        (settings.width, settings.height),
    )
    publish_text(folder / "cohort.tsv", describe_cohort(entries, settings))
    publish_text(folder / "config.yaml", describe_config(settings))
    _mark(folder, settings, complete=True)


def _claim_folder(folder: Path, settings: DemoSettings) -> bool:
    """Claim the folder for this demo; return True if the demo in it is complete."""
    marker = folder / MARKER
    if not marker.is_file():
        if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
            raise CohortposeError(
                f"{folder}: is not empty and not a demo folder; name a new or empty folder"
            )
        _mark(folder, settings, complete=False)
        return False
    try:
        found = json.loads(marker.read_text(encoding="utf-8"))
        earlier, version = DemoSettings.model_validate(found["settings"]), found["version"]
        complete = bool(found["complete"])
    except (ValueError, KeyError, TypeError, ValidationError) as error:
        raise CohortposeError(
            f"{marker}: is not readable ({error}); remove the folder or name another one"
        ) from None
    changes = [
        f"{name} {getattr(earlier, name)} (now {getattr(settings, name)})"
        for name in DemoSettings.model_fields
        if getattr(earlier, name) != getattr(settings, name)
    ]
    if version != VERSION:
        changes.append(f"version {version} (now {VERSION})")
    if changes:
        raise CohortposeError(
            f"{folder}: contains a demo with other settings: {', '.join(changes)}; "
            "name another folder, or remove this one"
        )
    return complete


def _mark(folder: Path, settings: DemoSettings, *, complete: bool) -> None:
    content = {"version": VERSION, "complete": complete, "settings": settings.model_dump()}
    publish_text(folder / MARKER, json.dumps(content, indent=2) + "\n")


def _write_recording(folder: Path, settings: DemoSettings, entries: Sequence[DemoVideo]) -> None:
    recording = entries[0].recording
    seed = (settings.seed, recording)
    size = (settings.width, settings.height)
    scene = generate_scene(seed, settings.individuals, settings.cameras, size)
    rng = np.random.default_rng([*seed, 1])
    walks = walk_animals(scene, rng, settings.frames, settings.fps)
    truths = [_write_camera(folder, settings, entry, scene, walks) for entry in entries]
    if settings.cameras > 1:
        session = entries[0].session
        points = locate_bodyparts(scene, walks)
        write_truth_3d(folder, session, points, settings.individual_names)
        text = describe_calibration(scene.cameras)
        publish_text(folder / "calibration" / f"{session}.toml", text)
    if recording < settings.labelled_recordings:
        for entry, truth in zip(entries, truths, strict=True):
            frames = _choose_frames(settings, entry, truth.visible)
            hidden = ~truth.visible[frames, ..., None]
            labels = VideoLabels(frames, np.where(hidden, np.nan, truth.position[frames]))
            project, names = folder / PROJECT, settings.individual_names
            write_video_labels(project, folder / entry.path, labels, names)


def _write_camera(
    folder: Path, settings: DemoSettings, entry: DemoVideo, scene: Scene, walks: Walks
) -> VideoTruth:
    rng = np.random.default_rng([settings.seed, entry.recording, 2, entry.camera])
    position, visible = [], []

    def keep_truth(frames: Iterator[FilmedFrame]) -> Iterator[NDArray[np.uint8]]:
        for frame in frames:
            position.append(frame.position)
            visible.append(frame.visible)
            yield frame.pixels

    filmed = film(scene, walks, entry.camera, settings.fps, rng)
    write_video(folder / entry.path, keep_truth(filmed), settings.fps)
    names = settings.individual_names
    truth = VideoTruth(np.stack(position), np.stack(visible), names, BODYPARTS)
    write_truth(folder, entry.video, truth)
    return truth


def _choose_frames(
    settings: DemoSettings, entry: DemoVideo, visible: NDArray[np.bool_]
) -> NDArray[np.int64]:
    """Choose the labelled frames of a video, one at random in each of equal intervals."""
    videos = settings.labelled_recordings * settings.cameras
    place = entry.recording * settings.cameras + entry.camera
    number = settings.labelled_frames // videos + (place < settings.labelled_frames % videos)
    clear = np.flatnonzero(visible.sum(axis=-1).max(axis=-1) >= _MIN_VISIBLE)
    if len(clear) < number:
        clear = np.arange(len(visible))
    rng = np.random.default_rng([settings.seed, entry.recording, 3, entry.camera])
    return np.array([rng.choice(part) for part in np.array_split(clear, number)], np.int64)
