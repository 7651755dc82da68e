"""Training, as one explicit loop."""

import signal
from contextlib import nullcontext
from pathlib import Path
from typing import Any, Optional

import paddle

from ppcls.arch import build_model
from ppcls.arch.distillation import inference_spec
from ppcls.arch.weights import load_weights
from ppcls.config import save_config
from ppcls.config.sections import AMPOptions, EMAOptions, GlobalOptions
from ppcls.data.loader import build_loader
from ppcls.engine.averages import RunningAverages
from ppcls.engine.checkpoint import (
    BEST,
    LATEST,
    checkpoint_to_resume,
    delete_leftovers,
    delete_old_epochs,
    load_weights_for_inference,
)
from ppcls.engine.environment import prepare_environment, seed_everything
from ppcls.engine.evaluator import build_evaluator
from ppcls.engine.history import write_history
from ppcls.engine.learning_curves import LEARNING_CURVES, draw_learning_curves
from ppcls.engine.loss_watch import LossWatch
from ppcls.engine.memory import advice_on_memory, peak_memory_mib
from ppcls.engine.mixed_precision import MixedPrecision
from ppcls.engine.peers import PeerWatch
from ppcls.engine.preflight import check_before_training, output_problems
from ppcls.engine.profiling import StepProfiler
from ppcls.engine.progress import EpochProgress
from ppcls.engine.run_state import Position, failure_of, resume_epoch, resume_run, save_run
from ppcls.engine.running_statistics import average_statistics
from ppcls.engine.training_step import TrainingStep
from ppcls.engine.visualdl_writer import VisualDLWriter
from ppcls.errors import ConfigError, TrainingError
from ppcls.loss import CombinedLoss
from ppcls.metric import build_metrics
from ppcls.optimizer import ExponentialMovingAverage, build_optimizer
from ppcls.optimizer.sharding import ShardedOptimizer
from ppcls.registry import parse_spec
from ppcls.utils.cpu import describe_settings
from ppcls.utils.logger import init_logger, logger
from ppcls.utils.signals import Interrupted, StopRequest

#: The resolved configuration in the run's folder.
CONFIG = "config.yaml"
# An epoch shorter than this is dominated by the start of the workers.
_SECONDS_TO_JUDGE_DATA = 30.0
_SHARE_OF_SLOW_DATA = 0.25


