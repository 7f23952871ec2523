"""Test calibrations in the formats of other tools: what is kept, real files, what is refused."""

import pickle
from dataclasses import replace

import cv2
import numpy as np
import pytest
from scipy.io import savemat

from pipeline_lib.core.cameras.calibration import Calibration
from pipeline_lib.core.errors import CalibrationError
from pipeline_lib.core.formats.calibrations import FORMATS, find_format
from pipeline_lib.io.calibrations.files import detect_format, read_calibration, write_calibration
from tests.kernels.geometry.rigs import make_ring

ANY_NUMBER = ("aniposelib", "caliscope", "opencv", "pose2sim", "qualisys")
WITH_FISHEYES = ("aniposelib", "caliscope", "opencv", "pose2sim")


def make_calibration(count=3, lens="brown", unit="mm", *, coefficients=5):
    cameras = make_ring(count, lens)
    if lens == "brown":
        cameras = [
            replace(camera, name=f"cam {n}", distortion=camera.distortion[:coefficients])
            for n, camera in enumerate(cameras)
        ]
    errors = {camera.name: 0.25 + n / 8 for n, camera in enumerate(cameras)}
    return Calibration(tuple(cameras), unit, errors)


def assert_same_lenses(read, written):
    for camera, expected in zip(read.cameras, written.cameras, strict=True):
        assert camera.size == expected.size
        assert camera.model == expected.model
        assert np.allclose(camera.matrix, expected.matrix, rtol=1e-12)
        assert np.allclose(camera.distortion, expected.distortion, rtol=1e-12)


def assert_same_places(read, written, factor=1.0):
    for camera, expected in zip(read.cameras, written.cameras, strict=True):
        assert np.allclose(camera.rotation, expected.rotation, atol=1e-9)
        assert np.allclose(camera.centre, expected.centre * factor, atol=1e-6)


@pytest.mark.parametrize("name", ANY_NUMBER)
@pytest.mark.parametrize("count", [1, 3, 12])
def test_cameras_come_back(tmp_path, name, count):
    coefficients = 4 if name == "pose2sim" else 5
    calibration = make_calibration(count, coefficients=coefficients)
    path = tmp_path / f"c{find_format(name).suffix}"
    write_calibration(path, calibration, name)
    assert detect_format(path) == name
    read = read_calibration(path)
    in_metres = name in ("pose2sim", "caliscope")
    assert read.unit == ("m" if in_metres else "mm")
    assert read.names == calibration.names
    assert_same_lenses(read, calibration)
    assert_same_places(read, calibration, 0.001 if in_metres else 1)
    if name in ("aniposelib", "caliscope", "opencv"):
        assert dict(read.errors) == dict(calibration.errors)


def test_the_one_error_of_aniposelib_is_that_of_each_camera(tmp_path):
    path = tmp_path / "c.toml"
    write_calibration(path, replace(make_calibration(2), errors={}), "aniposelib")
    names, text = make_calibration(2).names, path.read_text()
    assert read_calibration(path).errors == {}
    for value, expected in [
        ("1.25", dict.fromkeys(names, 1.25)),
        ("3", dict.fromkeys(names, 3.0)),
        ("'none'", {}),
        ("-1.0", {}),
        ("true", {}),
    ]:
        path.write_text(text.replace("error = 0.0", f"error = {value}"))
        assert read_calibration(path).errors == expected
    some = {names[0]: 0.5}
    write_calibration(path, replace(make_calibration(2), errors=some), "aniposelib")
    assert read_calibration(path).errors == some


@pytest.mark.parametrize("name", FORMATS)
def test_fisheyes_come_back_or_are_refused(tmp_path, name):
    calibration, path = make_calibration(2, "fisheye"), tmp_path / f"c{find_format(name).suffix}"
    if name in WITH_FISHEYES:
        write_calibration(path, calibration, name)
        assert_same_lenses(read_calibration(path), calibration)
        return
    with pytest.raises(CalibrationError, match=r"no fisheyes, which c0, c1 are"):
        write_calibration(path, calibration, name)
    assert not path.exists()


