"""Measure the parts of a training: processor seconds of each, in one process.

    python benchmarks/training/parts.py DIR [--epochs 4] [--set training.freeze=true ...]

DIR is a folder with `config.yaml` and finished targets, such as a fold that
`benchmarks/accuracy/cross_validation.py` has begun. Nothing in it is changed: checkpoints and
curves go to a temporary folder. The curves are measured a few times; a whole training measures
them twelve times. Times are exclusive: what one part calls of another one counts
there.
"""

import argparse
import tempfile
import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import wraps
from pathlib import Path
from typing import Any

_BEGIN = time.process_time()


class Clock:
    """Add up the processor seconds of parts that may lie within each other."""

    def __init__(self) -> None:
        self.seconds: defaultdict[str, float] = defaultdict(float)
        self._open: list[str] = ["rest"]
        self._since = time.process_time()

    @contextmanager
    def count(self, part: str) -> Iterator[None]:
        """Count what happens inside for a part."""
        self._turn()
        self._open.append(part)
        try:
            yield
        finally:
            self._turn()
            self._open.pop()

    def _turn(self) -> None:
        now = time.process_time()
        self.seconds[self._open[-1]] += now - self._since
        self._since = now

    def watch(self, owner: Any, name: str, part: str) -> None:  # noqa: ANN401 - any class
        """Count every call of a function for a part."""
        function: Callable[..., Any] = getattr(owner, name)

        @wraps(function)
        def counted(*given: Any, **named: Any) -> Any:  # noqa: ANN401
            with self.count(part):
                return function(*given, **named)

        setattr(owner, name, counted)


def main() -> None:
    """Train for a few epochs and print a table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--epochs", type=int, default=4)
    parser.add_argument("--set", action="append", default=[], dest="changes")
    given = parser.parse_args()
    import pytorch_lightning as lightning  # noqa: PLC0415 - the start is a part
    import torch  # noqa: PLC0415

    from pipeline_lib.core.layout import ModelFiles, Results  # noqa: PLC0415
    from pipeline_lib.core.settings.reading import read_config  # noqa: PLC0415
    from pipeline_lib.io.chosen_settings import resolve_settings  # noqa: PLC0415
    from pipeline_lib.io.targets.store import TargetStore  # noqa: PLC0415
    from pipeline_lib.models.training import run  # noqa: PLC0415
    from pipeline_lib.models.training.history import HistoryWriter  # noqa: PLC0415
    from pipeline_lib.models.training.module import PoseTraining  # noqa: PLC0415
    from pipeline_lib.models.training.samples import data  # noqa: PLC0415

    start = time.process_time() - _BEGIN
    clock = Clock()
    clock.watch(run, "build_network", "network and weights")
    clock.watch(data.StoredSamples, "__getitem__", "reading images")
    clock.watch(PoseTraining, "_augment", "augmentation and targets")
    clock.watch(PoseTraining, "_measure", "forward")
    clock.watch(torch.Tensor, "backward", "backward")
    clock.watch(torch.optim.AdamW, "step", "optimiser")
    clock.watch(PoseTraining, "training_step", "other parts of a step")
    clock.watch(HistoryWriter, "_measure", "curves")
    clock.watch(lightning.Trainer, "save_checkpoint", "checkpoints")
    folder, results = given.folder, Results(given.folder / "results")
    config = resolve_settings(read_config(folder / "config.yaml"), results)
    training = config.training.model_copy(
        update={"epochs": given.epochs, "measure_every": max(1, given.epochs // 2)}
    )
    training = type(training).model_validate(_change(training.model_dump(), given.changes))
    store = TargetStore(results.targets)
    with tempfile.TemporaryDirectory() as made:
        files = ModelFiles(Path(made) / "pose")
        files.checkpoints.mkdir(parents=True)
        trained = run.train_network(
            results.targets,
            files,
            config.targets,
            training,
            store.layout.skeleton,
            key="benchmark",
        )
    with clock.count("end"):
        pass
    _print(clock, start, trained.steps)


def _change(values: dict[str, Any], changes: list[str]) -> dict[str, Any]:
    """Put settings written as ``training.key=value`` into those of a training."""
    from benchmarks.projects import merge_settings, nest_settings  # noqa: PLC0415

    return merge_settings(values, nest_settings(changes).get("training", {}))


def _print(clock: Clock, start: float, steps: int) -> None:
    whole = {"start: imports": start, **clock.seconds}
    total = sum(whole.values())
    print(f"{steps} steps, {total:.1f} processor seconds")
    for part, seconds in sorted(whole.items(), key=lambda one: -one[1]):
        print(f"| {part} | {seconds:.2f} | {seconds / steps * 1000:.0f} | {seconds / total:.1%} |")


if __name__ == "__main__":
    main()
