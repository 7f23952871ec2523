"""Name every file under the results folder. No other module spells these names."""

from dataclasses import dataclass
from pathlib import Path

from pipeline_lib.core.formats.exports import find_format
from pipeline_lib.core.formats.session_exports import find_format as find_session_format

# Beginnings of the names of tables with rows of sessions.
SESSION_TABLES = ("triangulate", "correct-views", "export-sessions", "render-sessions")


@dataclass(frozen=True)
class ShardFiles:
    """Name the records of one shard: the declared outputs of its jobs."""

    folder: Path

    @property
    def manifest(self) -> Path:
        """Return the table of the shard's videos: the only video-side input of its jobs."""
        return self.folder / "manifest.tsv"

    def manifest_key(self, digest: str) -> Path:
        """Return the key file of a manifest: empty, named by the hash of the manifest's rows."""
        return self.folder / f".manifest-{digest}"

    def session_key(self, digest: str) -> Path:
        """Return the key file of the sessions that exports of a shard describe."""
        return self.folder / f".sessions-{digest}"

    def decision_key(self, digest: str) -> Path:
        """Return the key file of the decisions about the tracks of a shard's videos."""
        return self.folder / f".decisions-{digest}"

    @property
    def sessions(self) -> Path:
        """Return the table of the views of the sessions that belong to the shard."""
        return self.folder / "sessions.tsv"

    def view_key(self, digest: str) -> Path:
        """Return the key file of the shard's sessions, named by the hash of their views."""
        return self.folder / f".views-{digest}"

    def is_of_sessions(self, table: Path) -> bool:
        """Tell whether a table of the shard has rows of sessions, not of its videos."""
        if table == self.sessions:
            return True
        name = table.name.removeprefix("contents-")
        return name.startswith(tuple(f"{stage}-" for stage in SESSION_TABLES))

    @property
    def probe(self) -> Path:
        """Return the table of container facts and fingerprint of each video."""
        return self.folder / "probe.tsv"

    @property
    def probe_record(self) -> Path:
        """Return the record of probed files and the result of each; no output of a job."""
        return self.folder / ".probed.tsv"

    def table(self, stage: str, model: str = "") -> Path:
        """Return the table with the outcome of each video in a stage.

        Parameters
        ----------
        stage
            Beginning of the table's name.
        model
            Name of the network whose results these are; empty for results of no network.
        """
        return self.folder / (f"{stage}-{model}.tsv" if model else f"{stage}.tsv")

    @property
    def frames(self) -> Path:
        """Return the table with the outcome of frame selection for each video."""
        return self.table("frames")

    def infer(self, model: str) -> Path:
        """Return the table with the outcome of inference for each video."""
        return self.table("infer", model)

    def track(self, model: str) -> Path:
        """Return the table with the outcome of tracking for each video."""
        return self.table("track", model)

    def correct(self, model: str) -> Path:
        """Return the table with the outcome of correcting the tracks of each video."""
        return self.table("correct", model)

    def decisions(self, model: str) -> Path:
        """Return the table with the outcome of each decision about the tracks of the videos."""
        return self.table("decisions", model)

    def filter(self, model: str) -> Path:
        """Return the table with the outcome of filtering for each video."""
        return self.table("filter", model)

    def export(self, model: str) -> Path:
        """Return the table with the outcome of exporting for each video."""
        return self.table("export", model)

    def infer_record(self, model: str) -> Path:
        """Return the record of the timings of each video's inference; no output of a job."""
        return self.folder / f".inferred-{model}.tsv"

    def export_record(self, model: str) -> Path:
        """Return the record of exported files and the poses in each; no output of a job."""
        return self.folder / f".exported-{model}.tsv"

    def checksums(self, stage: str, model: str) -> Path:
        """Return the checksums of files that a stage published or read; no output of a job."""
        return self.folder / f"contents-{stage}-{model}.tsv"

    def table_checksums(self, stage: str, model: str) -> Path:
        """Return the checksums of a stage's table, and of files that it made beside poses."""
        return self.folder / f".checksums-{self.table(stage, model).name}"

    def cached_outcome(self, verb: str) -> Path:
        """Return the cached outcome of a verb, with all its dependencies; no output of a job."""
        return self.folder / f".remembered-{verb}.json"

    @property
    def jobs(self) -> Path:
        """Return the JSON lines of the verbs that worked on the shard: when, where, with what."""
        return self.folder / "jobs.jsonl"


