"""Write and find key files: empty files named by the key of the results beside them.

A key file ``LABEL-HASH`` names the hash of everything that some results depend on. At most one
key file of a label exists, so that its name and modification time alone show whether results are
fresh, wherever they were copied to and whatever record a workflow engine has lost. Whoever makes
results writes the key file first: results older than their key file are made again.
"""

from pathlib import Path


def claim_key(path: Path) -> None:
    """Write a key file unless it exists, and remove those of other hashes.

    Parameters
    ----------
    path
        The key file; its folder is made.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    for other in list_other_keys(path):
        other.unlink(missing_ok=True)
    if not path.exists():
        path.touch()


def list_other_keys(path: Path) -> list[Path]:
    """Return the key files beside one that have its label and another hash, sorted."""
    label, _, _ = path.name.rpartition("-")
    if not path.parent.is_dir():
        return []
    return sorted(other for other in path.parent.glob(f"{label}-*") if other != path)


def find_last_key(path: Path) -> Path:
    """Return the key file with the highest number beside one, or that one itself."""
    others = [one for one in list_other_keys(path) if one.name.rpartition("-")[2].isdecimal()]
    return max(others, key=lambda one: int(one.name.rpartition("-")[2]), default=path)
