"""Test the pre-flight checks: all problems in one message, before any work."""

import logging
from datetime import UTC, datetime

import pytest
from PIL import Image

from pipeline_lib.core.errors import ConfigError
from pipeline_lib.core.formats.labels import FORMATS, LabelFormat
from pipeline_lib.io.calibrations.files import write_calibration
from pipeline_lib.io.corrections.labels import (
    CorrectedKeypoint,
    FrameCorrection,
    Visibility,
    write_frame_correction,
)
from pipeline_lib.steps.runs.preflight import check_run
from tests.steps.triangulate.scenes import make_rig


@pytest.fixture
def project(tmp_path):
    """Write a DeepLabCut project that labels nose and tail in one image."""
    folder = tmp_path / "project" / "labeled-data" / "mouse"
    folder.mkdir(parents=True)
    Image.new("L", (60, 40)).save(folder / "img001.png")
    (folder / "CollectedData_ann.csv").write_text(
        "scorer,ann,ann,ann,ann\n"
        "bodyparts,nose,nose,tail,tail\n"
        "coords,x,y,x,y\n"
        "labeled-data/mouse/img001.png,1,2,3,4\n"
    )
    return tmp_path / "project"


@pytest.fixture
def sheet(tmp_path):
    def write(*rows):
        path = tmp_path / "cohort.tsv"
        text = "".join(f"{video}\t{file}\n" for video, file in rows)
        path.write_text(f"video\tpath\n{text}")
        return str(path)

    (tmp_path / "a.mp4").touch()
    return write


def problems_of(values):
    with pytest.raises(ConfigError) as error:
        check_run(values, "config.yaml")
    assert error.value.where == "config.yaml"
    return error.value.problems


def test_a_good_run_gives_settings_and_videos(project, sheet, tmp_path):
    values = {
        "cohort": sheet(("a", "a.mp4")),
        "labels": [{"path": str(project)}],
        "skeleton": {"bodyparts": ["tail"]},
    }
    config, videos = check_run(values)
    assert config.skeleton.bodyparts == ("tail",)
    assert [(video.video, video.path) for video in videos] == [("a", tmp_path / "a.mp4")]


def test_refinement_names_a_file_and_a_column_that_there_are(project, sheet, tmp_path):
    values = {
        "cohort": sheet(("a", "a.mp4")),
        "labels": [{"path": str(project)}],
        "refinement": {"frame_list": str(tmp_path / "no.tsv"), "group": "cage"},
    }
    assert problems_of(values) == (
        f"`refinement.frame_list`: {tmp_path / 'no.tsv'}: no such file",
        "`refinement.group`: the sheet has no column 'cage'; there are session, camera",
    )
    values["refinement"] = {"group": "camera", "criteria": ["jump", "jmp"]}
    assert len(problems_of(values)) == 1
    assert "'jmp' is no criterion; there are jump, uncertain" in problems_of(values)[0]


def test_a_refinement_that_chooses_nothing_is_told(project, sheet, caplog):
    asked = {"cohort": sheet(("a", "a.mp4")), "refinement": {"enabled": True}}
    with caplog.at_level(logging.WARNING):
        check_run(asked)
        assert caplog.text.count("`refinement.enabled`: no frames are chosen") == 1
        check_run({**asked, "labels": [{"path": str(project)}]})
    assert caplog.text.count("`refinement.enabled`: no frames are chosen") == 1


def test_every_problem_in_one_message(project, sheet, tmp_path):
    values = {
        "cohort": sheet(("a", "a.mp4"), ("a", "b.mp4")),
        "trainig": {"epochs": 3},
        "training": {"weights": str(tmp_path / "no.pth")},
        "labels": [{"path": str(project)}, {"path": str(tmp_path / "nowhere")}],
        "skeleton": {"bodyparts": ["nose", "hip"]},
    }
    problems = problems_of(values)
    assert [problem.split(": ")[0] for problem in problems] == [
        "unknown key `trainig`; did you mean `training`?",
        values["cohort"],
        "`labels`",
        "`skeleton.bodyparts`",
        "`training.weights`",
    ]
    assert "line 3: video a already on line 2" in problems[1]
    assert str(tmp_path / "nowhere") in problems[2]
    assert problems[3].endswith("no label table has 'hip'; they have nose, tail")


