"""Lay out the page: a line at the top, and one view below it.

The work of a view is done in the browser; `routes` and `track_routes` answer its requests.
"""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from nicegui import run, ui

from pipeline_lib.label.annotations import Annotations
from pipeline_lib.label.project import Project
from pipeline_lib.label.routes import describe_project

_STYLE = Path(__file__).with_name("script") / "page.css"
# How often the folder of corrections is looked at.
_SECONDS = 1.0


class LabelView(ui.element, component="script/label_view.js", esm={"cohortpose-label": "script"}):
    """List frames and label them; all work on a frame is done in the browser."""


class TracksView(ui.element, component="script/tracks_view.js", esm={"cohortpose-label": "script"}):
    """Show the doubts about the tracks of each video, and save decisions."""


def build_label_view(annotations: Annotations) -> None:
    """Fill the tab of labels, and notify its view of changes on the disk."""
    view = LabelView()
    seen, changes = len(annotations.log), annotations.changes
    problem = annotations.problem

    async def watch() -> None:
        nonlocal seen, changes, problem
        await run.io_bound(annotations.refresh)
        if annotations.problem != problem:
            problem = annotations.problem
            view.run_method("showProblems", describe_project(annotations)["problems"])
        if annotations.changes != changes:
            changes = annotations.changes
            view.run_method("showProject", describe_project(annotations))
        log = annotations.log
        if len(log) > seen:
            changed, seen = dict.fromkeys(log[seen:]), len(log)
            view.run_method("showChanges", [annotations.describe(place) for place in changed])

    ui.timer(_SECONDS, watch)


def build_tracks_view(annotations: Annotations) -> None:
    """Fill the tab of tracks."""
    del annotations
    TracksView()


@dataclass(frozen=True)
class View:
    """Describe a view of the page: a tab.

    Attributes
    ----------
    title
        On its tab.
    icon
        Name of a Material icon.
    applies
        Tell whether a project needs it.
    build
        Fill the tab, each time that a page is opened.
    """

    title: str
    icon: str
    applies: Callable[[Project], bool]
    build: Callable[[Annotations], None]


# A further view is a further record here.
VIEWS = (
    View("Labels", "control_point", lambda _: True, build_label_view),
    View(
        "Tracks", "timeline", lambda project: project.config.individuals.max > 1, build_tracks_view
    ),
)


def define_page(annotations: Annotations) -> None:
    """Define the page ``/`` for a project."""

    @ui.page("/")
    def show() -> None:
        ui.add_css(_STYLE)
        ui.colors(primary="#5b9dff", dark_page="#17181a")
        views = [view for view in VIEWS if view.applies(annotations.project)]
        with ui.header().classes("cp-header"):
            ui.label("cohortpose").classes("cp-brand")
            with ui.tabs().props("dense no-caps inline-label") as tabs:
                for view in views:
                    ui.tab(view.title, icon=view.icon)
            ui.space()
            ui.label(annotations.project.author).classes("cp-author")
        with (
            ui.tab_panels(tabs, value=views[0].title)
            .props("keep-alive animated=false")
            .classes("cp-views")
        ):
            for view in views:
                with ui.tab_panel(view.title).classes("cp-view"):
                    view.build(annotations)
