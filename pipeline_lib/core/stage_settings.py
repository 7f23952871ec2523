"""Select the settings that the results of each stage depend on: its key is their hash."""

from collections.abc import Mapping
from typing import Any

from pipeline_lib.core import versions
from pipeline_lib.core.formats.criteria import CRITERIA
from pipeline_lib.core.settings.chosen import list_auto, list_upstream
from pipeline_lib.core.settings.outputs.costs import CostSettings
from pipeline_lib.core.settings.run import Config

Values = Mapping[str, Any]


def select_labels(config: Config) -> Values:
    """Return what labels depend on: their sources, splits, and choices made from them."""
    training = config.training
    sources = [
        # A source of iteration 0 has the key that it had before there were iterations.
        one.model_dump(mode="json", exclude=None if one.iteration else {"iteration"})
        for one in config.label_sources
    ]
    return {
        **select_sections(config, "skeleton", "individuals"),
        "labels": sources,
        **_select_graph(config),
        "training": {
            "split": training.split.model_dump(mode="json"),
            "validation_fraction": training.validation_fraction,
            **({"iteration": training.iteration} if training.iteration else {}),
        },
        **_select_choices(config),
    }


def _select_choices(config: Config) -> Values:
    """Return the settings from which `auto` values are chosen; empty if no value is `auto`."""
    if not list_auto(config):
        return {}
    return {"auto": {"version": versions.CHOOSE_SETTINGS, **list_upstream(config)}}


def select_targets(config: Config) -> Values:
    """Return the settings that targets of the network depend on."""
    window = {"locating": {"window": config.locating.window}} if config.top_down else {}
    return {
        "targets": config.target_settings(),
        **select_sections(config, "individuals"),
        **_select_graph(config),
        **window,
    }


def select_locator_targets(config: Config) -> Values:
    """Return the settings that targets of the locator depend on."""
    locator = config.for_locator()
    return {"targets": locator.target_settings(), **select_sections(locator, "individuals")}


def select_training(config: Config) -> Values:
    """Return the settings that a network depends on, whichever member it is."""
    return {
        "training": config.training_settings(),
        "skeleton": {"symmetries": config.skeleton.model_dump(mode="json")["symmetries"]},
    }


def select_evaluation(config: Config) -> Values:
    """Return the settings that errors on labelled frames depend on."""
    return {
        **_select_measures(config),
        "inference": {"runtime": config.inference.runtime},
        **_select_members(config),
        **_select_locating(config),
        **_select_assembly(config),
    }


def select_precision(config: Config) -> Values:
    """Return the settings that the choice of a precision depends on."""
    inference = config.inference.model_dump(mode="json", include={"precision", "runtime"})
    return {
        "inference": inference,
        **_select_members(config),
        **_select_locating(config),
        **_select_assembly(config),
    }


def select_inference(config: Config) -> Values:
    """Return the settings that predicted poses depend on, or existing ones."""
    if config.has_only_existing:
        return _select_existing(config)
    return {
        "inference": config.inference.result_settings(),
        **_select_members(config),
        **_select_locating(config),
        **_select_assembly(config),
        # With labels, other bodyparts make another network, which is an input of inference.
        **(_select_existing(config) if config.model.bundle and config.has_existing else {}),
        **_select_overrides(config, "inference"),
    }


def _select_existing(config: Config) -> Values:
    """Return the settings that poses of other tools depend on, as they are taken over."""
    return {
        "existing": {
            "version": versions.EXISTING_POSES,
            "bodyparts": list(config.skeleton.bodyparts),
            "individuals": config.individuals.max,
        }
    }


def select_tracking(config: Config) -> Values:
    """Return the settings that tracks depend on."""
    return {
        "tracking": config.tracking.result_settings(),
        **select_sections(config, "individuals"),
        **_select_overrides(config, "tracking"),
    }


def select_filtering(config: Config) -> Values:
    """Return the settings that filtered poses depend on."""
    return {
        "filtering": config.filtering.result_settings(),
        **_select_overrides(config, "filtering"),
    }


def _select_overrides(config: Config, section: str) -> Values:
    """Return the settings of single videos; empty where no video has any."""
    own = {
        video: getattr(one, section)
        for one in config.overrides
        if getattr(one, section)
        for video in one.videos
    }
    return {"overrides": {section: own}} if own else {}


def select_exports(config: Config) -> Values:
    """Return the settings of exports; DeepLabCut's tables draw no edges."""
    if not config.exports.linked:
        return select_sections(config, "exports")
    skeleton = config.skeleton.model_dump(mode="json", include={"edges", "symmetries"})
    return {**select_sections(config, "exports"), "skeleton": skeleton}


def select_kinematics(config: Config) -> Values:
    """Return the settings of the tables; whether runs write any does not change them."""
    settings = {"kinematics": config.kinematics.result_settings()}
    # Columns about others.
    return {**settings, "several": True} if config.individuals.max > 1 else settings


def select_rendering(config: Config) -> Values:
    """Return the settings that drawn videos depend on."""
    exclude = {"enabled", "segment_seconds", "whole", "sessions"}
    settings = {"rendering": config.rendering.model_dump(mode="json", exclude=exclude)}
    edges = config.skeleton.model_dump(mode="json", include={"edges"})
    return {**settings, "skeleton": edges} if config.rendering.edges else settings


