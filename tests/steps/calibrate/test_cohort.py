"""Make the calibrations of a cohort from folders of board images, each once."""

import os
import shutil

import pytest

from pipeline_lib.core.tables import CAMERA_COLUMNS
from pipeline_lib.io.calibrations.files import read_calibration
from pipeline_lib.io.stage_tables import read_table
from tests.kernels.geometry.board_images import CHESSBOARD, draw_poses, make_pair, write_images
from tests.steps.triangulate.session_cohort import SessionCohort

BOARD = {
    "kind": "chessboard",
    "columns": CHESSBOARD.columns,
    "rows": CHESSBOARD.rows,
    "square": CHESSBOARD.square,
}


@pytest.fixture
def cohort(tmp_path):
    """Return a cohort with a session whose calibration is to be made from images of a board."""
    cohort = SessionCohort(tmp_path)
    write_images(tmp_path / "boards", make_pair(), draw_poses(8, CHESSBOARD), CHESSBOARD)
    (tmp_path / "boards" / "notes.txt").write_text("of Monday")
    cohort.add("board", calibration="boards")
    cohort.settings["calibration"] = {"board": BOARD, "coefficients": 4}
    return cohort


def test_images_of_a_board_become_a_calibration_once(cohort, tmp_path):
    cohort.run()
    (row,) = cohort.read_calibrations().values()
    facts = [row[name] for name in ("calibration", "status", "reason", "kind", "cameras", "unit")]
    assert facts == ["boards", "done", "", "board", "cam0, cam1", "mm"]
    assert float(row["error"]) < 0.3
    assert 0.2 < float(row["coverage"]) <= 1
    made = cohort.results.calibration("boards")
    for camera, true in zip(read_calibration(made).cameras, make_pair(), strict=True):
        assert abs(camera.matrix[0, 0] / true.matrix[0, 0] - 1) < 0.01
    quality = read_table(cohort.results.calibration_quality("boards"), CAMERA_COLUMNS)
    assert [(one["camera"], one["width"], one["views"]) for one in quality] == [
        ("cam0", str(make_pair()[0].size[0]), "8"),
        ("cam1", str(make_pair()[1].size[0]), "8"),
    ]
    # Other times of the same images are no other calibration; neither is a lost table.
    before = made.stat()
    for image in (tmp_path / "boards").iterdir():
        os.utime(image)
    cohort.results.calibrations.unlink()
    cohort.run()
    again = cohort.read_calibrations()["boards"]
    assert (again["key"], made.stat().st_mtime_ns) == (row["key"], before.st_mtime_ns)
    assert again["source_checksum"] != row["source_checksum"]
    # A calibration that is worse than allowed is refused, and its numbers stay to be seen.
    cohort.settings["calibration"]["max_error"] = 0.01
    cohort.run()
    refused = cohort.read_calibrations()["boards"]
    assert refused["status"] == "refused"
    assert "the reprojection error is" in refused["reason"]
    assert not made.exists()
    assert float(refused["error"]) == pytest.approx(float(row["error"]))
    # A board with another number of squares is not found.
    cohort.settings["calibration"]["board"] = {**BOARD, "columns": 10}
    cohort.run()
    unseen = cohort.read_calibrations()["boards"]
    assert unseen["status"] == "refused"
    assert "shows no chessboard of 10 x 5 squares in any of 8 images" in unseen["reason"]
    assert cohort.read()["board"]["status"] == "no calibration"


def test_bad_images_are_refused_and_unreadable_ones_fail(cohort, tmp_path):
    boards = sorted((tmp_path / "boards").glob("*.png"))
    for path in boards:
        if path.name.startswith("cam1"):
            shutil.copy(path.with_name(path.name.replace("cam1", "cam0")), path)
    cohort.run()
    copied = cohort.read_calibrations()["boards"]
    assert copied["status"] == "refused"
    assert "cameras cam0 and cam1 have identical images" in copied["reason"]
    assert not cohort.results.calibration("boards").exists()
    # The verdict is kept with the images.
    assert copied["key"]
    for path in boards[2:8]:
        path.unlink()
    cohort.run()
    few = cohort.read_calibrations()["boards"]
    assert few["status"] == "refused"
    assert "camera cam0: shows the board in 2 of 2 images" in few["reason"]
    boards[0].write_bytes(b"no image")
    cohort.run()
    failed = cohort.read_calibrations()["boards"]
    assert (failed["status"], failed["key"]) == ("failed", "")
