"""The stages of a run, in the order in which it passes them: one record for each.

The rules of the workflow, the command line, the ledger and the keys of stages ask these records
which stages a run wants and on which settings their results depend.
"""

import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from pipeline_lib.core import versions
from pipeline_lib.core.settings.reading import hash_settings
from pipeline_lib.core.settings.run import Config

Values = Mapping[str, Any]


@dataclass(frozen=True)
class Stage:
    """One step of a run.

    Attributes
    ----------
    name
        Name of the stage: its verb, for the locator's network with ``-locator``.
    version
        Name of the step's version in `pipeline_lib.core.versions`.
    select
        Return the settings that the stage's results depend on, besides its inputs.
    wanted
        Tell whether a run needs the stage.
    per_model
        Whether the stage's results belong to one network, named by ``training.name``.
    """

    name: str
    version: str
    select: Callable[[Config], Values]
    wanted: Callable[[Config], bool] = lambda config: bool(config.labels)
    per_model: bool = True

    def list_settings(self, config: Config) -> tuple[str, ...]:
        """Return one line per setting that the results depend on, and the step's version.

        People read these lines as Snakemake's reason of a rerun.
        """
        lines = [f"{name}: {value}" for name, value in _flatten(self.select(config))]
        return (f"version of the step: {getattr(versions, self.version)}", *lines)

    def hash_settings(self, config: Config) -> str:
        """Return the hash of the settings that the results depend on, and the step's version."""
        return hash_settings(*self.list_settings(config))


def _flatten(values: Values, prefix: str = "") -> Iterator[tuple[str, str]]:
    """Yield the dotted name and the JSON text of each value."""
    for name, value in values.items():
        if isinstance(value, Mapping):
            yield from _flatten(value, f"{prefix}{name}.")
        else:
            yield f"{prefix}{name}", json.dumps(value, ensure_ascii=False)


def _select_labels(config: Config) -> Values:
    training = config.training
    return {
        **_dump(config, "skeleton", "individuals", "labels"),
        **_select_graph(config),
        "training": {
            "split": training.split.model_dump(mode="json"),
            "validation_fraction": training.validation_fraction,
        },
    }


def _select_targets(config: Config) -> Values:
    window = {"locating": {"window": config.locating.window}} if config.top_down else {}
    return {
        "targets": config.what_targets_need(),
        **_dump(config, "individuals"),
        **_select_graph(config),
        **window,
    }


def _select_locator_targets(config: Config) -> Values:
    locator = config.for_locator()
    return {"targets": locator.what_targets_need(), **_dump(locator, "individuals")}


def _select_training(config: Config) -> Values:
    return {
        "training": config.what_training_needs(),
        "skeleton": {"symmetries": config.skeleton.model_dump(mode="json")["symmetries"]},
    }


def _select_evaluation(config: Config) -> Values:
    return {
        **_dump(config, "evaluation"),
        "inference": {"runtime": config.inference.runtime},
        **_select_locating(config),
        **_select_assembly(config),
    }


def _select_inference(config: Config) -> Values:
    return {
        "inference": config.inference.what_matters(),
        **_select_locating(config),
        **_select_assembly(config),
    }


def _select_tracking(config: Config) -> Values:
    return {"tracking": config.tracking.what_matters(), **_dump(config, "individuals")}


def _select_exports(config: Config) -> Values:
    """Return the settings of exports; DeepLabCut's tables draw no edges."""
    if not config.exports.linked:
        return _dump(config, "exports")
    skeleton = config.skeleton.model_dump(mode="json", include={"edges", "symmetries"})
    return {**_dump(config, "exports"), "skeleton": skeleton}


def _select_graph(config: Config) -> Values:
    return {"assembly": {"graph": config.assembly.graph}} if config.uses_affinity else {}


def _select_locating(config: Config) -> Values:
    if not config.uses_locator:
        return {}
    return {"locating": config.locating.what_matters(top_down=config.top_down)}


def _select_assembly(config: Config) -> Values:
    if config.individuals.max == 1:
        return {}
    return {"assembly": config.assembly.what_matters(top_down=config.top_down)}


def _dump(config: Config, *sections: str) -> dict[str, Any]:
    return config.model_dump(mode="json", include=set(sections))


def _always(config: Config) -> bool:
    del config
    return True


def _uses_locator(config: Config) -> bool:
    return bool(config.labels) and config.uses_locator


def _tracks(config: Config) -> bool:
    return bool(config.labels) and config.individuals.max > 1


def _exports(config: Config) -> bool:
    return bool(config.labels) and bool(config.exports.formats)


STAGES: Mapping[str, Stage] = {
    stage.name: stage
    for stage in (
        Stage("probe", "PROBE", lambda _: {}, _always, per_model=False),
        Stage(
            "select-frames",
            "SELECT_FRAMES",
            lambda config: _dump(config, "frames"),
            lambda config: config.frames.extract,
            per_model=False,
        ),
        Stage("import-labels", "IMPORT_LABELS", _select_labels, per_model=False),
        Stage("make-targets", "MAKE_TARGETS", _select_targets, per_model=False),
        Stage(
            "make-targets-locator",
            "MAKE_TARGETS",
            _select_locator_targets,
            _uses_locator,
            per_model=False,
        ),
        Stage("train", "TRAIN", _select_training),
        Stage(
            "train-locator",
            "TRAIN",
            lambda config: _select_training(config.for_locator()),
            _uses_locator,
        ),
        Stage("evaluate", "EVALUATE", _select_evaluation),
        Stage("infer", "INFER", _select_inference),
        Stage("track", "TRACK", _select_tracking, _tracks),
        Stage("filter", "FILTER", lambda config: _dump(config, "filtering")),
        Stage("export", "EXPORT", _select_exports, _exports),
        Stage("status", "STATUS", lambda _: {}, _always),
        Stage(
            "report",
            "REPORT",
            lambda config: _dump(config, "report", "evaluation", "skeleton"),
            _always,
        ),
        Stage(
            "accept",
            "STATUS",
            lambda config: {
                "inference": {"max_failed_fraction": config.inference.max_failed_fraction}
            },
            _always,
        ),
    )
}

# What each video passes, in this order.
VIDEO_STAGES = ("probe", "infer", "track", "filter", "export")
