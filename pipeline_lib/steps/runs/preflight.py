"""Check config, sheet and label tables before any work: every problem in one message."""

import csv
import logging
import os
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from pipeline_lib.core.cameras.basics import find_alike
from pipeline_lib.core.cameras.sessions import (
    FEWEST_CAMERAS,
    Session,
    find_session_problems,
    list_sessions,
)
from pipeline_lib.core.cohort import Video, read_cohort
from pipeline_lib.core.errors import (
    CalibrationError,
    ConfigError,
    LabelError,
    ProblemsError,
    SheetError,
)
from pipeline_lib.core.formats.labels import find_format
from pipeline_lib.core.layout import Results
from pipeline_lib.core.settings.network import LabelSource
from pipeline_lib.core.settings.reading import parse_config
from pipeline_lib.core.settings.renamed import rename_settings
from pipeline_lib.core.settings.run import Config
from pipeline_lib.core.stages import STAGES
from pipeline_lib.core.untrusted.regular_files import require_regular_file
from pipeline_lib.core.untrusted.yaml_files import YamlError, read_yaml
from pipeline_lib.io.checksums import measure_file
from pipeline_lib.io.corrections.labels import apply_renames
from pipeline_lib.io.labels.deeplabcut_project import read_project_skeleton
from pipeline_lib.io.labels.detect import label_inputs, name_format
from pipeline_lib.io.quality_decisions import read_decisions
from pipeline_lib.steps.costs.groups import find_unknown_group
from pipeline_lib.steps.import_labels.correction_inputs import (
    CorrectedLabels,
    check_bodyparts,
    read_corrections,
    rename_skeleton,
)
from pipeline_lib.steps.import_labels.skeleton import find_missing_edges
from pipeline_lib.steps.kinematics.regions import gather_regions
from pipeline_lib.steps.quality.groups import find_groups
from pipeline_lib.steps.runs.decision_tables import DecisionTables
from pipeline_lib.steps.runs.networks.backbones import check_backbones
from pipeline_lib.steps.runs.networks.bundle_fit import check_bundle
from pipeline_lib.steps.runs.networks.start_network import check_start

logger = logging.getLogger(__name__)

_NAMED = 3
# Marks a YAML template (YTE).
_TEMPLATE = "__use_yte__"


def check_run(values: Mapping[str, Any], where: str = "config") -> tuple[Config, tuple[Video, ...]]:
    """Check everything that can be checked without reading a video or an image.

    A missing video is not a problem of the run: it is quarantined, and a warning says so now.

    Parameters
    ----------
    values
        Nested settings as YAML gives them.
    where
        Name of the config in messages.

    Returns
    -------
    config, videos
        The settings with their defaults, and the rows of the sheet.

    Raises
    ------
    ConfigError
        With all problems of config, sheet and labels.
    """
    problems: list[str] = []
    videos: tuple[Video, ...] = ()
    try:
        config = parse_config(values, where)
    except ConfigError as error:
        problems += error.problems
        config = _keep_good_sections(values)
    sheet = values.get("cohort")
    if isinstance(sheet, str):
        sheet = os.path.expanduser(sheet)  # noqa: PTH111 - as in the settings
        try:
            videos = read_cohort(Path(sheet))
        except ProblemsError as error:
            problems += [f"{error.where}: {problem}" for problem in error.problems]
    corrected, damaged = _read_corrections(config)
    problems += damaged
    # A run of a bundle, or of existing poses, learns nothing.
    if not damaged and config.model.bundle is None and not config.has_only_existing:
        problems += _check_labels(config, corrected)
    problems += check_bundle(config)
    problems += check_start(config)
    problems += check_start(config, locator=True) if config.uses_locator else []
    problems += _check_edges(config)
    problems += _check_files(config)
    problems += check_backbones(config)
    problems += _check_scales(config)
    problems += _check_exports(config, videos)
    problems += _check_refinement(config, videos)
    problems += _check_kinematics(config, videos, str(sheet))
    problems += _check_quality(config, videos)
    problems += _check_overrides(config, videos, str(sheet))
    problems += _check_sessions(config, videos, str(sheet))
    problems += find_unknown_group(config, videos)
    problems += _check_results(config)
    problems += _check_existing(config, videos, str(sheet))
    missing = [video for video in videos if measure_file(video.path) == (0, 0)]
    # Without a network a run only probes, and the probe's table says the same of each video.
    if config.has_poses and videos and len(missing) == len(videos):
        problems.append(
            f"{sheet}: none of its {len(videos)} videos exists, {missing[0].path} first; "
            "paths are relative to the sheet"
        )
    if problems:
        raise ConfigError(where, problems)
    for video in missing:
        then = "its poses are used" if video.poses and video.has_video else "will be quarantined"
        logger.warning("video %s: no such file: %s (%s)", video.video, video.path, then)
    _warn_of_unknown_videos(config, videos)
    _warn_of_sessions(config, videos)
    if config.refinement.enabled and not STAGES["refine"].wanted(config):
        logger.warning(
            "`refinement.enabled`: no frames are chosen: this run learns from no labels that more "
            "frames could join"
        )
    if corrected.later:
        logger.warning(
            "%s: %d frames are labelled for a later iteration: the network learns them once "
            "`training.iteration` (%d) is raised",
            *(config.corrections.path, corrected.later, config.training.iteration),
        )
    return config, videos


