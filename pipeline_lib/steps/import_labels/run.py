"""Import labels: join those of all sources in one table, check them, and split them."""

import logging
import os
import shutil
from collections.abc import Container, Mapping
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from pipeline_lib.core.errors import LabelError
from pipeline_lib.core.layout import Results
from pipeline_lib.core.settings.network import LabelSource
from pipeline_lib.core.settings.run import Config
from pipeline_lib.core.skeleton import Skeleton
from pipeline_lib.core.tables import (
    CONFLICT_COLUMNS,
    LABEL_COLUMNS,
    SINGLE_INDIVIDUAL,
    UNIQUE_INDIVIDUAL,
)
from pipeline_lib.core.untrusted.names import clean_part
from pipeline_lib.io.corrections.labels import Visibility
from pipeline_lib.io.labels.points import HIDDEN, POINT_COLUMNS, SourceLabels
from pipeline_lib.io.labels.table import Labels, import_labels, write_labels
from pipeline_lib.io.stage_tables import write_table
from pipeline_lib.steps.import_labels.chosen_settings import publish_choices
from pipeline_lib.steps.import_labels.corrected_images import FOLDER
from pipeline_lib.steps.import_labels.correction_inputs import (
    CorrectedLabels,
    check_bodyparts,
    read_corrections,
    rename_skeleton,
    warn_of_names,
)
from pipeline_lib.steps.import_labels.corrections import (
    AppliedCorrections,
    apply_corrections,
    rename_source,
)
from pipeline_lib.steps.import_labels.frames import list_images, read_videos
from pipeline_lib.steps.import_labels.individuals import keep_single_individual, place_individuals
from pipeline_lib.steps.import_labels.skeleton import (
    choose_bodyparts,
    choose_unique,
    find_missing_edges,
    resolve_skeleton,
)
from pipeline_lib.steps.import_labels.splits import describe_unused, divide_images, sort_images

_log = logging.getLogger(__name__)

_OF_SOURCE = ("source_number", "identified", "iteration", "visibility")


def run_import_labels(config: Config, results: Results) -> None:
    """Import every source of labels and publish ``labels/labels.parquet``.

    Where settings are `auto`, their values are chosen and written to
    ``labels/chosen_settings.yaml``.

    Labelled frames of SLEAP files, which lie in videos, are written to ``labels/images`` first.

    Parameters
    ----------
    config
        Its ``labels``, ``skeleton``, ``individuals``, ``assembly.graph`` and ``training`` are
        used, and ``targets`` and ``locating`` to choose what is `auto`; paths are relative to the
        working directory.
    results
        Receives the labels.

    Raises
    ------
    LabelError
        With everything that cannot be mapped.
    """
    labels, conflicts = collect_labels(config, results)
    if conflicts:
        write_table(results.label_conflicts, CONFLICT_COLUMNS, conflicts)
    else:
        results.label_conflicts.unlink(missing_ok=True)
    write_labels(results.labels, labels)
    publish_choices(config, results, labels)
    images = labels.table.drop_duplicates("image")
    parts = ", ".join(f"{n} {name}" for name, n in images["split"].value_counts().items())
    points = labels.table.groupby("image")["visible"].sum()
    _log.info("%d images (%s), %d labelled points", len(images), parts, points.sum())
    if (points == 0).any():
        _log.info("%d images have no labelled point", (points == 0).sum())


