"""The learning curves of a run as a picture."""

from pathlib import Path
from typing import Any, Union

from ppcls.errors import ConfigError


def draw_learning_curves(
    history: "list[dict[str, Any]]", path: Union[str, Path], title: str = ""
) -> None:
    """Writes a PNG with loss and top-1 of training and evaluation over the epochs.

    Args:
        history: rows as in `train_results.json`.

    Raises:
        ConfigError: Matplotlib is not installed.
    """
    try:
        from matplotlib.backends.backend_agg import FigureCanvasAgg
        from matplotlib.figure import Figure
    except ImportError as error:
        raise ConfigError(
            'learning curves need Matplotlib: pip install "logoclas[quickstart]"'
        ) from error
    figure = Figure(figsize=(10, 4), layout="constrained")
    FigureCanvasAgg(figure)
    for axes, name in zip(figure.subplots(1, 2), ("loss", "top1")):
        for phase, style in (("train", "--"), ("eval", "-")):
            points = [
                (row["epoch"], row[f"{phase}_{name}"])
                for row in history
                if f"{phase}_{name}" in row
            ]
            if points:
                axes.plot(*zip(*points), style, marker="o", markersize=3, label=phase)
        axes.set_xlabel("epoch")
        axes.set_title(name)
        axes.grid(alpha=0.3)
        axes.legend()
    figure.suptitle(title)
    Path(path).parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=110)
