"""What the papers report of each variant, as data, to be printed beside what is counted here.

This module needs no Paddle.
"""

from dataclasses import dataclass
from typing import Optional


@dataclass(frozen=True)
class PublishedFigures:
    """Parameters in millions, multiply-accumulates in 10^9 for one image of 224 x 224 pixels, and
    top-1 accuracy on ImageNet-1k in per cent, as printed in the paper."""

    parameters_m: float
    macs_g: Optional[float]
    top1: float
    paper: str


_DSNET = "arXiv 2105.14734"
_TRANSXNET = "arXiv 2310.19380"
_DWNET = "arXiv 2106.04263"
_VOLO = "arXiv 2106.13112"
_SAN = "CVPR 2020"

FIGURES = {
    "DSNet_tiny": PublishedFigures(10.5, 1.8, 79.0, _DSNET),
    "DSNet_small": PublishedFigures(23.0, 3.5, 82.3, _DSNET),
    "DSNet_base": PublishedFigures(49.3, 8.4, 83.1, _DSNET),
    "TransXNet_T": PublishedFigures(12.8, 1.8, 81.6, _TRANSXNET),
    "TransXNet_S": PublishedFigures(26.9, 4.5, 83.8, _TRANSXNET),
    "TransXNet_B": PublishedFigures(48.0, 8.3, 84.6, _TRANSXNET),
    "DWNet_tiny": PublishedFigures(24, 3.8, 81.2, _DWNET),
    "DynamicDWNet_tiny": PublishedFigures(51, 3.8, 81.8, _DWNET),
    "IDynamicDWNet_tiny": PublishedFigures(26, 4.4, 81.8, _DWNET),
    "DWNet_base": PublishedFigures(74, 12.9, 83.2, _DWNET),
    "DynamicDWNet_base": PublishedFigures(162, 13.0, 83.2, _DWNET),
    "IDynamicDWNet_base": PublishedFigures(80, 14.3, 83.4, _DWNET),
    "VOLO_D1": PublishedFigures(26.6, 6.8, 84.2, _VOLO),
    "VOLO_D2": PublishedFigures(58.7, 14.1, 85.2, _VOLO),
    "VOLO_D3": PublishedFigures(86.3, 20.6, 85.4, _VOLO),
    "VOLO_D4": PublishedFigures(193, 43.8, 85.7, _VOLO),
    "VOLO_D5": PublishedFigures(296, 69.0, 86.1, _VOLO),
    "SAN10_pairwise": PublishedFigures(10.5, 2.2, 74.9, _SAN),
    "SAN10_patchwise": PublishedFigures(11.8, 1.9, 77.1, _SAN),
    "SAN15_pairwise": PublishedFigures(14.1, 3.0, 76.6, _SAN),
    "SAN15_patchwise": PublishedFigures(16.2, 2.6, 78.0, _SAN),
    "SAN19_pairwise": PublishedFigures(17.6, 3.8, 76.9, _SAN),
    "SAN19_patchwise": PublishedFigures(20.5, 3.3, 78.2, _SAN),
}
