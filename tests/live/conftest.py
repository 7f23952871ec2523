"""Provide a bundle of an untrained network."""

import pytest

from tests.models.zoo.bundles import write_tiny_bundle


@pytest.fixture(scope="session")
def bundle(tmp_path_factory):
    """Return the path of the bundle; its run's results lie beside it."""
    return write_tiny_bundle(tmp_path_factory.mktemp("live"))
