"""Test that Python files in the folder of a project are not imported by any process."""

import subprocess
import sys

from pipeline_lib.core.environment import copy_environment, import_nothing_here

# As the command line begins; the child is one of `multiprocessing`, as steps start them.
PROGRAM = """
import multiprocessing
from pipeline_lib.core.environment import prepare_process
if __name__ == "__main__":
    prepare_process()
    process = multiprocessing.get_context("spawn").Process(target=print, args=("at work",))
    process.start()
    process.join()
    raise SystemExit(process.exitcode)
"""
PLANTED = ("multiprocessing", "socket", "pickle", "signal", "numpy", "cv2", "pipeline_lib")


def test_children_import_nothing_from_the_folder_of_a_project(tmp_path, monkeypatch):
    monkeypatch.delenv("PYTHONSAFEPATH", raising=False)
    project = tmp_path / "project"
    project.mkdir()
    for name in PLANTED:
        (project / f"{name}.py").write_text(f"open({str(tmp_path / 'run')!r}, 'w')")
    program = tmp_path / "program.py"
    program.write_text(PROGRAM)
    done = subprocess.run(
        [sys.executable, program], cwd=project, capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stdout.strip()) == (0, "at work"), done.stderr
    assert not (tmp_path / "run").exists()


def test_commands_of_the_user_may_import_from_their_folder(monkeypatch):
    # Set first, so that it is as before at the end.
    monkeypatch.setenv("PYTHONSAFEPATH", "")
    monkeypatch.delenv("PYTHONSAFEPATH")
    import_nothing_here()
    assert "PYTHONSAFEPATH" not in copy_environment()
    # What the user has set stays.
    monkeypatch.setenv("PYTHONSAFEPATH", "1")
    import_nothing_here()
    assert copy_environment()["PYTHONSAFEPATH"] == "1"
