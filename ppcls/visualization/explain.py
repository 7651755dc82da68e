"""What a network does with one image, as numbers."""

from dataclasses import dataclass, field
from typing import Optional

import numpy as np
import paddle
import paddle.nn.functional as F
from paddle import nn

from ppcls.errors import ConfigError
from ppcls.loss.base import main_logits
from ppcls.visualization.attention import (
    Attention,
    attention_probes,
    attention_titles,
    outlook_layers,
    outlook_probe,
    read_attention,
    read_outlook,
)
from ppcls.visualization.maps import as_map
from ppcls.visualization.recording import Probe, gradients, recording
from ppcls.visualization.streams import last_of_stages, stream_points
from ppcls.visualization.target_layer import find_target_layer


@dataclass
class Explanation:
    """Of one image.

    Attributes:
        probabilities: (class_num,).
        class_id: the class that the maps explain.
        cam: Grad-CAM, (h, w), at least 0.
        streams: by title (`stage 1 local`), what speaks for the class where: (h, w), at least 0.
        attention: by title.
        kernels: by stage, kernels that were computed for the image, (C, K, K).
        local_weights: by stage, kernels that were computed for each position,
            (groups, K * K, h, w).
    """

    probabilities: np.ndarray
    class_id: int
    cam: np.ndarray
    streams: "dict[str, np.ndarray]"
    attention: "dict[str, Attention]" = field(default_factory=dict)
    kernels: "dict[str, np.ndarray]" = field(default_factory=dict)
    local_weights: "dict[str, np.ndarray]" = field(default_factory=dict)

    def peak(self) -> "tuple[float, float]":
        """Where Grad-CAM is greatest: 0 to 1 down and across, the middle of the position."""
        row, column = np.unravel_index(self.cam.argmax(), self.cam.shape)
        return (row + 0.5) / self.cam.shape[0], (column + 0.5) / self.cam.shape[1]


class Explainer:
    """Explains what a model does with images of one size.

    Args:
        model: is put into evaluation mode and frozen.
        image: (C, H, W) float32, one of the images; to find the target layer with.
        target_layer: see `find_target_layer`.
        multi_label: an image may have several classes; their probabilities are sigmoids.

    Raises:
        ConfigError: there is no such layer.
    """

    def __init__(
        self,
        model: nn.Layer,
        image: np.ndarray,
        target_layer: Optional[str] = None,
        multi_label: bool = False,
    ):
        model.eval()
        for parameter in model.parameters():
            parameter.stop_gradient = True
        self.model = model
        self.multi_label = multi_label
        self.target_layer = find_target_layer(model, paddle.to_tensor(image[None]), target_layer)
        self.streams = stream_points(model)
        self._attention = attention_probes(model)
        self._outlook = outlook_layers(model)
        self._generating = {
            title: layer
            for title, (_, layer) in last_of_stages(
                model, lambda layer: hasattr(layer, "generated_kernels")
            ).items()
        }
        target = dict(model.named_sublayers())[self.target_layer]
        self._probes = {
            "target": Probe(target, "output"),
            **{f"stream {title}": point.probe for title, point in self.streams.items()},
            **{f"attention {title}": probe for title, probe in self._attention.items()},
            **{f"outlook {title}": outlook_probe(x) for title, x in self._outlook.items()},
            **{f"kernels {title}": Probe(x, "input") for title, x in self._generating.items()},
        }

    def explain(self, image: np.ndarray, class_id: Optional[int] = None) -> Explanation:
        """Explains an image (C, H, W) float32: why it is of a class, by default the predicted one.

        Raises:
            ConfigError: the model has no such class.
        """
        images = paddle.to_tensor(image[None])
        # All weights are frozen: gradients reach the maps because they reach the image.
        images.stop_gradient = False
        size = images.shape[2:]
        with recording(self._probes) as kept:
            logits = main_logits(self.model(images))
        class_num = logits.shape[1]
        if class_id is None:
            class_id = int(paddle.argmax(logits[0]))
        elif not 0 <= class_id < class_num:
            raise ConfigError(f"class {class_id}: the model has the classes 0 to {class_num - 1}")
        tensors = [kept["target"][-1], *(kept[f"stream {title}"][-1] for title in self.streams)]
        found = gradients(logits[0, class_id], tensors)
        with paddle.no_grad():
            activate = F.sigmoid if self.multi_label else F.softmax
            explanation = Explanation(
                activate(logits[0]).numpy(),
                class_id,
                _grad_cam(tensors[0], found[0], size),
                {
                    title: _evidence(tensor, gradient, point.channels, size)
                    for (title, point), tensor, gradient in zip(
                        self.streams.items(), tensors[1:], found[1:]
                    )
                },
            )
            self._read_mixing(kept, explanation, size)
        return explanation

    def _read_mixing(
        self,
        kept: "dict[str, list[paddle.Tensor]]",
        explanation: Explanation,
        size: "list[int]",
    ) -> None:
        """Attention and kernels."""
        for title in self._attention:
            calls = kept[f"attention {title}"]
            for name, weights in zip(attention_titles(self.model, title, len(calls)), calls):
                attention = read_attention(weights, size)
                if attention is not None:
                    explanation.attention[name] = attention
        for title, layer in self._outlook.items():
            weights = read_outlook(kept[f"outlook {title}"][-1], layer, size)
            if weights is not None:
                explanation.local_weights[title] = weights
        for title, layer in self._generating.items():
            kernels = layer.generated_kernels(kept[f"kernels {title}"][-1])[0].numpy()
            of_image = kernels.ndim == 3
            (explanation.kernels if of_image else explanation.local_weights)[title] = kernels


def _grad_cam(
    features: paddle.Tensor, gradient: Optional[paddle.Tensor], size: "list[int]"
) -> np.ndarray:
    """relu(sum over channels of the mean gradient of a channel times its map): (h, w).

    Selvaraju et al., arXiv 1610.02391, equations 1 and 2.
    """
    features = as_map(features, size)
    if gradient is None:
        return np.zeros(features.shape[2:], dtype=np.float32)
    weights = paddle.mean(as_map(gradient, size), axis=[2, 3], keepdim=True)
    return F.relu(paddle.sum(weights * features, axis=1))[0].numpy()


def _evidence(
    features: paddle.Tensor,
    gradient: Optional[paddle.Tensor],
    channels: Optional[slice],
    size: "list[int]",
) -> np.ndarray:
    """relu(sum over channels of gradient times map), position by position: (h, w).

    Grad-CAM without the mean over positions, which early maps do not stand (HiResCAM, Draelos and
    Carin, arXiv 2011.08891).
    """
    features = as_map(features, size)
    if gradient is None:
        return np.zeros(features.shape[2:], dtype=np.float32)
    product = features * as_map(gradient, size)
    if channels is not None:
        product = product[:, channels]
    return F.relu(paddle.sum(product, axis=1))[0].numpy()
