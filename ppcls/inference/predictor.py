"""Prediction: one loop for every engine and for the model in training."""

import itertools
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, Callable, NamedTuple, Optional, Union

import numpy as np

from ppcls.data.transform import build_transforms
from ppcls.errors import ConfigError, DataError
from ppcls.inference.engines import create_engine
from ppcls.inference.image_source import Image, NamedImage, expand, read_image
from ppcls.inference.map_ahead import map_ahead
from ppcls.inference.model_dir import Description
from ppcls.inference.postprocess import ACTIVATIONS, topk_spec
from ppcls.registry import POSTPROCESSES


class _Prepared(NamedTuple):
    """An image as the engine takes it, (C, H, W) float32, or why there is none."""

    name: str
    pixels: Optional[np.ndarray] = None
    error: str = ""


class PredictionPipeline:
    """Images -> preprocessing -> engine -> postprocess.

    Args:
        run: (B, C, H, W) float32 -> (B, class_num) float32.
        transform_ops: the preprocessing, as in YAML.
        postprocess: the postprocess, as in YAML.
        output: what `run` returns, "prob" or "logits".
        activation: what makes probabilities of logits, "softmax" or "sigmoid".
        label_names: names of classes, unless the postprocess names a file of its own.
        batch_size: images per call of `run`.
        allow_urls: download images that are named by URL.
        threads: images that are read and prepared at a time.
    """

    def __init__(
        self,
        run: "Callable[[np.ndarray], np.ndarray]",
        transform_ops: "list[Any]",
        postprocess: "dict[str, Any]",
        output: str = "prob",
        label_names: "dict[int, str] | None" = None,
        batch_size: int = 1,
        activation: str = "softmax",
        allow_urls: bool = False,
        threads: int = 1,
    ):
        self.run = run
        self.transforms = build_transforms(transform_ops)
        self.postprocess = POSTPROCESSES.build(postprocess)
        if label_names and not self.postprocess.label_names:
            self.postprocess.set_label_names(label_names)
        self.activate = ACTIVATIONS[activation] if output == "logits" else None
        self.batch_size = batch_size
        self.threads = threads
        self.allow_urls = allow_urls

    def predict(self, source: "Union[Image, Iterable[Image]]") -> "list[dict[str, Any]]":
        """Predictions of every image of `source` (see `ppcls.inference.image_source.expand`).

        Returns:
            a dictionary per image, `{"class_ids", "scores", "label_names", "file_name"}`, or
            `{"file_name", "error"}` for one that cannot be read.
        """
        return list(self.predict_iter(source))

    def predict_iter(self, source: "Union[Image, Iterable[Image]]") -> "Iterator[dict[str, Any]]":
        """As `predict`, a batch at a time, in the order of the images.

        Of a folder or a list the next batch is read and prepared while the present one runs, so
        that two are held in memory. An iterator is asked for a batch only when the results of the
        last one have been taken: its images may come from a camera.
        """
        ahead = 0 if isinstance(source, Iterator) else self.batch_size
        prepared = map_ahead(self._prepare, expand(source), ahead, self.threads)
        while batch := list(itertools.islice(prepared, self.batch_size)):
            yield from self._finish(batch)

    def preprocess(self, image: Image) -> np.ndarray:
        """One image -> (C, H, W) float32.

        Raises:
            DataError: it cannot be read or decoded.
        """
        # `NormalizeImage.output_fp16` is for the hand-over in training.
        pixels = self.transforms(read_image(image, self.allow_urls))
        return np.asarray(pixels, dtype=np.float32)

    def _prepare(self, image: NamedImage) -> _Prepared:
        try:
            return _Prepared(image.name, self.preprocess(image.image))
        except DataError as error:
            return _Prepared(image.name, error=str(error))

    def _finish(self, batch: "list[_Prepared]") -> "Iterator[dict[str, Any]]":
        inputs = [image.pixels for image in batch if image.pixels is not None]
        results = iter(self._run(np.stack(inputs)) if inputs else ())
        for image in batch:
            if image.pixels is None:
                yield {"file_name": image.name, "error": image.error}
            else:
                yield {**next(results), "file_name": image.name}

    def _run(self, images: np.ndarray) -> "list[dict[str, Any]]":
        outputs = self.run(images)
        return self.postprocess(self.activate(outputs) if self.activate else outputs)


class Predictor(PredictionPipeline):
    """Predicts with an exported folder; everything it needs to know stands in the folder.

    Several threads may call one predictor.

    Args:
        model_dir: the folder that `tools/export_model.py` wrote.
        engine: "paddle", "onnxruntime", "openvino" or "auto" (see `ppcls.inference.engines`).
        batch_size: images per run of the engine.
        device: "cpu" or "gpu".
        threads: CPU threads of one run, and as many that prepare the next images.
        topk: classes per prediction; None keeps the exported setting.
        use_onednn: for Paddle Inference on CPUs.
        precision: "fp32"; "bf16", "fp16" or "int8" where the engine has it.
        allow_urls: download images that are named by URL.

    Raises:
        ConfigError: the folder, its files, or the engine cannot be used.
    """

    def __init__(
        self,
        model_dir: Union[str, Path],
        engine: str = "auto",
        batch_size: int = 1,
        device: str = "cpu",
        threads: int = 1,
        topk: "int | None" = None,
        use_onednn: bool = True,
        precision: str = "fp32",
        allow_urls: bool = False,
    ):
        description = Description.read(model_dir)
        self.engine = create_engine(
            model_dir, engine, device, threads, use_onednn, precision, batch_size
        )
        self.description = description
        postprocess = dict(description.postprocess)
        if topk is not None:
            postprocess = topk_spec(description.activation, topk)
            exported = description.postprocess.get("topk")
            if description.output == "topk" and topk > exported:
                raise ConfigError(
                    f"{model_dir} gives the best {exported} classes, topk={topk} is more; export "
                    "it with a larger Infer.PostProcess.topk, or with --output prob"
                )
        super().__init__(
            self._run_topk if description.output == "topk" else self.engine.run,
            description.transform_ops,
            postprocess,
            description.output,
            description.label_names,
            batch_size,
            description.activation,
            allow_urls,
            threads,
        )

    def _run_topk(self, images: np.ndarray) -> np.ndarray:
        """(B, C, H, W) -> (B, largest class id + 1): the best probabilities, -1 for the others."""
        scores, class_ids = self.engine.run_all(images)
        probabilities = np.full((len(scores), int(class_ids.max()) + 1), -1, dtype=scores.dtype)
        np.put_along_axis(probabilities, class_ids.astype(np.int64), scores, axis=1)
        return probabilities

    def warm_up(self) -> None:
        """Runs a batch of zeros: the first run of an engine takes longer than the others."""
        shape = (self.batch_size, *self.description.image_shape)
        self.engine.run_all(np.zeros(shape, dtype=np.float32))
