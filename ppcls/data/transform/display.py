"""The model's input as a picture."""

import numpy as np

from ppcls.data.transform.decode import DecodeImage
from ppcls.data.transform.normalize import NormalizeImage
from ppcls.data.transform.pipeline import Pipeline


def displayable(image: np.ndarray, pipeline: Pipeline) -> np.ndarray:
    """Undoes `NormalizeImage`, and BGR.

    Args:
        image: what `pipeline` gave, (C, H, W).

    Returns:
        RGB (H, W, 3) uint8.
    """
    pixels = np.asarray(image[:3], np.float32).transpose(1, 2, 0)
    for operator in reversed(pipeline.operators):
        if isinstance(operator, NormalizeImage):
            # It is affine in each channel: black and white say all about it.
            shape = (3, 1, 1) if operator.channel_axis == 0 else (1, 1, 3)
            black, white = (
                operator(np.full(shape, value, np.uint8), None).astype(np.float32).ravel()[:3]
                for value in (0, 255)
            )
            pixels = (pixels - black) / (white - black) * 255
        if isinstance(operator, DecodeImage) and not operator.to_rgb:
            pixels = pixels[:, :, ::-1]
    return np.clip(np.rint(pixels), 0, 255).astype(np.uint8)
