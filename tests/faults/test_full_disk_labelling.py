"""A disk that is full while somebody labels: what stood there stays, and the page says why."""

import errno
import os

import pytest

from pipeline_lib.io.corrections.labels import read_label_corrections, write_frame_correction
from tests.io.corrections.test_labels import correct

pytest.importorskip("nicegui")


def test_a_full_disk_leaves_what_was_saved_and_is_told(tmp_path, monkeypatch):
    from fastapi import HTTPException  # noqa: PLC0415 - of the extra `label`

    from pipeline_lib.label.routes import answer  # noqa: PLC0415

    first = correct(4)
    path = write_frame_correction(tmp_path, first)

    def fail(_):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "fsync", fail)
    with pytest.raises(HTTPException) as caught:
        answer(lambda: write_frame_correction(tmp_path, correct(5)))
    assert (caught.value.status_code, caught.value.detail) == (500, "No space left on device")
    assert read_label_corrections(tmp_path) == (first,)
    assert {one.name for one in path.parent.iterdir()} == {path.name, ".lock"}
