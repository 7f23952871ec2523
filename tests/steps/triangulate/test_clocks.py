"""Test clocks set by a light or a sound: what is found, in doubt, and refused."""

from dataclasses import replace
from fractions import Fraction

import av
import numpy as np
import pytest

from pipeline_lib.core.errors import SessionError, VideoError
from pipeline_lib.core.settings.cameras import SynchronisationSettings
from pipeline_lib.core.tables import PROBE_COLUMNS
from pipeline_lib.io.stage_tables import read_table, write_table
from pipeline_lib.io.video.reader import VideoReader
from pipeline_lib.io.video.signals import read_brightness, read_energy
from pipeline_lib.kernels.geometry.sessions.moments import NO_FRAME
from pipeline_lib.kernels.geometry.sessions.signals import (
    find_edges,
    match_edges,
    match_sounds,
    measure_onsets,
)
from pipeline_lib.steps.calibrate.cohort import run_calibrate
from pipeline_lib.steps.runs.stage_keys import claim_stage
from pipeline_lib.steps.triangulate.clocks import add_signal, set_clocks
from pipeline_lib.steps.triangulate.run import run_triangulate
from pipeline_lib.steps.triangulate.sources import SourceFinder
from pipeline_lib.steps.triangulate.synchronise import synchronise
from pipeline_lib.steps.triangulate.views import View
from tests.steps.triangulate.scenes import make_poses
from tests.steps.triangulate.session_cohort import SessionCohort

# When the light is switched, in s of the world's clock; it is off before.
SWITCHES = (0.31, 0.47, 0.93, 1.51, 1.62, 2.04)


def is_on(times, switches=SWITCHES):
    return np.searchsorted(switches, times) % 2 == 1


def view(camera, start, fps, frames, *, lost=(), switches=SWITCHES, noise=0.0):
    """Return a view whose first frame is at `start` of the world's clock."""
    own = np.delete(np.arange(frames), list(lost)) / fps
    poses = make_poses(np.zeros((len(own), 1, 1, 2)), fps=fps)
    stream = np.random.default_rng(len(camera))
    bright = 60 + 120 * is_on(own + start, switches) + stream.normal(0, noise, len(own))
    return View(camera, poses, timestamps=own, brightness=bright)


def write_video(path, start, frames, *, fps=25, place=(0, 0), sound=None):
    """Write a video with a light of 8 px, and sound: samples at 8 kHz, from its first frame on."""
    with av.open(path, "w") as container:
        stream = container.add_stream("libx264", rate=fps)
        stream.width, stream.height, stream.pix_fmt = 64, 48, "yuv420p"
        audio = None if sound is None else container.add_stream("pcm_s16le", rate=8000)
        for frame in range(frames):
            image = np.full((48, 64, 3), 40, np.uint8)
            if is_on(start + frame / fps):
                image[place[1] : place[1] + 8, place[0] : place[0] + 8] = 220
            picture = av.VideoFrame.from_ndarray(image)
            picture.pts, picture.time_base = frame, Fraction(1, fps)
            container.mux(stream.encode(picture))
        container.mux(stream.encode(None))
        if audio is not None:
            samples = (30000 * np.clip(sound, -1, 1)).astype(np.int16)[None]
            piece = av.AudioFrame.from_ndarray(samples, format="s16", layout="mono")
            piece.rate, piece.pts, piece.time_base = 8000, 0, Fraction(1, 8000)
            container.mux(audio.encode(piece))
            container.mux(audio.encode(None))
    return path


def make_sound(start, seconds, seed, noise=0.003):
    """Return claps and a voice that all cameras hear, from `start` of the world's clock on."""
    world = np.random.default_rng(7).normal(0, 1, 8000 * 8)
    envelope = np.full(8000 * 8, 0.004)
    for clap in (0.4, 0.75, 1.6, 2.2, 3.7, 5.1):
        there = slice(int(8000 * clap), int(8000 * clap) + 800)
        envelope[there] += 0.4 * np.exp(-np.arange(800) / 150)
    first = round(8000 * start)
    part = (world * envelope)[first : first + int(8000 * seconds)]
    return part + noise * np.random.default_rng(seed).normal(0, 1, len(part))


