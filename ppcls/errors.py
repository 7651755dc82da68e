"""User errors: exceptions whose message says what is wrong, where, and what to do.

Commands print the message alone and exit non-zero; the traceback appears only with `--debug` or
`PPCLS_DEBUG=1` (see `ppcls.utils.command`).
"""

import difflib
from collections.abc import Iterable


class UserError(Exception):
    """Something a user wrote, passed or owns (file, key, value) is wrong."""


class ConfigError(UserError):
    """A configuration cannot be used. Lists every fault found, one a line."""


class DataError(UserError):
    """A dataset, list file or image cannot be used."""


class CheckpointError(UserError):
    """A checkpoint or weight file cannot be used."""


class TrainingError(UserError):
    """Training cannot go on (a loss that is not a number, for instance)."""


class ExportError(UserError):
    """An exported model could not be written, or differs from the model it came from."""


def did_you_mean(name: object, known: Iterable[str]) -> str:
    """`; did you mean 'x'?` for the known name closest to `name`, or an empty string."""
    known = list(known)
    by_lower = {candidate.lower(): candidate for candidate in known}
    close = difflib.get_close_matches(str(name).lower(), by_lower, n=1, cutoff=0.6)
    return f"; did you mean '{by_lower[close[0]]}'?" if close else ""