def test_a_section_that_is_wrong_does_not_hide_the_others(project, sheet):
    values = {
        "cohort": sheet(("a", "a.mp4")),
        "labels": [{"path": str(project)}],
        "skeleton": {"bodyparts": ["hip"]},
        "targets": {"stride": 5},
        "report": None,
    }
    problems = problems_of(values)
    assert len(problems) == 2
    assert problems[0].startswith("`targets.stride`")
    assert problems[1].startswith("`skeleton.bodyparts`")


def test_a_former_name_among_wrong_settings_is_read_all_the_same(project, sheet, caplog):
    values = {
        "cohort": sheet(("a", "a.mp4")),
        "labels": [{"path": str(project)}],
        "skeleton": {"bodyparts": ["hip"]},
        "targets": {"stride": 5},
        "tracking": {"max_rival": 0.5},
    }
    problems = problems_of(values)
    assert len(problems) == 2
    assert problems[1].startswith("`skeleton.bodyparts`")
    (record,) = caplog.records
    assert "`tracking.max_rival` is now `tracking.max_ambiguity`" in record.getMessage()
    values["tracking"]["max_ambiguity"] = 0.5
    assert [problem.split(":")[0] for problem in problems_of(values)] == [
        "`tracking.max_rival` is the former name of `tracking.max_ambiguity`",
        "`targets.stride`",
        "`skeleton.bodyparts`",
    ]


def test_a_misspelt_cohort_does_not_hide_the_rest(project):
    problems = problems_of({"cohrot": "x", "labels": [{"path": str(project / "no")}]})
    assert len(problems) == 3
    assert problems[-1].startswith("`labels`")


def test_a_missing_video_is_a_warning(project, sheet, tmp_path, caplog):
    values = {
        "cohort": sheet(("a", "a.mp4"), ("b", "gone.mp4")),
        "labels": [{"path": str(project)}],
    }
    with caplog.at_level(logging.WARNING):
        _, videos = check_run(values)
    assert len(videos) == 2
    (warning,) = caplog.messages
    assert warning.startswith(f"video b: no such file: {tmp_path / 'gone.mp4'}")


def test_labels_that_wait_for_a_later_round_are_told(project, sheet, tmp_path, caplog):
    time = datetime(2026, 3, 1, 12, tzinfo=UTC)
    corrections = tmp_path / "corrections"
    for frame in (3, 5):
        point = CorrectedKeypoint("animal", "nose", 1.0, 2.0, Visibility.VISIBLE)
        one = FrameCorrection("a", frame, "", "Ann", time, 1, (point,))
        write_frame_correction(corrections, one)
    values = {
        "cohort": sheet(("a", "a.mp4")),
        "labels": [{"path": str(project)}],
        "corrections": {"path": str(corrections)},
    }
    with caplog.at_level(logging.WARNING):
        check_run(values)
    assert "2 frames are labelled for a later iteration" in caplog.text
    caplog.clear()
    with caplog.at_level(logging.WARNING):
        check_run({**values, "training": {"iteration": 1}})
    assert "later iteration" not in caplog.text


def test_no_video_at_all_is_a_mistake_of_the_paths(project, sheet, tmp_path):
    values = {
        "cohort": sheet(("b", "gone.mp4"), ("c", "lost.mp4")),
        "labels": [{"path": str(project)}],
    }
    (problem,) = problems_of(values)
    assert "none of its 2 videos exists" in problem
    assert f"{tmp_path / 'gone.mp4'} first" in problem


def test_labels_in_hdf5_alone_are_left_to_the_import(project, sheet):
    table = project / "labeled-data" / "mouse" / "CollectedData_ann.csv"
    table.rename(table.with_suffix(".h5"))
    values = {
        "cohort": sheet(("a", "a.mp4")),
        "labels": [{"path": str(project)}],
        "skeleton": {"bodyparts": ["hip"]},
    }
    assert check_run(values)[0].skeleton.bodyparts == ("hip",)


