"""Run the verb `make-targets`: draw the Zarr store of targets that training reads."""

import logging
from typing import Any, NamedTuple

import dask
import numpy as np
import zarr
from numpy.typing import NDArray

from pipeline_lib.core import versions
from pipeline_lib.core.errors import ConfigError
from pipeline_lib.core.layout import Results
from pipeline_lib.core.settings.network import TargetSettings
from pipeline_lib.core.settings.reading import hash_settings
from pipeline_lib.core.settings.run import Config, ResolvedConfig, describe_unique_problem
from pipeline_lib.core.skeleton import Skeleton
from pipeline_lib.core.tables import SINGLE_INDIVIDUAL
from pipeline_lib.io.chosen_settings import resolve_settings
from pipeline_lib.io.labels.image_paths import shorten_path
from pipeline_lib.io.labels.table import Labels, read_labels
from pipeline_lib.io.publish import publish_folder
from pipeline_lib.io.targets.store import (
    SampleRecord,
    TargetBlock,
    TargetLayout,
    create_targets,
    write_block,
)
from pipeline_lib.kernels.maps.score_maps import MapShape, map_shape
from pipeline_lib.models.inference.preprocessing import fit_frame
from pipeline_lib.models.training.memory import keep_freed_memory
from pipeline_lib.models.training.samples.targets import TargetMaps, TargetPlan, encode_targets
from pipeline_lib.steps.make_targets.samples import (
    Sample,
    collect_images,
    cut_windows,
    find_centres,
    hash_samples,
)

logger = logging.getLogger(__name__)

DRAWN_AT_A_TIME = 8  # frames; more of them leave the processor's cache while they are drawn


class _Contents(NamedTuple):
    """Hold the contents of a target store.

    Attributes
    ----------
    samples
        Images or windows.
    skeleton
        Names along their keypoint axis, edges and unique bodyparts.
    animals
        Names along their individual axis, without that of unique bodyparts.
    window
        Side of what the network sees of each sample, network px; None: all.
    """

    samples: list[Sample]
    skeleton: Skeleton
    animals: tuple[str, ...]
    window: int | None = None


def run_make_targets(config: Config, results: Results, *, locator: bool = False) -> None:
    """Publish the target store of the imported labels.

    Parameters
    ----------
    config, results
        The run; settings that are `auto` have the values that import-labels chose.
    locator
        Make the targets of the network that finds the animal.

    Raises
    ------
    LabelError
        If images cannot be read, or no animal is labelled that a window could be around.
    ConfigError
        If several animals have nothing to be put together by, or the labels have unique
        bodyparts, which windows around animals do not show.
    """
    keep_freed_memory()
    config = resolve_settings(config, results)
    path = results.targets
    if locator:
        config, path = config.for_locator(), results.locator_targets
    labels = read_labels(results.labels)
    contents = _choose_contents(config, labels, locator=locator)
    samples, layout = contents.samples, _lay_out(config, contents)
    key = hash_settings(
        config.target_settings(),
        versions.MAKE_TARGETS,
        hash_samples(samples),
        ",".join(layout.bodyparts),
        {
            "edges": layout.edges,
            "unique": layout.skeleton.unique_bodyparts,
            "animals": layout.animals,
        },
        {"identities": layout.identities},
        *([{"window": layout.window}] if layout.window else []),
    )
    records = [
        SampleRecord(
            shorten_path(str(one.image), results.root)[1],
            one.split,
            one.fit.height,
            one.fit.width,
            one.individual,
            one.absent,
        )
        for one in samples
    ]
    with publish_folder(path) as part:
        group = create_targets(part, layout, records, key)
        # One task per shard: a shard is the unit that one writer may own.
        tasks = [
            dask.delayed(_write_shard)(
                group, start, samples[start : start + layout.samples_per_shard], config.targets
            )
            for start in range(0, len(samples), layout.samples_per_shard)
        ]
        dask.compute(*tasks, scheduler="threads")
        zarr.consolidate_metadata(group.store)
    size = (layout.width, layout.height)
    logger.info("%d samples of %d x %d px in %s", len(samples), *size, path)


