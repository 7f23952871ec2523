"""Find the frame of the cohort, or the labelled image, that a returned frame refers to."""

import logging
import os
from collections.abc import Iterable, Iterator, Mapping
from functools import cached_property
from pathlib import Path, PureWindowsPath

from pipeline_lib.core.errors import StoreError
from pipeline_lib.io.corrections.labels import FrameKey
from pipeline_lib.io.label_projects.manifest import Manifest, RecordedFrame
from pipeline_lib.io.labels.returned import ReturnedFrame
from pipeline_lib.steps.label_projects.cohort import Cohort, read_chosen_frames

_log = logging.getLogger(__name__)

_ELSEWHERE = "is no frame of this project; to train on it, name the file under `labels`"


class UnknownFrameError(Exception):
    """Report that a frame is not, or not clearly, one of the project; the message says why."""


class GoneError(Exception):
    """Report that the video or the image of a frame is no longer part of the project."""


class FrameFinder:
    """Find the frames that a returned file refers to, by whatever names it uses.

    Parameters
    ----------
    cohort
        The run.
    manifest
        Record of the labelling project that the file comes from; None where there is none.
    folder
        The project's folder.
    """

    def __init__(self, cohort: Cohort, manifest: Manifest | None, folder: Path) -> None:
        self._cohort, self._manifest, self._folder = cohort, manifest, folder
        self._named: set[str] = set()  # recorded paths of which only the name was found

    def find(self, frame: ReturnedFrame) -> tuple[FrameKey, RecordedFrame | None]:
        """Return the frame that is meant, and the record of how it was handed over, if any.

        The video of a frame is found by its path. In this order: the path that the project wrote;
        the path of the file on this machine; the one video that shares the longest end of the path
        (folders and name); the name alone, which is a video's id or the name of one file of the
        cohort. If only the name agrees, the log says so. Images are found by their files, through
        links.

        Raises
        ------
        UnknownFrameError
            If no frame of the project fits, or several do, or if only the end of the video's path
            agrees and the number of frames does not.
        GoneError
            If it was handed over, but its video or image is no longer part of the project.
        """
        if frame.frame < 0:
            return self._find_image(frame)
        video = self._find_video(frame)
        key = FrameKey(video, frame.frame, "")
        count = self._cohort.videos[video].frames
        if count and frame.frame >= count:
            raise UnknownFrameError(f"video {video} has the frames 0 to {count - 1}")
        return key, self._recorded.get((video, frame.frame, ""))

    def _find_image(self, frame: ReturnedFrame) -> tuple[FrameKey, RecordedFrame | None]:
        if frame.image is not None:
            real = os.path.realpath(frame.image)
            if record := self._by_file.get(real):
                return self._check(record), record
            if key := self._by_image.get(real):
                return key, None
            raise UnknownFrameError(_ELSEWHERE)
        # A path on the machine where labels were made: only its end agrees with the project.
        ends = [one for one in self._records if _ends_with(frame.recorded, one.file)]
        if len(ends) == 1:
            return self._check(ends[0]), ends[0]
        real = os.path.realpath(frame.recorded) if _can_exist(frame.recorded) else ""
        if key := self._by_image.get(real):
            return key, None
        raise UnknownFrameError(_ELSEWHERE)

    def _check(self, record: RecordedFrame) -> FrameKey:
        """Return the frame of a record; strangers may have changed the record."""
        key = FrameKey(record.video, record.frame, record.image)
        if key.image:
            known = self._labelled.get(key.image)
            if known is None:
                raise GoneError(f"image {key.image} is no longer among the labels")
            return known
        video = self._cohort.videos.get(key.video)
        if video is None:
            raise GoneError(f"video {key.video} is no longer part of the cohort")
        if key.frame < 0 or (video.frames and key.frame >= video.frames):
            raise GoneError(f"video {key.video} has no frame {key.frame}")
        return key

    def _find_video(self, frame: ReturnedFrame) -> str:
        recorded = frame.recorded
        name = self._recordings.get(recorded)
        if name is not None and name not in self._cohort.videos:
            raise GoneError(f"video {name} is no longer part of the cohort")
        if name is None:
            name = self._cohort.find_video(Path(recorded)) if _can_exist(recorded) else None
        return name if name is not None else self._match_end(frame)

    def _match_end(self, frame: ReturnedFrame) -> str:
        """Return the only video whose path shares the longest end with the recorded path."""
        recorded = frame.recorded
        lengths = {
            name: _count_shared(recorded, video.path.as_posix())
            for name, video in self._cohort.videos.items()
        }
        longest = max(lengths.values(), default=0)
        found = [name for name, length in lengths.items() if length == longest]
        stem = PureWindowsPath(recorded).stem
        if longest <= 1 and stem in self._cohort.videos:
            found, longest = [stem], 1
        if not longest:
            raise UnknownFrameError("is none of the videos of the cohort sheet, by its name")
        if len(found) > 1:
            shown = ", ".join(found[:3])
            raise UnknownFrameError(
                f"may be any of the videos {shown}, whose files have the same name: merge the "
                "project that `cohortpose write-label-project` wrote, or keep the videos' folders"
            )
        self._check_count(frame, found[0])
        if longest == 1 and recorded not in self._named:
            self._named.add(recorded)
            _log.warning(
                "%s is taken for video %s (%s): only the name agrees",
                *(recorded[-200:], found[0], self._cohort.videos[found[0]].path),
            )
        return found[0]

    def _check_count(self, frame: ReturnedFrame, name: str) -> None:
        """Refuse a video found by the end of its path if it has another number of frames."""
        video = self._cohort.videos[name]
        if frame.count and video.frames and frame.count != video.frames:
            raise UnknownFrameError(
                f"its video has {frame.count} frames as the file records it, but {name} "
                f"({video.path}), whose path ends alike, has {video.frames}: it is another video; "
                "if it is not, link the video to where the file expects it"
            )

    @cached_property
    def _records(self) -> list[RecordedFrame]:
        return [] if self._manifest is None else self._manifest.frames

    @cached_property
    def _recorded(self) -> Mapping[tuple[str, int, str], RecordedFrame]:
        return {(one.video, one.frame, one.image): one for one in self._records}

    @cached_property
    def _recordings(self) -> Mapping[str, str]:
        return {
            PureWindowsPath(one.recording).as_posix(): one.video
            for one in self._records
            if one.recording and not one.image
        }

    @cached_property
    def _by_file(self) -> Mapping[str, RecordedFrame]:
        return {os.path.realpath(self._folder / one.file): one for one in self._records}

    @cached_property
    def _labelled(self) -> Mapping[str, FrameKey]:
        return {one.key.image: one.key for one in self._cohort.labelled if one.key.image}

    @cached_property
    def _by_image(self) -> Mapping[str, FrameKey]:
        """Return the frames by their images: chosen frames and labelled ones."""
        found = {
            os.path.realpath(image): FrameKey(video, frame, "")
            for video, frame, image in self._list_chosen()
            if video in self._cohort.videos
        }
        for one in self._cohort.labelled:
            found[os.path.realpath(one.file)] = one.key
        return found

    def _list_chosen(self) -> Iterator[tuple[str, int, Path]]:
        for choice in ("selected", "refined"):
            try:
                yield from read_chosen_frames(self._cohort, choice)
            except StoreError:
                continue


