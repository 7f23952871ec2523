"""Test the verb `refine`: one budget for the cohort, the right frames, each with its reason."""

import logging
import math
from datetime import UTC, datetime

import numpy as np
import pandas as pd
import pytest

from pipeline_lib.core.errors import LabelError, SheetError, StoreError
from pipeline_lib.core.layout import Results
from pipeline_lib.core.settings.reading import parse_config
from pipeline_lib.core.skeleton import Skeleton
from pipeline_lib.core.tables import (
    LABEL_COLUMNS,
    PLAN_COLUMNS,
    PROBE_COLUMNS,
    STAGE_COLUMNS,
    FrameStatus,
    TrackStatus,
)
from pipeline_lib.io.corrections.labels import (
    CorrectedKeypoint,
    FrameCorrection,
    Visibility,
    write_frame_corrections,
)
from pipeline_lib.io.images import read_image
from pipeline_lib.io.labels.table import Labels, write_labels
from pipeline_lib.io.poses.write import create_poses
from pipeline_lib.io.stage_tables import read_table, write_table
from pipeline_lib.steps.refine import scoring
from pipeline_lib.steps.refine.corrected import read_corrected_frames
from pipeline_lib.steps.refine.run import REFINEMENT_COLUMNS, run_refine
from pipeline_lib.steps.select_frames import FRAME_COLUMNS
from tests.video_corpus import encode, read_number, x264

BODYPARTS = ("nose", "neck", "spine", "tail")
EDGES = (("nose", "neck"), ("neck", "spine"), ("spine", "tail"))
FRAMES, FPS = 60, 25


@pytest.fixture(scope="module")
def video(tmp_path_factory):
    return encode(tmp_path_factory.mktemp("videos") / "mouse.mp4", options=x264("open-gop=1"))


def walk(frames, seed):
    random = np.random.default_rng(seed)
    angle = np.cumsum(random.normal(0, 0.02, frames))
    centre = np.cumsum(np.exp(1j * angle))
    body = np.array([30, 10, -10, -30]) * np.exp(1j * angle)[:, None] + centre[:, None]
    position = np.stack([body.real, body.imag], axis=-1)[:, None]
    position += random.normal(0, 0.3, position.shape)
    return position, random.uniform(0.9, 1.0, position.shape[:-1])


class Cohort:
    """A results folder after inference: videos with poses, in one shard or several."""

    def __init__(self, folder, video):
        self.folder, self.video = folder, video
        self.results = Results(folder / "results")
        self.rows, self.labels = [], []

    def add(self, name, spoil=None, *, status="done", shard="00001", frames=FRAMES, **probe):
        facts = {"path": self.video, "frames": FRAMES, "fps": FPS, **probe}
        self.rows.append((shard, name, status, facts))
        if status != "done":
            return
        position, confidence = walk(frames, seed=len(self.rows))
        frame_status = np.full(frames, FrameStatus.DECODED, np.uint8)
        if spoil is not None:
            spoil(position, confidence, frame_status)
        path = self.results.poses("pose", name)
        times = np.arange(frames) / FPS
        with create_poses(path, times, BODYPARTS, ("animal",), {"key": name}) as writer:
            writer.write(
                0, position.astype(np.float32), confidence.astype(np.float32), frame_status
            )

    def write(self):
        plan = [{"video": name, "shard": shard, "state": "active"} for shard, name, *_ in self.rows]
        write_table(self.results.plan, PLAN_COLUMNS, plan)
        for shard in {row[0] for row in self.rows}:
            files = self.results.shard(shard)
            own = [row for row in self.rows if row[0] == shard]
            probed = [{"video": name, "status": "done", **facts} for _, name, _, facts in own]
            write_table(files.probe, PROBE_COLUMNS, probed)
            ended = [{"video": name, "status": status} for _, name, status, _ in own]
            write_table(files.infer("pose"), STAGE_COLUMNS, ended)
        rows = [
            dict.fromkeys(LABEL_COLUMNS, "")
            | {"video": name, "frame": frame, "bodypart": part, "individual": "animal"}
            | {"x": 1.0, "y": 2.0, "visible": True, "image": "/i.png", "iteration": 0}
            for name, frame in self.labels or [("elsewhere", 0)]
            for part in BODYPARTS
        ]
        table = pd.DataFrame(rows, columns=list(LABEL_COLUMNS))
        skeleton = Skeleton(bodyparts=BODYPARTS, edges=EDGES)
        write_labels(self.results.labels, Labels(table, BODYPARTS, ("animal",), skeleton))

    def refine(self, corrections=None, **refinement):
        self.write()
        config = parse_config(
            {"cohort": str(self.folder / "cohort.tsv"), "refinement": {"min_gap": 0.2} | refinement}
            | {"corrections": corrections or {}}
        )
        run_refine(config, self.results)
        return read_table(self.results.refined_table("pose"), REFINEMENT_COLUMNS)


