"""Run the stage `calibrate`: read or make every calibration that sessions of the cohort name.

A calibration that is bad or missing costs only its sessions: it is a row with the reason. One
whose source and settings are unchanged is not made again.
"""

import logging
import time
from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np

from pipeline_lib.core import versions
from pipeline_lib.core.cameras.calibration import Calibration
from pipeline_lib.core.errors import (
    CalibrationError,
    CohortposeError,
    RefusedCalibrationError,
    StoreError,
)
from pipeline_lib.core.layout import Results
from pipeline_lib.core.process import count_cores, limit_cores
from pipeline_lib.core.settings.cameras import CalibrationSettings
from pipeline_lib.core.settings.reading import hash_settings
from pipeline_lib.core.settings.run import Config
from pipeline_lib.core.stages import STAGES
from pipeline_lib.core.tables import CALIBRATION_COLUMNS, CAMERA_COLUMNS, CalibrationStatus
from pipeline_lib.core.untrusted.names import natural_order
from pipeline_lib.io.calibrations.files import write_calibration
from pipeline_lib.io.checksums import hash_path
from pipeline_lib.io.stage_tables import read_table, write_table
from pipeline_lib.io.video.containers.formats import VIDEO_SUFFIXES
from pipeline_lib.steps.apart import Limits, Lost, examine_apart
from pipeline_lib.steps.calibrate.check import check_calibration
from pipeline_lib.steps.calibrate.judge import Finding
from pipeline_lib.steps.calibrate.run import CalibrationRequest, Quality, calibrate
from pipeline_lib.steps.calibrate.sources import IMAGES
from pipeline_lib.steps.provenance.checksums import Published, record_checksums
from pipeline_lib.steps.runs.plan import read_plan
from pipeline_lib.steps.runs.sessions.shards import read_sessions, require_triangulation

_log = logging.getLogger(__name__)

Row = dict[str, Any]

# Of one calibration from images of a board.
_LIMITS = Limits(seconds=6 * 3600.0, gigabytes=16.0)
# Each of them uses several cores for most of its time.
_MOST_PROCESSES = 4
_KEPT = (CalibrationStatus.DONE, CalibrationStatus.REFUSED)


def run_calibrate(config: Config, results: Results) -> None:
    """Read or make the calibrations of all planned sessions, and publish one row for each.

    Parameters
    ----------
    config
        Settings of the run: `calibration`.
    results
        The results folder.

    Raises
    ------
    ConfigError
        If sessions are not to be triangulated.
    StoreError
        If nothing was planned.
    """
    require_triangulation(config)
    sources = read_sessions(results, read_plan(results)).sources
    settings = STAGES["calibrate"].hash_settings(config)
    record = _Record(results, settings)
    rows: dict[str, Row] = {}
    waiting: list[str] = []
    for name, (source, checksum) in sources.items():
        known = record.find(name, checksum)
        if known is None and Path(source).is_dir():
            waiting.append(name)
            continue
        rows[name] = known or _read(config.calibration, results, name, Path(source))
    rows |= _make_all(config.calibration, results, record, waiting, sources)
    for name, row in rows.items():
        row |= {"source_checksum": sources[name][1], "settings": settings}
        if row["status"] != CalibrationStatus.DONE:
            _log.warning("calibration %s: %s: %s", name, row["status"], row["reason"])
            # Nobody may take one of an earlier run for this one.
            results.calibration(name).unlink(missing_ok=True)
        elif row["warnings"]:
            _log.warning("calibration %s: %s", name, row["warnings"])
    ended = [rows[name] for name in sorted(rows, key=natural_order)]
    record.write(ended)
    _record_checksums(results, ended)
    write_table(results.calibrations, CALIBRATION_COLUMNS, ended)
    done = sum(row["status"] == CalibrationStatus.DONE for row in ended)
    _log.info("calibrate: %d of %d calibrations done", done, len(ended))


def list_board_files(folder: Path) -> list[Path]:
    """Return what shows a board in a folder: images, videos, and folders of images.

    Raises
    ------
    CalibrationError
        If there is nothing of these.
    """
    found = [
        path
        for path in sorted(folder.iterdir(), key=lambda one: natural_order(one.name))
        if not path.name.startswith(".") and _shows_boards(path)
    ]
    if not found:
        raise CalibrationError(
            str(folder),
            ["holds no board: expected a video, or a folder of images, for each camera"],
        )
    return found


