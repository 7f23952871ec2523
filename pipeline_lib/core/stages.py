"""List the stages of a run in order: one record for each.

This is the only list of stages. The rules of the workflow, the command line, the ledger, the keys,
the cache of finished stages, `verify` and the description of a run read from it the stages of a
run, the settings that their results depend on, and the files that they make.
"""

import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from pipeline_lib.core import versions
from pipeline_lib.core.formats.criteria import CRITERIA
from pipeline_lib.core.formats.kinematics import list_tables
from pipeline_lib.core.layout import ModelFiles, Results
from pipeline_lib.core.settings.chosen import list_auto, list_upstream
from pipeline_lib.core.settings.individuals import IndividualSettings, TrackingSettings
from pipeline_lib.core.settings.outputs.costs import CostSettings
from pipeline_lib.core.settings.reading import hash_settings
from pipeline_lib.core.settings.run import Config
from pipeline_lib.core.settings.videos import FilteringSettings

Values = Mapping[str, Any]


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
    """

    about: str
    rule: Literal["select_frames", "infer", "postprocess"]
    locate: Callable[[Config, Results, str], Mapping[str, Path]]
    source: Callable[[Config], str]
    key: Callable[[Config, str], str] | None = None
    optional: bool = False


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


def _select_labels(config: Config) -> Values:
    training = config.training
    sources = [
        # A source of iteration 0 has the key that it had before there were iterations.
        one.model_dump(mode="json", exclude=None if one.iteration else {"iteration"})
        for one in config.label_sources
    ]
    return {
        **_dump(config, "skeleton", "individuals"),
        "labels": sources,
        **_select_graph(config),
        "training": {
            "split": training.split.model_dump(mode="json"),
            "validation_fraction": training.validation_fraction,
            **({"iteration": training.iteration} if training.iteration else {}),
        },
        **_select_choices(config),
    }


def _select_choices(config: Config) -> Values:
    """Return the settings that the choice of others depends on; none if none is chosen."""
    if not list_auto(config):
        return {}
    return {"auto": {"version": versions.CHOOSE_SETTINGS, **list_upstream(config)}}


def _select_targets(config: Config) -> Values:
    window = {"locating": {"window": config.locating.window}} if config.top_down else {}
    return {
        "targets": config.target_settings(),
        **_dump(config, "individuals"),
        **_select_graph(config),
        **window,
    }


def _select_locator_targets(config: Config) -> Values:
    locator = config.for_locator()
    return {"targets": locator.target_settings(), **_dump(locator, "individuals")}


def _select_training(config: Config) -> Values:
    return {
        "training": config.training_settings(),
        "skeleton": {"symmetries": config.skeleton.model_dump(mode="json")["symmetries"]},
    }


def _select_evaluation(config: Config) -> Values:
    return {
        **_select_measures(config),
        "inference": {"runtime": config.inference.runtime},
        **_select_members(config),
        **_select_locating(config),
        **_select_assembly(config),
    }


def _select_inference(config: Config) -> Values:
    if config.has_only_existing:
        return _select_existing(config)
    return {
        "inference": config.inference.result_settings(),
        **_select_members(config),
        **_select_locating(config),
        **_select_assembly(config),
        # With labels, other bodyparts make another network, which is an input of inference.
        **(_select_existing(config) if config.model.bundle and config.has_existing else {}),
    }


def _select_existing(config: Config) -> Values:
    """Return the settings that poses of other tools depend on, as they are taken over."""
    return {
        "existing": {
            "version": versions.EXISTING_POSES,
            "bodyparts": list(config.skeleton.bodyparts),
            "individuals": config.individuals.max,
        }
    }


def _select_tracking(config: Config) -> Values:
    return {"tracking": config.tracking.result_settings(), **_dump(config, "individuals")}


def _select_exports(config: Config) -> Values:
    """Return the settings of exports; DeepLabCut's tables draw no edges."""
    if not config.exports.linked:
        return _dump(config, "exports")
    skeleton = config.skeleton.model_dump(mode="json", include={"edges", "symmetries"})
    return {**_dump(config, "exports"), "skeleton": skeleton}


def _select_kinematics(config: Config) -> Values:
    """Return the settings of the tables; whether runs write any does not change them."""
    settings = {"kinematics": config.kinematics.result_settings()}
    # Columns about others.
    return {**settings, "several": True} if config.individuals.max > 1 else settings