@pytest.fixture
def cohort(tmp_path, video):
    return Cohort(tmp_path, video)


def jump_at(frame, size=60):
    def spoil(position, confidence, frame_status):
        del confidence, frame_status
        position[frame, 0, 3] += size

    return spoil


def doubt_at(frame):
    def spoil(position, confidence, frame_status):
        del position, frame_status
        confidence[frame] = 0.45

    return spoil


def test_the_worst_frames_of_the_whole_cohort_are_chosen_with_their_reasons(cohort):
    cohort.add("jumps", jump_at(20))
    cohort.add("doubts", doubt_at(33), shard="00002")
    cohort.add("good")
    rows = cohort.refine(frames=2)
    assert [row["rank"] for row in rows] == ["1", "2"]
    chosen = {row["video"]: row for row in rows}
    assert set(chosen) == {"jumps", "doubts"}
    assert chosen["doubts"]["frame"] == "33"
    assert chosen["doubts"]["criterion"] == "uncertain"
    assert chosen["doubts"]["reason"].startswith("confidence is ")
    assert chosen["jumps"]["frame"] in ("20", "21")
    assert chosen["jumps"]["criterion"] in ("jump", "fitting", "skeleton", "pose")
    assert "tail" in chosen["jumps"]["reason"] or "posture" in chosen["jumps"]["reason"]
    for row in rows:
        # One frame of 180, or one of some.
        assert float(row["score"]) >= math.log10(30)
        assert row["reason"].endswith(" frames is as bad or worse")
        assert float(row["time"]) == pytest.approx(int(row["frame"]) / FPS, abs=1e-6)


def test_images_lie_as_select_frames_writes_them_and_hold_their_frames(cohort):
    cohort.add("a", jump_at(20))
    cohort.add("b", doubt_at(33))
    rows = cohort.refine(frames=6)
    assert len(rows) == 6
    folder = cohort.results.refined("pose")
    for row in rows:
        image = read_image(folder / row["image"])
        assert read_number(image) == int(row["frame"])
        assert row["image"] == f"frames/{row['video']}/frame-{int(row['frame']):07d}.png"
    images = {path.relative_to(folder).as_posix() for path in folder.glob("frames/*/*.png")}
    assert images == {row["image"] for row in rows}
    listed = [
        (path.parent.name, int(row["frame"]))
        for path in folder.glob("frames/*/frames.tsv")
        for row in read_table(path, FRAME_COLUMNS)
    ]
    assert sorted(listed) == sorted((row["video"], int(row["frame"])) for row in rows)


def test_frames_of_one_video_are_apart_in_time(cohort):
    cohort.add("a", jump_at(slice(20, 40, 2)))
    rows = cohort.refine(frames=50, min_gap=0.4)
    frames = np.sort([int(row["frame"]) for row in rows])
    assert len(frames) > 1
    assert np.diff(frames).min() >= 10


def test_labelled_frames_are_left_out(cohort):
    cohort.add("a", doubt_at(33))
    cohort.add("b", doubt_at(12))
    cohort.labels = [("a", 33)]
    rows = cohort.refine(frames=20)
    assert ("a", "33") not in {(row["video"], row["frame"]) for row in rows}
    assert ("b", "12") in {(row["video"], row["frame"]) for row in rows[:2]}


def correct(folder, video, frame, *, author="Ann", image="", iteration=1):
    """Store a correction as the page does."""
    point = CorrectedKeypoint("animal", "nose", 3.0, 4.0, Visibility.VISIBLE)
    time = datetime(2026, 3, 1, 12, tzinfo=UTC)
    one = FrameCorrection(video, frame, image, author, time, iteration, (point,))
    write_frame_corrections(folder / "corrections", [one])