@pytest.mark.parametrize("content", [b"scorer,ann\nbodyparts,n\xe9\n", b"\xff\xfes\0c\0"])
def test_a_label_table_that_is_no_text_is_named(project, sheet, content):
    table = project / "labeled-data" / "mouse" / "CollectedData_ann.csv"
    table.write_bytes(content)
    (problem,) = problems_of({"cohort": sheet(("a", "a.mp4")), "labels": [{"path": str(project)}]})
    assert problem.startswith(f"`labels`: {table}: is not UTF-8 text: save it as CSV in UTF-8")


def test_a_file_of_regions_that_is_no_text_is_named(sheet, tmp_path):
    path = tmp_path / "regions.json"
    path.write_bytes(b'{"\xff": []}')
    kinematics = {"enabled": True, "regions_file": str(path)}
    found = problems_of({"cohort": sheet(("a", "a.mp4")), "kinematics": kinematics})
    told = f"`kinematics.regions_file`: {path}: is not UTF-8 text"
    assert [problem for problem in found if problem.startswith(told)]


def test_a_file_of_weights(project, sheet, tmp_path):
    weights = tmp_path / "w.pth"
    values = {
        "cohort": sheet(("a", "a.mp4")),
        "labels": [{"path": str(project)}],
        "training": {"weights": str(weights)},
    }
    (problem,) = problems_of(values)
    assert problem == f"`training.weights`: {weights}: no such file (or: package, timm, none)"
    weights.touch()
    assert check_run(values)[0].training.weights == str(weights)


def test_the_settings_of_locating_count_where_it_is_wanted(project, sheet, tmp_path):
    weights = tmp_path / "w.pth"
    values = {
        "cohort": sheet(("a", "a.mp4")),
        "labels": [{"path": str(project)}],
        "targets": {"scale": 0.25},
        "locating": {"weights": str(weights), "scale": 0.25},
    }
    assert check_run(values)[0].locating.scale == 0.25
    values["locating"]["enabled"] = True
    assert list(problems_of(values)) == [
        f"`locating.weights`: {weights}: no such file (or: package, timm, none)",
        "`locating.scale`: 0.25 must be below `targets.scale`, 0.25",
    ]
    # Top-down it is always wanted, and may see what the network does.
    del values["locating"]["enabled"]
    values["individuals"] = {"max": 2, "method": "top-down"}
    assert list(problems_of(values)) == [
        f"`locating.weights`: {weights}: no such file (or: package, timm, none)"
    ]


def test_sections_that_contradict_each_other_are_one_problem_among_others(project, sheet):
    values = {
        "cohort": sheet(("a", "a.mp4")),
        "labels": [{"path": str(project)}],
        "individuals": {"max": 2},
        "assembly": {"graph": "complete"},
        "locating": {"enabled": True},
        "training": {"weights": "gone.pth"},
    }
    contradiction, file = problems_of(values)
    assert contradiction.startswith("`locating.enabled`: a window shows one animal")
    assert file.startswith("`training.weights`: gone.pth: no such file")


def test_missing_edges_of_several_animals(project, sheet):
    values = {
        "cohort": sheet(("a", "a.mp4")),
        "labels": [{"path": str(project)}],
        "individuals": {"max": 2},
        "skeleton": {"bodyparts": ["nose", "tail"]},
    }
    (problem,) = problems_of(values)
    assert problem.startswith("neither `skeleton.edges` nor the labels have edges")
    check_run(values | {"assembly": {"graph": "complete"}})
    # They may come from the project, or from a file that is not opened here.
    check_run(values | {"skeleton": {}})
    (project / "config.yaml").write_text("bodyparts: [nose, tail]\nskeleton: [[nose, tail]]\n")
    check_run(values)
    (project / "config.yaml").unlink()
    (project / "labels.slp").touch()
    check_run(values | {"labels": [{"path": str(project / "labels.slp")}]})


