"""What the commands infer and export do with a configuration and trained weights."""

from pathlib import Path
from typing import Any, Optional, Union

import numpy as np
import paddle

from ppcls.arch import build_model
from ppcls.arch.distillation import inference_spec
from ppcls.arch.weights import load_weights
from ppcls.config import to_plain
from ppcls.config.sections import GlobalOptions
from ppcls.data.transform import complete_transforms
from ppcls.engine.checkpoint import (
    checkpoint_to_resume,
    load_weights_for_inference,
    without_prefix,
)
from ppcls.engine.environment import prepare_environment
from ppcls.engine.exporter import ExportReport, export_model
from ppcls.errors import ConfigError, DataError
from ppcls.inference.model_dir import Description
from ppcls.inference.postprocess import DistillationPostProcess, read_label_names
from ppcls.inference.predictor import PredictionPipeline
from ppcls.loss.base import main_logits
from ppcls.registry import DATASETS, POSTPROCESSES, parse_spec
from ppcls.utils.logger import logger

# Divisible by the batch sizes of the comparison.
_COMPARED_IMAGES = 12
_DEFAULT_POSTPROCESS = {"name": "Topk", "topk": 5}
_DEFAULT_MULTI_LABEL_POSTPROCESS = {"name": "MultiLabelThreshOutput", "threshold": 0.5}


def build_trained_model(config: "dict[str, Any]", whole: bool = False) -> paddle.nn.Layer:
    """The model of `Arch` with the weights of `Global.pretrained_model`, in evaluation mode.

    Args:
        whole: of a distillation, all models; otherwise the one that infers, whose weights may be
            those of a checkpoint of all models or of that model alone.

    Raises:
        UserError: the weights are missing or belong to another model.
    """
    spec, prefix = inference_spec(config["Arch"])
    options = GlobalOptions(**config.get("Global", {}))
    run_folder = Path(options.output_dir) / parse_spec(config["Arch"])[0]
    path = options.pretrained_model or checkpoint_to_resume(options.checkpoints, run_folder)
    if path:
        # Published weights would be fetched only to be replaced.
        spec["pretrained"] = False
    model = build_model(config["Arch"] if whole and prefix else spec)
    if path:
        tensors, source = load_weights_for_inference(path)
        if not whole:
            tensors = without_prefix(tensors, prefix) or tensors
        load_weights(model, tensors, source=str(source))
        logger.info(f"weights: {source}")
    elif not spec.get("pretrained"):
        logger.warning(
            "no weights were given (Global.pretrained_model): the model is as initialised"
        )
    model.eval()
    return model


def infer(
    config: "dict[str, Any]", source: "Optional[Union[str, list[str]]]" = None
) -> "list[dict[str, Any]]":
    """Predicts `source` (default: `Infer.infer_imgs`) with the model as trained."""
    options = GlobalOptions(**config.get("Global", {}))
    section = config.get("Infer") or {}
    source = source or section.get("infer_imgs")
    if not source:
        raise ConfigError("Infer.infer_imgs: name an image or a folder of images")
    prepare_environment(options.device)
    model = build_trained_model(config)

    @paddle.no_grad()
    def run(images: np.ndarray) -> np.ndarray:
        return main_logits(model(paddle.to_tensor(images))).numpy()

    postprocess, activation = _prediction(config)
    pipeline = PredictionPipeline(
        run,
        evaluation_transforms(config),
        postprocess,
        output="logits",
        batch_size=section.get("batch_size", 1),
        activation=activation,
    )
    return pipeline.predict(source)


