"""Losses: `loss(outputs, labels)` gives a scalar; `CombinedLoss` sums the list that YAML names."""

from ppcls.loss import distillation, feature_distillation, logit_distillation  # noqa: F401
from ppcls.loss.base import Loss, main_logits
from ppcls.loss.binary import BCELoss
from ppcls.loss.combined import CombinedLoss
from ppcls.loss.cross_entropy import CELoss
from ppcls.loss.focal import FocalLoss
from ppcls.loss.googlenet import GoogLeNetLoss
from ppcls.loss.multi_label import MultiLabelAsymmetricLoss, MultiLabelLoss
from ppcls.loss.token_label import TokenLabelLoss

__all__ = [
    "BCELoss",
    "CELoss",
    "CombinedLoss",
    "FocalLoss",
    "GoogLeNetLoss",
    "Loss",
    "MultiLabelAsymmetricLoss",
    "MultiLabelLoss",
    "TokenLabelLoss",
    "main_logits",
]
