"""Rewriting for inference: the same outputs, fewer operators, the original untouched."""

import numpy as np
import paddle
import pytest
from paddle import nn

from ppcls.arch import build_model
from ppcls.arch.backbone.transxnet_blocks import LayerScale
from ppcls.arch.backbone.transxnet_fused import FusedBlock, Mixture, MixtureOfTwo
from ppcls.arch.fusion import affine_layer, fuse_for_inference
from tests.arch.exported import export, operators, run_onnx, run_paddle
from tests.arch.golden import float64_by_default
from tests.arch.test_contract import CLASSES, TINY, images

CASES = [case for case in TINY if case.startswith(("DSNet", "TransXNet"))]
cases = pytest.mark.parametrize("case", CASES)


def trained(case, size):
    """The case's model with norms that do something and statistics of data."""
    paddle.seed(3)
    model = build_model({**TINY[case][0], "class_num": CLASSES})
    for layer in model.sublayers():
        if isinstance(layer, (nn.BatchNorm2D, nn.LayerNorm)):
            layer.weight.set_value(1 + 0.3 * paddle.randn(layer.weight.shape))
            layer.bias.set_value(0.2 * paddle.randn(layer.bias.shape))
        if isinstance(layer, nn.BatchNorm2D):
            layer._momentum = 0.0
        if isinstance(layer, LayerScale):
            layer.weight.set_value(0.5 + paddle.rand(layer.weight.shape))
            layer.bias.set_value(0.2 * paddle.randn(layer.bias.shape))
    model.train()
    with paddle.no_grad():
        model(paddle.cast(images(size, batch=4), paddle.get_default_dtype()))
    model.eval()
    return model


@cases
def test_outputs_are_equal(case):
    for size in TINY[case][1]:
        with float64_by_default(), paddle.no_grad():
            model = trained(case, size)
            x = paddle.cast(images(size, batch=3), "float64")
            expected = model(x).numpy()
            logits = fuse_for_inference(model)(x).numpy()
        # Paddle's own `scale` keeps its factor in float32.
        np.testing.assert_allclose(logits, expected, rtol=0, atol=2e-8 * np.abs(expected).max())


def test_blocks_of_transxnet_are_replaced():
    layers = fuse_for_inference(trained("TransXNet", (64, 64))).sublayers()
    assert sum(isinstance(layer, FusedBlock) for layer in layers) == 4
    assert not any(isinstance(layer, LayerScale) for layer in layers)


def test_mixture_of_two_is_a_mixture():
    paddle.seed(1)
    to_scores = nn.Conv2D(4, 6, 1)
    candidates = paddle.randn([2, 3, 4]), paddle.randn([2, 3, 1])
    hidden = paddle.randn([2, 4, 5, 1])
    with paddle.no_grad():
        expected = Mixture(to_scores, candidates)(hidden)
        mixed = MixtureOfTwo(to_scores, candidates)(hidden)
    assert [tuple(part.shape) for part in mixed] == [(2, 3, 4), (2, 3, 1)]
    for found, exact in zip(mixed, expected):
        np.testing.assert_allclose(found.numpy(), exact.numpy(), rtol=0, atol=1e-6)


def test_affine_layer():
    scale, shift = np.array([2.0, 0.0, -1.0]), np.array([0.5, 3.0, 0.0])
    x = np.random.default_rng(0).standard_normal((2, 3, 4, 5))
    layer = affine_layer(scale, shift, paddle.float64)
    expected = x * scale[:, None, None] + shift[:, None, None]
    np.testing.assert_allclose(layer(paddle.to_tensor(x)).numpy(), expected, rtol=0, atol=1e-12)


def test_the_original_is_untouched():
    model = trained("DSNet", (64, 64))
    model.train()
    before = {name: tensor.numpy().copy() for name, tensor in model.state_dict().items()}
    fused = fuse_for_inference(model)
    assert model.training
    assert not fused.training
    for name, tensor in model.state_dict().items():
        np.testing.assert_array_equal(tensor.numpy(), before[name])


def test_a_norm_that_switches_a_channel_off_is_left_alone():
    model = trained("DSNet", (64, 64))
    with paddle.no_grad():
        model.blocks2[0].norm_conv1.weight[3] = 0.0
    fused = fuse_for_inference(model)
    x = images((64, 64))
    with paddle.no_grad():
        expected, logits = model(x).numpy(), fused(x).numpy()
    np.testing.assert_allclose(logits, expected, rtol=0, atol=1e-5 * np.abs(expected).max())


def test_headless_and_pyramid_models():
    model = trained("DSNet", (64, 64))
    model.reset_classifier(0)
    x = images((64, 64))
    with paddle.no_grad():
        expected = model(x).numpy()
        vector = fuse_for_inference(model)(x).numpy()
    np.testing.assert_allclose(vector, expected, rtol=0, atol=1e-5 * np.abs(expected).max())


@pytest.mark.filterwarnings("ignore")
def test_exported_program_is_smaller(tmp_path):
    model = trained("DSNet", (96, 64))
    (tmp_path / "whole").mkdir()
    program = export(fuse_for_inference(model), tmp_path, (3, 96, 64))
    whole = export(model, tmp_path / "whole", (3, 96, 64))
    assert "pd_op.batch_norm_" in operators(whole)
    assert not operators(program) & {"pd_op.batch_norm_", "pd_op.unbind"}


@pytest.mark.filterwarnings("ignore")
# TransXNet with weights like these is 3e-6 from float64 in eager mode already.
@pytest.mark.parametrize(("case", "tolerance"), [("DSNet", 1e-5), ("TransXNet", 3e-5)])
def test_exported_program_computes_the_same(case, tolerance, tmp_path):
    size = (96, 64)
    model = trained(case, size)
    program = export(fuse_for_inference(model), tmp_path, (3, *size))
    x = images(size, batch=3)
    with paddle.no_grad():
        expected = model(x).numpy()
    for batch in (1, 3):
        part = x.numpy()[:batch]
        for logits in (
            run_paddle(program, part, onednn=False),
            run_paddle(program, part, onednn=True),
            run_onnx(program, part),
        ):
            bound = tolerance * np.abs(expected).max()
            np.testing.assert_allclose(logits, expected[:batch], rtol=0, atol=bound)