def collect_labels(config: Config, results: Results) -> tuple[Labels, list[Mapping[str, object]]]:
    """Read, join, correct, check and divide the labels that a config names.

    Returns
    -------
    labels
        Sorted by video, source, frame, image, individual and bodypart; each image has a row for
        every individual and bodypart.
    conflicts
        Rows of `pipeline_lib.core.tables.CONFLICT_COLUMNS`: what corrections replaced, and what
        was left out.

    Raises
    ------
    LabelError
        As in `run_import_labels`.
    """
    corrected = read_corrections(config)
    if not config.label_sources and not corrected.frames:
        problem = (
            f"no labels of iteration {config.training.iteration} (`training.iteration`) or before: "
            "raise it, or lower `iteration` of an entry of `labels:`"
            if config.has_labels
            else "no labels: add under `labels:` an entry `- path: PROJECT`, a DeepLabCut project, "
            "a SLEAP file, COCO keypoints, a Lightning Pose data folder or a label table"
        )
        raise LabelError("config", [problem])
    sources = _read_sources(config.label_sources, results.label_images)
    sources = [rename_source(source, corrected) for source in sources]
    points = _join_sources(sources, config.label_sources)
    _check_images_disjoint(points, sources)
    if corrected.frames:
        _check_names(corrected, points, sources, config)
        applied = apply_corrections(points, sources, corrected, config, results)
    else:
        shutil.rmtree(results.label_images / FOLDER, ignore_errors=True)
        applied = AppliedCorrections(points, list_images(points, sources, read_videos(config)))
    if not applied.points["visible"].any():
        raise LabelError("labels", ["no bodypart is labelled in any image"])
    points, images = applied.points, sort_images(applied.images, config.label_sources)
    labelled = points.loc[points["visible"], "bodypart"].unique()
    config = config.model_copy(
        update={"skeleton": rename_skeleton(config.skeleton, corrected, labelled)}
    )
    points, skeleton, individuals = _settle_individuals(points, sources, config)
    if not points.loc[points["bodypart"].isin(skeleton.bodyparts), "visible"].any():
        raise LabelError("labels", ["no bodypart is labelled in any image"])
    if "different" in images:
        # Frames of another recording are neither test frames of this one nor beside them.
        images["cohort_video"] = images["cohort_video"].mask(images["different"], "")
    images["split"] = divide_images(
        images, config.training.split, config.training.validation_fraction
    )
    table = _complete_rows(points, images, list_keypoints(skeleton, individuals))
    if config.individuals.max == 1:
        table = _mark_absent(table, applied.absent)
    labels = Labels(table, skeleton.bodyparts, individuals, skeleton)
    return labels, [*applied.conflicts, *describe_unused(images)]


def _check_names(
    corrected: CorrectedLabels, points: pd.DataFrame, sources: list[SourceLabels], config: Config
) -> None:
    """Refuse unknown bodyparts of corrections; name unknown individuals if there is one animal."""
    named = [name for source in sources for name in source.skeleton.bodyparts]
    problems = check_bodyparts(corrected, config, [*points["bodypart"].unique(), *named])
    if problems:
        raise LabelError("corrections", problems)
    if config.individuals.max == 1:
        warn_of_names(corrected, config, points["individual"].unique())


def list_keypoints(skeleton: Skeleton, individuals: tuple[str, ...]) -> list[tuple[str, str]]:
    """Return individual and bodypart of each row of an image, in order."""
    unique = skeleton.unique_bodyparts
    animal = [name for name in skeleton.bodyparts if name not in unique]
    rows = [(individual, bodypart) for individual in individuals for bodypart in animal]
    return rows + [(UNIQUE_INDIVIDUAL, bodypart) for bodypart in unique]


def _settle_individuals(
    points: pd.DataFrame, sources: list[SourceLabels], config: Config
) -> tuple[pd.DataFrame, Skeleton, tuple[str, ...]]:
    """Return points with their final individuals, the skeleton in force, and the names."""
    skeletons = [source.skeleton for source in sources]
    single = set(points.loc[points["individual"] == UNIQUE_INDIVIDUAL, "bodypart"])
    if config.individuals.max == 1:
        # The one animal has all bodyparts, unique ones too.
        points = keep_single_individual(points)
        bodyparts = choose_bodyparts(config.skeleton, points["bodypart"].unique())
        skeleton = resolve_skeleton(config.skeleton, bodyparts, (), skeletons)
        return points, skeleton, (SINGLE_INDIVIDUAL,)
    bodyparts = choose_bodyparts(config.skeleton, points["bodypart"].unique())
    unique = choose_unique(config.skeleton, bodyparts, single)
    skeleton = resolve_skeleton(config.skeleton, bodyparts, unique, skeletons)
    problem = find_missing_edges(skeleton, config)
    if problem:
        raise LabelError("config", [problem])
    points, individuals = place_individuals(points, config.individuals, bodyparts, unique)
    return points, skeleton, individuals


def _read_sources(sources: tuple[LabelSource, ...], images: Path) -> list[SourceLabels]:
    """Read the sources in the config's order and report the problems of all together."""
    read, problems = [], []
    folders = [_image_folder(images, number, source) for number, source in enumerate(sources)]
    for source, folder in zip(sources, folders, strict=True):
        try:
            read.append(import_labels(source, folder))
        except LabelError as error:
            if len(sources) == 1:
                raise
            problems += [f"{error.where}: {problem}" for problem in error.problems]
    if problems:
        raise LabelError("labels", problems)
    _remove_others(images, folders)
    return read


