"""`ppcls serve`; see `ppcls/commands/serve.py` and the README beside this file."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent.parent))

from ppcls.commands import main

if __name__ == "__main__":
    sys.exit(main("serve"))
