"""DSNet: golden values, equality with PaddleClas, published counts, options, sizes, errors."""

import numpy as np
import paddle
import pytest

from ppcls.arch import build_model
from ppcls.arch.complexity import count_complexity
from ppcls.arch.weights import load_weights
from ppcls.errors import ConfigError, UserError
from ppcls.utils.weight_file import read_tensors
from tests.arch import golden

NANO = {
    "name": "DSNet",
    "class_num": 10,
    "embed_dim": [16, 32, 48, 64],
    "depth": [1, 1, 1, 1],
    "num_heads": [1, 2, 3, 4],
    "drop_path_rate": 0.0,
}
FIXTURES = {"dsnet_nano": NANO, "dsnet_tiny": {"name": "DSNet_tiny", "drop_path_rate": 0.0}}


@pytest.fixture(params=FIXTURES)
def fixture(request, shared_dir):
    return golden.load_fixture(shared_dir, request.param)


def build_golden(fixture):
    model = build_model(FIXTURES[fixture["name"]])
    golden.load_golden_weights(model, fixture)
    return model


def test_golden_logits(fixture):
    golden.check_eval_logits(build_golden(fixture), fixture)


def test_golden_logits_float64(fixture):
    golden.check_eval_logits_float64(lambda: build_model(FIXTURES[fixture["name"]]), fixture)


def test_golden_gradients(fixture):
    golden.check_gradients(build_golden(fixture), fixture)


def test_golden_train_mode(fixture):
    golden.check_train_mode(build_golden(fixture), fixture)


def test_golden_macs(shared_dir):
    fixture = golden.load_fixture(shared_dir, "dsnet_tiny")
    complexity = count_complexity(build_model("DSNet_tiny"), (3, 224, 224))
    assert complexity.parameters == fixture["num_params"]
    assert complexity.macs["conv_linear"] == fixture["macs"]["conv_linear"]
    assert complexity.macs["attention_matmul"] == fixture["macs"]["attention_matmul"]
    assert complexity.total_macs == fixture["macs"]["total"]


@pytest.mark.parametrize(
    ("name", "parameters", "conv_linear", "attention"),
    [("DSNet_small", 23.00, 3.390, 0.157), ("DSNet_base", 49.34, 7.998, 0.295)],
)
def test_published_complexity(name, parameters, conv_linear, attention):
    complexity = count_complexity(build_model(name), (3, 224, 224))
    assert round(complexity.parameters / 1e6, 2) == parameters
    assert round(complexity.macs["conv_linear"] / 1e9, 3) == conv_linear
    assert round(complexity.macs["attention_matmul"] / 1e9, 3) == attention


def test_paddleclas_file_loads_unchanged_and_gives_the_same_logits(shared_dir, tmp_path):
    zoo = pytest.importorskip("paddleclas.ppcls.arch.backbone.model_zoo.dsnet")
    fixture = golden.load_fixture(shared_dir, "dsnet_tiny")
    reference = zoo.DSNet_tiny()
    # Its own initial weights make a network whose logits are in the thousands.
    golden.load_golden_weights(reference, fixture)
    reference.eval()
    paddle.save(reference.state_dict(), str(tmp_path / "DSNet_tiny_pretrained.pdparams"))

    model = build_model("DSNet_tiny")
    report = load_weights(model, read_tensors(tmp_path / "DSNet_tiny_pretrained.pdparams"))
    assert report.fits
    model.eval()
    x = paddle.to_tensor(golden.fixture_input(fixture))
    with paddle.no_grad():
        expected, logits = reference(x).numpy(), model(x).numpy()
    assert np.abs(logits - expected).max() <= 1e-5 * np.abs(expected).max()


