"""Test boards: corners in their order however a board is turned, wrong boards, what is drawn."""

import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from pipeline_lib.core.cameras.boards import Board
from pipeline_lib.kernels.geometry.boards import (
    draw_board,
    find_corners,
    guess_squares,
    is_mirrored,
    list_corners,
)
from pipeline_lib.kernels.geometry.projection import project
from tests.kernels.geometry.board_images import CHARUCO, CHESSBOARD, draw_poses, make_pair, render

PLAIN = make_pair()[0]


def turn(pose, board, degrees):
    """Turn a board in its plane around its middle."""
    rotation, translation = pose
    middle = np.array([board.columns, board.rows, 0]) * board.square / 2
    turned = rotation @ Rotation.from_euler("z", degrees, degrees=True).as_matrix()
    return turned, translation + rotation @ middle - turned @ middle


@pytest.mark.parametrize("board", [CHESSBOARD, CHARUCO])
@pytest.mark.parametrize("degrees", [0, 90, 180, 250])
def test_corners_are_those_of_the_board_however_it_is_turned(board, degrees):
    rotation, translation = turn(draw_poses(1, board, 3, tilt=0.3)[0], board, degrees)
    found = find_corners(render(PLAIN, rotation, translation, board), board)
    truth = project(PLAIN, list_corners(board) @ rotation.T + translation)
    # Small markers are not all read.
    assert len(found.numbers) == 28 if board.kind == "chessboard" else len(found.numbers) > 15
    assert np.abs(found.pixels - truth[found.numbers]).max() < 0.25
    assert np.abs(found.pixels - truth[found.numbers]).mean() < 0.08


def test_part_of_a_charuco_board_is_enough_and_of_a_chessboard_is_not():
    rotation, translation = draw_poses(1, CHARUCO, 3, tilt=0.2)[0]
    image = render(PLAIN, rotation, translation, CHARUCO)
    truth = project(PLAIN, list_corners(CHARUCO) @ rotation.T + translation)
    left = int(np.median(truth[:, 0]))
    image[:, left:] = 120
    found = find_corners(image, CHARUCO)
    assert 6 <= len(found.numbers) < 28
    assert np.abs(found.pixels - truth[found.numbers]).max() < 0.3
    chessboard = render(PLAIN, rotation, translation, CHESSBOARD)
    chessboard[:, left:] = 120
    assert find_corners(chessboard, CHESSBOARD) is None


def test_no_board_is_found_where_there_is_none():
    noise = np.random.default_rng(0).integers(0, 255, (240, 320)).astype(np.uint8)
    for board in (CHESSBOARD, CHARUCO):
        assert find_corners(noise, board) is None
        assert find_corners(np.full((240, 320), 100, np.uint8), board) is None


@pytest.mark.parametrize(
    ("columns", "rows", "expected"), [(7, 4, (8, 5)), (8, 6, (8, 5)), (9, 5, (8, 5)), (5, 4, None)]
)
def test_wrong_numbers_of_squares_are_guessed(columns, rows, expected):
    image = render(PLAIN, *draw_poses(1, CHESSBOARD, 3)[0], CHESSBOARD)
    wrong = Board("chessboard", columns, rows, 30.0)
    if expected is None:
        assert guess_squares(image, wrong) != (8, 5)
    else:
        assert guess_squares(image, wrong) == expected


@pytest.mark.parametrize(
    ("columns", "rows", "expected"), [(5, 8, (8, 5)), (7, 5, (8, 5)), (10, 5, (8, 5)), (4, 4, None)]
)
def test_wrong_numbers_of_squares_of_charuco_boards_are_guessed(columns, rows, expected):
    image = render(PLAIN, *draw_poses(1, CHARUCO, 3)[0], CHARUCO)
    wrong = Board("charuco", columns, rows, 30.0, 22.0, "4X4_50")
    assert find_corners(image, wrong) is None
    assert guess_squares(image, wrong) == expected


def test_mirrored_images_are_known_by_their_markers():
    image = render(PLAIN, *draw_poses(1, CHARUCO, 3)[0], CHARUCO)
    assert is_mirrored(np.ascontiguousarray(image[:, ::-1]), CHARUCO)
    assert not is_mirrored(image, CHARUCO)
    assert not is_mirrored(np.full((100, 100), 90, np.uint8), CHARUCO)


@pytest.mark.parametrize("board", [CHESSBOARD, CHARUCO, Board("charuco", 6, 9, 1, 0.7, "5X5_100")])
def test_drawn_boards_have_squares_of_one_size(board):
    drawn = draw_board(board, 60)
    assert drawn.shape == (board.rows * 60, board.columns * 60)
    assert set(np.unique(drawn)) == {0, 255}
    wide = np.pad(drawn, 60, constant_values=255)
    found = find_corners(wide, board)
    assert len(found.numbers) == (board.columns - 1) * (board.rows - 1)
    expected = list_corners(board)[:, :2] / board.square * 60 + 59.5
    assert np.abs(found.pixels - expected[found.numbers]).max() < 0.1


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("circles", 8, 5, 30), "no kind of board"),
        (("chessboard", 2, 5, 30), "4 to 100 squares each way, not 2 x 5"),
        (("chessboard", 8, 500, 30), "not 8 x 500"),
        (("chessboard", 8, 5, 0), "expected more than 0"),
        (("chessboard", 8, 5, float("nan")), "expected more than 0"),
        (("charuco", 8, 5, 30, 30), "do not fit in squares"),
        (("charuco", 8, 5, 30, 20, "9X9_50"), "no dictionary"),
        (("charuco", 20, 20, 30, 20, "4X4_50"), "need 200 markers; the dictionary 4X4_50 has 50"),
    ],
)
def test_what_is_no_board_is_refused(arguments, message):
    with pytest.raises(ValueError, match=message):
        Board(*arguments)


@pytest.mark.parametrize(
    ("kind", "columns", "rows", "expected"),
    [
        ("chessboard", 8, 5, False),
        ("chessboard", 8, 6, True),
        ("chessboard", 7, 5, True),
        ("chessboard", 7, 7, True),
        ("charuco", 8, 6, False),
    ],
)
def test_boards_that_look_the_same_after_half_a_turn(kind, columns, rows, expected):
    assert Board(kind, columns, rows, 30.0, 20.0).is_ambiguous is expected