def test_a_light_sets_clocks_of_other_rates_late_starts_and_lost_frames():
    views = [
        view("left", 0.0, 50, 150, noise=3.0),
        view("right", 0.2, 50, 120, lost=range(30, 37), noise=3.0),
        view("top", 0.083, 30, 80, noise=3.0),
    ]
    settings = SynchronisationSettings(
        method="light", light=dict.fromkeys(("left", "right", "top"), (0, 0, 8, 8))
    )
    found = synchronise(views, settings)
    clocks = found.report["clocks"]
    assert clocks["reference"] == "left"
    assert clocks["cameras"]["right"]["later_s"] == pytest.approx(-0.2, abs=0.011)
    assert clocks["cameras"]["top"]["later_s"] == pytest.approx(-0.083, abs=0.017)
    assert clocks["cameras"]["top"]["coincide"] == clocks["cameras"]["top"]["expected"] == 6
    assert found.report["doubts"] == []
    both = (found.moments.frames[:, :2] != NO_FRAME).all(axis=1)
    frames = found.moments.frames[both]
    late = views[1].timestamps[frames[:, 1]] + 0.2 - views[0].timestamps[frames[:, 0]]
    assert both.sum() > 100
    assert np.abs(late).max() <= 0.021
    # Nothing is cut: every frame of every camera has a moment.
    assert [found.report["cameras"][one.camera]["frames_not_used"] for one in views] == [0, 0, 0]


def test_what_a_light_does_not_tell_is_refused_or_in_doubt():
    regular = tuple(np.arange(0.3, 3.0, 0.2))
    pair = [view("a", 0.0, 50, 150, switches=regular), view("b", 0.4, 50, 150, switches=regular)]
    with pytest.raises(SessionError, match="camera b and camera a: their light fits equally well"):
        set_clocks(pair, "light")
    dark = [view("a", 0.0, 50, 150), view("b", 0.0, 50, 150, switches=(9.0,), noise=2.0)]
    with pytest.raises(SessionError, match="camera b: the light in its rectangle is never"):
        set_clocks(dark, "light")
    # A drift of 2 % over 1.7 s, and a light of which some switches are hidden.
    slow = view("b", 0.0, 50, 150, switches=np.array(SWITCHES) * 1.02)
    assert any(
        "drift apart" in one for one in set_clocks([view("a", 0, 50, 150), slow], "light")[2]
    )
    hidden = view("b", 0.0, 50, 150, switches=(*SWITCHES[:2], 1.1, 1.2, *SWITCHES[4:]))
    doubts = set_clocks([view("a", 0.0, 50, 150), hidden], "light")[2]
    assert any("4 of 6 switches of the light coincide" in one for one in doubts)


def test_edges_do_not_depend_on_noise_or_how_long_the_light_is_on():
    times = np.arange(5000) / 100
    bright = np.random.default_rng(0).normal(100, 4, 5000)
    assert not len(find_edges(bright, times).time)
    bright[3000] += 90
    bright[10] = np.nan
    edges = find_edges(bright, times)
    assert np.allclose(edges.time, [29.995, 30.005])
    assert edges.on.tolist() == [True, False]
    found = match_edges(edges, find_edges(np.roll(bright, 700), times), 0.01)
    assert found.seconds == pytest.approx(7.0, abs=1e-9)
    assert found.rival == 0


def test_sounds_are_found_beside_noise_and_videos_are_read(tmp_path):
    path = write_video(tmp_path / "a.mkv", 0.0, 75, place=(40, 20), sound=make_sound(0.0, 6, 1))
    other = write_video(tmp_path / "b.mkv", 0.0, 50, place=(8, 32), sound=make_sound(0.35, 5, 2))
    sounds = [read_energy(one) for one in (path, other)]
    found = match_sounds(*(measure_onsets(energy) for energy, _ in sounds), 1000.0)
    assert found.seconds + sounds[1][1] - sounds[0][1] == pytest.approx(-0.35, abs=0.004)
    assert found.rival < 0.6
    pair = [
        replace(one, brightness=None, timestamps=None, sound=(measure_onsets(energy), start))
        for one, (energy, start) in zip(
            (view("a", 0.0, 25, 75), view("b", 0.0, 25, 50)), sounds, strict=True
        )
    ]
    moments = synchronise(pair, SynchronisationSettings(method="sound")).moments.frames
    both = moments[(moments != NO_FRAME).all(axis=1)]
    # 0.35 s are 8.75 frames.
    assert (both[:, 0] - both[:, 1] == 9).all()
    assert len(both) == 50
    # Noise of each camera alone tells nothing.
    noise = [measure_onsets(np.random.default_rng(n).normal(0, 1, 4000) ** 2) for n in (1, 2)]
    assert match_sounds(*noise, 1000.0).rival > 0.85
    bright = read_brightness(VideoReader(path), (40, 20, 8, 8))
    assert (bright > 130).tolist() == is_on(np.arange(75) / 25).tolist()
    with pytest.raises(VideoError, match=r"60, 20, 8, 8 .* is not in its image of 64 x 48 px"):
        read_brightness(VideoReader(path), (60, 20, 8, 8))
    silent = write_video(tmp_path / "c.mkv", 0.0, 5)
    with pytest.raises(VideoError, match="it has no sound"):
        read_energy(silent)


