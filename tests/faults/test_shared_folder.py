"""Check a results folder of a group: every member can continue the run of another one."""

import os
import stat

import pytest
import yaml

from tests.faults.chain import (
    VERBS,
    act_as,
    can_be_others,
    open_folder,
    run_verb,
    write_cohort,
)

pytestmark = can_be_others

GROUP = 54321
ONE, OTHER = 54322, 54323  # users without an entry in the list of users


@pytest.fixture(scope="module")
def cohort():
    """Run a cohort in a folder of the group, as one user, up to its report."""
    with open_folder() as folder:
        results = write_cohort(
            folder / "cohort", exports={"formats": ["h5", "csv", "slp", "analysis", "nwb"]}
        )
        for path in [folder / "cohort", *(folder / "cohort").rglob("*")]:
            os.chown(path, ONE, GROUP)
            path.chmod(0o2775 if path.is_dir() else 0o664)
        home = folder / "home"
        home.mkdir(mode=0o777)
        home.chmod(0o777)
        for verb in VERBS:
            run(folder / "cohort", ONE, verb)
        yield folder / "cohort", results


def run(folder, user, *arguments):
    """Run a verb as a member of the group whose own group is another one."""
    return run_verb(
        folder,
        *arguments,
        environment={"HOME": str(folder.parent / "home")},
        prefix=act_as(user, GROUP),
        umask=0o002,
    )


def test_all_that_is_published_has_the_group_and_its_rights(cohort):
    _, results = cohort
    strange = {
        str(path.relative_to(results.root)): (stat.filemode(facts.st_mode), facts.st_gid)
        for path in [results.root, *results.root.rglob("*")]
        for facts in [path.stat()]
        if facts.st_gid != GROUP
        or stat.S_IMODE(facts.st_mode) != (0o2775 if path.is_dir() else 0o664)
    }
    assert strange == {}
    # All kinds were there to be looked at.
    assert (results.model("pose").checkpoints / "last.ckpt").exists()
    assert any(results.targets.rglob("c/*"))
    assert results.report.exists()


def test_a_colleague_goes_on(cohort):
    folder, results = cohort
    path = folder / "config.yaml"
    values = yaml.safe_load(path.read_text())
    # Other targets, another network, other poses: each replaces what the first user made.
    values["targets"] = {**values["targets"], "sigma": 9.0}
    values["filtering"] = {**values.get("filtering", {}), "pcutoff": 0.05}
    path.write_text(yaml.safe_dump(values))
    before = results.model("pose").card.read_bytes()
    for verb in ("make-targets", "train", "infer", "filter", "export", "report", "status"):
        run(folder, OTHER, verb)
    assert results.model("pose").card.read_bytes() != before
    assert {path.stat().st_uid for path in (results.model("pose").card, results.targets)} == {OTHER}
    poses = [path for path in (results.root / "poses" / "pose").iterdir() if path.suffix == ".zarr"]
    assert poses
    assert {path.stat().st_uid for path in poses} == {OTHER}


def test_checkpoints_of_a_colleague_are_resumed_from(cohort):
    folder, results = cohort
    files = results.model("pose")
    owner = (files.checkpoints / "last.ckpt").stat().st_uid
    files.card.unlink()
    said = run(folder, ONE if owner == OTHER else OTHER, "train").decode()
    assert "resuming from" in said
    assert "set aside" not in said
    assert (files.checkpoints / "last.ckpt").stat().st_uid == owner
    assert files.card.exists()