def export(
    config: "dict[str, Any]",
    folder: "Optional[Union[str, Path]]" = None,
    formats: "tuple[str, ...]" = ("pir",),
    output: str = "prob",
    opset: int = 13,
    batch_size: Optional[int] = None,
    fold: bool = True,
    simplify: bool = True,
) -> ExportReport:
    """Exports the trained model to `folder` (default: `Global.save_inference_dir`).

    It is compared on images of `DataLoader.Eval` too, as far as there are any. For the arguments
    see `ppcls.engine.exporter.export_model`; `batch_size` None exports any batch size.
    """
    options = GlobalOptions(**config.get("Global", {}))
    prepare_environment(options.device)
    model = build_trained_model(config)
    name = inference_spec(config["Arch"])[0]["name"]
    postprocess, activation = _prediction(config)
    # The folder stands alone: names travel in it, not as the path of a file elsewhere.
    label_file = postprocess.pop("class_id_map_file", None)
    label_names = {}
    if label_file:
        label_names = read_label_names(label_file, postprocess.pop("delimiter", None) or " ")
        for key in ("label_0", "label_1"):
            postprocess.pop(key, None)
    description = Description(
        model_name=name,
        image_shape=list(options.image_shape),
        transform_ops=evaluation_transforms(config),
        postprocess=postprocess,
        output=output,
        activation=activation,
        label_names=label_names,
        batch_size=batch_size,
    )
    return export_model(
        model,
        folder or options.save_inference_dir,
        description,
        formats=formats,
        opset=opset,
        images=evaluation_images(config, _COMPARED_IMAGES),
        fold=fold,
        simplify=simplify,
    )


def evaluation_images(config: "dict[str, Any]", count: int) -> Optional[np.ndarray]:
    """Up to `count` images (N, C, H, W) of `DataLoader.Eval`, spread over it; None without any."""
    section = (config.get("DataLoader") or {}).get("Eval")
    if not section:
        return None
    images = []
    try:
        dataset = DATASETS.build(section["dataset"], seed=0)
        for index in np.linspace(0, len(dataset) - 1, min(count, len(dataset)), dtype=np.int64):
            images.append(dataset[int(index)].image)
    except (DataError, OSError) as error:
        logger.warning(f"the export is compared on random images only: {error}")
        return None
    return np.stack(images) if images else None


def _prediction(config: "dict[str, Any]") -> "tuple[dict[str, Any], str]":
    """`Infer.PostProcess` as `{"name": ...}`, and the activation that gives it probabilities."""
    is_multi_label = GlobalOptions(**config.get("Global", {})).use_multilabel
    default = _DEFAULT_MULTI_LABEL_POSTPROCESS if is_multi_label else _DEFAULT_POSTPROCESS
    name, arguments = parse_spec((config.get("Infer") or {}).get("PostProcess") or default)
    if name == "DistillationPostProcess":
        _, prefix = inference_spec(config["Arch"])
        name, arguments = _unwrapped(DistillationPostProcess(**arguments), prefix)
    activation = "sigmoid" if is_multi_label else POSTPROCESSES.get(name).activation
    return {"name": name, **to_plain(arguments)}, activation


def _unwrapped(postprocess: DistillationPostProcess, prefix: str) -> "tuple[str, dict[str, Any]]":
    """Name and arguments of the postprocess of the model that infers."""
    model_name = prefix.partition(".")[0]
    if postprocess.model_name != model_name:
        raise ConfigError(
            f"Infer.PostProcess.model_name: predictions are made with Arch.infer_model_name, "
            f"'{model_name}', not with '{postprocess.model_name}'; name the same model in both"
        )
    return parse_spec(postprocess.spec)


def evaluation_transforms(config: "dict[str, Any]") -> "list[Any]":
    """The preprocessing of predictions: that of evaluation, else `Infer.transforms`.

    It is complete in itself: see `complete_transforms`.

    Raises:
        ConfigError: the configuration has neither.
    """
    evaluation = (config.get("DataLoader") or {}).get("Eval") or {}
    _, dataset = parse_spec(evaluation["dataset"]) if evaluation else ("", {})
    transforms = dataset.get("transform_ops") or (config.get("Infer") or {}).get("transforms")
    if not transforms:
        raise ConfigError(
            "no preprocessing: give DataLoader.Eval.dataset.transform_ops or Infer.transforms"
        )
    return complete_transforms(to_plain(transforms))
