"""Read an exported network, and refuse one that refers to other files.

An ONNX file may keep its tensors in any other file of the machine ("external data"), which the
runtimes then read. Our own files contain all their tensors.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from pipeline_lib.core.errors import ModelError

# First field of an ONNX model: the version of its format.
_ONNX = b"\x08"
_ORT = b"ORTM"  # a format of ONNX Runtime's own, of which we write none
# Key of the path of external data; a file without this word has none.
_WORD = b"location"


def read_onnx(path: Path) -> bytes:
    """Read an exported network.

    Raises
    ------
    ModelError
        If the file is missing or is not an ONNX model, or if its tensors are in other files.
    """
    if not path.is_file():
        raise ModelError(f"{path}: ONNX runtimes cannot load it (no such file); run train")
    content = path.read_bytes()
    check_onnx(content, str(path))
    return content


def check_onnx(content: bytes, where: str, *, advice: str = "run train") -> None:
    """Refuse bytes that are no ONNX model, or one whose tensors are in other files.

    Parameters
    ----------
    content
        Bytes of the file.
    where
        Name of the file in messages.
    advice
        What to do, in messages.

    Raises
    ------
    ModelError
        With the reason.
    """
    if not content.startswith(_ONNX) or content[4:8] == _ORT:
        raise ModelError(f"{where}: ONNX runtimes cannot load it (no ONNX model); {advice}")
    if _WORD in content:
        _refuse_external_data(where, content, advice)


def _refuse_external_data(where: str, content: bytes, advice: str) -> None:
    import onnx  # noqa: PLC0415 - no worker needs it otherwise

    try:
        model = onnx.load_model_from_string(content)
    except Exception as error:  # protobuf has errors of its own
        raise ModelError(
            f"{where}: ONNX runtimes cannot load it (no ONNX model: {error}); {advice}"
        ) from error
    for message in _walk(model):
        if isinstance(message, onnx.TensorProto) and (
            message.external_data or message.data_location == onnx.TensorProto.EXTERNAL
        ):
            found = {entry.key: entry.value for entry in message.external_data}
            raise ModelError(
                f"{where}: expected a network whose tensors are all inside, found that of "
                f"{message.name!r} is in {found.get('location')!r}; {advice}"
            )


def _walk(message: Any) -> Iterator[Any]:  # noqa: ANN401 - protobuf is not typed
    yield message
    for _, value in message.ListFields():
        several = [value] if hasattr(value, "ListFields") else value
        if isinstance(several, str | bytes | int | float):
            continue
        for one in several:
            if hasattr(one, "ListFields"):
                yield from _walk(one)
