"""Images at the size that the sampler asks for."""

from typing import Any, Optional

from ppcls.config.types import Probability
from ppcls.data.dataset.base import BatchTransforms, OnError, Transforms
from ppcls.data.dataset.imagenet import ImageNetDataset
from ppcls.data.randomness import SampleKey
from ppcls.data.transform import Pipeline, build_transforms, complete_transforms
from ppcls.errors import ConfigError
from ppcls.registry import DATASETS, parse_spec

#: Operators whose result has the size of the sampler instead of their own.
_SIZED = ("RandCropImage", "ResizeImage", "CropImage")


@DATASETS.register()
class MultiScaleDataset(ImageNetDataset):
    """`ImageNetDataset` for `MultiScaleSampler`: each batch has a size of its own.

    The sampler's size takes the place of `size` and `resize_short` of `RandCropImage`,
    `ResizeImage` and `CropImage`; their other arguments stay. With another sampler, the list is
    used as it is written.

    Args: see `ImageNetDataset`.

    Raises:
        ConfigError: `transform_ops` has none of these operators.
    """

    def __init__(
        self,
        image_root: str,
        cls_label_path: str,
        transform_ops: Transforms = None,
        delimiter: Optional[str] = None,
        on_error: OnError = "raise",
        max_error_ratio: Probability = 0.01,
        batch_transform_ops: BatchTransforms = None,
        seed: int = 0,
    ):
        super().__init__(
            image_root,
            cls_label_path,
            transform_ops,
            delimiter,
            on_error=on_error,
            max_error_ratio=max_error_ratio,
            batch_transform_ops=batch_transform_ops,
            seed=seed,
        )
        self.specs = complete_transforms(transform_ops or [])
        if not any(parse_spec(spec)[0] in _SIZED for spec in self.specs):
            raise ConfigError(
                f"MultiScaleDataset needs one of {', '.join(_SIZED)} in transform_ops, "
                "to give images the size that MultiScaleSampler asks for"
            )
        self._pipelines: dict[tuple[int, int], Pipeline] = {}

    def pipeline(self, key: SampleKey) -> Pipeline:
        if key.size is None:
            return super().pipeline(key)
        if key.size not in self._pipelines:
            pipeline = build_transforms([_resized(spec, key.size) for spec in self.specs])
            pipeline.epochs = self.transform.epochs
            self._pipelines[key.size] = pipeline
        return self._pipelines[key.size].at_epoch(key.epoch)


def _resized(spec: Any, size: "tuple[int, int]") -> Any:
    name, arguments = parse_spec(spec)
    if name not in _SIZED:
        return spec
    height, width = size
    kept = {key: value for key, value in arguments.items() if key != "resize_short"}
    return {name: {**kept, "size": [width, height]}}
