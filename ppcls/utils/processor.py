"""What code compiled for this machine's processor depends on."""

import platform
from pathlib import Path


def processor_features() -> str:
    """What `-march=native` depends on; a home folder may be shared by different machines."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.machine()
    return next((line for line in lines if line.startswith("flags")), platform.machine())
