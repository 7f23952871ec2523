"""Take the precision of a bundle, which was chosen on the labels of those who wrote it."""

from collections.abc import Mapping

from pipeline_lib.core.layout import ModelFiles
from pipeline_lib.core.processor import describe_processor
from pipeline_lib.core.settings.videos import InferenceSettings
from pipeline_lib.io.publish import publish_file
from pipeline_lib.models.inference.tuning.runtime_choice import measure_network
from pipeline_lib.models.precision import Precision, PrecisionRecord
from pipeline_lib.models.zoo.archive import Bundle
from pipeline_lib.models.zoo.manifest import QUANTISED, name_place
from pipeline_lib.steps.choose_precision.choice import LEAST_GAIN, choose
from pipeline_lib.steps.choose_precision.measure import Candidate, list_candidates


def adopt_precision(
    bundle: Bundle,
    settings: InferenceSettings,
    networks: Mapping[str, ModelFiles],
    record: PrecisionRecord,
) -> PrecisionRecord:
    """Return the precision that the network of a bundle runs with.

    It is the one that was chosen where the bundle was written, if this machine computes in it. On
    another processor its speed is measured first. Errors are not: a bundle brings no labels.

    Parameters
    ----------
    bundle
        The bundle.
    settings
        Settings of the inference, whose precision is ``auto`` or ``int8``.
    networks
        Imported networks by their folder below that of the model; those in 8-bit integers are
        published beside them.
    record
        Record with float32 and without a reason, to be filled.

    Raises
    ------
    ModelError
        If a network cannot be loaded.
    """
    told = bundle.precision
    if told is None:
        return _refuse(record, "the bundle has no measured precision, and no labelled frames")
    wanted, told_reason = _choose(told, record.stated)
    candidates, without = list_candidates(settings, ("float32", wanted))
    ways = [one for one in candidates if one[1] == wanted]
    if wanted == "float32":
        return _refuse(record, f"chosen where the bundle was written ({told_reason})")
    if obstacle := _find_obstacle(told, wanted, record):
        return _refuse(record, obstacle)
    if not ways:
        reasons = {one.reason for one in without if one.precision == wanted}
        why = "; ".join(sorted(reasons)) or "the runtimes of this machine lack it"
        return _refuse(record, f"{wanted}, which the bundle has, cannot be had here: {why}")
    if wanted == "int8":
        _publish_quantised(bundle, networks)
    found = told.model_copy(
        update={
            "stated": record.stated,
            "networks": record.networks,
            "quantised": {place: told.quantised[place] for place in networks if wanted == "int8"},
            "reason": f"{wanted}: chosen where the bundle was written ({told_reason})",
        }
    )
    on_gpu = ways[0][0] == "torch"
    if on_gpu or (told.processor == describe_processor() and (told.runtime, wanted) in ways):
        runtime = "torch" if on_gpu else told.runtime
        return found.model_copy(update={"precision": wanted, "runtime": runtime})
    return _measure(found, networks["."], candidates, record)


def _find_obstacle(told: PrecisionRecord, wanted: Precision, record: PrecisionRecord) -> str:
    """Return why a precision of a bundle does not go with the networks of a run; else nothing."""
    if any(told.networks.get(place) != sha256 for place, sha256 in record.networks.items()):
        return "what the bundle has was measured with other networks"
    if wanted == "int8" and not told.quantised:
        return "the bundle has no network in 8-bit integers"
    return ""


def _refuse(record: PrecisionRecord, why: str) -> PrecisionRecord:
    return record.model_copy(update={"reason": f"float32: {why}"})


def _choose(told: PrecisionRecord, stated: str) -> tuple[Precision, str]:
    """Return the precision that is wanted of a bundle, and what those who wrote it measured.

    Those who asked for 8-bit integers have them whatever they cost; `auto` does not want these.
    """
    if stated == "int8" or told.stated == "auto":
        return ("int8" if stated == "int8" else told.precision), told.reason
    choice = choose(told.measured, "auto", told.points, told.judged_on)
    return (choice.measurement.precision if choice.measurement else "float32"), choice.reason


def _publish_quantised(bundle: Bundle, networks: Mapping[str, ModelFiles]) -> None:
    for folder in bundle.networks:
        if name_place(folder) not in networks:
            continue
        content = bundle.read(folder + QUANTISED)
        if content is None:
            raise ValueError(f"{bundle.path} has no {folder}{QUANTISED}")
        with publish_file(networks[name_place(folder)].quantised) as part:
            part.write_bytes(content)


def _measure(
    found: PrecisionRecord,
    files: ModelFiles,
    candidates: list[Candidate],
    record: PrecisionRecord,
) -> PrecisionRecord:
    """Return the record of a bundle with the speeds of this processor."""
    rates = measure_network(files, candidates)
    wanted = next(precision for _, precision in candidates if precision != "float32")
    best = {
        precision: max(
            (rate, runtime) for (runtime, own), rate in rates.items() if own == precision
        )
        for precision in ("float32", wanted)
    }
    gain = best[wanted][0] / best["float32"][0]
    measured = tuple(
        one.model_copy(update={"frames_per_second": round(rates[one.runtime, one.precision], 2)})
        for one in found.measured
        if (one.runtime, one.precision) in rates
    )
    here = {"processor": record.processor, "versions": record.versions, "measured": measured}
    told = f"{gain:.2f} times the frames/s of float32 on this processor"
    if record.stated == "auto" and gain < LEAST_GAIN:
        reason = f"float32: {wanted}, which the bundle has, has {told}"
        plain: dict[str, object] = {
            "precision": "float32",
            "runtime": best["float32"][1],
            "quantised": {},
        }
        return found.model_copy(update={**here, **plain, "reason": reason})
    own = {"precision": wanted, "runtime": best[wanted][1], "reason": f"{found.reason}; {told}"}
    return found.model_copy(update={**here, **own})