def identify_calibration(settings: CalibrationSettings, source: Path) -> str:
    """Return the key of a calibration: the hash of all that its cameras depend on.

    Parameters
    ----------
    settings
        Those of boards count for folders only; the error that refuses a calibration does not
        change it.
    source
        File or folder.

    Raises
    ------
    OSError, CalibrationError
        If it cannot be read.
    """
    if not source.is_dir():
        return hash_settings(hash_path(source), versions.CALIBRATE)
    shown = [f"{path.name} {hash_path(path)}" for path in list_board_files(source)]
    chosen = settings.model_dump(mode="json", exclude={"path", "max_error"})
    return hash_settings(*shown, chosen, versions.CALIBRATE)


class _Record:
    """Keep the rows of calibrations, and what each was made from.

    The table of the stage has them, too, but Snakemake removes it before a job.
    """

    def __init__(self, results: Results, settings: str) -> None:
        self._results, self._settings = results, settings
        try:
            rows = read_table(results.calibration_record, CALIBRATION_COLUMNS)
        except StoreError:
            rows = []
        self._rows: dict[str, Row] = {row["calibration"]: dict(row) for row in rows}

    def find(self, name: str, checksum: str = "", key: str = "") -> Row | None:
        """Return the row of a calibration whose source, or key, is what it was; else None."""
        row = self._rows.get(name)
        if row is None or row["settings"] != self._settings or row["status"] not in _KEPT:
            return None
        known = checksum and row["source_checksum"] == checksum
        if not known and not (key and row["key"] == key):
            return None
        if row["status"] == CalibrationStatus.DONE and not all(
            path.exists() for path in _list_files(self._results, name)
        ):
            return None
        return {column: row[column] for column in CALIBRATION_COLUMNS}

    def find_by_content(self, name: str, settings: CalibrationSettings, source: Path) -> Row | None:
        """Return the row of a calibration whose images are what they were, whatever their times."""
        if name not in self._rows:
            return None
        return self.find(name, key=identify_calibration(settings, source))

    def write(self, rows: Sequence[Row]) -> None:
        """Publish the record; calibrations that no session names any more are kept."""
        self._rows |= {row["calibration"]: row for row in rows}
        write_table(self._results.calibration_record, CALIBRATION_COLUMNS, self._rows.values())


