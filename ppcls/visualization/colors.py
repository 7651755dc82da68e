"""Numbers as colours."""

from typing import Optional

import cv2
import numpy as np

#: Share of the colour where a map is 0 and where it is greatest; the rest is the picture in grey.
_LEAST_COLOR, _MOST_COLOR = 0.25, 0.75
#: The share of a map's positions that lie below full colour.
_FULL_COLOR = 0.99
#: From the least value over zero to the greatest.
_DIVERGING = np.array(
    [[33, 90, 172], [146, 187, 222], [247, 247, 247], [244, 165, 130], [178, 24, 43]]
)
_MARK, _MARK_EDGE = (255, 255, 255), (0, 0, 0)


def overlay(picture: np.ndarray, heat: np.ndarray) -> np.ndarray:
    """A map laid over a picture, blue where it is 0, red where it is greatest.

    Args:
        picture: RGB (H, W, 3) uint8.
        heat: (h, w), at least 0; enlarged bilinearly.

    Returns:
        RGB (H, W, 3) uint8.
    """
    height, width = picture.shape[:2]
    # One of hundreds of positions may stand out so far that no other would be seen.
    greatest = float(np.quantile(heat, _FULL_COLOR)) or float(heat.max())
    scaled = np.minimum(heat / greatest, 1) if greatest > 0 else np.zeros_like(heat)
    scaled = cv2.resize(scaled.astype(np.float32), (width, height), interpolation=cv2.INTER_LINEAR)
    color = cv2.applyColorMap(np.rint(scaled * 255).astype(np.uint8), cv2.COLORMAP_TURBO)
    color = color[:, :, ::-1].astype(np.float32)
    grey = picture.astype(np.float32).mean(axis=2, keepdims=True)
    share = (_LEAST_COLOR + (_MOST_COLOR - _LEAST_COLOR) * scaled)[:, :, None]
    return np.rint(grey * (1 - share) + color * share).astype(np.uint8)


def diverging(values: np.ndarray, greatest: Optional[float] = None) -> np.ndarray:
    """Values (h, w) around zero as RGB (h, w, 3) uint8: blue below, white at, red above zero.

    Args:
        greatest: the value, and its negative, that has full colour; the greatest there is.
    """
    limit = float(np.abs(values).max()) if greatest is None else greatest
    scaled = np.clip(values / limit, -1, 1) if limit > 0 else np.zeros_like(values)
    places = (scaled + 1) / 2 * (len(_DIVERGING) - 1)
    knots = np.arange(len(_DIVERGING))
    channels = [np.interp(places, knots, channel) for channel in _DIVERGING.T]
    return np.rint(np.stack(channels, axis=-1)).astype(np.uint8)


def mark(picture: np.ndarray, y: float, x: float) -> np.ndarray:
    """A copy of the picture with a cross at a place, 0 to 1 down and across."""
    height, width = picture.shape[:2]
    marked = np.ascontiguousarray(picture)
    marked = marked.copy() if marked is picture else marked
    centre = int(x * width), int(y * height)
    size = max(8, min(height, width) // 10)
    for color, thickness in ((_MARK_EDGE, 5), (_MARK, 2)):
        cv2.drawMarker(marked, centre, color, cv2.MARKER_CROSS, size, thickness)
    return marked
