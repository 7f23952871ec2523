"""Describe a run as a Workflow Run RO-Crate, which repositories and tools read.

It describes the results folder by Workflow Run Crate 0.5 (https://w3id.org/ro/wfrun/workflow),
and is of one size however many videos there are: folders, the tables that list what is in them,
and one action per stage.
"""

import base64
import getpass
import json
import shutil
from collections.abc import Iterator, Mapping
from pathlib import Path, PurePath
from typing import TYPE_CHECKING, Any

from pipeline_lib.core.errors import StoreError
from pipeline_lib.core.layout import Results
from pipeline_lib.core.settings.run import Config
from pipeline_lib.core.stages import STAGES
from pipeline_lib.core.tables import COST_COLUMNS
from pipeline_lib.io.publish import publish_file, publish_text
from pipeline_lib.io.stage_tables import read_table
from pipeline_lib.steps.provenance.run import list_outputs, read_provenance
from pipeline_lib.steps.provenance.software import list_required

_README = """\
# Poses of a cohort of animal videos

Made by the Snakemake workflow cohortpose. Look first at `report/index.html`; `ledger.tsv` says how
each video ended, and why.

- `poses/`: as the network predicted them; `tracked/`: tracks, of several animals;
  `corrected/`: tracks that decisions changed;
  `filtered/`: cleaned; `exports/`: for other tools
- `triangulated/`: poses in space, of sessions of several cameras; `corrected_views/`: poses of
  their videos, corrected by the other views; `sessions.tsv` and
  `calibrations.tsv` say how each session and calibration ended
- `config.resolved.yaml`: every setting; `provenance.json`: versions, hashes, time and energy
- `shards/*/jobs.jsonl`: when and where the results of each group of videos were made
- `ro-crate-metadata.json`: all of this for machines (https://w3id.org/ro/wfrun/workflow)

`cohortpose verify --config config.yaml`, in the folder above, shows whether anything was changed.
"""


def write_crate(
    config: Config, results: Results, workflow: Mapping[str, Path], *, succeeded: bool
) -> None:
    """Publish ``ro-crate-metadata.json`` and the Snakefiles that it names.

    A run that changed nothing leaves the files as they are.

    Parameters
    ----------
    config, results
        The run; nothing is written unless its provenance is complete.
    workflow
        Snakefiles, by their path below ``workflow/``; ``Snakefile`` among them.
    succeeded
        Whether the run ended well.
    """
    record = read_provenance(results)
    if not record:
        return
    for name, source in workflow.items():
        _copy(source, results.crate_workflow / name)
    publish_text(results.readme, _README)
    crate = describe_crate(config, results, record, succeeded=succeeded)
    publish_text(results.crate, json.dumps(crate, indent=2, ensure_ascii=False) + "\n")


def _copy(source: Path, target: Path) -> None:
    if not target.is_file() or target.read_bytes() != source.read_bytes():
        with publish_file(target) as part:
            shutil.copyfile(source, part)


if TYPE_CHECKING:
    from rocrate.model import ContextEntity

# rocrate is imported where it is used: it takes part of a second, once per run.

_PROFILES = {
    "https://w3id.org/ro/wfrun/process/0.5": "Process Run Crate",
    "https://w3id.org/ro/wfrun/workflow/0.5": "Workflow Run Crate",
    "https://w3id.org/workflowhub/workflow-ro-crate/1.0": "Workflow RO-Crate",
}
# Of RO-Crate itself: what these profiles build on.
_VERSION = "1.1"
_MAIN = "Snakefile"
_PARAMETER_PROFILE = "https://bioschemas.org/profiles/FormalParameter/1.0-RELEASE"
_WORKFLOW_PROFILE = "https://bioschemas.org/profiles/ComputationalWorkflow/1.0-RELEASE"
_MEDIA = {
    ".tsv": "text/tab-separated-values",
    ".json": "application/json",
    ".html": "text/html",
    ".yaml": "application/yaml",
    ".csv": "text/csv",
    ".h5": "application/x-hdf5",
    ".smk": "text/plain",
    ".parquet": "application/vnd.apache.parquet",
    ".onnx": "application/onnx",
}


