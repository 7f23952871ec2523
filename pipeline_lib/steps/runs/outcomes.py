"""Record the outcome of a verb for each video of a shard, as all stages after inference do."""

import logging
import time
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

from pipeline_lib.core.errors import CohortposeError
from pipeline_lib.core.layout import Results
from pipeline_lib.core.tables import VideoStatus
from pipeline_lib.io.poses.read import require_pose_key
from pipeline_lib.steps.provenance.checksums import Published, record_checksums

_log = logging.getLogger(__name__)

Row = dict[str, Any]


def end_videos(
    verb: str, rows: Iterable[Mapping[str, str]], work: Callable[[str], Mapping[str, str]]
) -> list[Row]:
    """Work on each good video of a shard; a failed video does not stop the others.

    Parameters
    ----------
    verb
        Named in the log.
    rows
        How the stage before ended; a video that ended badly keeps its status and reason.
    work
        Is given the name of a video; returns further cells of its row, its key among them.
        A `CohortposeError` is this video's fate. Whatever else it raises (memory, disk, a bug)
        fails the job, which may succeed elsewhere.

    Returns
    -------
    list of dict
        Rows of the stage's table.
    """
    ended = [_end_video(verb, row, work) for row in rows]
    done = sum(row["status"] == VideoStatus.DONE for row in ended)
    _log.info("%s: %d of %d videos done", verb, done, len(ended))
    return ended


def _end_video(verb: str, row: Mapping[str, str], work: Callable[[str], Mapping[str, str]]) -> Row:
    video = row["video"]
    if row["status"] != VideoStatus.DONE:
        return {"video": video, "status": row["status"], "reason": row["reason"]}
    began = time.perf_counter()
    try:
        made = work(video)
    except CohortposeError as error:
        _log.warning("%s %s: %s", verb, video, error)
        return {"video": video, "status": VideoStatus.FAILED, "reason": str(error)}
    seconds = time.perf_counter() - began
    return {"video": video, "status": VideoStatus.DONE, "seconds": seconds, **made}


def record_poses(
    record: Path,
    results: Results,
    ended: Iterable[Mapping[str, Any]],
    read: tuple[str, Callable[[str], Path]],
    wrote: tuple[str, Callable[[str], Path]],
) -> None:
    """Record the hashes of the pose files that a stage read and wrote.

    Parameters
    ----------
    record
        The shard's table of checksums of that stage.
    results
        The results folder.
    ended
        Rows of `end_videos`.
    read, wrote
        Kind of the files, and a function that returns the one of a video.
    """
    published = []
    for row in ended:
        if row["status"] == VideoStatus.DONE:
            video, source = row["video"], read[1](row["video"])
            published += [
                Published(read[0], source, video, require_pose_key(source)),
                Published(wrote[0], wrote[1](video), video, row["key"]),
            ]
    record_checksums(record, results.root, published)
