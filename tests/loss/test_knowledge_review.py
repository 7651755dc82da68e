"""Knowledge review against the paper's formulas in NumPy (float64)."""

import numpy as np
import paddle
import pytest

from ppcls.errors import ConfigError
from ppcls.loss.knowledge_review import ReviewKDLoss
from ppcls.registry import LOSSES

CHANNELS = {"student_channels": [3, 4, 5], "teacher_channels": [2, 6, 3], "mid_channel": 7}
SIZES = (8, 4, 1)


def maps(rng, channels):
    return [rng.standard_normal((4, c, n, n)) for c, n in zip(channels, SIZES)]


def tensors(arrays):
    return [paddle.to_tensor(array.astype("float32")) for array in arrays]


def convolve(x, layer):
    """Stride 1, zeros around."""
    weight = layer.weight.numpy().astype("float64")
    reach = weight.shape[2] // 2
    padded = np.pad(x, ((0, 0), (0, 0), (reach, reach), (reach, reach)))
    windows = np.lib.stride_tricks.sliding_window_view(padded, weight.shape[2:], axis=(2, 3))
    out = np.einsum("bchwij,ocij->bohw", windows, weight)
    return out if layer.bias is None else out + layer.bias.numpy()[None, :, None, None]


def normalize(x):
    """Batch normalisation as it begins."""
    mean, variance = x.mean((0, 2, 3), keepdims=True), x.var((0, 2, 3), keepdims=True)
    return (x - mean) / np.sqrt(variance + 1e-5)


def distance(own, target, pool):
    size, loss, weight, total = own.shape[2], ((own - target) ** 2).mean(), 1.0, 1.0
    for small in (4, 2, 1):
        if small < size:
            shape = (*own.shape[:2], small, size // small, small, size // small)
            weight /= 2
            total += weight
            a, b = (pool(x.reshape(shape), axis=(3, 5)) for x in (own, target))
            loss += weight * ((a - b) ** 2).mean()
    return loss / total


@pytest.mark.parametrize(("mode", "pool"), [("avg", np.mean), ("max", np.max)])
def test_formula(mode, pool):
    rng = np.random.default_rng(0)
    own, target = maps(rng, CHANNELS["student_channels"]), maps(rng, CHANNELS["teacher_channels"])
    names = [f"level{i}" for i in range(3)]
    loss = LOSSES.build(
        {
            "DistillationPairLoss": {
                "base_loss_name": "ReviewKDLoss",
                "model_name_pairs": [["Student", "Teacher"]],
                "s_key": names,
                "t_key": names,
                "hcl_mode": mode,
                **CHANNELS,
            }
        }
    )
    outputs = {"Student": dict(zip(names, tensors(own)))}
    outputs["Teacher"] = dict(zip(names, tensors(target)))
    expected, later = 0.0, None
    for level in (2, 1, 0):
        fusion = loss.loss.levels[level]
        fused = normalize(convolve(own[level], fusion.reduce[0]))
        if later is not None:
            later = later.repeat(SIZES[level] // SIZES[level + 1], 2)
            later = later.repeat(SIZES[level] // SIZES[level + 1], 3)
            gates = convolve(np.concatenate([fused, later], axis=1), fusion.attention)
            gates = 1 / (1 + np.exp(-gates))
            fused = fused * gates[:, :1] + later * gates[:, 1:]
        later = fused
        expected += distance(normalize(convolve(fused, fusion.expand[0])), target[level], pool)
    result = loss(outputs, paddle.zeros([4], "int64"))
    assert float(result) == pytest.approx(expected, rel=1e-4)
    result.backward()
    trained = [parameter for parameter in loss.parameters() if not parameter.stop_gradient]
    assert len(trained) == 22
    assert all(parameter.grad is not None for parameter in trained)


def test_mistakes_are_sentences():
    with pytest.raises(ConfigError, match="as many entries"):
        ReviewKDLoss([1, 2], [3])
    loss = ReviewKDLoss([3, 4], [3, 4], 5)
    one, two = tensors([np.zeros((2, 3, 4, 4))]), tensors([np.zeros((2, 4, 2, 2))])
    with pytest.raises(ConfigError, match="s_key names 1 outputs"):
        loss(one, one)
    with pytest.raises(ConfigError, match="the same height and width"):
        loss(one + two, one + one)