def _warn_of_unknown_videos(config: Config, videos: Iterable[Video]) -> None:
    """Log the videos that have decisions and are not in the sheet."""
    try:
        decided = DecisionTables(config).list_videos()
    except LabelError as error:
        if config.individuals.max == 1:
            logger.warning("%s", error)
            return
        raise
    for name in sorted(set(decided) - {video.video for video in videos}):
        logger.warning(
            "%s: decisions about the tracks of %s, which is not in %s: they are left out",
            config.corrections.path,
            name,
            config.cohort,
        )


def bound_config_file(path: Path) -> None:
    """Refuse a config file that Snakemake would never finish to load; one that is not there passes.

    Raises
    ------
    ConfigError
        If it is not YAML, or is beyond the bounds of `pipeline_lib.core.untrusted.yaml_files`.
    """
    try:
        read_yaml(path, texts=True)
    except FileNotFoundError:
        return
    except YamlError as error:
        raise ConfigError(str(path), [str(error)]) from None


def check_config_files(paths: Iterable[Path]) -> None:
    """Read config files strictly: of a repeated key, Snakemake takes the last value.

    Raises
    ------
    ConfigError
        If a file is not YAML, has a key twice, is beyond the bounds, or is a template, whose
        expressions Snakemake runs as Python: jobs would read other values than the run.
    """
    for path in paths:
        try:
            values = read_yaml(path)
            if isinstance(values, Mapping) and _TEMPLATE in values:
                raise ConfigError(
                    str(path),
                    [f"`{_TEMPLATE}`: expected plain YAML, found a template: leave it out"],
                )
        except YamlError as error:
            raise ConfigError(str(path), [str(error)]) from None


def _keep_good_sections(values: Mapping[str, Any]) -> Config:
    """Return the correct sections, so that the files that they name can be checked."""
    good: dict[str, Any] = {"cohort": ""}
    values, _, _ = rename_settings(values)
    for section, content in values.items():
        try:
            parse_config({"cohort": "", section: content})
        except ConfigError:
            continue
        good[section] = content
    # Not `parse_config`: sections that contradict each other have been reported.
    return Config.model_validate({key: value for key, value in good.items() if value is not None})


def _read_corrections(config: Config) -> tuple[CorrectedLabels, list[str]]:
    """Return the corrected labels, and the problems of their tables."""
    try:
        return read_corrections(config), []
    except LabelError as error:
        return CorrectedLabels(), [f"`corrections`: {problem}" for problem in error.problems]


