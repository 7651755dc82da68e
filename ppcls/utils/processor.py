"""What this machine's processor is and can do."""

import os
import platform
from pathlib import Path


def cpu_count() -> int:
    """CPUs that this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def read_cpuinfo() -> str:
    """The text of Linux's `/proc/cpuinfo`; empty on other systems."""
    try:
        return Path("/proc/cpuinfo").read_text(encoding="utf-8")
    except OSError:
        return ""


def processor_features() -> str:
    """What `-march=native` depends on; a home folder may be shared by different machines."""
    lines = read_cpuinfo().splitlines()
    return next((line for line in lines if line.startswith("flags")), platform.machine())


def describe_processor() -> str:
    """What the processor is called and can do."""
    lines = dict.fromkeys(
        line
        for line in read_cpuinfo().splitlines()
        if line.startswith(("model name", "flags", "Features"))
    )
    return "\n".join(lines) or f"{platform.machine()} {platform.processor()}"
