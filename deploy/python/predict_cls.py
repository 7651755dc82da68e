"""`ppcls predict` with `deploy/configs/inference_cls.yaml`; see `ppcls/commands/predict.py`."""

import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent.parent
sys.path.insert(0, str(ROOT))

from ppcls.commands import main  # noqa: E402 (ppcls is found by the line above)

if __name__ == "__main__":
    # A `-c` on the command line comes later and wins.
    default = ["-c", str(ROOT / "deploy" / "configs" / "inference_cls.yaml")]
    sys.exit(main("predict", [*default, *sys.argv[1:]]))
