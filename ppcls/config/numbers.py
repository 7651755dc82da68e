"""Numbers as YAML files for PaddleClas write them."""

from typing import Any, Union


def parse_number(value: Any) -> Union[int, float]:
    """The number that `value` is, or spells: `3`, `"1e-3"` (text to YAML 1.1), `"1.0/255.0"`.

    Never evaluates anything. An integer stays an integer.

    Raises:
        ValueError: `value` is neither a number nor the text of a number or of one fraction.
    """
    if isinstance(value, (int, float)) and not isinstance(value, bool):
        return value
    if isinstance(value, str):
        numerator, slash, denominator = value.partition("/")
        try:
            if not slash:
                return _parse_decimal(value)
            return _parse_decimal(numerator) / _parse_decimal(denominator)
        except (ValueError, ZeroDivisionError):
            pass
    raise ValueError(f"expected a number such as 0.001, 1e-3 or 1.0/255.0, received {value!r}")


def _parse_decimal(text: str) -> Union[int, float]:
    try:
        return int(text)
    except ValueError:
        return float(text)