def select_session_rendering(config: Config) -> Values:
    """Return the settings that drawn sessions depend on."""
    exclude = {"enabled", "segment_seconds", "whole", "sessions", "worst_seconds"}
    settings = {"rendering": config.rendering.model_dump(mode="json", exclude=exclude)}
    edges = config.skeleton.model_dump(mode="json", include={"edges"})
    return {**settings, "skeleton": edges} if config.rendering.edges else settings


def select_report(config: Config) -> Values:
    """Return the settings of the page; a price list counts where there is one."""
    costs = select_sections(config, "costs") if config.costs != CostSettings() else {}
    measures = _select_measures(config)
    return {
        **select_sections(config, "skeleton"),
        **measures,
        # Files beside the page, which have a stage of their own.
        "report": config.report.model_dump(mode="json", exclude={"multiqc"}),
        **costs,
    }


def select_multiqc(config: Config) -> Values:
    """Return the settings of the files for MultiQC."""
    costs = select_sections(config, "costs") if config.costs != CostSettings() else {}
    return {
        "report": {"title": config.report.title},
        "evaluation": {"pcutoff": config.evaluation.pcutoff},
        **costs,
    }


def select_refinement(config: Config) -> Values:
    """Return the settings of the choice; whether runs make one does not change it."""
    settings = config.refinement.model_dump(mode="json", exclude={"enabled"})
    there = {"poses": True, "ensemble": has_members(config), "sessions": has_sessions(config)}
    kept = [name for name in settings["criteria"] if there[CRITERIA[name].needs]]
    return {"refinement": {**settings, "criteria": kept}, **_select_members(config)}


def select_quality(config: Config) -> Values:
    """Return the settings that the measures of a video depend on."""
    skeleton = config.skeleton.model_dump(mode="json", include={"edges", "unique_bodyparts"})
    return {"quality": config.quality.measure_settings(), "skeleton": skeleton}


def select_judgement(config: Config) -> Values:
    """Return the settings that decisions about videos depend on."""
    return {"quality": config.quality.decision_settings()}


def select_calibration(config: Config) -> Values:
    """Return the settings of calibrations; which ones there are is told by the sheet."""
    return {"calibration": config.calibration.model_dump(mode="json", exclude={"path"})}


def select_triangulation(config: Config) -> Values:
    """Return the settings that poses of sessions depend on."""
    settings = {"triangulation": config.triangulation.result_settings()}
    smoothing = config.triangulation.smoothing
    if not smoothing.enabled or smoothing.method != "space-time":
        return settings
    # Their lengths are kept constant. Version 2: uncertainties are those after smoothing.
    edges = config.skeleton.model_dump(mode="json", include={"edges"})
    return {**settings, "skeleton": edges, "smoothing": {"version": 2}}


def select_corrected_views(config: Config) -> Values:
    """Return the settings of corrections; whether runs make them does not change them."""
    settings = config.triangulation.corrected_views
    return {
        "triangulation": {
            "corrected_views": settings.model_dump(mode="json", exclude={"enabled"}),
            "pcutoff": config.triangulation.pcutoff,
        }
    }


def select_session_exports(config: Config) -> Values:
    """Return the settings of exports; some formats name who located the keypoints."""
    settings: dict[str, Any] = {"triangulation": {"exports": list(config.triangulation.exports)}}
    if has_sessions(config):
        settings["exports"] = {"scorer": config.exports.scorer}
    if not config.triangulation.linked:
        return settings
    edges = config.skeleton.model_dump(mode="json", include={"edges"})
    return {**settings, "skeleton": edges}


def _select_graph(config: Config) -> Values:
    return {"assembly": {"graph": config.assembly.graph}} if config.uses_affinity else {}


def _select_measures(config: Config) -> Values:
    return {"evaluation": config.evaluation.result_settings()}


def _select_members(config: Config) -> Values:
    """Return the number of members of an ensemble; empty for a single network."""
    return {"training": {"ensemble": config.training.ensemble}} if has_members(config) else {}


def _select_locating(config: Config) -> Values:
    if not config.uses_locator:
        return {}
    return {"locating": config.locating.result_settings(top_down=config.top_down)}


def _select_assembly(config: Config) -> Values:
    if config.individuals.max == 1:
        return {}
    return {"assembly": config.assembly.result_settings(top_down=config.top_down)}


def select_sections(config: Config, *sections: str) -> dict[str, Any]:
    """Return sections of the config as they are."""
    return config.model_dump(mode="json", include=set(sections))


def learns_unlabelled(config: Config) -> bool:
    """Tell whether the network learns from frames without labels."""
    return config.training.unsupervised.enabled


def has_members(config: Config) -> bool:
    """Tell whether the network is an ensemble."""
    return config.training.ensemble > 1


def has_tracks(config: Config) -> bool:
    """Tell whether individuals are tracked."""
    return config.individuals.max > 1


def has_sessions(config: Config) -> bool:
    """Tell whether sessions are triangulated."""
    return config.triangulation.enabled
