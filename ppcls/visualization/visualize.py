"""What `tools/visualize.py` does: images in, pictures of what the model does with them out."""

import json
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Optional, Union

import numpy as np

from ppcls.arch.distillation import inference_spec
from ppcls.config.sections import GlobalOptions
from ppcls.data.dataset.base import FileDataset
from ppcls.data.transform import build_transforms
from ppcls.data.transform.display import displayable
from ppcls.engine.deployment import build_trained_model, evaluation_transforms
from ppcls.engine.environment import prepare_environment
from ppcls.errors import ConfigError, DataError
from ppcls.inference.image_source import NamedImage, expand, read_image
from ppcls.inference.postprocess import label_names_of
from ppcls.registry import DATASETS
from ppcls.utils import atomic
from ppcls.utils.drawn_text import drawable
from ppcls.utils.logger import init_logger, logger
from ppcls.visualization.explain import Explainer
from ppcls.visualization.sheets import (
    Explained,
    draw_attention,
    draw_kernels,
    draw_local_weights,
    draw_streams,
    kernel_changes,
)

NUMBERS = "visualization.json"
STREAMS, ATTENTION, KERNELS, LOCAL_WEIGHTS = (
    "streams.png",
    "attention.png",
    "kernels.png",
    "local_kernels.png",
)


def visualize(
    config: "dict[str, Any]",
    source: "Optional[Union[str, Sequence[str]]]" = None,
    folder: "Optional[Union[str, Path]]" = None,
    class_id: Optional[int] = None,
    target_layer: Optional[str] = None,
    limit: int = 8,
    tile: int = 160,
) -> "dict[Path, str]":
    """Draws what the trained model of a configuration does with images.

    Args:
        config: checked configuration; weights as for evaluation (`Global.pretrained_model`), the
            preprocessing is that of `DataLoader.Eval`.
        source: image files and folders; by default `Infer.infer_imgs`.
        folder: of the pictures; by default `visualization` in `Global.output_dir`.
        class_id: the class to be explained; by default each image's predicted one.
        target_layer: see `ppcls.visualization.target_layer.find_target_layer`.
        limit: so many images at most, evenly spread over `source`.
        tile: side of each picture in pixels.

    Returns:
        what was written, and what it shows.

    Raises:
        UserError: the configuration, the weights, an image or a name cannot be used.
    """
    options = GlobalOptions(**config.get("Global", {}))
    source = source or (config.get("Infer") or {}).get("infer_imgs")
    if not source:
        raise ConfigError("name images to be visualized, or set Infer.infer_imgs")
    prepare_environment(options.device)
    init_logger()
    transforms = build_transforms(evaluation_transforms(config))
    images = _read(_chosen(source, limit), transforms)
    model = build_trained_model(config)
    explainer = Explainer(model, images[0][1], target_layer, options.use_multilabel)
    labels = _known_labels(config, [name for name, _ in images])
    explained = []
    for name, image in images:
        explanation = explainer.explain(image, class_id)
        picture = displayable(image, transforms)
        explained.append(Explained(name, picture, explanation, labels.get(name)))
        logger.info(f"explained {name}")

    names = label_names_of(config)

    def class_name(number: int) -> str:
        return drawable(names.get(number, f"class {number}"), f"class {number}")

    folder = Path(folder or Path(options.output_dir) / "visualization")
    heading = inference_spec(config["Arch"])[0]["name"]
    written = {folder / STREAMS: f"Grad-CAM of {explainer.target_layer}"}
    if explainer.streams:
        written[folder / STREAMS] += ", local and global stream of each stage"
    draw_streams(
        folder / STREAMS,
        explained,
        explainer.streams,
        class_name,
        f"{heading}: what each stream looks at" if explainer.streams else f"{heading}: Grad-CAM",
        explainer.target_layer,
        tile,
    )
    first = explained[0].explanation
    if first.attention:
        path = folder / ATTENTION
        draw_attention(path, explained, class_name, f"{heading}: attention", tile)
        written[path] = "attention"
    if first.kernels:
        path = folder / KERNELS
        title = f"{heading}: kernels computed for each image"
        draw_kernels(path, explained, class_name, title, tile)
        written[path] = "how the computed kernels change with the image"
    if first.local_weights:
        path = folder / LOCAL_WEIGHTS
        title = f"{heading}: kernels computed for each place"
        draw_local_weights(path, explained, class_name, title, tile)
        written[path] = "the computed kernels of places, and where they differ"
    numbers = _numbers(explained, explainer.target_layer)
    atomic.write_text(folder / NUMBERS, json.dumps(numbers, indent=2, ensure_ascii=False) + "\n")
    written[folder / NUMBERS] = "predictions and measures"
    return written


def _chosen(source: "Union[str, Sequence[str]]", limit: int) -> "list[NamedImage]":
    images = list(expand(source if isinstance(source, str) else list(source)))
    if len(images) > limit:
        places = np.linspace(0, len(images) - 1, limit).round().astype(int)
        logger.info(f"{limit} of {len(images)} images, evenly spread; --limit takes more")
        images = [images[place] for place in places]
    return images


def _read(images: "list[NamedImage]", transforms: Any) -> "list[tuple[str, np.ndarray]]":
    """Names and model inputs (C, H, W) float32, all of one size."""
    inputs = []
    for name, image in images:
        try:
            inputs.append((name, np.asarray(transforms(read_image(image)), dtype=np.float32)))
        except DataError as error:
            raise DataError(f"{name}: {error}") from error
    return inputs


def _known_labels(config: "dict[str, Any]", names: "list[str]") -> "dict[str, int]":
    """Labels of those images that `DataLoader.Eval` lists, where images have one label."""
    section = (config.get("DataLoader") or {}).get("Eval")
    if not section:
        return {}
    try:
        dataset = DATASETS.build(section["dataset"], seed=0)
    except (DataError, OSError):
        return {}
    if not isinstance(dataset, FileDataset) or dataset.labels.ndim != 1:
        return {}
    wanted = {os.path.abspath(name): name for name in names}
    labels = {}
    for index in range(len(dataset)):
        name = wanted.get(os.path.abspath(dataset.path(index)))
        if name is not None:
            labels[name] = int(dataset.labels[index])
    return labels


def _numbers(explained: "list[Explained]", target_layer: str) -> "dict[str, Any]":
    """What can be read off the pictures, and how much kernels change (see `kernel_changes`)."""
    images = []
    for item in explained:
        explanation = item.explanation
        predicted = int(explanation.probabilities.argmax())
        images.append(
            {
                "file": item.name,
                "label": item.label,
                "predicted": predicted,
                "probability": float(explanation.probabilities[predicted]),
                "explained_class": explanation.class_id,
                "explained_probability": float(explanation.probabilities[explanation.class_id]),
                "grad_cam_peak": explanation.peak(),
            }
        )
    changes = {
        stage: float(np.median(kernel_changes([x.explanation.kernels[stage] for x in explained])))
        for stage in explained[0].explanation.kernels
    }
    return {"target_layer": target_layer, "images": images, "median_kernel_change": changes}
