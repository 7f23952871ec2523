"""Test DeepLabCut's detections, from files in the layouts of its versions."""

import datetime as dt
import pickle
import sys
import textwrap
from types import SimpleNamespace

import numpy as np
import pytest

from pipeline_lib.core.errors import StoreError
from pipeline_lib.io.detections.deeplabcut import read_detections
from pipeline_lib.io.restricted_pickle import load_pickle

NAN = np.nan
BODYPARTS = ["nose", "tail", "ear", "corner"]
GRAPH = [[0, 1], [0, 2], [1, 2]]


def points(*rows):
    return np.array(rows, np.float64).reshape(-1, 2)


def scores(*values):
    return np.array(values, np.float32).reshape(-1, 1)


def make_frame():
    """Return two noses (the better one second), one tail, no ear, one corner."""
    return {
        "coordinates": ([points((1, 2), (3, 4)), points((5, 6)), points(), points((7, 8))],),
        "confidence": [scores(0.25, 0.75), scores(0.5), scores(), scores(1)],
        "costs": {
            np.int64(0): {
                "m1": np.array([[0.1], [0.9]], np.float32),
                "distance": np.array([[5.66], [2.83]], np.float32),
            },
            np.int64(2): {"m1": np.empty((0, 0)), "distance": np.empty((0, 0))},
        },
    }


def make_metadata(**changes):
    return {
        "nms radius": 5,
        "minimal confidence": 0.01,
        "sigma": 1,
        "PAFgraph": GRAPH,
        "PAFinds": np.array([0, 2]),
        "all_joints": [[0], [1], [2], [3]],
        "all_joints_names": BODYPARTS,
        "nframes": 4,
    } | changes


def make_file(folder, content=None, *, protocol=pickle.HIGHEST_PROTOCOL):
    """Write a file that lacks frame 2 and has no peak in frame 1 and, by default, frame 0 full."""
    if content is None:
        empty = {"coordinates": [[]], "costs": []}
        content = {"frame0": make_frame(), "frame1": empty, "metadata": make_metadata()}
    path = folder / "videoDLC_scorer_full.pickle"
    path.write_bytes(pickle.dumps(content, protocol))
    return path


def check_content(found):
    assert found.bodyparts == tuple(BODYPARTS)
    assert found.unique == (3,)
    assert found.edges == ((0, 1), (1, 2))
    assert found.frame.tolist() == [0, 1, 2, 3]
    assert found.images is None
    assert not found.assembled
    np.testing.assert_array_equal(
        found.position[0],
        [
            [[3, 4], [1, 2]],
            [[5, 6], [NAN, NAN]],
            [[NAN, NAN], [NAN, NAN]],
            [[7, 8], [NAN, NAN]],
        ],
    )
    np.testing.assert_array_equal(
        found.confidence[0], [[0.75, 0.25], [0.5, NAN], [NAN, NAN], [1, NAN]]
    )
    # Affinities follow the peaks, the best first.
    np.testing.assert_array_equal(
        found.affinity[0], np.float32([[[0.9, NAN], [0.1, NAN]], [[NAN, NAN], [NAN, NAN]]])
    )
    # Numbers go by the order of the file: two noses, a tail, a corner.
    assert found.number[0].tolist() == [[1, 0], [2, -1], [-1, -1], [3, -1]]
    kinds = (np.float32, np.float64, np.float32)
    for values, kind in zip((found.position, found.confidence, found.affinity), kinds, strict=True):
        assert values.dtype == kind
        assert np.isnan(values[1:]).all()


def test_affinities_in_double_precision_stay_so(tmp_path):
    frame = make_frame()
    frame["costs"][np.int64(0)]["m1"] = np.array([[0.1], [0.9]])
    found = read_detections(make_file(tmp_path, {"frame0": frame, "metadata": make_metadata()}))
    assert found.affinity[0, 0].T.tolist()[0] == [0.9, 0.1]


