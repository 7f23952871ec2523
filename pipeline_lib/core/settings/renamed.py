"""Accept settings by their former names for one release.

A setting that gets another name keeps the former one in the keys of results, so that nothing is
computed again.
"""

from collections.abc import Mapping
from typing import Any

# Former path and present path of each renamed setting. To end the support of a former name in
# config files, remove its line and raise the versions of the steps whose keys contain it.
RENAMED: Mapping[str, str] = {
    "locating.least_found": "locating.min_found",
    "tracking.max_rival": "tracking.max_ambiguity",
}


def rename_settings(values: Mapping[str, Any]) -> tuple[dict[str, Any], list[str], list[str]]:
    """Move the values of former names to the present names.

    Parameters
    ----------
    values
        Nested settings as YAML gives them; they are not changed.

    Returns
    -------
    values
        Settings with present names only. Of a setting given by both names, the present one counts.
    warnings
        One line per setting that is given by its former name.
    problems
        One line per setting that is given by both names.
    """
    renamed, warnings, problems = dict(values), [], []
    for former, present in RENAMED.items():
        section, name = former.split(".")
        present_name = present.split(".")[1]
        given = renamed.get(section)
        if not isinstance(given, Mapping) or name not in given:
            continue
        rest = {key: value for key, value in given.items() if key != name}
        if present_name in rest:
            problems.append(f"`{former}` is the former name of `{present}`: remove `{former}`")
        else:
            rest[present_name] = given[name]
            warnings.append(
                f"`{former}` is now `{present}`; the former name works in this release only"
            )
        renamed[section] = rest
    return renamed, warnings, problems


def name_as_in_keys(section: str, values: Mapping[str, Any]) -> dict[str, Any]:
    """Return the settings of a section by the names that the keys of results contain."""
    former_names = {present: former.split(".")[1] for former, present in RENAMED.items()}
    return {former_names.get(f"{section}.{name}", name): value for name, value in values.items()}
