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
    def key(self) -> str:
        """The model's name, with the image size behind an @ where it is not 224."""
        return self.model if self.image_size == 224 else f"{self.model}@{self.image_size}"

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


def _transxnet(model: str, file: str, top1: float, resize_short: int) -> WeightRecord:
    return WeightRecord(
        model=model,
        url=f"https://github.com/LMMMEng/TransXNet/releases/download/v1.0/{file}.pth.tar",
        sha256=None,
        origin="authors",
        licence="not stated",
        paper="arXiv 2310.19380",
        top1=top1,
        resize_short=resize_short,
    )


def _dwnet(model: str, file: str, top1: float) -> WeightRecord:
    return WeightRecord(
        model=model,
        url="https://github.com/Atten4Vis/DemystifyLocalViT/releases/download/prerelease/"
        f"{file}_224.pth",
        sha256=None,
        origin="authors",
        licence="MIT",
        paper="arXiv 2106.04263",
        top1=top1,
    )


def _volo(model: str, file: str, top1: float, image_size: int = 224) -> WeightRecord:
    return WeightRecord(
        model=model,
        url=f"https://github.com/sail-sg/volo/releases/download/volo_1/{file}.pth.tar",
        sha256=None,
        origin="authors",
        licence="Apache-2.0",
        paper="arXiv 2106.13112",
        top1=top1,
        image_size=image_size,
        # The authors crop 96 % of a side at 224 pixels, the whole picture at 384.
        resize_short=233 if image_size == 224 else image_size,
    )


_RECORDS = [
    _dsnet("DSNet_tiny", top1=79.2),
    _dsnet("DSNet_small", top1=82.0),
    _dsnet("DSNet_base", top1=81.8),
    _transxnet("TransXNet_T", "transx-t", top1=81.6, resize_short=248),
    _transxnet("TransXNet_S", "transx-s", top1=83.8, resize_short=248),
    _transxnet("TransXNet_B", "transx-b", top1=84.6, resize_short=235),
    _dwnet("DWNet_tiny", "dwnet_tiny", top1=81.2),
    _dwnet("DynamicDWNet_tiny", "dynamic_dwnet_tiny", top1=81.8),
    _dwnet("DWNet_base", "dwnet_base", top1=83.2),
    _dwnet("DynamicDWNet_base", "dynamic_dwnet_base", top1=83.2),
    _volo("VOLO_D1", "d1_224_84.2", top1=84.2),
    _volo("VOLO_D1", "d1_384_85.2", top1=85.2, image_size=384),
    _volo("VOLO_D2", "d2_224_85.2", top1=85.2),
    _volo("VOLO_D2", "d2_384_86.0", top1=86.0, image_size=384),
    _volo("VOLO_D3", "d3_224_85.4", top1=85.4),
    _volo("VOLO_D4", "d4_224_85.7", top1=85.7),
    _volo("VOLO_D5", "d5_224_86.10", top1=86.1),
]

#: By `WeightRecord.key`.
RECORDS = {record.key: record for record in _RECORDS}

#: Models whose weights cannot be fetched by a program, and what is known of them.
_ELSEWHERE = {
    "SAN": "the authors share them in a cloud folder that https://github.com/hszhao/SAN links to; "
    "download a file there, convert it with tools/convert_weights.py and set Arch.pretrained to it",
    "IDynamicDWNet": "the authors have not published them",
}


def find_record(model: str, image_size: Optional[int] = None) -> WeightRecord:
    """The record of a model's published weights.

    Args:
        image_size: take the weights for images of this size where there are such; by default, and
            otherwise, those for 224 pixels.

    Raises:
        ConfigError: there are none; names the models that have some.
    """
    at_size = RECORDS.get(f"{model}@{image_size}")
    if at_size is not None:
        return at_size
    if model in RECORDS:
        return RECORDS[model]
    for prefix, reason in _ELSEWHERE.items():
        if model.startswith(prefix):
            raise ConfigError(f"the weights of '{model}' cannot be downloaded: {reason}")
    raise ConfigError(
        f"there are no published weights for '{model}'{did_you_mean(model, RECORDS)} "
        f"(there are for {', '.join(RECORDS)})"
    )


def find_record_of_file(file_name: str) -> Optional[WeightRecord]:
    """The record of the published file of that name, if there is one."""
    return next((record for record in _RECORDS if record.file_name == file_name), None)