@pytest.mark.parametrize(("lens", "names"), [("rational", ("aniposelib", "opencv", "caliscope"))])
def test_rational_lenses_come_back(tmp_path, lens, names):
    calibration = make_calibration(2, lens)
    for name in FORMATS:
        path = tmp_path / f"{name}{find_format(name).suffix}"
        if name in (*names, "deeplabcut-3d"):
            write_calibration(path, calibration, name)
            assert_same_lenses(read_calibration(path), calibration)
        else:
            with pytest.raises(CalibrationError, match="coefficients of distortion"):
                write_calibration(path, calibration, name)


@pytest.mark.parametrize("name", ["deeplabcut-3d", "bouguet"])
def test_pairs_come_back_relative_to_the_first(tmp_path, name):
    calibration, path = make_calibration(2), tmp_path / f"c{find_format(name).suffix}"
    write_calibration(path, calibration, name)
    read = read_calibration(path)
    assert_same_lenses(read, calibration)
    assert np.array_equal(read.cameras[0].rotation, np.eye(3))
    assert np.array_equal(read.cameras[0].translation, np.zeros(3))
    first, second = calibration.cameras
    assert np.allclose(read.cameras[1].rotation, second.rotation @ first.rotation.T)
    distance = np.linalg.norm(first.centre - second.centre)
    assert np.linalg.norm(read.cameras[1].centre) == pytest.approx(distance)
    with pytest.raises(CalibrationError, match="two"):
        write_calibration(path, make_calibration(3), name)


def test_one_camera_of_bouguet_comes_back(tmp_path):
    path = tmp_path / "Calib_Results.mat"
    write_calibration(path, make_calibration(1), "bouguet")
    read = read_calibration(path)
    assert read.names == ("Calib_Results",)
    assert_same_lenses(read, make_calibration(1))


def test_opencv_reads_what_is_written(tmp_path):
    calibration, path = make_calibration(2), tmp_path / "c.yml"
    write_calibration(path, calibration, "opencv")
    storage = cv2.FileStorage(str(path), cv2.FILE_STORAGE_READ)
    node = storage.getNode("cameras").at(1)
    assert node.getNode("name").string() == "cam 1"
    assert np.array_equal(node.getNode("camera_matrix").mat(), calibration.cameras[1].matrix)
    assert np.array_equal(node.getNode("rotation").mat(), calibration.cameras[1].rotation)


def test_deeplabcut_reads_what_is_written(tmp_path):
    calibration, path = make_calibration(2), tmp_path / "stereo_params.pickle"
    write_calibration(path, calibration, "deeplabcut-3d")
    values = pickle.loads(path.read_bytes())["cam 0-cam 1"]  # noqa: S301 - our own
    first, second = calibration.cameras
    point = np.array([30.0, -50, 20])
    one, two = (one.matrix @ (one.rotation @ point + one.translation) for one in (first, second))
    assert two @ values["F"] @ one / np.linalg.norm(one) / np.linalg.norm(two) < 1e-9
    assert values["P1"].shape == values["P2"].shape == (3, 4)


def test_the_files_of_opencvs_samples(tmp_path):
    (tmp_path / "one.yaml").write_text(
        "%YAML:1.0\n---\nimage_width: 640\nimage_height: 480\n"
        "camera_matrix: !!opencv-matrix\n   rows: 3\n   cols: 3\n   dt: d\n"
        "   data: [ 5.3e+02, 0., 3.2e+02, 0., 5.31e+02, 2.4e+02, 0., 0., 1. ]\n"
        "distortion_coefficients: !!opencv-matrix\n   rows: 5\n   cols: 1\n   dt: d\n"
        "   data: [ -2.9e-01, 1.0e-01, 1.2e-03, -5.4e-04, 2.0e-02 ]\n"
        "avg_reprojection_error: 0.25\n"
    )
    read = read_calibration(tmp_path / "one.yaml")
    assert read.names == ("one",)
    assert read.cameras[0].size == (640, 480)
    assert read.cameras[0].distortion[:5].tolist() == [-0.29, 0.1, 0.0012, -0.00054, 0.02]
    assert dict(read.errors) == {"one": 0.25}
    storage = cv2.FileStorage(str(tmp_path / "intrinsics.yml"), cv2.FILE_STORAGE_WRITE)
    for n in (1, 2):
        storage.write(f"M{n}", np.diag([500.0 + n, 500, 1]))
        storage.write(f"D{n}", np.full((1, 5), n / 100))
    storage.release()
    with pytest.raises(CalibrationError, match=r"has no image size: add `image_width`"):
        read_calibration(tmp_path / "intrinsics.yml")
    storage = cv2.FileStorage(str(tmp_path / "extrinsics.yml"), cv2.FILE_STORAGE_WRITE)
    storage.write("R", cv2.Rodrigues(np.array([0.1, 0.2, 0.3]))[0])
    storage.write("T", np.array([[-3.0], [0.1], [0.2]]))
    storage.write("imageSize", np.zeros((0, 0)))
    storage.release()
    text = (tmp_path / "intrinsics.yml").read_text()
    (tmp_path / "intrinsics.yml").write_text(f"{text}image_width: 640\nimage_height: 480\n")
    read = read_calibration(tmp_path / "intrinsics.yml")
    assert read.cameras[1].translation.tolist() == [-3, 0.1, 0.2]
    assert read.cameras[1].matrix[0, 0] == 502
    assert np.allclose(cv2.Rodrigues(read.cameras[1].rotation)[0].ravel(), [0.1, 0.2, 0.3])


