"""make-targets: from labels and images to the Zarr store that training reads."""

import hashlib
import logging
from dataclasses import dataclass
from pathlib import Path

import dask
import numpy as np
import zarr
from numpy.typing import NDArray

from pipeline_lib.core import versions
from pipeline_lib.core.config import hash_settings
from pipeline_lib.core.errors import LabelError, StoreError
from pipeline_lib.core.layout import Results
from pipeline_lib.core.settings import Config, TargetSettings
from pipeline_lib.io.images import read_image
from pipeline_lib.io.labels import Labels, label_arrays, read_labels
from pipeline_lib.io.publish import publish_folder
from pipeline_lib.io.targets import (
    SampleRecord,
    TargetBlock,
    TargetLayout,
    create_targets,
    write_block,
)
from pipeline_lib.kernels.score_maps import MapShape, map_shape
from pipeline_lib.models.memory import keep_freed_memory
from pipeline_lib.models.preprocessing import FrameFit, lay_frame
from pipeline_lib.models.targets import TargetMaps, encode_targets

logger = logging.getLogger(__name__)

DRAWN_AT_A_TIME = 8  # frames; more of them leave the processor's cache while they are drawn


@dataclass(frozen=True)
class _Sample:
    """One labelled image and its keypoints (individual, keypoint, 2) in image px."""

    image: Path
    fingerprint: str
    split: str
    position: NDArray[np.float64]
    fit: FrameFit


def run_make_targets(config: Config, results: Results, *, locator: bool = False) -> None:
    """Publish the target store of the imported labels.

    Parameters
    ----------
    config, results
        The run.
    locator
        Make the targets of the network that finds the animal.

    Raises
    ------
    LabelError
        If images cannot be read.
    """
    keep_freed_memory()
    path = results.targets
    if locator:
        config, path = config.for_locator(), results.locator_targets
    labels = read_labels(results.labels)
    samples = _collect_samples(labels, config.targets.scale)
    height = max(sample.fit.padded_size[0] for sample in samples)
    width = max(sample.fit.padded_size[1] for sample in samples)
    shape = map_shape(height, width, config.targets.stride)
    layout = TargetLayout(
        height=height,
        width=width,
        rows=shape.rows,
        columns=shape.columns,
        stride=config.targets.stride,
        scale=config.targets.scale,
        refinement_scale=config.targets.location_refinement_scale,
        bodyparts=labels.bodyparts,
        individuals=config.individuals.max,
        samples_per_shard=min(config.targets.samples_per_shard, len(samples)),
    )
    key = hash_settings(
        config.targets, versions.MAKE_TARGETS, _hash_samples(samples), ",".join(labels.bodyparts)
    )
    records = [
        SampleRecord(str(one.image), one.split, one.fit.height, one.fit.width) for one in samples
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
    logger.info("%d samples of %d x %d px in %s", len(samples), width, height, path)


def _collect_samples(labels: Labels, scale: float) -> list[_Sample]:
    images, position = label_arrays(labels)
    samples, problems = [], []
    for name, split, keypoints in zip(images["image"], images["split"], position, strict=True):
        path = Path(name)
        try:
            height, width = read_image(path).shape[:2]
        except StoreError as error:
            problems.append(str(error))
            continue
        fingerprint = hashlib.sha256(path.read_bytes()).hexdigest()
        fit = FrameFit.of(height, width, scale)
        samples.append(_Sample(path, fingerprint, split, keypoints, fit))
    if problems:
        raise LabelError("labelled images", problems)
    return samples


def _write_shard(
    group: zarr.Group, start: int, samples: list[_Sample], settings: TargetSettings
) -> None:
    layout = group.attrs["layout"]
    size = (layout["height"], layout["width"])
    shape = MapShape(layout["rows"], layout["columns"], layout["stride"])
    keypoint = np.stack([one.fit.to_network(one.position) for one in samples])
    drawn = [
        _to_stored(encode_targets(keypoint[first : first + DRAWN_AT_A_TIME], shape, settings))
        for first in range(0, len(samples), DRAWN_AT_A_TIME)
    ]
    block = TargetBlock(
        image=np.stack([lay_frame(read_image(one.image), one.fit, size) for one in samples]),
        keypoint=keypoint,
        score_map=np.concatenate([maps.score for maps in drawn]),
        location_refinement=np.concatenate([maps.offset for maps in drawn]),
        refinement_mask=np.concatenate([maps.mask for maps in drawn]),
    )
    write_block(group, start, block)


def _to_stored(maps: TargetMaps) -> TargetMaps:
    half = np.float16
    return TargetMaps(maps.score.astype(half), maps.offset.astype(half), maps.mask)


def _hash_samples(samples: list[_Sample]) -> str:
    return hash_settings(
        {
            str(number): [one.fingerprint, one.split, repr(one.position.tolist())]
            for number, one in enumerate(samples)
        }
    )
