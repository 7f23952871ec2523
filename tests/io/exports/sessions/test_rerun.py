import builtins

import numpy as np
import pytest

from pipeline_lib.core.errors import StoreError
from pipeline_lib.io.exports.sessions.registry import write_session_export
from pipeline_lib.io.exports.sessions.source import SessionSource
from pipeline_lib.io.poses.session import write_session_poses
from tests.sessions_made import make_calibration, make_points, make_session, project_all

EDGES = (("snout", "back"), ("back", "tail"), ("back", "wing"))


def read_rows(path, entity):
    """Return the rows of an entity by moment: one mapping of component to list each."""
    chunk = pytest.importorskip("rerun.chunk", reason="rerun-sdk is not installed")
    rows = {}
    for one in chunk.RrdReader(str(path)).store().stream().to_chunks():
        if one.entity_path == entity:
            for row in one.to_record_batch().to_pylist():
                rows.setdefault(row.get("moment"), {}).update(row)
    return rows


def test_a_recording_holds_cameras_projected_points_and_skeletons(tmp_path):
    pytest.importorskip("rerun", reason="rerun-sdk is not installed")
    calibration = make_calibration()
    poses, path = make_session(calibration), tmp_path / "walk.zarr.zip"
    write_session_poses(path, poses)
    made = tmp_path / "walk.rrd"
    write_session_export("rerun", made, SessionSource(path, EDGES, key="abc"))
    points = make_points(12)
    bob = read_rows(made, "/world/individuals/bob")
    assert sorted(bob) == list(range(12))
    np.testing.assert_allclose(bob[7]["Points3D:positions"], points[7, 1], rtol=1e-5)
    assert bob[7]["time"].total_seconds() == pytest.approx(0.7)
    # The lost point is left out, and so are both edges that end there.
    ann = read_rows(made, "/world/individuals/ann")
    np.testing.assert_allclose(ann[2]["Points3D:positions"], points[2, 0, [0, 2]], rtol=1e-5)
    edges = read_rows(made, "/world/individuals/ann/edges")
    assert [len(edges[moment]["LineStrips3D:strips"]) for moment in (1, 2, 3)] == [2, 0, 2]
    pixels = project_all(calibration, points)
    seen = read_rows(made, "/world/camera-1/image/bob")
    np.testing.assert_allclose(seen[5]["Points2D:positions"], pixels[1, 5, 1], atol=1e-2)
    camera = calibration.cameras[2]
    lens = read_rows(made, "/world/camera-2/image")[None]
    np.testing.assert_allclose(
        np.reshape(lens["Pinhole:image_from_camera"], (3, 3)).T, camera.matrix, rtol=1e-6
    )
    place = read_rows(made, "/world/camera-2")[None]
    np.testing.assert_allclose(place["Transform3D:translation"], [camera.centre], rtol=1e-5)
    # The second camera has no frame at the fourth moment; its errors are twice the first's.
    errors = read_rows(made, "/error/camera-1")
    assert sorted(errors) == [moment for moment in range(12) if moment != 3]
    assert errors[4]["Scalars:scalars"] == [pytest.approx(1.0)]


def test_poses_without_calibration_and_a_missing_package_are_told(tmp_path, monkeypatch):
    pytest.importorskip("rerun", reason="rerun-sdk is not installed")
    path, made = tmp_path / "walk.zarr.zip", tmp_path / "walk.rrd"
    write_session_poses(path, make_session(make_calibration(), attributes={"calibration": 3}))
    with pytest.raises(StoreError, match=r"no usable calibration .*triangulate again"):
        write_session_export("rerun", made, SessionSource(path, EDGES))
    real = builtins.__import__

    def refuse(name, *arguments):
        if name == "rerun":
            raise ImportError("No module named 'rerun'")
        return real(name, *arguments)

    monkeypatch.setattr(builtins, "__import__", refuse)
    with pytest.raises(StoreError, match=r"pip install 'cohortpose\[rerun\]'"):
        write_session_export("rerun", made, SessionSource(path, EDGES))
    assert not made.exists()
