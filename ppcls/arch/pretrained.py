"""Published weights, as data: where they are, what they were trained for, whose they are.

Preprocessing follows from a record. This module needs no Paddle.
"""

from dataclasses import dataclass
from typing import Any, Optional

from ppcls.errors import ConfigError, did_you_mean

IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)


@dataclass(frozen=True)
class WeightRecord:
    """One published weight file.

    `top1` is what the publisher reports on the ImageNet-1k validation set, in per cent; it is not
    a measurement of ours.
    """

    model: str
    url: str
    #: Hash of the file, where the publisher's file could be checked.
    sha256: Optional[str]
    origin: str
    licence: str
    paper: str
    top1: float
    class_num: int = 1000
    image_size: int = 224
    #: The shorter side is resized to this, then the centre of `image_size` is cut out.
    resize_short: int = 256
    interpolation: str = "bicubic"
    mean: "tuple[float, float, float]" = IMAGENET_MEAN
    std: "tuple[float, float, float]" = IMAGENET_STD

    @property
    def crop_pct(self) -> float:
        return self.image_size / self.resize_short

    @property
    def file_name(self) -> str:
        return self.url.rpartition("/")[2]

    def transform_ops(self) -> "list[dict[str, Any]]":
        """The evaluation preprocessing, as a `transform_ops` list for `build_transforms`."""
        resize = {"resize_short": self.resize_short, "interpolation": self.interpolation}
        normalize = {"scale": 1 / 255, "mean": list(self.mean), "std": list(self.std), "order": ""}
        return [
            {"DecodeImage": {"to_rgb": True, "channel_first": False}},
            {"ResizeImage": {**resize, "backend": "pil"}},
            {"CropImage": {"size": self.image_size}},
            {"NormalizeImage": normalize},
            {"ToCHWImage": {}},
        ]


def _dsnet(model: str, top1: float) -> WeightRecord:
    return WeightRecord(
        model=model,
        url="https://paddle-imagenet-models-name.bj.bcebos.com/dygraph/"
        f"{model}_pretrained.pdparams",
        sha256=None,
        origin="PaddleClas",
        licence="Apache-2.0",
        paper="arXiv 2105.14734",
        top1=top1,
        resize_short=248,
    )


_RECORDS = [
    _dsnet("DSNet_tiny", top1=79.2),
    _dsnet("DSNet_small", top1=82.0),
    _dsnet("DSNet_base", top1=81.8),
]

RECORDS = {record.model: record for record in _RECORDS}


def find_record(model: str) -> WeightRecord:
    """The record of a model's published weights; `ConfigError` naming those that have some."""
    if model not in RECORDS:
        raise ConfigError(
            f"there are no published weights for '{model}'{did_you_mean(model, RECORDS)} "
            f"(there are for {', '.join(RECORDS)})"
        )
    return RECORDS[model]
