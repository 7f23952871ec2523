"""Make a project to label, and serve its page as `cohortpose label` does."""

import http.client
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import av
import numpy as np
import yaml

from pipeline_lib.io.stage_tables import write_table

COMMAND = str(Path(sys.executable).parent / "cohortpose")
BODYPARTS = ("nose", "left_ear", "right_ear", "tail")


def write_project(folder, videos, selected=(), **settings):
    """Write config, sheet and frames to label; selected: pairs of a video and a frame."""
    folder.mkdir(exist_ok=True)
    rows = [{"video": name, "path": str(path)} for name, path in videos.items()]
    write_table(folder / "cohort.tsv", ("video", "path"), rows)
    config = {
        "cohort": "cohort.tsv",
        "skeleton": {
            "bodyparts": list(BODYPARTS),
            "edges": [["nose", "tail"]],
            "symmetries": [["left_ear", "right_ear"]],
        },
        **settings,
    }
    (folder / "config.yaml").write_text(yaml.safe_dump(config))
    for video in {video for video, _ in selected}:
        frames = [{"frame": frame} for name, frame in selected if name == video]
        write_table(folder / "results" / "frames" / video / "frames.tsv", ("frame",), frames)
    return folder


def film(path, frames=20, width=160, height=120):
    """Encode a dark square that moves by 4 px a frame; its top-left corner is (10 + 4 f, 40)."""
    with av.open(path, "w") as container:
        stream = container.add_stream("libx264", rate=25, options={"preset": "ultrafast"})
        stream.width, stream.height, stream.pix_fmt = width, height, "yuv420p"
        for number in range(frames):
            image = np.full((height, width, 3), 170, np.uint8)
            left = (10 + 4 * number) % (width - 40)
            image[40:70, left : left + 30] = 30
            for packet in stream.encode(av.VideoFrame.from_ndarray(image, format="rgb24")):
                container.mux(packet)
        for packet in stream.encode():
            container.mux(packet)
    return path


@dataclass(frozen=True)
class Served:
    """Hold where a page is served, and by which process."""

    address: str
    process: subprocess.Popen

    @property
    def port(self):
        return urlsplit(self.address).port

    @property
    def token(self):
        return parse_qs(urlsplit(self.address).query)["token"][0]

    @property
    def host(self):
        return f"127.0.0.1:{self.port}"

    def ask(self, method, path, headers=(), body=None):
        """Return status, headers and body; headers are pairs, `Host` among them or not."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=30)
        connection.putrequest(method, path, skip_host=True, skip_accept_encoding=True)
        given = [("Host", self.host), *headers] if "Host" not in dict(headers) else headers
        for name, value in given:
            connection.putheader(name, value)
        if body is not None:
            connection.putheader("Content-Length", str(len(body)))
            connection.putheader("Content-Type", "application/json")
        connection.endheaders(body)
        answer = connection.getresponse()
        found = answer.status, answer.headers, b"" if answer.status == 101 else answer.read()
        connection.close()
        return found

    def log_in(self):
        """Return the header with the cookie that the token is worth."""
        status, headers, _ = self.ask("GET", f"/?token={self.token}")
        assert status == 200
        return "Cookie", headers["Set-Cookie"].split(";")[0]


@contextmanager
def serve(folder, author="Ann") -> Iterator[Served]:
    """Serve the page of a project on a free port; the server ends with the block."""
    command = [COMMAND, "--directory", str(folder), "label", "--config", "config.yaml"]
    process = subprocess.Popen(
        [*command, "--author", author],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )
    try:
        said = ""
        for line in process.stdout:
            said += line
            found = re.search(r"http://\S+", line)
            if found:
                yield Served(found[0], process)
                return
        raise AssertionError(f"the page is not served: {said}")
    finally:
        process.terminate()
        process.wait(timeout=20)
        process.stdout.close()
