"""Test that settings stay values in batch scripts and shell commands."""

import shlex

import dask_jobqueue
import pytest
from distributed import Security
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from pipeline_lib.core.errors import ConfigError
from pipeline_lib.core.settings.reading import parse_config
from pipeline_lib.core.settings.videos import ClusterJobSettings, InferenceSettings
from pipeline_lib.steps.infer.cluster import describe_jobs
from pipeline_lib.steps.runs.srun_launcher import write_launcher

# All that some program takes for the end of a line, and what terminals obey.
BREAKS = ["\n", "\r", "\r\n", "\x0b", "\x0c", "\x1c", "\x85", "\u2028", "\u2029"]
CONTROLS = ["\x00", "\x07", "\x1b[2J", "\x7f", "\u202e", "\t"]
FILES = Security(
    tls_ca_file="/a b/ca.pem", tls_worker_cert="/a b/certificate.pem", tls_worker_key="/a b/key.pem"
)
INJECTED = "touch /tmp/in"


@pytest.mark.parametrize("character", BREAKS + CONTROLS)
@pytest.mark.parametrize(
    "place",
    [
        lambda text: {"partition": text},
        lambda text: {"account": text},
        lambda text: {"interface": text},
        lambda text: {"directives": [f"--comment={text}"]},
        lambda text: {"directives": ["--qos=long", f"--comment={text}"]},
        lambda text: {"number": f"4{text}"},
        lambda text: {"minutes": text},
        lambda text: {f"partition{text}": "gpu"},
        lambda text: {"directives": {"--comment": text}},
        lambda text: {"directives": [[text]]},
    ],
)
def test_a_line_break_in_a_value_key_or_item_is_refused(place, character):
    values = place(f"gpu{character}{INJECTED}")
    with pytest.raises(
        ConfigError, match=r"must be one line of printable characters|`inference"
    ) as told:
        parse_config({"cohort": "cohort.tsv", "inference": {"cluster_jobs": values}}, "c.yaml")
    assert "c.yaml" in str(told.value)
    # Nor does the message, which ends up in logs.
    assert character not in str(told.value).replace("\n", "")


@pytest.mark.parametrize("end", BREAKS)
@pytest.mark.parametrize("key", ["partition", "account", "interface"])
def test_a_value_does_not_end_in_a_line_break(key, end):
    with pytest.raises(ValidationError, match="printable"):
        ClusterJobSettings(**{key: f"gpu{end}"})


@pytest.mark.parametrize(
    "text", ["a b", "$(id)", "`id`", "a;id", "a|id", "a&id", "a>b", "'", '"', "-x", "", "a\\b", "*"]
)
@pytest.mark.parametrize("key", ["partition", "account", "interface"])
def test_words_of_the_script_are_words(key, text):
    with pytest.raises(ValidationError, match="should match pattern"):
        ClusterJobSettings(**{key: text})


def test_names_that_sites_have_are_taken():
    jobs = ClusterJobSettings(
        partition="gpu,gpu-long",
        account="lab_7.a@site",
        interface="bond0.100",
        directives=("--qos=long", '--comment="day 1"', "-C v100|a100"),
    )
    assert jobs.partition == "gpu,gpu-long"
    assert len(jobs.directives) == 3


def test_a_directive_is_an_option():
    with pytest.raises(ValidationError, match="should match pattern"):
        ClusterJobSettings(directives=("echo",))


@given(
    directive=st.text(max_size=20).map("--comment={}".format),
    partition=st.text(max_size=8),
    interface=st.text(max_size=8),
)
def test_scripts_have_the_lines_that_are_meant(directive, partition, interface):
    """Check every accepted value: one line per directive and for the partition, and the command."""
    try:
        jobs = ClusterJobSettings(
            cores=1, partition=partition, interface=interface, directives=(directive,)
        )
    except ValidationError:
        return
    settings = InferenceSettings(cluster="slurm", cluster_jobs=jobs)
    told = describe_jobs(settings, FILES)
    del told["silence_logs"], told["scheduler_options"], told["security"]
    job = dask_jobqueue.slurm.SLURMJob("tls://127.0.0.1:1", "worker", **told)
    lines = [line for line in job.job_script().splitlines() if line]
    assert lines[0].startswith("#!")
    assert lines[1:-1] == [line for line in lines[1:-1] if line.startswith("#SBATCH ")]
    assert f"#SBATCH {directive}" in lines
    assert f"#SBATCH -p {partition}" in lines
    assert f" --interface {interface}" in lines[-1]