def _select_refinement(config: Config) -> Values:
    """Return the settings of the choice; whether runs make one does not change it."""
    settings = config.refinement.model_dump(mode="json", exclude={"enabled"})
    kept = settings["criteria"]
    # Criteria that find nothing here are left out: keys are those of before they came.
    if not _triangulates(config):
        kept = [name for name in kept if CRITERIA[name].judges != "views"]
    if not _has_members(config):
        kept = [name for name in kept if name != "spread"]
    return {"refinement": {**settings, "criteria": kept}, **_select_members(config)}


def _select_calibration(config: Config) -> Values:
    """Return the settings of calibrations; which ones there are is told by the sheet."""
    return {"calibration": config.calibration.model_dump(mode="json", exclude={"path"})}


def _select_triangulation(config: Config) -> Values:
    settings = {"triangulation": config.triangulation.result_settings()}
    if not config.triangulation.smoothing.enabled:
        return settings
    # Their lengths are kept constant. Version 2: uncertainties are those after smoothing.
    edges = config.skeleton.model_dump(mode="json", include={"edges"})
    return {**settings, "skeleton": edges, "smoothing": {"version": 2}}


def _select_corrected_views(config: Config) -> Values:
    """Return the settings of corrections; whether runs make them does not change them."""
    settings = config.triangulation.corrected_views
    return {
        "triangulation": {
            "corrected_views": settings.model_dump(mode="json", exclude={"enabled"}),
            "pcutoff": config.triangulation.pcutoff,
        }
    }


def _select_session_exports(config: Config) -> Values:
    """Return the settings of exports; some formats name who located the keypoints."""
    settings: dict[str, Any] = {"triangulation": {"exports": list(config.triangulation.exports)}}
    if _triangulates(config):
        settings["exports"] = {"scorer": config.exports.scorer}
    if not config.triangulation.linked:
        return settings
    edges = config.skeleton.model_dump(mode="json", include={"edges"})
    return {**settings, "skeleton": edges}


def _select_graph(config: Config) -> Values:
    return {"assembly": {"graph": config.assembly.graph}} if config.uses_affinity else {}


def _select_report(config: Config) -> Values:
    """Return the settings of the page; a price list counts where there is one."""
    costs = _dump(config, "costs") if config.costs != CostSettings() else {}
    measures = _select_measures(config)
    return {**_dump(config, "skeleton"), **measures, **_dump(config, "report"), **costs}


def _select_measures(config: Config) -> Values:
    return {"evaluation": config.evaluation.result_settings()}


def _select_members(config: Config) -> Values:
    """Return the number of networks; none where there is one, as before there were ensembles."""
    return {"training": {"ensemble": config.training.ensemble}} if _has_members(config) else {}


def _select_locating(config: Config) -> Values:
    if not config.uses_locator:
        return {}
    return {"locating": config.locating.result_settings(top_down=config.top_down)}


def _select_assembly(config: Config) -> Values:
    if config.individuals.max == 1:
        return {}
    return {"assembly": config.assembly.result_settings(top_down=config.top_down)}


def _dump(config: Config, *sections: str) -> dict[str, Any]:
    return config.model_dump(mode="json", include=set(sections))


def _learns_unlabelled(config: Config) -> bool:
    return config.training.unsupervised.enabled


def _has_members(config: Config) -> bool:
    return config.training.ensemble > 1


def _tracks(config: Config) -> bool:
    return config.individuals.max > 1


def _list_judged(config: Config) -> tuple[str, ...]:
    """Return the stages whose tables refinement reads; the second gives the poses."""
    poses = ("probe", _choose_raw(config))
    views = any(CRITERIA[name].judges == "views" for name in config.refinement.criteria)
    return (*poses, "triangulate") if views and _triangulates(config) else poses


def _choose_raw(config: Config) -> str:
    """Return the stage that gives the poses before filtering."""
    return "correct" if _tracks(config) else "infer"


def _triangulates(config: Config) -> bool:
    return config.triangulation.enabled


def _choose_triangulated(config: Config) -> str:
    return "filter" if config.triangulation.source == "filtered" else _choose_raw(config)


def _choose_exported(config: Config) -> str:
    return "filter" if config.exports.source == "filtered" else _choose_raw(config)


def _locate_exports(config: Config, results: Results, video: str) -> Mapping[str, Path]:
    model = config.training.name
    return {name: results.exported(model, video, name) for name in config.exports.formats}


def _select_rendering(config: Config) -> Values:
    """Return the settings that drawn videos depend on."""
    exclude = {"enabled", "segment_seconds", "whole"}
    settings = {"rendering": config.rendering.model_dump(mode="json", exclude=exclude)}
    edges = config.skeleton.model_dump(mode="json", include={"edges"})
    return {**settings, "skeleton": edges} if config.rendering.edges else settings


