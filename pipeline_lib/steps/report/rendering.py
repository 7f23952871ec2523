"""Render the pages of the report: styles, script, charts and pictures are inside."""

import base64
import hashlib
import json
from collections.abc import Mapping, Sequence
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

import pipeline_lib
from pipeline_lib.steps.report.charts import LEFT, TOP, format_fixed, format_number
from pipeline_lib.steps.report.timings import format_duration


def render_page(
    template: str, page: Mapping[str, Any], styles: Sequence[str], scripts: Sequence[str]
) -> str:
    """Render a page.

    Parameters
    ----------
    template
        File of the template.
    page
        Its variables.
    styles, scripts
        Names of the files that are put into the page one after the other, without suffix.
    """
    loader = PackageLoader("pipeline_lib.steps.report", "templates")
    environment = Environment(
        loader=loader,
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["number"] = format_number
    environment.filters["fixed"] = format_fixed
    environment.filters["duration"] = format_duration
    style, script = (
        "".join(loader.get_source(environment, f"{name}.{kind}")[0] for name in names)
        for names, kind in ((styles, "css"), (scripts, "js"))
    )
    # The policy of the page lets this one script run, and the scripts that it loads.
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode("ascii")
    return environment.get_template(template).render(
        **page,
        version=pipeline_lib.__version__,
        left=LEFT,
        top=TOP,
        # Our own files.
        style=Markup(style),  # noqa: S704
        script=Markup(script),  # noqa: S704
        script_digest=digest,
    )


def embed_json(value: object) -> str:
    """Return JSON that remains data inside an HTML script element, whatever text it holds."""
    text = json.dumps(value, ensure_ascii=False, separators=(",", ":"), allow_nan=False)
    for character in "<>&\u2028\u2029":
        text = text.replace(character, f"\\u{ord(character):04x}")
    return text
