"""Metrics: accumulated on the device, exact under sharding; see `ppcls.metric.base`."""

from ppcls.metric.base import Metric, build_metrics
from ppcls.metric.topk import TopkAcc

__all__ = ["Metric", "TopkAcc", "build_metrics"]
