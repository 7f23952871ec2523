"""Describe who is compared: other tools in environments of their own, a plain loop, and ours."""

import os
import shutil
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from benchmarks.inference.figures import NETWORKS, RESNET
from benchmarks.inference.networks import MODEL, call_apart, write_model
from benchmarks.inference.timed_runs import command, write_config
from benchmarks.inference.videos import read_images
from benchmarks.peer_programs.process_trees import Used, run_measured
from pipeline_lib.core.errors import CohortposeError
from pipeline_lib.core.layout import ModelFiles, Results
from pipeline_lib.core.settings.reading import parse_config
from pipeline_lib.core.tables import STAGE_COLUMNS, VideoStatus
from pipeline_lib.io.checksums import hash_path
from pipeline_lib.io.poses.read import read_poses
from pipeline_lib.io.publish import publish_text
from pipeline_lib.io.stage_tables import read_table
from pipeline_lib.models.card import read_card
from pipeline_lib.models.inference.tuning.quantisation import quantise
from pipeline_lib.models.precision import PrecisionRecord, format_precision
from pipeline_lib.steps.bundle import BundleTexts, run_deeplabcut_bundle, run_foreign_bundle
from pipeline_lib.steps.import_model import run_import_model

CHECKOUT = Path(__file__).parents[2]
ENVIRONMENTS = CHECKOUT / "build" / "peers"
PROGRAMS = CHECKOUT / "benchmarks" / "peer_programs"
LOOP_BATCH = 8
CALIBRATION_FRAMES = 16
OWN = "cohortpose"
INT8 = "int8"


@dataclass(frozen=True)
class Peer:
    """Describe another tool.

    Attributes
    ----------
    name
        Name of its environment, as ``make peers`` has it, and of its program.
    network
        Its network, in words.
    command
        What is called, in words.
    batch
        Frames per batch.
    """

    name: str
    network: str
    command: str
    batch: int

    @property
    def python(self) -> Path:
        """Return its Python, which need not exist; a variable such as COHORTPOSE_SLEAP_NN wins."""
        stated = os.environ.get(f"COHORTPOSE_{self.name.upper()}")
        return Path(stated) if stated else ENVIRONMENTS / self.name / "bin" / "python"

    @property
    def program(self) -> list[str]:
        """Return the beginning of its command line."""
        return [str(self.python), str(PROGRAMS / f"{self.name}_program.py")]

    @property
    def given(self) -> str:
        """Return what it is given, in words."""
        return f"{self.command}, {self.network}, batches of {self.batch}"


PEERS = {
    one.name: one
    for one in (
        Peer(
            "deeplabcut",
            "its default ResNet-50 (group normalisation, output stride 16 and a deconvolution)",
            "deeplabcut.analyze_videos, once for all videos, device cpu",
            8,
        ),
        Peer(
            "lightning_pose",
            "heat maps on a ResNet-50",
            "Model.predict_on_video_file as in litpose predict, without metrics, OpenCV reads",
            8,
        ),
        Peer(
            "sleap_nn",
            "a U-Net of 16 filters, strides 16 and 4",
            "sleap-nn track for each video in one process, device cpu",
            4,
        ),
    )
}


@dataclass(frozen=True)
class Work:
    """Describe the videos of a run.

    Attributes
    ----------
    name
        ``long`` or ``short``.
    videos
        The videos.
    frames
        Frames of all of them.
    """

    name: str
    videos: Sequence[Path]
    frames: int


@dataclass(frozen=True)
class Contestant:
    """Run a tool with a network.

    Attributes
    ----------
    folder
        Folder for what it writes.
    network
        Name of a peer, whose network it is, or `OWN`.
    tool
        ``peer``, ``loop`` or ``ours``.
    precision
        Arithmetic, of ours.
    """

    folder: Path
    network: str
    tool: str
    precision: str = "float32"

    @property
    def name(self) -> str:
        """Return its name in tables."""
        names = {"peer": self.network, "loop": "plain PyTorch loop"}
        return names.get(self.tool, f"{OWN} {self.precision}")

    @property
    def given(self) -> str:
        """Return what it is given, in words."""
        if self.tool == "peer":
            return PEERS[self.network].given
        if self.tool == "loop":
            return f"OpenCV reads, PyTorch in eager mode, batches of {LOOP_BATCH}, the same network"
        calibrated = ", calibrated on frames of the long video" if self.precision == INT8 else ""
        return (
            f"cohortpose probe and infer, inference.precision {self.precision}{calibrated}, "
            "else defaults"
        )

    def run(self, work: Work, most_seconds: float) -> Used:
        """Predict the videos from scratch and measure it.

        Raises
        ------
        CohortposeError
            If it fails, or leaves a frame out.
        """
        folder = self.folder / self.tool / self.precision / work.name
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
        log = self.folder / f"{self.tool}-{self.precision}-{work.name}.log"
        used = run_measured(
            self._prepare(folder, work),
            folder,
            log,
            environment=list_environment(),
            most_seconds=most_seconds,
        )
        if used.status != 0:
            raise CohortposeError(f"{log}: {explain(used.status, log)}")
        poses = self.read_poses(work)
        first = read_count(work)
        if len(poses) != first:
            raise CohortposeError(f"{log}: {len(poses)} poses of {first} frames")
        return used

    def _prepare(self, folder: Path, work: Work) -> list[str]:
        """Return the command."""
        videos = [str(path) for path in work.videos]
        if self.tool == "peer":
            peer = PEERS[self.network]
            model = self.folder / "peer-network"
            shutil.rmtree(model / "video_preds", ignore_errors=True)
            return [*peer.program, "run", str(model), str(folder), str(peer.batch), *videos]
        model = model_of(self.folder)
        if self.tool == "loop":
            program = [sys.executable, "-m", "benchmarks.peer_programs.plain_loop"]
            return [*program, str(model.folder), str(folder), str(LOOP_BATCH), *videos]
        lines = [f"{path.stem}\t{path}\n" for path in work.videos]
        publish_text(folder / "cohort.tsv", "video\tpath\n" + "".join(lines))
        write_config(folder, {"precision": self.precision, "shard_videos": len(videos)})
        target = Results(folder / "results").model(MODEL).folder
        target.parent.mkdir(parents=True)
        target.symlink_to(model.folder)
        verbs = [" ".join(command(verb)) for verb in ("probe", "infer")]
        return ["sh", "-c", " && ".join(verbs)]

    def read_poses(self, work: Work) -> np.ndarray:
        """Return the poses of the last video of a finished run, shape (frame, keypoint, 2)."""
        folder = self.folder / self.tool / self.precision / work.name
        video = work.videos[-1]
        if self.tool == "ours":
            results = Results(folder / "results")
            rows = read_table(results.shard("00001").infer(MODEL), STAGE_COLUMNS)
            bad = [row for row in rows if row["status"] != VideoStatus.DONE]
            if bad or len(rows) != len(work.videos):
                raise CohortposeError(f"{folder}: {len(rows) - len(bad)} videos are done")
            return read_poses(results.poses(MODEL, video.stem)).position[:, 0]
        target = folder / f"{video.stem}.npy"
        if self.tool == "peer":
            model, peer = self.folder / "peer-network", PEERS[self.network]
            call_peer(peer, "read", model, folder, video, target)
        return np.asarray(np.load(target))


