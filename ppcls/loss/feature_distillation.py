"""Distillation of features: outputs of sub-layers named in `return_patterns`.

Some of these losses have weights of their own, which are trained with the model and belong to the
checkpoint, not to the exported model.
"""

from typing import Any, Literal, Optional, Union

import paddle
import paddle.nn.functional as F
from paddle import nn

from ppcls.config.schema import Faults, check_mapping, signature_schema
from ppcls.config.types import NonNegativeFloat, PositiveInt, Probability
from ppcls.errors import ConfigError
from ppcls.loss.base import Loss
from ppcls.loss.distillation import Pairs, output_of
from ppcls.loss.knowledge_review import ReviewKDLoss
from ppcls.registry import LOSSES

Keys = Union[str, list[str]]


class MGDLoss(nn.Layer):
    """alpha * mean squared error of the teacher's map and one generated from the learner's.

    Yang et al. 2022, "Masked Generative Distillation", https://arxiv.org/abs/2205.01529: of the
    learner's map, aligned to the teacher's channels by a 1x1 convolution if they differ, whole
    channels are set to 0, each with probability lambda; two 3x3 convolutions with a ReLU between
    them generate from the rest.
    """

    def __init__(
        self,
        student_channels: PositiveInt,
        teacher_channels: PositiveInt,
        alpha_mgd: NonNegativeFloat = 1.756,
        lambda_mgd: Probability = 0.15,
    ):
        super().__init__()
        self.alpha = alpha_mgd
        self.drop = lambda_mgd
        self.align = nn.Identity()
        if student_channels != teacher_channels:
            self.align = _convolution(student_channels, teacher_channels, 1)
        self.generate = nn.Sequential(
            _convolution(teacher_channels, teacher_channels, 3),
            nn.ReLU(),
            _convolution(teacher_channels, teacher_channels, 3),
        )

    def forward(self, learner: paddle.Tensor, teacher: paddle.Tensor) -> paddle.Tensor:
        """Maps (B, C, H, W) of the same height and width."""
        _check_same_size("MGDLoss", learner, teacher)
        aligned = self.align(learner)
        kept = paddle.cast(paddle.rand(aligned.shape[:2]) >= self.drop, "float32")
        generated = self.generate(aligned * paddle.unsqueeze(kept, [2, 3]))
        return self.alpha * F.mse_loss(generated, teacher.detach())


class PEFDLoss(nn.Layer):
    """1 - cosine of the teacher's features and the mean of several projections of the learner's.

    Chen et al. 2022, "Improved Feature Distillation via Projector Ensemble",
    https://arxiv.org/abs/2210.15274; a projector is a 1x1 convolution and a ReLU.
    """

    def __init__(
        self,
        student_channel: PositiveInt,
        teacher_channel: PositiveInt,
        num_projectors: PositiveInt = 3,
    ):
        super().__init__()
        self.projectors = nn.LayerList(
            [nn.Conv2D(student_channel, teacher_channel, 1) for _ in range(num_projectors)]
        )

    def forward(self, learner: paddle.Tensor, teacher: paddle.Tensor) -> paddle.Tensor:
        """Maps (B, C, H, W) of the same height and width."""
        _check_same_size("PEFDLoss", learner, teacher)
        projected = [F.relu(projector(learner)) for projector in self.projectors]
        mean = paddle.flatten(paddle.add_n(projected), 1)
        cosine = F.cosine_similarity(mean, paddle.flatten(teacher.detach(), 1), axis=1)
        return paddle.mean(1.0 - cosine)


_FEATURE_LOSSES = {"MGDLoss": MGDLoss, "PEFDLoss": PEFDLoss, "ReviewKDLoss": ReviewKDLoss}


