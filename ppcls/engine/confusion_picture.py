"""The confusion matrix as a picture."""

from pathlib import Path

import numpy as np

from ppcls.utils.figure import new_figure

#: Numbers and names are written for at most so many classes; more would not be readable.
_MOST_NAMED = 40


def draw_confusion_matrix(matrix: np.ndarray, names: "list[str]", path: Path) -> None:
    """Writes a PNG: rows are classes, columns predictions, colours shares of the row.

    Args:
        matrix: (C, C) counts.
        names: (C) of the classes.

    Raises:
        ConfigError: Matplotlib is not installed.
    """
    shares = matrix / np.maximum(matrix.sum(axis=1, keepdims=True), 1)
    side = min(4 + 0.35 * len(names), 16)
    figure = new_figure(side, side)
    axes = figure.subplots()
    image = axes.imshow(shares, cmap="Blues", vmin=0, vmax=1)
    figure.colorbar(image, ax=axes, shrink=0.7, label="share of the class")
    axes.set_xlabel("predicted")
    axes.set_ylabel("label")
    if len(names) <= _MOST_NAMED:
        places = range(len(names))
        axes.set_xticks(places, names, rotation=90)
        axes.set_yticks(places, names)
        for row, column in np.argwhere(matrix):
            color = "white" if shares[row, column] > 0.5 else "black"
            axes.text(
                column,
                row,
                str(matrix[row, column]),
                ha="center",
                va="center",
                color=color,
                fontsize=8,
            )
    figure.savefig(path, dpi=110)
