"""Evaluation of a model on a loader: losses and metrics, exact under sharding."""

from typing import Any, Optional

import paddle

from ppcls.config.sections import GlobalOptions
from ppcls.engine.averages import RunningAverages
from ppcls.engine.environment import Environment
from ppcls.engine.evaluation_report import PredictionRecorder
from ppcls.engine.mixed_precision import MixedPrecision
from ppcls.engine.progress import EpochProgress, format_values
from ppcls.errors import DataError
from ppcls.loss import CombinedLoss
from ppcls.metric import build_metrics
from ppcls.utils.logger import logger


class Evaluator:
    """Evaluates with the losses and metrics of the `Eval` lists.

    Args:
        loader: gives every sample of this process's shard once (see `ppcls.data.sampler`).
        loss: a `CombinedLoss`, or None.
        metrics: metric objects; their names must differ.
    """

    def __init__(
        self,
        loader: Any,
        loss: Optional[Any],
        metrics: "list[Any]",
        environment: Environment,
        precision: Optional[MixedPrecision] = None,
        print_batch_step: int = 10,
    ):
        self.loader = loader
        self.loss = loss
        self.metrics = metrics
        self.environment = environment
        self.precision = precision or MixedPrecision(None, environment.device)
        self.print_batch_step = print_batch_step
        #: How good the model evaluated last is, greater is better: the first value of the first
        #: metric, or its negative where smaller is better; without metrics the negated loss.
        self.quality: Optional[float] = None

    @paddle.no_grad()
    def evaluate(
        self,
        model: paddle.nn.Layer,
        epoch: int = 1,
        epochs: int = 1,
        recorder: Optional[PredictionRecorder] = None,
    ) -> "dict[str, float]":
        """Runs the whole loader; returns every loss and metric by name.

        The model is put into evaluation mode and left in the mode it was in.

        Args:
            epoch, epochs: for the log.
            recorder: keeps the prediction of each image.
        """
        was_training = model.training
        model.eval()
        averages = RunningAverages([*self.loss.names, "loss"] if self.loss else [])
        for metric in self.metrics:
            metric.reset()
        progress = EpochProgress(
            "Eval", epoch, epochs, len(self.loader), visible=self.environment.is_main
        )
        for batch in progress.batches(self.loader):
            with self.precision.autocast(training=False):
                outputs = model(batch.images)
            if self.loss is not None:
                averages.update(self.loss(outputs, batch.labels), weight=len(batch.labels))
            for metric in self.metrics:
                metric.update(outputs, batch.labels)
            if recorder is not None:
                recorder.add(outputs, batch.labels, batch.indices)
            progress.step_done(len(batch.labels))
            if progress.position % self.print_batch_step == 0:
                progress.log_iteration(averages.compute(), self.environment.world_size)
        progress.close()
        if was_training:
            model.train()
        results = self._reduce(averages)
        if self.environment.is_main:
            logger.info(f"[Eval][Epoch {epoch}][Avg]{format_values(results)}")
        return results

    def _reduce(self, averages: RunningAverages) -> "dict[str, float]":
        averages.merge(self.environment.sum)
        results = averages.compute()
        environment, qualities = self.environment, []
        for metric in self.metrics:
            metric.reduce(environment.sum, environment.rank, environment.world_size)
            values = metric.compute()
            results.update(values)
            qualities += [v if metric.higher_is_better else -v for v in values.values()]
        if self.loss is not None:
            qualities.append(-results["loss"])
        self.quality = qualities[0] if qualities else None
        if not results:
            raise DataError(
                "nothing to evaluate: the Loss and Metric sections have no Eval entries"
            )
        return results


def build_evaluator(
    config: "dict[str, Any]",
    loader: Any,
    class_num: int,
    environment: Environment,
    precision: Optional[MixedPrecision] = None,
) -> Evaluator:
    """The evaluator with the `Eval` lists of `Loss` and `Metric`.

    Raises:
        ConfigError: a loss depends on the training set.
    """
    losses = (config.get("Loss") or {}).get("Eval")
    loss = CombinedLoss(losses) if losses else None
    if loss is not None:
        loss.prepare(labels=None, class_num=class_num)
    metrics = build_metrics((config.get("Metric") or {}).get("Eval"))
    every = GlobalOptions(**config.get("Global", {})).print_batch_step
    return Evaluator(loader, loss, metrics, environment, precision, every)