@LOSSES.register()
class DistillationPairLoss(Loss):
    """A loss with weights of its own, between features of pairs of models.

    Args:
        base_loss_name: which one, see the classes here and `ReviewKDLoss`.
        model_name_pairs: pairs (learner, teacher).
        weight: factor of this loss in the sum.
        s_key: which outputs of the learner, one or several; they share the weights, except in
            ReviewKDLoss, which compares all together.
        t_key: which outputs of the teacher, as many.
        s_keys, t_keys: the same under the names that some PaddleClas files use.
        name: accepted from PaddleClas files; not used.
        arguments: of the base loss.

    Raises:
        ConfigError: outputs are not named, not as many on both sides, or the base loss does not
            take the arguments.
    """

    def __init__(
        self,
        base_loss_name: Literal["MGDLoss", "PEFDLoss", "ReviewKDLoss"],
        model_name_pairs: Pairs = (("Student", "Teacher"),),
        weight: float = 1.0,
        s_key: Optional[Keys] = None,
        t_key: Optional[Keys] = None,
        s_keys: Optional[Keys] = None,
        t_keys: Optional[Keys] = None,
        name: Optional[str] = None,
        **arguments: Any,
    ):
        super().__init__(weight)
        self.model_name_pairs = [tuple(pair) for pair in model_name_pairs]
        self.key_pairs = list(zip(_as_list(s_key or s_keys), _as_list(t_key or t_keys)))
        if not self.key_pairs or len(_as_list(s_key or s_keys)) != len(_as_list(t_key or t_keys)):
            raise ConfigError(
                "DistillationPairLoss: name as many outputs of the learner (s_key) as of the "
                "teacher (t_key), at least one"
            )
        component = _FEATURE_LOSSES[base_loss_name]
        faults = Faults()
        where = f"DistillationPairLoss({base_loss_name})"
        checked = check_mapping(signature_schema(component)[0], arguments, where, faults)
        if faults.messages:
            raise ConfigError("\n".join(faults.messages))
        self.loss = component(**checked)

    def forward(self, outputs: Any, labels: paddle.Tensor) -> paddle.Tensor:
        """Scalar loss of the outputs of a `DistillationModel`."""
        losses = []
        for learner, teacher in self.model_name_pairs:
            levels = [
                (output_of(outputs, learner, learner_key), output_of(outputs, teacher, teacher_key))
                for learner_key, teacher_key in self.key_pairs
            ]
            if getattr(self.loss, "takes_all_levels", False):
                losses.append(self.loss(*map(list, zip(*levels))))
            else:
                losses += [self.loss(*level) for level in levels]
        return paddle.add_n(losses)


@LOSSES.register()
class DistillationRKDLoss(Loss):
    """Huber distances of the relations between the images of a batch: distances, and angles.

    Park et al. 2019, "Relational Knowledge Distillation", https://arxiv.org/abs/1904.05068, eq. 6
    and 9, with factor 1 each: distances of pairs over their mean, cosines of the angles of triples.

    Args:
        model_name_pairs: pairs (learner, teacher).
        weight: factor of this loss in the sum.
        target_size: pool maps to this height and width first; null leaves them.
        student_keepkeys: which outputs of the learner.
        teacher_keepkeys: which outputs of the teacher, as many.
        name: accepted from PaddleClas files; not used.
    """

    def __init__(
        self,
        model_name_pairs: Pairs = (("Student", "Teacher"),),
        weight: float = 1.0,
        target_size: Optional[Union[PositiveInt, list[PositiveInt]]] = None,
        student_keepkeys: Optional[list[str]] = None,
        teacher_keepkeys: Optional[list[str]] = None,
        name: Optional[str] = None,
    ):
        super().__init__(weight)
        self.model_name_pairs = [tuple(pair) for pair in model_name_pairs]
        self.target_size = target_size
        self.key_pairs = list(zip(student_keepkeys or (), teacher_keepkeys or ()))
        if not self.key_pairs or len(student_keepkeys) != len(teacher_keepkeys):
            raise ConfigError(
                "DistillationRKDLoss: student_keepkeys and teacher_keepkeys must name as many "
                "outputs, at least one"
            )

    def forward(self, outputs: Any, labels: paddle.Tensor) -> paddle.Tensor:
        """Scalar loss of the outputs of a `DistillationModel`."""
        parts = []
        for learner, teacher in self.model_name_pairs:
            for learner_key, teacher_key in self.key_pairs:
                own = self._vectors(output_of(outputs, learner, learner_key))
                target = self._vectors(output_of(outputs, teacher, teacher_key)).detach()
                parts.append(F.smooth_l1_loss(_distances(own), _distances(target)))
                parts.append(F.smooth_l1_loss(_cosines(own), _cosines(target)))
        return paddle.add_n(parts)

    def _vectors(self, features: paddle.Tensor) -> paddle.Tensor:
        if self.target_size is not None:
            features = F.adaptive_avg_pool2d(features, self.target_size)
        return paddle.flatten(features, 1)


