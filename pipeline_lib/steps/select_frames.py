"""Select and write the frames of each video to label (``select-frames``)."""

import json
import logging
import math
import re
import time
from collections.abc import Iterator, Mapping
from contextlib import closing
from pathlib import Path
from typing import Any, assert_never

import numpy as np
from numpy.typing import NDArray

from pipeline_lib.core import versions
from pipeline_lib.core.errors import CohortposeError, StoreError, VideoError
from pipeline_lib.core.layout import Results
from pipeline_lib.core.settings.network import FrameSettings
from pipeline_lib.core.settings.reading import hash_settings
from pipeline_lib.core.settings.run import Config
from pipeline_lib.core.tables import PROBE_COLUMNS, STAGE_COLUMNS, VideoStatus
from pipeline_lib.io.images import write_png
from pipeline_lib.io.publish import publish_folder
from pipeline_lib.io.stage_tables import read_table, write_table
from pipeline_lib.io.video.reader import VideoReader
from pipeline_lib.kernels.frame_selection import limit_range, select_kmeans, select_uniform
from pipeline_lib.steps.infer.frames.read_ahead import ReadAhead, explain_stall
from pipeline_lib.steps.runs.plan import keep_planned
from pipeline_lib.steps.runs.result_keys import identify_content

_LOG = logging.getLogger(__name__)

# k-means uses at most this number of frames, so that memory does not grow with the video.
_MOST_THUMBNAILS = 20_000
_RECORD = "record.json"
_OWN_FILE = re.compile(r"frame-\d+\.png|frames\.tsv|record\.json")

FRAME_COLUMNS = ("frame", "time", "image")
SELECTION_COLUMNS = (*STAGE_COLUMNS, "number")


def run_select_frames(config: Config, results: Results, shard: str) -> None:
    """Select and write frames of every good video of a shard.

    Each video gets a folder ``frames/VIDEO`` of ``frame-NNNNNNN.png`` and ``frames.tsv``
    (frame; time in s after the first frame; image), published whole. A folder that was made
    from the same video with the same settings is left as it is.

    Parameters
    ----------
    config
        The run; ``config.frames`` says how to select.
    results
        Where the shard's probe table lies and the frames go.
    shard
        Name of the shard.

    Raises
    ------
    StoreError
        If the shard has not been probed.
    """
    files = results.shard(shard)
    rows = []
    for probe in keep_planned(read_table(files.probe, PROBE_COLUMNS), results, shard):
        row = {"video": probe["video"], **_process(probe, config, results)}
        if row["status"] != VideoStatus.DONE:
            _LOG.warning("%s: %s: %s", row["video"], row["status"], row["reason"])
        rows.append(row)
    write_table(files.frames, SELECTION_COLUMNS, rows)


def _process(probe: Mapping[str, str], config: Config, results: Results) -> dict[str, object]:
    if probe["status"] != VideoStatus.DONE:
        return {"status": probe["status"], "reason": probe["reason"]}
    # Whether frames are extracted at all does not change which ones.
    chosen = config.frames.model_dump(mode="json", exclude={"extract"})
    key = hash_settings(chosen, identify_content(probe), versions.SELECT_FRAMES)
    if not probe["fingerprint"]:
        return {"status": VideoStatus.FAILED, "reason": "has poses and no video to take frames of"}
    folder, patience = results.frames(probe["video"]), config.reading.seconds_per_frame
    record = _read_record(folder / _RECORD)
    if record.get("key") != key:
        began = time.monotonic()
        try:
            _check_own(folder)
            with publish_folder(folder) as part:
                with explain_stall(patience):
                    number = _write_frames(Path(probe["path"]), config.frames, part, patience)
                record = {"key": key, "number": number, "seconds": time.monotonic() - began}
                (part / _RECORD).write_text(json.dumps(record) + "\n", encoding="utf-8")
        except CohortposeError as error:
            return {"status": VideoStatus.FAILED, "reason": str(error), "key": key}
    return {"status": VideoStatus.DONE, "reason": "", **record}


def _read_record(path: Path) -> dict[str, Any]:
    try:
        record = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):  # damaged: not JSON, or no text
        return {}
    return record if isinstance(record, dict) else {}


def _check_own(folder: Path) -> None:
    """Refuse to replace a folder that somebody has put files in, such as labels."""
    found = sorted(path.name for path in folder.iterdir()) if folder.is_dir() else []
    foreign = [name for name in found if not _OWN_FILE.fullmatch(name)]
    if foreign:
        raise StoreError(
            f"{folder} was made with other settings and holds files of yours "
            f"({', '.join(foreign[:3])}): move them away, or restore the settings"
        )


