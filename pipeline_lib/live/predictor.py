"""Predict the pose in each frame of a live camera."""

import time as clock
from dataclasses import dataclass
from os import PathLike
from typing import TYPE_CHECKING, Literal

import numpy as np
from numpy.typing import NDArray

from pipeline_lib.kernels.forward import Motion, advance, choose, observe
from pipeline_lib.live.cropping import Cropper, CroppingRules, Window
from pipeline_lib.live.networks import LiveNetworks, load_networks, settle_precision
from pipeline_lib.live.slots import Slots
from pipeline_lib.models.inference.predictor import RuntimeOptions, choose_runtime
from pipeline_lib.models.precision import StatedPrecision
from pipeline_lib.models.stopwatch import watch

if TYPE_CHECKING:
    from collections.abc import Callable

# Beyond this many seconds without a point nothing is expected of it.
_FORGET = 0.5
_SPEED = 500.0


@dataclass(frozen=True)
class LiveTimings:
    """Hold how long the parts of a prediction took, in seconds.

    Attributes
    ----------
    preprocess
        Cutting, shrinking and padding.
    network
        All passes of all networks.
    decode
        From score maps to points; on a GPU this includes waiting for the network.
    ahead
        Filter, slots and prediction ahead.
    total
        Everything.
    """

    preprocess: float
    network: float
    decode: float
    ahead: float
    total: float


@dataclass(frozen=True, eq=False)
class LivePoses:
    """Hold what was predicted of a frame.

    Attributes
    ----------
    position
        Shape (individual, keypoint, 2), float32, x and y in px of the whole frame, (0, 0) being
        the centre of the top-left pixel; NaN where a keypoint was not found.
    confidence
        Shape (individual, keypoint), float32, 0..1; 0 where it was not found.
    ahead
        Shape of `position`: where the points will be `LivePredictor.ahead_ms` after the frame was
        captured; `position` itself if that is 0. NaN for points that were never certain.
    velocity
        Shape of `position`, px/s; NaN for points that were never certain.
    window
        x, y, width and height of the window that was seen, px; None: the whole frame.
    lost
        Whether the window lost the animal.
    timings
        How long it took.
    """

    position: NDArray[np.float32]
    confidence: NDArray[np.float32]
    ahead: NDArray[np.float32]
    velocity: NDArray[np.float32]
    window: Window | None
    lost: bool
    timings: LiveTimings


