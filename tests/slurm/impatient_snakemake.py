"""Run a Snakemake that asks SLURM for the state of its jobs every second.

The executor waits ten seconds longer each time that no job has ended, and a run of short jobs
spends most of its time on that. Nothing else differs; jobs do not go through here.
"""

import sys

from snakemake.cli import main
from snakemake_interface_executor_plugins.executors.remote import RemoteExecutor


def _keep_interval(_executor, _seconds):
    """Ignore what the executor wants."""


RemoteExecutor.next_seconds_between_status_checks = property(lambda _: 1.0, _keep_interval)

if __name__ == "__main__":
    sys.exit(main())
