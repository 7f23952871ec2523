"""Test calibration from rendered boards: truth is found again, what is bad is refused."""

import re
import shutil
from dataclasses import replace

import av
import cv2
import numpy as np
import pytest
from typer.testing import CliRunner

from pipeline_lib.cli import app
from pipeline_lib.core.cameras.boards import Board
from pipeline_lib.core.errors import CalibrationError
from pipeline_lib.io.calibrations.files import read_calibration
from pipeline_lib.steps.calibrate.run import CalibrationRequest, calibrate
from pipeline_lib.steps.calibrate.sources import list_sources, split_name
from tests.kernels.geometry.board_images import (
    CHARUCO,
    CHESSBOARD,
    draw_poses,
    make_pair,
    render,
    see_pose,
    write_images,
)

POSES = 12


def request(board=CHESSBOARD, model="pinhole", **more):
    return replace(CalibrationRequest(board, model, 4, "mm", None, 2.0), **more)


def run(*arguments):
    return CliRunner().invoke(app, [str(argument) for argument in arguments])


@pytest.fixture(scope="module")
def images(tmp_path_factory):
    """Return rendered images of a chessboard, seen by two cameras."""
    folder = tmp_path_factory.mktemp("boards") / "chessboard"
    return write_images(folder, make_pair(), draw_poses(POSES, CHESSBOARD), CHESSBOARD)


def assert_found(calibration, cameras):
    """Compare with the truth: lenses within 0.5 %, places within 0.2 % of the scene's size."""
    for camera, true in zip(calibration.cameras, cameras, strict=True):
        assert camera.name == true.name
        focal, expected = np.diag(camera.matrix)[:2], np.diag(true.matrix)[:2]
        assert np.abs(focal / expected - 1).max() < 0.005
        assert np.abs(camera.matrix[:2, 2] - true.matrix[:2, 2]).max() < 0.005 * 640
        assert np.linalg.norm(camera.centre - true.centre) < 0.002 * 800


def test_a_pair_is_found_from_a_chessboard(images, caplog):
    caplog.set_level("INFO")
    calibration, qualities, findings = calibrate(images, request())
    # Corners that are triangulated one by one make squares of the true size.
    off = re.search(r"sides of squares, triangulated, are off by (\S+) %", caplog.text)
    assert float(off[1]) < 0.6
    assert_found(calibration, make_pair())
    assert calibration.unit == "mm"
    assert findings == []
    for one in qualities:
        assert (one.images, one.views, one.left_out, one.corners) == (POSES, POSES, 0, POSES * 28)
        assert one.rms_error < 0.15
        assert 0.3 < one.coverage <= 1
        assert 380 < one.nearest < 480
        assert 700 < one.farthest < 900
        assert one.focal_deviation < 2
    assert calibration.errors["cam1"] == qualities[1].rms_error


def test_a_pair_of_fisheyes_is_found_from_a_charuco_board(tmp_path):
    cameras = make_pair("fisheye")
    poses = draw_poses(16, CHARUCO, seed=2, distance=(220, 480))
    paths = write_images(tmp_path, cameras, poses, CHARUCO)
    calibration, _, findings = calibrate(paths, request(CHARUCO, "fisheye"))
    assert {camera.model for camera in calibration.cameras} == {"fisheye"}
    assert_found(calibration, cameras)
    assert not [one for one in findings if one.refuses]


def write_video(path, images):
    with av.open(path, "w") as container:
        stream = container.add_stream("libx264", rate=25)
        stream.width, stream.height, stream.pix_fmt = 640, 480, "yuv420p"
        stream.options = {"crf": "10"}
        for image in images:
            frame = av.VideoFrame.from_ndarray(np.repeat(image[..., None], 3, 2), format="rgb24")
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))


def test_videos_are_matched_by_frame_and_may_differ_in_length(tmp_path, images, caplog):
    for number, drop in ((0, 0), (1, 3)):
        paths = sorted(path for path in images if path.name.startswith(f"cam{number}"))
        seen = [cv2.imread(str(path), 0) for path in paths]
        write_video(tmp_path / f"cam{number}.mp4", seen[: POSES - drop])
    videos = sorted(tmp_path.glob("*.mp4"))
    calibration, qualities, _ = calibrate(videos, request())
    assert_found(calibration, make_pair())
    assert [one.images for one in qualities] == [POSES, POSES - 3]
    assert "videos differ in length (frames: cam0 12, cam1 9)" in caplog.text
    _, qualities, _ = calibrate(videos, request(step=2))
    assert [one.images for one in qualities] == [6, 5]


