"""Find the groups of videos that are compared with each other."""

from collections.abc import Sequence

from pipeline_lib.core.cohort import Video
from pipeline_lib.core.errors import SheetError
from pipeline_lib.core.settings.run import Config


def find_groups(config: Config, sheet: Sequence[Video]) -> dict[str, str]:
    """Return the group of each video: those that are compared with each other.

    Raises
    ------
    SheetError
        If the sheet lacks the column that `quality.group` names.
    """
    column = config.quality.group
    if column is None:
        return {video.video: video.camera for video in sheet}
    groups = {}
    for video in sheet:
        known = {"session": video.session, "camera": video.camera, **video.metadata}
        if column not in known:
            raise SheetError(
                config.cohort,
                [f"`quality.group`: no column {column!r}; there are {', '.join(known)}"],
            )
        groups[video.video] = known[column]
    return groups
