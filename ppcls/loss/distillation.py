"""Losses of distillation: between models, and of single ones among several.

The outputs are those of `ppcls.arch.distillation.DistillationModel`. A loss names the models by
`model_names` or `model_name_pairs` (who learns, from whom), adds up over them, and takes of each
its logits or, with `key`, an output that `return_patterns` has named. Who is learnt from gets no
gradient from the loss, except from distances, which pull both (a frozen model stays where it is).
"""

from abc import abstractmethod
from typing import Any, Literal, Optional

import paddle
import paddle.nn.functional as F

from ppcls.config.types import PositiveFloat
from ppcls.errors import ConfigError, did_you_mean
from ppcls.loss.base import Loss, SmoothingFactor, is_soft, label_rows, main_logits
from ppcls.loss.cross_entropy import CELoss
from ppcls.loss.multi_label import MultiLabelLoss, multi_label_weights
from ppcls.registry import LOSSES

Pairs = list[tuple[str, str]]
Activation = Literal["softmax", "sigmoid"]
_LOGITS_KEYS = (None, "logits", "output")


def output_of(outputs: Any, model: str, key: Optional[str] = None) -> paddle.Tensor:
    """What one model of a `DistillationModel` gave, in float32.

    Args:
        outputs: what the `DistillationModel` returned.
        model: name of the model.
        key: of one of its outputs; null, `logits` and `output` are the logits.

    Raises:
        ConfigError: there is no such model or output.
    """
    if not isinstance(outputs, dict) or model not in outputs:
        known = [name for name in outputs if name != "logits"] if isinstance(outputs, dict) else []
        hint = did_you_mean(model, known) or (f"; there are {', '.join(known)}" if known else "")
        raise ConfigError(
            f"a distillation loss or metric names the model '{model}', which Arch "
            f"(a DistillationModel) does not have{hint}"
        )
    output = outputs[model]
    if key in _LOGITS_KEYS:
        return main_logits(output)
    if not isinstance(output, dict) or key not in output:
        known = ", ".join(output) if isinstance(output, dict) else "the logits only"
        raise ConfigError(
            f"key: the model '{model}' has no output '{key}' (it has {known}); name it in "
            f"return_patterns of that model in Arch.models"
        )
    return paddle.cast(output[key], "float32")


class PairedLoss(Loss):
    """Sum over pairs (learner, teacher) of `compare`."""

    def __init__(self, weight: float, model_name_pairs: Pairs, key: Optional[str]):
        super().__init__(weight)
        self.model_name_pairs = [tuple(pair) for pair in model_name_pairs]
        self.key = key

    def forward(self, outputs: Any, labels: paddle.Tensor) -> paddle.Tensor:
        """Scalar loss of the outputs of a `DistillationModel`."""
        return paddle.add_n(
            [
                self.compare(
                    output_of(outputs, learner, self.key),
                    output_of(outputs, teacher, self.key),
                    labels,
                )
                for learner, teacher in self.model_name_pairs
            ]
        )

    @abstractmethod
    def compare(
        self, learner: paddle.Tensor, teacher: paddle.Tensor, labels: paddle.Tensor
    ) -> paddle.Tensor:
        """Scalar loss of one pair of outputs of the same shape."""


@LOSSES.register()
class DistillationGTCELoss(Loss):
    """Cross entropy of the labels, for each of several models.

    Args:
        model_names: the models.
        weight: factor of this loss in the sum.
        epsilon: label smoothing; null or 0 for none.
        key: which output are the logits.
        name: accepted from PaddleClas files; not used.
    """

    def __init__(
        self,
        model_names: list[str],
        weight: float = 1.0,
        epsilon: Optional[SmoothingFactor] = None,
        key: Optional[str] = None,
        name: Optional[str] = None,
    ):
        super().__init__(weight)
        self.model_names = list(model_names)
        self.key = key
        self.cross_entropy = CELoss(epsilon=epsilon)

    def forward(self, outputs: Any, labels: paddle.Tensor) -> paddle.Tensor:
        """Scalar loss; labels are (B,) int64 or (B, C) float."""
        logits = [output_of(outputs, name, self.key) for name in self.model_names]
        return paddle.add_n([self.cross_entropy(part, labels) for part in logits])


