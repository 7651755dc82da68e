"""What `tools/eval.py` does: a trained or an exported model on the images of `DataLoader.Eval`."""

from pathlib import Path
from typing import Any, Optional, Union

import paddle
from paddle import nn

from ppcls.config import to_plain
from ppcls.config.sections import AMPOptions, GlobalOptions
from ppcls.data.loader import build_loader
from ppcls.engine.deployed_model import DeployedModel
from ppcls.engine.deployment import build_trained_model
from ppcls.engine.environment import prepare_environment
from ppcls.engine.evaluation_report import PredictionRecorder, write_report
from ppcls.engine.evaluator import build_evaluator
from ppcls.engine.mixed_precision import MixedPrecision
from ppcls.engine.preflight import check_datasets
from ppcls.errors import ConfigError
from ppcls.inference.postprocess import label_names_of
from ppcls.loss.base import main_logits
from ppcls.registry import parse_spec
from ppcls.utils.logger import init_logger, logger


class _Mirrored(nn.Layer):
    """A model seen from both sides: the mean of the probabilities of an image and its mirror
    image, as their logarithm."""

    def __init__(self, model: nn.Layer):
        super().__init__()
        self.model = model
        self.class_num = model.class_num

    def forward(self, images: paddle.Tensor) -> paddle.Tensor:
        """(B, C, H, W) -> (B, class_num)."""
        views = (images, paddle.flip(images, axis=[3]))
        logs = [nn.functional.log_softmax(main_logits(self.model(view)), axis=1) for view in views]
        return paddle.logaddexp(*logs) - paddle.log(paddle.to_tensor(2.0))


def evaluate(
    config: "dict[str, Any]",
    model_dir: "Optional[Union[str, Path]]" = None,
    engine: str = "auto",
    flip: bool = False,
    report: "Optional[Union[str, Path]]" = None,
    precision: str = "fp32",
) -> "dict[str, float]":
    """Evaluates on `DataLoader.Eval`; returns losses and metrics by name.

    Args:
        config: checked configuration.
        model_dir: an exported folder to evaluate in place of the model of `Arch`, with the
            preprocessing that stands in it.
        engine: what runs the exported folder, see `ppcls.inference.engines`.
        flip: test-time augmentation: average over each image and its mirror image.
        report: folder for a report, see `ppcls.engine.evaluation_report.write_report`.
        precision: which variant of the exported folder, see `ppcls.inference.engines`.

    Raises:
        UserError: the configuration, the data, the weights or the folder cannot be used.
    """
    options = GlobalOptions(**config.get("Global", {}))
    section = (config.get("DataLoader") or {}).get("Eval")
    if not section:
        raise ConfigError("DataLoader.Eval: evaluation needs this section")
    environment = prepare_environment(options.device)
    init_logger(rank=environment.rank)
    if model_dir is None:
        model = build_trained_model(config, whole=True)
    else:
        model = DeployedModel(model_dir, engine, options.device, precision=precision)
        section = _with_transforms_of(model, section)
        logger.info(
            f"evaluating {model_dir} with {model.engine.name} ({precision}), its own preprocessing"
        )
    loader = build_loader(
        section,
        "Eval",
        class_num=model.class_num,
        seed=options.seed,
        rank=environment.rank,
        world_size=environment.world_size,
    )
    check_datasets({"DataLoader.Eval.dataset": loader.dataset}, model.class_num)
    precision = MixedPrecision(
        AMPOptions(**config["AMP"]) if config.get("AMP") else None, options.device
    )
    evaluator = build_evaluator(config, loader, model.class_num, environment, precision)
    recorder = None if report is None else PredictionRecorder(len(loader.dataset))
    results = evaluator.evaluate(_Mirrored(model) if flip else model, recorder=recorder)
    loader.close()
    if recorder is not None:
        predictions = recorder.collect(environment)
        if environment.is_main:
            folder = Path(report)
            names = _label_names(config, loader.dataset)
            content = write_report(
                folder, results, predictions, loader.dataset, model.class_num, names
            )
            _announce_report(folder, content)
    return results


def _with_transforms_of(model: DeployedModel, section: "dict[str, Any]") -> "dict[str, Any]":
    """A loader section that prepares images as the exported folder says."""
    section = to_plain(section)
    name, arguments = parse_spec(section["dataset"])
    transforms = model.description.transform_ops
    return {**section, "dataset": {"name": name, **arguments, "transform_ops": transforms}}


def _label_names(config: "dict[str, Any]", dataset: Any) -> "dict[int, str]":
    """Names of classes, from `Infer.PostProcess` or from the dataset, as far as known."""
    return label_names_of(config) or dict(enumerate(dataset.class_names or ()))


def _announce_report(folder: Path, content: "dict[str, Any]") -> None:
    seen = [row for row in content["classes"] if row["images"]]
    worst = sorted(seen, key=lambda row: row["accuracy"])[:5]
    logger.info(
        f"expected calibration error {content['expected_calibration_error']:.4f}; classes with the "
        "lowest accuracy: "
        + ", ".join(f"{row['name']} {row['accuracy']:.3f} of {row['images']}" for row in worst)
    )
    logger.info(f"report written to {folder}")
