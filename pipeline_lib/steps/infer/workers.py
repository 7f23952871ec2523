"""How many workers infer, and what each of them has."""

from pipeline_lib.core.cores import count_cores
from pipeline_lib.core.settings.videos import InferenceSettings
from pipeline_lib.models.inference.predictor import choose_runtime, count_gpus

_MOST_DECODERS = 8


def uses_gpus(settings: InferenceSettings) -> bool:
    """Tell whether the network runs on GPUs, here or in the jobs of the workers."""
    if settings.cluster == "slurm":
        return settings.runtime == "torch" and settings.cluster_jobs.gpus > 0
    return choose_runtime(settings.runtime) == "torch" and count_gpus() > 0


def count_workers(settings: InferenceSettings) -> int:
    """Return the number of workers: as set, else one per job, per GPU or per core."""
    if settings.workers is not None:
        return settings.workers
    if settings.cluster == "slurm":
        return settings.cluster_jobs.number
    return count_gpus() if uses_gpus(settings) else count_cores()


def count_threads(settings: InferenceSettings) -> int:
    """Return the network's threads in each worker: as set, else all cores that are its own."""
    if settings.threads_per_worker is not None:
        return settings.threads_per_worker
    return _count_own_cores(settings)


def count_decoders(settings: InferenceSettings) -> int:
    """Return the segments that a worker decodes at once: as set, else by what the network needs.

    A CPU core decodes many times faster than it infers; several cores feed a GPU.
    """
    if settings.decoders is not None:
        return settings.decoders
    return min(_MOST_DECODERS, _count_own_cores(settings)) if uses_gpus(settings) else 1


def _count_own_cores(settings: InferenceSettings) -> int:
    if settings.cluster == "slurm":
        return settings.cluster_jobs.cores
    return max(1, count_cores() // count_workers(settings))