def _check_labels(config: Config, corrected: CorrectedLabels) -> list[str]:
    files = label_inputs(config)
    if config.has_labels and not (config.label_sources or corrected.frames):
        iterations = ", ".join(str(one.iteration) for one in config.labels) or "later ones"
        problem = (
            f"`training.iteration`: {config.training.iteration}, but there are labels of other "
            f"iterations only ({iterations}): raise it, or lower `iteration` of the labels"
        )
        return [problem]
    problems = [
        f"`labels`: {file}: no labels there; give a project folder or a label table"
        for file in files
        if not file.is_file()
    ]
    there = [file for file in files if file.is_file()]
    tables = [file for file in there if file.suffix == ".csv"]
    # Tables in HDF5 alone are left to import-labels: reading them takes seconds.
    sources = [file for file in there if file.suffix != ".yaml"]
    unread = any(file.with_suffix(".csv") not in tables for file in sources)
    if unread or not (tables or corrected.frames):
        return problems
    if not all(map(_lies_in_tables, config.label_sources)):
        return problems
    labelled = set()
    for table in tables:
        try:
            named = _read_bodyparts(table)
        except (UnicodeDecodeError, csv.Error, OSError) as error:
            return [*problems, f"`labels`: {table}: {_explain_unread(error)}"]
        labelled |= {apply_renames(name, corrected.changes, None) for name in named}
    problems += [
        f"`corrections`: {problem}"
        for problem in check_bodyparts(corrected, config, sorted(labelled))
    ]
    labelled |= {point.bodypart for one in corrected.frames for point in one.keypoints}
    found = ", ".join(sorted(labelled))
    return problems + [
        f"`skeleton.bodyparts`: no label table has {name!r}; they have {found}"
        for name in rename_skeleton(config.skeleton, corrected).bodyparts
        if name not in labelled
    ]


def _check_edges(config: Config) -> list[str]:
    """Find missing edges if no source has to be opened for it."""
    paths = [Path(source.path) for source in config.label_sources]
    if not config.skeleton.bodyparts or not paths:
        return []
    if not all(map(_lies_in_tables, config.label_sources)):
        return []
    if any(read_project_skeleton(path).edges for path in paths):
        return []
    problem = find_missing_edges(config.skeleton, config)
    return [problem] if problem else []


def _lies_in_tables(source: LabelSource) -> bool:
    """Tell whether labels lie in DeepLabCut's tables; True where nothing that is known is found."""
    try:
        return find_format(name_format(source)).tables
    except (LabelError, OSError):
        return True


def _explain_unread(error: UnicodeDecodeError | csv.Error | OSError) -> str:
    """Return why a label table cannot be read, and what to do."""
    if isinstance(error, UnicodeDecodeError):
        return "is not UTF-8 text: save it as CSV in UTF-8, with commas between cells"
    return f"cannot be read ({getattr(error, 'strerror', None) or error})"


def _read_bodyparts(table: Path) -> set[str]:
    require_regular_file(table)
    with table.open(encoding="utf-8-sig", newline="") as file:
        for _, row in zip(range(4), csv.reader(file), strict=False):
            if row and row[0] == "bodyparts":
                return {name for name in row[1:] if name}
    return set()


def _check_results(config: Config) -> list[str]:
    """Find a results folder that cannot be written, or whose name Snakemake cannot use."""
    root = Path(config.results)
    problems = []
    if not set(config.results).isdisjoint("{}"):
        problems.append(
            f"`results`: {config.results!r} has a brace, which Snakemake takes for a wildcard: "
            "choose a folder without { and }, for example one relative to the working directory"
        )
    there = next(path for path in (root, *root.absolute().parents) if os.path.lexists(path))
    # The start of a run checks that it is writable: a dry run need not.
    if not there.is_dir():
        problems.append(
            f"`results`: cannot write {there} (not a folder); set `results` to a folder you may "
            "write, or ask its owner"
        )
    return problems


