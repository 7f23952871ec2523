"""Test calibrations from strangers: nothing runs, nothing grows, and each mistake has a name."""

import os
import pickle
import struct
import zlib

import numpy as np
import pytest
from scipy.io import savemat

from pipeline_lib.core.errors import CalibrationError
from pipeline_lib.io.calibrations.building import MOST_BYTES
from pipeline_lib.io.calibrations.files import read_calibration
from pipeline_lib.io.foreign.restricted_pickle import load_pickled_bytes

TABLE = """[cam_0]
name = "left"
size = [640, 480]
matrix = [[500, 0, 320], [0, 500, 240], [0, 0, 1]]
distortions = [0, 0, 0, 0, 0]
rotation = [0, 0, 0]
translation = [0, 0, 0]
"""


def refuse(path, content, message):
    if isinstance(content, str):
        content = content.encode()
    path.write_bytes(content)
    with pytest.raises(CalibrationError, match=message) as caught:
        read_calibration(path)
    text = str(caught.value)
    assert path.name in text
    assert len(text) < 3000
    assert "\x1b" not in text


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("[640, 480]", "[640, -480]", "camera cam_0: `size` is 640 x -480"),
        ("[640, 480]", "[1e999, 480]", "`size` has numbers that are not finite"),
        ("[640, 480]", f"[{10**400}, 480]", "`size` is not made of numbers"),
        ("[640, 480]", '["a", 480]', "`size` is not made of numbers"),
        ("size = [640, 480]\n", "", "camera cam_0: has no 'size'"),
        ("rotation = [0, 0, 0]", "rotation = [nan, 0, 0]", "`rotation` has numbers that are not"),
        ("rotation = [0, 0, 0]", "rotation = [0, 0]", "`rotation` has 2 numbers"),
        ("rotation = [0, 0, 0]", "rotation = [[1, 0, 0], [0, 1, 0], [0, 0, -1]]", "mirrors"),
        ("rotation = [0, 0, 0]", "rotation = [[[]], 1]", "`rotation` is not made of numbers"),
        ("[[500, 0, 320], ", "[[-500, 0, 320], ", "focal length that is not positive"),
        ("[0, 0, 1]]", "[0, 0]]", "`matrix` is not made of numbers"),
        ('"left"', '"../left"', "its name is a path"),
        ('"left"', '"a\\u001b[31mb"', "its name holds a tab"),
        ('"left"', "[1, 2]", "camera cam_0: its name is no text"),
        ("distortions = [0, 0, 0, 0, 0]", f"distortions = {[1] * 40}", "40 numbers for the model"),
        ("[cam_0]", "[cam_0]\nfisheye = 3", "`fisheye` is 3"),
        ("[cam_0]", "[metadata]\nunit = 'ell'\n[cam_0]", "'ell' is no unit"),
        ("[cam_0]", "[metadata]\nunit = [1]\n[cam_0]", "is no unit"),
        ("[cam_0]", "x = 3\n[cam_0]", "camera x: expected a table"),
        (TABLE, TABLE + TABLE.replace("cam_0", "cam_1"), "two cameras have the name 'left'"),
    ],
)
def test_damaged_toml(tmp_path, old, new, message):
    assert old in TABLE
    content = TABLE.replace(old, new)
    refuse(tmp_path / "c.toml", content, message)


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("c.toml", "", "no calibration in a known format"),
        ("c.toml", "a = " + "[" * 100_000, "no calibration in a known format"),
        ("c.toml", b"\xff\xfe[\x00", "no calibration in a known format"),
        ("c.docx", "x", "no calibration in a known format"),
        ("c.yml", "cameras: [", "no calibration in a known format"),
        ("c.yml", "cameras: 3", "`cameras` is no list"),
        ("c.yml", "cameras: [3]", "camera 0: expected a table"),
        ("c.yml", "camera_matrix: !!python/object/apply:os.system [ls]", "no calibration"),
        ("c.yml", "camera_matrix: 3", "has no image size"),
        (
            "c.yml",
            "image_width: 1\nimage_height: 1\ncamera_matrix: {data: abc}\n",
            "`camera_matrix` is not made of numbers",
        ),
        ("c.xml", "<calibration><camera serial='a'/></calibration>", "has no element `intrinsic`"),
        ("c.xml", "<calibration/>", "there is no camera"),
        ("c.xml", "<!DOCTYPE c [<!ENTITY a 'b'>]><calibration/>", "no calibration in a known"),
        ("c.mat", "x" * 500, "is no MATLAB file"),
        ("c.mat", "", "is no MATLAB file"),
        ("c.pickle", "x", "expected a whole pickle"),
        ("c.pickle", pickle.dumps([1]), "expected the parameters of one pair"),
        ("c.pickle", pickle.dumps({"a-b": {"mtx": 1}}), "give stereo_params.pickle"),
        (
            "c.pickle",
            pickle.dumps({"a-b": {"cameraMatrix1": "x", "image_shape": [(1, 1), (1, 1)]}}),
            "camera a: ",
        ),
    ],
)
def test_damaged_files_of_other_formats(tmp_path, name, content, message):
    refuse(tmp_path / name, content, message)


class Runs:
    def __reduce__(self):
        return os.system, ("touch /tmp/cohortpose-was-here",)


def test_a_pickle_runs_nothing(tmp_path):
    content = pickle.dumps({"a-b": {"cameraMatrix1": Runs()}})
    refuse(tmp_path / "c.pickle", content, r"names posix\.system, which is not loaded")


def test_entities_are_not_expanded(tmp_path):
    path = tmp_path / "c.txt"
    bomb = '<!DOCTYPE c [<!ENTITY a "aaaaaaaaaa"><!ENTITY b "&a;&a;&a;&a;&a;&a;&a;">]>'
    refuse(path, f"{bomb}<calibration>&b;</calibration>", "no calibration")


