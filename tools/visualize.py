"""`ppcls visualize`; see `ppcls/commands/visualize.py`."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from ppcls.commands import main

if __name__ == "__main__":
    sys.exit(main("visualize"))
