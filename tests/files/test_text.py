"""The bounded reader of text files: whatever is wrong is a PotentialFileError."""

from __future__ import annotations

import os

import pytest

from calczoo.core.errors import PotentialFileError
from calczoo.files.text import Tokens, find_file, parse_int, read_lines


@pytest.mark.parametrize("name", ["~no_such_user_anywhere/x.eam", "a\0b", "x" * 5000, 3, "."])
def test_names_that_no_file_has(name):
    with pytest.raises(PotentialFileError, match="expected a potential"):
        find_file(name, "a potential")


def test_a_file_that_may_not_be_read_is_named(tmp_path):
    path = tmp_path / "locked.eam"
    path.write_text("1 2 3\n")
    path.chmod(0)
    if os.access(path, os.R_OK):
        path.unlink()  # root reads everything: a file that has gone since it was found, then
    with pytest.raises(PotentialFileError, match=r"locked\.eam: cannot be read"):
        read_lines(path)


def test_digits_of_other_scripts_are_no_numbers(tmp_path):
    digits = "\u0661\u0662"  # int("...") and float("...") would take them for 12
    with pytest.raises(PotentialFileError, match="whole number"):
        parse_int(digits, tmp_path, 1, "a count")
    with pytest.raises(PotentialFileError, match="finite number"):
        Tokens(tmp_path, [f"1.0 {digits}"]).next_floats(2, "values")
