"""Test the criteria: each finds what it is for, in the frame where it is, and nothing else."""

from importlib import import_module
from pathlib import Path

import numpy as np
import pytest

from pipeline_lib.core.formats.criteria import CRITERIA
from pipeline_lib.kernels.refinement import fitting
from pipeline_lib.kernels.refinement.blocks import CONTEXT, PoseNames, make_block

FRAMES, KEYPOINTS = 600, 5
BODYPARTS = ("nose", "neck", "spine", "hip", "tail")
NAMES = PoseNames(BODYPARTS, ("animal",), ((0, 1), (1, 2), (2, 3), (3, 4)))
SPOILT = 300
OF_POSES = [name for name, one in CRITERIA.items() if one.judges == "poses"]


def walk(individuals=1, seed=0):
    """Return poses of animals that walk and turn, position and confidence."""
    random = np.random.default_rng(seed)
    angle = np.cumsum(random.normal(0, 0.02, (FRAMES, individuals)), axis=0)
    centre = np.cumsum(np.exp(1j * angle), axis=0) + 100 * np.arange(individuals)
    body = np.array([40, 20, 0, -20, -40]) * np.exp(1j * angle)[..., None] + centre[..., None]
    position = np.stack([body.real, body.imag], axis=-1) + random.normal(0, 0.5, (*body.shape, 2))
    confidence = random.uniform(0.9, 1.0, position.shape[:-1])
    return position.astype(np.float32), confidence.astype(np.float32)


def block_of(position, confidence, *, usable=None, doubtful=None, pcutoff=0.4):
    usable = np.ones(len(position), bool) if usable is None else usable
    return make_block(position, confidence, usable, doubtful, pcutoff=pcutoff, missing=CONTEXT)


def score(name, block, names=NAMES, sample=None):
    module = import_module(CRITERIA[name].module)
    usual = module.fit([sample or block_of(*walk(len(names.individuals), seed=1))], names)
    scored = module.score(block, usual)
    assert scored.score.dtype == np.float32
    assert scored.culprit.shape == scored.score.shape == (len(block.position) - CONTEXT,)
    worst = int(np.nan_to_num(scored.score, nan=-1).argmax())
    value, culprit = float(scored.score[worst]), int(scored.culprit[worst])
    return scored.score, worst, module.explain(value, culprit, names)


def test_jump_names_the_keypoint_that_left():
    position, confidence = walk()
    position[SPOILT, 0, 3] += 80
    found, _, reason = score("jump", block_of(position, confidence))
    assert np.isnan(found[0])
    # There and back again.
    assert set(np.argsort(found[1:])[-2:] + 1) == {SPOILT, SPOILT + 1}
    assert reason.startswith("hip moved by ")
    others = np.delete(found[1:], [SPOILT - 1, SPOILT])
    assert others.max() < found[SPOILT] / 10


