"""Metrics: accumulated on the device, exact under sharding; see `ppcls.metric.base`."""

from ppcls.metric.attributes import ATTRMetric
from ppcls.metric.base import Metric, build_metrics
from ppcls.metric.multi_label import AccuracyScore, HammingDistance, MultiLabelMAP
from ppcls.metric.operating_point import TprAtFpr
from ppcls.metric.topk import DistillationTopkAcc, TopkAcc

__all__ = [
    "ATTRMetric",
    "AccuracyScore",
    "DistillationTopkAcc",
    "HammingDistance",
    "Metric",
    "MultiLabelMAP",
    "TopkAcc",
    "TprAtFpr",
    "build_metrics",
]