@LOSSES.register()
class AFDLoss(Loss):
    """Attention decides which of the learner's maps follows which of the teacher's.

    Ji et al. 2021, "Show, Attend and Distill", https://arxiv.org/abs/2102.02973, eq. 3 to 6. The
    queries, keys and values come from `LinearTransformTeacher` and `LinearTransformStudent` in the
    `AttentionModel` of each side; with attention a_ts = softmax_s((q_t W k_s + p_t p_s) / sqrt(d)),
    the loss is sum_t sum_s a_ts times the mean squared difference of the values, mean over the
    batch.

    Args:
        s_shapes: [C, H, W] of each of the learner's maps.
        t_shapes: [C, H, W] of each of the teacher's maps.
        weight: factor of this loss in the sum.
        model_name_pair: (learner, teacher).
        student_keys: names of the learner's keys and values.
        teacher_keys: names of the teacher's queries and values.
        qk_dim: d, the size of queries and keys.
        name: accepted from PaddleClas files; not used.
    """

    def __init__(
        self,
        s_shapes: list[list[PositiveInt]],
        t_shapes: list[list[PositiveInt]],
        weight: float = 1.0,
        model_name_pair: tuple[str, str] = ("Student", "Teacher"),
        student_keys: tuple[str, str] = ("bilinear_key", "value"),
        teacher_keys: tuple[str, str] = ("query", "value"),
        qk_dim: PositiveInt = 128,
        name: Optional[str] = None,
    ):
        super().__init__(weight)
        self.learner, self.teacher = model_name_pair
        self.student_keys = student_keys
        self.teacher_keys = teacher_keys
        self.scale = qk_dim**-0.5
        xavier = nn.initializer.XavierNormal()
        self.p_t = self.create_parameter([len(t_shapes), qk_dim], default_initializer=xavier)
        self.p_s = self.create_parameter([len(s_shapes), qk_dim], default_initializer=xavier)
        # A value of the learner for each size (H, W) among the teacher's maps, in their order.
        sizes = [tuple(shape) for shape in t_shapes]
        distinct = list(dict.fromkeys(sizes))
        self.size_index = [distinct.index(size) for size in sizes]

    def forward(self, outputs: Any, labels: paddle.Tensor) -> paddle.Tensor:
        """Scalar loss of the outputs of a `DistillationModel`.

        Raises:
            ConfigError: a model is not an `AttentionModel` with the transform of its side.
        """
        keys, values = (self._part(outputs, self.learner, key) for key in self.student_keys)
        queries, targets = (self._part(outputs, self.teacher, key) for key in self.teacher_keys)
        logits = paddle.einsum("bstq,btq->bts", keys, queries)
        logits = logits + paddle.matmul(self.p_t, self.p_s, transpose_y=True)
        attention = F.softmax(self.scale * logits, axis=2)  # B, T, S
        parts = []
        for t, (index, target) in enumerate(zip(self.size_index, targets)):
            difference = values[index] - paddle.unsqueeze(target, 1)  # B, S, N
            squares = paddle.mean(difference * difference, axis=2)
            parts.append(paddle.mean(paddle.sum(attention[:, t] * squares, axis=1)))
        return paddle.add_n(parts)

    def _part(self, outputs: Any, model: str, key: str) -> Any:
        output = outputs.get(model) if isinstance(outputs, dict) else None
        if not isinstance(output, dict) or key not in output:
            raise ConfigError(
                f"AFDLoss: the model '{model}' gives no '{key}'; it must be an AttentionModel with "
                "LinearTransformStudent or LinearTransformTeacher"
            )
        part = output[key]
        if isinstance(part, list):
            return [paddle.cast(value, "float32") for value in part]
        return paddle.cast(part, "float32")


def _convolution(channels: int, filters: int, size: int) -> nn.Conv2D:
    initializer = nn.initializer.KaimingNormal(fan_in=filters * size**2)  # that is, fan_out
    return nn.Conv2D(channels, filters, size, padding=size // 2, weight_attr=initializer)


def _check_same_size(loss: str, learner: paddle.Tensor, teacher: paddle.Tensor) -> None:
    if learner.ndim != 4 or learner.shape[2:] != teacher.shape[2:]:
        raise ConfigError(
            f"{loss}: the features have the shapes {learner.shape} and {teacher.shape}; compare "
            "maps of the same height and width"
        )


def _as_list(keys: Optional[Keys]) -> "list[str]":
    if keys is None:
        return []
    return [keys] if isinstance(keys, str) else list(keys)


def _distances(vectors: paddle.Tensor) -> paddle.Tensor:
    """Euclidean distances (B, B) of vectors (B, D), over their mean."""
    squares = paddle.sum(vectors * vectors, axis=1)
    products = paddle.matmul(vectors, vectors, transpose_y=True)
    squared = paddle.unsqueeze(squares, 1) + paddle.unsqueeze(squares, 0) - 2.0 * products
    # Not quite 0: the gradient of the root at 0 is infinite.
    distances = paddle.sqrt(paddle.clip(squared, min=1e-12))
    return distances / (paddle.mean(distances) + 1e-12)


def _cosines(vectors: paddle.Tensor) -> paddle.Tensor:
    """Cosines (B, B, B) of the angles at the first of three vectors (B, D)."""
    differences = paddle.unsqueeze(vectors, 0) - paddle.unsqueeze(vectors, 1)
    units = F.normalize(differences, p=2, axis=2)
    return paddle.matmul(units, units, transpose_y=True)
