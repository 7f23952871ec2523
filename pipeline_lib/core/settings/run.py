"""Hold all settings of a run; the modules beside define the sections of each subject.

They are the only place for each key, its type, its default and its meaning: ``config/README.md``
and ``workflow/schemas/config.schema.yaml`` are written from them by ``make documents``; a test
holds them to it.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Self

from pydantic import Field, model_validator

from pipeline_lib.core.cohort import count_existing
from pipeline_lib.core.settings.base import AUTO, Auto, PathText, ResultsText, Settings
from pipeline_lib.core.settings.cameras import CalibrationSettings, TriangulationSettings
from pipeline_lib.core.settings.corrections import CorrectionSettings, holds_label_corrections
from pipeline_lib.core.settings.individuals import (
    AssemblySettings,
    IndividualSettings,
    TrackingSettings,
)
from pipeline_lib.core.settings.model import ModelSettings
from pipeline_lib.core.settings.network import (
    PLACEMENT,
    EvaluationSettings,
    FrameSettings,
    LabelSource,
    LocatingSettings,
    StatedLocating,
    StatedTargets,
    StatedTraining,
    TargetSettings,
    TrainingSettings,
    name_precision_in_keys,
)
from pipeline_lib.core.settings.outputs.costs import CostSettings
from pipeline_lib.core.settings.outputs.kinematics import KinematicsSettings
from pipeline_lib.core.settings.outputs.live import LiveSettings
from pipeline_lib.core.settings.outputs.quality import QualitySettings
from pipeline_lib.core.settings.outputs.rendering import RenderingSettings
from pipeline_lib.core.settings.overrides import SECTIONS, VideoOverride, override_section
from pipeline_lib.core.settings.refinement import RefinementSettings
from pipeline_lib.core.settings.training.unsupervised import UnsupervisedSettings
from pipeline_lib.core.settings.videos import (
    ExportSettings,
    FilteringSettings,
    InferenceSettings,
    ReadingSettings,
    ReportSettings,
)
from pipeline_lib.core.skeleton import CENTRE, Skeleton

_FINEST_STRIDE = 4


class Config(Settings):
    """Hold all settings of a run. Paths are relative to Snakemake's `--directory`.

    Some may be `auto`: `pipeline_lib.io.chosen_settings.resolve_settings` puts in their place the
    values that were chosen from the labels.
    """

    cohort: PathText = Field(description="The cohort sheet (TSV), one row per video.")
    results: ResultsText = Field(
        "results", description="Folder that receives everything, and holds nothing else."
    )
    skeleton: Skeleton = Skeleton()
    individuals: IndividualSettings = IndividualSettings()
    reading: ReadingSettings = ReadingSettings()
    frames: FrameSettings = FrameSettings()
    labels: tuple[LabelSource, ...] = ()
    corrections: CorrectionSettings = CorrectionSettings()
    model: ModelSettings = ModelSettings()
    targets: StatedTargets = StatedTargets()
    training: StatedTraining = StatedTraining()
    locating: StatedLocating = StatedLocating()
    evaluation: EvaluationSettings = EvaluationSettings()
    inference: InferenceSettings = InferenceSettings()
    assembly: AssemblySettings = AssemblySettings()
    tracking: TrackingSettings = TrackingSettings()
    filtering: FilteringSettings = FilteringSettings()
    exports: ExportSettings = ExportSettings()
    kinematics: KinematicsSettings = KinematicsSettings()
    rendering: RenderingSettings = RenderingSettings()
    calibration: CalibrationSettings = CalibrationSettings()
    triangulation: TriangulationSettings = TriangulationSettings()
    refinement: RefinementSettings = RefinementSettings()
    quality: QualitySettings = QualitySettings()
    overrides: tuple[VideoOverride, ...] = ()
    report: ReportSettings = ReportSettings()
    costs: CostSettings = CostSettings()
    live: LiveSettings = LiveSettings()

    @model_validator(mode="before")
    @classmethod
    def _let_goal_choose(cls, values: Any) -> Any:  # noqa: ANN401 - not checked yet
        """Let a network for live cameras run in the precision that is measured to be best."""
        training = values.get("training") if isinstance(values, Mapping) else None
        if not isinstance(training, Mapping) or training.get("goal") != "live":
            return values
        measured = {"precision": AUTO}
        live = _put_below(values.get("live"), {"prediction": measured})
        return {**values, "inference": _put_below(values.get("inference"), measured), "live": live}

    @property
    def label_sources(self) -> tuple[LabelSource, ...]:
        """Return the label sources of the iterations that the network learns from."""
        return tuple(one for one in self.labels if one.iteration <= self.training.iteration)

    @property
    def has_labels(self) -> bool:
        """Tell whether there is anything to learn from: label sources, or corrected labels."""
        return bool(self.labels) or holds_label_corrections(Path(self.corrections.path))

    @property
    def has_network(self) -> bool:
        """Tell whether a network is trained, or comes from a bundle."""
        return not self.has_only_existing and (self.has_labels or self.model.bundle is not None)

    @property
    def has_existing(self) -> bool:
        """Tell whether a row of the sheet has poses that another tool found."""
        return count_existing(Path(self.cohort)).existing > 0

    @property
    def has_only_existing(self) -> bool:
        """Tell whether every row of the sheet has such poses, so that no network is needed."""
        found = count_existing(Path(self.cohort))
        return 0 < found.existing == found.rows

    @property
    def has_poses(self) -> bool:
        """Tell whether videos get poses, of a network or of another tool."""
        return self.has_network or self.has_existing

    @property
    def calibrates(self) -> bool:
        """Tell whether an evaluation calibrates the confidence of the network."""
        return self.training.ensemble > 1 or self.evaluation.confidence_regions

    @property
    def top_down(self) -> bool:
        """Tell whether each of several animals is predicted in a window of its own."""
        return self.individuals.max > 1 and self.individuals.method == "top-down"

    @property
    def uses_locator(self) -> bool:
        """Tell whether there is a second network, which finds the animals."""
        chosen = self.locating.enabled == AUTO and self.individuals.max == 1
        return self.top_down or self.locating.enabled is True or chosen

    @property
    def uses_affinity(self) -> bool:
        """Tell whether keypoints are joined along part affinity fields."""
        return self.individuals.max > 1 and not self.top_down

    def target_settings(self) -> dict[str, Any]:
        """Return the settings of `targets` that the stored targets depend on."""
        fields = set() if self.uses_affinity else {"part_affinity_width"}
        return self.targets.model_dump(mode="json", exclude=fields)

    def training_settings(self) -> dict[str, Any]:
        """Return the settings that a network depends on: neither its name nor the hardware."""
        weights = {
            "part_affinity_weight": self.uses_affinity,
            "identity_weight": self.individuals.identity,
        }
        unused = {name for name, used in weights.items() if not used}
        # A training from scratch has the same key as before there was another one.
        unused |= set() if self.training.start_from else {"start_from"}
        unused |= set() if self.training.start_bodyparts else {"start_bodyparts"}
        # Networks of before there were these have the same keys.
        unused |= {"head_context"} if self.training.head_context == "none" else set()
        unused |= {"head_stages"} if self.training.head_stages == 1 else set()
        unused |= {"unsupervised", *self.training.name_unused()}
        values = self.training.model_dump(mode="json", exclude={*PLACEMENT, *unused})
        values["precision"] = name_precision_in_keys(self.training.precision)
        # The clips have a key of their own.
        own = self.training.unsupervised
        return {**values, "unsupervised": own.loss_settings()} if own.enabled else values

    def clip_settings(self) -> dict[str, Any]:
        """Return the settings that the clips without labels depend on."""
        return {
            "training": {"unsupervised": self.training.unsupervised.clip_settings()},
            "targets": {"scale": self.targets.scale},
        }

    def for_video(self, video: str) -> Self:
        """Return the settings of one video: those of the cohort, changed by `overrides`."""
        changed = {
            name: override_section(name, getattr(self, name), getattr(one, name))
            for one in self.overrides
            if video in one.videos
            for name in SECTIONS
            if getattr(one, name)
        }
        return self.model_copy(update=changed) if changed else self

    def for_locator(self) -> Self:
        """Return the settings of the network that locates the animal in small whole frames.

        For several animals it learns only their centres, with the finest stride there is, so that
        neighbouring animals remain separate.
        """
        own = self.locating.model_dump(include={"backbone", "weights", "epochs"}, exclude_none=True)
        if "epochs" in own:
            # Stated, and so no plateau shortens it.
            own["stop"] = self.training.stop.model_copy(update={"plateau": False})
        if own.get("weights") == "none":
            own["freeze"] = False
        targets: dict[str, Any] = {"scale": self.locating.scale}
        if self.top_down:
            stride = self.targets.stride
            targets |= {
                "stride": _FINEST_STRIDE,
                "sigma": _refine(self.targets.sigma, stride),
                "pos_dist_thresh": _refine(self.targets.pos_dist_thresh, stride),
            }
        return self.model_copy(
            update={
                "skeleton": Skeleton(bodyparts=(CENTRE,)) if self.top_down else self.skeleton,
                "targets": self.targets.model_copy(update=targets),
                # It learns from labels alone.
                "training": self.training.model_copy(
                    update={"crop": None, "unsupervised": UnsupervisedSettings(), **own}
                ),
            }
        )

    def list_contradictions(self) -> list[str]:
        """Return the contradictions between sections, one line each."""
        problems = list(self.costs.list_problems())
        if self.model.bundle is not None and self.labels:
            problems.append(
                "`model.bundle`: a run of a bundle learns nothing from `labels`: remove one of "
                "them, or start a training from the bundle with `training.start_from`"
            )
        if self.model.bundle is not None and self.training.ensemble > 1:
            problems.append(
                f"`training.ensemble`: {self.training.ensemble}, but a run of a bundle trains no "
                "network, and uses as many as the bundle has: leave it out"
            )
        kalman = self.filtering.method == "ensemble-kalman"
        if kalman and self.training.ensemble == 1 and self.model.bundle is None:
            problems.append(
                "`filtering.method`: ensemble-kalman smooths what several networks predict, but "
                "`training.ensemble` is 1: set it to 3, say, or choose another method"
            )
        if self.locating.enabled is True and self.individuals.max > 1 and not self.top_down:
            problems.append(
                "`locating.enabled`: a window shows one animal, but `individuals.max` is "
                f"{self.individuals.max}: set `individuals.method: top-down`, which predicts in a "
                "window around each"
            )
        if self.refinement.judges_views_alone and not self.triangulation.enabled:
            problems.append(
                "`refinement.criteria`: `views` alone judges sessions, which are not triangulated: "
                "set `triangulation.enabled: true`, or name other criteria"
            )
        problems += self._list_unsupervised_problems()
        problems += self._list_override_problems()
        if not self.top_down:
            return problems
        if self.skeleton.unique_bodyparts:
            problems.append(describe_unique_problem(self.skeleton.unique_bodyparts))
        if self.individuals.identity:
            problems.append(
                "`individuals.identity`: is learned bottom-up only: set `individuals.method: "
                "bottom-up`, or `individuals.identity` to false"
            )
        if self.training.crop not in (None, AUTO):
            problems.append(
                f"`training.crop`: {self.training.crop}, but top-down the network is trained on "
                f"windows of `locating.window` ({self.locating.window}): leave it out"
            )
        return problems

    def _list_override_problems(self) -> list[str]:
        problems, seen = [], set[tuple[str, str]]()
        for place, one in enumerate(self.overrides):
            for name in SECTIONS:
                given = getattr(one, name)
                try:
                    override_section(name, getattr(self, name), given)
                except ValueError as error:
                    problems.append(f"`overrides.{place}.{name}`: {error}")
                own = {(video, name) for video in one.videos if given}
                if twice := sorted(own & seen):
                    problems.append(f"`overrides`: two of them change `{name}` of {twice[0][0]}")
                seen |= own
        return problems

    def _list_unsupervised_problems(self) -> list[str]:
        own, known = self.training.unsupervised, self.skeleton.bodyparts
        problems = []
        if own.enabled and self.individuals.max > 1:
            problems.append(
                "`training.unsupervised`: frames without labels teach networks of one animal "
                f"alone, but `individuals.max` is {self.individuals.max}: set its weights to 0"
            )
        named = {"views": [name for view in own.views for name in view], "bodyparts": own.bodyparts}
        for setting, names in named.items():
            strange = [name for name in names if known and name not in known]
            if strange:
                problems.append(
                    f"`training.unsupervised.{setting}`: `skeleton.bodyparts` has no {strange[0]!r}"
                )
        return problems


class ResolvedConfig(Config):
    """Hold all settings of a run with every value fixed: none is `auto`."""

    targets: TargetSettings = TargetSettings()
    training: TrainingSettings = TrainingSettings()
    locating: LocatingSettings = LocatingSettings()


def _put_below(stated: Any, defaults: Mapping[str, Any]) -> Any:  # noqa: ANN401 - not checked yet
    """Return stated settings, completed with defaults where nothing is stated."""
    if stated is None:
        return dict(defaults)
    if not isinstance(stated, Mapping):
        return stated
    inner = {
        name: _put_below(stated[name], value)
        for name, value in defaults.items()
        if name in stated and isinstance(value, Mapping)
    }
    return {**defaults, **stated, **inner}


def _refine(width: float | Auto, stride: int | Auto) -> float | Auto:
    """Return a width for the finest stride; as it is where a value is not fixed yet."""
    if isinstance(width, str) or isinstance(stride, str):
        return width
    return width * _FINEST_STRIDE / stride


def describe_unique_problem(names: tuple[str, ...]) -> str:
    """Explain that top-down networks find no unique bodyparts, of the config or the labels."""
    return (
        f"unique bodyparts ({', '.join(names)}) belong to no animal, so windows around animals do "
        "not show them: set `individuals.method: bottom-up`, or leave them out of "
        "`skeleton.bodyparts`"
    )
