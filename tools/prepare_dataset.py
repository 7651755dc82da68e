"""Makes datasets: `python tools/prepare_dataset.py digits --output DIR`, or `... folder DIR`."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from ppcls.data.prepare import main

if __name__ == "__main__":
    sys.exit(main())
