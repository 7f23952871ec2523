"""Which process of a distributed training this is, before its processes have met."""

import os


def is_first_rank() -> bool:
    """Tell whether this process is the first, or only, one of its job.

    Launchers tell by environment variables: torchrun sets ``RANK``; Lightning ``LOCAL_RANK`` and
    ``NODE_RANK`` for the processes that it starts itself, inside of a SLURM task, too; srun
    ``SLURM_PROCID``.
    """
    if "RANK" in os.environ:
        return os.environ["RANK"] == "0"
    if "LOCAL_RANK" in os.environ:
        return os.environ["LOCAL_RANK"] == "0" == os.environ.get("NODE_RANK", "0")
    return os.environ.get("SLURM_PROCID", "0") == "0"
