"""Test that addresses are shown, stored and hashed without what gives access."""

import pytest
import yaml

from pipeline_lib.core.errors import ConfigError
from pipeline_lib.core.settings.reading import hash_settings, parse_config, write_resolved_config
from pipeline_lib.core.untrusted.bundle_address import parse_address
from pipeline_lib.core.untrusted.credentials import hide_credentials, show_address

DIGEST = f"#sha256={'a' * 64}"


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("https://host/a", "https://host/a"),
        (f"https://host/a{DIGEST}", f"https://host/a{DIGEST}"),
        ("https://host:1/a?token=S3CRET", "https://host:1/a?…"),
        (f"https://host/a?token=S3/CRET{DIGEST}", f"https://host/a?…{DIGEST}"),
        ("https://me:S3CRET@host/a@v1", "https://host/a@v1"),
        ("https://S3@CRET@host", "https://host"),
        ("https://host?S3CRET", "https://host?…"),
        ("https://host/a#token=S3CRET", "https://host/a?…"),
        (f"https://host/a{DIGEST}?token=S3CRET", "https://host/a?…"),
        ("hf://S3CRET@owner/name/file@v1", "hf://owner/name/file@v1"),
        ("rtsp://me:S3CRET@camera:554/1?password=S3CRET", "rtsp://camera:554/1?…"),
        ("rtsp://me:S3/CRET@camera/1", "rtsp://camera/1"),
        ("rtsp://me:S3?CR#ET@camera/1", "rtsp://camera/1"),
        ("what?.cohortpose", "what?.cohortpose"),
        ("first", "first"),
        ("zmq:tcp://127.0.0.1:5555", "zmq:tcp://127.0.0.1:5555"),
    ],
)
def test_addresses(text, shown):
    assert show_address(text) == shown
    assert show_address(shown) == shown


def test_messages():
    text = "Max retries with url: /q?token=S3CRET (Caused by https://me:S3CRET@host/x?y=S3CRET)"
    assert hide_credentials(text) == "Max retries with url: /q?… (Caused by https://host/x?…"
    assert hide_credentials("what is this? nothing") == "what is this? nothing"


def test_the_sidecar_lies_beside_the_path_and_the_name_is_that_of_the_path():
    one = parse_address("https://host/b/q.cohortpose?token=a/b")
    assert (one.sidecar, one.name) == (
        "https://host/b/q.cohortpose.sha256?token=a/b",
        "q.cohortpose",
    )
    plain = parse_address("https://host/b/q")
    assert (plain.sidecar, plain.name) == ("https://host/b/q.sha256", "q")
    assert parse_address("some/q.cohortpose").name == "q.cohortpose"


@pytest.mark.parametrize(
    "text",
    [
        "https://me:S3CRET@host/a",
        "https://host/a#token=S3CRET",
        "https://host/a?token=S3CRET#sha256=12",
        "https://me:S3CRET@[::1/a",
        "hf://me:S3CRET@owner/name",
        "hf://owner/name/file@../x?token=S3CRET",
        "https:///a?token=S3CRET",
        "https://host/a?token=S3CRET\x1b",
    ],
)
@pytest.mark.parametrize("setting", ["model.bundle", "training.start_from"])
def test_errors_about_addresses(text, setting):
    section, name = setting.split(".")
    with pytest.raises(ConfigError, match=setting) as caught:
        parse_config({"cohort": "c.tsv", section: {name: text}})
    assert "S3CRET" not in str(caught.value)


def test_settings_are_published_without_queries_and_still_the_same():
    address = f"https://host/a?token=S3CRET{DIGEST}"
    camera = {"source": "rtsp://me:S3CRET@camera/1"}
    for given, kept in (
        ({"model": {"bundle": address}}, address),
        ({"training": {"start_from": address}}, address),
        ({"live": {"cameras": [camera]}}, camera["source"]),
    ):
        config = parse_config({"cohort": "c.tsv", **given})
        # What opens a connection has the address.
        assert kept in str(config.model_dump())
        text = write_resolved_config(config)
        assert "S3CRET" not in text
        assert hash_settings(config) == hash_settings(parse_config(yaml.safe_load(text)))
