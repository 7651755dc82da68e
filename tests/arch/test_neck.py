"""DS-FPN on the levels of a DSNet."""

import numpy as np
import paddle
import pytest

from ppcls.arch import build_model
from ppcls.errors import ConfigError
from ppcls.registry import NECKS

BACKBONE = {
    "name": "DSNet",
    "embed_dim": [16, 32, 48, 64],
    "depth": [1, 1, 1, 1],
    "num_heads": [1, 2, 3, 4],
    "features_only": True,
}


def test_pyramid_of_equal_channels_that_all_learn():
    backbone = build_model({**BACKBONE, "out_indices": [1, 2, 3]})
    channels = [info["channels"] for info in backbone.feature_info]
    neck = NECKS.build({"name": "DSFPN", "in_channels": channels, "out_channels": 32})
    levels = neck(backbone(paddle.randn([2, 3, 96, 64])))
    assert [level.shape for level in levels] == [[2, 32, 12, 8], [2, 32, 6, 4], [2, 32, 3, 2]]
    assert [block.downsample for block in neck.blocks] == [4, 2, 1]
    sum(level.sum() for level in levels).backward()
    for name, parameter in [*backbone.named_parameters(), *neck.named_parameters()]:
        if not parameter.stop_gradient:
            assert bool(paddle.isfinite(parameter.grad).all()), name


def test_context_flows_from_coarse_to_fine_only():
    neck = NECKS.build({"name": "DSFPN", "in_channels": [8, 8], "out_channels": 16, "num_heads": 2})
    neck.eval()
    fine, coarse = paddle.randn([1, 8, 8, 8]), paddle.randn([1, 8, 4, 4])
    with paddle.no_grad():
        before = neck([fine, coarse])
        other_coarse = neck([fine, coarse + 1])
        other_fine = neck([fine + 1, coarse])
    assert not np.allclose(other_coarse[0].numpy(), before[0].numpy())
    np.testing.assert_array_equal(other_fine[1].numpy(), before[1].numpy())


def test_downsamples_must_fit_the_levels():
    with pytest.raises(ConfigError, match="each of 2 levels"):
        NECKS.build({"name": "DSFPN", "in_channels": [8, 8], "downsamples": [1]})
