"""Lay out the page: a line at the top, and one view below it."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from nicegui import ui

from pipeline_lib.label.annotations import Annotations
from pipeline_lib.label.label_view import build_label_view
from pipeline_lib.label.project import Project
from pipeline_lib.label.tracks_view import build_tracks_view

_STYLE = Path(__file__).with_name("script") / "page.css"


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
