"""List the stages of a run in order: one record for each.

This is the only list of stages. The rules of the workflow, the command line, the ledger, the keys,
the cache of finished stages, `verify` and the description of a run read from it the stages of a
run, the settings that their results depend on, and the files that they make.
"""

import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from pipeline_lib.core import versions
from pipeline_lib.core.formats.criteria import CRITERIA
from pipeline_lib.core.formats.kinematics import list_tables
from pipeline_lib.core.layout import ModelFiles, Results
from pipeline_lib.core.settings.chosen import list_auto
from pipeline_lib.core.settings.individuals import IndividualSettings, TrackingSettings
from pipeline_lib.core.settings.reading import hash_settings
from pipeline_lib.core.settings.run import Config
from pipeline_lib.core.settings.videos import FilteringSettings
from pipeline_lib.core.stage_settings import (
    Values,
    has_members,
    has_sessions,
    has_tracks,
    learns_unlabelled,
    select_calibration,
    select_corrected_views,
    select_evaluation,
    select_exports,
    select_filtering,
    select_inference,
    select_judgement,
    select_kinematics,
    select_labels,
    select_locator_targets,
    select_multiqc,
    select_precision,
    select_quality,
    select_refinement,
    select_rendering,
    select_report,
    select_sections,
    select_session_exports,
    select_session_rendering,
    select_targets,
    select_tracking,
    select_training,
    select_triangulation,
)


@dataclass(frozen=True)
class CohortFile:
    """Describe a file or folder that a stage makes for the whole cohort.

    Attributes
    ----------
    kind
        Kind of the file in messages: ``network``, ``metrics`` ...
    path
        Path of the file.
    declared
        Whether the rule declares it as an output, so that Snakemake makes it again if it is lost.
    optional
        Whether some cohorts have none.
    """

    kind: str
    path: Path
    declared: bool = True
    optional: bool = False


@dataclass(frozen=True)
class VideoResults:
    """Describe the results that a stage makes for each video, shard by shard.

    Attributes
    ----------
    about
        Description of the results in messages.
    rule
        Rule of the workflow that calls the verb. The verbs of ``postprocess`` are called one after
        the other, in the order of the stages.
    locate
        Return the path of each result of a video by its kind.
    source
        Return the name of the stage whose results are read.
    key
        Return the key of a result from the key of its source; None for a stage whose keys need
        more than that.
    optional
        Whether a video has a result only if the stage changed something. The others keep the key
        of their source in the stage's table, and later stages read the source.
    compared
        Whether results are small, and the step makes those anew that are not as recorded: a run
        looks for damaged ones, not only for missing ones.
    """

    about: str
    rule: Literal["select_frames", "infer", "postprocess", "render"]
    locate: Callable[[Config, Results, str], Mapping[str, Path]]
    source: Callable[[Config], str]
    key: Callable[[Config, str], str] | None = None
    optional: bool = False
    compared: bool = False


@dataclass(frozen=True)
class SessionResults:
    """Describe the results that a stage makes for each session, shard by shard.

    Attributes
    ----------
    about
        Description of the results in messages.
    locate
        Return the path of each result of a session by its kind.
    source
        Return the name of the stage whose results are read.
    """

    about: str
    locate: Callable[[Config, Results, str], Mapping[str, Path]]
    source: Callable[[Config], str]


def _always(config: Config) -> bool:
    del config
    return True


def _read_none(config: Config) -> tuple[str, ...]:
    del config
    return ()


def _make_none(config: Config, results: Results) -> tuple[CohortFile, ...]:
    del config, results
    return ()