class LivePredictor:
    """Predict poses of frames that come one at a time, with the network of a bundle or a run.

    Points are those of the offline run: without cropping, what `infer` predicts of the frame (by
    the locator too, if the network has one). With cropping, what the network predicts of the
    window, which is reported with the points.

    Parameters
    ----------
    source
        A bundle (path, ``https://`` or ``hf://``), or the results folder of a run.
    model
        Name of the network in a results folder; None: that of the last run.
    runtime
        ``openvino``, ``onnx`` or ``torch``; ``auto``: PyTorch on a GPU, else what is installed.
    precision
        ``float32``, ``bfloat16`` (OpenVINO, PyTorch) or ``float16`` (PyTorch on a GPU). ``auto``
        is what was chosen for the network of a results folder, or where the bundle was written,
        if this machine computes in it; ``int8`` needs the network in 8-bit integers there.
    threads
        Cores that compute a frame; None: all that this process may use.
    cropping
        Side in network px of the window around the animals, a multiple of 32; 0: whole frames.
    pcutoff
        Confidence from which a point is used to lay windows and to estimate motion.
    min_found
        Smallest share of the bodyparts that must be found for a window.
    look_again
        Whether a frame whose window lost the animal is seen whole at once, which takes longer;
        else the next frame is.
    ahead_ms
        Milliseconds after the capture of the frame for which `LivePoses.ahead` is predicted.
    noise
        px, standard deviation of points about their true places, for the prediction ahead.
    acceleration
        px/s^2, standard deviation of the acceleration of points, for the prediction ahead.

    Attributes
    ----------
    name, source
        Name of the network, and where it comes from.
    keypoints, individuals
        Names along the axes of what is predicted.
    edges
        Pairs of keypoints of the skeleton.
    ahead_ms
        As given; may be changed at any time.

    Raises
    ------
    ConfigError
        If the runtime lacks the precision.
    ModelError
        If there is no such network, it cannot be loaded, or cropping is asked of a network that
        sees windows already.
    StoreError
        If the folder is no results folder.
    ValueError
        If a number is out of its range.

    Examples
    --------
    >>> predictor = pipeline_lib.LivePredictor("mouse.cohortpose", cropping=256)  # doctest: +SKIP
    >>> predictor.warm_up((480, 640))  # doctest: +SKIP
    >>> found = predictor.predict(frame)  # doctest: +SKIP
    """

    def __init__(  # noqa: PLR0913 - one for each choice
        self,
        source: str | PathLike[str],
        *,
        model: str | None = None,
        runtime: Literal["auto", "openvino", "onnx", "torch"] = "auto",
        precision: StatedPrecision = "float32",
        threads: int | None = None,
        cropping: int = 0,
        pcutoff: float = 0.3,
        min_found: float = 0.5,
        look_again: bool = False,
        ahead_ms: float = 0.0,
        noise: float = 1.0,
        acceleration: float = 3000.0,
    ) -> None:
        if cropping < 0 or cropping % 32:
            raise ValueError(f"cropping is {cropping}, expected 0 or a multiple of 32")
        if not (ahead_ms >= 0 and noise > 0 and acceleration > 0):
            raise ValueError(
                f"ahead_ms ({ahead_ms}) must not be negative, and noise ({noise}) and acceleration "
                f"({acceleration}) must be above 0"
            )
        settled = settle_precision(source, precision, model, runtime)
        options = RuntimeOptions(
            choose_runtime(runtime, settled), settled, threads, batch_size=1, one_frame=True
        )
        self._set_up(
            load_networks(source, options, model),
            CroppingRules(cropping, pcutoff, min_found, look_again),
        )
        self.ahead_ms, self._noise, self._acceleration = ahead_ms, noise, acceleration

    def _set_up(self, networks: LiveNetworks, rules: CroppingRules) -> None:
        card = networks.whole.card
        self.name, self.source = card.name, networks.source
        self.keypoints = tuple(card.skeleton.bodyparts)
        self.edges = tuple(card.skeleton.edges)
        self.individuals = tuple(card.individuals)
        self._cropper = Cropper(networks, rules)
        self._pcutoff = rules.pcutoff
        self._animals = card.animals
        self.reset()

    def reset(self) -> None:
        """Forget the frames before, as at the start of another recording."""
        shape = len(self.individuals), len(self.keypoints)
        self._motion = Motion.unknown(shape)
        self._seen_at = np.full(shape, -np.inf)
        self._now = -np.inf
        self._slots = Slots(self._animals)
        self._certain = np.zeros(shape, np.bool_)
        self._lost = False

    def warm_up(self, size: tuple[int, int], passes: int = 3) -> float:
        """Predict black frames until everything is compiled and allocated.

        Parameters
        ----------
        size
            Height and width of the frames, px.
        passes
            Number of passes of each kind: whole frame, and window.

        Returns
        -------
        float
            Seconds of the last pass of the kind that frames usually have.
        """
        frame = np.zeros((*size, 3), np.uint8)
        shape = self._cropper.shape(frame)
        seconds = 0.0
        for _ in range(passes):
            looks: list[Callable[[], object]] = [lambda: self._cropper.warm_up(frame)]
            looks.append(lambda: self._cropper.predict(frame, None))
            if shape is not None:
                looks.append(
                    lambda: self._cropper.predict_window(frame, shape, np.zeros(2, np.int64))
                )
            for look in looks:
                start = clock.perf_counter()
                look()
                seconds = clock.perf_counter() - start
        self.reset()
        return seconds

    def predict(self, frame: NDArray[np.uint8], time: float | None = None) -> LivePoses:
        """Predict the pose in the next frame.

        Parameters
        ----------
        frame
            Shape (height, width, 3), uint8, RGB.
        time
            When it was captured, seconds of any clock that does not run backwards; None: now. A
            time before that of the last frame counts as the same time.

        Raises
        ------
        ValueError
            If it is no such image.
        """
        if frame.ndim != 3 or frame.shape[-1] != 3 or frame.dtype != np.uint8 or not frame.size:
            raise ValueError(
                "expected a frame of shape (height, width, 3), uint8, with pixels, found "
                f"{frame.shape}, {frame.dtype}"
            )
        start = clock.perf_counter()
        now = clock.monotonic() if time is None else time
        motion = self._advance(now)
        with watch() as laps:
            located, window, lost = self._cropper.predict(frame, self._expect(motion))
        looked = clock.perf_counter()
        position, confidence = located.position[0], located.confidence[0]
        if self._animals > 1:
            position, confidence = self._order(position, confidence, motion)
        self._learn(motion, position, confidence)
        self._lost = lost and window is not None
        ahead = position
        if self.ahead_ms:
            later = advance(self._motion, self.ahead_ms / 1000.0, self._acceleration)
            ahead = later.position.astype(np.float32)
        end = clock.perf_counter()
        timings = LiveTimings(laps.preprocess, laps.network, laps.decode, end - looked, end - start)
        velocity = self._motion.velocity.astype(np.float32)
        return LivePoses(position, confidence, ahead, velocity, window, lost, timings)

    def _advance(self, now: float) -> Motion:
        """Return the motion at the time of a frame, without what is too old."""
        seconds = max(0.0, now - self._now) if np.isfinite(self._now) else 0.0
        self._now = max(now, self._now)
        old: NDArray[np.bool_] = np.asarray(self._now - self._seen_at > _FORGET)
        kept = choose(old, Motion.unknown(old.shape), self._motion)
        return advance(kept, seconds, self._acceleration)

    def _expect(self, motion: Motion) -> NDArray[np.float64] | None:
        """Return where the points that were certain in the last frame are now."""
        if self._lost:
            return None
        count = self._animals
        return np.where(self._certain[:count, :, None], motion.position[:count], np.nan)

    def _order(
        self, position: NDArray[np.float32], confidence: NDArray[np.float32], motion: Motion
    ) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """Return poses with each animal in its slot; unique bodyparts have a slot of their own."""
        count = self._animals
        order = self._slots.assign(position[:count], motion.position[:count])
        rows = np.concatenate([order, np.arange(count, len(position))])
        return position[rows], confidence[rows]

    def _learn(
        self,
        motion: Motion,
        position: NDArray[np.float32],
        confidence: NDArray[np.float32],
    ) -> None:
        self._certain = (confidence >= self._pcutoff) & np.isfinite(position).all(axis=-1)
        seen = np.where(self._certain[..., None], position, np.nan)
        self._motion = observe(motion, seen, self._noise, _SPEED)
        self._seen_at = np.where(self._certain, self._now, self._seen_at)