def test_tables_of_another_format_are_left_to_its_reader(tmp_path, sheet, monkeypatch):
    (tmp_path / "rows_of_a_test.py").write_text(
        "def is_format(path):\n    return path.name == 'points.csv'\n\n"
        "def list_files(path):\n    return [path]\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setitem(FORMATS, "points", LabelFormat("points.csv", "rows_of_a_test"))
    # Bodyparts in rows, not in a header, and edges that only the reader of the format finds.
    (tmp_path / "points.csv").write_text("frame,bodypart,x,y\n3,nose,1,2\n3,tail,3,4\n")
    values = {
        "cohort": sheet(("a", "a.mp4")),
        "labels": [{"path": str(tmp_path / "points.csv"), "format": "points"}],
        "individuals": {"max": 2},
        "skeleton": {"bodyparts": ["nose", "tail"]},
    }
    config, _ = check_run(values)
    assert config.skeleton.bodyparts == ("nose", "tail")


def test_videos_that_would_be_exported_to_one_file(sheet):
    values = {
        "cohort": sheet(("a", "a.mp4"), ("a.analysis", "b.mp4"), ("b", "b.mp4")),
        "exports": {"formats": ["csv", "h5", "analysis"]},
    }
    (problem,) = problems_of(values)
    path = "results/exports/pose/a.analysis.h5"
    assert problem.startswith(f"`cohort`: videos a and a.analysis would both be exported to {path}")
    check_run(values | {"exports": {"formats": ["csv", "analysis"]}})


def test_sessions_are_checked_if_they_are_triangulated(tmp_path, caplog):
    (tmp_path / "a.mp4").touch()
    path = tmp_path / "cohort.tsv"
    calibration = tmp_path / "cams.toml"
    write_calibration(calibration, make_rig(2), "aniposelib")
    values = {"cohort": str(path), "results": str(tmp_path / "results")}
    asked = values | {"triangulation": {"enabled": True}}

    def write(*rows):
        lines = ["\t".join((f"v{number}", "a.mp4", *row)) for number, row in enumerate(rows)]
        path.write_text("video\tpath\tsession\tcamera\tcalibration\n" + "\n".join(lines) + "\n")

    write(("", "", ""))
    assert "no video of the sheet has a session" in problems_of(asked)[0]
    write(("s", "", "cams.toml"), ("s", "c1", "cams.toml"))
    (problem,) = problems_of(asked)
    assert problem.startswith(f"{path}: video v0: is in session s and has no camera")
    # Sheets of runs that triangulate nothing may hold anything.
    check_run(values)
    assert caplog.messages == []
    write(("s", "c0", "cams.toml"), ("s", "c7", "cams.toml"), ("t", "c1", ""), ("u", "c0", "no"))
    check_run(asked)
    unnamed = "no calibration is named: fill the cells `calibration` of its videos, or set"
    assert caplog.messages == [
        "session t: has one camera (c1), and at least 2 are needed",
        f"session t: {unnamed} `calibration.path`",
        "session u: has one camera (c0), and at least 2 are needed",
        f"session s: camera c7 is not in {calibration}, which has c0, c1: it will be left out",
        f"calibration {tmp_path / 'no'}: no such file or folder; sessions u cannot be triangulated",
    ]
    calibration.write_text("nothing")
    with caplog.at_level(logging.WARNING):
        check_run(asked)
    assert "is no calibration in a known format" in caplog.text


def test_a_session_and_a_video_would_export_to_one_file(tmp_path):
    (tmp_path / "a.mp4").touch()
    path = tmp_path / "cohort.tsv"
    path.write_text(
        "video\tpath\tsession\tcamera\ns.3d\ta.mp4\ts\tone\nother\ta.mp4\ts\ttwo\n", "utf-8"
    )
    values = {"cohort": str(path), "triangulation": {"enabled": True}}
    (problem,) = problems_of(values)
    assert "of session s and s.3d would both be exported to" in problem
