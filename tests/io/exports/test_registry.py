"""Check that settings, layout and writers know the same export formats and no others."""

from pathlib import Path

import pytest

from pipeline_lib.core.errors import ConfigError
from pipeline_lib.core.formats.exports import FORMATS
from pipeline_lib.core.layout import Results
from pipeline_lib.core.settings.reading import parse_config
from pipeline_lib.io.exports.registry import load_writer, write_export
from tests.io.exports.export_examples import make_several, make_source


def test_each_format_has_a_writer_and_a_suffix_of_its_own():
    assert all(callable(load_writer(name)) for name in FORMATS)
    assert len({kind.suffix for kind in FORMATS.values()}) == len(FORMATS)
    linked = {name for name, kind in FORMATS.items() if kind.linked}
    assert linked == {"slp", "analysis", "nwb", "coco", "motion-bids"}


@pytest.mark.parametrize("name", FORMATS)
def test_each_format_is_written_where_the_layout_says(tmp_path, name):
    path = Results(tmp_path).exported("pose", "v", name)
    path.parent.mkdir(parents=True)
    write_export(name, path, make_source(tmp_path, make_several()))
    assert [entry.name for entry in path.parent.iterdir()] == [f"v.{FORMATS[name].suffix}"]


@pytest.mark.parametrize("name", ["hdf", "H5", "analysis.h5", ""])
def test_an_unknown_name_is_an_error(tmp_path, name):
    with pytest.raises(ValueError, match=r"is no format of exports; there are h5, csv, slp"):
        write_export(name, tmp_path / "v", make_source(tmp_path, make_several()))
    with pytest.raises(ValueError, match="is no format of exports"):
        Results(Path()).exported("pose", "v", name)
    with pytest.raises(ConfigError, match=r"exports.formats.*there are h5, csv, slp"):
        parse_config({"cohort": "cohort.tsv", "exports": {"formats": [name]}})
    assert [entry.name for entry in tmp_path.iterdir()] == ["v.zarr"]
