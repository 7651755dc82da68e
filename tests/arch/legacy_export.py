"""Exports a case of the contract in the legacy program format: `legacy_export CASE FOLDER`.

A model that is rewritten for inference is exported so too, into `FOLDER/fused`.

A process of its own, because Paddle reads `FLAGS_enable_pir_api` when it is imported.
"""

import sys
from pathlib import Path

import numpy as np
import paddle

from ppcls.arch.fusion import fuse_for_inference
from tests.arch.exported import export
from tests.arch.test_contract import TINY, build, images

if __name__ == "__main__":
    case, folder = sys.argv[1], Path(sys.argv[2])
    size = TINY[case][1][0]
    model = build(case)
    export(model, folder, (3, *size))
    if any(hasattr(layer, "fused") for layer in model.sublayers(include_self=True)):
        (folder / "fused").mkdir()
        export(fuse_for_inference(model), folder / "fused", (3, *size))
    with paddle.no_grad():
        np.save(folder / "expected.npy", model(images(size, batch=3)).numpy())
