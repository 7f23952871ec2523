"""Name the settings of a config that runs a bundle as it was used where it was written."""

from typing import Any

from pipeline_lib.models.zoo.manifest import UsedSettings


def list_used_settings(used: UsedSettings, animals: int, *, located: bool) -> dict[str, Any]:
    """Return nested settings, as YAML has them, for the config of a run of a bundle.

    Parameters
    ----------
    used
        Settings of the bundle's manifest.
    animals
        Largest number of animals that the bundle finds in a frame.
    located
        Whether it has a network that finds the animals.
    """
    values: dict[str, Any] = {}
    if animals > 1:
        values["individuals"] = {"max": animals, "method": used.method}
        values["assembly"] = used.assembly.model_dump(mode="json")
    if located:
        shown = {"enabled", "window", "pcutoff", "min_found"}
        shown |= {"every"} if used.locating.every > 1 else set()
        values["locating"] = used.locating.model_dump(mode="json", include=shown)
    return values