def _check_files(config: Config) -> list[str]:
    named = {"training": config.training.weights}
    if config.uses_locator and config.locating.weights is not None:
        named["locating"] = config.locating.weights
    return [
        f"`{section}.weights`: {weights}: no such file (or: package, timm, none)"
        for section, weights in named.items()
        if weights not in ("none", "timm", "package") and not Path(weights).is_file()
    ]


def _check_scales(config: Config) -> list[str]:
    small, scale = config.locating.scale, config.targets.scale
    # What is `auto` is chosen to fit.
    if isinstance(small, str) or isinstance(scale, str):
        return []
    if config.locating.enabled and not config.top_down and small >= scale:
        return [f"`locating.scale`: {small} must be below `targets.scale`, {scale}"]
    return []


def _check_existing(config: Config, videos: tuple[Video, ...], sheet: str) -> list[str]:
    """Refuse a sheet in which some rows have a file of poses and the others have no network."""
    bare = [video.video for video in videos if not video.poses]
    if len(bare) in (0, len(videos)) or config.has_network:
        return []
    more = f" and {len(bare) - _NAMED} more" if len(bare) > _NAMED else ""
    problem = (
        f"{sheet}: {', '.join(bare[:_NAMED])}{more} have no `poses`, other rows have, and there is "
        "no network: fill the cells, or set `labels` or `model.bundle`"
    )
    return [problem]


def _check_refinement(config: Config, videos: tuple[Video, ...]) -> list[str]:
    """Find a list of frames that is not there, and groups that the sheet does not have."""
    settings, problems = config.refinement, []
    if settings.frame_list is not None and not Path(settings.frame_list).is_file():
        problems.append(f"`refinement.frame_list`: {settings.frame_list}: no such file")
    if settings.group is not None and videos:
        columns = ("session", "camera", *videos[0].metadata)
        if settings.group not in columns:
            problems.append(
                f"`refinement.group`: the sheet has no column {settings.group!r}; there are "
                f"{', '.join(columns)}"
            )
    return problems


def _check_kinematics(config: Config, videos: tuple[Video, ...], sheet: str) -> list[str]:
    """Find bodyparts, regions, columns and scales that kinematics would lack."""
    settings, problems = config.kinematics, list[str]()
    if not settings.enabled:
        return []
    known = config.skeleton.bodyparts
    problems += [
        f"`kinematics`: {name!r} is no bodypart of `skeleton.bodyparts`: {', '.join(known)}"
        for name in settings.bodyparts
        if known and name not in known
    ]
    try:
        gather_regions(settings)
    except ConfigError as error:
        # Those of the settings say which; those of the file do not.
        where = "" if error.where == "kinematics" else f"`kinematics.regions_file`: {error.where}: "
        problems += [f"{where}{problem}" for problem in error.problems]
    column = settings.mm_per_px_column
    if column is not None and videos and column not in videos[0].metadata:
        problems.append(
            f"`kinematics.mm_per_px_column`: {sheet} has no column {column!r}; there are "
            f"{', '.join(videos[0].metadata) or 'no others than ours'}"
        )
    if settings.needs_scale and not settings.has_scale:
        problems.append(
            "`kinematics`: millimetres need a scale: set `kinematics.mm_per_px`, "
            "`mm_per_px_column` or `mm_per_px_of_camera`"
        )
    return problems


def _check_overrides(config: Config, videos: tuple[Video, ...], sheet: str) -> list[str]:
    """Find videos with settings of their own that the sheet does not have."""
    known = {video.video for video in videos}
    named = dict.fromkeys(video for one in config.overrides for video in one.videos)
    return [
        f"`overrides`: {sheet} has no video {video!r}"
        for video in named
        if videos and video not in known
    ]