class Trainer:
    """Trains the model of a checked configuration (`ppcls.config.load_config`).

    Everything is built, checked and, if `Global.checkpoints` is set, restored by the constructor;
    `fit` runs the epochs.

    Args:
        config: the configuration.
        profile_steps: profile so many iterations, see `ppcls.engine.profiling`.

    Raises:
        UserError: the configuration, the data or the checkpoint cannot be used.
    """

    def __init__(self, config: "dict[str, Any]", profile_steps: int = 0):
        for section in ("DataLoader", "Loss", "Optimizer"):
            if not config.get(section):
                raise ConfigError(f"{section}: training needs this section")
        self.config = config
        self.options = GlobalOptions(**config.get("Global", {}))
        self.arch_name = arch_name(config)
        self.folder = Path(self.options.output_dir) / self.arch_name
        self.environment = prepare_environment(self.options.device)
        # A folder that cannot be written is reported with all else that is wrong, by `_build_data`.
        has_log = self.environment.is_main and not output_problems(self.folder)
        init_logger(self.folder / "train.log" if has_log else None, rank=self.environment.rank)

        seed_everything(self.options.seed)
        self.model = build_model(config["Arch"])
        _, self.student_prefix = inference_spec(config["Arch"])
        if self.options.pretrained_model:
            tensors, path = load_weights_for_inference(self.options.pretrained_model)
            ignore_head = parse_spec(config["Arch"])[1].get("ignore_head", False)
            report = load_weights(self.model, tensors, str(path), ignore_head=ignore_head)
            logger.info(f"weights: {path}; {report}")
        self._build_data()
        self._build_optimization()
        self.position = Position()
        self._has_warned_of_data = False
        self.profiler = None
        if profile_steps and self.environment.is_main:
            folder = self.folder / "profile"
            self.profiler = StepProfiler(folder, profile_steps, self.options.device)
        checkpoint = checkpoint_to_resume(self.options.checkpoints, self.folder)
        if checkpoint is not None:
            resume_run(self, checkpoint)

    # ---------------------------------------------------------------- building

    def _build_data(self) -> None:
        config, environment = self.config, self.environment
        class_num = self.model.class_num
        where = {"seed": self.options.seed, "rank": environment.rank}
        where["world_size"] = environment.world_size
        sections = config["DataLoader"]
        if not sections.get("Train"):
            raise ConfigError("DataLoader.Train: training needs this section")
        self.loader = build_loader(
            sections["Train"], "Train", class_num=class_num, epochs=self.options.epochs, **where
        )
        datasets = {"DataLoader.Train.dataset": self.loader.dataset}
        eval_loader = None
        if self.options.eval_during_train:
            if not sections.get("Eval"):
                raise ConfigError(
                    "DataLoader.Eval: evaluation during training needs this section; "
                    "or set Global.eval_during_train: false"
                )
            eval_loader = build_loader(sections["Eval"], "Eval", class_num=class_num, **where)
            datasets["DataLoader.Eval.dataset"] = eval_loader.dataset
        check_before_training(datasets, class_num, self.folder)
        self.eval_loader = eval_loader

    def _build_optimization(self) -> None:
        config, options = self.config, self.options
        losses = config["Loss"]
        if not losses.get("Train"):
            raise ConfigError("Loss.Train: training needs at least one loss")
        self.loss = CombinedLoss(losses["Train"])
        labels = getattr(self.loader.dataset, "labels", None)
        self.loss.prepare(labels, self.model.class_num)
        metrics = config.get("Metric") or {}
        self.train_metrics = build_metrics(metrics.get("Train"))
        self.precision = MixedPrecision(
            AMPOptions(**config["AMP"]) if config.get("AMP") else None, options.device
        )
        self.steps_per_epoch = -(-len(self.loader) // options.update_freq)
        self.optimizer, self.schedule = build_optimizer(
            config["Optimizer"],
            model=self.model,
            epochs=options.epochs,
            steps_per_epoch=self.steps_per_epoch,
            loss=self.loss,
            batch_size=self._images_per_step(),
            image_shape=options.image_shape,
            rank=self.environment.rank,
            world_size=self.environment.world_size,
        )
        if isinstance(self.optimizer, ShardedOptimizer) and self.precision.wraps_optimizer:
            raise ConfigError(
                "Optimizer.shard_state works with float32 and with AMP's bfloat16 at level O1, not "
                "with float16 or level O2"
            )
        if self.schedule.needs_evaluation and not options.eval_during_train:
            raise ConfigError(
                f"Optimizer.lr: {self.schedule.name} reacts to evaluations; set "
                "Global.eval_during_train: true"
            )
        self.model, self.optimizer = self.precision.decorate(self.model, self.optimizer)
        ema = EMAOptions(**config["EMA"]) if config.get("EMA") is not None else None
        self.ema = ExponentialMovingAverage(self.model, ema.decay) if ema else None
        self.network = self.model
        if options.to_static:
            # Whole graphs: translating bytecode instead (SOT) took five times as long here, to
            # start and per step.
            self.network = paddle.jit.to_static(self.network, full_graph=True)
        if self.environment.world_size > 1:
            self.network = paddle.DataParallel(self.network)
        self.watch = LossWatch(
            self.loader.dataset,
            len(self.loader),
            self.environment,
            self.folder,
            options.on_nan,
            options.max_skips,
        )
        self.step = TrainingStep(
            model=self.model,
            network=self.network,
            loss=self.loss,
            optimizer=self.optimizer,
            schedule=self.schedule,
            ema=self.ema,
            metrics=self.train_metrics,
            precision=self.precision,
            options=options,
            environment=self.environment,
            watch=self.watch,
            iterations_per_epoch=len(self.loader),
        )
        self.evaluator = None
        if self.eval_loader is not None:
            self.evaluator = build_evaluator(
                config, self.eval_loader, self.model.class_num, self.environment, self.precision
            )

    def _images_per_step(self) -> int:
        """Images that all processes together take for one optimizer step."""
        batch_size = self.loader.sampler.batch_size
        return batch_size * self.environment.world_size * self.options.update_freq

    # ---------------------------------------------------------------- the loop

    def fit(self) -> "dict[str, Any]":
        """Trains to the last epoch; returns the summary also written to `train_results.json`.

        Raises:
            Interrupted: Ctrl-C or SIGTERM came; `latest` is saved.
            TrainingError: the loss or the weights are no longer numbers, or memory ran out.
        """
        self._announce()
        self.visualdl = VisualDLWriter(
            self.folder,
            self.folder / CONFIG,
            self.options.use_visualdl and self.environment.is_main,
        )
        try:
            with StopRequest() as stop, PeerWatch(self.environment):
                self._train_epochs(stop)
        except MemoryError as error:
            raise TrainingError(advice_on_memory(error)) from error
        if self.profiler is not None:
            self.profiler.close()
        self.visualdl.close()
        self.loader.close()
        summary = self._summary()
        if self.environment.is_main:
            try:
                curves = self.folder / LEARNING_CURVES
                draw_learning_curves(self.position.history, curves, self.arch_name)
            except ConfigError as error:
                logger.info(f"the learning curves are not drawn: {error}")
            logger.info(f"Training finished; checkpoints, history and log are in {self.folder}")
        return summary

    def _train_epochs(self, stop: StopRequest) -> None:
        while self.position.epoch < self.options.epochs:
            row = self._train_epoch(stop)
            average_statistics(self.model, self.ema, self.environment)
            results, quality = self._evaluate_epoch()
            row.update({f"eval_{name}": value for name, value in results.items()})
            self._finish_epoch(row, quality)

    def _train_epoch(self, stop: StopRequest) -> "dict[str, Any]":
        options, position = self.options, self.position
        epoch, count = position.epoch, len(self.loader)
        done = position.iteration - epoch * count
        self.loader.set_epoch(epoch, start_step=done)
        self.network.train()
        averages = RunningAverages([*self.loss.names, "loss"])
        for metric in self.train_metrics:
            metric.reset()
        resume_epoch(position, averages, self.train_metrics)
        progress = EpochProgress(
            "Train",
            epoch + 1,
            options.epochs,
            count,
            done=done,
            total_left=options.epochs * count - position.iteration,
            visible=self.environment.is_main,
        )
        for batch in progress.batches(self.loader):
            pipeline = self.loader.dataset.transform
            self.visualdl.add_first_images(batch.images, pipeline, position.iteration)
            step_ends = self.step(batch, position.iteration, averages)
            progress.step_done(len(batch.labels))
            if self.profiler is not None:
                self.profiler.step()
            position.iteration += 1
            is_last = progress.position == count
            if progress.position % options.print_batch_step == 0 or is_last:
                self._report(progress, averages)
            if not step_ends or is_last:
                continue
            if self._should_stop(stop, progress.position):
                progress.close()
                self._check_losses()
                save_run(self, LATEST, averages)
                logger.info(f"Saved {self.folder / LATEST} at iteration {position.iteration}")
                raise Interrupted(stop.signum or signal.SIGTERM)
            every = options.save_interval_steps
            if every and position.iteration % every == 0:
                self._check_losses()
                save_run(self, LATEST, averages)
        timing = progress.close()
        self._warn_of_slow_data(timing)
        position.epoch += 1
        row = {"epoch": position.epoch, "lr": self.schedule.get_lr()}
        row.update({f"train_{name}": value for name, value in averages.compute().items()})
        row.update({f"train_{name}": value for name, value in self._train_metric_values().items()})
        row.update(timing)
        row["peak_memory_mib"] = peak_memory_mib(self.options.device)
        return row

    def _warn_of_slow_data(self, timing: "dict[str, float]") -> None:
        waited = timing["data_share"]
        is_long = timing["seconds"] >= _SECONDS_TO_JUDGE_DATA
        if is_long and waited > _SHARE_OF_SLOW_DATA and not self._has_warned_of_data:
            self._has_warned_of_data = True
            logger.warning(
                f"{waited:.0%} of the epoch was spent waiting for data: raise "
                "DataLoader.Train.loader.num_workers if there are idle processors, or find the "
                "slow operator with tools/benchmark_loader.py"
            )

    def _report(self, progress: EpochProgress, averages: RunningAverages) -> None:
        self._check_losses()
        values = averages.compute()
        rate = {f"lr({self.schedule.name})": self.schedule.get_lr()}
        values = {**self._train_metric_values(), **values}
        progress.log_iteration({**rate, **values}, self.environment.world_size)
        rates = {"lr": self.schedule.get_lr(), **values}
        self.visualdl.add("train", rates, self.position.iteration)

    def _check_losses(self) -> None:
        """Ends a run that has failed, before it saves what it made of the weights."""
        try:
            self.watch.check()
        except TrainingError as error:
            raise failure_of(self.folder, str(error)) from None

    def _train_metric_values(self) -> "dict[str, float]":
        values: dict[str, float] = {}
        for metric in self.train_metrics:
            values.update(metric.compute())
        return values

    def _should_stop(self, stop: StopRequest, position: int) -> bool:
        """Whether a signal came. Processes agree on it, at iterations that all of them reach."""
        if self.environment.world_size > 1 and position % self.options.print_batch_step:
            return False
        return self.environment.any(stop.signum is not None)

    # ---------------------------------------------------------------- ends of epochs

    def _evaluate_epoch(self) -> "tuple[dict[str, float], Optional[float]]":
        """Losses and metrics by name, and how good the model is; none if no evaluation is due."""
        epoch, epochs = self.position.epoch, self.options.epochs
        is_started = epoch >= self.options.start_eval_epoch
        is_due = (is_started and epoch % self.options.eval_interval == 0) or epoch == epochs
        if self.evaluator is None or not is_due:
            return {}, None
        with self.ema.average_weights() if self.ema else nullcontext():
            results = self.evaluator.evaluate(self.model, epoch, epochs)
        self.visualdl.add("eval", results, epoch)
        quality = self.evaluator.quality
        self.schedule.observe(results, quality)
        return results, quality

    def _finish_epoch(self, row: "dict[str, Any]", value: Optional[float]) -> None:
        position = self.position
        position.history.append(row)
        is_best = value is not None and (position.best_value is None or value > position.best_value)
        if is_best:
            position.best_value, position.best_epoch = value, position.epoch
            save_run(self, BEST)
        if value is not None and self.environment.is_main:
            best = f"{abs(position.best_value):.5f} (epoch {position.best_epoch})"
            logger.info(f"[Eval][Epoch {position.epoch}][best metric: {best}]")
        if position.epoch % self.options.save_interval == 0:
            save_run(self, f"epoch_{position.epoch}")
            if self.options.keep_last is not None and self.environment.is_main:
                delete_old_epochs(self.folder, self.options.keep_last)
        save_run(self, LATEST)
        if self.environment.is_main:
            write_history(self.folder, self._summary(), position.history)

    def _summary(self) -> "dict[str, Any]":
        return {
            "arch": self.arch_name,
            "epochs": self.options.epochs,
            "best_metric": self.position.best_value,
            "best_epoch": self.position.best_epoch,
            "folder": str(self.folder),
        }

    def _announce(self) -> None:
        if not self.environment.is_main:
            return
        delete_leftovers(self.folder)
        resolved = self.folder / CONFIG
        save_config(self.config, resolved)
        parameters = sum(p.size for p in self.model.parameters() if not p.stop_gradient)
        logger.info(
            f"{self.arch_name}: {parameters / 1e6:.2f} M parameters; "
            f"{len(self.loader.dataset)} training images, {len(self.loader)} iterations an epoch "
            f"in each of {self.environment.world_size} process(es), device "
            f"{self.environment.device}; configuration saved to {resolved}"
        )
        if self.environment.device == "cpu":
            logger.info(
                f"CPU settings: {describe_settings()} (set one in the environment to change it)"
            )


def arch_name(config: "dict[str, Any]") -> str:
    """The name of the configured model, which is also its output folder's."""
    return parse_spec(config["Arch"])[0]