@pytest.mark.parametrize("size", [64, 96, 160])
def test_other_sizes_equal_paddleclas(size):
    zoo = pytest.importorskip("paddleclas.ppcls.arch.backbone.model_zoo.dsnet")
    arguments = {key: NANO[key] for key in ("class_num", "embed_dim", "depth", "num_heads")}
    reference = zoo.MixVisionTransformer(img_size=size, **arguments)
    model = build_model(NANO)
    # Small weights keep the untrained network's activations, and so rounding, in bounds.
    paddle.seed(0)
    for tensor in reference.state_dict().values():
        if tensor.ndim > 1:
            tensor.set_value(0.1 * paddle.randn(tensor.shape))
    model.set_state_dict(reference.state_dict())
    reference.eval()
    model.eval()
    x = paddle.randn([2, 3, size, size])
    with paddle.no_grad():
        expected, logits = reference(x).numpy(), model(x).numpy()
    assert np.abs(logits - expected).max() <= 1e-5 * np.abs(expected).max()


@pytest.mark.parametrize("size", [(32, 32), (128, 96), (256, 224), (384, 384)])
def test_any_multiple_of_32(size):
    model = build_model(NANO)
    model.eval()
    with paddle.no_grad():
        logits = model(paddle.ones([1, 3, *size]))
    assert logits.shape == [1, 10]
    assert bool(paddle.isfinite(logits).all())


def test_other_size_names_the_rule():
    with pytest.raises(UserError, match="multiples of 32, received height 100 and width 64"):
        build_model(NANO)(paddle.ones([1, 3, 100, 64]))


def test_alpha_decides_which_streams_exist():
    def tensors(**extra):
        return set(build_model({**NANO, **extra}).state_dict())

    full = tensors()
    local = {n for n in full if any(part in n for part in (".norm_conv1.", ".conv."))}
    attention = {n for n in full if any(part in n for part in (".norm_sa1.", ".channel_up."))}
    alignment = {n for n in full if any(p in n for p in ("cross_", "fuse_", "conv2._", "sa2"))}
    alignment |= {n for n in full if ".norm_conv2." in n}
    assert tensors(alpha=0.0) == full - attention - alignment
    assert tensors(alpha=1.0) == full - local - alignment
    assert tensors(alignment=False) == full - alignment
    assert tensors(alpha=0.25) == full


def test_alpha_is_the_share_of_global_channels():
    block = build_model({**NANO, "alpha": 0.25}).blocks3[0]
    assert block.channel_up.weight.shape == [12, 36]
    assert block.conv.weight.shape[0] == 36
    with pytest.raises(ConfigError, match=r"alpha 0\.01 leaves .* between 0\.0625"):
        build_model({**NANO, "alpha": 0.01})


def test_local_stream_alone_sees_only_its_neighbourhood():
    """With alpha 0 nothing is global, with attention everything is."""

    def changed(alpha):
        model = build_model({**NANO, "alpha": alpha})
        model.eval()
        x = paddle.zeros([1, 3, 192, 192])
        with paddle.no_grad():
            before = model.forward_levels(x)[0]
            x[:, :, :4, :4] = 1.0
            difference = (model.forward_levels(x)[0] - before).abs().max(axis=1)[0]
        return float(difference[:, 24:].max())

    assert changed(0.0) == 0
    assert changed(0.5) > 0


@pytest.mark.parametrize(
    ("extra", "message"),
    [
        ({"depth": [1, 1, 1]}, "depth needs a value for each of four stages"),
        ({"num_heads": [1, 2, 5, 4]}, "48 channels cannot be divided among 5 heads"),
        ({"downsamples": [8, 4, 2, 2, 1]}, "downsamples needs a value"),
    ],
)
def test_stages_that_do_not_fit_are_explained(extra, message):
    with pytest.raises(ConfigError, match=message):
        build_model({**NANO, **extra})


def test_stochastic_depth_grows_over_the_whole_depth():
    model = build_model({**NANO, "depth": [2, 2, 1, 1], "drop_path_rate": 0.5})
    blocks = [*model.blocks1, *model.blocks2, *model.blocks3, *model.blocks4]
    np.testing.assert_allclose([b.drop_path.rate for b in blocks], np.linspace(0, 0.5, 6))


