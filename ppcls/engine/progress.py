"""What a person sees of a running epoch: PaddleClas's log line, and a bar on a terminal."""

import datetime
import sys
import time
from collections.abc import Iterable, Iterator, Mapping
from typing import Optional, TypeVar

from tqdm import tqdm

from ppcls.utils.logger import logger

T = TypeVar("T")


class EpochProgress:
    """Times the iterations of one phase and reports them.

    Args:
        phase: "Train" or "Eval".
        epoch: one-based number of the epoch.
        epochs: number of epochs of the run.
        iterations: iterations of this epoch; `done` of them lie before a resume.
        total_left: iterations the whole run still has, this epoch included, for the ETA.
        visible: whether this process reports at all.
    """

    def __init__(
        self,
        phase: str,
        epoch: int,
        epochs: int,
        iterations: int,
        done: int = 0,
        total_left: Optional[int] = None,
        visible: bool = True,
    ):
        self.prefix = f"[{phase}][Epoch {epoch}/{epochs}]"
        self.iterations = iterations
        self.position = done
        self.left = total_left if total_left is not None else iterations - done
        self.visible = visible
        self.images = 0
        self.seen = 0
        self.data_seconds = 0.0
        self.started = time.perf_counter()
        self._bar = tqdm(
            total=iterations,
            initial=done,
            desc=f"{phase} {epoch}/{epochs}",
            unit="it",
            leave=False,
            dynamic_ncols=True,
            disable=not (visible and sys.stdout.isatty()),
            file=sys.stdout,
        )

    def batches(self, loader: "Iterable[T]") -> "Iterator[T]":
        """The batches of `loader`; the time until each arrives was spent on data.

        What follows a step (log lines that wait for the device, checkpoints) is not.
        """
        remaining = iter(loader)
        while True:
            started = time.perf_counter()
            try:
                batch = next(remaining)
            except StopIteration:
                return
            self.data_seconds += time.perf_counter() - started
            yield batch

    def step_done(self, images: int) -> None:
        """Call when a batch of `images` (of this process) has been processed."""
        self.position += 1
        self.seen += 1
        self.left -= 1
        self.images += images
        self._bar.update()

    def log_iteration(self, values: "Mapping[str, float]", world_size: int = 1) -> None:
        """The log line of the iteration just done; `values` by name, learning rate included."""
        if not self.visible:
            return
        seconds = (time.perf_counter() - self.started) / self.seen
        rate = self.images * world_size / (seconds * self.seen)
        eta = datetime.timedelta(seconds=round(self.left * seconds))
        costs = (
            f"batch_cost: {seconds:.5f}s, reader_cost: {self.data_seconds / self.seen:.5f}s, "
            f"ips: {rate:.5f} samples/s, eta: {eta}"
        )
        numbers = format_values(values)
        logger.info(f"{self.prefix}[Iter: {self.position - 1}/{self.iterations}]{numbers}, {costs}")
        loss = values.get("loss")
        if loss is not None:
            self._bar.set_postfix(loss=f"{loss:.4f}", refresh=False)

    def close(self) -> "dict[str, float]":
        """Ends the bar; returns seconds, images per second and the share of time spent on data."""
        self._bar.close()
        seconds = max(time.perf_counter() - self.started, 1e-9)
        return {
            "seconds": seconds,
            "images_per_second": self.images / seconds,
            "data_share": self.data_seconds / seconds,
        }


def format_values(values: "Mapping[str, float]") -> str:
    """`name: value` pairs as PaddleClas writes them; learning rates with more digits."""
    return ", ".join(
        f"{name}: {value:.8f}" if name.startswith("lr(") else f"{name}: {value:.5f}"
        for name, value in values.items()
    )
