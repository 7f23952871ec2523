"""Read and write the store of training targets: one sharded Zarr v3 group."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import zarr
from numpy.typing import NDArray

from pipeline_lib.core.errors import StoreError
from pipeline_lib.core.skeleton import Skeleton
from pipeline_lib.io.foreign.zarr_codecs import bound_decoding
from pipeline_lib.io.foreign.zarr_metadata import check_arrays

FORMAT_VERSION = 2


@dataclass(frozen=True)
class TargetLayout:
    """Describe sizes and meaning of a target store.

    Attributes
    ----------
    height, width
        Of the stored images, network px.
    stride, scale, refinement_scale
        As in the config's `targets`.
    skeleton
        Its bodyparts are the names along the keypoint axis.
    individuals
        Most individuals in one image.
    samples_per_shard
        Samples that one writer writes at a time.
    edges
        Pairs of positions on the keypoint axis that have a part affinity field.
    animals
        Names of the animals, in the order of the individual axis.
    identities
        Whether these names tell the same animals apart in all images, to be learned.
    window
        Side in network px of what the network sees around the centre of each stored image, which
        is that of an animal; None: it sees the whole image.
    """

    height: int
    width: int
    rows: int
    columns: int
    stride: int
    scale: float
    refinement_scale: float
    skeleton: Skeleton
    individuals: int
    samples_per_shard: int
    edges: tuple[tuple[int, int], ...] = ()
    animals: tuple[str, ...] = ()
    identities: bool = False
    window: int | None = None

    @classmethod
    def read(cls, values: Mapping[str, Any]) -> "TargetLayout":
        """Return the layout from its JSON form."""
        own = {
            "skeleton": Skeleton.model_validate(values["skeleton"]),
            "edges": tuple((int(a), int(b)) for a, b in values["edges"]),
            "animals": tuple(values["animals"]),
        }
        return cls(**{**values, **own})

    def describe(self) -> dict[str, Any]:
        """Return the JSON form of the layout."""
        return {**vars(self), "skeleton": self.skeleton.model_dump(mode="json")}

    @property
    def bodyparts(self) -> tuple[str, ...]:
        """Names along the keypoint axis."""
        return self.skeleton.bodyparts


@dataclass(frozen=True)
class SampleRecord:
    """Describe the source and the split of a sample.

    Attributes
    ----------
    image
        Path of the labelled image, relative to the project or the results where it lies there.
    split
        ``train``, ``validation`` or ``test``.
    height, width
        Of the image, or of the window cut out of it, px.
    individual
        The animal that a window is around; empty where the sample is the whole image.
    absent
        Positions on the keypoint axis of the bodyparts labelled as absent.
    """

    image: str
    split: str
    height: int
    width: int
    individual: str = ""
    absent: tuple[int, ...] = ()


@dataclass(frozen=True)
class TargetBlock:
    """Hold arrays of consecutive samples, the sample axis first; see `create_targets`."""

    image: NDArray[np.uint8]
    keypoint: NDArray[np.float32]
    score_map: NDArray[np.floating]
    location_refinement: NDArray[np.floating]
    refinement_mask: NDArray[np.bool_]
    part_affinity: NDArray[np.floating] | None = None
    part_affinity_mask: NDArray[np.bool_] | None = None
    identity: NDArray[np.bool_] | None = None


def create_targets(
    path: Path, layout: TargetLayout, samples: list[SampleRecord], key: str
) -> zarr.Group:
    """Create an empty store to be filled shard by shard.

    The arrays, all with the sample axis first and one chunk per sample:

    - ``image`` (sample, row, column, channel) uint8 RGB, network px, padded with black;
    - ``keypoint`` (sample, individual, keypoint, space) float32, network px, NaN where unlabelled;
    - ``score_map`` (sample, keypoint, map_row, map_column) float16, 0..1;
    - ``location_refinement`` (sample, keypoint, space, map_row, map_column) float16, in units of
      the refinement scale;
    - ``refinement_mask`` (sample, keypoint, map_row, map_column) bool, where an offset was drawn;
    - ``part_affinity`` (sample, edge, space, map_row, map_column) float16, unit vectors along the
      edge, 0 where none was drawn, and ``part_affinity_mask`` (sample, edge, map_row, map_column)
      bool, where one was; if there are edges;
    - ``identity`` (sample, identity, map_row, map_column) bool, whose bodypart a cell shows; if
      identities are to be learned.

    Parameters
    ----------
    path
        Folder to create.
    layout
        Sizes; kept among the group's attributes.
    samples
        One record per sample; kept among the group's attributes.
    key
        Hash of what the store was made from.
    """
    group = zarr.open_group(path, mode="w", zarr_format=3)
    group.attrs.update(
        {
            "format_version": FORMAT_VERSION,
            "key": key,
            "layout": layout.describe(),
            "samples": json.dumps([_describe_record(sample) for sample in samples]),
        }
    )
    maps = (len(layout.bodyparts), layout.rows, layout.columns)
    arrays: dict[str, tuple[tuple[int, ...], str, tuple[str, ...]]] = {
        "image": ((layout.height, layout.width, 3), "uint8", ("row", "column", "channel")),
        "keypoint": (
            (layout.individuals, len(layout.bodyparts), 2),
            "float32",
            ("individual", "keypoint", "space"),
        ),
        "score_map": (maps, "float16", ("keypoint", "map_row", "map_column")),
        "location_refinement": (
            (maps[0], 2, *maps[1:]),
            "float16",
            ("keypoint", "space", "map_row", "map_column"),
        ),
        "refinement_mask": (maps, "bool", ("keypoint", "map_row", "map_column")),
    }
    if layout.edges:
        fields = (len(layout.edges), *maps[1:])
        arrays["part_affinity"] = (
            (fields[0], 2, *maps[1:]),
            "float16",
            ("edge", "space", "map_row", "map_column"),
        )
        arrays["part_affinity_mask"] = (fields, "bool", ("edge", "map_row", "map_column"))
    if layout.identities:
        arrays["identity"] = (
            (len(layout.animals), *maps[1:]),
            "bool",
            ("identity", "map_row", "map_column"),
        )
    for name, (shape, dtype, dimensions) in arrays.items():
        group.create_array(
            name,
            shape=(len(samples), *shape),
            chunks=(1, *shape),
            shards=(layout.samples_per_shard, *shape),
            dtype=dtype,
            compressors=zarr.codecs.ZstdCodec(level=1),
            dimension_names=("sample", *dimensions),
        )
    return group


def _describe_record(sample: SampleRecord) -> dict[str, Any]:
    """Return the JSON form of a record, without what hardly any has."""
    return {name: value for name, value in vars(sample).items() if name != "absent" or value}


def _read_record(values: Mapping[str, Any]) -> SampleRecord:
    return SampleRecord(**{**values, "absent": tuple(values.get("absent", ()))})


def write_block(group: zarr.Group, start: int, block: TargetBlock) -> None:
    """Write consecutive samples; `start` must begin a shard, and one writer owns a shard."""
    per_shard = group.attrs["layout"]["samples_per_shard"]
    if start % per_shard:
        raise ValueError(f"start ({start}) is not a multiple of {per_shard}")
    for name, values in vars(block).items():
        if values is None:
            continue
        array = group[name]
        array[start : start + len(values)] = values.astype(array.dtype, copy=False)


class TargetStore:
    """Read a finished target store.

    Raises
    ------
    StoreError
        If there is none, or of another format version, or if reading it might run code: see
        `pipeline_lib.io.foreign.zarr_metadata`.
    """

    def __init__(self, path: Path) -> None:
        try:
            metadata = json.loads((path / "zarr.json").read_text(encoding="utf-8"))
            attributes: dict[str, Any] = metadata["attributes"]
            version = attributes["format_version"]
            arrays = metadata["consolidated_metadata"]["metadata"]
        except (OSError, ValueError, KeyError, TypeError, RecursionError) as error:
            raise StoreError(f"{path}: no target store ({error}); run make-targets") from None
        if version != FORMAT_VERSION:
            raise StoreError(
                f"{path}: format {version}, this version reads {FORMAT_VERSION}; run make-targets"
            )
        check_arrays(path, arrays)
        # The metadata that were checked, not those that lie beside each array.
        with bound_decoding():
            self._group = zarr.open_group(path, mode="r", zarr_format=3, use_consolidated=True)
        self.path = path
        self.key = str(attributes["key"])
        self.layout = TargetLayout.read(attributes["layout"])
        self.samples = [_read_record(one) for one in json.loads(attributes["samples"])]

    def __len__(self) -> int:
        return len(self.samples)

    def of_split(self, split: str) -> list[int]:
        """Return the numbers of the samples of one split."""
        return [number for number, one in enumerate(self.samples) if one.split == split]

    def has(self, name: str) -> bool:
        """Tell whether the store has an array."""
        return name in self._group

    def read(self, name: str, sample: int) -> NDArray[Any]:
        """Return one sample of one array.

        Raises
        ------
        StoreError
            If the store was removed since it was opened: Zarr would give black images.
        """
        shard = sample // self.layout.samples_per_shard
        if name == "image" and not (self.path / name / "c" / str(shard)).exists():
            raise StoreError(f"{self.path}: samples are gone since it was opened; run make-targets")
        return np.asarray(self._group[name][sample])

    def read_seen(self, name: str, sample: int) -> NDArray[Any]:
        """Return the part of one sample that the network sees: the centre, if there is a window.

        Parameters
        ----------
        name
            ``image``, ``keypoint`` or a map.
        sample
            Number of the sample.

        Returns
        -------
        ndarray
            As `read`; keypoints are in px of this part.
        """
        values, layout = self.read(name, sample), self.layout
        if layout.window is None:
            return values
        top, left = ((side - layout.window) // 2 for side in (layout.height, layout.width))
        if name == "keypoint":
            return np.asarray(values - np.array([left, top], values.dtype))
        if name == "image":
            return values[top : top + layout.window, left : left + layout.window]
        row, column = top // layout.stride, left // layout.stride
        cells = layout.window // layout.stride
        return values[..., row : row + cells, column : column + cells]
