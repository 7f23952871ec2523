"""Run processors of installed packages, classes as DeepLabCut-Live has them.

A processor is found by its entry point, never by a path: who can write a config cannot make it run
code that is not installed.
"""

import inspect
import time
from collections.abc import Sequence
from importlib.metadata import entry_points
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipeline_lib.core.errors import ConfigError
from pipeline_lib.core.settings.outputs.live import ProcessorSettings
from pipeline_lib.live.recording.events import Events
from pipeline_lib.live.sources.frames import now

GROUP = "cohortpose.live_processors"
# After this many errors in a row a processor is no longer called.
_MOST_ERRORS = 100


def load_processors(settings: Sequence[ProcessorSettings]) -> list[Any]:
    """Make the processors that settings name.

    Raises
    ------
    ConfigError
        If there is no such entry point, or the class does not take the options.
    """
    found = {entry.name: entry for entry in entry_points(group=GROUP)}
    problems, made = [], []
    for one in settings:
        if one.name not in found:
            problems.append(
                f"`live.processors`: no installed package has an entry point {one.name!r} in the "
                f"group {GROUP}; there are: {', '.join(sorted(found)) or 'none'}"
            )
            continue
        try:
            made.append(found[one.name].load()(**one.options))
        except Exception as error:  # noqa: BLE001 - whatever the package raises
            problems.append(f"`live.processors`: {one.name}: {type(error).__name__}: {error}")
    problems += [
        f"`live.processors`: {type(one).__name__} has no method `process`"
        for one in made
        if not callable(getattr(one, "process", None))
    ]
    if problems:
        raise ConfigError("config", problems)
    return made


class ProcessorChain:
    """Call processors with each pose, in order; one that raises is passed over.

    Poses are as DeepLabCut-Live gives them: shape (keypoint, 3), x, y and confidence, for one
    animal, and (individual, keypoint, 3) for several. What a processor returns is what the next
    one and the rules see; what is recorded is what the network found.

    Parameters
    ----------
    processors
        From `load_processors`.
    """

    def __init__(self, processors: Sequence[Any], camera: str, events: Events) -> None:
        self._processors = [(one, _takes(one)) for one in processors]
        self._camera, self._events = camera, events
        self._errors = [0] * len(processors)

    def __bool__(self) -> bool:
        return bool(self._processors)

    def process(
        self,
        position: NDArray[np.float32],
        confidence: NDArray[np.float32],
        captured: float,
        done: float,
    ) -> NDArray[np.float32]:
        """Return the positions after all processors, shape as `position`."""
        several = len(position) > 1
        pose = np.concatenate([position, confidence[..., None]], axis=-1)
        # DeepLabCut-Live gives times of day, and its processors compare them with `time.time()`.
        shift = time.time() - now()
        given = {"frame_time": captured + shift, "pose_time": done + shift, "record": True}
        for number, (one, names) in enumerate(self._processors):
            if self._errors[number] >= _MOST_ERRORS:
                continue
            arguments = given if names is None else {name: given[name] for name in names}
            try:
                result = one.process((pose if several else pose[0]).copy(), **arguments)
                result = pose if result is None else np.asarray(result, np.float32)
                pose = result.reshape(pose.shape)
                self._errors[number] = 0
            except Exception as error:  # noqa: BLE001 - whatever the package raises
                self._errors[number] += 1
                name = type(one).__name__
                end = "; it is not called any more" if self._errors[number] >= _MOST_ERRORS else ""
                self._events.tell(
                    self._camera, "processor", f"{name}: {type(error).__name__}: {error}{end}"
                )
        return pose[..., :2]

    def close(self, folder: Path | None) -> None:
        """Let processors save and stop, where they can, when there are no more poses.

        Parameters
        ----------
        folder
            Folder of the recording, where they save as ``CAMERA-PROCESSOR``; None: they do not.
        """
        for one, _ in self._processors:
            name = type(one).__name__
            save, stop = (getattr(one, method, None) for method in ("save", "stop"))
            try:
                if callable(save) and folder is not None:
                    save(str(folder / f"{self._camera}-{name}"))
                if callable(stop):
                    stop()
            except Exception as error:  # noqa: BLE001 - as above
                self._events.tell(self._camera, "processor", f"{name}: {error}")


def _takes(processor: Any) -> list[str] | None:  # noqa: ANN401 - a class of another package
    """Return which of our arguments a processor takes; None: all."""
    try:
        parameters = inspect.signature(processor.process).parameters.values()
    except (TypeError, ValueError):
        return None
    if any(one.kind is inspect.Parameter.VAR_KEYWORD for one in parameters):
        return None
    return [one.name for one in parameters if one.name in ("frame_time", "pose_time", "record")]
