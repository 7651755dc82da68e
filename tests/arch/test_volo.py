"""VOLO: golden values, published counts, windows, position tables, mixing, options, errors."""

import numpy as np
import paddle
import paddle.nn.functional as F
import pytest

from ppcls.arch import build_model
from ppcls.arch.backbone import volo, volo_token_mixing
from ppcls.arch.complexity import count_complexity, count_parameters
from ppcls.arch.layers import outlook_attention
from ppcls.arch.weights import load_weights
from ppcls.errors import CheckpointError, ConfigError, UserError
from tests.arch import golden

NANO = {
    "name": "VOLO",
    "class_num": 10,
    "img_size": 64,
    "layers": [1, 1, 1, 1],
    "embed_dims": [32, 64, 64, 64],
    "num_heads": [2, 4, 4, 4],
    "stem_hidden_dim": 16,
    "drop_path_rate": 0.0,
}
FIXTURES = {"volo_nano": NANO, "volo_d1": {"name": "VOLO_D1", "drop_path_rate": 0.0}}


@pytest.fixture(params=FIXTURES)
def fixture(request, shared_dir):
    return golden.load_fixture(shared_dir, request.param)


def build_golden(fixture, **extra):
    model = build_model({**FIXTURES[fixture["name"]], **extra})
    golden.load_golden_weights(model, fixture)
    return model


def test_golden_logits(fixture):
    golden.check_eval_logits(build_golden(fixture), fixture)


def test_golden_logits_float64(fixture):
    golden.check_eval_logits_float64(lambda: build_model(FIXTURES[fixture["name"]]), fixture)


def test_golden_gradients(fixture):
    golden.check_gradients(build_golden(fixture), fixture)


def test_golden_train_mode(fixture):
    golden.check_train_mode(
        build_golden(fixture, return_dense=True),
        fixture,
        lambda outputs: {"x_cls": outputs["logits"], "x_aux": outputs["token_logits"]},
    )


def test_golden_macs(shared_dir):
    fixture = golden.load_fixture(shared_dir, "volo_d1")
    complexity = count_complexity(build_model("VOLO_D1"), (3, 224, 224))
    assert complexity.parameters == fixture["num_params"]
    assert complexity.macs["conv_linear"] == fixture["macs"]["conv_linear"]
    assert complexity.macs["attention_matmul"] == fixture["macs"]["attention_matmul"]
    assert complexity.total_macs == fixture["macs"]["total"]


def test_published_macs():
    complexity = count_complexity(build_model("VOLO_D2"), (3, 224, 224))
    assert round(complexity.macs["conv_linear"] / 1e9, 3) == 13.573
    assert round(complexity.macs["attention_matmul"] / 1e9, 3) == 0.733


@pytest.mark.parametrize(
    ("name", "parameters"),
    [("D1", 26.63), ("D2", 58.68), ("D3", 86.33), ("D4", 192.96), ("D5", 295.46)],
)
def test_published_parameters(name, parameters):
    with paddle.LazyGuard():  # nothing is allocated
        model = build_model(f"VOLO_{name}")
    assert round(count_parameters(model) / 1e6, 2) == parameters


def random_map(*shape):
    values = np.random.RandomState(0).standard_normal(shape)
    return paddle.to_tensor(values, dtype="float64", stop_gradient=False)


# Even and odd sizes, and the smallest.
map_sizes = pytest.mark.parametrize("size", [(4, 6), (7, 5), (4, 9), (1, 1), (1, 6), (2, 3)])