def rendering_key(config: Config, source_key: str) -> str:
    """Return the key of a video with poses drawn on it, given the key of the poses."""
    return hash_settings(source_key, _select_rendering(config), versions.RENDER)


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


def _locate_session_exports(config: Config, results: Results, session: str) -> Mapping[str, Path]:
    model, formats = config.training.name, config.triangulation.exports
    return {name: results.session_export(model, session, name) for name in formats}


def _list_session_ledger(config: Config, results: Results) -> tuple[CohortFile, ...]:
    if not _triangulates(config):
        return ()
    return (CohortFile("sessions", results.session_ledger),)


def _list_choices(config: Config, results: Results) -> tuple[CohortFile, ...]:
    """Return the file of chosen settings; none if the config states all of them."""
    return (CohortFile("chosen settings", results.chosen_settings),) if list_auto(config) else ()


def _list_calibrated(config: Config, results: Results) -> tuple[CohortFile, ...]:
    """Return what an evaluation writes of ensembles, and of networks that are calibrated."""
    model = config.training.name
    found = [("members", results.members(model))] if _has_members(config) else []
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
            lambda config: _dump(config, "frames"),
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
            _select_labels,
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
            _select_targets,
            per_model=False,
            after=("import-labels",),
            files=lambda _, results: (CohortFile("targets", results.targets),),
        ),
        Stage(
            "make-targets-locator",
            "MAKE_TARGETS",
            _select_locator_targets,
            lambda config: config.uses_locator,
            per_model=False,
            after=("import-labels",),
            files=lambda _, results: (CohortFile("targets", results.locator_targets),),
        ),
        Stage(
            "make-clips",
            "MAKE_CLIPS",
            lambda config: config.clip_settings(),
            _learns_unlabelled,
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
            _select_training,
            given=("weights",),
            files=lambda config, results: _list_model_files(results.model(config.training.name)),
        ),
        Stage(
            "train-members",
            "TRAIN",
            # Neither the number of members: more of them leave those there are as they are.
            _select_training,
            _has_members,
            given=("weights",),
            files=_list_member_files,
        ),
        Stage(
            "train-locator",
            "TRAIN",
            lambda config: _select_training(config.for_locator()),
            lambda config: config.uses_locator,
            given=("locator weights",),
            files=lambda config, results: _list_model_files(
                results.model(config.training.name).locator
            ),
        ),
        Stage(
            "evaluate",
            "EVALUATE",
            _select_evaluation,
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
                *_list_calibrated(config, results),
            ),
        ),
        Stage(
            "infer",
            "INFER",
            _select_inference,
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
            _select_tracking,
            _tracks,
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
            _tracks,
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
            lambda config: {"filtering": config.filtering.result_settings()},
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
            _select_exports,
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
            _select_kinematics,
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
            "render",
            "RENDER",
            _select_rendering,
            lambda config: config.rendering.enabled,
            takes_bundle=True,
            step="render.run:run_render",
            table="render",
            videos=VideoResults(
                "videos with poses drawn on them",
                "postprocess",
                _locate_rendered,
                source=lambda _: "filter",
                key=rendering_key,
            ),
        ),
        Stage(
            "calibrate",
            "CALIBRATE",
            _select_calibration,
            _triangulates,
            needs_labels=False,
            per_model=False,
            given=("calibrations",),
            files=lambda _, results: (CohortFile("calibrations", results.calibrations),),
        ),
        Stage(
            "triangulate",
            "TRIANGULATE",
            _select_triangulation,
            _triangulates,
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
            _select_corrected_views,
            lambda config: _triangulates(config) and config.triangulation.corrected_views.enabled,
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
            _select_session_exports,
            lambda config: _triangulates(config) and bool(config.triangulation.exports),
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
            "refine",
            "REFINE",
            _select_refinement,
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
            "status",
            "STATUS",
            lambda _: {},
            needs_labels=False,
            given=("sheet",),
            summarises=True,
            files=lambda config, results: (
                CohortFile("ledger", results.ledger),
                *_list_session_ledger(config, results),
            ),
        ),
        Stage(
            "report",
            "REPORT",
            _select_report,
            needs_labels=False,
            given=("sheet",),
            after=("evaluate", "refine"),
            summarises=True,
            files=lambda _, results: (
                CohortFile("report", results.report),
                # Snakemake would remove a declared one before the report could use it.
                CohortFile("summaries", results.report_summaries, declared=False),
            ),
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