def test_the_verb_writes_calibration_and_quality(tmp_path, images):
    output = tmp_path / "rig" / "two.toml"
    options = ("--squares", "8x5", "--square-size", 30, "--coefficients", 4, "--output", output)
    result = run("calibrate", *images, *options)
    assert result.exit_code == 0, result.output
    calibration = read_calibration(output)
    assert_found(calibration, make_pair())
    quality = (tmp_path / "rig" / "two.quality.tsv").read_text()
    assert quality in result.output
    lines = [line.split("\t") for line in quality.splitlines()]
    assert [line[0] for line in lines] == ["camera", "cam0", "cam1"]
    assert float(lines[1][5]) == pytest.approx(calibration.errors["cam0"], rel=1e-3)
    # Judged again, it still stands; converted, it is the same.
    other = tmp_path / "two.yml"
    result = run("calibrate", "--check", output, "--format", "opencv", "--output", other, images[0])
    assert result.exit_code == 0, result.output
    assert "cam1\tpinhole\t640x480" in result.output
    assert np.allclose(read_calibration(other).cameras[1].matrix, calibration.cameras[1].matrix)


def test_a_single_camera_may_use_any_board(tmp_path):
    board = Board("chessboard", 8, 6, 30.0)
    paths = write_images(tmp_path, make_pair()[:1], draw_poses(8, board, seed=1), board)
    calibration, _, findings = calibrate(paths, request(board))
    assert calibration.cameras[0].matrix[0, 0] == pytest.approx(520, rel=0.01)
    assert "8 views are few" in " ".join(one.text for one in findings)


def test_boards_that_are_ambiguous_are_refused_for_pairs(images):
    with pytest.raises(CalibrationError, match=r"half a turn.*correct the numbers"):
        calibrate(images, request(Board("chessboard", 8, 6, 30.0)))


@pytest.mark.parametrize(("square", "unit"), [(30.0, "m"), (0.03, "mm")])
def test_a_unit_that_no_board_has_is_doubted(tmp_path, square, unit):
    paths = write_images(tmp_path, make_pair()[:1], draw_poses(8, CHESSBOARD, seed=1), CHESSBOARD)
    board = replace(CHESSBOARD, square=square)
    findings = calibrate(paths, replace(request(board), unit=unit))[2]
    told = f"squares of the board have sides of {square:g} {unit}: is another unit meant?"
    assert [one.text for one in findings if "unit" in one.text] == [told]
    assert not any(one.refuses for one in findings)


def test_a_wrong_number_of_squares_is_told(images):
    with pytest.raises(CalibrationError, match=r"camera cam0: .*--squares 8x5") as caught:
        calibrate(images, request(Board("chessboard", 7, 4, 30.0)))
    assert "camera cam1" in str(caught.value)


def test_mirrored_images_are_told(tmp_path):
    camera, poses = make_pair()[0], draw_poses(3, CHARUCO)
    for moment, pose in enumerate(poses):
        image = render(camera, *see_pose(camera, pose), CHARUCO)[:, ::-1]
        cv2.imwrite(str(tmp_path / f"a{moment}.png"), image)
    with pytest.raises(CalibrationError, match="when they are mirrored"):
        calibrate(sorted(tmp_path.glob("*.png")), request(CHARUCO))


def test_one_camera_under_two_names_is_refused(tmp_path, images):
    for path in images[:6]:
        shutil.copy(path, tmp_path / path.name)
        shutil.copy(path, tmp_path / path.name.replace("cam0", "twin"))
    with pytest.raises(CalibrationError, match="cameras cam0 and twin have identical images"):
        calibrate(sorted(tmp_path.glob("*.png")), request())


def test_too_few_views_are_refused(images):
    few = [path for path in images if path.stem.endswith(("00", "01"))]
    with pytest.raises(CalibrationError, match=r"camera cam0: .* in 2 of 2 images; at least 3"):
        calibrate(few, request())


def test_cameras_that_share_no_moment_are_refused(tmp_path, images):
    for path in images:
        camera, moment = split_name(path)
        moved = moment + 100 if camera == "cam1" else moment
        shutil.copy(path, tmp_path / f"{camera}_{moved}.png")
    with pytest.raises(CalibrationError, match=r"at the same 2 moments: cam0; cam1\. Show"):
        calibrate(sorted(tmp_path.glob("*.png")), request())


def test_cameras_that_are_not_synchronous_are_refused(tmp_path, images):
    for path in images:
        camera, moment = split_name(path)
        late = (moment + 1) % POSES if camera == "cam1" else moment
        shutil.copy(path, tmp_path / f"{camera}_{late:02d}.png")
    output = tmp_path / "c.toml"
    result = run(
        *("calibrate", *sorted(tmp_path.glob("*.png")), "--squares", "8x5"),
        *("--square-size", 30, "--output", output),
    )
    assert result.exit_code == 1
    assert re.search(r"the reprojection error is \d+\.\d+ px, more than 2", result.output)
    assert "not synchronous" in result.output
    assert not output.exists()


def test_images_of_two_sizes_are_refused(tmp_path, images):
    for path in images[:4]:
        shutil.copy(path, tmp_path / path.name)
    cv2.imwrite(str(tmp_path / "cam0_50.png"), np.zeros((400, 640), np.uint8))
    with pytest.raises(CalibrationError, match=r"cam0_50\.png is 640 x 400 px, others are 640 x"):
        calibrate(sorted(tmp_path.glob("*.png")), request())


