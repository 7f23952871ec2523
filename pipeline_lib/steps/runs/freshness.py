"""Tell whether the results of a stage are up to date with settings and files.

Results are known by their keys (`pipeline_lib.steps.runs.result_keys`), stages by their key files
(`pipeline_lib.steps.runs.stage_keys`). Imports are light, for `status`.
"""

from collections.abc import Callable, Mapping
from pathlib import Path

from pipeline_lib.core.cohort import Video
from pipeline_lib.core.errors import CohortposeError
from pipeline_lib.core.layout import Results
from pipeline_lib.core.settings.run import Config
from pipeline_lib.core.stages import STAGES
from pipeline_lib.io.checksums import describe_state, measure_file
from pipeline_lib.steps.runs.decision_tables import DecisionTables
from pipeline_lib.steps.runs.plan import read_manifest
from pipeline_lib.steps.runs.result_keys import (
    expect_pose_key,
    locate_results,
    make_network_keys,
    probing_key,
)
from pipeline_lib.steps.runs.stage_keys import find_stage_key

Row = Mapping[str, str]

# The stages of the whole cohort that come before inference.
_STAGES_BEFORE = tuple(STAGES)[: tuple(STAGES).index("infer")]
_NETWORK_STAGES = tuple(
    name for name in _STAGES_BEFORE if STAGES[name].needs_labels and name != "evaluate"
)
_CHANGED_FILE = "the file has changed, or the sheet names another file"
_CHANGED_SETTINGS = "was made with other settings, another network or another version of the step"


class Freshness:
    """Compare the results of a cohort with their present sources.

    Parameters
    ----------
    config, results
        The run. Results of a version that left no key files are judged by their keys alone.
    """

    def __init__(self, config: Config, results: Results) -> None:
        self._config, self._results = config, results
        self._outdated = [name for name in STAGES if self._is_outdated(name)]
        self._network = self._find_network()
        self._manifests: dict[str, dict[str, Row]] = {}
        self._decisions = DecisionTables(config)

    def explain(self, video: Video, shard: str, stage: str, records: Mapping[str, Row]) -> str:
        """Explain why the result of a stage is out of date; empty if it is up to date.

        Parameters
        ----------
        video
            The video, as the sheet has it.
        shard
            Its shard.
        stage
            One of `pipeline_lib.core.stages.VIDEO_STAGES`.
        records
            Its rows in the tables of the stages, by stage.
        """
        if stage == "probe":
            return self._explain_probe(video, shard, records["probe"])
        missing = [name for name in self._outdated if name in _NETWORK_STAGES]
        existing = records.get("probe", {}).get("poses_fingerprint")
        if stage == "infer" and missing and not existing:
            return f"{missing[0]} has not run with the present settings and labels"
        own = self._config.for_video(video.video)
        if stage in self._outdated or not self._has_key(stage, records, own):
            return f"{stage} {_CHANGED_SETTINGS}"
        if stage == "correct" and not self._decisions.is_current(video.video, records[stage]):
            return "people have decided about its tracks since"
        if records[stage].get("key") and STAGES[stage].makes(records[stage]):
            paths = locate_results(self._config, self._results, stage, video.video)
            lost = [path for path in paths if not path.exists()]
            return f"{lost[0]} is missing" if lost else ""
        return ""

    def _has_key(self, stage: str, records: Mapping[str, Row], own: Config) -> bool:
        """Tell whether a result has the expected key; True if no key can be expected.

        Settings are those of the video.
        """
        videos = STAGES[stage].videos
        if stage != "infer" and videos and videos.key is None:
            # Its key needs more than the ledger reads: the result names its source's key.
            exported = records[stage].get("source_key")
            now = records.get(videos.source(self._config), {}).get("key")
            return not exported or not now or exported == now
        found, expected = records[stage].get("key"), self._expect_key(stage, records, own)
        return not found or not expected or found == expected

    def _explain_probe(self, video: Video, shard: str, record: Row) -> str:
        planned = self._read_manifest(shard).get(video.video)
        if planned is not None:
            facts = (planned["bytes"], planned["modified_ns"])
            same_path = Path(planned["path"]).absolute() == video.path.absolute()
            if not same_path or facts != tuple(map(str, measure_file(video.path))):
                return _CHANGED_FILE
            named = video.poses and (planned.get("poses"), planned.get("poses_state"))
            if named and named != (video.poses, describe_state(Path(video.poses)) or "missing"):
                return _CHANGED_FILE
        key, fingerprint = record.get("key"), record.get("fingerprint") or ""
        existing = record.get("poses_fingerprint") or ""
        if key and (fingerprint or existing) and key != probing_key(fingerprint, existing):
            return f"probe {_CHANGED_SETTINGS}"
        return ""

    def _expect_key(self, stage: str, records: Mapping[str, Row], own: Config) -> str:
        """Return the expected key of the result of a stage; empty if it cannot be computed."""
        if stage == "infer":
            return expect_pose_key(self._config, records["probe"], self._network(own))
        videos = STAGES[stage].videos
        if videos is None or videos.key is None:
            return ""
        source = records.get(videos.source(self._config), {}).get("key")
        return videos.key(own, source) if source else ""

    def _is_outdated(self, name: str) -> bool:
        """Tell whether a stage has run, but never with the present settings and files."""
        if not STAGES[name].wanted(self._config):
            return False
        path = find_stage_key(self._config, self._results, name)
        return path.parent.is_dir() and not path.exists()

    def _find_network(self) -> Callable[[Config], str]:
        try:
            return make_network_keys(self._config, self._results)
        except CohortposeError:
            # No network: nothing can be said of the keys of poses.
            return lambda _: ""

    def _read_manifest(self, shard: str) -> dict[str, Row]:
        if shard not in self._manifests:
            rows = read_manifest(self._results.shard(shard)) or ()
            self._manifests[shard] = {row["video"]: row for row in rows}
        return self._manifests[shard]