def test_sessions_of_a_run_are_synchronised_by_their_light(tmp_path):
    cohort = SessionCohort(tmp_path)
    light = dict.fromkeys(cohort.names, (16, 16, 8, 8))
    cohort.settings["triangulation"]["synchronisation"] = {"method": "light", "light": light}
    cohort.add("m1", moments=70)
    cohort.add("m2", moments=70)
    first = "m1-" + cohort.names[0]
    for row in cohort.rows:
        # One camera of the first session started 10 frames early; 50 are a second.
        start = -0.2 if row["video"] == first else 0.0
        where = (16, 16) if row["video"] != "m2-" + cohort.names[1] else (40, 30)
        write_video(tmp_path / f"{row['video']}.mkv", start, 70, fps=50, place=where)
    plan = cohort.plan()
    for shard in plan.shards:
        table = cohort.results.shard(shard).probe
        rows = [{**row, "path": tmp_path / f"{row['video']}.mkv"} for row in
                read_table(table, PROBE_COLUMNS)]  # fmt: skip
        write_table(table, PROBE_COLUMNS, rows)
    for stage in ("calibrate", "triangulate"):
        claim_stage(cohort.config, cohort.results, stage)
    run_calibrate(cohort.config, cohort.results)
    for shard in plan.shards:
        run_triangulate(cohort.config, cohort.results, shard)
    rows = cohort.read()
    assert rows["m1"]["status"] == "done"
    frames = cohort.read_poses("m1").camera_frame
    both = (frames != NO_FRAME).all(axis=1)
    assert both.sum() == 60
    assert (frames[both, 0] - frames[both, 1] == 10).all()
    told = cohort.read_poses("m1").attributes["synchronisation"]
    assert told["method"] == "light"
    # The light of this camera is elsewhere: only its session fails.
    assert rows["m2"]["status"] == "failed"
    assert f"camera {cohort.names[1]}: the light in its rectangle is never" in rows["m2"]["reason"]
    # Of a row that has poses alone there is nothing to look at.
    table = cohort.results.shard(plan.shard_of[first]).probe
    probed = [{**row, "poses": "a.h5"} for row in read_table(table, PROBE_COLUMNS)]
    write_table(table, (*PROBE_COLUMNS, "poses"), [{**probed[0], "path": "a.h5"}, *probed[1:]])
    finder = SourceFinder(cohort.config, cohort.results)
    assert finder.find_video(probed[1]["video"]) == tmp_path / f"{probed[1]['video']}.mkv"
    assert finder.find_video(probed[0]["video"]) is None
    with pytest.raises(SessionError, match=r"camera a: has poses and no video, .* tell its light"):
        add_signal(view("a", 0.0, 50, 5), None, cohort.config)


@pytest.mark.parametrize(
    ("settings", "problem"),
    [
        ({"method": "light"}, "expected one rectangle for each camera"),
        ({"light": {"a": (0, 0, 5, 5)}}, "expected one rectangle for each camera"),
        ({"method": "light", "light": {"a": (0, 0, 5, 0)}}, "greater than or equal to 1"),
        ({"method": "sound", "offset_column": "late"}, "offsets are found from the sound"),
        ({"method": "sound", "timestamps_column": "t"}, "sounds have the clock of the video"),
    ],
)
def test_settings_that_contradict_each_other_are_refused(settings, problem):
    with pytest.raises(ValueError, match=problem):
        SynchronisationSettings(**settings)