def test_matlab_variables_that_unpack_to_much_are_passed_over(tmp_path):
    path = tmp_path / "c.mat"
    lens = {"cc": [[320.0], [240]], "kc": np.zeros((5, 1)), "nx": 640, "ny": 480}
    savemat(path, lens, do_compression=True)
    # A variable fc that says 2 x 1 and unpacks to 200 MB.
    packed = zlib.compress(b"\x0e\x00\x00\x00\x00\x00\x00\x0c" + bytes(200 * 2**20))
    bomb = b"\x0f\x00\x00\x00" + len(packed).to_bytes(4, "little") + packed
    refuse(path, path.read_bytes() + bomb, "has no variable `fc`")


def matlab_element(kind, data):
    return struct.pack("<II", kind, len(data)) + data + b"\0" * (-len(data) % 8)


@pytest.mark.parametrize("packed", [False, True])
@pytest.mark.parametrize(
    ("kind", "content"),
    [
        (4, matlab_element(4, b"")),  # text without a letter, for which blanks are made
        (1, b""),  # cells
        (2, matlab_element(5, struct.pack("<i", 32)) + matlab_element(1, b"")),  # no fields
        (5, matlab_element(5, b"") * 2 + matlab_element(9, b"")),  # a sparse matrix
    ],
)
def test_matlab_variables_that_claim_to_be_long_are_passed_over(tmp_path, kind, content, packed):
    sizes = struct.pack("<2i", 2**31 - 1, 2**31 - 1)
    head = matlab_element(6, struct.pack("<II", kind, 0)) + matlab_element(5, sizes)
    variable = matlab_element(14, head + matlab_element(1, b"fc") + content)
    if packed:
        data = zlib.compress(variable)
        variable = struct.pack("<II", 15, len(data)) + data
    path = tmp_path / "c.mat"
    savemat(path, {"cc": [[320.0], [240]]}, do_compression=packed)
    refuse(path, path.read_bytes() + variable, "has no variable `fc`")


def bomb_of_tuples(levels=60):
    """Use each tuple twice in the next: the last one is a key, which is hashed."""
    steps = (b"0h%ch%c\x86\x94" % (n, n) for n in range(levels))
    return b"\x80\x04}(K\x01K\x02\x86\x94" + b"".join(steps) + b"K\x01u."


def bomb_of_lists(levels=60):
    """Use each list twice in the one before, from the outermost: all are empty at first."""
    made = b"".join(b"]\x940" for _ in range(levels + 1))
    filled = b"".join(b"h%c(h%ch%ce0" % (n, n + 1, n + 1) for n in range(levels))
    return b"\x80\x04" + made + filled + b"}\x8c\x03a-b}\x8c\x0dcameraMatrix1h\x00ss."


def test_pickles_that_unfold_without_end(tmp_path):
    path = tmp_path / "c.pickle"
    refuse(path, bomb_of_tuples(), "has a key that is neither a text nor a usual number: it is")
    refuse(path, bomb_of_lists(), "unfolds to more than 1,000,000 values: it is not read")
    refuse(path, pickle.dumps(bytes(2**21)), "is larger than 1 MiB: it is not read")
    refuse(path, b"\x80\x04h\x05.", "expected a whole pickle")


@pytest.mark.parametrize("protocol", range(6))
def test_pickles_that_hold_what_they_hold(protocol):
    """Check what DeepLabCut stores; of each protocol, with arrays and tuples at several places."""
    size = (640, 480)
    values = {name: np.eye(3) for name in ("cameraMatrix1", "cameraMatrix2", "R", "T")}
    values |= {"image_shape": [size, size], "F": np.zeros((3, 3), ">f4"), "names": {"a", "b"}}
    loaded = load_pickled_bytes(pickle.dumps({"a-b": values}, protocol), "c.pickle")
    assert loaded["a-b"]["image_shape"] == [size, size]
    assert loaded["a-b"]["names"] == {"a", "b"}


def test_files_that_are_cut_short(tmp_path):
    path = tmp_path / "c.mat"
    savemat(path, {"fc": [[1.0], [2]]}, do_compression=True)
    refuse(path, path.read_bytes()[:-5], "it is cut short")


def test_special_and_huge_files_are_not_opened(tmp_path):
    os.mkfifo(tmp_path / "c.toml")
    with pytest.raises(CalibrationError, match="is no regular file"):
        read_calibration(tmp_path / "c.toml")
    with pytest.raises(CalibrationError, match="no such file"):
        read_calibration(tmp_path / "d.toml")
    with pytest.raises(CalibrationError, match="Is a directory"):
        read_calibration(tmp_path)
    with (tmp_path / "e.mat").open("wb") as file:
        file.truncate(MOST_BYTES + 1)
    with pytest.raises(CalibrationError, match="is larger than 64 MiB"):
        read_calibration(tmp_path / "e.mat")


def test_thousands_of_cameras_are_refused(tmp_path):
    path = tmp_path / "c.toml"
    text = "".join(TABLE.replace("cam_0", f"cam_{n}").replace("left", f"c{n}") for n in range(1001))
    refuse(path, text, "more than 1,000 cameras")


@pytest.mark.parametrize("part", ["a", '"a\u2028b"'])
@pytest.mark.parametrize("form", ["{}=1\n", "[{}]\n"])
def test_keys_of_thousands_of_parts_do_not_keep_us_busy(tmp_path, part, form):
    path = tmp_path / "calibration.toml"
    path.write_text(form.format(".".join([part] * 60_000)), encoding="utf-8")
    with pytest.raises(CalibrationError, match="too many dots"):
        read_calibration(path, "aniposelib")
