"""Decode the maps of a network into keypoints of one or several animals."""

from collections.abc import Callable, Iterable, Mapping
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from pipeline_lib.core.settings.individuals import AssemblySettings
from pipeline_lib.kernels.assembly.crowds import assemble_crowds
from pipeline_lib.kernels.assembly.selection import AssemblyRules
from pipeline_lib.kernels.maps.part_affinity import measure_affinity
from pipeline_lib.kernels.maps.peaks import find_peaks
from pipeline_lib.kernels.maps.score_maps import decode_peaks
from pipeline_lib.models.card import ModelCard
from pipeline_lib.models.stopwatch import lap

Array = Any  # A NumPy array or a torch tensor.
Fetch = Callable[[Iterable[Array]], list[NDArray[np.float32]]]

# Names of all maps that a network may have as outputs.
MAPS = ("score", "offset", "affinity", "identity")

# False peaks of a bodypart that are kept besides those of the animals.
_SPARE_PEAKS = 3
# Peaks besides the best one that the animal of a window may take.
_ALTERNATIVES = 3


class Located(NamedTuple):
    """Hold keypoints of frames, axes in the order of `pipeline_lib.core.poses.Poses`.

    Attributes
    ----------
    position
        Shape (frame, individual, keypoint, 2), float32, x and y in px; NaN if the individual
        or the keypoint was not found.
    confidence
        Shape (frame, individual, keypoint), float32, 0..1; 0 if it was not found.
    identity
        Shape (frame, individual, identity), 0..1; NaN if the individual was not found. None if
        the network does not predict identity.
    spread
        Shape (frame, individual, keypoint), px: root mean square of the distances between the
        position and what the members of an ensemble predict; NaN if fewer than two of them found
        the keypoint. None if there is one network.
    """

    position: NDArray[np.float32]
    confidence: NDArray[np.float32]
    identity: NDArray[np.float32] | None = None
    spread: NDArray[np.float32] | None = None

    def take(self, rows: slice | NDArray[np.intp]) -> "Located":
        """Return the keypoints of some frames."""
        return Located(
            self.position[rows],
            self.confidence[rows],
            None if self.identity is None else self.identity[rows],
            None if self.spread is None else self.spread[rows],
        )


def name_slots(card: ModelCard, surplus: int) -> tuple[str, ...]:
    """Return the names of the slots on the individual axis of a network's results.

    Parameters
    ----------
    card
        Model card of the network.
    surplus
        Number of slots beyond the individuals of the card; they precede the unique bodyparts.
    """
    more = tuple(f"surplus{number}" for number in range(1, surplus + 1))
    return (*card.individuals[: card.animals], *more, *card.individuals[card.animals :])


def keep_arrays(arrays: Iterable[Array]) -> list[NDArray[np.float32]]:
    """Return arrays unchanged that lie in main memory already."""
    return list(arrays)


