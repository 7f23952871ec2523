"""Choose the number of workers, the threads and decoders of each, and the runtime."""

from collections.abc import Sequence
from dataclasses import replace

from pipeline_lib.core.layout import Results
from pipeline_lib.core.process import count_cores
from pipeline_lib.core.processor import describe_processor
from pipeline_lib.core.settings.run import Config
from pipeline_lib.core.settings.videos import InferenceSettings
from pipeline_lib.models.inference.predictor import (
    PRECISIONS,
    RuntimeOptions,
    choose_runtime,
    count_gpus,
)
from pipeline_lib.models.inference.tuning.runtime_choice import (
    find_fastest_runtime,
    list_versions,
    recall_runtime,
)
from pipeline_lib.models.precision import RuntimeName, require_precision
from pipeline_lib.steps.infer.tasks import VideoTask

_MOST_DECODERS = 8
# A measurement takes some seconds, and gains at most a fraction of the time of these.
_WORTH_FRAMES = 20_000


def uses_gpus(settings: InferenceSettings) -> bool:
    """Return whether the network runs on GPUs, here or in the jobs of the workers."""
    if settings.cluster == "slurm":
        return settings.runtime == "torch" and settings.cluster_jobs.gpus > 0
    if settings.precision == "int8":
        # On CPUs only.
        return False
    return choose_runtime(settings.runtime) == "torch" and count_gpus() > 0


def count_workers(settings: InferenceSettings) -> int:
    """Return the number of workers: the setting, else one per job, GPU or core."""
    if settings.workers is not None:
        return settings.workers
    if settings.cluster == "slurm":
        return settings.cluster_jobs.number
    return count_gpus() if uses_gpus(settings) else count_cores()


def count_threads(settings: InferenceSettings) -> int:
    """Return the threads of the network in each worker: the setting, else all its cores."""
    if settings.threads_per_worker is not None:
        return settings.threads_per_worker
    return _count_own_cores(settings)


def count_decoders(settings: InferenceSettings) -> int:
    """Return the number of segments that a worker decodes at the same time.

    It is the setting; else one on a CPU, where a core decodes many times faster than it infers,
    and one per core, up to a limit, for a GPU.
    """
    if settings.decoders is not None:
        return settings.decoders
    return min(_MOST_DECODERS, _count_own_cores(settings)) if uses_gpus(settings) else 1


def _count_own_cores(settings: InferenceSettings) -> int:
    if settings.cluster == "slurm":
        return settings.cluster_jobs.cores
    return max(1, count_cores() // count_workers(settings))


def settle_runtime(config: Config, results: Results, tasks: Sequence[VideoTask]) -> list[VideoTask]:
    """Return tasks with the runtime that is the fastest on this processor.

    It is the one that was measured with the precision, if that was on such a processor; else the
    one that is remembered of this processor; else, for many frames, it is measured now. Workers of
    a cluster are taken to be like this machine. Results do not depend on it beyond the rounding of
    floating point.

    Parameters
    ----------
    config, results
        The run.
    tasks
        Videos to infer, all with the same network.

    Raises
    ------
    ModelError
        If the network is missing or cannot be loaded.
    """
    given = list(tasks)
    if not given or config.inference.runtime != "auto":
        return given
    options = given[0].network.options
    if options.runtime != "openvino" or options.precision not in PRECISIONS["onnx"]:
        # On a GPU, with nothing else installed, or in a precision that nothing else has.
        return given
    runtime = _find_runtime(config, results, options, sum(task.frames for task in given))
    if runtime in (None, options.runtime):
        return given
    settled = replace(options, runtime=runtime)
    return [replace(task, network=replace(task.network, options=settled)) for task in given]


def _find_runtime(
    config: Config, results: Results, options: RuntimeOptions, frames: int
) -> RuntimeName | None:
    record = require_precision(config, results)
    here = (describe_processor(), list_versions())
    if record is not None and (record.processor, record.versions) == here:
        # A GPU that was there then is not here.
        return None if record.runtime == "torch" else record.runtime
    files = results.model(config.training.name)
    if frames < _WORTH_FRAMES:
        return recall_runtime(files, options.precision)
    return find_fastest_runtime(files, options.precision)