@pytest.mark.parametrize("protocol", [2, 3, 4, 5])
def test_every_protocol(tmp_path, protocol):
    check_content(read_detections(make_file(tmp_path, protocol=protocol)))


@pytest.mark.parametrize(
    ("name", "other"), [(b"numpy._core", b"numpy.core"), (b"numpy.core", b"numpy._core")]
)
@pytest.mark.parametrize("protocol", [0, 2, 3])
def test_names_of_older_and_newer_numpy(tmp_path, protocol, name, other):
    """Use protocols up to 3, whose module names are lines of text and can be replaced."""
    path = make_file(tmp_path, protocol=protocol)
    path.write_bytes(path.read_bytes().replace(name, other))
    assert other in path.read_bytes()
    check_content(read_detections(path))


def test_arrays_in_the_order_of_fortran_and_of_the_other_byte_order(tmp_path):
    frame = make_frame()
    frame["coordinates"][0][0] = np.asfortranarray(frame["coordinates"][0][0])
    frame["confidence"][0] = frame["confidence"][0].astype(">f4")
    content = {"frame0": frame, "metadata": make_metadata()}
    for protocol in (2, 5):
        check_content(read_detections(make_file(tmp_path, content, protocol=protocol)))


def test_only_the_best_peaks_are_kept(tmp_path):
    found = read_detections(make_file(tmp_path), most_peaks=1)
    assert found.position[0, 0].tolist() == [[3, 4]]
    assert found.affinity[0, 0].tolist() == [[np.float32(0.9)]]


def test_individuals_that_are_assembled_already(tmp_path):
    """Read DeepLabCut 3's rows of individuals, in their order; -1 or NaN marks a missing one."""
    frame = {
        "coordinates": ([points((1, 2), (3, 4)), points((-1, -1), (5, 6))],),
        "confidence": [scores(0.25, 0.75), scores(-1, 0.5)],
        "costs": None,
        "bboxes": np.array([[0, 0, 9, 9]]),
    }
    metadata = make_metadata(
        all_joints_names=["nose", "tail"], PAFgraph=None, PAFinds=np.arange(0), nframes=1
    )
    found = read_detections(make_file(tmp_path, {"metadata": metadata, "frame0": frame}))
    assert found.assembled
    assert found.edges == ()
    assert found.unique == ()
    assert found.affinity.shape == (1, 0, 2, 2)
    np.testing.assert_array_equal(found.confidence[0], [[0.25, 0.75], [NAN, 0.5]])
    np.testing.assert_array_equal(found.position[0], [[[1, 2], [3, 4]], [[NAN, NAN], [5, 6]]])


def test_names_of_images_and_no_list_of_edges(tmp_path):
    metadata = make_metadata()
    del metadata["PAFinds"], metadata["nframes"]
    content = {"metadata": metadata, "b/img1.png": make_frame(), "a/img0.png": make_frame()}
    found = read_detections(make_file(tmp_path, content))
    assert found.images == ("b/img1.png", "a/img0.png")
    assert found.frame.tolist() == [0, 1]
    assert found.edges == ((0, 1), (0, 2), (1, 2))


def test_frames_per_second_from_the_file_beside(tmp_path):
    path = make_file(tmp_path)
    assert read_detections(path).fps is None
    beside = tmp_path / "videoDLC_scorer_meta.pickle"
    beside.write_bytes(pickle.dumps({"data": {"fps": np.float64(29.97), "nframes": 4}}))
    assert read_detections(path).fps == 29.97
    beside.write_bytes(b"nothing")
    assert read_detections(path).fps is None


def make_yaml_class(monkeypatch, module, name, base):
    """Make a class that is pickled as one of ruamel.yaml, which remembers how it was written."""
    made = type(name, (base,), {"__module__": f"ruamel.yaml.{module}", "__qualname__": name})
    others = sys.modules.get(made.__module__)
    others = vars(others) if isinstance(others, SimpleNamespace) else {}
    monkeypatch.setitem(sys.modules, made.__module__, SimpleNamespace(**others, **{name: made}))
    return made