def test_frames_that_anybody_has_corrected_are_not_chosen_again(cohort, tmp_path, caplog):
    corrections = {"path": str(tmp_path / "corrections")}
    cohort.add("a", jump_at(10))
    cohort.add("b", jump_at(20))
    chosen = cohort.refine(frames=2, criteria=["jump"], corrections=corrections)
    (worst,) = (int(row["frame"]) for row in chosen if row["video"] == "a")
    # Another author, and an image whose source knows the video by the name of its file.
    correct(tmp_path, "a", worst, author="Ben")
    correct(tmp_path, cohort.video.stem, 30, image="labelled/i.png")
    again = cohort.refine(frames=120, min_gap=0.0, corrections=corrections)
    places = {(row["video"], int(row["frame"])) for row in again}
    assert ("a", worst) not in places
    assert ("b", worst) in places
    assert not {("a", 30), ("b", 30)} & places
    listed = tmp_path / "list.tsv"
    listed.write_text(f"video\tframe\na\t{worst}\n")
    cohort.refine(frames=1, frame_list=str(listed), corrections=corrections)
    assert "1 frames are labelled or corrected already" in caplog.text
    # A budget of what is left, when nothing is left.
    for frame in range(FRAMES):
        correct(tmp_path, cohort.video.stem, frame)
    assert cohort.refine(frames=5, corrections=corrections) == []
    assert "no more candidates" in caplog.text