def test_lost_sound_is_silence_and_moves_nothing(tmp_path):
    path = tmp_path / "gap.mkv"
    with av.open(path, "w") as container:
        stream = container.add_stream("pcm_s16le", rate=8000)
        video = container.add_stream("libx264", rate=25)
        video.width, video.height, video.pix_fmt = 64, 48, "yuv420p"
        picture = av.VideoFrame.from_ndarray(np.zeros((48, 64, 3), np.uint8))
        picture.pts, picture.time_base = 0, Fraction(1, 25)
        container.mux(video.encode(picture))
        container.mux(video.encode(None))
        # Half a second each; the third begins within the second and is not read twice.
        for begin in (0, 12_000, 13_000, 20_000):
            samples = np.full((1, 4000), 8000, np.int16)
            piece = av.AudioFrame.from_ndarray(samples, format="s16", layout="mono")
            piece.rate, piece.pts, piece.time_base = 8000, begin, Fraction(1, 8000)
            container.mux(stream.encode(piece))
        container.mux(stream.encode(None))
    energy, start = read_energy(path)
    assert abs(start) < 0.01
    assert len(energy) == pytest.approx(3000, abs=5)
    loud = np.zeros(3000, bool)
    for begin in (0, 1500, 2500):
        loud[begin : begin + 500] = True
    own = energy[:2990] > 0.01
    assert (own != loud[:2990]).sum() <= 12


def test_slow_daylight_neither_hides_a_light_nor_looks_like_one():
    times = np.arange(20_000) / 50
    switches = np.sort(np.random.default_rng(0).uniform(5, 390, 40))

    def look(start, step):
        now, noise = times + start, np.random.default_rng(1).normal(0, 1, len(times))
        return 60 + 12 * np.sin(now / 60) + step * is_on(now, switches) + noise

    first, second = (find_edges(look(start, 40), times) for start in (0.0, 3.333))
    found = match_edges(first, second, 0.02)
    assert found.seconds == pytest.approx(-3.333, abs=0.011)
    assert found.matched >= 0.9 * len(switches)
    assert found.rival < 0.2
    # Without a light nothing is found, or nothing that fits.
    alone = [find_edges(look(start, 0), times) for start in (0.0, 3.333)]
    assert not all(len(one.time) for one in alone) or match_edges(*alone, 0.02).rival > 0.85


def test_the_shift_is_the_likeliest_one_within_a_frame():
    # The second camera starts 0.7 s later: its frames are at 0.7, 1.7 ... of the first one's clock.
    # A switch before .7 of a second (here 14 of 20) shows in frame n + 1 of the first camera and
    # frame n of the second, the others in frames of the same number. The likelihood of a shift s is
    # then (-s)^14 (1 + s)^6, with its maximum at -14/20.
    parts = np.r_[np.linspace(0.02, 0.68, 14), np.linspace(0.72, 0.98, 6)]
    switches = np.random.default_rng(0).permutation(parts) + np.cumsum(np.resize([3, 5, 4, 7], 20))
    times = np.arange(120.0)
    edges = [find_edges(100.0 * is_on(times + start, switches), times) for start in (0.0, 0.7)]
    assert edges[0].half.tolist() == [0.5] * 20
    assert match_edges(*edges, 1.0).seconds == pytest.approx(-0.7, abs=1e-3)
    # Switches that only one of them saw change little.
    spoilt = [
        find_edges(100.0 * is_on(times + start, np.sort(np.r_[switches, own])), times)
        for start, own in ((0.0, [100.2, 104.9]), (0.7, [102.4, 108.3]))
    ]
    assert match_edges(*spoilt, 1.0).seconds == pytest.approx(-0.7, abs=0.05)


def test_frames_of_another_rate_bound_the_shift():
    # Switches at 2.05 and 5.95: the slow camera sees them between 2 and 3 and between 5 and 6, one
    # of ten times the rate between 2.0 and 2.1 and between 5.9 and 6.0, if both start at 0.
    slow, fast = np.arange(9.0), np.arange(90) / 10
    edges = [find_edges(100.0 * is_on(times, [2.05, 5.95]), times) for times in (slow, fast)]
    # The short interval lies in the long one if the shift is -0.9 to 0 by the first switch, and
    # 0 to 0.9 by the second.
    assert match_edges(*edges, 0.55).seconds == pytest.approx(0.0, abs=0.051)