def _write_frames(path: Path, settings: FrameSettings, folder: Path, patience: float) -> int:
    """Write the selected frames into a folder and return how many there are."""
    with PatientReader(path, patience) as reader:
        region = _limit_region(settings.crop, reader.facts.width, reader.facts.height)
        if settings.method == "uniform":
            selected = select_uniform(
                reader.facts.frames, settings.number, settings.start, settings.stop, settings.seed
            )
        elif settings.method == "kmeans":
            selected = _select_by_kmeans(reader, settings, region)
        else:
            assert_never(settings.method)
        rows = []
        stop = limit_range(reader.facts.frames, settings.start, settings.stop).stop
        for frame, image in _read_selected(reader, selected, stop):
            name = f"frame-{frame:07d}.png"
            write_png(folder / name, np.ascontiguousarray(image[region]))
            rows.append({"frame": frame, "time": f"{reader.times[frame]:.6f}", "image": name})
    if not rows:
        raise VideoError(
            "none of the selected frames can be decoded: copy the video from its origin again"
        )
    write_table(folder / "frames.tsv", FRAME_COLUMNS, rows)
    return len(rows)


def _limit_region(
    crop: tuple[int, int, int, int] | None, width: int, height: int
) -> tuple[slice, slice]:
    """Return rows and columns of the crop region, clipped to the frame."""
    if crop is None:
        return slice(0, height), slice(0, width)
    x1, x2, y1, y2 = crop
    if x1 >= width or y1 >= height:
        raise VideoError(
            f"`frames.crop` {list(crop)} (x1, x2, y1, y2) lies outside the frame, which is "
            f"{width} x {height} px: change it, or leave it out"
        )
    return slice(y1, min(y2, height)), slice(x1, min(x2, width))


class PatientReader(VideoReader):
    """Read frames, and give up a video whose decoder hangs."""

    def __init__(self, path: Path, patience: float) -> None:
        super().__init__(path)
        self._patience = patience

    def read(
        self, start: int = 0, stop: int | None = None, *, step: int = 1, width: int | None = None
    ) -> Iterator[tuple[int, NDArray[np.uint8] | None]]:
        """Yield frames as `VideoReader.read` does; raise `StalledError` if none comes."""
        frames = super().read(start, stop, step=step, width=width)
        ahead = ReadAhead(
            frames, depth=2, patience=self._patience, progress=lambda: self.packets_read
        )
        with closing(ahead):
            yield from ahead


def _select_by_kmeans(
    reader: PatientReader, settings: FrameSettings, region: tuple[slice, slice]
) -> NDArray[np.int64]:
    span = limit_range(reader.facts.frames, settings.start, settings.stop)
    step = max(settings.step, math.ceil(len(span) / _MOST_THUMBNAILS))
    if step > settings.step:
        _LOG.info("%s: k-means uses every %d-th frame", reader.path, step)
    rows, columns = region
    # Whole frames are shrunk by the decoder so far that the region has the width asked for.
    scale = min(1.0, settings.kmeans_width / (columns.stop - columns.start))
    width = max(1, round(reader.facts.width * scale))
    frames, thumbnails = [], []
    for frame, image in reader.read(span.start, span.stop, step=step, width=width):
        if image is not None:
            frames.append(frame)
            small = (
                _shrink_span(rows, image.shape[0] / reader.facts.height),
                _shrink_span(columns, image.shape[1] / reader.facts.width),
            )
            thumbnails.append(image[small].mean(axis=2).round().astype(np.uint8))
    if not frames:
        raise VideoError(
            "no frame from `frames.start` to `frames.stop` can be decoded: change them, or copy "
            "the video from its origin again"
        )
    positions = select_kmeans(np.stack(thumbnails), settings.number, settings.seed)
    return np.array(frames, dtype=np.int64)[positions]


def _shrink_span(span: slice, scale: float) -> slice:
    first = math.floor(span.start * scale)
    return slice(first, max(first + 1, math.floor(span.stop * scale)))


def _read_selected(
    reader: PatientReader, selected: NDArray[np.int64], stop: int
) -> Iterator[tuple[int, NDArray[np.uint8]]]:
    """Read frames; in place of an undecodable frame, the next decodable one."""
    limits = np.append(selected[1:], stop)
    for first, limit in zip(selected.tolist(), limits.tolist(), strict=True):
        for frame, image in reader.read(first, limit):
            if image is not None:
                yield frame, image
                break