def test_values_of_ruamel_are_numbers_and_texts(tmp_path, monkeypatch):
    """Read values of ruamel.yaml, which keep quotes, comments and digits."""
    comment = make_yaml_class(monkeypatch, "comments", "Comment", object)()
    comment.comment = ["# a note"]
    values = {
        "fps": make_yaml_class(monkeypatch, "scalarfloat", "ScalarFloat", float)(29.97),
        "nframes": make_yaml_class(monkeypatch, "scalarint", "HexInt", int)(31),
        "cropping": make_yaml_class(monkeypatch, "scalarbool", "ScalarBoolean", int)(1),
        "Scorer": make_yaml_class(monkeypatch, "scalarstring", "DoubleQuotedScalarString", str)(
            "x"
        ),
        "box": make_yaml_class(monkeypatch, "comments", "CommentedSeq", list)([1, 2.5]),
        "model": make_yaml_class(monkeypatch, "comments", "CommentedMap", dict)(stride=8.0),
        "day": dt.date(2026, 1, 1),
    }
    for value in list(values.values())[:-1]:
        value._yaml_format, value._yaml_comment = "0x", comment
    pickled = pickle.dumps({"data": values})
    for name in [name for name in sys.modules if name.startswith("ruamel.yaml.")]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "ruamel.yaml", None)
    path = make_file(tmp_path)
    beside = tmp_path / "videoDLC_scorer_meta.pickle"
    beside.write_bytes(pickled)
    assert read_detections(path).fps == 29.97
    found = load_pickle(beside)["data"]
    del found["day"]
    assert found == {
        "fps": 29.97,
        "nframes": 31,
        "cropping": 1,
        "Scorer": "x",
        "box": [1, 2.5],
        "model": {"stride": 8.0},
    }
    assert not any("ruamel" in type(value).__module__ for value in found.values())


@pytest.mark.parametrize("protocol", [2, 4, 5])
def test_a_config_that_ruamel_has_read(tmp_path, protocol):
    """Read a file written by DeepLabCut itself, if it is installed."""
    yaml = pytest.importorskip("ruamel.yaml")
    text = """
    fps: 29.970  # frames per second
    slow: 1.5e-3
    crop: &crop [0, 0x1F]
    same: *crop
    name: "quoted"
    notes: |
      long
    inner:
      <<: {x: 1}
      day: 2026-01-01T10:00:00Z
    """
    config = yaml.YAML().load(textwrap.dedent(text))
    path = make_file(tmp_path)
    beside = tmp_path / "videoDLC_scorer_meta.pickle"
    content = {"data": {"fps": config["fps"], "DLC-model-config file": config}}
    beside.write_bytes(pickle.dumps(content, protocol))
    assert read_detections(path).fps == 29.97
    found = load_pickle(beside)["data"]["DLC-model-config file"]
    assert found["crop"] == found["same"] == [0, 31]
    assert (found["slow"], found["name"], found["notes"]) == (0.0015, "quoted", "long\n")
    assert found["inner"]["x"] == 1


@pytest.mark.parametrize(
    "rest", [b"cos\nsystem\n", b"cruamelx.yaml.main\nload\n", b"cbuiltins\neval\n"]
)
def test_values_of_ruamel_open_no_door(tmp_path, rest):
    """Pickle a value of a class that is replaced, then one of a class that is not."""
    path = tmp_path / "beside.pickle"
    path.write_bytes(b"(cruamel.yaml.main\nYAML\n(S'x'\ntR" + rest + b"(S'true'\ntRl.")
    with pytest.raises(StoreError, match="not loaded"):
        load_pickle(path)


def test_a_text_of_ruamel_is_not_decoded(tmp_path):
    """Refuse the name of a codec, which would be imported."""
    path = tmp_path / "beside.pickle"
    path.write_bytes(
        b"\x80\x02cruamel.yaml.scalarstring\nScalarString\n(C\x01xX\x05\x00\x00\x00rot13tR."
    )
    with pytest.raises(StoreError, match="whole pickle"):
        load_pickle(path)