@dataclass(frozen=True)
class Stage:
    """Describe one step of a run.

    Attributes
    ----------
    name
        Name of the stage: its verb, for the locator's network with ``-locator``.
    version
        Number of the step's version, or its name in `pipeline_lib.core.versions`, where the other
        modules that need it find it.
    select
        Return the settings that the stage's results depend on, besides its inputs.
    applies
        Tell whether a run with these settings needs the stage, provided that it has a network.
    needs_labels
        Whether only runs with labels need the stage.
    takes_bundle
        Whether a run needs the stage, too, that has poses without labels: of a bundle, or of
        other tools.
    per_model
        Whether the stage's results belong to one network, named by ``training.name``.
    step
        Function of a verb that works shard by shard, below `pipeline_lib.steps`.
    table
        Beginning of the name of the stage's table of each shard; empty for a stage of the cohort.
    files
        Return the files that the stage makes for the whole cohort.
    videos
        Results of each video.
    sessions
        Results of each session: the videos of several cameras.
    given
        Kinds of the files of the user that the stage reads.
    after
        Names of the stages whose files of the whole cohort this stage reads.
    summarises
        Whether the files of the whole cohort are made from the tables of every shard.
    reads
        Return the names of the stages whose tables of every shard, and no others, the files of
        the whole cohort are made from.
    """

    name: str
    version: str | int
    select: Callable[[Config], Values]
    applies: Callable[[Config], bool] = _always
    needs_labels: bool = True
    takes_bundle: bool = False
    per_model: bool = True
    step: str = ""
    table: str = ""
    files: Callable[[Config, Results], tuple[CohortFile, ...]] = _make_none
    videos: VideoResults | None = None
    sessions: SessionResults | None = None
    given: tuple[
        Literal[
            "labels",
            "corrections",
            "start card",
            "weights",
            "locator weights",
            "bundle",
            "sheet",
            "refinement",
            "calibrations",
            "regions",
            "quality decisions",
        ],
        ...,
    ] = ()
    after: tuple[str, ...] = ()
    summarises: bool = False
    reads: Callable[[Config], tuple[str, ...]] = _read_none

    @property
    def version_number(self) -> int:
        """Number of the step's version: raised when the same inputs give other results."""
        if isinstance(self.version, int):
            return self.version
        number: int = getattr(versions, self.version)
        return number

    def wanted(self, config: Config) -> bool:
        """Tell whether a run needs the stage."""
        if config.has_only_existing or config.model.bundle is not None:
            needed = self.takes_bundle or not self.needs_labels
        else:
            needed = config.has_labels or not self.needs_labels
        return needed and self.applies(config)

    def find_table(self, config: Config, results: Results, shard: str) -> Path:
        """Return the table that the stage writes for a shard."""
        model = config.training.name if self.per_model else ""
        return results.shard(shard).table(self.table, model)

    def list_results(self, config: Config, results: Results, video: str) -> list[Path]:
        """Return the paths of the results of one video; none for a stage of the cohort."""
        return list(self.videos.locate(config, results, video).values()) if self.videos else []

    def list_session_results(self, config: Config, results: Results, session: str) -> list[Path]:
        """Return the paths of the results of one session; none for a stage of videos."""
        return (
            list(self.sessions.locate(config, results, session).values()) if self.sessions else []
        )

    def makes(self, row: Mapping[str, str]) -> bool:
        """Tell whether a video has results of its own, by its row of the stage's table."""
        optional = self.videos is not None and self.videos.optional
        return not optional or row.get("key") != row.get("source_key")

    def find_poses(self, config: Config, results: Results, video: str) -> Path:
        """Return the pose file of a video that a stage after this one reads.

        It is the stage's result; of a stage that leaves a video as it was, that of its source.
        """
        if self.videos is None:
            raise ValueError(f"stage {self.name} makes no poses")
        path = next(iter(self.videos.locate(config, results, video).values()))
        if self.videos.optional and not path.exists():
            return STAGES[self.videos.source(config)].find_poses(config, results, video)
        return path

    def list_settings(self, config: Config) -> tuple[str, ...]:
        """Return one line per setting that the results depend on, and the step's version.

        People read these lines as Snakemake's reason of a rerun.
        """
        lines = [f"{name}: {value}" for name, value in _flatten(self.select(config))]
        return (f"version of the step: {self.version_number}", *lines)

    def hash_settings(self, config: Config) -> str:
        """Return the hash of the settings that the results depend on, and the step's version."""
        return hash_settings(*self.list_settings(config))