def _image_folder(images: Path, number: int, source: LabelSource) -> Path:
    """Return the folder of a source's images: numbered, as two files may share a name."""
    name = f"{number:02d}-{Path(source.path).name.removesuffix('.slp')}"
    return images / clean_part(name, f"{number:02d}")


def _remove_others(images: Path, folders: list[Path]) -> None:
    """Remove the images of sources that the config no longer names."""
    for folder in images.glob("*"):
        # Of corrected frames, those that no longer count are removed when they are written.
        if folder.name != FOLDER and folder not in folders and folder.is_dir():
            shutil.rmtree(folder)


def _join_sources(sources: list[SourceLabels], settings: tuple[LabelSource, ...]) -> pd.DataFrame:
    if not sources:
        return pd.DataFrame(columns=[*POINT_COLUMNS, *_OF_SOURCE])
    joined: pd.DataFrame = pd.concat(
        [
            source.points.drop(columns=HIDDEN, errors="ignore").assign(
                source_number=number,
                identified=source.identified,
                iteration=own.iteration,
                visibility=_name_visibility(source.points),
            )
            for number, (source, own) in enumerate(zip(sources, settings, strict=True))
        ],
        ignore_index=True,
    )
    return joined


def _name_visibility(points: pd.DataFrame) -> NDArray[np.object_]:
    """Return `Visibility` of each labelled point, empty for others."""
    hidden = points[HIDDEN] if HIDDEN in points else np.zeros(len(points), bool)
    seen = np.where(hidden, str(Visibility.HIDDEN), str(Visibility.VISIBLE))
    return np.where(points["visible"], seen, "").astype(object)


def _check_images_disjoint(points: pd.DataFrame, sources: list[SourceLabels]) -> None:
    images = points[["image", "source", "source_number"]].drop_duplicates()
    origins = {image: origin for one in sources for image, origin in one.origins.items()}
    shown = images["image"].map(lambda image: origins.get(image) or os.path.realpath(image))
    # Two paths may lead to one file, through links of either kind.
    real = images["image"].map(lambda image: origins.get(image) or _identify(image))
    problems = []
    for _, rows in images.groupby(real, sort=False):
        image = shown[rows.index[0]]
        if len(set(rows["source_number"])) > 1:
            labelled = " and ".join(rows["source"])
            problems.append(f"{image}: labelled in {labelled}; leave one of them out of `labels`")
        elif len(rows) > 1:
            names = " and ".join(rows["image"])
            problems.append(f"{names} are one image, through links: keep the labels of one")
    if problems:
        raise LabelError("labels", problems)


def _identify(image: str) -> str:
    stat = os.stat(image)  # noqa: PTH116
    return f"{stat.st_dev}:{stat.st_ino}"


def _mark_absent(table: pd.DataFrame, absent: Mapping[str, frozenset[str] | None]) -> pd.DataFrame:
    """Return labels with a row for each bodypart labelled as absent (one animal)."""
    keys = table[["image", "bodypart"]].itertuples(index=False)
    said = np.array([_is_absent(bodypart, absent.get(image, ())) for image, bodypart in keys], bool)
    unseen = said & ~table["visible"].to_numpy(bool)
    return table.assign(visibility=table["visibility"].mask(unseen, str(Visibility.ABSENT)))


def _is_absent(bodypart: str, names: Container[str] | None) -> bool:
    return names is None or bodypart in names


def _complete_rows(
    points: pd.DataFrame, images: pd.DataFrame, keypoints: list[tuple[str, str]]
) -> pd.DataFrame:
    """Give every image a row per individual and bodypart, also those that its source lacks."""
    count = len(keypoints)
    wanted = images.loc[images.index.repeat(count)].reset_index(drop=True)
    for column, name in enumerate(("individual", "bodypart")):
        wanted[name] = [keypoint[column] for keypoint in keypoints] * len(images)
    key = ["image", "individual", "bodypart"]
    # Without labelled points a row is only its name, which may be there twice.
    found = points.loc[points["visible"], [*key, "x", "y", "visibility"]]
    table = wanted.merge(found, on=key, how="left", validate="one_to_one")
    completed: pd.DataFrame = table.assign(
        visible=table["x"].notna(), visibility=table["visibility"].fillna("")
    ).reindex(columns=list(LABEL_COLUMNS))
    return completed