class _Hostile:
    def __reduce__(self):
        return (print, ("run",))


@pytest.mark.parametrize(
    ("value", "name"),
    [
        (_Hostile(), "builtins.print"),
        (np.array([{}], object), r"numpy.dtype\('O"),
        (np.zeros(1, [("a", "f4")]), r"numpy.dtype\('V4"),
        (np.random.default_rng(0), "numpy.random"),
    ],
)
def test_other_classes_are_named_and_not_loaded(tmp_path, capsys, value, name):
    path = make_file(tmp_path, {"metadata": make_metadata(), "frame0": {"extra": value}})
    with pytest.raises(StoreError, match=rf"_full.pickle: names ({name}).*not loaded"):
        read_detections(path)
    assert capsys.readouterr().out == ""


def test_damaged_files(tmp_path):
    path = make_file(tmp_path)
    whole = path.read_bytes()
    for length in range(0, len(whole) - 1, 7):
        path.write_bytes(whole[:length])
        with pytest.raises(StoreError, match="expected a whole pickle"):
            read_detections(path)


@pytest.mark.parametrize("seed", range(300))
def test_changed_bytes_give_an_error_or_detections(tmp_path, seed):
    path = make_file(tmp_path, protocol=2 + seed % 4)
    data = bytearray(path.read_bytes())
    generator = np.random.default_rng(seed)
    for place in generator.integers(0, len(data), 3):
        data[place] = generator.integers(256)
    path.write_bytes(bytes(data))
    try:
        found = read_detections(path)
    except StoreError as error:
        assert str(path) in str(error)  # noqa: PT017 - either is fine
    else:
        assert found.position.shape[:2] == found.confidence.shape[:2]


def test_missing_files_and_shelves(tmp_path):
    path = tmp_path / "v_full.pickle"
    with pytest.raises(StoreError, match=r"v_full\.pickle: cannot be read: No such file"):
        read_detections(path)
    (tmp_path / "v_full.pickle.db").write_bytes(b"")
    with pytest.raises(StoreError, match="written as a shelf"):
        read_detections(path)


BAD_EDGE = {0: {"m1": np.zeros((3, 3))}}


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ([1], "expected a dictionary with `metadata`"),
        ({"frame0": {}}, "expected a dictionary with `metadata`"),
        ({"metadata": {}}, "`metadata` is not .*`all_joints_names` is no list"),
        ({"metadata": make_metadata(PAFinds=[3])}, "`PAFinds` has 3, and `PAFgraph` 3 edges"),
        ({"metadata": make_metadata(PAFgraph=[[0, 9]])}, r"`PAFgraph` has \[0, 9\]"),
        ({"metadata": make_metadata(), "frame0": {}}, "`frame0` is not .*expected `coord"),
        ({"metadata": make_metadata(), 3: {}}, "a frame has no name"),
        ({"metadata": make_metadata(), "frame1": {}, "frame01": {}}, "there twice"),
        ({"metadata": make_metadata(), "frame99999999": make_frame()}, "100000000 frames"),
        ({"metadata": make_metadata(nframes=10**12)}, "1000000000000 frames"),
        (
            {"metadata": make_metadata(), "frame0": {"coordinates": ([points((1, 2))],)}},
            r"`frame0` is not .*KeyError: 'confidence'",
        ),
        (
            {"metadata": make_metadata(), "frame0": make_frame() | {"costs": BAD_EDGE}},
            r"`frame0` is not .*edge 0 has the shape \(3, 3\), expected \(2, 1\)",
        ),
        (
            {
                "metadata": make_metadata(),
                "frame0": make_frame() | {"confidence": [scores(1)] * 4},
            },
            r"nose has coordinates of shape \(2, 2\), confidence \(1, 1\)",
        ),
    ],
)
def test_other_layouts(tmp_path, content, message):
    with pytest.raises(StoreError, match=message):
        read_detections(make_file(tmp_path, content))
