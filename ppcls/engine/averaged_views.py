"""Test-time augmentation: one prediction of several views of an image."""

import math

import paddle
import paddle.nn.functional as F
from paddle import nn

from ppcls.loss.base import main_logits


class AveragedViews(nn.Layer):
    """Averages what a model says of several views of an image.

    It is the mean of probabilities, not of logits. What it returns are logits that give just that
    mean: log(mean p), or for several classes per image log(mean p) - log(1 - mean p).

    Args:
        model: (B, C, H, W) -> logits (B, class_num), or what `main_logits` understands.
        flip: add the mirror image of each view.
        multi_label: probabilities are sigmoids of the logits, not a softmax.
    """

    def __init__(self, model: nn.Layer, flip: bool = False, multi_label: bool = False):
        super().__init__()
        self.model = model
        self.flip = flip
        self.multi_label = multi_label
        self.class_num = model.class_num

    def forward(self, images: paddle.Tensor) -> paddle.Tensor:
        """Images (B, C, H, W), or views of each (B, views, C, H, W) -> (B, class_num)."""
        # A view at a time: batches stay as large as the configuration says.
        views = [images] if images.ndim == 4 else paddle.unbind(images, axis=1)
        if self.flip:
            views = [x for view in views for x in (view, paddle.flip(view, axis=[3]))]
        logits = paddle.stack([main_logits(self.model(view)) for view in views])
        if self.multi_label:
            yes, no = F.log_sigmoid(logits), F.log_sigmoid(-logits)
            return paddle.logsumexp(yes, axis=0) - paddle.logsumexp(no, axis=0)
        logs = F.log_softmax(logits, axis=2)
        return paddle.logsumexp(logs, axis=0) - math.log(len(views))
