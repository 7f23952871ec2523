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
from pipeline_lib.io.foreign.restricted_pickle import load_pickle

NAN = np.nan
BODYPARTS = ["nose", "tail", "ear", "corner"]
GRAPH = [[0, 1], [0, 2], [1, 2]]
EMPTY = {"coordinates": [[]], "costs": []}


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
    """Write a file; by default one with a full frame 0 and an empty frame 1, of four frames."""
    if content is None:
        content = {"frame0": make_frame(), "frame1": EMPTY, "metadata": make_metadata()}
    path = folder / "videoDLC_scorer_full.pickle"
    path.write_bytes(pickle.dumps(content, protocol))
    return path


def check_content(found):
    assert found.bodyparts == tuple(BODYPARTS)
    assert found.unique == (3,)
    assert found.edges == ((0, 1), (1, 2))
    assert found.frame.tolist() == [0, 1, 2, 3]
    assert found.present.tolist() == [True, True, False, False]
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
    content = {"frame0": frame, "frame1": EMPTY, "metadata": make_metadata()}
    found = read_detections(make_file(tmp_path, content))
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
    content = {"frame0": frame, "frame1": EMPTY, "metadata": make_metadata()}
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
    frame = make_frame()
    frame["costs"][1] = {"m1": np.empty((2, 0))}
    content = {"metadata": metadata, "b/img1.png": frame, "a/img0.png": frame}
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


def test_lost_frames_are_told(tmp_path, caplog):
    read_detections(make_file(tmp_path))
    assert "_full.pickle: lacks 2 of 4 frames (frame 2 first)" in caplog.text
    caplog.clear()
    frame = make_frame()
    content = {"metadata": make_metadata(nframes=1), "frame0": frame}
    read_detections(make_file(tmp_path, content))
    assert not caplog.text
    read_detections(make_file(tmp_path, content), most_peaks=1)
    assert "has 2 peaks of one bodypart, of which the best 1 are read" in caplog.text


def with_frame(**changes):
    return {"metadata": make_metadata(nframes=1), "frame0": make_frame() | changes}


def with_metadata(**changes):
    return {"metadata": make_metadata(**{"nframes": 1, **changes}), "frame0": make_frame()}


def with_keys(*keys, **changes):
    metadata = make_metadata(**changes)
    return {"metadata": metadata, **dict.fromkeys(keys, EMPTY)}


def with_nose(position, confidence):
    """Two noses as given."""
    frame = make_frame()
    frame["coordinates"][0][0] = position
    frame["confidence"][0] = confidence
    return {"metadata": make_metadata(nframes=1), "frame0": frame}


