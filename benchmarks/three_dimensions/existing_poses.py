"""Run a cohort of OpenPose's files through the whole workflow, and compare it with Pose2Sim.

With ``COHORTPOSE_DATA`` naming the folder of test data, the sheet of a project names the files of
the four cameras of ``human-4cam-pose2sim`` in its column ``poses``, once of the subject alone and
once of all people, without videos. Printed are the median distances from Pose2Sim's own points.
"""

import argparse
import os
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import yaml
from numpy.typing import NDArray

from pipeline_lib.io.poses.session import read_session_poses

REPOSITORY = Path(__file__).resolve().parents[2]
TRIAL = "S00_P00_SingleParticipant/S00_P00_T01_BalancingTrial"
CAMERAS = ("cam01", "cam02", "cam03", "cam04")
MARKERS = ("Neck", "LWrist", "RWrist", "LAnkle", "RAnkle")
# Session, folder of its files, and most people in one frame.
SESSIONS = (("subject", "pose-associated", 1), ("people", "pose", 3))


def read_trc(path: Path) -> dict[str, NDArray[np.float64]]:
    """Return the points (frame, 3) of each marker, in the axes of the calibration."""
    lines = path.read_text(encoding="utf-8").splitlines()
    names = [name for name in lines[3].split("\t")[2:] if name]
    rows = [line.split("\t")[2 : 2 + 3 * len(names)] for line in lines[5:] if line.strip()]
    values = np.array([[float(cell) if cell.strip() else np.nan for cell in row] for row in rows])
    points = values.reshape(len(values), len(names), 3)[..., [2, 0, 1]]
    return {name: points[:, place] for place, name in enumerate(names)}


def write_project(folder: Path, data: Path, session: str, poses: str, most: int) -> None:
    """Write sheet and config of one session."""
    folder.mkdir()
    shutil.copy(data / "S00_Calibration" / "Calib_qualisys.toml", folder)
    lines = ["video\tpath\tsession\tcamera\tcalibration\tposes\tfps"]
    for camera in CAMERAS:
        files = data / TRIAL / poses / f"{camera}_json"
        row = (f"{session}-{camera}", "", session, camera, "Calib_qualisys.toml", str(files), "60")
        lines.append("\t".join(row))
    (folder / "cohort.tsv").write_text("\n".join(lines) + "\n", encoding="utf-8")
    config = {
        "cohort": "cohort.tsv",
        "individuals": {"max": most},
        "triangulation": {"enabled": True, "source": "raw", "exports": ["csv", "trc", "c3d"]},
    }
    (folder / "config.yaml").write_text(yaml.safe_dump(config), encoding="utf-8")


def run(folder: Path, *options: str) -> str:
    """Run the workflow in a folder; return its output."""
    snakemake, snakefile = Path(sys.executable).parent / "snakemake", REPOSITORY / "Snakefile"
    command = [
        str(snakemake), "--snakefile", str(snakefile), "--cores", "all",
        "--configfile", "config.yaml", *options,
    ]  # fmt: skip
    ended = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
    if ended.returncode:
        raise SystemExit(ended.stdout + ended.stderr)
    return ended.stdout + ended.stderr


def compare(path: Path, truth: dict[str, NDArray[np.float64]]) -> dict[str, float]:
    """Return the median distance in mm of each marker, of the person who is nearest."""
    poses = read_session_poses(path)
    people = []
    for person in range(len(poses.individuals)):
        off = {}
        for name in MARKERS:
            found = poses.position[:, person, poses.bodyparts.index(name)]
            frames = min(len(found), len(truth[name]))
            gaps = np.linalg.norm(found[:frames] - truth[name][:frames], axis=1)
            off[name] = 1000 * float(np.nanmedian(gaps)) if np.isfinite(gaps).any() else np.inf
        people.append(off)
    return min(people, key=lambda off: sum(off.values()))


def main() -> None:
    """Print a row per session."""
    argparse.ArgumentParser(description=__doc__).parse_args()
    data = Path(os.environ["COHORTPOSE_DATA"]) / "human-4cam-pose2sim"
    (trc,) = (path for path in (data / TRIAL / "pose-3d").glob("*.trc") if "filt" not in path.name)
    truth = read_trc(trc)
    print("session\tseconds\t" + "\t".join(f"{name}_mm" for name in MARKERS))
    for session, poses, most in SESSIONS:
        with tempfile.TemporaryDirectory() as parent:
            folder = Path(parent) / "project"
            write_project(folder, data, session, poses, most)
            began = time.perf_counter()
            run(folder)
            seconds = time.perf_counter() - began
            if "Nothing to be done" not in run(folder, "--dry-run"):
                raise SystemExit("a second run would do something")
            off = compare(folder / f"results/triangulated/pose/{session}.zarr.zip", truth)
            told = "\t".join(f"{off[name]:.1f}" for name in MARKERS)
            print(f"{session}\t{seconds:.0f}\t{told}", flush=True)


if __name__ == "__main__":
    main()