@LOSSES.register()
class DistillationMultiLabelLoss(Loss):
    """`MultiLabelLoss`, for each of several models.

    Args:
        model_names: the models.
        weight: factor of this loss in the sum.
        epsilon, size_sum, weight_ratio: see `MultiLabelLoss`.
        key: which output are the logits.
        name: accepted from PaddleClas files; not used.
    """

    def __init__(
        self,
        model_names: list[str],
        weight: float = 1.0,
        epsilon: Optional[SmoothingFactor] = None,
        size_sum: bool = False,
        weight_ratio: bool = False,
        key: Optional[str] = None,
        name: Optional[str] = None,
    ):
        super().__init__(weight)
        self.model_names = list(model_names)
        self.key = key
        self.loss = MultiLabelLoss(1.0, epsilon, size_sum, weight_ratio)

    def forward(self, outputs: Any, labels: paddle.Tensor) -> paddle.Tensor:
        """Scalar loss; labels as in `MultiLabelLoss`."""
        logits = [output_of(outputs, name, self.key) for name in self.model_names]
        return paddle.add_n([self.loss(part, labels) for part in logits])


@LOSSES.register()
class DistillationCELoss(PairedLoss):
    """Cross entropy of the learner's softmax and the teacher's, H(teacher, learner).

    Args:
        model_name_pairs: pairs (learner, teacher).
        weight: factor of this loss in the sum.
        epsilon: smoothing of the teacher's probabilities; null or 0 for none.
        use_hard_label: the teacher's most probable class in place of its probabilities (the hard
            distillation of DeiT, https://arxiv.org/abs/2012.12877).
        key: which outputs are compared.
        name: accepted from PaddleClas files; not used.
    """

    def __init__(
        self,
        model_name_pairs: Pairs,
        weight: float = 1.0,
        epsilon: Optional[SmoothingFactor] = None,
        use_hard_label: bool = False,
        key: Optional[str] = None,
        name: Optional[str] = None,
    ):
        super().__init__(weight, model_name_pairs, key)
        self.epsilon = epsilon
        self.use_hard_label = use_hard_label

    def compare(
        self, learner: paddle.Tensor, teacher: paddle.Tensor, labels: paddle.Tensor
    ) -> paddle.Tensor:
        if self.use_hard_label:
            targets = paddle.argmax(teacher, axis=-1)
        else:
            targets = F.softmax(teacher.detach(), axis=-1)
        rows = label_rows(targets, learner.shape[-1], self.epsilon)
        return F.cross_entropy(learner, rows, soft_label=True)


@LOSSES.register()
class DistillationKLDivLoss(PairedLoss):
    """T^2 KL(teacher || learner) of softmax probabilities at temperature T.

    Hinton et al. 2015, https://arxiv.org/abs/1503.02531, mean over the batch.

    Args:
        model_name_pairs: pairs (learner, teacher).
        weight: factor of this loss in the sum.
        temperature: T.
        key: which outputs are compared.
        name: accepted from PaddleClas files; not used.
    """

    def __init__(
        self,
        model_name_pairs: Pairs,
        weight: float = 1.0,
        temperature: PositiveFloat = 4.0,
        key: Optional[str] = None,
        name: Optional[str] = None,
    ):
        super().__init__(weight, model_name_pairs, key)
        self.temperature = temperature

    def compare(
        self, learner: paddle.Tensor, teacher: paddle.Tensor, labels: paddle.Tensor
    ) -> paddle.Tensor:
        log_p = F.log_softmax(teacher.detach() / self.temperature, axis=-1)
        log_q = F.log_softmax(learner / self.temperature, axis=-1)
        return self.temperature**2 * divergence(log_p, log_q)


