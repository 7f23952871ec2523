"""Show the view of labels, and notify it of changes on the disk."""

from nicegui import run, ui

from pipeline_lib.label.annotations import Annotations
from pipeline_lib.label.routes import describe_project

_SECONDS = 1.0


class LabelView(ui.element, component="script/label_view.js", esm={"cohortpose-label": "script"}):
    """List frames and label them; all work on a frame is done in the browser."""


def build_label_view(annotations: Annotations) -> None:
    """Fill the tab of labels."""
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
