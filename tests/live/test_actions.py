"""Each action reaches a real counterpart, and one that is gone holds nothing up."""

import json
import os
import pty
import socket
import time
import tty

import pytest

from pipeline_lib.core.settings.outputs.live import ActionSettings
from pipeline_lib.live import actions as module
from pipeline_lib.live.actions import Actions
from pipeline_lib.live.recording.events import Events
from pipeline_lib.live.rules import Change
from tests.live.test_sources import free_port

START = Change("in", "m1", starts=True, value=2.5, actions=("a",))
END = Change("in", "m1", starts=False, value=-1.0, actions=("a",))
VALUES = {
    "rule": "in",
    "camera": "top",
    "row": 7,
    "captured": 1.25,
    "individual": "m1",
    "starts": 1,
    "value": 2.5,
}


@pytest.fixture
def events(tmp_path):
    return Events(tmp_path / "events.tsv")


def make(events, kind, address, **values):
    return Actions([ActionSettings(name="a", kind=kind, address=address, **values)], events)


def send(actions, change=START):
    return actions.send(change, "top", 7, 1.25)


def wait(condition, seconds=60.0):
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.005)


def test_a_file(tmp_path, events):
    actions = make(events, "file", str(tmp_path / "new" / "log"), end="off")
    assert send(actions) == send(actions, END) == []
    actions.close()
    lines = (tmp_path / "new" / "log").read_text().splitlines()
    assert json.loads(lines[0]) == VALUES
    assert lines[1:] == ["off"]


def test_a_datagram_and_a_listener_that_comes_later(tmp_path, events):
    port = free_port()
    actions = make(events, "udp", f"127.0.0.1:{port}", start="on\n")
    # Nobody listens: the system tells so after the first datagram.
    wait(lambda: send(actions) == ["a"])
    assert "tried again" in (tmp_path / "events.tsv").read_text()
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as listening:
        listening.bind(("127.0.0.1", port))
        listening.settimeout(5)
        wait(lambda: send(actions) == [])
        assert listening.recv(100) == b"on\n"
    assert "is back" in (tmp_path / "events.tsv").read_text()
    actions.close()


def test_an_osc_message(events):
    osc = pytest.importorskip("pythonosc.osc_message")
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as listening:
        listening.bind(("127.0.0.1", 0))
        listening.settimeout(5)
        address = f"127.0.0.1:{listening.getsockname()[1]}"
        actions = make(events, "osc", address, path="/laser")
        assert send(actions) == []
        message = osc.OscMessage(listening.recv(1000))
    assert message.address == "/laser"
    assert message.params == list(VALUES.values())
    actions.close()


def test_a_zeromq_publisher(events):
    zmq = pytest.importorskip("zmq")
    address = f"tcp://127.0.0.1:{free_port()}"
    actions = make(events, "zmq", address)
    # Without a subscriber nothing waits.
    assert send(actions) == []
    listening = zmq.Context.instance().socket(zmq.SUB)
    listening.setsockopt(zmq.SUBSCRIBE, b"")
    listening.connect(address)

    def heard():
        send(actions)
        return listening.poll(10)

    wait(heard)
    assert json.loads(listening.recv()) == VALUES
    listening.close(linger=0)
    actions.close()


def test_a_serial_line_that_is_unplugged_and_comes_back(tmp_path, events, monkeypatch):
    pytest.importorskip("serial")
    monkeypatch.setattr(module, "_RETRY", 0.01)
    link = tmp_path / "ttyUSB0"
    first, device = pty.openpty()
    tty.setraw(device)
    link.symlink_to(os.ttyname(device))
    actions = make(events, "serial", str(link), start="1\n")
    assert send(actions) == []
    assert os.read(first, 10) == b"1\n"
    os.close(device)
    os.close(first)
    link.unlink()
    wait(lambda: send(actions) == ["a"])
    assert send(actions) == ["a"]
    second, device = pty.openpty()
    tty.setraw(device)
    link.symlink_to(os.ttyname(device))
    wait(lambda: send(actions) == [])
    assert os.read(second, 2) == b"1\n"
    text = (tmp_path / "events.tsv").read_text()
    assert "serial" in text
    assert "is back" in text
    actions.close()
    os.close(second)
    os.close(device)


def test_a_marker_stream(events):
    pylsl = pytest.importorskip("pylsl", exc_type=(ImportError, RuntimeError))
    name = f"cohortpose-test-{time.monotonic_ns()}"
    actions = make(events, "lsl", name, start="laser on")
    found = pylsl.resolve_byprop("name", name, timeout=30)
    assert found, "no stream was found"
    inlet = pylsl.StreamInlet(found[0])
    inlet.open_stream(timeout=30)
    before = pylsl.local_clock()
    assert send(actions) == []
    sample, stamp = inlet.pull_sample(timeout=30)
    assert sample == ["laser on"]
    assert abs(stamp + inlet.time_correction() - before) < 1
    inlet.close_stream()
    actions.close()


def test_a_full_disk_is_told_and_tried_again(tmp_path, events, monkeypatch):
    monkeypatch.setattr(module, "_RETRY", 0.0)
    link = tmp_path / "log"
    link.symlink_to("/dev/full")
    actions = make(events, "file", str(link))
    assert send(actions) == ["a"]
    assert "No space left" in (tmp_path / "events.tsv").read_text()
    link.unlink()
    wait(lambda: send(actions) == [])
    assert json.loads(link.read_text().splitlines()[0]) == VALUES
    actions.close()


@pytest.mark.parametrize(
    ("kind", "address"),
    [("udp", "127.0.0.1"), ("osc", "x:y"), ("zmq", "http://x:1"), ("file", " "), ("udp", "a b:3")],
)
def test_addresses_that_are_none_are_refused(kind, address):
    with pytest.raises(ValueError, match="address"):
        ActionSettings(name="a", kind=kind, address=address)
