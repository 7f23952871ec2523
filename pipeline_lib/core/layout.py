"""Where everything lies under the results folder. No other module spells these names."""

from dataclasses import dataclass
from pathlib import Path

from pipeline_lib.core.export_formats import find_format


@dataclass(frozen=True)
class ShardFiles:
    """The records of one shard: the declared outputs of its jobs."""

    folder: Path

    @property
    def manifest(self) -> Path:
        """Videos of the shard: the only video-side input of its jobs."""
        return self.folder / "manifest.tsv"

    def manifest_key(self, digest: str) -> Path:
        """Return the key file of a manifest: empty, named by the hash of the manifest's rows."""
        return self.folder / f".manifest-{digest}"

    def session_key(self, digest: str) -> Path:
        """Return the key file of what exports tell of a shard's sessions, as the sheet has them."""
        return self.folder / f".sessions-{digest}"

    @property
    def probe(self) -> Path:
        """Container facts and fingerprint of each video."""
        return self.folder / "probe.tsv"

    @property
    def probe_record(self) -> Path:
        """What the probe found, and of which file; no output of a job, so that it survives one."""
        return self.folder / ".probed.tsv"

    @property
    def frames(self) -> Path:
        """How frame selection ended for each video."""
        return self.folder / "frames.tsv"

    def infer(self, model: str) -> Path:
        """How inference ended for each video."""
        return self.folder / f"infer-{model}.tsv"

    def track(self, model: str) -> Path:
        """How tracking ended for each video."""
        return self.folder / f"track-{model}.tsv"

    def filter(self, model: str) -> Path:
        """How filtering ended for each video."""
        return self.folder / f"filter-{model}.tsv"

    def export(self, model: str) -> Path:
        """How exporting ended for each video."""
        return self.folder / f"export-{model}.tsv"

    def infer_record(self, model: str) -> Path:
        """Seconds and shares of each video's inference; no output of a job: it survives one."""
        return self.folder / f".inferred-{model}.tsv"

    def export_record(self, model: str) -> Path:
        """Which exported files hold which poses; no output of a job, so that it survives one."""
        return self.folder / f".exported-{model}.tsv"

    def contents(self, stage: str, model: str) -> Path:
        """Hashes of the files that a stage published or read; it survives jobs, too."""
        return self.folder / f"contents-{stage}-{model}.tsv"

    def remembered(self, verb: str) -> Path:
        """How a verb ended, with all that it depended on; it survives jobs, too."""
        return self.folder / f".remembered-{verb}.json"

    @property
    def jobs(self) -> Path:
        """One JSON line per verb that worked on the shard: when, where, with what; append-only."""
        return self.folder / "jobs.jsonl"


@dataclass(frozen=True)
class ModelFiles:
    """One trained network."""

    folder: Path

    @property
    def checkpoints(self) -> Path:
        """Folder of Lightning checkpoints, ``last.ckpt`` among them."""
        return self.folder / "checkpoints"

    @property
    def network(self) -> Path:
        """The exported network (ONNX)."""
        return self.folder / "network.onnx"

    @property
    def weights(self) -> Path:
        """The same weights for PyTorch."""
        return self.folder / "network.pt"

    @property
    def card(self) -> Path:
        """``model.json``: skeleton, stride, scale, normalisation, training record, hashes."""
        return self.folder / "model.json"

    @property
    def history(self) -> Path:
        """Learning curves: epoch, step, metric, value."""
        return self.folder / "history.tsv"

    @property
    def locator(self) -> "ModelFiles":
        """The network that finds the animal in small frames, if there is one."""
        return ModelFiles(self.folder / "locator")


