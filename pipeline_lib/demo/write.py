"""Run the verb `demo`: write a cohort with known truth, to try every step without own data."""

import json
import logging
import math
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from pydantic import ValidationError

from pipeline_lib.core.cameras.calibration import Calibration
from pipeline_lib.core.errors import CohortposeError
from pipeline_lib.demo.cohort import (
    BOARDS,
    COPIED_BOARDS,
    DROPPING_CAMERA,
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
from pipeline_lib.demo.render.arena import render_backdrop
from pipeline_lib.demo.render.boards import BoardPainter
from pipeline_lib.demo.render.lens import Lens
from pipeline_lib.demo.render.motion import Walks
from pipeline_lib.demo.rig import BOARD, build_rig, hold_boards
from pipeline_lib.demo.scene import Scene, generate_scene, measure_arena
from pipeline_lib.demo.truth import TRUTH, VideoTruth, write_dropped, write_truth, write_truth_3d
from pipeline_lib.demo.video import cut_video, write_video
from pipeline_lib.io.calibrations.files import write_calibration
from pipeline_lib.io.images import write_png
from pipeline_lib.io.publish import publish_text

__all__ = ["DemoSettings", "make_settings", "write_demo"]

# Raise this number when the same settings give other videos.
VERSION = 1
MARKER = "demo.json"
# Fewest visible bodyparts in a frame that somebody would label.
_MIN_VISIBLE = 3
# Share of the frames that a camera drops.
_DROPPED = 0.05
# Brightness of the light on a board, which changes with its place.
_SHADES = (0.75, 1.05)
# Moments of the calibration that must be refused.
_COPIED = 12

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
    good = [entry for entry in entries if not entry.is_damaged]
    lenses = build_lenses(settings)
    if lenses:
        write_boards(folder, settings, lenses)
    recordings = sorted({entry.recording for entry in good})
    for recording in recordings:
        own = [entry for entry in good if entry.recording == recording]
        _write_recording(folder, settings, own, lenses)
        _log.info("%s: recording %d of %d written", folder, recording + 1, len(recordings))
    if lenses:
        write_dropped(folder, {entry.video: list_dropped(settings, entry) for entry in good})
    for entry in entries:
        if entry.is_damaged:
            cut_video(folder / good[0].path, folder / entry.path)
    labelled = [entry for entry in entries if _has_labels(settings, entry)]
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
    if not (folder / MARKER).is_file():
        if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
            raise CohortposeError(
                f"{folder}: is not empty and not a demo folder; name a new or empty folder"
            )
        _mark(folder, settings, complete=False)
        return False
    earlier, version, complete = _read_marker(folder / MARKER)
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


def measure_scene(folder: Path) -> float:
    """Return the size of the scenes of a demo in mm: the diagonal of their arenas.

    Raises
    ------
    CohortposeError
        If the folder is none of a demo.
    """
    settings, _, _ = _read_marker(folder / MARKER)
    return 2.0 * math.hypot(*measure_arena((settings.width, settings.height)))


def _read_marker(marker: Path) -> tuple[DemoSettings, int, bool]:
    """Return the settings and the version of a demo, and whether it is complete."""
    try:
        found = json.loads(marker.read_text(encoding="utf-8"))
        settings = DemoSettings.model_validate(found["settings"])
        return settings, int(found["version"]), bool(found["complete"])
    except (OSError, ValueError, KeyError, TypeError, ValidationError) as error:
        raise CohortposeError(
            f"{marker}: is not readable ({error}); remove the folder or name another one"
        ) from None


def _mark(folder: Path, settings: DemoSettings, *, complete: bool) -> None:
    content = {"version": VERSION, "complete": complete, "settings": settings.model_dump()}
    publish_text(folder / MARKER, json.dumps(content, indent=2) + "\n")


def list_dropped(settings: DemoSettings, entry: DemoVideo) -> list[int]:
    """List the frames that a camera of the demo in three dimensions drops; never the first."""
    if not settings.boards or entry.camera != DROPPING_CAMERA:
        return []
    rng = np.random.default_rng([settings.seed, entry.recording, 4])
    dropped = rng.random(settings.frames) < _DROPPED
    # The file ends early, too.
    dropped[-1], dropped[0] = True, False
    return [int(frame) for frame in np.flatnonzero(dropped)]


def build_lenses(settings: DemoSettings) -> tuple[Lens, ...]:
    if not settings.boards:
        return ()
    size = (settings.width, settings.height)
    return build_rig((settings.seed, 5), settings.cameras, size, measure_arena(size))


def write_boards(folder: Path, settings: DemoSettings, lenses: tuple[Lens, ...]) -> None:
    """Write the images of the board, those of a bad calibration, and the true calibration."""
    size = (settings.width, settings.height)
    # Boards are shown in the empty arena of the first recording.
    scene = generate_scene((settings.seed, 0), 1, settings.cameras, size, lenses)
    poses = hold_boards(np.random.default_rng([settings.seed, 6]), lenses, settings.boards)
    for number, lens in enumerate(lenses):
        rng = np.random.default_rng([settings.seed, 7, number])
        backdrop = lens.bend(render_backdrop(scene.arena, lens.view).colour)
        painter = BoardPainter(lens, BOARD, backdrop)
        for moment, pose in enumerate(poses):
            image = painter.paint(pose, float(rng.uniform(*_SHADES)), scene.sensor, rng)
            for boards, place in _list_copies(number, moment):
                path = folder / boards / lenses[place].camera.name / f"{moment:03d}.png"
                path.parent.mkdir(parents=True, exist_ok=True)
                write_png(path, image)
    cameras = tuple(lens.camera for lens in lenses)
    write_calibration(folder / TRUTH / "calibration.toml", Calibration(cameras, "mm"), "aniposelib")
    _log.info("%s: %d images of a board written", folder, len(lenses) * len(poses))


def _list_copies(camera: int, moment: int) -> list[tuple[str, int]]:
    """Return the folder and the camera of every place where an image of a board is written.

    The images of the bad calibration are few, and those of camera 1 are camera 0's.
    """
    places = [(BOARDS, camera)]
    if moment < _COPIED and camera != 1:
        places.append((COPIED_BOARDS, camera))
        if camera == 0:
            places.append((COPIED_BOARDS, 1))
    return places


def _write_recording(
    folder: Path, settings: DemoSettings, entries: Sequence[DemoVideo], lenses: tuple[Lens, ...]
) -> None:
    recording = entries[0].recording
    seed = (settings.seed, recording)
    size = (settings.width, settings.height)
    scene = generate_scene(seed, settings.individuals, settings.cameras, size, lenses)
    rng = np.random.default_rng([*seed, 1])
    walks = walk_animals(scene, rng, settings.frames, settings.fps)
    truths = [_write_camera(folder, settings, entry, scene, walks) for entry in entries]
    if settings.cameras > 1:
        session = entries[0].session
        points = locate_bodyparts(scene, walks)
        write_truth_3d(folder, session, points, settings.individual_names)
        if not lenses:
            text = describe_calibration(scene.cameras)
            publish_text(folder / "calibration" / f"{session}.toml", text)
    if recording < settings.labelled_recordings:
        for entry, truth in zip(entries, truths, strict=True):
            frames = _choose_frames(settings, entry, truth.visible)
            # Of fewer labelled frames than videos, some have none.
            if not len(frames):
                continue
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
    dropped = list_dropped(settings, entry)
    kept = [frame for frame in range(settings.frames) if frame not in dropped]
    shot = (pixels for n, pixels in enumerate(keep_truth(filmed)) if n not in dropped)
    write_video(folder / entry.path, shot, settings.fps, kept if dropped else None)
    names = settings.individual_names
    # A dropped frame is a row without an image; the rows end with the file.
    seen, rows = np.stack(visible), kept[-1] + 1
    seen[dropped] = False
    truth = VideoTruth(np.stack(position)[:rows], seen[:rows], names, BODYPARTS)
    write_truth(folder, entry.video, truth)
    return truth


def _has_labels(settings: DemoSettings, entry: DemoVideo) -> bool:
    return entry.recording < settings.labelled_recordings and not entry.is_damaged


def _choose_frames(
    settings: DemoSettings, entry: DemoVideo, visible: NDArray[np.bool_]
) -> NDArray[np.int64]:
    """Choose the labelled frames of a video, one at random in each of equal intervals."""
    labelled = [one.video for one in list_videos(settings) if _has_labels(settings, one)]
    each, more = divmod(settings.labelled_frames, len(labelled))
    number = each + (labelled.index(entry.video) < more)
    clear = np.flatnonzero(visible.sum(axis=-1).max(axis=-1) >= _MIN_VISIBLE)
    if len(clear) < number:
        clear = np.setdiff1d(np.arange(len(visible)), list_dropped(settings, entry))
    rng = np.random.default_rng([settings.seed, entry.recording, 3, entry.camera])
    parts = np.array_split(clear, number) if number else []
    return np.array([rng.choice(part) for part in parts], np.int64)