def list_video_stages(config: Config) -> tuple[Stage, ...]:
    """Return the stages that each video must pass, in order; the probe is the first."""
    return tuple(STAGES[name] for name in VIDEO_STAGES if STAGES[name].applies(config))


def list_session_stages(config: Config) -> tuple[Stage, ...]:
    """Return the stages that each session must pass, in order."""
    return tuple(stage for stage in STAGES.values() if stage.sessions and stage.wanted(config))


def list_stages_of(rule: str, config: Config) -> tuple[Stage, ...]:
    """Return the stages that a run wants and a rule of shards calls, in order."""
    return tuple(
        stage
        for stage in STAGES.values()
        if stage.videos and stage.videos.rule == rule and stage.wanted(config)
    )


def list_cohort_files(config: Config, results: Results) -> list[tuple[Stage, CohortFile]]:
    """Return the files that a run makes for the whole cohort, each with its stage."""
    return [
        (stage, file)
        for stage in STAGES.values()
        if stage.wanted(config)
        for file in stage.files(config, results)
    ]


def name_training(*, locator: bool = False, member: int = 1) -> str:
    """Return the name of the stage that trains a network.

    Parameters
    ----------
    locator
        It finds the animals.
    member
        Its number in an ensemble.
    """
    if locator:
        return "train-locator"
    return "train-members" if member > 1 else "train"


def tracking_key(
    source_key: str, individuals: IndividualSettings, settings: TrackingSettings
) -> str:
    """Return the key of tracks, given the key of the poses that are tracked."""
    return hash_settings(source_key, settings.result_settings(), individuals, versions.TRACK)


def filtering_key(source_key: str, settings: FilteringSettings) -> str:
    """Return the key of filtered poses, given the key of the poses that are filtered."""
    return hash_settings(source_key, settings.result_settings(), versions.FILTER)


def _flatten(values: Values, prefix: str = "") -> Iterator[tuple[str, str]]:
    """Yield the dotted name and the JSON text of each value."""
    for name, value in values.items():
        if isinstance(value, Mapping):
            yield from _flatten(value, f"{prefix}{name}.")
        else:
            yield f"{prefix}{name}", json.dumps(value, ensure_ascii=False)


def _list_judged(config: Config) -> tuple[str, ...]:
    """Return the stages whose tables refinement reads; the second gives the poses."""
    poses = ("probe", _choose_raw(config))
    views = any(CRITERIA[name].judges == "views" for name in config.refinement.criteria)
    return (*poses, "triangulate") if views and has_sessions(config) else poses


def _choose_raw(config: Config) -> str:
    """Return the stage that gives the poses before filtering."""
    return "correct" if has_tracks(config) else "infer"


def _choose_triangulated(config: Config) -> str:
    return "filter" if config.triangulation.source == "filtered" else _choose_raw(config)


def _choose_exported(config: Config) -> str:
    return "filter" if config.exports.source == "filtered" else _choose_raw(config)


def _locate_exports(config: Config, results: Results, video: str) -> Mapping[str, Path]:
    model = config.training.name
    return {name: results.exported(model, video, name) for name in config.exports.formats}


def rendering_key(config: Config, source_key: str) -> str:
    """Return the key of a video with poses drawn on it, given the key of the poses."""
    return hash_settings(source_key, select_rendering(config), versions.RENDER)


def _locate_rendered(config: Config, results: Results, video: str) -> Mapping[str, Path]:
    model, settings, paths = config.training.name, config.rendering, dict[str, Path]()
    if settings.whole:
        paths["rendered"] = results.rendered(model, video)
    if settings.worst_seconds:
        paths["worst seconds"] = results.worst_seconds(model, video)
    return paths