def _make_all(
    settings: CalibrationSettings,
    results: Results,
    record: _Record,
    names: Sequence[str],
    sources: Mapping[str, tuple[str, str]],
) -> Iterator[tuple[str, Row]]:
    """Calibrate from images of boards, each in a process of its own."""
    new: list[str] = []
    for name in names:
        folder = Path(sources[name][0])
        try:
            list_board_files(folder)
            known = record.find_by_content(name, settings, folder)
        except (OSError, CalibrationError) as error:
            known = _fail(name, folder, _join(error))
        if known is None:
            new.append(name)
        else:
            yield name, known
    if not new:
        return
    processes = min(_MOST_PROCESSES, count_cores(), len(new))
    by_source = {sources[name][0]: name for name in new}
    examined = examine_apart(
        list(by_source),
        partial(_make, settings, results, by_source),
        processes=processes,
        limits=_LIMITS,
        prepare=partial(limit_cores, max(1, count_cores() // processes)),
    )
    for (source, name), row in zip(by_source.items(), examined, strict=True):
        lost = _fail(name, Path(source), row.reason) if isinstance(row, Lost) else row
        yield name, lost


def _make(
    settings: CalibrationSettings, results: Results, names: Mapping[str, str], source: str
) -> Row:
    """Calibrate from a folder of board images or videos; return the row of the table."""
    name, folder, began = names[source], Path(source), time.perf_counter()
    key = ""
    try:
        shown = list_board_files(folder)
        key = identify_calibration(settings, folder)
        calibration, qualities, findings = calibrate(shown, _request(settings))
        cameras = [_describe_quality(calibration, one) for one in qualities]
        row = _publish(results, name, calibration, cameras, findings)
    except RefusedCalibrationError as error:
        row = {"calibration": name, "status": CalibrationStatus.REFUSED, "reason": _join(error)}
        # Nobody may take the table of an earlier calibration for one of these images.
        results.calibration_quality(name).unlink(missing_ok=True)
    except CohortposeError as error:
        return _fail(name, folder, _join(error))
    except Exception as error:  # noqa: BLE001 - odd images must not end the others
        _log.exception("calibration %s failed", name)
        return _fail(name, folder, f"unexpected {type(error).__name__}: {error}")
    seconds = time.perf_counter() - began
    return {**row, "source": source, "kind": "board", "key": key, "seconds": seconds}


def _read(settings: CalibrationSettings, results: Results, name: str, source: Path) -> Row:
    """Read and judge a calibration that was given; return the row of the table."""
    began = time.perf_counter()
    try:
        if not source.exists():
            return _fail(name, source, f"{source}: no such file or folder")
        calibration, findings = check_calibration(
            source, [], unit=None, max_error=settings.max_error
        )
        key = identify_calibration(settings, source)
        cameras = [_describe_camera(calibration, one) for one in calibration.names]
        row = _publish(results, name, calibration, cameras, findings)
    except CohortposeError as error:
        return _fail(name, source, _join(error))
    except OSError as error:
        return _fail(name, source, f"{source}: cannot be read: {error.strerror}")
    seconds = time.perf_counter() - began
    return {**row, "source": str(source), "kind": "file", "key": key, "seconds": seconds}


def _publish(
    results: Results,
    name: str,
    calibration: Calibration,
    cameras: Sequence[Row],
    findings: Sequence[Finding],
) -> Row:
    """Write a calibration and the table of its cameras; one that is refused has only the latter."""
    refusals = [one.text for one in findings if one.refuses]
    write_table(results.calibration_quality(name), CAMERA_COLUMNS, cameras)
    if not refusals:
        write_calibration(results.calibration(name), calibration, "aniposelib")
    errors = [value for value in calibration.errors.values() if np.isfinite(value)]
    coverages = [float(one["coverage"]) for one in cameras if one.get("coverage") is not None]
    return {
        "calibration": name,
        "status": CalibrationStatus.REFUSED if refusals else CalibrationStatus.DONE,
        "reason": "; ".join(refusals),
        "warnings": "; ".join(one.text for one in findings if not one.refuses),
        "cameras": ", ".join(calibration.names),
        "error": float(np.sqrt(np.mean(np.square(errors)))) if errors else None,
        "coverage": min(coverages) if coverages else None,
        "unit": calibration.unit or "",
    }


def _fail(name: str, source: Path, reason: str) -> Row:
    return {
        "calibration": name,
        "status": CalibrationStatus.FAILED,
        "reason": reason,
        "source": str(source),
        "kind": "board" if source.is_dir() else "file",
        "key": "",
    }


def _join(error: Exception) -> str:
    """Return an error as one line."""
    if isinstance(error, CalibrationError):
        return f"{error.where}: {'; '.join(error.problems)}"
    return str(error)


def _request(settings: CalibrationSettings) -> CalibrationRequest:
    return CalibrationRequest(
        settings.board.make_board(),
        settings.lens,
        settings.coefficients,
        settings.board.unit,
        settings.every,
        settings.max_error,
    )


def _describe_camera(calibration: Calibration, name: str) -> Row:
    camera = calibration.find(name)
    width, height = camera.size
    facts = {"camera": name, "width": width, "height": height, "model": camera.model}
    return {**facts, "rms_error": calibration.errors.get(name)}


def _describe_quality(calibration: Calibration, quality: Quality) -> Row:
    measured = quality._asdict()
    return {**_describe_camera(calibration, quality.camera), **measured}


def _shows_boards(path: Path) -> bool:
    if path.is_dir():
        return any(one.suffix.lower() in IMAGES for one in path.iterdir())
    return path.suffix.lower() in IMAGES | VIDEO_SUFFIXES


def _list_files(results: Results, name: str) -> tuple[Path, ...]:
    return results.calibration(name), results.calibration_quality(name)


def _record_checksums(results: Results, rows: Sequence[Row]) -> None:
    published = chain.from_iterable(
        (
            Published("calibration", path, key=row["key"])
            for path in _list_files(results, row["calibration"])
        )
        for row in rows
        if row["status"] == CalibrationStatus.DONE
    )
    record_checksums(results.checksums, results.root, list(published))
