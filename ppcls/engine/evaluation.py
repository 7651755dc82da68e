"""What `tools/eval.py` does: a trained or an exported model on the images of `DataLoader.Eval`."""

from pathlib import Path
from typing import Any, Optional, Union

import paddle

from ppcls.config import to_plain
from ppcls.config.sections import AMPOptions, GlobalOptions
from ppcls.data.loader import build_loader
from ppcls.data.timing import TimedDataset
from ppcls.data.transform.five_crops import FIVE, FiveCrops
from ppcls.engine.averaged_views import AveragedViews
from ppcls.engine.deployed_model import DeployedModel
from ppcls.engine.deployment import build_trained_model
from ppcls.engine.environment import prepare_environment
from ppcls.engine.evaluation_report import PredictionRecorder, write_report
from ppcls.engine.evaluator import build_evaluator
from ppcls.engine.mixed_precision import MixedPrecision
from ppcls.engine.preflight import check_datasets
from ppcls.errors import ConfigError
from ppcls.inference.postprocess import label_names_of
from ppcls.registry import parse_spec
from ppcls.utils.logger import init_logger, logger

#: Of a kind, in the log.
_ANNOUNCED = 5


def evaluate(
    config: "dict[str, Any]",
    model_dir: "Optional[Union[str, Path]]" = None,
    engine: str = "auto",
    flip: bool = False,
    report: "Optional[Union[str, Path]]" = None,
    precision: str = "fp32",
    crops: int = 1,
) -> "dict[str, float]":
    """Evaluates on `DataLoader.Eval`; returns losses and metrics by name.

    Args:
        config: checked configuration.
        model_dir: an exported folder to evaluate in place of the model of `Arch`, with the
            preprocessing that stands in it.
        engine: what runs the exported folder, see `ppcls.inference.engines`.
        flip: test-time augmentation: average over each image and its mirror image.
        crops: test-time augmentation: 5 averages over the corners and the centre of each image
            (see `FiveCrops`), 10 over these and their mirror images.
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
    flip = flip or crops == 2 * FIVE
    if crops > 1:
        loader.dataset.transform = FiveCrops(loader.dataset.transform)
    precision = MixedPrecision(
        AMPOptions(**config["AMP"]) if config.get("AMP") else None, options.device
    )
    evaluator = build_evaluator(config, loader, model.class_num, environment, precision)
    recorder = timed = None
    if report is not None:
        recorder = PredictionRecorder(len(loader.dataset))
        timed = TimedDataset.of(loader)
    if flip or crops > 1:
        views = (FIVE if crops > 1 else 1) * (2 if flip else 1)
        logger.info(f"the mean of the probabilities of {views} views of each image is evaluated")
        model = AveragedViews(model, flip, options.use_multilabel)
    results = evaluator.evaluate(model, recorder=recorder)
    loader.close()
    if recorder is not None:
        predictions = recorder.collect(environment)
        seconds = environment.sum(paddle.to_tensor(timed.seconds())).numpy()
        if environment.is_main:
            folder = Path(report)
            names = _label_names(config, loader.dataset)
            content = write_report(
                folder, results, predictions, loader.dataset, model.class_num, names, seconds
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
    worst = sorted(seen, key=lambda row: row["accuracy"])[:_ANNOUNCED]
    logger.info(
        f"expected calibration error {content['expected_calibration_error']:.4f}; classes with the "
        "lowest accuracy: "
        + ", ".join(f"{row['name']} {row['accuracy']:.3f} of {row['images']}" for row in worst)
    )
    for row in content["most_wrong"][:_ANNOUNCED]:
        logger.info(
            f"most wrong: {row['file']} is {row['label']} ({row['label_score']:.4f}), predicted "
            f"{row['predicted']} ({row['score']:.4f})"
        )
    for row in content["slowest"][:_ANNOUNCED]:
        logger.info(
            f"slowest to load: {row['file']}, {row['milliseconds']:.1f} ms, {row['width']}x"
            f"{row['height']}, {row['bytes']} bytes"
        )
    logger.info(f"report written to {folder}")