@dataclass(frozen=True)
class ModelFiles:
    """Name the files of one trained network."""

    folder: Path

    @property
    def checkpoints(self) -> Path:
        """Return the folder of Lightning checkpoints, ``last.ckpt`` among them."""
        return self.folder / "checkpoints"

    @property
    def training_key(self) -> Path:
        """Return the key of the training that the checkpoints belong to."""
        return self.checkpoints / "key.txt"

    @property
    def training_seconds(self) -> Path:
        """Return how long the training of the last checkpoint has taken, s."""
        return self.checkpoints / "seconds.txt"

    @property
    def network(self) -> Path:
        """Return the exported network (ONNX)."""
        return self.folder / "network.onnx"

    @property
    def weights(self) -> Path:
        """Return the same weights for PyTorch."""
        return self.folder / "network.pt"

    @property
    def card(self) -> Path:
        """Return ``model.json``: skeleton, stride, scale, normalisation, training, hashes."""
        return self.folder / "model.json"

    @property
    def history(self) -> Path:
        """Return the learning curves: epoch, step, metric, value."""
        return self.folder / "history.tsv"

    @property
    def quantised(self) -> Path:
        """Return the network in 8-bit integers (ONNX), if its precision was measured."""
        return self.folder / "network-int8.onnx"

    @property
    def precision(self) -> Path:
        """Return what was measured of each precision, and which one was chosen."""
        return self.folder / "precision.json"

    @property
    def locator(self) -> "ModelFiles":
        """Return the network that finds the animal in small frames, if there is one."""
        return ModelFiles(self.folder / "locator")

    @property
    def members(self) -> Path:
        """Return the folder of the networks of an ensemble beside the first."""
        return self.folder / "members"

    def member(self, number: int | str) -> "ModelFiles":
        """Return a network of an ensemble by its number; 1 is this one."""
        return self if str(number) == "1" else ModelFiles(self.members / str(number))

    def list_members(self, count: int) -> tuple["ModelFiles", ...]:
        """Return the networks of an ensemble of so many, this one first."""
        return tuple(self.member(number) for number in range(1, count + 1))

    @property
    def regions(self) -> Path:
        """Return the calibration of confidence: how far from the truth a keypoint may lie."""
        return self.folder / "confidence.json"


