"""Serve bundles over https on loopback, with a cache of the test's own."""

import pytest

from tests.models.zoo.server import serve, write_certificate


@pytest.fixture(scope="module")
def certificate(tmp_path_factory):
    return write_certificate(tmp_path_factory.mktemp("certificate"))


@pytest.fixture
def server(certificate, tmp_path, monkeypatch):
    monkeypatch.setenv("COHORTPOSE_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(certificate[0]))
    with serve(certificate) as running:
        yield running