def test_older_files_of_caliscope(tmp_path):
    path = tmp_path / "config.toml"
    table = "size = [640, 480]\nmatrix = [[500, 0, 320], [0, 500, 240], [0, 0, 1]]\n"
    path.write_text(
        f"CreationDate = 2024-01-01\n[cam_1]\nport = 1\n{table}error = 0.3\n"
        "distortions = [0.1, 0, 0, 0, 0]\nrotation = [[1, 0, 0], [0, 0, -1], [0, 1, 0]]\n"
        f"translation = [1.0, 2.0, 3.0]\n[cam_2]\nport = 2\nignore = true\n{table}"
        "[charuco]\ncolumns = 4\n"
    )
    assert detect_format(path) == "caliscope"
    read = read_calibration(path)
    assert read.names == ("cam_1",)
    assert read.unit == "m"
    assert read.cameras[0].rotation[1].tolist() == [0, 0, -1]
    path.write_text(path.read_text().replace("ignore = true\n", 'rotation = "null"\n'))
    with pytest.raises(CalibrationError, match=r"camera cam_2: has no place .* not calibrated"):
        read_calibration(path)


@pytest.mark.real
def test_real_files(data_folder):
    folder = data_folder / "human-4cam-pose2sim" / "S00_Calibration"
    toml, xml = (read_calibration(folder / one) for one in ("Calib_qualisys.toml", "Calib.qca.txt"))
    assert detect_format(folder / "Calib_qualisys.toml") == "pose2sim"
    assert (toml.unit, xml.unit) == ("m", "mm")
    assert_same_places(toml, xml, 0.001)
    for one, other in zip(toml.cameras, xml.cameras, strict=True):
        assert one.size == other.size == (1088, 1920)
        assert np.allclose(one.matrix, other.matrix, atol=1e-9)
    left = read_calibration(data_folder / "stereo-chessboard" / "Calib_Results_left.mat").cameras[0]
    assert left.size == (640, 480)
    assert left.matrix[0, 0] == pytest.approx(533.00371, abs=1e-5)
    assert left.distortion[0] == pytest.approx(-0.289471388, abs=1e-9)


def test_an_older_file_stays_where_writing_fails(tmp_path):
    path = tmp_path / "c.toml"
    write_calibration(path, make_calibration(), "aniposelib")
    before = path.read_bytes()
    with pytest.raises(CalibrationError, match=r"c\.toml.*\n.*the unit is not known"):
        write_calibration(path, replace(make_calibration(), unit=None), "pose2sim")
    assert path.read_bytes() == before
    assert [one.name for one in tmp_path.iterdir()] == ["c.toml"]


def test_bouguets_files_may_hold_much_else(tmp_path):
    path = tmp_path / "c.mat"
    lens = {"fc": [[500.0], [501]], "cc": [[320.0], [240]], "kc": np.zeros((5, 1))}
    size = {"nx": 640, "ny": 480}
    savemat(path, {"I_1": np.zeros((2000, 2000)), **lens, **size}, do_compression=True)
    assert read_calibration(path).cameras[0].matrix[1, 1] == 501
