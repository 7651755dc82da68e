"""Batches of tensors: the only file of `ppcls.data` that knows Paddle."""

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

import numpy as np

from ppcls.config.sections import LoaderOptions
from ppcls.data.batching import BatchMaker, SkippedImage
from ppcls.data.randomness import SampleKey
from ppcls.data.sampler import ShardedBatches
from ppcls.data.workers import WorkerPool
from ppcls.errors import DataError
from ppcls.registry import BATCH_TRANSFORMS, DATASETS, SAMPLERS
from ppcls.utils.logger import logger
from ppcls.utils.text import shorten_list

if TYPE_CHECKING:
    import paddle


class Batch(NamedTuple):
    """images (B, C, H, W) float32; labels (B,) int64 or (B, class_num) float32; indices (B,)
    int64 into the dataset."""

    images: "paddle.Tensor"
    labels: "paddle.Tensor"
    indices: "paddle.Tensor"


def build_loader(
    section: Mapping[str, Any],
    mode: Literal["Train", "Eval"],
    class_num: int,
    seed: int = 0,
    rank: int = 0,
    world_size: int = 1,
    epochs: int = 1,
) -> "DataLoader":
    """Builds the loader of `DataLoader.Train` or `DataLoader.Eval`.

    Args:
        section: `{dataset, sampler, loader, batch_transform_ops}`; `batch_transform_ops` may also
            stand in the dataset.
        mode: "Train" gives every process as many batches; "Eval" gives every sample to exactly
            one process (see `ppcls.data.sampler`).
        class_num: number of classes, for soft labels.
        seed: of everything random.
        rank: number of this process.
        world_size: number of processes.
        epochs: length of the training, for transforms that change in its course.
    """
    dataset = DATASETS.build(section["dataset"], seed=seed)
    dataset.transform.epochs = epochs
    shard = (0, 1) if mode == "Eval" else (rank, world_size)
    sampler = SAMPLERS.build(
        section["sampler"], dataset=dataset, seed=seed, rank=shard[0], world_size=shard[1]
    )
    if mode == "Eval":
        sampler = ShardedBatches(sampler, rank, world_size)
    specs = section.get("batch_transform_ops") or dataset.batch_transform_ops
    operators = [BATCH_TRANSFORMS.build(spec, class_num=class_num) for spec in specs]
    options = LoaderOptions(**(section.get("loader") or {}))
    return DataLoader(dataset, sampler, BatchMaker(dataset, operators, seed), options)


class DataLoader:
    """Iterates over the batches of an epoch; the same batches from any number of workers.

    Args:
        dataset: see `ppcls.data.dataset`.
        sampler: yields lists of `SampleKey`.
        make_batch: see `BatchMaker`.
        options: workers.
    """

    def __init__(self, dataset: Any, sampler: Any, make_batch: BatchMaker, options: LoaderOptions):
        self.dataset = dataset
        self.sampler = sampler
        self.make_batch = make_batch
        self._skipped: set[str] = set()
        self._pool = None
        if options.num_workers:
            self._pool = WorkerPool(
                make_batch,
                options.num_workers,
                options.prefetch_factor,
                options.use_shared_memory,
                retries=1,
                describe=self._names,
            )

    def __len__(self) -> int:
        """Batches of a whole epoch of this process."""
        return len(self.sampler)

    def set_epoch(self, epoch: int, start_step: int = 0) -> None:
        """The next iteration gives the batches of `epoch`, from number `start_step` on."""
        self.sampler.set_epoch(epoch, start_step)

    def __iter__(self) -> Iterator[Batch]:
        import paddle

        batches = self._pool.map if self._pool else self._load_here
        for arrays, skipped in batches(self.sampler):
            self._count(skipped)
            images, labels, indices = (paddle.to_tensor(array) for array in arrays)
            if images.dtype != paddle.float32:
                # `output_fp16` halves what workers hand over; what is computed in is AMP's choice.
                images = paddle.cast(images, "float32")
            yield Batch(images, labels, indices)

    def close(self) -> None:
        """Ends the worker processes; the next iteration starts new ones."""
        if self._pool:
            self._pool.close()

    def _load_here(self, keys_of_batches: Any) -> Iterator[Any]:
        # Tensors are copies, so that all batches can be made in the same memory.
        memory = np.empty(0, np.uint8)

        def allocate(shape: "tuple[int, ...]", dtype: np.dtype) -> np.ndarray:
            nonlocal memory
            length = int(np.prod(shape)) * np.dtype(dtype).itemsize
            if len(memory) < length:
                memory = np.empty(length, np.uint8)
            return memory[:length].view(dtype).reshape(shape)

        return (self.make_batch(keys, allocate) for keys in keys_of_batches)

    def _names(self, keys: "list[SampleKey]") -> str:
        """Of the images of a batch, in a few words."""
        return shorten_list([str(self.dataset.path(key.index)) for key in keys])

    def _count(self, skipped: "list[SkippedImage]") -> None:
        for image in skipped:
            if image.path not in self._skipped:
                self._skipped.add(image.path)
                logger.warning(f"left out: {image.reason}")
        limit = max(1, self.dataset.max_error_ratio * len(self.dataset))
        if len(self._skipped) > limit:
            raise DataError(
                f"{len(self._skipped)} of {len(self.dataset)} images cannot be read, more than "
                f"max_error_ratio: {self.dataset.max_error_ratio:g} of the dataset allows"
            )
