"""The learning curves of a run as a picture."""

from pathlib import Path
from typing import Any, Union

from ppcls.utils.figure import new_figure

LEARNING_CURVES = "learning_curves.png"


def draw_learning_curves(
    history: "list[dict[str, Any]]", path: Union[str, Path], title: str = ""
) -> None:
    """Writes a PNG with the loss and the first metric of training and evaluation over the epochs.

    Args:
        history: rows as in `train_results.json`.

    Raises:
        ConfigError: Matplotlib is not installed.
    """
    figure = new_figure(10, 4)
    names = ["loss", *_metric_names(history)[:1]]
    for axes, name in zip(figure.subplots(1, len(names), squeeze=False)[0], names):
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


def _metric_names(history: "list[dict[str, Any]]") -> "list[str]":
    """Metrics of the evaluations, in the order of the configuration."""
    keys = [key for row in history for key in row if key.startswith("eval_")]
    names = dict.fromkeys(key[len("eval_") :] for key in keys)
    return [name for name in names if "loss" not in name.lower()]
