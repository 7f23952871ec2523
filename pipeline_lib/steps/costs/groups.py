"""Find the group that a video is summed in."""

from collections.abc import Sequence

from pipeline_lib.core.cohort import Video
from pipeline_lib.core.settings.run import Config


def find_unknown_group(config: Config, videos: Sequence[Video]) -> list[str]:
    """Explain that the sheet lacks the column of groups."""
    group = config.costs.group
    if not group or not videos:
        return []
    known = ["session", "camera", *videos[0].metadata]
    if group in known:
        return []
    return [f"`costs.group`: no column {group!r} in {config.cohort}; there are: {', '.join(known)}"]
