"""Triangulate one session: synchronise, match individuals, triangulate."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from pipeline_lib.core.cameras.calibration import Calibration
from pipeline_lib.core.cameras.records import describe_calibration
from pipeline_lib.core.cameras.session_poses import SessionPoses
from pipeline_lib.core.settings.cameras import TriangulationSettings
from pipeline_lib.steps.triangulate.agreement import describe_agreement, judge_matches
from pipeline_lib.steps.triangulate.cameras import align_session, refine_rig
from pipeline_lib.steps.triangulate.ensembles import smooth_by_spread
from pipeline_lib.steps.triangulate.individuals import (
    Matched,
    find_track_status,
    match_individuals,
)
from pipeline_lib.steps.triangulate.points import (
    Points,
    find_scale,
    triangulate_moments,
)
from pipeline_lib.steps.triangulate.smoothing import Smoothable, smooth_points
from pipeline_lib.steps.triangulate.synchronise import Synchronised, synchronise
from pipeline_lib.steps.triangulate.views import Rig, View, arrange_views

__all__ = ["View", "triangulate_session"]


def triangulate_session(
    views: Sequence[View],
    calibration: Calibration,
    edges: Sequence[tuple[str, str]],
    settings: TriangulationSettings,
    threads: int,
) -> SessionPoses:
    """Triangulate the poses of one session.

    Parameters
    ----------
    views
        What its cameras saw, two or more, in any order.
    calibration
        Of at least these cameras.
    edges
        Pairs of bodyparts whose distance is nearly constant in an individual, for smoothing.
    settings
        Section `triangulation`.
    threads
        Number of threads; the result is the same for any.

    Returns
    -------
    SessionPoses
        Cameras in the order of the calibration. Attributes: ``fps``, ``videos``, ``calibration``
        (see `pipeline_lib.core.cameras.records`), ``gate``, ``noise``, ``synchronisation`` and
        ``matching`` (what was aligned and matched, and what was left over), ``agreement`` (error
        and use of each camera, and which ones disagree); where asked for, ``refinement``,
        ``smoothing`` and ``alignment``.

    Raises
    ------
    SessionError
        With one line: too few views, a camera that is not calibrated or repeats, times that
        cannot be aligned, poses without the spread that the smoothing needs.
    """
    rig = arrange_views(views, calibration)
    aligned = synchronise(rig.views, settings.synchronisation)
    matched = match_individuals(
        rig, aligned.moments, by_name=settings.match == "names", cut=settings.pcutoff
    )
    gate, noise = find_scale(rig, aligned.moments, matched.slots, settings, threads)
    extra: dict[str, Any] = {"matching": matched.report}
    if settings.refine_cameras:
        rig, extra["refinement"] = refine_rig(rig, aligned.moments, matched.slots, settings, gate)
        gate, noise = find_scale(rig, aligned.moments, matched.slots, settings, threads)
    points = triangulate_moments(
        rig,
        aligned.moments,
        matched.slots,
        cut=settings.pcutoff,
        gate=gate,
        noise=noise,
        threads=threads,
    )
    if settings.smoothing.enabled:
        session = Smoothable(rig, aligned.moments, matched.slots, settings.pcutoff, noise)
        if settings.smoothing.method == "ensemble-kalman":
            points, extra["smoothing"] = smooth_by_spread(session, points, threads)
        else:
            points, extra["smoothing"] = smooth_points(
                session, points, _find_edges(edges, rig.bodyparts), settings.smoothing, threads
            )
    rig, points, alignment = align_session(rig, points, settings)
    if alignment:
        extra["alignment"] = alignment
    agreement = describe_agreement(rig, aligned.moments, matched.slots, points, settings.pcutoff)
    if matched.report["method"] == "views":
        agreement["doubts"] += judge_matches(rig, aligned.moments, matched.slots, settings.pcutoff)
    extra["agreement"] = agreement
    attributes = _describe(rig, aligned, settings, gate, noise) | extra
    return _assemble(rig, aligned, matched, points, attributes)


def _find_edges(
    edges: Sequence[tuple[str, str]], bodyparts: Sequence[str]
) -> list[tuple[int, int]]:
    """Return edges as indices; those of bodyparts that no view has are left out."""
    place = {name: number for number, name in enumerate(bodyparts)}
    return [(place[one], place[other]) for one, other in edges if {one, other} <= place.keys()]


def _assemble(
    rig: Rig, aligned: Synchronised, matched: Matched, points: Points, attributes: dict[str, Any]
) -> SessionPoses:
    return SessionPoses(
        position=points.position,
        confidence=points.confidence,
        error=points.error,
        views=points.views,
        uncertainty=points.uncertainty,
        camera_error=points.camera_error,
        camera_frame=aligned.moments.frames,
        camera_individual=matched.slots,
        frame_status=aligned.status,
        time=aligned.moments.time,
        bodyparts=rig.bodyparts,
        individuals=matched.names,
        cameras=rig.calibration.names,
        unit=rig.calibration.unit,
        track_status=find_track_status(
            np.asarray((points.views > 0).any(axis=-1)), matched.doubtful
        ),
        attributes=attributes,
    )


def _describe(
    rig: Rig,
    aligned: Synchronised,
    settings: TriangulationSettings,
    gate: float | None,
    noise: float,
) -> dict[str, Any]:
    return {
        "fps": aligned.fps,
        "videos": {view.camera: view.poses.attributes.get("video") for view in rig.views},
        "calibration": describe_calibration(rig.calibration),
        "gate": None if gate is None else float(np.round(gate, 6)),
        "noise": float(np.round(noise, 6)),
        "pcutoff": settings.pcutoff,
        "synchronisation": aligned.report,
    }