def test_views_that_are_far_off_are_left_out_and_counted(tmp_path, images):
    cameras = make_pair()
    paths = [shutil.copy(path, tmp_path / path.name) for path in images]
    # The board moved between the two images of one moment.
    other = draw_poses(1, CHESSBOARD, seed=9)[0]
    cv2.imwrite(
        str(tmp_path / "cam1_04.png"), render(cameras[1], *see_pose(cameras[1], other), CHESSBOARD)
    )
    calibration, qualities, findings = calibrate(paths, request())
    assert sum(one.left_out for one in qualities) in {1, 2}
    assert "were left out" in " ".join(one.text for one in findings)
    assert_found(calibration, cameras)


def test_boards_that_are_never_tilted_are_refused_or_doubted(tmp_path):
    poses = draw_poses(6, CHESSBOARD, distance=(600, 601), tilt=0.001)
    paths = write_images(tmp_path, make_pair()[:1], poses, CHESSBOARD)
    _, _, findings = calibrate(paths, request())
    told = " ".join(one.text for one in findings)
    assert "focal length" in told
    assert "equally far away" in told


def test_images_belong_to_cameras_by_their_names(tmp_path):
    def name(text):
        return split_name(tmp_path / text)

    assert name("left03.jpg") == ("left", 3)
    assert name("camera-1_12.jpg") == ("camera-1", 12)
    assert name("cam01_07_int.png") == ("cam01__int", 7)
    assert name("0005.png") == ("camera", 5)
    (tmp_path / "top").mkdir()
    for moment in (3, 11, 2):
        (tmp_path / "top" / f"img{moment}.png").write_bytes(b"")
    (source,) = list_sources([tmp_path / "top"])
    assert source.camera == "top"
    assert [moment for moment, _ in source.images] == [2, 3, 11]


@pytest.mark.parametrize(
    ("names", "message"),
    [
        (("missing.png",), "no such file or folder"),
        (("empty",), "holds no images"),
        (("a/cam", "b/cam"), "two cameras have the name 'cam'"),
        (("a/cam", "b/Cam"), "two cameras have the name 'Cam'"),
        (("x_01.png", "x-1.png"), "two images have the same number"),
        (("ä b1.png",), "rename the folder or file"),
    ],
)
def test_sources_that_are_wrong_are_told(tmp_path, names, message):
    for folder in ("empty", "a/cam", "b/cam", "b/Cam"):
        (tmp_path / folder).mkdir(parents=True)
        if folder != "empty":
            (tmp_path / folder / "1.png").write_bytes(b"")
    for file in ("x_01.png", "x-1.png", "ä b1.png"):
        (tmp_path / file).write_bytes(b"")
    with pytest.raises(CalibrationError, match=message):
        list_sources([tmp_path / name for name in names])


def test_no_images_at_all():
    result = run("calibrate")
    assert result.exit_code == 1
    assert "none are given" in result.output


@pytest.mark.parametrize(
    "options",
    [
        ("--squares", "ten"),
        ("--squares", "2x9"),
        ("--square-size", "0"),
        ("--unit", "ell"),
        ("--format", "docx"),
        ("--lens", "zoom"),
        ("--board", "circles"),
        ("--dictionary", "9X9_9"),
        ("--coefficients", "-1"),
    ],
)
def test_wrong_options_have_their_own_status(options):
    assert run("calibrate", "a.png", *options).exit_code == 2


@pytest.mark.real
def test_the_real_stereo_pair(data_folder):
    paths = sorted((data_folder / "stereo-chessboard").glob("*.jpg"))
    board = Board("chessboard", 10, 7, 30.0)
    calibration, qualities, findings = calibrate(paths, replace(request(board), coefficients=5))
    assert [(one.views, one.left_out) for one in qualities] == [(14, 0), (14, 0)]
    total = np.sqrt(np.mean([one.rms_error**2 for one in qualities]))
    assert total <= 0.44
    left, right = calibration.cameras
    assert left.matrix[0, 0] == pytest.approx(533, rel=0.005)
    assert right.matrix[0, 0] == pytest.approx(537, rel=0.005)
    assert right.centre == pytest.approx([100, 0, 0], abs=2)
    assert not [one for one in findings if one.refuses]


@pytest.mark.real
def test_coefficients_of_qualisys_are_those_of_its_images(data_folder):
    """Its XML stores them without a unit: a calibration of its own images says so."""
    folder = data_folder / "human-4cam-pose2sim" / "S00_Calibration"
    given = read_calibration(folder / "Calib.qca.txt").cameras[0]
    board = Board("chessboard", 5, 8, 60.0)
    calibration, _, _ = calibrate([folder / "intrinsics" / "int_cam01_img"], request(board))
    assert calibration.cameras[0].distortion[:2] == pytest.approx(given.distortion[:2], abs=0.015)
    assert calibration.cameras[0].matrix[0, 0] == pytest.approx(given.matrix[0, 0], rel=0.01)