def _choose_contents(config: ResolvedConfig, labels: Labels, *, locator: bool) -> _Contents:
    images = collect_images(labels, config.targets.scale)
    if not config.top_down:
        return _Contents(images, labels.skeleton, labels.individuals)
    if labels.skeleton.unique_bodyparts:
        raise ConfigError("config", [describe_unique_problem(labels.skeleton.unique_bodyparts)])
    if locator:
        return _Contents(find_centres(images), config.skeleton, labels.individuals)
    window = config.locating.window
    windows = cut_windows(images, labels.individuals, window, config.targets.scale)
    return _Contents(windows, labels.skeleton, (SINGLE_INDIVIDUAL,), window)


def _lay_out(config: ResolvedConfig, contents: _Contents) -> TargetLayout:
    samples, skeleton, animals, window = contents
    height = max(sample.fit.padded_size[0] for sample in samples)
    width = max(sample.fit.padded_size[1] for sample in samples)
    shape = map_shape(height, width, config.targets.stride)
    several = config.individuals.max > 1
    return TargetLayout(
        height=height,
        width=width,
        rows=shape.rows,
        columns=shape.columns,
        stride=config.targets.stride,
        scale=config.targets.scale,
        refinement_scale=config.targets.location_refinement_scale,
        skeleton=skeleton if several else skeleton.model_copy(update={"unique_bodyparts": ()}),
        individuals=samples[0].position.shape[0],
        samples_per_shard=min(config.targets.samples_per_shard, len(samples)),
        edges=choose_fields(config, skeleton),
        animals=animals,
        identities=several and config.individuals.identity,
        window=window,
    )


def _write_shard(
    group: zarr.Group, start: int, samples: list[Sample], settings: TargetSettings
) -> None:
    layout = group.attrs["layout"]
    size = (layout["height"], layout["width"])
    shape = MapShape(layout["rows"], layout["columns"], layout["stride"])
    keypoint = np.stack([one.fit.to_network(one.position) for one in samples])
    plan = TargetPlan(
        len(layout["animals"]),
        tuple((a, b) for a, b in layout["edges"]),
        len(layout["animals"]) if layout["identities"] else 0,
    )
    drawn = [
        encode_targets(keypoint[first : first + DRAWN_AT_A_TIME], shape, settings, plan)
        for first in range(0, len(samples), DRAWN_AT_A_TIME)
    ]
    maps = TargetMaps(*(_join(parts) for parts in zip(*drawn, strict=True)))
    block = TargetBlock(
        image=np.stack([fit_frame(one.read(), one.fit, size) for one in samples]),
        keypoint=keypoint,
        score_map=maps.score,
        location_refinement=maps.offset,
        refinement_mask=maps.mask,
        part_affinity=maps.affinity,
        part_affinity_mask=maps.affinity_mask,
        identity=maps.identity,
    )
    write_block(group, start, block)


def choose_fields(config: Config, skeleton: Skeleton) -> tuple[tuple[int, int], ...]:
    """Return the pairs of bodyparts that get part affinity fields.

    There are none for one animal, nor if each animal has a window of its own.

    Raises
    ------
    ConfigError
        If several animals have nothing to be put together by.
    """
    alone = config.individuals.max == 1 or config.top_down
    if alone or len(skeleton.animal_indices) == 1:
        return ()
    if config.assembly.graph == "complete":
        return skeleton.all_pairs
    if not skeleton.edges:
        problem = (
            "`skeleton.edges`: several animals are put together along edges, and there are none: "
            "list them, or set `assembly.graph: complete`"
        )
        raise ConfigError("config", [problem])
    return skeleton.edge_indices


def _join(parts: tuple[NDArray[Any] | None, ...]) -> NDArray[Any] | None:
    there = [part for part in parts if part is not None]
    return np.concatenate(there) if there else None
