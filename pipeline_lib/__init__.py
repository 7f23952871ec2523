"""Poses you can trust for whole cohorts of animal videos.

The names below are the public API. They are imported when they are first used, so that
``import pipeline_lib`` is quick. Everything else in the package may change in any release.

Examples
--------
>>> import pipeline_lib
>>> cohort = pipeline_lib.open_cohort("results")  # doctest: +SKIP
"""

import importlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pipeline_lib.api.inputs import read_frame, read_labels
    from pipeline_lib.api.metrics import compute_metrics
    from pipeline_lib.api.network import Network, load_network, read_confidence_regions
    from pipeline_lib.api.poses import open_cohort, open_poses
    from pipeline_lib.core.errors import CohortposeError
    from pipeline_lib.core.layout import Results
    from pipeline_lib.core.settings.reading import read_config
    from pipeline_lib.core.settings.run import Config
    from pipeline_lib.core.tables import FrameStatus, TrackStatus
    from pipeline_lib.io.labels.table import Labels
    from pipeline_lib.io.video.reader import VideoReader
    from pipeline_lib.live.predictor import LivePoses, LivePredictor
    from pipeline_lib.models.regions import ConfidenceRegions

__version__ = "0.1.0"

__all__ = [
    "CohortposeError",
    "ConfidenceRegions",
    "Config",
    "FrameStatus",
    "Labels",
    "LivePoses",
    "LivePredictor",
    "Network",
    "Results",
    "TrackStatus",
    "VideoReader",
    "compute_metrics",
    "load_network",
    "open_cohort",
    "open_poses",
    "read_confidence_regions",
    "read_config",
    "read_frame",
    "read_labels",
]

_MODULES = {
    "CohortposeError": "core.errors",
    "Config": "core.settings.run",
    "FrameStatus": "core.tables",
    "Labels": "io.labels.table",
    "LivePoses": "live.predictor",
    "LivePredictor": "live.predictor",
    "Network": "api.network",
    "ConfidenceRegions": "models.regions",
    "Results": "core.layout",
    "TrackStatus": "core.tables",
    "VideoReader": "io.video.reader",
    "compute_metrics": "api.metrics",
    "load_network": "api.network",
    "open_cohort": "api.poses",
    "open_poses": "api.poses",
    "read_config": "core.settings.reading",
    "read_frame": "api.inputs",
    "read_labels": "api.inputs",
    "read_confidence_regions": "api.network",
}


def __getattr__(name: str) -> object:
    """Import a public name when it is first used."""
    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(importlib.import_module(f"{__name__}.{_MODULES[name]}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    """List the public names, imported or not."""
    return sorted({*globals(), *__all__})
