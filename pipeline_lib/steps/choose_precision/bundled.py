"""Take the precision of a bundle, which was chosen on the labels of those who wrote it."""

import logging
from collections.abc import Mapping, Sequence

from pipeline_lib.core.errors import ModelError
from pipeline_lib.core.layout import ModelFiles
from pipeline_lib.core.processor import describe_processor
from pipeline_lib.core.settings.videos import InferenceSettings
from pipeline_lib.io.publish import publish_file
from pipeline_lib.models.inference.predictor import PosePredictor, RuntimeOptions, count_gpus
from pipeline_lib.models.inference.tuning.rates import make_noise, measure_rates
from pipeline_lib.models.precision import Precision, PrecisionMeasurement, PrecisionRecord
from pipeline_lib.models.zoo.archive import Bundle
from pipeline_lib.models.zoo.manifest import QUANTISED, name_place
from pipeline_lib.steps.choose_precision.choice import LEAST_GAIN, choose
from pipeline_lib.steps.choose_precision.measure import Candidate, Load, list_candidates

logger = logging.getLogger(__name__)


def adopt_precision(
    bundle: Bundle,
    settings: InferenceSettings,
    networks: Mapping[str, ModelFiles],
    record: PrecisionRecord,
    load: Load,
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
    load
        Load the predictor of all networks, with a runtime.

    Raises
    ------
    ModelError
        If the network cannot be loaded in float32.
    """
    told = bundle.precision
    if told is None:
        return _refuse(record, "the bundle has no measured precision, and no labelled frames")
    wanted, told_reason = choose_bundled(told, record.stated, settings.runtime)
    candidates, without = list_candidates(settings, ("float32", wanted))
    if wanted == "float32":
        return _refuse(record, told_reason)
    if obstacle := _find_obstacle(told, wanted, record):
        return _refuse(record, obstacle)
    if wanted == "int8":
        _publish_quantised(bundle, networks)
    found = told.model_copy(
        update={
            "stated": record.stated,
            "networks": record.networks,
            "quantised": {place: told.quantised[place] for place in networks if wanted == "int8"},
            "reason": told_reason,
        }
    )
    loaded = _load_all(candidates, load)
    ways = [one for one in loaded if one[1] == wanted]
    if not ways:
        return _refuse(record, f"{wanted}, which the bundle has: {_explain(without, wanted)}")
    on_gpu = ways[0][0] == "torch"
    if on_gpu or (told.processor == describe_processor() and (told.runtime, wanted) in ways):
        runtime = "torch" if on_gpu else told.runtime
        return found.model_copy(update={"precision": wanted, "runtime": runtime})
    return _measure(found, loaded, wanted, record)


def choose_bundled(told: PrecisionRecord, stated: str, runtime: str) -> tuple[Precision, str]:
    """Return the precision that is wanted of a bundle, and why.

    Parameters
    ----------
    told
        What was measured where the bundle was written.
    stated
        ``auto``, or ``int8``, which is wanted whatever it costs. Where the writer asked for
        8-bit integers, `auto` judges them by what the writer measured.
    runtime
        Setting of the runtime: with ``auto``, a GPU is used if there is one.
    """
    precision, reason = told.precision, told.reason
    if stated == "int8":
        precision = "int8"
    elif told.stated == "int8":
        choice = choose(told.measured, "auto", told.points, told.judged_on)
        reason = choice.reason
        precision = choice.measurement.precision if choice.measurement else "float32"
    if stated == "auto" and precision == "int8" and runtime == "auto" and count_gpus():
        return "float32", "the GPU does not compute in 8-bit integers, which the bundle has"
    origin = f"chosen where the bundle was written ({reason})"
    return precision, origin if precision == "float32" else f"{precision}: {origin}"


def _find_obstacle(told: PrecisionRecord, wanted: Precision, record: PrecisionRecord) -> str:
    """Return why a precision of a bundle does not go with the networks of a run; else nothing."""
    if any(told.networks.get(place) != sha256 for place, sha256 in record.networks.items()):
        return "what the bundle has was measured with other networks"
    if wanted == "int8" and not told.quantised:
        return "the bundle has no network in 8-bit integers"
    return ""


def _explain(without: Sequence[PrecisionMeasurement], wanted: Precision) -> str:
    """Return why no runtime predicts in a precision."""
    reasons = {one.reason for one in without if one.precision == wanted}
    return "; ".join(sorted(reasons)) or (
        "the runtime of the settings does not compute in it, or cannot load the network"
    )


def _refuse(record: PrecisionRecord, why: str) -> PrecisionRecord:
    return record.model_copy(update={"reason": f"float32: {why}"})


def _publish_quantised(bundle: Bundle, networks: Mapping[str, ModelFiles]) -> None:
    for folder in bundle.networks:
        content = bundle.read(folder + QUANTISED)
        if name_place(folder) in networks and content is not None:
            with publish_file(networks[name_place(folder)].quantised) as part:
                part.write_bytes(content)


def _load_all(candidates: Sequence[Candidate], load: Load) -> dict[Candidate, PosePredictor]:
    """Return the predictor of each runtime and precision; those that fail to load are left out.

    Raises
    ------
    ModelError
        If the network cannot be loaded in float32.
    """
    loaded = dict[Candidate, PosePredictor]()
    for runtime, precision in candidates:
        try:
            loaded[runtime, precision] = load(RuntimeOptions(runtime, precision, threads=1))
        except ModelError as error:
            logger.warning("%s with %s: %s", precision, runtime, error)
            failed = error
    if not any(precision == "float32" for _, precision in loaded):
        raise failed
    return loaded


def _measure(
    found: PrecisionRecord,
    loaded: Mapping[Candidate, PosePredictor],
    wanted: Precision,
    record: PrecisionRecord,
) -> PrecisionRecord:
    """Return the record of a bundle with the speeds of this processor."""
    rates = measure_rates(loaded, make_noise())
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
        plain: dict[str, object] = {"precision": "float32", "runtime": best["float32"][1]}
        return found.model_copy(update={**here, **plain, "quantised": {}, "reason": reason})
    own = {"precision": wanted, "runtime": best[wanted][1], "reason": f"{found.reason}; {told}"}
    return found.model_copy(update={**here, **own})