@pytest.mark.parametrize(
    ("program", "words"),
    [
        ("srun", ["srun"]),
        ("srun --mpi=pmix", ["srun", "--mpi=pmix"]),
        ("srun; touch in", ["srun;", "touch", "in"]),
        ("srun $(touch in) `id` > out", ["srun", "$(touch", "in)", "`id`", ">", "out"]),
    ],
)
def test_the_launcher_of_a_training_is_words(program, words):
    command = write_launcher({"mpi": program, "tasks": 2}, threads=1)
    assert shlex.split(command)[: len(words)] == words
    # To the shell, too: nothing but the words and what we add.
    assert list(shlex.shlex(command, punctuation_chars=True, posix=True)) == shlex.split(command)


@pytest.mark.parametrize("program", ["srun\ntouch in", "srun 'a", "srun\x00"])
def test_a_launcher_of_several_lines_is_refused(program):
    with pytest.raises(ConfigError, match="`mpi`"):
        write_launcher({"mpi": program, "tasks": 2}, threads=1)


@pytest.mark.parametrize("cluster", ["tcp://node:8786", "tcp://127.0.0.1:8786", "tcp://[::1]:8786"])
def test_an_open_address_is_refused_unless_asked_for(cluster):
    values = {"cohort": "cohort.tsv", "inference": {"cluster": cluster}}
    with pytest.raises(ConfigError) as told:
        parse_config(values)
    for part in ("run code", "--tls-ca-file", "`ca_file`", "cluster_security: {insecure: true}"):
        assert part in str(told.value)
    values["inference"]["cluster_security"] = {"insecure": True}
    assert parse_config(values).inference.cluster == cluster


@pytest.mark.parametrize(
    "cluster",
    ["node:8786", "ws://node:8786", "ucx://node:8786", "inproc://1", "tls://node", "LOCAL", "",
     "tls://node:8786\n", "tls://a b:1", "TCP://node:8786", " tcp://node:8786"],
)  # fmt: skip
def test_other_kinds_of_cluster_are_unknown(cluster):
    with pytest.raises(ValidationError, match="expected `local`, `dask-cuda`, `slurm` or `tls://"):
        InferenceSettings(cluster=cluster, cluster_security={"insecure": True})


@pytest.mark.parametrize(
    ("cluster", "security", "told"),
    [
        ("tls://node:1", {"insecure": True}, "is for `cluster` tcp://"),
        ("tls://node:1", {"ca_file": "a"}, "found ca_file alone"),
        ("tls://node:1", {"key": "a"}, "found key alone"),
        ("tcp://node:1", {"ca_file": "a", "cert": "b", "insecure": True}, "either `insecure`"),
        ("tcp://node:1", {"ca_file": "a", "cert": "b"}, "run code"),
        ("local", {"insecure": True}, "makes its own credentials"),
        ("slurm", {"ca_file": "a", "cert": "b"}, "makes its own credentials"),
    ],
)
def test_credentials_that_would_not_be_used_are_refused(cluster, security, told):
    with pytest.raises(ValidationError, match=told):
        InferenceSettings(cluster=cluster, cluster_security=security)


@pytest.mark.parametrize(
    ("value", "expected"), [(True, True), (False, False), (8787, 8787), (None, ValidationError),
                            (65536, ValidationError), (-1, ValidationError),
                            ("0.0.0.0:8787", ValidationError)]
)  # fmt: skip
def test_a_dashboard_is_a_port_never_an_interface(value, expected):
    if expected is ValidationError:
        with pytest.raises(ValidationError):
            InferenceSettings(dashboard=value)
    else:
        assert InferenceSettings(dashboard=value).dashboard is expected
