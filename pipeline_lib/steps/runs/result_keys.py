"""Compute the keys of the results of a video: hashes of all their dependencies.

A result belongs to its key, not to a video's name or to a time. The steps store these keys with
their results; `status`, `verify` and the cache of finished stages compare them.
"""

from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

from pipeline_lib.core import versions
from pipeline_lib.core.layout import ModelFiles, Results
from pipeline_lib.core.settings.reading import hash_settings
from pipeline_lib.core.settings.run import Config
from pipeline_lib.core.stages import STAGES, filtering_key, tracking_key
from pipeline_lib.io.video.codecs.checking import CHECKING_DECODERS
from pipeline_lib.io.video.edges import leaves_edge_unwritten
from pipeline_lib.models.card import locating_key, read_card
from pipeline_lib.models.members import count_members, read_member_cards
from pipeline_lib.models.precision import describe_result_settings

__all__ = [
    "existing_key",
    "expect_pose_key",
    "filtering_key",
    "identify_content",
    "locate_results",
    "make_network_keys",
    "network_key",
    "pose_key",
    "probing_key",
    "tracking_key",
]


def probing_key(fingerprint: str, poses: str = "") -> str:
    """Return the key of the probe of a video by its fingerprint, and that of existing poses."""
    existing = [f"{poses} {versions.EXISTING_POSES}"] if poses else []
    return hash_settings(fingerprint, versions.PROBE, *existing)


def network_key(config: Config, results: Results) -> str:
    """Return the hash of all that poses depend on besides the video.

    Raises
    ------
    ModelError
        If the network, or its locator, is missing, or its precision is to be measured first.
    """
    files = results.model(config.training.name)
    card = read_card(files.card)
    top_down = card.window is not None
    several = [config.assembly.result_settings(top_down=top_down)]
    return hash_settings(
        *describe_result_settings(config, results),
        locating_key(files, config.locating),
        card.key,
        card.network_sha256,
        versions.INFER,
        *(several if card.animals > 1 or top_down else []),
        *_list_members(files, count_members(config, results)),
    )


def make_network_keys(config: Config, results: Results) -> Callable[[Config], str]:
    """Return a function from the settings of a video to its `network_key`.

    The files of the network are read once, and again for videos whose settings differ.

    Raises
    ------
    ModelError
        If the network, or its locator, is missing.
    """
    usual = network_key(config, results)

    def find(own: Config) -> str:
        return usual if own.inference == config.inference else network_key(own, results)

    return find


def _list_members(files: ModelFiles, count: int) -> Iterator[str]:
    """Yield the keys and checksums of the members of an ensemble after the first."""
    if count > 1:
        for card in read_member_cards(files, count)[1:]:
            yield from (card.key, card.network_sha256)


def identify_content(probed: Mapping[str, str]) -> str:
    """Identify the content of a good video by its bytes and the counting of its rows.

    Parameters
    ----------
    probed
        Its row of the probe's table.

    Returns
    -------
    str
        The fingerprint. For a video whose rows or pixels earlier versions got wrong, another
        one: their results are not taken for ours.
    """
    fingerprint, width, known = probed["fingerprint"], probed.get("width", ""), []
    if probed.get("reason"):
        known.append(f"{probed['frames']} rows, missing ones included")
    if width.isdecimal() and leaves_edge_unwritten(probed["pixel_format"], int(width)):
        known.append("right edge")
    if probed.get("codec") in CHECKING_DECODERS:
        known.append("damaged pictures told")
    return hash_settings(fingerprint, *known) if known else fingerprint


def existing_key(config: Config, probed: Mapping[str, str]) -> str:
    """Return the key of poses that another tool found, by a row of the probe's table."""
    return hash_settings(
        probed["poses_fingerprint"],
        probed["fingerprint"],
        *(probed[name] for name in ("frames", "fps")),
        {"bodyparts": list(config.skeleton.bodyparts), "individuals": config.individuals.max},
        versions.EXISTING_POSES,
    )


def expect_pose_key(config: Config, probed: Mapping[str, str], network: str) -> str:
    """Return the key that the poses of a good video should have; empty if nothing tells it.

    Parameters
    ----------
    config
        Settings of the run.
    probed
        Its row of the probe's table.
    network
        The `network_key`; empty: there is no network.
    """
    if probed.get("poses_fingerprint"):
        return existing_key(config, probed)
    return pose_key(identify_content(probed), network) if network and probed["fingerprint"] else ""


def pose_key(content: str, network: str) -> str:
    """Return the key of the poses of a video, by `identify_content` and the `network_key`."""
    return hash_settings(content, network)


def locate_results(config: Config, results: Results, stage: str, video: str) -> list[Path]:
    """Return the paths of the results of a stage of one video; none for the probe."""
    return STAGES[stage].list_results(config, results, video)
