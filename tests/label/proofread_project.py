"""Make a demo with exact tracks in which animals are exchanged, to be proofread."""

import numpy as np

from pipeline_lib.core.layout import Results
from pipeline_lib.core.tables import STAGE_COLUMNS, TrackStatus
from pipeline_lib.demo.truth import list_truths, read_truth
from pipeline_lib.demo.write import DemoSettings, write_demo
from pipeline_lib.io.poses.write import create_poses
from pipeline_lib.io.stage_tables import write_table

SHARD = "00001"


def write_exchanged(folder, exchanges, frames=60, videos=2):
    """Render three animals in each video; exchange pairs of them: {video: [(frame, one, other)]}.

    Returns
    -------
    dict
        The exact tracks of each video.
    """
    settings = DemoSettings(
        videos=videos, frames=frames, individuals=3, labelled_frames=4, damaged=False
    )
    write_demo(folder, settings)
    results, truths, rows = Results(folder / "results"), {}, []
    for path in list_truths(folder):
        truth = read_truth(path)
        exact = np.where(truth.visible[..., None], truth.position, np.nan).astype(np.float32)
        tracks = exact.copy()
        for frame, *pair in exchanges.get(path.stem, ()):
            tracks[frame:, pair] = tracks[frame:, pair[::-1]]
        found = np.isfinite(tracks).all(-1).any(-1)
        status = np.where(found, TrackStatus.FOLLOWED, TrackStatus.GAP).astype(np.uint8)
        seen = np.isfinite(tracks[..., 0]).astype(np.float32)
        time = np.arange(frames) / settings.fps
        target = results.tracked("pose", path.stem)
        attributes = {"key": f"tracks of {path.stem}", "video": path.stem}
        with create_poses(
            target, time, truth.bodyparts, truth.individuals, attributes, tracked=True
        ) as writer:
            writer.write(0, tracks, seen, np.zeros(frames, np.uint8), status)
        truths[path.stem] = exact
        rows.append({"video": path.stem, "status": "done", "key": attributes["key"]})
    write_table(results.shard(SHARD).track("pose"), STAGE_COLUMNS, rows)
    return truths
