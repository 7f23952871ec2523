"""Show live cameras in the browser: the last picture, its points, latencies and counts.

A picture is encoded when a browser asks for it, so that nobody pays who does not look. The page is
served on loopback, for whoever has the address that is printed, as that of `cohortpose label` is.
"""

import contextlib
import json
import threading
from collections.abc import Awaitable, Callable, Iterator, MutableMapping, Sequence
from typing import Any
from urllib.parse import unquote

import cv2
import numpy as np

from pipeline_lib.label.access import TOKEN, Access
from pipeline_lib.label.server import listen
from pipeline_lib.live.loop import Shown
from pipeline_lib.live.run import CameraRun
from pipeline_lib.live.sources.frames import Image, LiveError

_MOST_SIDE = 960
_QUALITY = 75
_RADIUS = 3
# Colours of individuals, RGB.
_COLOURS = ((255, 200, 0), (0, 200, 255), (255, 90, 200), (120, 255, 90), (255, 255, 255))
_WINDOW = (160, 160, 160)

_PAGE = """<!doctype html><html lang="en"><meta charset="utf-8"><title>cohortpose live</title>
<style>body{margin:0;background:#111;color:#ddd;font:14px system-ui,sans-serif}
main{display:flex;flex-wrap:wrap;gap:12px;padding:12px}figure{margin:0}
img{max-width:100%;display:block;background:#000}figcaption{padding:4px 0;
font-variant-numeric:tabular-nums}</style><main id="cameras"></main><script>
const main=document.getElementById("cameras");
const sleep=ms=>new Promise(done=>setTimeout(done,ms));
async function show(name){
  const figure=document.createElement("figure"),image=document.createElement("img");
  const text=document.createElement("figcaption");
  image.alt="last frame of "+name;figure.append(image,text);main.append(figure);
  const path=encodeURIComponent(name);
  for(;;){
    try{
      const answer=await fetch("/state/"+path);
      if(!answer.ok)throw new Error(answer.status);
      const state=await answer.json();
      text.textContent=name+": "+state.text;
      if(state.row>=0){
        const picture=await(await fetch("/picture/"+path)).blob();
        const address=URL.createObjectURL(picture);
        await new Promise(done=>{image.onload=image.onerror=done;image.src=address});
        URL.revokeObjectURL(address);
      }
      await sleep(40);
    }catch(error){text.textContent=name+": no answer";await sleep(1000)}
  }
}
fetch("/cameras").then(answer=>answer.json()).then(names=>names.forEach(show));
</script></html>"""

Scope = MutableMapping[str, Any]
Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]


@contextlib.contextmanager
def show_preview(
    runs: Sequence[CameraRun], port: int | None, announce: Callable[[str], None]
) -> Iterator[None]:
    """Serve the page while the block runs.

    Parameters
    ----------
    runs
        The cameras.
    port
        Port on 127.0.0.1; None: any.
    announce
        Is called with the address.

    Raises
    ------
    LiveError
        If uvicorn is not installed.
    """
    try:
        import uvicorn  # noqa: PLC0415 - of the extra `label`
    except ImportError as error:
        raise LiveError(
            f"--preview needs uvicorn ({error}): pip install 'cohortpose[label]'"
        ) from None
    with contextlib.closing(listen(port)) as listening:
        access = Access(PreviewApp(runs))
        config = uvicorn.Config(
            access,
            log_level="error",
            access_log=False,
            server_header=False,
            proxy_headers=False,
            lifespan="off",
            timeout_graceful_shutdown=1,
        )
        server = uvicorn.Server(config)
        # Signals are the run's.
        thread = threading.Thread(
            target=server.run, kwargs={"sockets": [listening]}, name="preview", daemon=True
        )
        thread.start()
        host, bound = listening.getsockname()
        announce(f"http://{host}:{bound}/?{TOKEN}={access.token}")
        try:
            yield
        finally:
            server.should_exit = True
            thread.join(timeout=5)


class PreviewApp:
    """Answer requests of the page; an ASGI application."""

    def __init__(self, runs: Sequence[CameraRun]) -> None:
        self._runs = {one.name: one for one in runs}

    async def __call__(self, scope: Scope, receive: Any, send: Send) -> None:  # noqa: ANN401
        """Answer a request."""
        del receive
        if scope["type"] != "http":
            return
        status, kind, body = self.answer(scope["path"])
        headers = [(b"content-type", kind.encode()), (b"cache-control", b"no-store")]
        await send({"type": "http.response.start", "status": status, "headers": headers})
        await send({"type": "http.response.body", "body": body})

    def answer(self, path: str) -> tuple[int, str, bytes]:
        """Return status, type and content of the answer to a path."""
        if path == "/":
            return 200, "text/html; charset=utf-8", _PAGE.encode()
        if path == "/cameras":
            return 200, "application/json", json.dumps(list(self._runs)).encode()
        what, _, name = path.strip("/").partition("/")
        run = self._runs.get(unquote(name))
        shown = None if run is None else run.loop.shown
        if run is not None and what == "state":
            return 200, "application/json", json.dumps(_describe(run, shown)).encode()
        if run is not None and shown is not None and what == "picture":
            return 200, "image/jpeg", _encode(run, shown)
        return 404, "text/plain; charset=utf-8", b"no such page\n"


def _encode(run: CameraRun, shown: Shown) -> bytes:
    image = draw(shown, run.loop.predictor.edges, run.loop.predictor.keypoints)
    _, content = cv2.imencode(".jpg", image[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, _QUALITY])
    return bytes(content)


def _describe(run: CameraRun, shown: Shown | None) -> dict[str, Any]:
    if shown is None:
        return {"row": -1, "text": "no frame yet"}
    counts, loop = run.capture.counts, run.loop.counts
    text = (
        f"frame {shown.captured.row}, {1000 * shown.latency:.1f} ms "
        f"(p99 {1000 * loop.latency.quantile(0.99):.1f} ms), {loop.predicted} of "
        f"{counts.captured} predicted, {loop.starts} starts of rules"
    )
    return {"row": shown.captured.row, "text": text}


def draw(
    shown: Shown, edges: Sequence[tuple[str, str]], keypoints: Sequence[str], least: float = 0.3
) -> Image:
    """Draw points, skeleton and window on a frame, shrunk to at most 960 px a side."""
    image = shown.captured.frame.image
    share = min(1.0, _MOST_SIDE / max(image.shape[:2]))
    size = (round(image.shape[1] * share), round(image.shape[0] * share))
    picture = cv2.resize(image, size) if share < 1 else image.copy()
    poses = shown.poses
    place = {name: number for number, name in enumerate(keypoints)}
    if poses.window is not None:
        x, y, width, height = (round(share * side) for side in poses.window)
        cv2.rectangle(picture, (x, y), (x + width, y + height), _WINDOW, 1)
    for animal, (points, confidence) in enumerate(
        zip(poses.position, poses.confidence, strict=True)
    ):
        colour = _COLOURS[animal % len(_COLOURS)]
        good = (confidence >= least) & np.isfinite(points).all(axis=-1)
        pixels = np.nan_to_num(share * (points + 0.5) - 0.5).round().astype(int).clip(-9999, 9999)
        for one, other in edges:
            first, second = place[one], place[other]
            if good[first] and good[second]:
                cv2.line(picture, pixels[first].tolist(), pixels[second].tolist(), colour, 1)
        for point in pixels[good].tolist():
            cv2.circle(picture, point, _RADIUS, colour, -1)
    return np.asarray(picture, np.uint8)
