"""Make cohorts of sessions whose videos have been inferred, for tests of the stages after it."""

from collections import Counter
from dataclasses import replace
from pathlib import Path

import numpy as np

from pipeline_lib.core.cohort import read_cohort
from pipeline_lib.core.layout import Results
from pipeline_lib.core.settings.reading import parse_config
from pipeline_lib.core.tables import (
    CALIBRATION_COLUMNS,
    PROBE_COLUMNS,
    STAGE_COLUMNS,
    TRIANGULATION_COLUMNS,
)
from pipeline_lib.io.calibrations.files import write_calibration
from pipeline_lib.io.poses.session import read_session_poses
from pipeline_lib.io.poses.write import write_poses
from pipeline_lib.io.stage_tables import read_table, write_table
from pipeline_lib.kernels.geometry.projection import project
from pipeline_lib.steps.calibrate.cohort import run_calibrate
from pipeline_lib.steps.runs.plan import plan_shards, read_plan
from pipeline_lib.steps.runs.sessions.ledger import derive_session_ledger
from pipeline_lib.steps.runs.sessions.shards import plan_sessions
from pipeline_lib.steps.runs.stage_keys import claim_stage
from pipeline_lib.steps.triangulate.run import run_triangulate
from tests.steps.triangulate.scenes import make_poses, make_rig, move_animals

MODEL = "pose"


class SessionCohort:
    """Manage a results folder with poses of videos, as inference and filtering leave them.

    Each session is filmed by the cameras of `rig`; its truth is in `truth`.
    """

    def __init__(self, folder, **settings):
        self.folder = folder
        self.rig = make_rig(4)
        self.names = [camera.name for camera in self.rig.cameras]
        self.rows, self.truth, self.outcomes, self.frames = [], {}, {}, {}
        (folder / "calibrations").mkdir(parents=True)
        self.write_calibration("day1")
        self.settings = {
            "cohort": str(folder / "cohort.tsv"),
            "results": str(folder / "results"),
            "labels": [{"path": str(folder)}],
            "inference": {"shard_videos": 4},
            "exports": {"formats": []},
            "triangulation": {"enabled": True, "exports": [], **settings},
        }
        self.results = Results(folder / "results")

    @property
    def config(self):
        return parse_config(self.settings)

    def write_calibration(self, name, rig=None):
        path = self.folder / "calibrations" / f"{name}.toml"
        write_calibration(path, self.rig if rig is None else rig, "aniposelib")
        return path

    def add(self, session, moments=40, calibration="calibrations/day1.toml", lengths=None):
        """Add a session; `lengths` is the number of frames by camera where it differs."""
        points = move_animals(moments, 1, seed=len(self.truth))
        self.truth[session] = points
        for camera in self.rig.cameras:
            video = f"{session}-{camera.name}"
            frames = (lengths or {}).get(camera.name, moments)
            pixels = project(camera, points)[:frames]
            extra = np.full((max(0, frames - moments), *pixels.shape[1:]), np.nan)
            poses = make_poses(np.concatenate([pixels, extra]), video=video)
            self.rows.append(
                {
                    "video": video,
                    "path": f"{video}.mp4",
                    "session": session,
                    "camera": camera.name,
                    "calibration": calibration,
                }
            )
            self.outcomes[video] = ("done", "", camera.size)
            self.frames[video] = frames
            key = f"key-{video}"
            poses = replace(poses, attributes={**poses.attributes, "key": key})
            write_poses(self.results.filtered(MODEL, video), poses)

    def change(self, video, **cells):
        """Change cells of the sheet."""
        (row,) = (row for row in self.rows if row["video"] == video)
        row.update(cells)

    def plan(self):
        """Write sheet, plan, and the tables of probing and filtering."""
        columns = tuple(dict.fromkeys(name for row in self.rows for name in row))
        write_table(self.folder / "cohort.tsv", columns, self.rows)
        videos = read_cohort(self.folder / "cohort.tsv")
        plan = plan_shards(videos, self.results, self.config.inference)
        plan_sessions(self.config, videos, plan).write(self.results)
        for shard in plan.shards:
            here = [video for video, other in plan.shard_of.items() if other == shard]
            self._write_tables(shard, [video for video in here if video in self.outcomes])
        return read_plan(self.results)

    def _write_tables(self, shard, videos):
        files, probed, filtered = self.results.shard(shard), [], []
        for video in videos:
            status, reason, (width, height) = self.outcomes[video]
            row = {"video": video, "status": status, "reason": reason}
            size = {"width": width, "height": height, "frames": self.frames[video], "fps": 50.0}
            probed.append({**row, **(size if status != "quarantined" else {})})
            filtered.append({**row, "key": f"key-{video}" if status == "done" else ""})
        write_table(files.probe, PROBE_COLUMNS, probed)
        for table in (files.infer(MODEL), files.filter(MODEL)):
            write_table(table, STAGE_COLUMNS, filtered)

    def run(self):
        """Plan, calibrate and triangulate, as the rules do; return the rows by session."""
        plan = self.plan()
        for stage in ("calibrate", "triangulate"):
            claim_stage(self.config, self.results, stage)
        run_calibrate(self.config, self.results)
        for shard in plan.shards:
            run_triangulate(self.config, self.results, shard)
        return self.read()

    def read(self):
        """Return the rows of the stage by session; each session is in one table."""
        rows = []
        for path in sorted(self.results.shards.glob(f"*/triangulate-{MODEL}.tsv")):
            rows += read_table(path, TRIANGULATION_COLUMNS)
        assert max(Counter(row["session"] for row in rows).values(), default=1) == 1
        return {row["session"]: row for row in rows}

    def read_calibrations(self):
        rows = read_table(self.results.calibrations, CALIBRATION_COLUMNS)
        return {row["calibration"]: row for row in rows}

    def read_poses(self, session):
        return read_session_poses(self.results.triangulated(MODEL, session))

    def read_ledger(self):
        videos = [
            {"video": row["video"], "status": "done", "stage": "filter", "reason": ""}
            for row in self.rows
        ]
        rows = derive_session_ledger(self.config, self.results, videos)
        return {row["session"]: row for row in rows}

    def identify(self):
        """Return inode and time of every file of poses, by session."""
        found = {}
        for path in Path(self.results.triangulated(MODEL, "x").parent).glob("*.zip"):
            facts = path.stat()
            found[path.name.partition(".")[0]] = (facts.st_ino, facts.st_mtime_ns)
        return found