def _check_quality(config: Config, videos: tuple[Video, ...]) -> list[str]:
    """Find a column of groups that the sheet lacks, and decisions that cannot be read."""
    settings, problems = config.quality, list[str]()
    if not settings.enabled:
        return []
    try:
        find_groups(config, videos)
    except SheetError as error:
        problems += error.problems
    try:
        read_decisions(Path(settings.decisions))
    except LabelError as error:
        problems += [f"{error.where}: {problem}" for problem in error.problems]
    return problems


def _check_sessions(config: Config, videos: tuple[Video, ...], sheet: str) -> list[str]:
    """Find what makes sessions impossible to triangulate, if they are to be."""
    if not config.triangulation.enabled or not videos:
        return []
    if not any(video.session for video in videos):
        problem = (
            "`triangulation.enabled`: no video of the sheet has a session: fill its columns "
            "`session`, `camera` and `calibration`, or leave the setting out"
        )
        return [problem]
    return [f"{sheet}: {problem}" for problem in find_session_problems(config, videos)]


def _warn_of_sessions(config: Config, videos: tuple[Video, ...]) -> None:
    """Log the sessions that cannot be triangulated as the sheet stands; the others are."""
    if not config.triangulation.enabled:
        return
    sessions = list_sessions(config, videos)
    for session in sessions:
        if len(session.videos) < FEWEST_CAMERAS:
            logger.warning(
                "session %s: has one camera (%s), and at least %d are needed",
                *(session.name, session.videos[0].camera, FEWEST_CAMERAS),
            )
        if not session.source:
            logger.warning(
                "session %s: no calibration is named: fill the cells `calibration` of its videos, "
                "or set `calibration.path`",
                session.name,
            )
    for source in dict.fromkeys(session.source for session in sessions if session.source):
        _warn_of_calibration(source, [one for one in sessions if one.source == source])


def _warn_of_calibration(source: str, sessions: list[Session]) -> None:
    """Log a calibration that is missing or cannot be read, and cameras that it does not have."""
    from pipeline_lib.io.calibrations.files import read_calibration  # noqa: PLC0415 - loads SciPy

    path, problem = Path(source), ""
    if not path.exists():
        problem = "no such file or folder"
    elif not path.is_dir():
        try:
            known = read_calibration(path).names
        except CalibrationError as error:
            problem = error.problems[0]
    if problem:
        named = ", ".join(session.name for session in sessions[:_NAMED])
        more = f" and {len(sessions) - _NAMED} more" if len(sessions) > _NAMED else ""
        logger.warning(
            "calibration %s: %s; sessions %s%s cannot be triangulated", path, problem, named, more
        )
        return
    if path.is_dir():
        return
    for session in sessions:
        cameras = [video.camera for video in session.videos]
        unknown = [camera for camera in cameras if find_alike(camera, known) is None]
        if unknown:
            logger.warning(
                "session %s: camera %s is not in %s, which has %s: it will be left out",
                *(session.name, ", ".join(unknown), path, ", ".join(known)),
            )


def _check_exports(config: Config, videos: tuple[Video, ...]) -> list[str]:
    """Find two videos that would write the same file, such as `a` and `a.analysis`."""
    results, owner = Results(Path(config.results)), dict[Path, str]()
    problems = []
    if config.triangulation.enabled:
        # No suffix of a session's export is that of a video's, but a video's name may end so.
        for session in list_sessions(config, videos):
            for kind in config.triangulation.exports:
                path = results.session_export(config.training.name, session.name, kind)
                owner[path] = f"of session {session.name}"
    for video in videos:
        for kind in config.exports.formats:
            path = results.exported(config.training.name, video.video, kind)
            other = owner.setdefault(path, video.video)
            if other != video.video:
                problems.append(
                    f"`cohort`: videos {other} and {video.video} would both be exported to "
                    f"{path}: rename one of them, or leave a format out of `exports.formats`"
                )
    return problems