@LOSSES.register()
class DistillationDMLLoss(PairedLoss):
    """Mutual learning: the mean of KL in both directions, each model learning from the other.

    Zhang et al. 2018, https://arxiv.org/abs/1706.00384: in KL(p || q) only q learns.

    Args:
        model_name_pairs: pairs of models.
        weight: factor of this loss in the sum.
        act: what makes probabilities of the outputs; null if they are probabilities. With
            `sigmoid` the sum over classes of p log(p / q), as PaddleClas has it.
        sum_across_class_dim: multiply by the number of classes.
        weight_ratio: weigh entries by the labels, (B, 2, C), as in `MultiLabelLoss`.
        key: which outputs are compared.
        name: accepted from PaddleClas files; not used.
    """

    def __init__(
        self,
        model_name_pairs: Pairs,
        weight: float = 1.0,
        act: Optional[Activation] = "softmax",
        sum_across_class_dim: bool = False,
        weight_ratio: bool = False,
        key: Optional[str] = None,
        name: Optional[str] = None,
    ):
        super().__init__(weight, model_name_pairs, key)
        self.act = act
        self.sum_across_class_dim = sum_across_class_dim
        self.weight_ratio = weight_ratio

    def compare(
        self, learner: paddle.Tensor, teacher: paddle.Tensor, labels: paddle.Tensor
    ) -> paddle.Tensor:
        log_p, log_q = self._log_probabilities(teacher), self._log_probabilities(learner)
        costs = 0.5 * (
            paddle.exp(log_p.detach()) * (log_p.detach() - log_q)
            + paddle.exp(log_q.detach()) * (log_q.detach() - log_p)
        )
        if self.weight_ratio:
            costs = costs * multi_label_weights(labels, "DistillationDMLLoss")
        loss = paddle.mean(paddle.sum(costs, axis=-1))
        return loss * learner.shape[-1] if self.sum_across_class_dim else loss

    def _log_probabilities(self, outputs: paddle.Tensor) -> paddle.Tensor:
        if self.act == "softmax":
            return F.log_softmax(outputs, axis=-1)
        if self.act == "sigmoid":
            return F.log_sigmoid(outputs)
        return paddle.log(paddle.clip(outputs, min=1e-12))


@LOSSES.register()
class DistillationDistanceLoss(PairedLoss):
    """Distance of two outputs of the same shape, element by element.

    Args:
        model_name_pairs: pairs (learner, teacher).
        weight: factor of this loss in the sum.
        mode: `l1`, `l2` (the square), or `smooth_l1` (Huber: half the square up to `delta`, from
            there on straight).
        act: applied to both first.
        reduction: `mean` or `sum` over all elements.
        delta: of `smooth_l1`.
        key: which outputs are compared, usually a feature map.
        name: accepted from PaddleClas files; not used.
    """

    def __init__(
        self,
        model_name_pairs: Pairs,
        weight: float = 1.0,
        mode: Literal["l1", "l2", "smooth_l1"] = "l2",
        act: Optional[Activation] = None,
        reduction: Literal["mean", "sum"] = "mean",
        delta: PositiveFloat = 1.0,
        key: Optional[str] = None,
        name: Optional[str] = None,
    ):
        super().__init__(weight, model_name_pairs, key)
        self.mode = mode
        self.act = act
        self.reduction = reduction
        self.delta = delta

    def compare(
        self, learner: paddle.Tensor, teacher: paddle.Tensor, labels: paddle.Tensor
    ) -> paddle.Tensor:
        if learner.shape != teacher.shape:
            raise ConfigError(
                f"DistillationDistanceLoss: the outputs have the shapes {learner.shape} and "
                f"{teacher.shape}; compare outputs of one shape"
            )
        if self.act == "softmax":
            learner, teacher = F.softmax(learner, axis=-1), F.softmax(teacher, axis=-1)
        elif self.act == "sigmoid":
            learner, teacher = F.sigmoid(learner), F.sigmoid(teacher)
        if self.mode == "l1":
            return F.l1_loss(learner, teacher, reduction=self.reduction)
        if self.mode == "l2":
            return F.mse_loss(learner, teacher, reduction=self.reduction)
        return F.smooth_l1_loss(learner, teacher, reduction=self.reduction, delta=self.delta)


def divergence(log_p: paddle.Tensor, log_q: paddle.Tensor) -> paddle.Tensor:
    """KL(p || q) of rows of log-probabilities (B, C), mean over rows."""
    return paddle.mean(paddle.sum(paddle.exp(log_p) * (log_p - log_q), axis=-1))


def class_numbers(
    labels: paddle.Tensor, teacher: paddle.Tensor, use_target_as_gt: bool, loss: str
) -> paddle.Tensor:
    """The right classes (B,): the labels, or the teacher's most probable ones.

    Raises:
        ConfigError: the labels are soft.
    """
    if use_target_as_gt:
        return paddle.argmax(teacher, axis=-1)
    if is_soft(labels):
        raise ConfigError(
            f"{loss} needs one right class per image, but the labels are mixed: leave out "
            "batch_transform_ops, or take the teacher's class (use_target_as_gt: true)"
        )
    return paddle.flatten(labels)