def test_a_jump_is_measured_in_robust_standard_deviations():
    """Expect a median of 2 and a median deviation of 1 for displacements of 1, 2 and 3 px."""
    position = np.zeros((FRAMES, 1, 1, 2), np.float32)
    position[:, 0, 0, 0] = np.cumsum(np.tile([1.0, 2.0, 3.0], FRAMES // 3))
    names = PoseNames(("nose",), ("animal",), ())
    sample = block_of(position, np.ones((FRAMES, 1, 1), np.float32))
    position = position.copy()
    position[SPOILT:] += [20.0, 0.0]
    block = block_of(position, np.ones((FRAMES, 1, 1), np.float32))
    found, worst, _ = score("jump", block, names, sample)
    assert worst == SPOILT
    assert found[SPOILT] == pytest.approx((21 - 2) / 1.4826, rel=1e-3)


def test_a_keypoint_that_is_not_confident_does_not_jump():
    position, confidence = walk()
    position[SPOILT, 0, 3] += 80
    confidence[SPOILT, 0, 3] = 0.1
    found, _, _ = score("jump", block_of(position, confidence))
    assert np.nanmax(found) < 10


def test_uncertain_names_the_least_confident_keypoint():
    position, confidence = walk()
    confidence[SPOILT] = 0.5
    confidence[SPOILT, 0, 4] = 0.2
    found, worst, reason = score("uncertain", block_of(position, confidence))
    assert worst == SPOILT
    assert reason.endswith("lowest at tail")
    assert np.delete(found, SPOILT).max() < found[SPOILT] / 4


def test_a_keypoint_that_is_always_doubtful_is_nothing_new():
    position, confidence = walk()
    confidence[..., 4] = 0.2
    block = block_of(position, confidence)
    found, _, _ = score("uncertain", block, sample=block)
    assert found.max() < 2


def test_a_frame_without_any_animal_is_uncertain_and_one_that_lacks_an_individual_is_not():
    names = PoseNames(BODYPARTS, ("a", "b"), ())
    position, confidence = walk(2)
    position[100, 1], confidence[100, 1] = np.nan, 0
    position[SPOILT], confidence[SPOILT] = np.nan, 0
    found, worst, reason = score("uncertain", block_of(position, confidence), names)
    assert worst == SPOILT
    assert " of a" in reason
    assert found[100] < 2


def test_unique_bodyparts_do_not_lack_the_keypoints_of_animals():
    names = PoseNames(BODYPARTS, ("animal", "single"), ())
    position, confidence = walk(2)
    position[:, 0, 4] = position[:, 1, :4] = np.nan
    confidence[:, 0, 4] = confidence[:, 1, :4] = 0
    block = block_of(position, confidence)
    found, _, _ = score("uncertain", block, names, sample=block)
    assert found.max() < 2


def test_fitting_finds_the_keypoint_that_leaves_its_path():
    position, confidence = walk()
    position[SPOILT, 0, 1] += 15
    found, worst, reason = score("fitting", block_of(position, confidence))
    assert worst == SPOILT
    assert reason.startswith("neck is ")
    # The keypoint is where it should be in the next frame.
    assert np.delete(found, SPOILT).max() < found[SPOILT] / 2


def test_fitting_follows_a_keypoint_that_stays_elsewhere():
    position, confidence = walk()
    position[SPOILT:, 0, 1] += 40
    found, worst, _ = score("fitting", block_of(position, confidence))
    assert worst == SPOILT
    assert found[SPOILT + 20 :].max() < found[SPOILT] / 4


def test_a_fast_animal_jumps_but_keeps_its_path():
    """Constant velocity is no surprise to the filter, however fast."""
    line = np.zeros((FRAMES, 1, 1, 2), np.float32)
    line[:, 0, 0, 0] = 50.0 * np.arange(FRAMES)
    innovation = fitting.measure_innovation(np.concatenate([line[:CONTEXT] * np.nan, line]))
    assert innovation.shape == (FRAMES, 1, 1)
    assert innovation[5:].max() < 0.1


def test_the_filter_is_that_of_a_loop_over_frames():
    """Compare with the textbook's matrices, gaps included."""
    random = np.random.default_rng(3)
    path = np.cumsum(random.normal(0, 2, (100, 2)), axis=0)
    path[[40, 41, 70]] = np.nan
    padded = np.concatenate([np.full((CONTEXT, 2), np.nan), path]).astype(np.float32)
    found = fitting.measure_innovation(padded[:, None, None, :])[:, 0, 0]
    state = np.zeros((2, 2))
    covariance = np.diag([1e8, 1e4])
    step, noise = np.array([[1, 1], [0, 1]]), np.array([[0.25, 0.5], [0.5, 1]])
    for _ in range(CONTEXT):
        covariance = step @ covariance @ step.T + noise
    for frame, measured in enumerate(path):
        state, covariance = step @ state, step @ covariance @ step.T + noise
        total = covariance[0, 0] + 1
        if np.isnan(measured[0]):
            assert np.isnan(found[frame])
            continue
        difference = measured - state[0]
        assert found[frame] == pytest.approx(np.linalg.norm(difference) / total**0.5, rel=1e-4)
        gain = covariance[:, :1] / total
        state = state + gain * difference
        covariance = covariance - gain @ covariance[:1]


def test_the_filter_does_not_depend_on_how_a_video_is_cut():
    position = np.concatenate([np.full((CONTEXT, 1, KEYPOINTS, 2), np.nan), walk()[0]])
    whole = fitting.measure_innovation(position.astype(np.float32))
    later = fitting.measure_innovation(position[256:].astype(np.float32))
    np.testing.assert_array_equal(whole[256:], later)


def test_skeleton_names_the_bone():
    position, confidence = walk()
    # Slowly, so that nothing jumps.
    position[200:400, 0, 4, 0] += 30 * np.hanning(200)
    position[200:400, 0, 4, 1] += 30 * np.hanning(200)
    found, worst, reason = score("skeleton", block_of(position, confidence))
    assert 200 < worst < 400
    assert reason.startswith("the bone hip-tail has a length ")
    assert found[:200].max() < 6 < found[worst]


def test_without_edges_no_bone_is_implausible():
    module, names = import_module(CRITERIA["skeleton"].module), NAMES._replace(edges=())
    block = block_of(*walk())
    assert np.isnan(module.score(block, module.fit([block], names)).score).all()


@pytest.mark.parametrize("angle", [0.0, 1.3, np.pi])
def test_a_pose_is_unusual_wherever_the_animal_looks(angle):
    position, confidence = walk()
    plane = position[..., 0] + 1j * position[..., 1]
    plane = plane * np.exp(1j * angle) + 500
    # Nose and tail exchanged: every bone but two has its usual length.
    plane[SPOILT, 0, [0, 4]] = plane[SPOILT, 0, [4, 0]]
    position = np.stack([plane.real, plane.imag], axis=-1).astype(np.float32)
    found, worst, reason = score("pose", block_of(position, confidence))
    assert worst == SPOILT
    assert "unusual posture (Mahalanobis distance" in reason
    assert np.delete(found, SPOILT).max() < found[SPOILT] / 5


def test_a_sample_with_many_bad_poses_still_tells_what_is_usual():
    position, confidence = walk(seed=4)
    position[::5] += np.random.default_rng(0).normal(0, 60, position[::5].shape)
    sample = block_of(position, confidence)
    found, _, _ = score("pose", sample, sample=sample)
    bad = np.zeros(FRAMES, bool)
    bad[::5] = True
    assert found[bad].min() > found[~bad].max()


def test_a_pose_with_too_few_keypoints_is_not_judged():
    position, confidence = walk()
    confidence[SPOILT, 0, :3] = 0.1
    found, _, _ = score("pose", block_of(position, confidence))
    assert np.isnan(found[SPOILT])
    # One that misses a single keypoint is judged by the others.
    confidence[SPOILT] = 1
    confidence[SPOILT, 0, 0] = 0.1
    found, _, _ = score("pose", block_of(position, confidence))
    assert found[SPOILT] < 5


def test_tracks_counts_the_individuals_in_doubt():
    names = PoseNames(BODYPARTS, ("a", "b", "c"), ())
    doubtful = np.zeros((FRAMES, 3), bool)
    doubtful[SPOILT, 1:] = True
    doubtful[100, 2] = True
    found, worst, reason = score("tracks", block_of(*walk(3), doubtful=doubtful), names)
    assert (worst, found[SPOILT], found[100], found.sum()) == (SPOILT, 2, 1, 3)
    assert reason == "the track of b and 1 more is in doubt here"


def test_poses_that_were_not_tracked_have_no_doubts():
    module = import_module(CRITERIA["tracks"].module)
    assert np.isnan(module.score(block_of(*walk()), None).score).all()


def test_spread_names_the_keypoint_about_which_members_disagree():
    position, confidence = walk(2)
    spread = np.random.default_rng(2).uniform(0.5, 1.5, confidence.shape).astype(np.float32)
    names = PoseNames(BODYPARTS, ("a", "b"), ())
    usable = np.ones(FRAMES, bool)

    def block(values):
        return make_block(
            position, confidence, usable, None, pcutoff=0.4, missing=CONTEXT, spread=values
        )

    spoilt = spread.copy()
    spoilt[SPOILT, 1, 3] = 300.0
    # Of one member alone nothing is known.
    spoilt[100, 0] = np.nan
    found, worst, reason = score("spread", block(spoilt), names, block(spread))
    assert worst == SPOILT
    assert found[SPOILT] > 2 * np.delete(found, SPOILT).max()
    assert np.isfinite(found).all()
    assert reason.endswith("most about hip of b")
    assert np.isnan(score("spread", block(None), names, block(spread))[0]).all()


@pytest.mark.parametrize("name", OF_POSES)
def test_frames_that_were_not_decoded_have_no_score(name):
    position, confidence = walk()
    usable = np.ones(FRAMES, bool)
    usable[SPOILT] = False
    position[SPOILT] += 100
    doubtful = np.ones((FRAMES, 1), bool)
    found, _, _ = score(name, block_of(position, confidence, usable=usable, doubtful=doubtful))
    assert np.isnan(found[SPOILT])


@pytest.mark.parametrize("name", OF_POSES)
def test_a_sample_without_any_pose_gives_no_scores_and_no_error(name):
    nothing = np.full((FRAMES, 1, KEYPOINTS, 2), np.nan, np.float32)
    unknown = np.full((FRAMES, 1, KEYPOINTS), np.nan, np.float32)
    sample = block_of(nothing, unknown)
    found, _, _ = score(name, block_of(*walk()), sample=sample)
    # Where no animal was found anywhere, all keypoints lack confidence.
    assert (np.isfinite if name == "uncertain" else np.isnan)(found).all()


@pytest.mark.parametrize("name", CRITERIA)
def test_a_criterion_has_the_functions_that_the_registry_promises(name):
    module = import_module(CRITERIA[name].module)
    assert all(callable(getattr(module, function)) for function in ("fit", "score", "explain"))


@pytest.mark.parametrize("name", OF_POSES)
@pytest.mark.parametrize("keypoints", [1, 2])
def test_few_keypoints_are_no_error(name, keypoints):
    position, confidence = walk()
    block = block_of(position[:, :, :keypoints], confidence[:, :, :keypoints])
    names = PoseNames(BODYPARTS[:keypoints], ("animal",), ((0, 1),) if keypoints > 1 else ())
    module = import_module(CRITERIA[name].module)
    found = module.score(block, module.fit([block], names)).score
    assert found.shape == (FRAMES,)
    if name == "pose":
        assert np.isnan(found).all()


def test_every_module_of_a_criterion_is_in_the_registry():
    folder = Path(fitting.__file__).parent
    others = {"__init__", "blocks", "choice", "label_errors"}
    assert {path.stem for path in folder.glob("*.py")} - others == set(CRITERIA)
