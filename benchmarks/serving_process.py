"""A `ppcls serve` in a process of its own, for the benchmarks of serving."""

import os
import socket
import subprocess
import sys
import time
from pathlib import Path
from typing import IO, NamedTuple, Union

ROOT = Path(__file__).resolve().parent.parent


class Usage(NamedTuple):
    """What a process holds (Linux)."""

    mebibytes: float
    files: int
    threads: int


def free_port() -> int:
    """A port that nobody listens on."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return free.getsockname()[1]


def start(
    model_dir: str, *options: str, log: "Union[int, IO[str]]" = subprocess.DEVNULL
) -> "tuple[subprocess.Popen, int]":
    """A server that is ready, and its port for HTTP; the log goes to `log`."""
    port = free_port()
    command = [sys.executable, str(ROOT / "deploy" / "server" / "serve.py")]
    command += ["--model_dir", model_dir, "--port", str(port), *options]
    process = subprocess.Popen(command, stderr=log)
    while True:
        try:
            socket.create_connection(("127.0.0.1", port), timeout=5).close()
            return process, port
        except ConnectionRefusedError:
            if process.poll() is not None:
                sys.exit("error: the server did not start; see `ppcls serve`")
            time.sleep(0.1)


def usage(pid: int) -> Usage:
    """What a process holds now."""
    folder = Path("/proc") / str(pid)
    fields = dict(line.split(":", 1) for line in (folder / "status").read_text().splitlines())
    return Usage(
        round(int(fields["VmRSS"].split()[0]) / 1024, 1),
        len(list((folder / "fd").iterdir())),
        int(fields["Threads"]),
    )


def cpu_seconds(pid: int) -> float:
    """CPU time that a process has used."""
    fields = (Path("/proc") / str(pid) / "stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")
