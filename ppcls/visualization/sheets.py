"""The pictures: what explanations of several images look like side by side."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple, Optional

import numpy as np

from ppcls.visualization.colors import diverging, mark, overlay
from ppcls.visualization.explain import Explanation
from ppcls.visualization.grid import Column, Tile, draw_grid
from ppcls.visualization.streams import StreamPoint

#: Channels of each stage whose kernels are shown.
_KERNEL_CHANNELS = 2
#: Kernels shown down and across an image.
_KERNELS_OF_MAP = 5


class Explained(NamedTuple):
    """An image as the model saw it, RGB (H, W, 3) uint8, what is known of it and the explanation.

    label: the id of its class, where known.
    """

    name: str
    picture: np.ndarray
    explanation: Explanation
    label: Optional[int] = None


def first_tile(item: Explained, class_name: "Callable[[int], str]", marked: bool = False) -> Tile:
    """The image with its name, prediction and label."""
    explanation = item.explanation
    predicted = int(explanation.probabilities.argmax())
    lines = [Path(item.name).name]
    lines.append(f"{class_name(predicted)}: {explanation.probabilities[predicted]:.3f}")
    is_wrong = item.label is not None and item.label != predicted
    if item.label is not None:
        score = explanation.probabilities[item.label]
        lines.append(f"is {class_name(item.label)}: {score:.3f}" if is_wrong else "correct")
    if explanation.class_id != predicted:
        score = explanation.probabilities[explanation.class_id]
        lines.append(f"explained: {class_name(explanation.class_id)}: {score:.3f}")
    picture = mark(item.picture, *explanation.peak()) if marked else item.picture
    return Tile(picture, "\n".join(lines), is_wrong)


def draw_streams(
    path: Path,
    items: "list[Explained]",
    points: "dict[str, StreamPoint]",
    class_name: "Callable[[int], str]",
    heading: str,
    target_layer: str,
    tile: int,
) -> None:
    """Grad-CAM, and for each stage what its local and its global stream find."""
    columns = [Column("as the model\nsees it"), Column(f"Grad-CAM\nof {target_layer}")]
    for title, point in points.items():
        stage, kind = title.rsplit(" ", 1)
        columns.append(Column(f"{kind} stream\n{point.operation}", stage))
    rows = []
    for item in items:
        row = [first_tile(item, class_name), Tile(overlay(item.picture, item.explanation.cam))]
        row += [_heat(item.picture, item.explanation.streams[title]) for title in points]
        rows.append(row)
    notes = (
        "Red: where the model finds what speaks for the explained class; blue: where it finds "
        "nothing. Every picture has its own scale."
    )
    if points:
        notes += (
            " Streams, in the last block of each stage: gradient times activation, summed over the "
            "stream's channels, where positive."
        )
    draw_grid(path, heading, columns, rows, notes, tile)


def draw_attention(
    path: Path,
    items: "list[Explained]",
    class_name: "Callable[[int], str]",
    heading: str,
    tile: int,
) -> None:
    """Attention of the marked place, and what every place receives on average."""
    titles = list(items[0].explanation.attention)
    columns = [Column("as the model\nsees it")]
    for title in titles:
        group, kind = _group_and_rest(title)
        columns.append(Column(f"{kind}\nfrom the cross", group))
        if "asks" not in kind:
            columns.append(Column(f"{kind}\non average", group))
    rows = []
    for item in items:
        row = [first_tile(item, class_name, marked=True)]
        place = item.explanation.peak()
        for title in titles:
            attention = item.explanation.attention[title]
            of_place = mark(overlay(item.picture, attention.of(*place)), *place)
            row.append(Tile(of_place))
            if "asks" not in title:
                row.append(Tile(overlay(item.picture, attention.received())))
        rows.append(row)
    notes = (
        "Where the place under the cross, the peak of Grad-CAM, looks, and where all places look "
        "on average: attention weights, the mean over the heads. Every picture has its own scale."
    )
    draw_grid(path, heading, columns, rows, notes, tile)


def kernel_changes(kernels: "Sequence[np.ndarray]") -> np.ndarray:
    """How much the kernels of several images differ, for each channel: (C,).

    The root mean square of what an image's kernel differs from the mean kernel of the images by,
    relative to that of the mean kernel.

    Args:
        kernels: of each image, (C, K, K).
    """
    stacked = np.stack(kernels).astype(np.float64)
    mean = stacked.mean(axis=0)
    change = np.sqrt(((stacked - mean) ** 2).mean(axis=(0, 2, 3)))
    return change / np.maximum(np.sqrt((mean**2).mean(axis=(1, 2))), 1e-12)


def draw_kernels(
    path: Path,
    items: "list[Explained]",
    class_name: "Callable[[int], str]",
    heading: str,
    tile: int,
) -> None:
    """Kernels computed for each image, and how they differ from their mean."""
    columns, parts = [Column("as the model\nsees it")], []
    for title in items[0].explanation.kernels:
        stacked = np.stack([item.explanation.kernels[title] for item in items])
        changes = kernel_changes(list(stacked))
        strength = np.sqrt((stacked**2).mean(axis=(0, 2, 3)))
        # What changes most in absolute terms: kernels near zero change much relatively.
        channels = np.argsort(-changes * strength, kind="stable")[:_KERNEL_CHANNELS]
        group = f"{title}: kernels change by {np.median(changes):.1%}"
        for channel in channels:
            columns.append(Column(f"channel {channel}\nkernel", group))
            columns.append(Column("\ndifference", group))
            parts.append(stacked[:, channel])
    rows = []
    for number, item in enumerate(items):
        row = [first_tile(item, class_name)]
        for kernels in parts:
            difference = kernels - kernels.mean(axis=0)
            row.append(_kernel_tile(kernels[number], np.abs(kernels).max()))
            row.append(_kernel_tile(difference[number], np.abs(difference).max()))
        rows.append(row)
    last = [Tile(None, "mean and deviation\nover these images")]
    for kernels in parts:
        mean, deviation = kernels.mean(axis=0), kernels.std(axis=0)
        most, most_difference = np.abs(kernels).max(), np.abs(kernels - mean).max()
        last.append(_kernel_tile(mean, most, f"red: {most:.2g}"))
        last.append(_kernel_tile(deviation, most_difference, f"red: {most_difference:.2g}"))
    rows.append(last)
    notes = (
        "Kernels that the last block of each stage computed for each image, of the channels whose "
        "kernels change most, and their difference from the mean of these images; red above zero, "
        "blue below, one scale per column. 'Kernels change by': the median over channels of the "
        "difference relative to the mean kernel (root mean squares). Last row: mean and standard "
        "deviation over the images; the value that full red stands for."
    )
    draw_grid(path, heading, columns, rows, notes, tile)


def draw_local_weights(
    path: Path,
    items: "list[Explained]",
    class_name: "Callable[[int], str]",
    heading: str,
    tile: int,
) -> None:
    """Kernels computed for each place: some of them in their places, and where they differ."""
    titles = list(items[0].explanation.local_weights)
    columns = [Column("as the model\nsees it")]
    groups = {}
    for title in titles:
        weights = [item.explanation.local_weights[title] for item in items]
        groups[title] = int(
            np.argmax(np.mean([w.std(axis=(2, 3)).mean(axis=1) for w in weights], 0))
        )
        side = round(weights[0].shape[1] ** 0.5)
        columns.append(Column(f"kernels {side}x{side}\nof group {groups[title]}", title))
        columns.append(Column("where kernels\ndiffer", title))
    rows = []
    for item in items:
        row = [first_tile(item, class_name)]
        for title in titles:
            weights = item.explanation.local_weights[title]
            row.append(Tile(kernel_mosaic(weights[groups[title]])))
            departs = weights - weights.mean(axis=(2, 3), keepdims=True)
            row.append(_heat(item.picture, np.sqrt((departs**2).mean(axis=(0, 1)))))
        rows.append(row)
    notes = (
        "Kernels that the last block of each stage computed for each place. Left: those of places "
        "spread over the image, each drawn where it applies, of the group of channels in which "
        "they differ most; red above zero, blue below. Right: how far the kernels of a place are "
        "from the mean kernels of the image, all groups. Every picture has its own scale."
    )
    draw_grid(path, heading, columns, rows, notes, tile)


def kernel_mosaic(weights: np.ndarray) -> np.ndarray:
    """Kernels of places spread over the map, side by side, a white line between them.

    Args:
        weights: (K * K, h, w).

    Returns:
        RGB uint8.
    """
    window, h, w = weights.shape
    K = round(window**0.5)
    rows = _spread(h)
    columns = _spread(w)
    greatest = float(np.abs(weights[:, rows][:, :, columns]).max())
    mosaic = np.full((len(rows) * (K + 1) - 1, len(columns) * (K + 1) - 1, 3), 255, np.uint8)
    for i, y in enumerate(rows):
        for j, x in enumerate(columns):
            kernel = diverging(weights[:, y, x].reshape(K, K), greatest)
            top, left = i * (K + 1), j * (K + 1)
            mosaic[top : top + K, left : left + K] = kernel
    return mosaic


def _spread(size: int) -> "list[int]":
    """Middles of equal parts."""
    count = min(size, _KERNELS_OF_MAP)
    return [int((i + 0.5) * size / count) for i in range(count)]


def _heat(picture: np.ndarray, heat: np.ndarray) -> Tile:
    is_empty = not heat.max() > 0
    return Tile(overlay(picture, heat), "nothing" if is_empty else "")


def _kernel_tile(kernel: np.ndarray, greatest: float, text: str = "") -> Tile:
    return Tile(diverging(kernel, float(greatest)), text)


def _group_and_rest(title: str) -> "tuple[str, str]":
    """`stage 1 local asks global` -> (`stage 1`, `local asks global`)."""
    words = title.split(" ")
    if words[0] == "stage":
        return " ".join(words[:2]), " ".join(words[2:]) or "attention"
    return title, "attention"
