"""One version of a model in service: preprocessing in threads, batching, postprocess."""

import asyncio
import time
from collections.abc import Callable, Sequence
from concurrent.futures import Executor
from pathlib import Path
from typing import Any, Optional

import numpy as np

from ppcls.errors import DataError
from ppcls.inference import Predictor
from ppcls.serving.batcher import DynamicBatcher
from ppcls.serving.errors import DeadlineExceeded, Unprocessable
from ppcls.serving.images import check_pixels
from ppcls.serving.metrics import Metrics
from ppcls.serving.settings import Settings
from ppcls.serving.topk import choose_classes


class ServedModel:
    """Predicts for many requests at a time.

    Args:
        name, version: as clients address it.
        folder: the exported folder.
        open_predictor: makes a `Predictor` of it.
        settings: limits.
        executor: threads that prepare images, shared by all models.
        metrics: counters, shared by all models.

    Raises:
        UserError: the folder cannot be used.
    """

    def __init__(
        self,
        name: str,
        version: int,
        folder: Path,
        open_predictor: "Callable[[Path], Predictor]",
        settings: Settings,
        executor: Executor,
        metrics: Metrics,
    ):
        self.name = name
        self.version = version
        self.folder = folder
        self._settings = settings
        self._executor = executor
        self._metrics = metrics
        self._predictor = open_predictor(folder)
        description = self._predictor.description
        #: (C, H, W) of the engine's input.
        self.input_shape = tuple(description.image_shape)
        #: "softmax": one class per image; "sigmoid": several.
        self.activation = description.activation
        self.label_names: dict[int, str] = self._predictor.postprocess.label_names
        self.engine_name: str = self._predictor.engine.name
        # Also the warm-up: engines compile and allocate at the first run of a size.
        sizes = {1, settings.max_batch_size}
        outputs = [self._run(np.zeros((n, *self.input_shape), np.float32)) for n in sizes]
        #: None: the program gives only its best classes.
        self.class_num: Optional[int] = outputs[0].shape[1]
        #: The most classes an answer can have.
        self.most_classes: int = outputs[0].shape[1]
        if description.output == "topk":
            self.class_num, self.most_classes = None, description.postprocess["topk"]
        self._batcher = DynamicBatcher(
            self._run,
            settings.max_batch_size,
            settings.max_delay,
            settings.queue_size,
            settings.instances,
            self._observe,
        )
        metrics.admitted.labels(name, version).set_function(lambda: self._batcher.admitted)

    async def predict(self, images: "Sequence[bytes]", timeout: float) -> np.ndarray:
        """Image files -> probabilities (B, class_num) float32.

        Raises:
            RequestError: an image cannot be used, or there is no room or no time.
        """
        return await self._predict(images, self._prepare, timeout)

    async def predict_tensor(self, images: np.ndarray, timeout: float) -> np.ndarray:
        """Prepared images (B, C, H, W) float32 -> probabilities (B, class_num) float32.

        Raises:
            RequestError: as `predict`.
        """
        if images.shape[1:] != self.input_shape:
            raise Unprocessable(
                f"the input has shape {list(images.shape)}; this model takes "
                f"{[-1, *self.input_shape]}"
            )
        return await self._predict(images, None, timeout)

    def results(self, probabilities: np.ndarray, topk: Optional[int]) -> "list[dict[str, Any]]":
        """(B, class_num) -> `{"class_ids", "scores", "label_names"}` per image.

        Without `topk`, as the exported postprocess chooses.
        """
        if topk is not None:
            topk = min(topk, self.most_classes)
        return choose_classes(self._predictor.postprocess, probabilities, topk)

    def label(self, class_id: int) -> str:
        """The name of a class, or its number."""
        return self.label_names.get(class_id, str(class_id))

    def close(self) -> None:
        """Takes no more images; what is queued is still answered."""
        self._batcher.close()

    async def _predict(
        self,
        images: Sequence[Any],
        prepare: "Optional[Callable[[Any], np.ndarray]]",
        timeout: float,
    ) -> np.ndarray:
        deadline = time.monotonic() + timeout
        loop = asyncio.get_running_loop()

        async def predict_one(image: Any) -> np.ndarray:
            if prepare is not None:
                image = await loop.run_in_executor(self._executor, prepare, image)
            return await asyncio.wrap_future(ticket.submit(image, deadline))

        with self._batcher.admit(len(images)) as ticket:
            # All are waited for, so that none outlives the ticket.
            rows = asyncio.gather(*map(predict_one, images), return_exceptions=True)
            try:
                results = await asyncio.wait_for(rows, timeout)
            except asyncio.TimeoutError:
                raise DeadlineExceeded(f"no answer within {timeout:g} s") from None
        for result in results:
            if isinstance(result, BaseException):
                raise result
        probabilities = _stack(results)
        if not np.isfinite(probabilities).all():
            raise Unprocessable("the model's answer to this input is not finite")
        return probabilities

    def _prepare(self, data: bytes) -> np.ndarray:
        check_pixels(data, self._settings.max_pixels)
        try:
            image = self._predictor.preprocess(data)
        except DataError as error:
            raise Unprocessable(str(error)) from None
        if image.shape != self.input_shape:
            raise Unprocessable(
                f"the image becomes {list(image.shape)} in preprocessing, but this model takes "
                f"{list(self.input_shape)}"
            )
        return image

    def _run(self, images: np.ndarray) -> np.ndarray:
        outputs = self._predictor.run(images)
        activate = self._predictor.activate
        return activate(outputs) if activate else outputs

    def _observe(self, size: int, waited: float, ran: float) -> None:
        self._metrics.images.labels(self.name, self.version).inc(size)
        self._metrics.batch_size.labels(self.name).observe(size)
        self._metrics.queue_seconds.labels(self.name).observe(waited)
        self._metrics.run_seconds.labels(self.name).observe(ran)


def _stack(rows: "list[np.ndarray]") -> np.ndarray:
    """Rows of different runs; where only the best classes are known, those end at the last one."""
    width = max(map(len, rows))
    return np.stack([np.pad(row, (0, width - len(row)), constant_values=-1) for row in rows])
