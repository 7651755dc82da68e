"""Lists the models: `python tools/list_models.py [PATTERN] [--count]`."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from ppcls.arch.listing import main

if __name__ == "__main__":
    sys.exit(main())