def find_mixed_videos(found: Iterable[tuple[str, str]]) -> Iterator[str]:
    """Yield a problem for each video of the cohort that several videos of a file match.

    Parameters
    ----------
    found
        Pairs of a video of the cohort and the path in the file that it was found for. If only the
        names of two paths agree, they are two videos, such as ``day1/cam.mp4`` and
        ``day2/cam.mp4``, of which the cohort has one.
    """
    recorded: dict[str, dict[str, None]] = {}
    for video, path in found:
        recorded.setdefault(video, {})[path] = None
    for video, (first, *others) in recorded.items():
        for other in others:
            if _count_shared(first, other) <= 1:
                yield (
                    f"{first[-200:]} and {other[-200:]} would both be video {video}: keep the "
                    "labels of the one that it is"
                )


def _can_exist(recorded: str) -> bool:
    return "\0" not in recorded


def _split(path: str) -> tuple[str, ...]:
    return tuple(part.casefold() for part in PureWindowsPath(path).parts if part != "..")


def _ends_with(path: str, end: str) -> bool:
    parts, wanted = _split(path), _split(end)
    return bool(wanted) and parts[-len(wanted) :] == wanted


def _count_shared(first: str, second: str) -> int:
    """Count the parts at the ends of two paths that are equal."""
    pairs: Iterable[tuple[str, str]] = zip(
        reversed(_split(first)), reversed(_split(second)), strict=False
    )
    shared = 0
    for a, b in pairs:
        if a != b:
            break
        shared += 1
    return shared