def test_label_errors_that_were_corrected_since_are_not_listed(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for number, (video, frame, image) in enumerate((("m1", 3, ""), ("x", -1, "images/b.png"))):
        correct(tmp_path, video, frame, image=image, iteration=1 + number)
    correct(tmp_path, "m1", 4, iteration=0)
    found = {
        iteration: read_corrected_frames(
            parse_config({"cohort": "c.tsv", "training": {"iteration": iteration}})
        )
        for iteration in (0, 1, 2)
    }
    frames = [("a.png", ("m1",), 3), ("c.png", ("m2", "m1"), 3), ("images/b.png", ("x",), -1)]
    others = [("a.png", ("m1",), 4), ("a.png", ("m2",), 3), ("c.png", ("x",), -1)]
    assert [found[0].is_outdated(*one) for one in frames + others] == [True] * 3 + [False] * 3
    # What the import has taken is no longer newer than the labels.
    assert [found[1].is_outdated(*one) for one in frames] == [False, False, True]
    assert not any(found[2].is_outdated(*one) for one in frames)


def test_labels_may_know_a_video_by_the_name_of_its_file(cohort):
    cohort.add("a", doubt_at(33))
    cohort.labels = [("mouse", 33)]
    assert "33" not in {row["frame"] for row in cohort.refine(frames=20)}


def test_the_choice_is_repeatable_and_no_other_for_blocks_or_processes(cohort, monkeypatch):
    for number in range(3):
        cohort.add(f"v{number}", jump_at(10 + 7 * number), frames=700 + number)
    first = cohort.refine(frames=5)
    assert cohort.refine(frames=5) == first
    monkeypatch.setattr(scoring, "_BLOCK_FRAMES", scoring.SEGMENT)
    assert cohort.refine(frames=5) == first
    monkeypatch.setattr(scoring, "_FEW_FRAMES", 0)
    monkeypatch.setattr(scoring, "count_cores", lambda: 2)
    assert cohort.refine(frames=5) == first


def test_a_budget_larger_than_the_cohort_chooses_what_there_is_and_says_so(cohort, caplog):
    cohort.add("a", jump_at(20))
    rows = cohort.refine(frames=5000, min_gap=1)
    assert 1 <= len(rows) <= 3
    assert "not `refinement.frames` (5000)" in caplog.text


def test_a_video_without_poses_or_with_damaged_ones_does_not_keep_the_others(cohort, caplog):
    cohort.add("a", jump_at(20))
    cohort.add("failed", status="failed")
    cohort.add("damaged")
    for path in cohort.results.poses("pose", "damaged").glob("position/*"):
        path.write_bytes(b"x")
    rows = cohort.refine(frames=3)
    assert {row["video"] for row in rows} == {"a"}
    assert "1 of 3 videos have no poses" in caplog.text
    assert "damaged is left out: " in caplog.text


def test_a_video_whose_poses_are_all_missing_is_shown(cohort, caplog):
    """Nothing was found in it: that is what its reason says, and it takes one frame per gap."""

    def lose(position, confidence, frame_status):
        del frame_status
        position[:], confidence[:] = np.nan, 0

    cohort.add("lost", lose)
    for number in range(9):
        cohort.add(f"good{number}")
    rows = cohort.refine(frames=3, criteria=["uncertain"])
    assert rows[0]["video"] == "lost"
    assert rows[0]["reason"].endswith("; 1 in 10 frames is as bad or worse")
    del caplog


def test_a_video_of_which_no_frame_was_decoded_has_no_candidate(cohort, caplog):
    def lose(position, confidence, frame_status):
        position[:], confidence[:] = np.nan, np.nan
        frame_status[:] = FrameStatus.UNDECODABLE

    cohort.add("lost", lose)
    cohort.add("good", jump_at(20))
    rows = cohort.refine(frames=3)
    assert {row["video"] for row in rows} == {"good"}
    assert "lost has no candidate: no frame with a pose to judge" in caplog.text


@pytest.mark.parametrize("failed", [True, False])
def test_a_cohort_without_any_pose_gives_an_empty_table(cohort, caplog, failed):
    def lose(position, confidence, frame_status):
        position[:], confidence[:] = np.nan, np.nan
        frame_status[:] = FrameStatus.UNDECODABLE

    cohort.add("a", lose, status="failed" if failed else "done")
    assert cohort.refine() == []
    assert "0 frames chosen, not `refinement.frames` (200)" in caplog.text


def test_where_every_frame_is_bad_some_are_chosen_and_the_log_says_what_to_do(cohort, caplog):
    def spoil(position, confidence, frame_status):
        del frame_status
        random = np.random.default_rng(0)
        position += random.normal(0, 100, position.shape)
        confidence[:] = random.uniform(0.0, 0.1, confidence.shape)

    for name in "ab":
        cohort.add(name, spoil)
    rows = cohort.refine(frames=4)
    assert len(rows) == 4
    assert "100 % of the keypoints have confidences below `refinement.pcutoff` (0.4)" in caplog.text


def test_weak_keypoints_of_several_animals_do_not_lower_the_cutoff(cohort):
    def weaken(position, confidence, frame_status):
        del position, frame_status
        confidence[:] = 0.9
        confidence.reshape(-1)[::3] = 0.05

    cohort.add("a", weaken)
    paths = [cohort.results.poses("pose", "a")]
    found = [
        scoring.fit_criteria(("uncertain",), paths, (), pcutoff=0.4, seed=0, weak=weak).pcutoff
        for weak in (0.0, 0.1)
    ]
    assert found == [pytest.approx(0.05), 0.4]


def test_where_no_animal_was_found_in_any_frame_some_are_chosen_all_the_same(cohort, caplog):
    def lose(position, confidence, frame_status):
        del frame_status
        position[:], confidence[:] = np.nan, 0

    for name in "ab":
        cohort.add(name, lose)
    rows = cohort.refine(frames=4)
    # Every frame is equally bad, so that its look alone decides which are chosen.
    assert [row["criterion"] for row in rows] == ["uncertain"] * 4
    assert len({(row["video"], row["frame"]) for row in rows}) == 4
    assert "the network found no keypoint in the frames that were sampled" in caplog.text


def test_frames_that_the_user_names_come_first(cohort, tmp_path):
    cohort.add("a", jump_at(20))
    cohort.add("b")
    named = tmp_path / "named.tsv"
    named.write_text("video\tframe\nb\t7\na\t50\nb\t7\n")
    rows = cohort.refine(frames=3, frame_list=str(named))
    assert [(row["video"], row["frame"]) for row in rows[:2]] == [("b", "7"), ("a", "50")]
    assert rows[0]["criterion"] == "list"
    assert rows[0]["reason"] == "named in `refinement.frame_list`"
    assert rows[0]["score"] == ""
    assert rows[2]["frame"] in ("20", "21")


def test_more_named_frames_than_the_budget_are_cut(cohort, tmp_path, caplog):
    cohort.add("a", jump_at(20))
    cohort.labels = [("a", 1)]
    named = tmp_path / "named.tsv"
    named.write_text("video\tframe\n" + "".join(f"a\t{frame}\n" for frame in range(5)))
    rows = cohort.refine(frames=2, frame_list=str(named))
    assert [row["frame"] for row in rows] == ["0", "2"]
    assert "4 frames, but `refinement.frames` is 2" in caplog.text
    assert "1 frames are labelled or corrected already" in caplog.text


def test_a_list_of_frames_that_are_not_there_is_refused_line_by_line(cohort, tmp_path):
    cohort.add("a")
    named = tmp_path / "named.tsv"
    named.write_text("video\tframe\na\t59\na\t60\nz\t1\na\t-1\na\t1.5\na\n")
    with pytest.raises(LabelError) as caught:
        cohort.refine(frame_list=str(named))
    assert caught.value.problems == (
        "line 3: video a has the frames 0 to 59, found 60",
        "line 4: the cohort has no video 'z'",
        "line 5: expected a frame counted from 0, found '-1'",
        "line 6: expected a frame counted from 0, found '1.5'",
        "line 7: expected a frame counted from 0, found ''",
    )


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        (b"video,frame\na,1\n", "missing column `video` (tab-separated; found: video,frame)"),
        (b"", "missing column `video` (tab-separated; found: nothing)"),
        ("video\tframe\n\u00e4\t1\n".encode("latin-1"), "UTF-8"),
        (b"video\tframe\na\t" + b"9" * 5000, "expected a frame counted from 0"),
    ],
)
def test_what_is_no_list_of_frames_is_refused(cohort, tmp_path, content, problem):
    cohort.add("a")
    named = tmp_path / "named.tsv"
    named.write_bytes(content)
    with pytest.raises(LabelError) as caught:
        cohort.refine(frame_list=str(named))
    assert problem in caught.value.problems[0]


