"""Order of names."""

import pytest

from pipeline_lib.core.names import natural_order


@pytest.mark.parametrize(
    "names",
    [["fly1", "fly2", "fly10"], ["", "1", "2", "10", "a"], ["a", "a1", "a1b", "a2", "b"]],
)
def test_numbers_are_ordered_as_numbers(names):
    turned = names[::-1]
    assert sorted(turned, key=natural_order) == names
