"""Distillation of logits, one loss per paper; see `ppcls.loss.distillation` for what they share."""

from typing import Optional

import paddle
import paddle.nn.functional as F

from ppcls.config.types import NonNegativeFloat, PositiveFloat, Probability
from ppcls.loss.distillation import PairedLoss, Pairs, class_numbers, divergence
from ppcls.registry import LOSSES

#: Takes a class out of a softmax.
_NEVER = 1e9


@LOSSES.register()
class DistillationDKDLoss(PairedLoss):
    """T^2 (alpha TCKD + beta NCKD): the right class against the rest, and the rest among itself.

    Zhao et al. 2022, "Decoupled Knowledge Distillation", https://arxiv.org/abs/2203.08679, eq. 7.

    Args:
        model_name_pairs: pairs (learner, teacher).
        weight: factor of this loss in the sum.
        temperature: T.
        alpha: factor of KL between (p_right, 1 - p_right) of teacher and learner.
        beta: factor of KL between the softmax over the other classes.
        use_target_as_gt: the teacher's most probable class is the right one, not the label.
        key: which outputs are compared.
        name: accepted from PaddleClas files; not used.
    """

    def __init__(
        self,
        model_name_pairs: Pairs,
        weight: float = 1.0,
        temperature: PositiveFloat = 1.0,
        alpha: NonNegativeFloat = 1.0,
        beta: NonNegativeFloat = 1.0,
        use_target_as_gt: bool = False,
        key: Optional[str] = None,
        name: Optional[str] = None,
    ):
        super().__init__(weight, model_name_pairs, key)
        self.temperature = temperature
        self.alpha = alpha
        self.beta = beta
        self.use_target_as_gt = use_target_as_gt

    def compare(
        self, learner: paddle.Tensor, teacher: paddle.Tensor, labels: paddle.Tensor
    ) -> paddle.Tensor:
        teacher = teacher.detach()
        right = class_numbers(labels, teacher, self.use_target_as_gt, "DistillationDKDLoss")
        mask = F.one_hot(right, learner.shape[-1])
        student_pair, student_rest = self._split(learner, mask)
        teacher_pair, teacher_rest = self._split(teacher, mask)
        loss = self.alpha * divergence(teacher_pair, student_pair)
        loss = loss + self.beta * divergence(teacher_rest, student_rest)
        return self.temperature**2 * loss

    def _split(
        self, logits: paddle.Tensor, mask: paddle.Tensor
    ) -> "tuple[paddle.Tensor, paddle.Tensor]":
        """Log-probabilities (B, 2) of the right class and of the rest, and (B, C) within the
        rest."""
        logits = logits / self.temperature
        rest = logits - _NEVER * mask
        right = paddle.sum(logits * mask, axis=-1)
        pair = paddle.stack([right, paddle.logsumexp(rest, axis=-1)], axis=-1)
        return F.log_softmax(pair, axis=-1), F.log_softmax(rest, axis=-1)


@LOSSES.register()
class DistillationDISTLoss(PairedLoss):
    """beta (1 - r over classes) + gamma (1 - r over the batch), r Pearson's correlation.

    Huang et al. 2022, "Knowledge Distillation from A Stronger Teacher",
    https://arxiv.org/abs/2205.10536, eq. 7 to 10: r of the probabilities of an image, mean over
    images; r of the probabilities of a class, mean over classes.

    Args:
        model_name_pairs: pairs (learner, teacher).
        weight: factor of this loss in the sum.
        beta: factor of the relation between classes.
        gamma: factor of the relation within a class.
        key: which outputs are compared.
        name: accepted from PaddleClas files; not used.
    """

    def __init__(
        self,
        model_name_pairs: Pairs,
        weight: float = 1.0,
        beta: NonNegativeFloat = 1.0,
        gamma: NonNegativeFloat = 1.0,
        key: Optional[str] = None,
        name: Optional[str] = None,
    ):
        super().__init__(weight, model_name_pairs, key)
        self.beta = beta
        self.gamma = gamma

    def compare(
        self, learner: paddle.Tensor, teacher: paddle.Tensor, labels: paddle.Tensor
    ) -> paddle.Tensor:
        p = F.softmax(learner, axis=-1)
        q = F.softmax(teacher.detach(), axis=-1)
        between = 1.0 - paddle.mean(_correlation(p, q, axis=1))
        within = 1.0 - paddle.mean(_correlation(p, q, axis=0))
        return self.beta * between + self.gamma * within


