"""Test the text of errors."""

from pipeline_lib.core.errors import CohortposeError, ConfigError, LabelError, VideoError


def test_one_problem_is_singular_and_all_are_kept():
    assert str(ConfigError("file", ["a"])) == "file: 1 problem\n  - a"
    error = ConfigError("file", (f"p{n}" for n in range(23)))
    assert len(error.problems) == 23
    assert str(error).endswith("  - p19\n  ... and 3 more")
    assert "p20" not in str(error)


def test_all_errors_are_cohortpose_errors():
    assert issubclass(ConfigError, CohortposeError)
    assert issubclass(VideoError, CohortposeError)


def test_names_in_messages_neither_end_a_line_nor_steer_a_terminal():
    error = LabelError("config", ["a\nb: \x1b[2Jgone", "\x9b31m\tc"])
    assert str(error) == ("config: 2 problems\n  - a\\x0ab: \\x1b[2Jgone\n  - \\x9b31m\\x09c")