def test_a_list_of_a_spreadsheet_is_read(cohort, tmp_path):
    cohort.add("a")
    named = tmp_path / "named.tsv"
    named.write_bytes(b"\xef\xbb\xbfvideo\tframe\tnote\r\na\t7\tx\r\n")
    assert cohort.refine(frames=1, frame_list=str(named))[0]["frame"] == "7"


def test_a_missing_list_is_a_message(cohort, tmp_path):
    cohort.add("a")
    with pytest.raises(LabelError, match="No such file"):
        cohort.refine(frame_list=str(tmp_path / "no.tsv"))


def refine_tracks(cohort, weak=None, **refinement):
    """Choose frames of a video of two tracks, of which one is in doubt at frame 41."""
    cohort.add("a")
    cohort.write()
    position, confidence = (np.repeat(values, 2, axis=1) for values in walk(FRAMES, 5))
    if weak is not None:
        confidence.reshape(-1)[::3] = weak
    tracks = np.full((FRAMES, 2), TrackStatus.FOLLOWED, np.uint8)
    tracks[41, 1] = TrackStatus.UNCERTAIN
    path = cohort.results.tracked("pose", "a")
    with create_poses(
        path, np.arange(FRAMES) / FPS, BODYPARTS, ("m1", "m2"), {"key": "k"}, tracked=True
    ) as writer:
        decoded = np.zeros(FRAMES, np.uint8)
        writer.write(0, position.astype(np.float32), confidence.astype(np.float32), decoded, tracks)
    rows = [{"video": "a", "status": "done"}]
    write_table(cohort.results.shard("00001").correct("pose"), STAGE_COLUMNS, rows)
    given = {"cohort": "c.tsv", "individuals": {"max": 2}, "refinement": refinement}
    run_refine(parse_config(given), cohort.results)
    return read_table(cohort.results.refined_table("pose"), REFINEMENT_COLUMNS)


@pytest.mark.parametrize(("weak", "lowered"), [(0.05, False), (0.15, True)])
def test_weak_keypoints_of_tracks_do_not_lower_the_cutoff(cohort, caplog, weak, lowered):
    """Below `assembly.pcutoff` (0.1) they are weak."""
    refine_tracks(cohort, weak, frames=1)
    assert ("which is lowered to" in caplog.text) is lowered


def test_tracked_poses_are_judged_and_doubtful_tracks_are_found(cohort):
    (row,) = refine_tracks(cohort, frames=1, criteria=["tracks"])
    assert (row["frame"], row["criterion"]) == ("41", "tracks")
    assert row["reason"].startswith("the track of m2 is in doubt here; 1 in 60 frames")