def _locate_kinematics(config: Config, results: Results, video: str) -> Mapping[str, Path]:
    subjects = config.kinematics.list_subjects((), several=config.individuals.max > 1)
    model = config.training.name
    return {
        f"kinematics {name}": results.kinematics(model, name, video)
        for name in list_tables(subjects)
    }


def quality_key(config: Config, source_key: str) -> str:
    """Return the key of what is measured of a video, given the key of its poses."""
    return hash_settings(source_key, select_quality(config), versions.QUALITY)


def _locate_session_exports(config: Config, results: Results, session: str) -> Mapping[str, Path]:
    model, formats = config.training.name, config.triangulation.exports
    return {name: results.session_export(model, session, name) for name in formats}


def _list_session_ledger(config: Config, results: Results) -> tuple[CohortFile, ...]:
    if not has_sessions(config):
        return ()
    return (CohortFile("sessions", results.session_ledger),)


def _list_choices(config: Config, results: Results) -> tuple[CohortFile, ...]:
    """Return the file of chosen settings; none if the config states all of them."""
    return (CohortFile("chosen settings", results.chosen_settings),) if list_auto(config) else ()


def _list_calibrated(config: Config, results: Results) -> tuple[CohortFile, ...]:
    """Return what an evaluation writes of ensembles, and of networks that are calibrated."""
    model = config.training.name
    found = [("members", results.members(model))] if has_members(config) else []
    if config.calibrates:
        # With few held-out labels there is none.
        found += [("regions", results.regions(model)), ("confidence", results.model(model).regions)]
    return tuple(CohortFile(kind, path, declared=False, optional=True) for kind, path in found)


def _list_imported_files(config: Config, results: Results) -> tuple[CohortFile, ...]:
    files = results.model(config.training.name)
    located = _list_model_files(files.locator) if config.uses_locator else ()
    # How many networks a bundle has, its file tells.
    more = (("members", files.members), ("confidence", files.regions))
    return (
        *_list_model_files(files),
        *located,
        *(CohortFile(kind, path, declared=False, optional=True) for kind, path in more),
    )


def _list_member_files(config: Config, results: Results) -> tuple[CohortFile, ...]:
    """Return the files of the networks of an ensemble beside the first."""
    members = results.model(config.training.name).list_members(config.training.ensemble)
    return tuple(file for one in members[1:] for file in _list_model_files(one))


def _list_precision_files(config: Config, results: Results) -> tuple[CohortFile, ...]:
    """Return what is written of precisions, and the networks in 8-bit integers that may be."""
    files = results.model(config.training.name)
    networks = [*files.list_members(config.training.ensemble)]
    if config.model.bundle is not None:
        # The settings do not tell how many networks a bundle has.
        networks += [ModelFiles(folder) for folder in sorted(files.members.glob("[0-9]*"))]
    if config.uses_locator:
        networks.append(files.locator)
    return (
        CohortFile("precision", files.precision),
        *(
            CohortFile("quantised network", one.quantised, declared=False, optional=True)
            for one in networks
        ),
    )


def _list_model_files(files: ModelFiles) -> tuple[CohortFile, ...]:
    return (
        CohortFile("network", files.network),
        CohortFile("network", files.weights),
        CohortFile("model", files.card),
        CohortFile("history", files.history),
    )


