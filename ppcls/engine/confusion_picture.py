"""The confusion matrix as a picture."""

from pathlib import Path

import numpy as np

from ppcls.utils.logger import logger

#: Numbers and names are written for at most so many classes; more would not be readable.
_MOST_NAMED = 40


def draw_confusion_matrix(matrix: np.ndarray, names: "list[str]", path: Path) -> None:
    """Writes a PNG: rows are classes, columns predictions, colours shares of the row.

    Without Matplotlib, which `pip install "logoclas[quickstart]"` brings, a line of the log says
    that there is no picture.

    Args:
        matrix: (C, C) counts.
        names: (C) of the classes.
    """
    try:
        from matplotlib.backends.backend_agg import FigureCanvasAgg
        from matplotlib.figure import Figure
    except ImportError:
        logger.warning(
            f'{path} is not drawn, it needs Matplotlib: pip install "logoclas[quickstart]"'
        )
        return
    shares = matrix / np.maximum(matrix.sum(axis=1, keepdims=True), 1)
    side = min(4 + 0.35 * len(names), 16)
    figure = Figure(figsize=(side, side), layout="constrained")
    FigureCanvasAgg(figure)
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
