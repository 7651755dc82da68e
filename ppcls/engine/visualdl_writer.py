"""What VisualDL shows of a run: scalars, images, the graph of the model."""

from pathlib import Path

import numpy as np

from ppcls.data.transform.display import displayable
from ppcls.data.transform.pipeline import Pipeline
from ppcls.engine.model_graph import GraphWriter
from ppcls.errors import ConfigError

#: Images of the first batch that are shown.
_SHOWN_IMAGES = 16


class VisualDLWriter:
    """Writes records under `<folder>/vdl`; does nothing when not enabled.

    Args:
        folder: of the run.
        config: file with the configuration of the run, for the graph.
        enabled: whether to write at all.

    Raises:
        ConfigError: VisualDL is asked for and not installed.
    """

    def __init__(self, folder: Path, config: Path, enabled: bool):
        self._writer = self._graph = None
        self._has_images = False
        if not enabled:
            return
        try:
            from visualdl import LogWriter
        except ImportError as error:
            raise ConfigError(
                "Global.use_visualdl is true but VisualDL is not installed: "
                'pip install "logoclas[visualdl]"'
            ) from error
        self._writer = LogWriter(logdir=str(folder / "vdl"))
        self._graph = GraphWriter(config, folder / "vdl")

    def add(self, phase: str, values: "dict[str, float]", step: int) -> None:
        """Writes each value as the scalar `phase/name` at `step`."""
        if self._writer is None:
            return
        for name, value in values.items():
            self._writer.add_scalar(tag=f"{phase}/{name}", value=value, step=step)

    def add_first_images(self, images: "object", pipeline: Pipeline, step: int) -> None:
        """Writes a sheet of images (B, C, H, W) as the model sees them, the first time only.

        Args:
            images: a tensor.
            pipeline: what made them; its normalisation is undone.
            step: their iteration.
        """
        if self._writer is None or self._has_images:
            return
        self._has_images = True
        shown = [displayable(image, pipeline) for image in images[:_SHOWN_IMAGES].numpy()]
        self._writer.add_image(tag="train/images", img=_side_by_side(shown), step=step)

    def close(self) -> None:
        """Flushes what is buffered, and waits for the graph."""
        if self._writer is not None:
            self._graph.close()
            self._writer.close()


def _side_by_side(images: "list[np.ndarray]") -> np.ndarray:
    """RGB images of one size as a square of them, black where there is none."""
    columns = int(np.ceil(len(images) ** 0.5))
    blank = [np.zeros_like(images[0])] * (-len(images) % columns)
    rows = np.stack([*images, *blank])
    rows = rows.reshape(-1, columns, *images[0].shape)
    return np.concatenate([np.concatenate(list(row), axis=1) for row in rows], axis=0)