def test_dropout_rates_reach_the_layers():
    model = build_model({**NANO, "drop_rate": 0.1, "attn_drop_rate": 0.2})
    block = model.blocks4[0]
    assert (model.pos_drop.p, block.dropout.p, block.mlp.dropout.p) == (0.1, 0.1, 0.1)
    assert block.attention_dropout.p == 0.2
    model.train()
    x = paddle.ones([2, 3, 64, 64])
    with paddle.no_grad():
        assert not np.array_equal(model(x).numpy(), model(x).numpy())


def test_initial_weights():
    model = build_model({**NANO, "depth": [2, 2, 2, 2]})
    linear = [
        value.numpy().ravel()
        for name, value in model.named_parameters()
        if name.endswith(("channel_up.weight", "fuse_channel_sa.weight", "head.weight"))
    ]
    values = np.concatenate(linear)
    assert abs(values.std() / 0.02 - 1) < 0.02
    assert not model.blocks1[0].channel_up.bias.numpy().any()


def test_qkv_bias_and_scale():
    model = build_model({**NANO, "qkv_bias": False})
    block = model.blocks1[0]
    assert block.channel_up.bias is None
    assert block.cross_channel_up_conv.bias is None
    assert block.cross_channel_up_sa.bias is None
    x = paddle.randn([1, 3, 64, 64])
    scaled = build_model({**NANO, "qkv_bias": False, "qk_scale": 8**-0.5})
    scaled.set_state_dict(model.state_dict())
    other = build_model({**NANO, "qkv_bias": False, "qk_scale": 1.0})
    other.set_state_dict(model.state_dict())
    for each in (model, scaled, other):
        each.eval()
    with paddle.no_grad():
        np.testing.assert_array_equal(scaled(x).numpy(), model(x).numpy())
        assert not np.allclose(other(x).numpy(), model(x).numpy(), rtol=1e-4)


@pytest.mark.parametrize("rate", [0.0, 0.3])
def test_recompute_gives_the_same_step(rate):
    arguments = {**NANO, "drop_path_rate": rate, "drop_rate": rate, "attn_drop_rate": rate}
    plain = build_model(arguments)
    saving = build_model({**arguments, "use_recompute": True})
    saving.set_state_dict(plain.state_dict())
    x = paddle.randn([4, 3, 64, 64])
    for model in (plain, saving):
        model.train()
        paddle.seed(5)
        (model(x) ** 2).mean().backward()
    for (name, ours), theirs in zip(plain.named_parameters(), saving.parameters()):
        # Parameters and, since batch normalisation must not count twice, running statistics.
        np.testing.assert_array_equal(theirs.numpy(), ours.numpy(), err_msg=name)
        if not ours.stop_gradient:
            np.testing.assert_array_equal(theirs.grad.numpy(), ours.grad.numpy(), err_msg=name)


def test_static_graph_trains_the_same():
    """In float64: eager and static form of a depth-wise convolution round differently."""
    with golden.float64_by_default():
        eager = build_model(NANO)
        static = build_model(NANO)
    static.set_state_dict(eager.state_dict())
    spec = paddle.static.InputSpec([None, 3, 64, 64], dtype="float64")
    static = paddle.jit.to_static(static, input_spec=[spec], full_graph=True)
    x = paddle.randn([3, 3, 64, 64], dtype="float64")
    for model in (eager, static):
        model.train()
        (model(x) ** 2).mean().backward()
    for (name, ours), theirs in zip(eager.named_parameters(), static.parameters()):
        if not ours.stop_gradient:
            scale = np.abs(ours.grad.numpy()).max()
            error = np.abs(theirs.grad.numpy() - ours.grad.numpy()).max()
            assert error <= 1e-6 * scale + 1e-15, name