def describe_crate(
    config: Config, results: Results, record: Mapping[str, Any], *, succeeded: bool
) -> dict[str, Any]:
    """Return the JSON-LD document of a run.

    Parameters
    ----------
    config, results
        The run; the Snakefiles that ran are in its folder.
    record
        Its provenance.
    succeeded
        Whether it ended well.
    """
    return _Description(config, results, record).describe(succeeded=succeeded)


class _Description:
    """Build the graph of one crate."""

    def __init__(self, config: Config, results: Results, record: Mapping[str, Any]) -> None:
        from rocrate.rocrate import ROCrate  # noqa: PLC0415

        self._config, self._results, self._record = config, results, record
        self._crate = ROCrate(version=_VERSION)

    def describe(self, *, succeeded: bool) -> dict[str, Any]:
        """Return the JSON-LD document."""
        stages = self._record["stages"]
        ended = max((stage["ended"] for stage in stages.values()), default=None)
        started = min((stage["started"] for stage in stages.values()), default=None)
        self._describe_root(ended)
        inputs, outputs = dict(self._add_inputs()), dict(self._add_outputs())
        settings = dict(self._add_settings())
        workflow = self._add_workflow([*inputs, *settings], list(outputs))
        operator = self._add("#operator", "Person", name=_name_operator())
        status = "Completed" if succeeded else "Failed"
        run = self._add(
            "#run",
            "CreateAction",
            name=f"Run of cohortpose on {Path(self._config.cohort).name}",
            description="All stages, from probing the videos to the report, in one or more calls.",
            instrument=workflow,
            agent=operator,
            object=[*inputs.values(), *settings.values()],
            result=list(outputs.values()),
            actionStatus=f"http://schema.org/{status}ActionStatus",
            **({"startTime": started, "endTime": ended} if stages else {}),
        )
        self._crate.root_dataset["author"] = operator
        self._crate.root_dataset["mentions"] = [run, *self._add_stages(operator, outputs)]
        document: dict[str, Any] = self._crate.metadata.generate()
        return document

    def _describe_root(self, ended: str | None) -> None:
        crate = self._crate
        crate.name = self._config.report.title
        crate.description = (
            "Poses of the videos of a cohort, made by the Snakemake workflow cohortpose: one Zarr "
            "store per video that opens with xarray, with tables on how each was made."
        )
        crate.root_dataset["license"] = self._add(
            "#licence",
            "CreativeWork",
            name="No licence stated",
            description="The owner of the videos decides on the licence of these results.",
        )
        # When the results were made, not when they were described: the same run, the same file.
        crate.datePublished = ended or "1970-01-01T00:00:00+00:00"
        readme = {"about": {"@id": "./"}, "encodingFormat": "text/markdown"}
        crate.add_file(self._results.readme, self._results.readme.name, properties=readme)
        profiles = [
            self._add(address, "CreativeWork", name=name, version=address.rsplit("/", 1)[-1])
            for address, name in _PROFILES.items()
        ]
        crate.root_dataset["conformsTo"] = profiles

    def _add_workflow(self, inputs: list[str], outputs: list[str]) -> "ContextEntity":
        crate, record = self._crate, self._record
        name = f"{self._results.crate_workflow.name}/{_MAIN}"
        workflow = crate.add_workflow(
            self._results.root / name, name, main=True, lang="snakemake", gen_cwl=False
        )
        git = record["git"]
        version = record["cohortpose"] + (f"+{git['commit']}" if git else "")
        workflow["name"] = "cohortpose"
        workflow["version"] = version
        workflow["encodingFormat"] = "text/plain"
        workflow["conformsTo"] = {"@id": _WORKFLOW_PROFILE}
        workflow["input"] = [{"@id": _parameter(name)} for name in inputs]
        workflow["output"] = [{"@id": _parameter(name)} for name in outputs]
        workflow["softwareRequirements"] = [
            self._add(address, "SoftwareApplication", name=name, softwareVersion=found, url=address)
            for name, found, address in self._list_software()
        ]
        workflow["hasPart"] = [
            crate.add_file(
                path,
                path.relative_to(self._results.root).as_posix(),
                properties={"encodingFormat": _find_media(path.name)},
            )
            for path in sorted(self._results.crate_workflow.rglob("*.smk"))
        ]
        return workflow

    def _list_software(self) -> Iterator[tuple[str, str, str]]:
        """Yield name, version and address of Python and of the packages we require."""
        python, packages = self._record["python"], self._record["packages"]
        yield "python", python, f"https://www.python.org/downloads/release/#{python.split()[-1]}"
        for name in list_required():
            if name in packages:
                address = f"https://pypi.org/project/{name}/{packages[name]}/"
                yield name, packages[name], address

    def _add_inputs(self) -> Iterator[tuple[str, "ContextEntity"]]:
        """Add sheet, label tables, weights and corrections, which are named by their hashes."""
        hashes = self._record["hashes"]
        groups = {
            "cohort-sheet": {self._config.cohort: hashes["cohort"]},
            "labels": hashes["labels"],
            "weights": hashes["weights"],
            "calibrations": hashes.get("calibrations", {}),
        }
        for kind, files in groups.items():
            for number, (path, digest) in enumerate(files.items()):
                name = kind if len(files) == 1 else f"{kind}-{number + 1}"
                self._add_parameter(name, "File")
                if digest is None:
                    yield name, self._add(f"#missing/{name}", "CreativeWork", name=path)
                    continue
                properties = {
                    "name": path,
                    "identifier": f"sha256:{digest}",
                    "encodingFormat": _find_media(path),
                    "exampleOfWork": {"@id": _parameter(name)},
                }
                yield name, self._crate.add_file(_name_by_hash(digest), properties=properties)
        # Their hashes are of the rows in use, not of the file, which people go on writing.
        for number, (path, digest) in enumerate(hashes.get("corrections", {}).items()):
            name = f"corrections-{number + 1}"
            self._add_parameter(name, "CreativeWork")
            address, identifier = f"#corrections/{number + 1}", digest or "damaged"
            entity = self._add(address, "CreativeWork", name=path, identifier=identifier)
            entity["exampleOfWork"] = {"@id": _parameter(name)}
            yield name, entity

    def _add_settings(self) -> Iterator[tuple[str, "ContextEntity"]]:
        for name, value in _list_leaves(self._record["settings"]):
            kind = _SETTING_TYPES.get(type(value), "Text")
            self._add_parameter(name, kind)
            # JSON-LD drops null.
            shown = value if isinstance(value, bool | int | float | str) else json.dumps(value)
            yield (
                name,
                self._add(
                    f"#setting/{name}",
                    "PropertyValue",
                    name=name,
                    value=shown,
                    exampleOfWork={"@id": _parameter(name)},
                ),
            )

    def _add_outputs(self) -> Iterator[tuple[str, "ContextEntity"]]:
        results = self._results
        for kind, path in self._list_files():
            if path.is_file():
                name = path.relative_to(results.root).as_posix()
                properties = {
                    "name": kind,
                    "encodingFormat": _find_media(name),
                    "exampleOfWork": {"@id": _parameter(name)},
                }
                self._add_parameter(name, "File")
                yield name, self._crate.add_file(path, name, properties=properties)
        of_videos = {
            stage.videos.about: path.parent
            for stage in STAGES.values()
            if stage.videos
            for path in stage.list_results(self._config, results, "x")
        }
        of_sessions = {
            stage.sessions.about: path.parent
            for stage in STAGES.values()
            if stage.sessions
            for path in stage.list_session_results(self._config, results, "x")
            # Exports lie beside those of videos.
            if path.parent not in of_videos.values()
        }
        folders = {
            **of_videos,
            **of_sessions,
            "calibrations of cameras": results.calibration("x").parent,
            "training targets": results.targets.parent,
            "tables with the outcome of each stage for each video": results.shards,
            "software that the stages ran with": results.environments,
        }
        for kind, path in folders.items():
            if path.is_dir():
                name = f"{path.relative_to(results.root).as_posix()}/"
                properties = {"name": kind, "exampleOfWork": {"@id": _parameter(name)}}
                self._add_parameter(name, "Dataset")
                yield name, self._crate.add_dataset(path, name, properties=properties)

    def _list_files(self) -> list[tuple[str, Path]]:
        return [
            *list_outputs(self._config, self._results),
            ("settings in force", self._results.config),
            ("provenance", self._results.provenance),
            (self._describe_costs(), self._results.costs),
        ]

    def _describe_costs(self) -> str:
        """Return the name of the table of costs, with the figures of the run."""
        try:
            rows = read_table(self._results.costs, COST_COLUMNS)
        except StoreError:
            rows = []
        run = next((row for row in rows if row["kind"] == "run"), {})
        shown = ", ".join(f"{name} {cell}" for name, cell in run.items() if cell and name != "kind")
        return f"what videos, groups and the run used and cost ({shown})"

    def _add_stages(
        self, operator: "ContextEntity", outputs: Mapping[str, "ContextEntity"]
    ) -> Iterator["ContextEntity"]:
        """Add an action of the command line for each stage."""
        program = self._add(
            "#cohortpose",
            "SoftwareApplication",
            name="cohortpose",
            softwareVersion=self._record["cohortpose"],
        )
        for verb, stage in self._record["stages"].items():
            ended = "Failed" if stage["failed"] == stage["jobs"] else "Completed"
            yield self._add(
                f"#stage/{verb}",
                "CreateAction",
                name=f"cohortpose {verb}",
                description=f"{stage['jobs']} jobs, {stage['seconds']:.0f} s in all, "
                f"{stage['cpu_seconds']:.0f} s of processor time, on {', '.join(stage['hosts'])}",
                instrument=program,
                agent=operator,
                # Folders and files whose path begins so.
                result=[
                    entity
                    for name, entity in outputs.items()
                    if name.startswith(self._find_folders(verb))
                ],
                startTime=stage["started"],
                endTime=stage["ended"],
                actionStatus=f"http://schema.org/{ended}ActionStatus",
            )

    def _find_folders(self, verb: str) -> tuple[str, ...]:
        """Return the prefixes of the paths that a verb writes; none for an unknown verb."""
        config, results = self._config, self._results
        if verb not in STAGES:
            return ()
        stage = STAGES[verb]
        paths = [file.path for file in stage.files(config, results)]
        paths += stage.list_results(config, results, "x")
        paths += stage.list_session_results(config, results, "x")
        if stage.table and not stage.videos:
            paths.append(stage.find_table(config, results, "x"))
        names = (path.relative_to(results.root).parts for path in paths)
        return tuple({f"{parts[0]}/" for parts in names if len(parts) > 1})

    def _add_parameter(self, name: str, kind: str) -> None:
        self._add(
            _parameter(name),
            "FormalParameter",
            name=name,
            additionalType=kind,
            conformsTo={"@id": _PARAMETER_PROFILE},
        )

    def _add(self, address: str, kind: str, /, **properties: object) -> "ContextEntity":
        from rocrate.model import ContextEntity  # noqa: PLC0415

        values: dict[str, object] = {"@type": kind}
        for name, value in properties.items():
            # A list of one is written as that one; an empty one not at all.
            if not isinstance(value, list) or len(value) > 1:
                values[name] = value
            elif value:
                values[name] = value[0]
        return self._crate.add(ContextEntity(self._crate, address, properties=values))


_SETTING_TYPES = {bool: "Boolean", int: "Integer", float: "Float"}


def _list_leaves(values: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Yield dotted name and value of each setting."""
    for name, value in values.items():
        if isinstance(value, dict) and value:
            yield from _list_leaves(value, f"{prefix}{name}.")
        else:
            yield f"{prefix}{name}", value


def _find_media(name: str) -> str:
    return _MEDIA.get(PurePath(name).suffix, "application/octet-stream")


def _parameter(name: str) -> str:
    return f"#parameter/{name}"


def _name_by_hash(digest: str) -> str:
    """Return the address of a file by its content (RFC 6920)."""
    text = base64.urlsafe_b64encode(bytes.fromhex(digest)).decode().rstrip("=")
    return f"ni:///sha-256;{text}"


def _name_operator() -> str:
    try:
        return getpass.getuser()
    # Containers may run as a user without a name.
    except (KeyError, OSError):
        return "unknown"