STAGES: Mapping[str, Stage] = {
    stage.name: stage
    for stage in (
        Stage(
            "probe",
            "PROBE",
            lambda _: {},
            needs_labels=False,
            per_model=False,
            step="probe:run_probe",
            table="probe",
        ),
        Stage(
            "select-frames",
            "SELECT_FRAMES",
            lambda config: select_sections(config, "frames"),
            lambda config: config.frames.extract,
            needs_labels=False,
            per_model=False,
            step="select_frames:run_select_frames",
            table="frames",
            videos=VideoResults(
                "frames to label",
                "select_frames",
                lambda _, results, video: {"frames": results.frames(video)},
                source=lambda _: "probe",
            ),
        ),
        Stage(
            "import-labels",
            "IMPORT_LABELS",
            select_labels,
            per_model=False,
            given=("labels", "corrections", "start card"),
            files=lambda config, results: (
                CohortFile("labels", results.labels),
                *_list_choices(config, results),
                CohortFile("label images", results.label_images, declared=False, optional=True),
                # Only runs with corrections have one.
                CohortFile(
                    "label conflicts", results.label_conflicts, declared=False, optional=True
                ),
            ),
        ),
        Stage(
            "make-targets",
            "MAKE_TARGETS",
            select_targets,
            per_model=False,
            after=("import-labels",),
            files=lambda _, results: (CohortFile("targets", results.targets),),
        ),
        Stage(
            "make-targets-locator",
            "MAKE_TARGETS",
            select_locator_targets,
            lambda config: config.uses_locator,
            per_model=False,
            after=("import-labels",),
            files=lambda _, results: (CohortFile("targets", results.locator_targets),),
        ),
        Stage(
            "make-clips",
            "MAKE_CLIPS",
            lambda config: config.clip_settings(),
            learns_unlabelled,
            per_model=False,
            # The scale may be chosen from the labels.
            after=("import-labels",),
            reads=lambda _: ("probe",),
            files=lambda _, results: (CohortFile("clips", results.clips),),
        ),
        Stage(
            "import-model",
            "IMPORT_MODEL",
            # What the files depend on is the bundle.
            lambda _: {},
            lambda config: config.model.bundle is not None and not config.has_only_existing,
            takes_bundle=True,
            given=("bundle",),
            files=_list_imported_files,
        ),
        # The cards tell whether networks are those of the present settings and targets.
        Stage(
            "train",
            "TRAIN",
            select_training,
            given=("weights",),
            files=lambda config, results: _list_model_files(results.model(config.training.name)),
        ),
        Stage(
            "train-members",
            "TRAIN",
            # Neither the number of members: more of them leave those there are as they are.
            select_training,
            has_members,
            given=("weights",),
            files=_list_member_files,
        ),
        Stage(
            "train-locator",
            "TRAIN",
            lambda config: select_training(config.for_locator()),
            lambda config: config.uses_locator,
            given=("locator weights",),
            files=lambda config, results: _list_model_files(
                results.model(config.training.name).locator
            ),
        ),
        Stage(
            "evaluate",
            "EVALUATE",
            select_evaluation,
            after=("import-labels", "train", "train-members", "train-locator"),
            files=lambda config, results: (
                CohortFile("metrics", results.metrics(config.training.name)),
                CohortFile("predictions", results.predictions(config.training.name)),
                # Results of older releases lack it, and the report then says so.
                CohortFile(
                    "score maps",
                    results.score_maps(config.training.name),
                    declared=False,
                    optional=True,
                ),
                # They lack this one, too.
                CohortFile(
                    "evaluated networks",
                    results.evaluated_networks(config.training.name),
                    declared=False,
                    optional=True,
                ),
                *_list_calibrated(config, results),
            ),
        ),
        Stage(
            "choose-precision",
            "CHOOSE_PRECISION",
            select_precision,
            lambda config: config.inference.measures_precision and not config.has_only_existing,
            takes_bundle=True,
            after=("import-labels", "import-model", "train", "train-members", "train-locator"),
            files=_list_precision_files,
        ),
        Stage(
            "infer",
            "INFER",
            select_inference,
            takes_bundle=True,
            step="infer.run:run_infer",
            table="infer",
            videos=VideoResults(
                "poses of every video, as the network predicted them",
                "infer",
                lambda config, results, video: {
                    "poses": results.poses(config.training.name, video)
                },
                source=lambda _: "probe",
            ),
        ),
        Stage(
            "track",
            "TRACK",
            select_tracking,
            has_tracks,
            takes_bundle=True,
            step="track.run:run_track",
            table="track",
            videos=VideoResults(
                "poses after tracking",
                "postprocess",
                lambda config, results, video: {
                    "tracked": results.tracked(config.training.name, video)
                },
                source=lambda _: "infer",
                key=lambda config, source: tracking_key(
                    source, config.individuals, config.tracking
                ),
            ),
        ),
        Stage(
            "correct",
            "CORRECT",
            # Decisions are files, which have keys of their own.
            lambda _: {},
            has_tracks,
            takes_bundle=True,
            step="correct.run:run_correct",
            table="correct",
            videos=VideoResults(
                "corrected tracks",
                "postprocess",
                lambda config, results, video: {
                    "corrected": results.corrected(config.training.name, video)
                },
                source=lambda _: "track",
                optional=True,
            ),
        ),
        Stage(
            "filter",
            "FILTER",
            select_filtering,
            takes_bundle=True,
            step="filter:run_filter",
            table="filter",
            videos=VideoResults(
                "poses after filtering",
                "postprocess",
                lambda config, results, video: {
                    "filtered": results.filtered(config.training.name, video)
                },
                source=_choose_raw,
                key=lambda config, source: filtering_key(source, config.filtering),
            ),
        ),
        Stage(
            "export",
            "EXPORT",
            select_exports,
            lambda config: bool(config.exports.formats),
            takes_bundle=True,
            step="export.run:run_export",
            table="export",
            videos=VideoResults(
                "poses for other tools", "postprocess", _locate_exports, source=_choose_exported
            ),
        ),
        Stage(
            "kinematics",
            "KINEMATICS",
            select_kinematics,
            lambda config: config.kinematics.enabled,
            takes_bundle=True,
            step="kinematics.run:run_kinematics",
            table="kinematics",
            given=("regions",),
            videos=VideoResults(
                "tables of movement", "postprocess", _locate_kinematics, source=lambda _: "filter"
            ),
        ),
        Stage(
            "quality",
            "QUALITY",
            select_quality,
            lambda config: config.quality.enabled,
            takes_bundle=True,
            step="quality.run:run_quality",
            table="quality",
            videos=VideoResults(
                "measures of quality",
                "postprocess",
                lambda config, results, video: {
                    "quality": results.video_quality(config.training.name, video)
                },
                source=_choose_raw,
                key=quality_key,
                compared=True,
            ),
        ),
        Stage(
            "render",
            "RENDER",
            select_rendering,
            lambda config: config.rendering.enabled,
            takes_bundle=True,
            step="render.run:run_render",
            table="render",
            videos=VideoResults(
                "videos with poses drawn on them",
                "render",
                _locate_rendered,
                source=lambda _: "filter",
                key=rendering_key,
            ),
        ),
        Stage(
            "calibrate",
            "CALIBRATE",
            select_calibration,
            has_sessions,
            needs_labels=False,
            per_model=False,
            given=("calibrations",),
            files=lambda _, results: (CohortFile("calibrations", results.calibrations),),
        ),
        Stage(
            "triangulate",
            "TRIANGULATE",
            select_triangulation,
            has_sessions,
            takes_bundle=True,
            step="triangulate.run:run_triangulate",
            table="triangulate",
            sessions=SessionResults(
                "three-dimensional poses of every session",
                lambda config, results, session: {
                    "triangulated": results.triangulated(config.training.name, session)
                },
                source=_choose_triangulated,
            ),
        ),
        Stage(
            "correct-views",
            "CORRECT_VIEWS",
            select_corrected_views,
            lambda config: has_sessions(config) and config.triangulation.corrected_views.enabled,
            takes_bundle=True,
            step="triangulate.corrected_views:run_correct_views",
            table="correct-views",
            sessions=SessionResults(
                "poses of every video of a session, corrected by its other views",
                lambda config, results, session: {
                    "corrected views": results.corrected_views(config.training.name, session)
                },
                source=lambda _: "triangulate",
            ),
        ),
        Stage(
            "export-sessions",
            "EXPORT_SESSIONS",
            select_session_exports,
            lambda config: has_sessions(config) and bool(config.triangulation.exports),
            takes_bundle=True,
            step="export.sessions:run_export_sessions",
            table="export-sessions",
            sessions=SessionResults(
                "three-dimensional poses for other tools",
                _locate_session_exports,
                source=lambda _: "triangulate",
            ),
        ),
        Stage(
            "render-sessions",
            "RENDER_SESSIONS",
            select_session_rendering,
            lambda config: (
                has_sessions(config) and config.rendering.enabled and config.rendering.sessions
            ),
            takes_bundle=True,
            step="render.sessions:run_render_sessions",
            table="render-sessions",
            sessions=SessionResults(
                "views of every session beside its poses in space",
                lambda config, results, session: {
                    "rendered session": results.rendered_session(config.training.name, session)
                },
                source=lambda _: "triangulate",
            ),
        ),
        Stage(
            "refine",
            "REFINE",
            select_refinement,
            lambda config: config.refinement.enabled,
            given=("refinement",),
            after=("import-labels", "train", "evaluate"),
            reads=_list_judged,
            files=lambda config, results: (
                CohortFile("refinement", results.refined_table(config.training.name)),
                CohortFile("label errors", results.label_errors(config.training.name)),
                # Snakemake would remove declared ones before each job, and labels with them.
                CohortFile(
                    "refinement images",
                    results.refined_frames(config.training.name),
                    declared=False,
                    optional=True,
                ),
            ),
        ),
        Stage(
            "judge",
            "JUDGE",
            select_judgement,
            lambda config: config.quality.enabled,
            takes_bundle=True,
            # Groups are columns of the sheet.
            given=("sheet", "quality decisions"),
            reads=lambda _: ("probe", "quality"),
            files=lambda _, results: (
                CohortFile("quality decisions", results.quality),
                CohortFile("quality measures", results.quality_measures),
            ),
        ),
        Stage(
            "status",
            "STATUS",
            lambda _: {},
            needs_labels=False,
            given=("sheet",),
            after=("judge",),
            summarises=True,
            files=lambda config, results: (
                CohortFile("ledger", results.ledger),
                *_list_session_ledger(config, results),
            ),
        ),
        Stage(
            "report",
            "REPORT",
            select_report,
            needs_labels=False,
            given=("sheet",),
            after=("evaluate", "refine", "judge"),
            summarises=True,
            files=lambda _, results: (
                CohortFile("report", results.report),
                # Snakemake would remove a declared one before the report could use it.
                CohortFile("summaries", results.report_summaries, declared=False),
                # What the page loads as needed; a cohort without poses or network has none.
                CohortFile("report data", results.report_data, declared=False, optional=True),
            ),
        ),
        Stage(
            "multiqc",
            "MULTIQC",
            select_multiqc,
            lambda config: config.report.multiqc,
            needs_labels=False,
            given=("sheet",),
            after=("evaluate", "judge"),
            summarises=True,
            files=lambda _, results: (CohortFile("multiqc", results.multiqc),),
        ),
        Stage(
            "accept",
            "STATUS",
            lambda config: {
                "inference": {"max_failed_fraction": config.inference.max_failed_fraction}
            },
            needs_labels=False,
            files=lambda _, results: (CohortFile("verdict", results.accepted),),
        ),
    )
}

# The stages that each video passes, in this order; frames are selected beside them.
VIDEO_STAGES = (
    "probe",
    *(
        stage.name
        for stage in STAGES.values()
        if stage.videos and stage.videos.rule != "select_frames"
    ),
)
