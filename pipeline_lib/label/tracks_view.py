"""Show the view of tracks, whose requests `track_routes` answers."""

from nicegui import ui

from pipeline_lib.label.annotations import Annotations


class TracksView(ui.element, component="script/tracks_view.js", esm={"cohortpose-label": "script"}):
    """Show the doubts about the tracks of each video, and save decisions."""


def build_tracks_view(annotations: Annotations) -> None:
    """Fill the tab of tracks."""
    del annotations
    TracksView()