class MapDecoder:
    """Decode the maps of one network.

    Parameters
    ----------
    card
        Model card of the network.
    assembly
        Settings of the assembly of individuals; None uses the defaults, without surplus.

    Attributes
    ----------
    surplus
        Number of slots beyond the individuals of the card. For windows around single animals, the
        slots hold the peaks of each keypoint, best first.
    """

    def __init__(self, card: ModelCard, assembly: AssemblySettings | None = None) -> None:
        self.card, self._assembly = card, assembly or AssemblySettings(surplus=0)
        self.surplus = self._count_surplus()
        skeleton = card.skeleton
        self._keypoints = len(skeleton.bodyparts)
        self._animal, self._unique = skeleton.animal_indices, skeleton.unique_indices
        place = {keypoint: number for number, keypoint in enumerate(self._animal)}
        used = [card.edges[number] for number in card.used_edges]
        # Networks of other tools are read as these tools read them.
        self._votes = not card.origin
        self._edges = [(place[a], place[b]) for a, b in used]

    def decode(self, maps: Mapping[str, Array], fetch: Fetch = keep_arrays) -> Located:
        """Locate the keypoints of a batch.

        Parameters
        ----------
        maps
            Maps by name, as from `pipeline_lib.models.network.network.DeployedNetwork`.
        fetch
            Function that copies arrays from the device of the maps to main memory.

        Returns
        -------
        Located
            Positions in network px. A single animal is always located, but in windows NaN stands
            for peaks below ``assembly.min_confidence``.
        """
        with lap("decode", within="network"):
            return self._decode(maps, fetch)

    def _decode(self, maps: Mapping[str, Array], fetch: Fetch) -> Located:
        score, offset, stride = maps["score"], maps["offset"], self.card.stride
        if self.card.animals == 1 and self.surplus:
            return self._decode_alternatives(score, offset, fetch)
        if self.card.animals == 1:
            position, confidence = fetch(decode_peaks(score, offset, stride, votes=self._votes))
            # Scores of networks of other tools may lie beyond.
            return Located(position[:, None], np.clip(confidence, 0.0, 1.0)[:, None])
        peaks = find_peaks(
            _take(score, self._animal),
            _take(offset, self._animal),
            stride,
            threshold=self._assembly.lowest_confidence,
            most=self.card.animals + self.surplus + _SPARE_PEAKS,
            votes=self._votes,
        )
        affinity = self._measure_affinity(maps, peaks[0])
        unique: tuple[Array, ...] = ()
        if self._unique:
            score, offset = _take(score, self._unique), _take(offset, self._unique)
            unique = decode_peaks(score, offset, stride, votes=self._votes)
        identity = (maps["identity"],) if "identity" in maps else ()
        position, confidence, *rest = fetch((*peaks, *affinity, *unique, *identity))
        if not affinity:
            frames, _, most = confidence.shape
            rest.insert(0, np.empty((frames, 0, most, most), np.float32))
        located = self._assemble(position, confidence, rest[0])
        found = self._place(*located, *rest[1 : 1 + len(unique)])
        if not identity:
            return found
        return found._replace(identity=_read_identity(found, rest[-1], stride))

    def _count_surplus(self) -> int:
        if self.card.animals > 1:
            return self._assembly.surplus
        # Networks of other tools see no neighbours to dispute a keypoint with: their boxes differ.
        return _ALTERNATIVES if self.card.window is not None and not self.card.origin else 0

    def _decode_alternatives(self, score: Array, offset: Array, fetch: Fetch) -> Located:
        """Return the best peaks of each keypoint of one animal, one in each slot."""
        position, confidence = fetch(
            find_peaks(
                score,
                offset,
                self.card.stride,
                threshold=self._assembly.lowest_confidence,
                most=1 + self.surplus,
                votes=self._votes,
            )
        )
        return Located(
            np.ascontiguousarray(np.moveaxis(position, 2, 1)),
            np.nan_to_num(np.moveaxis(confidence, 2, 1)),
        )

    def _measure_affinity(self, maps: Mapping[str, Array], position: Array) -> tuple[Array, ...]:
        if not self._edges:
            return ()
        field = maps["affinity"]
        if len(self.card.used_edges) < len(self.card.edges):
            field = _take(field, self.card.used_edges)
        return (measure_affinity(field, position, self._edges, self.card.stride),)

    def _assemble(
        self,
        position: NDArray[np.float32],
        confidence: NDArray[np.float32],
        affinity: NDArray[np.float32],
    ) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """Return positions and confidences of the animals, without unique bodyparts."""
        found = assemble_crowds(
            position,
            confidence,
            affinity,
            self._edges,
            AssemblyRules(
                individuals=self.card.animals,
                min_affinity=self._assembly.min_affinity,
                min_keypoints=self._assembly.min_keypoints,
                pcutoff=self._assembly.pcutoff,
                # Animals may lie on each other.
                max_overlap=1.0,
                # Peaks are cut off where they are found.
                min_confidence=0.0,
            ),
            surplus=self.surplus,
            spare=_SPARE_PEAKS,
        )
        return found.position, found.confidence

    def _place(
        self,
        position: NDArray[np.float32],
        confidence: NDArray[np.float32],
        unique_position: NDArray[np.float32] | None = None,
        unique_confidence: NDArray[np.float32] | None = None,
    ) -> Located:
        """Copy animals and unique bodyparts into arrays of all individuals and keypoints."""
        if unique_position is None or unique_confidence is None:
            return Located(position, confidence)
        frames, animals = position.shape[:2]
        all_positions = np.full((frames, animals + 1, self._keypoints, 2), np.nan, np.float32)
        all_confidences = np.zeros(all_positions.shape[:3], np.float32)
        all_positions[:, :animals, list(self._animal)] = position
        all_confidences[:, :animals, list(self._animal)] = confidence
        all_positions[:, animals, list(self._unique)] = unique_position
        all_confidences[:, animals, list(self._unique)] = unique_confidence
        return Located(all_positions, all_confidences)


def _take(maps: Array, numbers: tuple[int, ...]) -> Array:
    """Return the numbered maps of each frame, without a copy if these are all of them."""
    return maps if len(numbers) == maps.shape[1] else maps[:, list(numbers)]


def _read_identity(located: Located, maps: NDArray[np.float32], stride: int) -> NDArray[np.float32]:
    """Return the mean of the identity maps at each individual's keypoints, by confidence."""
    frames, _, rows, columns = maps.shape
    cell = (located.position - (stride - 1) / 2) / stride
    there: NDArray[np.bool_] = np.asarray(np.isfinite(cell).all(axis=-1))
    cell = np.where(there[..., None], cell, 0.0).round().astype(np.int64)
    row, column = cell[..., 1].clip(0, rows - 1), cell[..., 0].clip(0, columns - 1)
    seen = maps[np.arange(frames)[:, None, None], :, row, column]
    weight = np.where(there, located.confidence, 0.0)[..., None]
    total = weight.sum(axis=2)
    mean = (seen * weight).sum(axis=2) / np.where(total > 0, total, 1.0)
    return np.where(total > 0, mean, np.nan).astype(np.float32)
