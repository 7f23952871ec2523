"""Choose the number of workers, and the threads and decoders of each."""

from pipeline_lib.core.process import count_cores
from pipeline_lib.core.settings.videos import InferenceSettings
from pipeline_lib.models.inference.predictor import choose_runtime, count_gpus

_MOST_DECODERS = 8


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
