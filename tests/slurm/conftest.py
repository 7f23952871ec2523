"""Provide a real SLURM to the tests of this folder."""

import pytest

from tests.slurm import cluster
from tests.workflow.conftest import fresh, media

__all__ = ["fresh", "media"]


@pytest.fixture(scope="session")
def slurm():
    """Start one node with two cores and two mock GPUs."""
    obstacle = cluster.find_obstacle()
    if obstacle:
        pytest.skip(obstacle)
    with cluster.start_cluster():
        yield cluster