@map_sizes
def test_windows_are_those_of_unfold_and_fold(size):
    B, C, heads = 2, 6, 2
    h, w = outlook_attention.window_grid(*size)
    x = random_map(B, *size, C)
    columns = F.unfold(paddle.transpose(x, [0, 3, 1, 2]), 3, strides=2, paddings=1)
    expected = paddle.reshape(columns, [B, heads, C // heads, 9, h * w])
    expected = paddle.transpose(expected, [0, 4, 1, 3, 2])  # B, windows, heads, 9, d
    windows = outlook_attention.unfold_windows(x, heads)
    assert windows.shape == [B * h * w * heads, 9, C // heads]
    np.testing.assert_array_equal(windows.numpy(), expected.numpy().reshape(windows.shape))

    y = random_map(*windows.shape)
    columns = paddle.reshape(y, [B, h * w, heads, 9, C // heads])
    columns = paddle.reshape(paddle.transpose(columns, [0, 2, 4, 3, 1]), [B, C * 9, h * w])
    expected = paddle.transpose(F.fold(columns, size, 3, strides=2, paddings=1), [0, 2, 3, 1])
    folded = outlook_attention.fold_windows(y, heads, size)
    np.testing.assert_allclose(folded.numpy(), expected.numpy(), rtol=0, atol=1e-14)

    # The two are adjoint, so each has the other as its gradient.
    (windows * y.detach()).sum().backward()
    np.testing.assert_allclose(x.grad.numpy(), folded.numpy(), rtol=0, atol=1e-14)
    (folded * x.detach()).sum().backward()
    np.testing.assert_allclose(y.grad.numpy(), windows.numpy(), rtol=0, atol=1e-14)


@map_sizes
def test_pooling_divides_by_the_positions_that_exist(size):
    x = random_map(2, *size, 3)
    H, W = size
    expected = [
        [x[:, i : i + 2, j : j + 2].numpy().mean(axis=(1, 2)) for j in range(0, W, 2)]
        for i in range(0, H, 2)
    ]
    expected = np.transpose(expected, [2, 0, 1, 3])
    pooled = outlook_attention.pool_windows(x)
    np.testing.assert_allclose(pooled.numpy(), expected, rtol=0, atol=1e-14)


def test_golden_position_table(shared_dir):
    fixture = golden.load_fixture(shared_dir, "volo_pos_embed_resize_4_to_6")
    model = build_model({**NANO, "img_size": 96})
    table = golden.rule_tensor(fixture["input_table"])
    fitted = model.fit_tables({"pos_embed": table, "other": table})
    assert fitted["other"] is table
    expected = np.array(fixture["output"]["values64"])
    assert list(fitted["pos_embed"].shape) == fixture["output"]["shape"]
    np.testing.assert_allclose(fitted["pos_embed"], expected, rtol=0, atol=1e-8)


def test_tables_of_another_size_load_and_compute_what_the_forward_pass_would():
    small, large = build_model(NANO), build_model({**NANO, "img_size": 96})
    tensors = {name: value.numpy() for name, value in small.state_dict().items()}
    assert load_weights(large, tensors).fits
    assert large.pos_embed.shape == [1, 6, 6, 64]
    small.eval()
    large.eval()
    x = paddle.randn([2, 3, 96, 96])
    with paddle.no_grad():
        expected, logits = small(x).numpy(), large(x).numpy()
    np.testing.assert_allclose(logits, expected, rtol=0, atol=1e-5 * np.abs(expected).max())
    tensors["pos_embed"] = tensors["pos_embed"][..., :32]
    with pytest.raises(CheckpointError, match=r"pos_embed \(model .1, 6, 6, 64., file "):
        load_weights(large, tensors)


@pytest.mark.parametrize("size", [(15, 15), (16, 40), (41, 64), (99, 47)])
def test_any_size_from_15_pixels(size):
    model = build_model(NANO)
    model.eval()
    with paddle.no_grad():
        fine, coarse = model.forward_levels(paddle.ones([1, 3, *size]))
        assert bool(paddle.isfinite(model(paddle.ones([1, 3, *size]))).all())
    H, W = ((side + 1) // 2 // 4 for side in size)
    assert fine.shape == [1, 32, H, W]
    assert coarse.shape == [1, 64, H // 2, W // 2]


def test_images_too_small_are_explained():
    with pytest.raises(UserError, match="at least 15 x 15 pixels, received height 14 and width 64"):
        build_model(NANO)(paddle.ones([1, 3, 14, 64]))


def test_mixers_reach_as_far_as_they_should():
    """A block of stage one sees: its windows, three positions, or everything."""

    def reach(mixer):
        block = build_model({**NANO, "mixer": mixer}).network[0][0]
        x = random_map(1, 12, 12, 32).astype("float32").detach()
        with paddle.no_grad():
            before = block(x)
            x[:, 0, 0] = 1.0
            changed = (block(x) - before).abs().max(axis=-1)[0] > 0
        return int(paddle.max(paddle.nonzero(changed)))

    # Position 0 is in the pooled cell and in the window of 0 and 1, which writes to 0 and 1.
    assert reach("outlook") == 1
    assert reach("dwconv") == 1
    assert reach("attention") == 11


def test_training_and_evaluation_give_the_same_kind_of_logits():
    """Without token labelling what is trained is what is evaluated."""
    model = build_model(NANO)
    x = paddle.randn([2, 3, 64, 64])
    model.train()
    with paddle.no_grad():
        tokens = model.forward_features(x)
        expected = model.head(tokens[:, 0]) + 0.5 * model.aux_head(tokens[:, 1:]).max(axis=1)
        np.testing.assert_array_equal(model(x).numpy(), expected.numpy())


def test_mean_of_tokens():
    model = build_model({**NANO, "return_mean": True})
    model.eval()
    assert not [name for name in model.state_dict() if name.startswith("aux_head")]
    x = paddle.randn([2, 3, 64, 64])
    with paddle.no_grad():
        tokens = model.forward_features(x)
        assert tokens.shape == [2, 17, 64]
        expected = model.head(tokens.mean(axis=1))
        np.testing.assert_allclose(model(x).numpy(), expected.numpy(), rtol=0, atol=1e-6)
    tokenless = build_model({**NANO, "return_mean": True, "post_layers": 0})
    names = set(model.state_dict()) - set(tokenless.state_dict())
    assert {name.partition(".")[0] for name in names} == {"cls_token", "post_network"}
    assert tokenless.forward_features(x).shape == [2, 16, 64]


def test_dense_outputs_are_for_training_only():
    model = build_model({**NANO, "return_dense": True, "mix_token": True})
    x = paddle.randn([2, 3, 72, 40])
    model.train()
    outputs = model(x)
    assert {name: value.shape for name, value in outputs.items()} == {
        "logits": [2, 10],
        "token_logits": [2, 8, 10],
        "mix_box": [4],
    }
    model.eval()
    assert model(x).shape == [2, 10]
    model.train()
    model.reset_classifier(0)
    assert model(x).shape == [2, 64]


def test_mixing_whole_images_exchanges_them(monkeypatch):
    model = build_model({**NANO, "return_dense": True, "mix_token": True})
    model.train()
    x = paddle.randn([3, 3, 64, 64])

    def outputs(box):
        monkeypatch.setattr(volo, "random_box", lambda height, width: paddle.to_tensor(box))
        with paddle.no_grad():
            return {name: value.numpy() for name, value in model(x).items()}

    apart, exchanged = outputs([2, 2, 2, 2]), outputs([0, 0, 4, 4])
    tolerance = {"rtol": 0, "atol": 1e-5}
    np.testing.assert_allclose(exchanged["logits"], apart["logits"][::-1], **tolerance)
    # Token logits are back with the sample whose tokens they are.
    np.testing.assert_allclose(exchanged["token_logits"], apart["token_logits"], **tolerance)
    assert not np.allclose(outputs([1, 1, 3, 3])["logits"], apart["logits"], atol=1e-3)


def test_what_is_mixed_is_the_inside_of_the_box():
    x = random_map(3, 5, 4, 2).detach()
    mixed = volo_token_mixing.swap_in_box(x, paddle.to_tensor([1, 0, 4, 2]))
    expected = x.numpy()
    expected[:, 1:4, 0:2] = x.numpy()[::-1, 1:4, 0:2]
    np.testing.assert_allclose(mixed.numpy(), expected, rtol=0, atol=1e-15)
    again = volo_token_mixing.swap_in_box(mixed, paddle.to_tensor([1, 0, 4, 2]))
    np.testing.assert_allclose(again.numpy(), x.numpy(), rtol=0, atol=1e-15)


def test_boxes_are_those_of_cutmix():
    paddle.seed(0)
    boxes = np.stack([volo_token_mixing.random_box(14, 10).numpy() for _ in range(1500)])
    top, left, bottom, right = boxes.T
    assert boxes.dtype == np.int64
    assert boxes.min() == 0
    assert bottom.max() == 14
    assert right.max() == 10
    assert (top <= bottom).all()
    assert (left <= right).all()

    rng = np.random.RandomState(0)
    shares = []
    for _ in range(1500):
        cut = np.sqrt(1 - rng.beta(1, 1))
        y, x, h, w = rng.randint(14), rng.randint(10), int(14 * cut) // 2, int(10 * cut) // 2
        height = np.clip(y + h, 0, 14) - np.clip(y - h, 0, 14)
        width = np.clip(x + w, 0, 10) - np.clip(x - w, 0, 10)
        shares.append(height * width)
    # Both means have a standard error below 2 %.
    assert abs(((bottom - top) * (right - left)).mean() / np.mean(shares) - 1) < 0.08


@pytest.mark.parametrize(
    ("extra", "message"),
    [
        ({"layers": [1, 1, 1]}, "layers needs a value for each of four groups"),
        ({"embed_dims": [32, 64, 64, 96]}, "the last three are one stage"),
        ({"num_heads": [2, 5, 4, 4]}, "64 channels cannot be divided among 5 heads"),
        ({"num_heads": [3, 4, 4, 4]}, "32 channels cannot be divided among 3 heads"),
        ({"img_size": 8}, "img_size is at least 16"),
        ({"mix_token": True}, "mix_token needs return_dense: true"),
        ({"return_mean": True, "return_dense": True}, "there are no token logits"),
        ({"post_layers": 0}, "needs return_mean: true"),
    ],
)
def test_arguments_that_do_not_fit_are_explained(extra, message):
    with pytest.raises(ConfigError, match=message):
        build_model({**NANO, **extra})


def test_stochastic_depth_grows_over_stage_two():
    model = build_model({**NANO, "layers": [3, 1, 2, 1], "drop_path_rate": 0.6})
    rates = [[block.drop_path.rate for block in model.network[i]] for i in (0, 2, 3, 4)]
    assert rates[0] == [0, 0, 0]
    np.testing.assert_allclose(np.concatenate(rates[1:]), [0.3, 0.4, 0.5, 0.6])


def test_dropout_rates_reach_the_layers():
    model = build_model({**NANO, "drop_rate": 0.1, "attn_drop_rate": 0.2})
    blocks = [model.network[0][0], model.network[3][0], model.post_network[1]]
    assert model.pos_drop.p == 0.1
    for block in blocks:
        assert (block.mlp.dropout.p, block.attn.dropout.p) == (0.1, 0.1)
        assert block.attn.attention_dropout.p == 0.2


def test_qkv_bias_and_scale():
    names = set(build_model({**NANO, "qkv_bias": True}).state_dict())
    biases = sorted(names - set(build_model(NANO).state_dict()))
    groups = ["network.0.0.attn.v", "network.2.0.attn.qkv", "network.3.0.attn.qkv"]
    groups += ["network.4.0.attn.qkv"]
    groups += [f"post_network.{i}.attn.{kind}" for i in (0, 1) for kind in ("kv", "q")]
    assert biases == [f"{name}.bias" for name in groups]
    model = build_model({**NANO, "qk_scale": 0.5})
    attentions = [model.network[0][0], model.network[2][0], model.post_network[0]]
    assert [block.attn.scale for block in attentions] == [0.5, 0.5, 0.5]


def test_tables_are_drawn_small_and_not_decayed():
    model = build_model("VOLO_D1")
    assert abs(float(model.pos_embed.std()) / 0.02 - 1) < 0.02
    assert set(model.no_weight_decay()) <= set(model.state_dict())
    tokenless = build_model({**NANO, "return_mean": True, "post_layers": 0})
    assert tokenless.no_weight_decay() == ["pos_embed"]


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
        np.testing.assert_array_equal(theirs.numpy(), ours.numpy(), err_msg=name)
        if not ours.stop_gradient:
            np.testing.assert_array_equal(theirs.grad.numpy(), ours.grad.numpy(), err_msg=name)


@pytest.mark.parametrize("extra", [{}, {"return_dense": True, "mix_token": True}])
def test_static_graph_trains_the_same(extra, monkeypatch):
    box = [0, 1, 3, 4]
    monkeypatch.setattr(volo, "random_box", lambda height, width: paddle.to_tensor(box))
    eager, static = build_model({**NANO, **extra}), build_model({**NANO, **extra})
    static.set_state_dict(eager.state_dict())
    spec = paddle.static.InputSpec([None, 3, 64, 64])
    static = paddle.jit.to_static(static, input_spec=[spec], full_graph=True)
    x = paddle.randn([3, 3, 64, 64])
    for model in (eager, static):
        model.train()
        outputs = model(x)
        parts = [outputs["logits"], outputs["token_logits"]] if extra else [outputs]
        sum((part**2).mean() for part in parts).backward()
    for (name, ours), theirs in zip(eager.named_parameters(), static.parameters()):
        if not ours.stop_gradient:
            scale = np.abs(ours.grad.numpy()).max()
            error = np.abs(theirs.grad.numpy() - ours.grad.numpy()).max()
            assert error <= 1e-5 * scale + 1e-12, name