def read_count(work: Work) -> int:
    """Return the frames of one of the videos."""
    return work.frames // len(work.videos)


def model_of(folder: Path) -> ModelFiles:
    """Return our copy of a network."""
    return Results(folder / "imported").model(MODEL)


def list_environment() -> Mapping[str, str]:
    """Return the environment of all, without limits of threads, so that each takes all cores."""
    limits = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS")
    kept = {name: value for name, value in os.environ.items() if name not in limits}
    paths = [str(CHECKOUT), str(CHECKOUT / "tests" / "peers")]
    return {**kept, "PYTHONPATH": os.pathsep.join(paths)}


def call_peer(peer: Peer, *arguments: object) -> None:
    """Call the program of a peer, unmeasured.

    Raises
    ------
    CohortposeError
        If it fails.
    """
    done = subprocess.run(
        [*peer.program, *map(str, arguments)],
        check=False,
        capture_output=True,
        text=True,
        env=dict(list_environment()),
    )
    if done.returncode:
        last = (done.stderr.strip().splitlines() or ["no message"])[-1]
        raise CohortposeError(f"{peer.name} {arguments[0]}: {last}")


def explain(status: int | None, log: Path) -> str:
    """Return why a run failed."""
    if status is None:
        return "it took too long"
    lines = log.read_text(encoding="utf-8", errors="replace").strip().splitlines()
    return f"status {status}: {lines[-1] if lines else 'no message'}"


def prepare_network(folder: Path, network: str, size: tuple[int, int]) -> None:
    """Make the network of a peer with the peer's own code, and import it; or make our own.

    Parameters
    ----------
    folder
        Folder of the network; nothing is done for a finished one.
    network
        Name of a peer, or `OWN`.
    size
        Width and height of the frames, px.

    Raises
    ------
    CohortposeError
        If the peer fails.
    """
    files = model_of(folder)
    if files.card.exists():
        return
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    if network == OWN:
        call_apart(write_model, files, RESNET, NETWORKS[RESNET])
        return
    call_peer(PEERS[network], "make", folder / "peer-network", *size)
    call_apart(import_peer_network, network, folder)


def convert_to_int8(folder: Path, video: Path) -> None:
    """Convert our copy of a network to 8-bit integers, calibrated on the first frames of a video.

    Random weights have no error that could be measured: the record has none. An existing one is
    kept.
    """
    files = model_of(folder)
    if files.precision.exists():
        return
    frames = read_images(video, CALIBRATION_FRAMES)
    quantise(files.network, frames, files.quantised)
    record = PrecisionRecord(
        stated="int8",
        precision="int8",
        reason="int8: for its speed",
        networks={".": read_card(files.card).network_sha256},
        quantised={".": hash_path(files.quantised)},
        calibrated_on=len(frames),
    )
    publish_text(files.precision, format_precision(record))


def import_peer_network(network: str, folder: Path) -> None:
    """Bundle the network of a peer, and import the bundle as `cohortpose import-model` does."""
    texts = BundleTexts("MIT", None, "", "Random weights.")
    place, bundle = folder / "peer-network", folder / "network.cohortpose"
    if network == "deeplabcut":
        from pipeline_lib.models.zoo.foreign.deeplabcut import DeepLabCutSource  # noqa: PLC0415

        run_deeplabcut_bundle(DeepLabCutSource(place / "network"), MODEL, texts, bundle)
    elif network == "lightning_pose":
        run_foreign_bundle("lightning-pose", place, MODEL, texts, bundle)
    else:
        run_foreign_bundle("sleap-nn", place, MODEL, texts, bundle)
    results = Results(folder / "imported")
    values = {"cohort": "c", "results": str(results.root), "training": {"name": MODEL}}
    config = parse_config({**values, "model": {"bundle": str(bundle)}})
    run_import_model(config, results)
