"""Send what rules set off: ZeroMQ, UDP, OSC, serial lines, LSL, files.

Nothing waits: a counterpart that is gone costs its messages, which are counted and told, and is
tried again.
"""

import contextlib
import json
import os
import socket
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Any, Protocol

from pipeline_lib.core.settings.outputs.live import ActionSettings
from pipeline_lib.live.recording.events import Events
from pipeline_lib.live.rules import Change
from pipeline_lib.live.sources.frames import LiveError

# Seconds between two attempts to open a counterpart that is gone.
_RETRY = 1.0
_QUEUE = 1000


@dataclass(frozen=True)
class Message:
    """Hold what is sent.

    Attributes
    ----------
    text
        As a text.
    values
        As values, for counterparts that take them.
    """

    text: str
    values: tuple[str | int | float, ...]


class Channel(Protocol):
    """Send messages to a counterpart, without waiting."""

    def send(self, message: Message) -> None:
        """Send a message; any exception means that it was not sent."""
        ...

    def close(self) -> None:
        """Release the counterpart."""
        ...


class Actions:
    """Send messages of all rules; channels are shared by all cameras.

    Parameters
    ----------
    settings
        The actions.
    events
        Is told of counterparts that are gone and back.

    Raises
    ------
    LiveError
        If the package of an action is not installed.
    """

    def __init__(self, settings: Sequence[ActionSettings], events: Events) -> None:
        self._lines = {one.name: _Line(one, events) for one in settings}

    def send(self, change: Change, camera: str, row: int, captured: float) -> list[str]:
        """Send what a change sets off; return the names of the actions that failed."""
        failed = []
        for name in change.actions:
            line = self._lines[name]
            message = _spell(line.settings, change, camera, row, captured)
            if message is not None and not line.send(message):
                failed.append(name)
        return failed

    def close(self) -> None:
        """Release all counterparts."""
        for line in self._lines.values():
            line.close()


def _spell(
    settings: ActionSettings, change: Change, camera: str, row: int, captured: float
) -> Message | None:
    """Return the message of a change; None if nothing is sent."""
    text = settings.start if change.starts else settings.end
    if text is None and not (change.starts or settings.ends):
        return None
    values: dict[str, str | int | float] = {
        "rule": change.rule,
        "camera": camera,
        "row": row,
        "captured": captured,
        "individual": change.individual,
        "starts": int(change.starts),
        "value": float(change.value),
    }
    return Message(json.dumps(values) if text is None else text, tuple(values.values()))


class _Line:
    """Keep the channel of an action open; another thread opens it again where it is gone."""

    def __init__(self, settings: ActionSettings, events: Events) -> None:
        self.settings, self._events = settings, events
        self._channel: Channel | None = None
        self._opening = False
        self._lock = threading.Lock()
        self._gone = False
        self._try_at = 0.0
        try:
            self._channel = _CHANNELS[settings.kind](settings)
        except LiveError:
            raise
        except Exception as error:  # noqa: BLE001 - of the system or of another package
            self._lose(error)

    def send(self, message: Message) -> bool:
        """Send a message; return whether it was handed on."""
        channel = self._channel
        if channel is None:
            self._open_again()
            return False
        try:
            channel.send(message)
        except ConnectionRefusedError as error:
            # Nobody took the last datagram; the channel can go on.
            self._lose(error)
            return False
        except Exception as error:  # noqa: BLE001 - as above
            self._channel = None
            with contextlib.suppress(Exception):
                channel.close()
            self._lose(error)
            return False
        if self._gone:
            self._gone = False
            self._events.tell(
                f"action {self.settings.name}", "action back", f"{self.settings.address}: is back"
            )
        return True

    def close(self) -> None:
        if self._channel is not None:
            self._channel.close()

    def _lose(self, error: Exception) -> None:
        self._gone = True
        self._try_at = time.monotonic() + _RETRY
        self._events.tell(
            f"action {self.settings.name}",
            "action gone",
            f"{self.settings.kind} {self.settings.address}: {error}; what is not sent is counted, "
            "and it is tried again",
        )

    def _open_again(self) -> None:
        with self._lock:
            if self._opening or time.monotonic() < self._try_at:
                return
            self._opening = True
        threading.Thread(target=self._open, daemon=True).start()

    def _open(self) -> None:
        try:
            self._channel = _CHANNELS[self.settings.kind](self.settings)
        except Exception as error:  # noqa: BLE001 - as above
            self._lose(error)
        finally:
            self._opening = False