@LOSSES.register()
class DistillationWSLLoss(PairedLoss):
    """T^2 (1 - exp(-r)) H(teacher, learner) at temperature T, mean over the batch.

    Zhou et al. 2021, "Rethinking Soft Labels for Knowledge Distillation",
    https://arxiv.org/abs/2102.00650, eq. 9: r is the learner's cross entropy with the label over
    the teacher's, so that samples on which the learner is already as good weigh less.

    Args:
        model_name_pairs: pairs (learner, teacher).
        weight: factor of this loss in the sum.
        temperature: T.
        use_target_as_gt: the teacher's most probable class is the right one, not the label.
        key: which outputs are compared.
        name: accepted from PaddleClas files; not used.
    """

    def __init__(
        self,
        model_name_pairs: Pairs,
        weight: float = 1.0,
        temperature: PositiveFloat = 2.0,
        use_target_as_gt: bool = False,
        key: Optional[str] = None,
        name: Optional[str] = None,
    ):
        super().__init__(weight, model_name_pairs, key)
        self.temperature = temperature
        self.use_target_as_gt = use_target_as_gt

    def compare(
        self, learner: paddle.Tensor, teacher: paddle.Tensor, labels: paddle.Tensor
    ) -> paddle.Tensor:
        teacher = teacher.detach()
        right = class_numbers(labels, teacher, self.use_target_as_gt, "DistillationWSLLoss")
        own_loss = F.cross_entropy(learner.detach(), right, reduction="none")
        teacher_loss = F.cross_entropy(teacher, right, reduction="none")
        ratio = paddle.flatten(own_loss / (teacher_loss + 1e-7))
        soft = F.softmax(teacher / self.temperature, axis=-1)
        log_q = F.log_softmax(learner / self.temperature, axis=-1)
        costs = -paddle.sum(soft * log_q, axis=-1)
        return self.temperature**2 * paddle.mean((1.0 - paddle.exp(-ratio)) * costs)


@LOSSES.register()
class DistillationSKDLoss(PairedLoss):
    """alpha T^2 H(teacher, learner) + (1 - alpha) cross entropy, of logits of one norm.

    Guo et al. 2020, "Reducing the Teacher-Student Gap via Spherical Knowledge Distillation",
    https://arxiv.org/abs/2010.07485: both models' logits are shifted to mean 0 and scaled to
    standard deviation `multiplier` first.

    Args:
        model_name_pairs: pairs (learner, teacher).
        weight: factor of this loss in the sum.
        temperature: T.
        multiplier: standard deviation of the logits of an image.
        alpha: share of the distillation.
        use_target_as_gt: the teacher's most probable class is the right one, not the label.
        key: which outputs are compared.
        name: accepted from PaddleClas files; not used.
    """

    def __init__(
        self,
        model_name_pairs: Pairs,
        weight: float = 1.0,
        temperature: PositiveFloat = 1.0,
        multiplier: PositiveFloat = 2.0,
        alpha: Probability = 0.9,
        use_target_as_gt: bool = False,
        key: Optional[str] = None,
        name: Optional[str] = None,
    ):
        super().__init__(weight, model_name_pairs, key)
        self.temperature = temperature
        self.multiplier = multiplier
        self.alpha = alpha
        self.use_target_as_gt = use_target_as_gt

    def compare(
        self, learner: paddle.Tensor, teacher: paddle.Tensor, labels: paddle.Tensor
    ) -> paddle.Tensor:
        teacher = teacher.detach()
        right = class_numbers(labels, teacher, self.use_target_as_gt, "DistillationSKDLoss")
        learner, teacher = self._on_sphere(learner), self._on_sphere(teacher)
        soft = F.softmax(teacher / self.temperature, axis=-1)
        distilled = F.cross_entropy(learner / self.temperature, soft, soft_label=True)
        true = F.cross_entropy(learner, right)
        return self.alpha * self.temperature**2 * distilled + (1.0 - self.alpha) * true

    def _on_sphere(self, logits: paddle.Tensor) -> paddle.Tensor:
        return self.multiplier * F.layer_norm(logits, logits.shape[1:], epsilon=1e-7)


def _correlation(a: paddle.Tensor, b: paddle.Tensor, axis: int) -> paddle.Tensor:
    """Pearson's correlation of two matrices along `axis`."""
    a = a - paddle.mean(a, axis=axis, keepdim=True)
    b = b - paddle.mean(b, axis=axis, keepdim=True)
    norms = paddle.sqrt(paddle.sum(a * a, axis=axis) * paddle.sum(b * b, axis=axis) + 1e-16)
    return paddle.sum(a * b, axis=axis) / norms
