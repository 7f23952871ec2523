"""Run again from scratch, as a module of another workflow: the same bytes, and a crate."""

import json

import pytest
from rocrate.model import DataEntity
from rocrate.rocrate import ROCrate

from tests.workflow.running import REPOSITORY

pytestmark = [pytest.mark.workflow]

# As snakedeploy writes it, with another rule and names of its own.
OUTER = f"""
from snakemake.utils import min_version

min_version("9.0")


configfile: "config/config.yaml"


module cohortpose:
    snakefile:
        "{REPOSITORY}/workflow/Snakefile"
    config:
        config


use rule * from cohortpose as cohortpose_*


onstart:
    shell("touch outer-started")
    cohortpose.onstart()


onsuccess:
    cohortpose.onsuccess()


onerror:
    cohortpose.onerror()


rule count_videos:
    default_target: True
    input:
        rules.cohortpose_all.input,
        ledger=rules.cohortpose_status.output,
    output:
        "videos.txt",
    shell:
        "tail -n +2 {{input.ledger}} | wc -l > {{output}}"
"""


@pytest.fixture(scope="module")
def outer(fresh, tmp_path_factory):
    """Run as a module of another workflow, in the folders that snakedeploy makes."""
    run = fresh.copy(tmp_path_factory.mktemp("outer") / "deployed")
    for name, content in {"config": None, "workflow": OUTER}.items():
        (run.folder / name).mkdir()
        if content is not None:
            (run.folder / name / "Snakefile").write_text(content)
    (run.folder / "config.yaml").rename(run.folder / "config" / "config.yaml")
    planned = start(run, "--dry-run")
    assert planned.code == 0, planned.output
    assert not run.results.config.exists()
    run.first = start(run)
    assert run.first.code == 0, run.first.output
    return run


def start(run, *arguments):
    snakefile = run.folder / "workflow" / "Snakefile"
    config = run.folder / "config" / "config.yaml"
    return run.snakemake("--snakefile", str(snakefile), *arguments, "--configfile", str(config))


def read_bytes(folder, pattern):
    """Return the content of every published file below a folder."""
    files = [path for path in folder.rglob(pattern) if path.is_file()]
    published = (path.relative_to(folder) for path in files)
    names = [path for path in published if not any(part.startswith(".") for part in path.parts)]
    return {name.as_posix(): (folder / name).read_bytes() for name in names}


def test_the_module_runs_within_the_outer_workflow(finished, outer):
    jobs = {f"cohortpose_{job}" for job in finished.first.jobs}
    assert outer.first.jobs == jobs | {"count_videos", "cohortpose_record_keys"}
    assert (outer.folder / "videos.txt").read_text().strip() == "3"
    assert (outer.folder / "outer-started").exists()
    again = start(outer)
    assert "Nothing to be done" in again.output


@pytest.mark.parametrize(
    ("folder", "pattern"),
    [("poses", "*"), ("filtered", "*"), ("exports", "*"), ("frames", "*.png")],
)
def test_two_runs_from_scratch_give_the_same_bytes(finished, outer, folder, pattern):
    one, other = (read_bytes(run.results.root / folder, pattern) for run in (finished, outer))
    assert [name for name in one if other.get(name) != one[name]] == []
    assert other.keys() == one.keys()
    assert len(one) >= 2


def test_two_trainings_from_scratch_give_the_same_network(finished, outer):
    for name in ("network", "weights", "history"):
        one, other = (getattr(run.results.model("pose"), name) for run in (finished, outer))
        assert one.read_bytes() == other.read_bytes(), name


def test_the_provenance_of_the_run(outer):
    record = json.loads(outer.results.provenance.read_text())
    assert {"probe", "train", "infer", "filter", "export"} <= set(record["stages"])
    # The job of the shard measures its videos for the report.
    more = {"report": 2}
    assert all(stage["jobs"] == more.get(name, 1) for name, stage in record["stages"].items())
    assert all(stage["failed"] == 0 for stage in record["stages"].values())
    named = {name for stage in record["stages"].values() for name in stage["environments"]}
    written = {path.stem for path in outer.results.environments.glob("[!.]*")}
    assert named | {record["environment"]} == written
    assert "models/pose/network.onnx" in record["networks"]
    lines = outer.results.shard("00001").jobs.read_text().splitlines()
    verbs = {json.loads(line)["verb"] for line in lines}
    assert verbs == {"probe", "select-frames", "infer", "filter", "export", "report"}


def test_the_crate_describes_the_run(outer):
    crate = ROCrate(outer.results.root)
    profiles = {entity.id for entity in crate.root_dataset["conformsTo"]}
    assert "https://w3id.org/ro/wfrun/workflow/0.5" in profiles
    assert crate.mainEntity.id == "workflow/Snakefile"
    main = outer.results.root / "workflow" / "Snakefile"
    assert main.read_bytes() == (REPOSITORY / "workflow" / "Snakefile").read_bytes()
    (run,) = (entity for entity in crate.root_dataset["mentions"] if entity.id == "#run")
    assert run["instrument"] is crate.mainEntity
    assert run["actionStatus"] == "http://schema.org/CompletedActionStatus"
    assert run["startTime"] <= run["endTime"]
    results = {entity.id for entity in run["result"]}
    assert {"poses/pose/", "ledger.tsv", "models/pose/network.onnx"} <= results
    settings = {entity["name"]: entity.get("value") for entity in run["object"]}
    assert settings["training.epochs"] == 3
    assert settings["training.backbone"] == "mobilenetv3_small_050"
    assert settings["cohort.tsv"] is None
    # What it says is in the folder is there.
    local = [e for e in crate.get_entities() if isinstance(e, DataEntity) and ":" not in e.id]
    missing = [e.id for e in local if not (outer.results.root / e.id).exists()]
    assert missing == []
    assert len(local) > 15
    # Every parameter that an object or a result is an example of is one of the workflow's.
    parameters = {e.id for e in (*crate.mainEntity["input"], *crate.mainEntity["output"])}
    examples = {e["exampleOfWork"].id for e in (*run["object"], *run["result"])}
    assert examples == parameters


def test_a_failed_run_is_described_as_failed(again):
    again.edit_config(inference={"max_failed_fraction": 0.1})
    assert again.snakemake().code != 0
    crate = ROCrate(again.results.root)
    run = crate.dereference("#run")
    assert run["actionStatus"] == "http://schema.org/FailedActionStatus"


def test_snakemakes_own_report(again):
    page = again.folder / "report.html"
    ended = again.snakemake("--report", str(page))
    assert ended.code == 0, ended.output
    text = page.read_text()
    assert "How every video of the cohort ended" in text
    assert "import_labels" in text