def _split(address: str) -> tuple[str, int]:
    host, _, port = address.rpartition(":")
    return host.strip("[]"), int(port)


class _Udp:
    def __init__(self, settings: ActionSettings) -> None:
        host, port = _split(settings.address)
        found = socket.getaddrinfo(host, port, type=socket.SOCK_DGRAM)[0]
        self._socket = socket.socket(found[0], socket.SOCK_DGRAM)
        self._socket.setblocking(False)  # noqa: FBT003 - its name says it
        # Connected, so that a counterpart on this machine that is gone is an error.
        self._socket.connect(found[4])

    def send(self, message: Message) -> None:
        self._send(message.text.encode())

    def _send(self, content: bytes) -> None:
        try:
            self._socket.send(content)
        except ConnectionRefusedError:
            # The error is that of the message before; this one has not been sent yet.
            self._socket.send(content)
            raise

    def close(self) -> None:
        self._socket.close()


class _Osc(_Udp):
    def __init__(self, settings: ActionSettings) -> None:
        try:
            from pythonosc.osc_message_builder import OscMessageBuilder  # noqa: PLC0415
        except ImportError as error:
            raise _lacks("osc", "python-osc", error) from None
        super().__init__(settings)
        self._builder, self._settings = OscMessageBuilder, settings

    def send(self, message: Message) -> None:
        builder = self._builder(address=self._settings.path)
        own = self._settings.start is not None or self._settings.end is not None
        for value in (message.text,) if own else message.values:
            builder.add_arg(value)
        self._send(builder.build().dgram)


class _Zmq:
    def __init__(self, settings: ActionSettings) -> None:
        try:
            zmq: Any = import_module("zmq")
        except ImportError as error:
            raise _lacks("zmq", "pyzmq", error) from None
        self._flag = zmq.NOBLOCK
        self._socket: Any = zmq.Context.instance().socket(zmq.PUB)
        self._socket.setsockopt(zmq.SNDHWM, _QUEUE)
        self._socket.setsockopt(zmq.LINGER, 0)
        self._socket.bind(settings.address)

    def send(self, message: Message) -> None:
        # A publisher without subscribers drops messages: nobody asked for them.
        self._socket.send(message.text.encode(), self._flag)

    def close(self) -> None:
        self._socket.close()


class _Serial:
    def __init__(self, settings: ActionSettings) -> None:
        try:
            import serial  # noqa: PLC0415
        except ImportError as error:
            raise _lacks("serial", "pyserial", error) from None
        self._port = serial.Serial(settings.address, settings.baud, timeout=0, write_timeout=0)

    def send(self, message: Message) -> None:
        content = message.text.encode()
        # One that is full takes only a part.
        if self._port.write(content) != len(content):
            raise OSError("the line takes no more")

    def close(self) -> None:
        self._port.close()


class _Lsl:
    def __init__(self, settings: ActionSettings) -> None:
        try:
            import pylsl  # noqa: PLC0415
        except (ImportError, RuntimeError) as error:
            raise _lacks("lsl", "pylsl", error) from None
        info = pylsl.StreamInfo(
            settings.address, "Markers", 1, 0.0, "string", f"cohortpose-{settings.address}"
        )
        self._outlet = pylsl.StreamOutlet(info)

    def send(self, message: Message) -> None:
        self._outlet.push_sample([message.text])

    def close(self) -> None:
        del self._outlet


class _File:
    def __init__(self, settings: ActionSettings) -> None:
        path = Path(settings.address)
        path.parent.mkdir(parents=True, exist_ok=True)
        # A FIFO without a reader is an error, not a wait.
        flags = os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_NONBLOCK
        self._file = os.open(path, flags, 0o666)

    def send(self, message: Message) -> None:
        content = message.text.encode()
        content += b"" if content.endswith(b"\n") else b"\n"
        if os.write(self._file, content) != len(content):
            raise OSError("the disk is full")

    def close(self) -> None:
        os.close(self._file)


def _lacks(kind: str, package: str, error: Exception) -> LiveError:
    return LiveError(
        f"actions of kind `{kind}` need {package} ({error}): pip install 'cohortpose[live]'"
    )


_CHANNELS: dict[str, Any] = {
    "udp": _Udp,
    "osc": _Osc,
    "zmq": _Zmq,
    "serial": _Serial,
    "lsl": _Lsl,
    "file": _File,
}
