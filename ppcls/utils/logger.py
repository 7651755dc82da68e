"""The log of a run, in PaddleClas's format: `[2026/01/31 12:00:00] ppcls INFO: message`."""

import logging
import sys
from pathlib import Path
from typing import Optional, Union

from tqdm import tqdm

_FORMAT = "[%(asctime)s] %(name)s %(levelname)s: %(message)s"
_DATE_FORMAT = "%Y/%m/%d %H:%M:%S"

logger = logging.getLogger("ppcls")


class _TerminalHandler(logging.Handler):
    """Writes to standard output without tearing a progress bar apart."""

    def emit(self, record: logging.LogRecord) -> None:
        try:
            tqdm.write(self.format(record), file=sys.stdout)
            sys.stdout.flush()
        except BrokenPipeError:
            # The reader of our output has gone (`| head`); the run goes on, the file has it all.
            logger.removeHandler(self)


def init_logger(log_file: Optional[Union[str, Path]] = None, rank: int = 0) -> logging.Logger:
    """Sets the log up: rank 0 writes to the terminal and, if given, appends to `log_file`.

    Other ranks write warnings and errors only, marked with their rank.
    """
    logger.handlers.clear()
    logger.propagate = False
    logger.setLevel(logging.INFO if rank == 0 else logging.WARNING)
    prefix = "" if rank == 0 else f"[rank {rank}] "
    formatter = logging.Formatter(_FORMAT.replace("%(message)s", prefix + "%(message)s"))
    formatter.datefmt = _DATE_FORMAT
    handlers: list[logging.Handler] = [_TerminalHandler()]
    if log_file is not None and rank == 0:
        Path(log_file).parent.mkdir(parents=True, exist_ok=True)
        handlers.append(logging.FileHandler(log_file, encoding="utf-8"))
    for handler in handlers:
        handler.setFormatter(formatter)
        logger.addHandler(handler)
    return logger
