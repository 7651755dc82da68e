"""Datasets: what an index stands for. `dataset[key]` gives a `Sample`, or raises `DataError`."""

from ppcls.data.dataset import (  # noqa: F401  (registers the datasets)
    folder,
    idx,
    imagenet,
    multi_label,
    multi_scale,
    tar_shards,
)
