"""Write the card of a bundle in Markdown: what was trained on what, errors, use, licence."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import yaml

from pipeline_lib.models.card import ModelCard, count_animals
from pipeline_lib.models.precision import PrecisionRecord
from pipeline_lib.models.regions import ConfidenceRegions
from pipeline_lib.models.zoo.manifest import Manifest
from pipeline_lib.models.zoo.used_settings import list_used_settings

# Metrics by bodypart, split and name, as in the table of an evaluation.
Metrics = Mapping[tuple[str, str, str], float]

ALL = "all"
_SHOWN = {
    "mean_error": "mean error (px)",
    "median_error": "median error (px)",
    "rmse": "root mean square error (px)",
    "map": "OKS mAP",
    "oks_map": "OKS mAP",
    "mean_average_precision": "OKS mAP",
}


@dataclass(frozen=True)
class Described:
    """Hold what the card for people tells of a bundle.

    Attributes
    ----------
    card, locator
        Cards of the network and of the network that finds the animals, if there is one.
    metrics
        Metrics on labelled frames; may be empty.
    networks
        Number of networks that predict together.
    regions
        Calibration of their confidence; None if there is none.
    precision
        What was measured of precisions; None if nothing was.
    """

    card: ModelCard
    locator: ModelCard | None
    metrics: Metrics
    networks: int = 1
    regions: ConfidenceRegions | None = None
    precision: PrecisionRecord | None = None

    @property
    def animals(self) -> int:
        """Return the largest number of animals found in a frame."""
        return count_animals(self.card, self.locator)


def format_readme(manifest: Manifest, described: Described) -> str:
    """Return the card as Markdown.

    Parameters
    ----------
    manifest
        The bundle's manifest; its members do not matter.
    described
        What to tell.
    """
    card, metrics = described.card, described.metrics
    sections = (
        f"# {manifest.name}\n",
        manifest.description or "No description was given.",
        "\n## Network\n",
        _format_table(_list_facts(card, described)),
        "\n## Training\n",
        _format_table(_list_training(card)),
        "\n## Errors on labelled frames\n",
        _format_metrics(metrics),
        "\n## Confidence\n",
        _describe_confidence(described.regions),
        "\n## Intended use\n",
        _describe_use(described),
        "\n## Use it\n",
        "Without labels, on a cohort (`config.yaml`):\n",
        _fence("yaml", _list_settings(manifest, described)),
        "\nOn one video:\n",
        _fence("", ["cohortpose predict --model FILE.cohortpose VIDEO"]),
        "\n## Licence\n",
        _describe_licence(manifest),
        "\n## Citation\n",
        manifest.citation or "No citation was given.",
    )
    return "\n".join(sections) + "\n"


def _list_facts(card: ModelCard, described: Described) -> list[tuple[str, object]]:
    skeleton = card.skeleton
    edges = ", ".join(f"{a}-{b}" for a, b in skeleton.edges)
    return [
        ("bodyparts", ", ".join(skeleton.bodyparts)),
        ("skeleton", edges or "none"),
        ("animals in a frame, at most", described.animals),
        ("backbone", card.backbone),
        ("parameters", card.parameters),
        ("stride (px)", card.stride),
        ("scale of its input", card.scale),
        ("mean, standard deviation of its input", f"{_join(card.mean)}; {_join(card.std)}"),
        ("window (network px)", card.window or "whole frames"),
        ("second network that finds animals", "yes" if described.locator else "no"),
        ("precision", described.precision.reason if described.precision else "not measured"),
        *(
            [("networks that predict together", described.networks)]
            if described.networks > 1
            else ()
        ),
    ]


def _count_networks(described: Described) -> list[tuple[str, object]]:
    several = described.networks > 1
    return [("networks that predict together", described.networks)] if several else []


def _list_training(card: ModelCard) -> list[tuple[str, object]]:
    record = card.training
    frames = [f"{count} {split}" for split, count in record.frames.items()]
    return [
        ("labelled frames", ", ".join(frames) or "unknown"),
        ("epochs", record.epochs),
        ("steps", record.steps),
        ("seed", record.seed),
        ("weights at the start", record.start_from or record.settings.get("weights", "unknown")),
        *((f"version of {name}", version) for name, version in card.versions.items()),
    ]


def _describe_use(described: Described) -> str:
    card = described.card
    animals = described.animals
    several = f"up to {animals} animals" if animals > 1 else "one animal"
    return (
        f"Predict {len(card.skeleton.bodyparts)} bodyparts of {several} in videos like those "
        "that it was trained on: the same species, view and imaging. On others, look at some "
        "frames before trusting it; the errors above say nothing about them."
    )


def _describe_confidence(regions: ConfidenceRegions | None) -> str:
    if regions is None:
        return "Not calibrated: a confidence is no probability."
    rows = [
        (f"{level:.0%}", f"{share:.1%}" if quantile is not None else "too few points to tell")
        for level, share, quantile in zip(
            regions.levels, regions.coverage, regions.quantiles, strict=True
        )
    ]
    told = (
        f"Calibrated on {regions.points} held-out points of {regions.images} images "
        "(`confidence.json`). Share of held-out points within the region of each level, measured "
        "on images that the calibration of a fold does not know:\n\n"
    )
    return told + _tabulate(("region", "points within"), rows)


def _list_settings(manifest: Manifest, described: Described) -> list[str]:
    """Return the settings that a config needs to run the bundle as it was used."""
    located = described.locator is not None
    used = list_used_settings(manifest.settings, described.animals, located=located)
    values = {"cohort": "cohort.tsv", "model": {"bundle": "FILE.cohortpose"}, **used}
    return yaml.safe_dump(values, sort_keys=False, allow_unicode=True).splitlines()


def _describe_licence(manifest: Manifest) -> str:
    if not manifest.licence:
        return "None was given: ask the authors before you use or publish anything of it."
    return manifest.licence


def _format_metrics(metrics: Metrics) -> str:
    names = [name for name in _SHOWN if any(found == name for _, _, found in metrics)]
    splits = list(dict.fromkeys(split for _, split, _ in metrics))
    if not names or not splits:
        return "None are known."
    parts = list(dict.fromkeys(part for part, _, _ in metrics))
    rows = [
        (part, split, *(_round(metrics.get((part, split, name))) for name in names))
        for split in splits
        for part in sorted(parts, key=lambda part: part != ALL)
        if any((part, split, name) in metrics for name in names)
    ]
    return _tabulate(("bodypart", "split", *(_SHOWN[name] for name in names)), rows)


def _format_table(facts: Iterable[tuple[str, object]]) -> str:
    return _tabulate(("what", "value"), facts)


def _tabulate(head: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join(f"| {' | '.join(_escape(cell) for cell in line)} |" for line in lines)


def _escape(value: object) -> str:
    return str(value).replace("|", "\\|").replace("\n", " ")


def _round(value: float | None) -> str:
    return "" if value is None else f"{value:.3g}"


def _join(values: Iterable[float]) -> str:
    return ", ".join(f"{value:g}" for value in values)


def _fence(language: str, lines: Iterable[str]) -> str:
    return "\n".join((f"```{language}", *lines, "```"))
