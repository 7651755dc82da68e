"""Numbers written as text in YAML."""

import pytest

from ppcls.config.numbers import parse_number


@pytest.mark.parametrize(
    ("text", "number"),
    [
        (3, 3),
        (0.5, 0.5),
        ("3", 3),
        ("1e-3", 1e-3),
        ("-2.5", -2.5),
        ("1.0/255.0", 1 / 255),
        (" 1 / 3 ", 1 / 3),
        ("1./255.", 1 / 255),
    ],
)
def test_reads_numbers_and_fractions(text, number):
    assert parse_number(text) == number
    assert type(parse_number(text)) is type(number)


@pytest.mark.parametrize(
    "value",
    ["", "one", "1/0", "1/2/3", "2**9", "__import__('os')", "1+1", True, None, [1], "0x10", "(1)"],
)
def test_refuses_anything_else(value):
    with pytest.raises(ValueError, match="expected a number"):
        parse_number(value)
