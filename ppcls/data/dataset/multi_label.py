"""Images that may have several labels: a row of 0 and 1 each."""

from typing import Any, Optional

import numpy as np

from ppcls.config.types import Probability
from ppcls.data.dataset.base import BatchTransforms, OnError, Transforms
from ppcls.data.dataset.csv_list import CsvList
from ppcls.data.dataset.imagenet import ImageList, ListedDataset
from ppcls.data.dataset.label_list import MultiLabelList
from ppcls.registry import DATASETS


class RowsDataset(ListedDataset):
    """Images of a list with a row of 0 and 1, and -1 for unknown, each.

    A sample's label is the row, (class_num,) float32. With `label_ratio` it is (2, class_num):
    the row, and `self.label_ratio`, which losses use as weights.

    Args:
        image_root: folder that the paths of the list are relative to.
        image_list: paths and rows.
        label_ratio: give the part of the samples that have each class (of those that say) with
            every label.
        common: see `ImageDataset`.
    """

    label_ratio: Optional[np.ndarray] = None

    def __init__(
        self, image_root: str, image_list: ImageList, label_ratio: bool, *common: Any
    ) -> None:
        super().__init__(image_root, image_list, *common)
        if label_ratio:
            self.label_ratio = presence(self.labels)

    def label(self, index: int) -> np.ndarray:
        row = super().label(index)
        return row if self.label_ratio is None else np.stack([row, self.label_ratio])


@DATASETS.register()
class MultiLabelDataset(RowsDataset):
    """Images of a list file `path<delimiter>0,1,0`.

    Args:
        image_root: folder that the paths of the list are relative to.
        cls_label_path: the list file.
        transform_ops: see `ImageDataset`, like those below.
        label_ratio: see `RowsDataset`.
        delimiter: between path and row; None is any white space.
    """

    def __init__(
        self,
        image_root: str,
        cls_label_path: str,
        transform_ops: Transforms = None,
        label_ratio: bool = False,
        delimiter: Optional[str] = "\t",
        on_error: OnError = "raise",
        max_error_ratio: Probability = 0.01,
        batch_transform_ops: BatchTransforms = None,
        seed: int = 0,
    ):
        super().__init__(
            image_root,
            MultiLabelList(cls_label_path, delimiter),
            label_ratio,
            transform_ops,
            on_error,
            max_error_ratio,
            batch_transform_ops,
            seed,
        )


@DATASETS.register()
class CsvMultiLabelDataset(RowsDataset):
    """Images of a CSV file whose header names the classes: `image,cat,dog`, then `a.jpg,1,0`.

    Args:
        image_root: folder that the paths of the file are relative to.
        csv_path: the file (RFC 4180: commas, quotes where needed; UTF-8).
        transform_ops: see `ImageDataset`, like those below.
        path_column: name of the column with the paths; the first one if not given.
        classes: names of the columns that are classes, in the order of their numbers; all others
            than the paths' if not given.
        label_ratio: see `RowsDataset`.
        delimiter: between columns, one character.
    """

    def __init__(
        self,
        image_root: str,
        csv_path: str,
        transform_ops: Transforms = None,
        path_column: Optional[str] = None,
        classes: Optional[list[str]] = None,
        label_ratio: bool = False,
        delimiter: str = ",",
        on_error: OnError = "raise",
        max_error_ratio: Probability = 0.01,
        batch_transform_ops: BatchTransforms = None,
        seed: int = 0,
    ):
        image_list = CsvList(csv_path, path_column, classes, delimiter)
        super().__init__(
            image_root,
            image_list,
            label_ratio,
            transform_ops,
            on_error,
            max_error_ratio,
            batch_transform_ops,
            seed,
        )
        self.class_names = image_list.classes


def presence(labels: np.ndarray) -> np.ndarray:
    """The part of the samples that have each class, of those whose label is known.

    Args:
        labels: (N, class_num) of 1, 0 and -1 (unknown).

    Returns:
        (class_num,) float32; 0 for a class that is unknown everywhere.
    """
    known = np.count_nonzero(labels >= 0, axis=0)
    return (np.count_nonzero(labels == 1, axis=0) / np.maximum(known, 1)).astype(np.float32)