NOSES = points((1, 2), (3, 4))
WRONG_NAMES = {
    "": "is empty",
    " ": "is empty",
    "nose": "'nose' more than once",
    "../x": "a path to another folder",
    "a\\..": "a path to another folder",
    "..": "a path to another folder",
    "a\nb": "not seen",
    "x" * 300: "longer than",
}
METADATA = "`metadata` is not as DeepLabCut writes it"
FRAME = "`frame0` is not as DeepLabCut writes it"
NO_KEY = "is no key of a frame: expected `frame` and its number in digits"


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ([1], "expected a dictionary with `metadata`"),
        ({"frame0": {}}, "expected a dictionary with `metadata`"),
        ({"metadata": {}}, f"{METADATA}.*`all_joints_names` is no list"),
        (with_metadata(all_joints_names=[]), f"{METADATA}.*`all_joints_names` is empty"),
        *(
            (with_metadata(all_joints_names=[*BODYPARTS[:3], name]), f"`all_joints_names` .*{why}")
            for name, why in WRONG_NAMES.items()
        ),
        (with_metadata(PAFinds=[3]), "`PAFinds` has 3, and `PAFgraph` 3 edges"),
        (with_metadata(PAFinds=[0.5]), r"`PAFinds` is \[0.5\], expected integers"),
        (with_metadata(PAFinds=[True]), r"`PAFinds` is \[True\], expected integers"),
        (with_metadata(PAFinds=[0, 0]), "`PAFinds` has 0 more than once"),
        (with_metadata(PAFgraph=[[0, 9]]), r"`PAFgraph` has \[0, 9\]"),
        (with_metadata(PAFgraph=[[1, 1]]), r"`PAFgraph` has \[1, 1\]"),
        (with_metadata(PAFgraph=[[0, 1.0]]), "edge of `PAFgraph` .* expected integers"),
        (with_metadata(PAFgraph=[[0, 1], [1, 0]]), r"`PAFgraph` has \(0, 1\) more than once"),
        *(
            (with_metadata(nframes=frames), f"`nframes` is .*{frames}.*, expected the number")
            for frames in (-1, 1.0, True, "1", None, np.nan)
        ),
        (with_keys("frame0", "frame1", nframes=1), "`nframes` is 1, but .* frame number 1"),
        (with_keys("frame1", nframes=1), "`nframes` is 1, but .* frame number 1"),
        (with_keys("a.png", "b.png", nframes=1), "`nframes` is 1, but .* frame number 1"),
        (with_keys("frame0", "frame99999999", nframes=10**8), "100000000 frames .* 2 are there"),
        (with_keys("frame0", nframes=10**12), "1000000000000 frames"),
        *(
            (with_keys("frame0", key, nframes=2), f"{NO_KEY}".replace("is no", f"`{key}` is no"))
            for key in ("frame-1", "frame0_5", "frame", "Frame1", "frame1 ", "frame\u0661", "x.png")
        ),
        (with_keys("frame-1", "frame-2"), f"`frame-1` {NO_KEY}"),
        (with_keys("image"), f"`image` {NO_KEY}"),
        (with_keys("frame" + "9" * 400), NO_KEY),
        (with_keys(3), "3: a frame has no name"),
        (with_keys("frame0", "frame00"), "frame 0 is there twice .`frame0` and `frame00`."),
        (with_keys("frame1", "frame01", "frame0"), "`frame1` and `frame01`"),
        ({"metadata": make_metadata(nframes=1), "frame0": {}}, f"{FRAME}.*expected `coord"),
        (with_frame(coordinates=[]), f"{FRAME}.*`coordinates` is no list of one list"),
        (
            {"metadata": make_metadata(nframes=1), "frame0": {"coordinates": ([NOSES],)}},
            f"{FRAME}.*expected `confidence`",
        ),
        (with_frame(confidence=[scores(1)] * 4), r"nose has coordinates of shape \(2, 2\), conf"),
        (
            with_nose(NOSES, scores(0.5, 1.5)),
            f"{FRAME}.*nose has a confidence of 1.5, exp.* 0 to 1",
        ),
        (with_nose(NOSES, scores(0.5, NAN)), "nose has a confidence of nan"),
        (with_nose(NOSES, scores(0.5, np.inf)), "nose has a confidence of inf"),
        (with_nose(NOSES, scores(0.5, -0.5)), "nose has a confidence of -0.5"),
        (with_nose(NOSES, [["a"], ["b"]]), "nose: `confidence` is of type <U1"),
        (with_nose(NOSES, [[True], [True]]), "nose: `confidence` is of type bool"),
        (with_nose(NOSES, np.ones((2, 2))), r"confidence \(2, 2\)"),
        (with_nose(NOSES, ()), r"confidence \(0,\)"),
        (with_nose((), scores(1)), r"coordinates of shape \(0,\), confidence \(1, 1\)"),
        (with_nose(points((1, NAN), (3, 4)), scores(1, 1)), r"nose has a peak at \(1.0, nan\)"),
        (with_nose(points((1, 1e300), (3, 4)), scores(1, 1)), r"nose has a peak at \(1.0, inf\)"),
        (with_frame(costs=[1]), "`costs` is a list"),
        (with_frame(costs={}), r"no `m1` of edge 0, expected one of shape \(2, 1\)"),
        (with_frame(costs={0: {}}), "no `m1` of edge 0"),
        *(
            (
                with_frame(costs={0: {"m1": np.zeros(shape)}}),
                rf"{FRAME}.*edge 0 has the shape \({shape[0]}.*, expected \(2, 1\)",
            )
            for shape in ((3, 3), (1, 2), (2,), (0, 0), (2, 1, 1))
        ),
        (with_frame(costs={0: {"m1": [["0"], ["1"]]}}), "edge 0 is of type <U1"),
        (with_frame(costs={0: {"m1": [[np.inf], [1]]}}), "edge 0 is infinite"),
        (
            {
                **with_keys("frame1", nframes=2),
                "frame0": make_frame(),
                "frame1": {**make_frame(), "costs": None},
            },
            r"frame 1 is assembled \(`costs: None`\) and frame 0 is not",
        ),
        (
            with_frame(
                costs=None,
                coordinates=([NOSES, points((1, 2), (3, 4), (5, 6)), points(), points()],),
                confidence=[scores(1, 1), scores(1, 1, 1), scores(), scores()],
            ),
            "as many peaks of each bodypart .* found nose 2, tail 3",
        ),
    ],
)
def test_other_layouts(tmp_path, content, message):
    path = make_file(tmp_path, content)
    with pytest.raises(StoreError, match=message) as caught:
        read_detections(path)
    assert str(path) in str(caught.value)
    assert "write" in str(caught.value)  # says what to do


@pytest.mark.parametrize("fps", [0, -25.0, 1e-320, 1e7, np.inf, NAN, np.float64(-1), True, "25"])
def test_impossible_frames_per_second(tmp_path, fps):
    path = make_file(tmp_path)
    beside = tmp_path / "videoDLC_scorer_meta.pickle"
    beside.write_bytes(pickle.dumps({"data": {"fps": fps}}))
    with pytest.raises(StoreError, match=r"_meta.pickle: `data: fps` is .*; give .* --fps"):
        read_detections(path)
    assert read_detections(path, read_fps=False).fps is None


@pytest.mark.parametrize("content", [[1], {}, {"data": 3}, {"data": {}}])
def test_a_file_beside_without_frames_per_second(tmp_path, caplog, content):
    path = make_file(tmp_path)
    (tmp_path / "videoDLC_scorer_meta.pickle").write_bytes(pickle.dumps(content))
    assert read_detections(path).fps is None
    assert "frames per second are not known" in caplog.text