@dataclass(frozen=True)
class Results:
    """The results folder of a run."""

    root: Path

    @property
    def ledger(self) -> Path:
        """One row per video of the sheet."""
        return self.root / "ledger.tsv"

    @property
    def accepted(self) -> Path:
        """Empty; there when no more videos ended badly than the config allows."""
        return self.root / ".accepted"

    @property
    def config(self) -> Path:
        """Every setting in force."""
        return self.root / "config.resolved.yaml"

    @property
    def settings(self) -> Path:
        """Folder of the settings of each run, one file each, named by its hash."""
        return self.root / "settings"

    def run_settings(self, digest: str) -> Path:
        """Return the settings of the runs of one hash: what their jobs read; never changed."""
        return self.settings / f"{digest}.yaml"

    @property
    def run_locks(self) -> Path:
        """Folder of the locks of the runs at work, one file for each hash of settings."""
        return self.root / ".runs"

    def stage_key(self, stage: str, model: str, digest: str) -> Path:
        """Return the key file of a stage: empty, named by the hash of all that it depends on.

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
        """Return the key file of a shard's results: its number is raised when one is missing."""
        return self.root / "keys" / f"{rule}-results" / model / f"{shard}-{number}"

    @property
    def provenance(self) -> Path:
        """Versions, git commit, seeds, hashes."""
        return self.root / "provenance.json"

    @property
    def crate(self) -> Path:
        """Description of the run as a Workflow Run RO-Crate."""
        return self.root / "ro-crate-metadata.json"

    @property
    def readme(self) -> Path:
        """What is where, for people who were handed the folder."""
        return self.root / "README.md"

    @property
    def crate_workflow(self) -> Path:
        """Folder of the Snakefiles that ran, as the crate describes them."""
        return self.root / "workflow"

    @property
    def environments(self) -> Path:
        """Folder of the software that verbs ran with, one file each, named by its hash."""
        return self.root / "environments"

    @property
    def jobs(self) -> Path:
        """Like a shard's, of the verbs that work on the whole cohort."""
        return self.root / "jobs.jsonl"

    @property
    def contents(self) -> Path:
        """Hashes of the files of the whole cohort, at the end of a run."""
        return self.root / "contents.tsv"

    @property
    def shards(self) -> Path:
        """Folder of shards; ``plan.tsv`` beside them says which video is where."""
        return self.root / "shards"

    @property
    def plan(self) -> Path:
        """Append-only table: video, shard, state."""
        return self.shards / "plan.tsv"

    def shard(self, shard: str) -> ShardFiles:
        """Return the records of one shard."""
        return ShardFiles(self.shards / shard)

    def frames(self, video: str) -> Path:
        """Return the folder of the frames selected from one video."""
        return self.root / "frames" / video

    @property
    def labels(self) -> Path:
        """Imported labels, one row per point."""
        return self.root / "labels" / "labels.parquet"

    @property
    def label_images(self) -> Path:
        """Folder of labelled frames that no image file held: SOURCE/VIDEO/frame-NNNNNNN.png."""
        return self.root / "labels" / "images"

    @property
    def targets(self) -> Path:
        """Zarr store of training targets."""
        return self.root / "targets" / "targets.zarr"

    @property
    def locator_targets(self) -> Path:
        """Zarr store of the targets of the network that finds the animal in small frames."""
        return self.root / "targets" / "locator.zarr"

    def model(self, model: str) -> ModelFiles:
        """Return the files of one trained network."""
        return ModelFiles(self.root / "models" / model)

    def metrics(self, model: str) -> Path:
        """Return the table of metrics on labelled frames."""
        return self.root / "evaluation" / model / "metrics.tsv"

    def predictions(self, model: str) -> Path:
        """Return the table of predicted keypoints of every labelled frame."""
        return self.root / "evaluation" / model / "predictions.parquet"

    def score_maps(self, model: str) -> Path:
        """Return the score maps that the network draws for the worst test frames."""
        return self.root / "evaluation" / model / "score_maps.npz"

    def poses(self, model: str, video: str) -> Path:
        """Return the pose file of one video as the network gave it."""
        return self.root / "poses" / model / f"{video}.zarr"

    def segments(self, model: str, key: str) -> Path:
        """Return the folder of the finished segments of a video that is not complete yet."""
        return self.root / "poses" / model / ".segments" / key

    def tracked(self, model: str, video: str) -> Path:
        """Return the pose file of one video with an individual in each place, packed."""
        return self.root / "tracked" / model / f"{video}.zarr.zip"

    def filtered(self, model: str, video: str) -> Path:
        """Return the pose file of one video after filtering, packed."""
        return self.root / "filtered" / model / f"{video}.zarr.zip"

    def exported(self, model: str, video: str, suffix: str) -> Path:
        """Return the exported file of one video in a format of `exports.formats`."""
        return self.root / "exports" / model / f"{video}.{find_format(suffix).suffix}"

    @property
    def report(self) -> Path:
        """The report page."""
        return self.root / "report" / "index.html"

    @property
    def report_summaries(self) -> Path:
        """Cache of the report: summary of each pose file, by its key."""
        return self.root / "report" / "summaries.json"