@dataclass(frozen=True)
class Results:
    """Name the files in the results folder of a run."""

    root: Path

    def __post_init__(self) -> None:
        # The class is public: people give texts, too.
        object.__setattr__(self, "root", Path(self.root))

    @property
    def ledger(self) -> Path:
        """Return the table of one row per video of the sheet."""
        return self.root / "ledger.tsv"

    @property
    def costs(self) -> Path:
        """Return the table of what videos, groups and the run used and cost."""
        return self.root / "costs.tsv"

    @property
    def accepted(self) -> Path:
        """Return the empty file that exists if no more videos ended badly than allowed."""
        return self.root / ".accepted"

    @property
    def config(self) -> Path:
        """Return the file of every setting in force."""
        return self.root / "config.resolved.yaml"

    @property
    def settings(self) -> Path:
        """Return the folder of the settings of each run, one file each, named by its hash."""
        return self.root / "settings"

    def run_settings(self, digest: str) -> Path:
        """Return the settings file of runs with one hash, which jobs read; it never changes."""
        return self.settings / f"{digest}.yaml"

    @property
    def run_locks(self) -> Path:
        """Return the folder of the locks of the runs at work, a file for each hash of settings."""
        return self.root / ".runs"

    @property
    def watch(self) -> Path:
        """Return the folder of what `watch` knows of an incoming folder; no output of a job."""
        return self.root / ".watch"

    def stage_key(self, stage: str, model: str, digest: str) -> Path:
        """Return the key file of a stage: empty, named by the hash of all its dependencies.

        Parameters
        ----------
        stage
            Name of the stage.
        model
            Name of the network whose results these are; empty for results of no network.
        digest
            The hash.
        """
        return self.root / "keys" / stage / model / f"key-{digest}"

    def result_key(self, rule: str, model: str, shard: str, number: int) -> Path:
        """Return the key file of results that are no outputs; a lost result raises its number.

        Parameters
        ----------
        rule
            Rule that makes the results.
        model
            Name of the network whose results these are; empty for results of no network.
        shard
            Shard of the results, or a name for results of the whole cohort.
        number
            Number of times that a result was lost.
        """
        return self.root / "keys" / f"{rule}-results" / model / f"{shard}-{number}"

    @property
    def provenance(self) -> Path:
        """Return the record of versions, git commit, seeds and hashes."""
        return self.root / "provenance.json"

    def list_descriptions(self) -> list[tuple[str, Path]]:
        """Return kind and path of the files that describe a run; each run writes all of them."""
        return [
            ("settings", self.config),
            ("provenance", self.provenance),
            ("readme", self.readme),
            ("crate", self.crate),
            ("workflow", self.crate_workflow),
            ("costs", self.costs),
            ("dictionary", self.dictionary),
        ]

    @property
    def dictionary(self) -> Path:
        """Return the table that describes every column of every table."""
        return self.root / "dictionary.tsv"

    @property
    def crate(self) -> Path:
        """Return the description of the run as a Workflow Run RO-Crate."""
        return self.root / "ro-crate-metadata.json"

    @property
    def readme(self) -> Path:
        """Return the guide to the folder, for people who received it."""
        return self.root / "README.md"

    @property
    def crate_workflow(self) -> Path:
        """Return the folder of the Snakefiles that ran, as the crate describes them."""
        return self.root / "workflow"

    @property
    def environments(self) -> Path:
        """Return the folder of the software that verbs ran with, files named by their hashes."""
        return self.root / "environments"

    @property
    def jobs(self) -> Path:
        """Return the JSON lines of the verbs that worked on the whole cohort."""
        return self.root / "jobs.jsonl"

    @property
    def checksums(self) -> Path:
        """Return the checksums of the files of the whole cohort."""
        return self.root / "contents.tsv"

    @property
    def shards(self) -> Path:
        """Return the folder of shards; its ``plan.tsv`` assigns each video to a shard."""
        return self.root / "shards"

    @property
    def plan(self) -> Path:
        """Return the append-only table of the plan: video, shard, state."""
        return self.shards / "plan.tsv"

    def shard(self, shard: str) -> ShardFiles:
        """Return the records of one shard."""
        return ShardFiles(self.shards / shard)

    def frames(self, video: str) -> Path:
        """Return the folder of the frames selected from one video."""
        return self.root / "frames" / video

    @property
    def labels(self) -> Path:
        """Return the imported labels, one row per point."""
        return self.root / "labels" / "labels.parquet"

    @property
    def label_images(self) -> Path:
        """Return the folder of labelled frames without a file: SOURCE/VIDEO/frame-NNNNNNN.png."""
        return self.root / "labels" / "images"

    @property
    def chosen_settings(self) -> Path:
        """Return the values that were chosen from the labels for settings that are `auto`."""
        return self.root / "labels" / "chosen_settings.yaml"

    @property
    def label_conflicts(self) -> Path:
        """Return the list of labels that corrections replaced, and of corrections left out."""
        return self.root / "labels" / "conflicts.tsv"

    @property
    def targets(self) -> Path:
        """Return the Zarr store of training targets."""
        return self.root / "targets" / "targets.zarr"

    @property
    def locator_targets(self) -> Path:
        """Return the Zarr store of the locator's training targets."""
        return self.root / "targets" / "locator.zarr"

    @property
    def clips(self) -> Path:
        """Return the Zarr store of clips without labels that a training learns from."""
        return self.root / "targets" / "clips.zarr"

    def model(self, model: str) -> ModelFiles:
        """Return the files of one trained network."""
        return ModelFiles(self.root / "models" / model)

    def metrics(self, model: str) -> Path:
        """Return the table of metrics on labelled frames."""
        return self.root / "evaluation" / model / "metrics.tsv"

    def members(self, model: str) -> Path:
        """Return the table of the errors of the members of an ensemble, beside the ensemble's."""
        return self.root / "evaluation" / model / "members.tsv"

    def regions(self, model: str) -> Path:
        """Return the table of how many held-out points the regions of confidence contain."""
        return self.root / "evaluation" / model / "regions.tsv"

    def predictions(self, model: str) -> Path:
        """Return the table of predicted keypoints of every labelled frame."""
        return self.root / "evaluation" / model / "predictions.parquet"

    def score_maps(self, model: str) -> Path:
        """Return the score maps that the network draws for the worst test frames."""
        return self.root / "evaluation" / model / "score_maps.npz"

    def evaluated_networks(self, model: str) -> Path:
        """Return the file that names the networks that were evaluated."""
        return self.root / "evaluation" / model / "networks.json"

    def poses(self, model: str, video: str) -> Path:
        """Return the pose file of one video as the network gave it."""
        return self.root / "poses" / model / f"{video}.zarr"

    def segments(self, model: str, key: str) -> Path:
        """Return the folder of the finished segments of a video that is not complete yet."""
        return self.root / "poses" / model / ".segments" / key

    def tracked(self, model: str, video: str) -> Path:
        """Return the pose file of one video with one animal per slot, packed."""
        return self.root / "tracked" / model / f"{video}.zarr.zip"

    def corrected(self, model: str, video: str) -> Path:
        """Return the pose file of one video with corrected tracks, packed."""
        return self.root / "corrected" / model / f"{video}.zarr.zip"

    def filtered(self, model: str, video: str) -> Path:
        """Return the pose file of one video after filtering, packed."""
        return self.root / "filtered" / model / f"{video}.zarr.zip"

    def of_video(self, folder: str, model: str, name: str) -> Path:
        """Return the file of one video in a folder of a stage's own."""
        return self.root / folder / model / name

    def exported(self, model: str, video: str, suffix: str) -> Path:
        """Return the exported file of one video in a format of `exports.formats`."""
        return self.root / "exports" / model / f"{video}.{find_format(suffix).suffix}"

    def rendered(self, model: str, video: str) -> Path:
        """Return the video with its poses drawn on it."""
        return self.root / "rendered" / model / f"{video}.mp4"

    def worst_seconds(self, model: str, video: str) -> Path:
        """Return the clip of the worst seconds of a video."""
        return self.root / "worst_seconds" / model / f"{video}.mp4"

    def rendered_session(self, model: str, session: str) -> Path:
        """Return the video of a session: its views beside its poses in space."""
        return self.root / "rendered_sessions" / model / f"{session}.mp4"

    def kinematics(self, model: str, table: str, video: str) -> Path:
        """Return the file of one video in a table of kinematics, a folder that is one data set.

        Its name begins with the table's: readers of data sets pass over names that begin with ``_``
        or a dot.
        """
        return self.root / "kinematics" / model / table / f"{table}.{video}.parquet"

    def kinematics_dictionary(self, model: str) -> Path:
        """Return the table that describes every column of the tables of kinematics."""
        return self.root / "kinematics" / model / "dictionary.tsv"

    @property
    def session_ledger(self) -> Path:
        """Return the table of one row per session of the sheet."""
        return self.root / "sessions.tsv"

    @property
    def calibrations(self) -> Path:
        """Return the table of one row per calibration that sessions name."""
        return self.root / "calibrations.tsv"

    def calibration(self, name: str) -> Path:
        """Return a calibration as sessions are triangulated with it (aniposelib's TOML)."""
        return self.root / "calibrations" / f"{name}.toml"

    def calibration_quality(self, name: str) -> Path:
        """Return the table of the cameras of a calibration."""
        return self.root / "calibrations" / f"{name}.quality.tsv"

    @property
    def calibration_record(self) -> Path:
        """Return the record of calibrations and what each was made from; no output of a job."""
        return self.root / "calibrations" / ".calibrated.tsv"

    def triangulated(self, model: str, session: str) -> Path:
        """Return the three-dimensional poses of one session, packed."""
        return self.root / "triangulated" / model / f"{session}.zarr.zip"

    def corrected_views(self, model: str, session: str) -> Path:
        """Return the folder of the poses of a session's videos, corrected by the other views."""
        return self.root / "corrected_views" / model / session

    def corrected_view(self, model: str, session: str, video: str) -> Path:
        """Return the pose file of one video, corrected by the other views of its session."""
        return self.corrected_views(model, session) / f"{video}.zarr.zip"

    def session_export(self, model: str, session: str, name: str) -> Path:
        """Return the exported file of one session in a format of `triangulation.exports`."""
        suffix = find_session_format(name).suffix
        return self.root / "exports" / model / f"{session}.{suffix}"

    def refined(self, model: str) -> Path:
        """Return the folder of the frames that are worth labelling after a network has run."""
        return self.root / "refine" / model

    def refined_table(self, model: str) -> Path:
        """Return the table of these frames: where each is, and why it was chosen."""
        return self.refined(model) / "frames.tsv"

    def label_errors(self, model: str) -> Path:
        """Return the table of labels that are probably wrong."""
        return self.refined(model) / "label_errors.tsv"

    def refined_frames(self, model: str) -> Path:
        """Return the folder of their images: a folder for each video, as that of `frames`."""
        return self.refined(model) / "frames"

    @property
    def quality(self) -> Path:
        """Return the table of decisions about videos: one row per finding."""
        return self.root / "qc.tsv"

    @property
    def quality_measures(self) -> Path:
        """Return the table of what was measured of each video."""
        return self.root / "qc_measures.tsv"

    def video_quality(self, model: str, video: str) -> Path:
        """Return the record of what was measured of one video."""
        return self.root / "quality" / model / f"{video}.json"

    @property
    def report(self) -> Path:
        """Return the report page."""
        return self.root / "report" / "index.html"

    @property
    def report_data(self) -> Path:
        """Return the folder of what the report page loads as needed, and of its further pages."""
        return self.root / "report" / "data"

    def report_details(self, shard: str) -> Path:
        """Return the script file of the pages of a shard's videos."""
        return self.report_data / f"videos-{shard}.js"

    def report_network(self, model: str) -> Path:
        """Return the report's page of one network."""
        return self.report_data / f"network-{model}.html"

    @property
    def report_summaries(self) -> Path:
        """Return the cache of the report: the summary of each pose file, by its key."""
        return self.root / "report" / "summaries.json"

    @property
    def multiqc(self) -> Path:
        """Return the folder of files that MultiQC shows."""
        return self.root / "multiqc"