def test_poses_of_other_bodyparts_do_not_mix(cohort, caplog):
    """A pose file of an older network is told from the others."""
    for name in ("a", "b"):
        cohort.add(name)
    path = cohort.results.poses("pose", "b")
    position, confidence = walk(FRAMES, 5)
    with create_poses(path, np.arange(FRAMES) / FPS, BODYPARTS[:3], ("animal",), {}) as writer:
        writer.write(
            0,
            position[:, :, :3].astype(np.float32),
            confidence[:, :, :3].astype(np.float32),
            np.zeros(FRAMES, np.uint8),
        )
    rows = cohort.refine(frames=3)
    assert len({row["video"] for row in rows}) == 1
    assert "expected the bodyparts" in caplog.text


def test_without_criteria_only_the_list_counts(cohort, tmp_path, caplog):
    cohort.add("a", jump_at(20))
    assert cohort.refine(criteria=[]) == []
    named = tmp_path / "named.tsv"
    named.write_text("video\tframe\na\t5\n")
    rows = cohort.refine(criteria=[], frame_list=str(named))
    assert [row["frame"] for row in rows] == ["5"]
    assert "not `refinement.frames` (200)" in caplog.text


def test_a_gap_longer_than_videos_leaves_one_frame_of_each(cohort):
    for name in "abc":
        cohort.add(name, jump_at(20))
    rows = cohort.refine(frames=50, min_gap=1e9)
    assert sorted(row["video"] for row in rows) == ["a", "b", "c"]


@pytest.mark.parametrize("frames", [1, 2, 33])
def test_videos_of_few_frames(cohort, frames):
    for name in "ab":
        cohort.add(name, frames=frames)
    rows = cohort.refine(frames=50, min_gap=0)
    assert len(rows) <= 2 * frames
    assert all(int(row["frame"]) < frames for row in rows)


def test_groups_of_the_sheet_share_the_budget(cohort):
    sheet = ["video\tpath\tlight"]
    for number in range(8):
        # The only two videos at night are the best ones.
        night = number >= 6
        cohort.add(
            f"v{number}",
            doubt_at(30 - 20 * (number % 2)) if night else jump_at(slice(10, 50, 8), 90),
        )
        sheet.append(f"v{number}\tmouse.mp4\t{'night' if night else 'day'}")
    (cohort.folder / "cohort.tsv").write_text("\n".join(sheet) + "\n")
    rows = cohort.refine(frames=4, group="light")
    assert sum(row["video"] in ("v6", "v7") for row in rows) == 2
    with pytest.raises(SheetError, match="no column 'ligth'; there are session, camera, light"):
        cohort.refine(frames=4, group="ligth")


def test_frames_of_a_missing_video_are_replaced_by_those_of_others(cohort, caplog):
    cohort.add("gone", jump_at(20), path=cohort.folder / "gone.mp4")
    cohort.add("there", jump_at(30))
    rows = cohort.refine(frames=2)
    assert {row["video"] for row in rows} == {"there"}
    assert "gone.mp4: the frames that are left of it are left out: no such file" in caplog.text
    assert not (cohort.results.refined_frames("pose") / "gone").exists()


def test_files_of_the_user_are_not_replaced(cohort):
    cohort.add("a", jump_at(20))
    rows = cohort.refine(frames=1)
    labels = cohort.results.refined("pose") / rows[0]["image"]
    labels.with_name("CollectedData_me.csv").write_text("mine")
    with pytest.raises(StoreError, match=r"holds files of yours .*CollectedData_me\.csv"):
        cohort.refine(frames=2)
    assert labels.with_name("CollectedData_me.csv").read_text() == "mine"


def test_a_choice_replaces_the_one_before(cohort, caplog):
    caplog.set_level(logging.INFO)
    cohort.add("a", jump_at(20))
    cohort.add("b", jump_at(30))
    assert {row["video"] for row in cohort.refine(frames=2)} == {"a", "b"}
    rows = cohort.refine(frames=1)
    images = list(cohort.results.refined("pose").glob("frames/*/*.png"))
    assert len(images) == len(rows) == 1
    assert len(list(cohort.results.refined_frames("pose").iterdir())) == 1


def test_without_inference_there_is_a_message(cohort):
    cohort.add("a")
    cohort.write()
    cohort.results.shard("00001").infer("pose").unlink()
    config = parse_config({"cohort": "cohort.tsv"})
    with pytest.raises(StoreError, match="the step that writes it has not run"):
        run_refine(config, cohort.results)
