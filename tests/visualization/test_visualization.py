"""What a model looks at, as numbers: against the equations, and for every family."""

import json

import numpy as np
import paddle
import pytest
from PIL import Image

from ppcls.arch import build_model
from ppcls.arch.layers import local_aggregation
from ppcls.arch.layers.dynamic_conv import dynamic_depthwise_conv2d
from ppcls.commands import main
from ppcls.errors import ConfigError
from ppcls.visualization.explain import Explainer
from ppcls.visualization.maps import TokenGrid, as_map, token_grid
from ppcls.visualization.sheets import kernel_changes, kernel_mosaic
from ppcls.visualization.target_layer import find_target_layer, map_layers
from tests.inference.small_model import (
    TRANSFORMS,
    make_picture,
    to_jpeg,
    write_training_config,
)

DSNET = {
    "name": "DSNet",
    "class_num": 5,
    "embed_dim": [8, 16, 24, 32],
    "depth": [1, 2, 1, 1],
    "num_heads": [1, 2, 3, 4],
    "downsamples": [4, 2, 1, 1],
}
TRANSXNET = {
    "name": "TransXNet",
    "class_num": 5,
    "img_size": 64,
    "layers": [1, 1, 1, 1],
    "embed_dims": [16, 24, 32, 48],
    "kernel_size": [5, 5, 3, 3],
    "num_heads": [1, 1, 2, 2],
}
DYNAMIC = {"name": "DWNet", "class_num": 5, "embed_dim": 8, "depths": [1, 1], "conv": "dynamic"}
DYNAMIC["kernel_size"] = 5
INHOMOGENEOUS = {**DYNAMIC, "conv": "inhomogeneous", "group_channels": [2, 4]}
VOLO = {
    "name": "VOLO",
    "class_num": 5,
    "img_size": 64,
    "layers": [1, 1, 1, 1],
    "embed_dims": [16, 32, 32, 32],
    "num_heads": [2, 4, 4, 4],
    "stem_hidden_dim": 8,
}
SAN = {
    "name": "SAN",
    "class_num": 5,
    "sa_type": "pairwise",
    "layers": [1, 1, 0, 0, 0],
    "kernels": [3, 5, 3, 3, 3],
}
FAMILIES = {
    "DSNet": DSNET,
    "TransXNet": TRANSXNET,
    "DynamicDWNet": DYNAMIC,
    "IDynamicDWNet": INHOMOGENEOUS,
    "VOLO": VOLO,
    "SAN": SAN,
}


def new_image(seed=0, side=64):
    return np.random.RandomState(seed).randn(3, side, side).astype(np.float32)


def new_model(arch):
    """With statistics of batch norms that keep random features within bounds."""
    paddle.seed(1)
    model = build_model(arch)
    images = paddle.to_tensor(np.stack([new_image(seed) for seed in range(4)]))
    model.train()
    for layer in model.sublayers():
        if isinstance(layer, paddle.nn.BatchNorm2D):
            layer._momentum = 0.0
    with paddle.no_grad():
        model(images)
    model.eval()
    return model


@pytest.fixture(scope="module")
def dsnet():
    return new_model(DSNET)


# -------------------------------------------------------------------- maps


@pytest.mark.parametrize(
    ("count", "size", "expected"),
    [
        (49, (224, 224), TokenGrid(7, 7, 0)),
        (197, (224, 224), TokenGrid(14, 14, 1)),
        (198, (224, 224), TokenGrid(14, 14, 2)),
        (28, (128, 224), TokenGrid(4, 7, 0)),
        (7, (224, 224), None),
        (1, (32, 32), TokenGrid(1, 1, 0)),
    ],
)
def test_token_grid(count, size, expected):
    assert token_grid(count, size) == expected


def test_layouts_of_maps():
    x = paddle.randn([1, 6, 4, 7])
    for layout in (
        x,
        paddle.transpose(x, [0, 2, 3, 1]),
        paddle.transpose(paddle.flatten(x, 2), [0, 2, 1]),
    ):
        assert np.array_equal(as_map(layout, (128, 224)).numpy(), x.numpy())
    token = paddle.randn([1, 1, 6])
    tokens = paddle.concat([token, paddle.transpose(paddle.flatten(x, 2), [0, 2, 1])], axis=1)
    assert np.array_equal(as_map(tokens, (128, 224)).numpy(), x.numpy())
    assert as_map(paddle.randn([4, 6, 4, 7]), (128, 224)) is None


# -------------------------------------------------------------------- Grad-CAM and streams


def test_grad_cam_is_the_class_activation_map_of_a_linear_head(dsnet):
    """A mean over positions and a linear layer: gradients are the head's weights over h * w."""
    explainer = Explainer(dsnet, new_image())
    assert explainer.target_layer == "norm"
    explanation = explainer.explain(new_image(), class_id=3)
    with paddle.no_grad():
        features = dsnet.forward_features(paddle.to_tensor(new_image()[None]))[0].numpy()
        logits = dsnet(paddle.to_tensor(new_image()[None]))[0].numpy()
    weights = dsnet.head.weight.numpy()[:, 3]
    expected = np.maximum(np.einsum("c,chw->hw", weights, features), 0) / features[0].size
    np.testing.assert_allclose(explanation.cam, expected, rtol=1e-4, atol=1e-6)
    assert explanation.class_id == 3
    exp = np.exp(logits - logits.max())
    np.testing.assert_allclose(explanation.probabilities, exp / exp.sum(), rtol=1e-5)


def test_evidence_of_streams_against_finite_differences(dsnet):
    """Scaling the local stream at one position by 1 + e changes the logit by e * its evidence."""
    explainer = Explainer(dsnet, new_image())
    explanation = explainer.explain(new_image(), class_id=1)
    evidence = explanation.streams["stage 3 local"]
    row, column = np.unravel_index(evidence.argmax(), evidence.shape)
    block, step, factors = dsnet.blocks3[-1], 1e-2, paddle.ones(evidence.shape)
    compute = block._local_stream
    block._local_stream = lambda x: compute(x) * factors
    logits = []
    for factor in (1 - step, 1 + step):
        factors[row, column] = factor
        with paddle.no_grad():
            logits.append(float(dsnet(paddle.to_tensor(new_image()[None]))[0, 1]))
    del block._local_stream
    slope = (logits[1] - logits[0]) / (2 * step)
    assert slope == pytest.approx(float(evidence[row, column]), rel=2e-2)


@pytest.mark.parametrize("family", FAMILIES)
def test_every_family(family):
    model = new_model(FAMILIES[family])
    image = paddle.to_tensor(new_image()[None])
    with paddle.no_grad():
        before = model(image).numpy()
    names = list(model.state_dict())
    explainer = Explainer(model, new_image())
    explanation = explainer.explain(new_image())
    assert explanation.cam.max() > 0
    assert explanation.streams
    for title, evidence in explanation.streams.items():
        assert evidence.min() >= 0, title
        assert np.isfinite(evidence).all(), title
    assert max(evidence.max() for evidence in explanation.streams.values()) > 0
    for title, attention in explanation.attention.items():
        np.testing.assert_allclose(attention.weights.sum(axis=1), 1, rtol=1e-5, err_msg=title)
    if family in ("VOLO", "SAN"):
        for weights in explanation.local_weights.values():
            np.testing.assert_allclose(weights.sum(axis=1), 1, rtol=1e-5)
    kinds = {title.rsplit(" ", 1)[1] for title in explanation.streams}
    has_both = family in ("DSNet", "TransXNet", "VOLO")
    assert kinds == ({"local", "global"} if has_both else {"local"})
    assert bool(explanation.kernels) == (family in ("TransXNet", "DynamicDWNet"))
    # Looking leaves nothing behind.
    with paddle.no_grad():
        assert np.array_equal(model(image).numpy(), before)
    assert list(model.state_dict()) == names


def test_streams_without_alignment():
    """Then the streams are read where they are joined; each has its own channels."""
    model = new_model({**DSNET, "alignment": False, "alpha": 0.25, "num_heads": [1, 1, 1, 1]})
    explanation = Explainer(model, new_image()).explain(new_image())
    assert len(explanation.streams) == 8
    local, coarse = (explanation.streams[f"stage 1 {kind}"] for kind in ("local", "global"))
    assert local.shape == coarse.shape == (16, 16)
    assert not np.allclose(local, coarse)


@pytest.mark.parametrize("alpha", [0, 1])
def test_one_stream_alone(alpha):
    explanation = Explainer(new_model({**DSNET, "alpha": alpha}), new_image()).explain(new_image())
    assert list(explanation.streams) == [
        f"stage {stage} {'global' if alpha else 'local'}" for stage in (1, 2, 3, 4)
    ]


# -------------------------------------------------------------------- attention and kernels


def test_attention_of_a_place(dsnet):
    explanation = Explainer(dsnet, new_image()).explain(new_image())
    attention = explanation.attention["stage 1 local asks global"]
    assert (attention.queries, attention.keys) == (TokenGrid(16, 16, 0), TokenGrid(4, 4, 0))
    expected = attention.weights[5 * 16 + 9].reshape(4, 4)
    assert np.array_equal(attention.of(5.5 / 16, 9.5 / 16), expected)
    assert attention.received() == pytest.approx(attention.weights.mean(axis=0).reshape(4, 4))


def test_class_attention_leaves_out_the_class_token():
    explanation = Explainer(new_model(VOLO), new_image()).explain(new_image())
    attention = explanation.attention["class token"]
    assert attention.queries is None
    assert attention.received().shape == (4, 4)
    assert attention.received().sum() < 1


@pytest.mark.parametrize("arch", [TRANSXNET, DYNAMIC, INHOMOGENEOUS, SAN], ids=lambda a: a["name"])
def test_generated_kernels_are_those_that_are_applied(arch):
    model = new_model(arch)
    layer = next(x for x in model.sublayers() if hasattr(x, "generated_kernels"))
    kept = []
    hook = layer.register_forward_post_hook(lambda _, x, y: kept.append((x[0], y)))
    with paddle.no_grad():
        model(paddle.to_tensor(np.stack([new_image(0), new_image(1)])))
        hook.remove()
        ((x, y),) = kept
        kernels = layer.generated_kernels(x)
        if arch is SAN:
            again = local_aggregation(layer.conv3(x), kernels, "reflect", "modulo")
        elif arch is INHOMOGENEOUS:
            again = local_aggregation(x, kernels)
        else:
            again = dynamic_depthwise_conv2d(x, kernels)
            # What remains is the bias of each channel.
            rest = (y - again).numpy()
            np.testing.assert_allclose(
                rest, np.broadcast_to(rest[:, :, :1, :1], rest.shape), atol=1e-5
            )
            assert not np.allclose(kernels[0].numpy(), kernels[1].numpy())
            return
    np.testing.assert_allclose(again.numpy(), y.numpy(), atol=1e-6)


def test_kernel_changes_by_hand():
    kernels = [np.full((2, 3, 3), 1.0), np.full((2, 3, 3), 3.0)]
    kernels[1][1] = 1.0
    np.testing.assert_allclose(kernel_changes(kernels), [0.5, 0.0])


def test_kernels_stand_in_their_places():
    weights = np.zeros((9, 10, 10))
    weights[4, 9, 0] = 1.0  # the centre of the kernel at the lower left
    mosaic = kernel_mosaic(weights[:, 1::2, 0::2])
    assert mosaic.shape == (19, 19, 3)
    red = np.argwhere((mosaic[:, :, 0] > 150) & (mosaic[:, :, 2] < 100))
    assert red.tolist() == [[17, 1]]


# -------------------------------------------------------------------- target layers


def test_target_layers_by_name(dsnet):
    image = paddle.to_tensor(new_image()[None])
    assert find_target_layer(dsnet, image, "blocks2[0]") == "blocks2.0"
    assert find_target_layer(dsnet, image, "blocks2") == "blocks2.1"
    layers = map_layers(dsnet, image)
    assert layers["blocks2.1"] == [16, 8, 8]
    assert list(layers)[-1] == "norm"
    with pytest.raises(ConfigError, match=r"(?s)'block2\.1'.*did you mean.*patch_embed1  8x16x16"):
        find_target_layer(dsnet, image, "block2.1")
    with pytest.raises(ConfigError, match="'head' of DSNet gives no map"):
        find_target_layer(dsnet, image, "head")


@pytest.mark.parametrize(
    ("name", "target"), [("ResNet18", None), ("DeiT_tiny_patch16_224", "blocks.11.norm1")]
)
def test_baselines(name, target):
    """Also where only the class token is read, after which patches have no gradient."""
    pytest.importorskip("paddleclas")
    model = build_model({"name": name, "class_num": 5})
    image = new_image(side=224)
    explainer = Explainer(model, image)
    explanation = explainer.explain(image)
    assert explanation.streams == {}
    assert min(explanation.cam.shape) >= 7
    if target is not None:
        assert explainer.target_layer == target
        assert [a.weights.shape for a in explanation.attention.values()] == [(197, 197)] * 4


# -------------------------------------------------------------------- the command


@pytest.fixture(scope="module")
def config_path(tmp_path_factory):
    folder = tmp_path_factory.mktemp("visualize")
    model = new_model(TRANSXNET)
    normalize = TRANSFORMS[3:]
    transforms = [{"DecodeImage": {}}, {"ResizeImage": {"size": [64, 64]}}, *normalize]
    for number in range(5):
        (folder / f"photo{number}.jpg").write_bytes(to_jpeg(make_picture(number)))
    return write_training_config(folder, model, TRANSXNET, transforms, [3, 64, 64], topk=3)


def test_command(config_path, tmp_path, capsys):
    folder = config_path.parent
    arguments = ["-c", str(config_path), "--output", str(tmp_path / "out"), "--tile", "80"]
    photos = [str(path) for path in sorted(folder.glob("*.jpg"))]
    assert main("visualize", [*arguments, "--limit", "3", *photos]) == 0
    written = {path.name for path in (tmp_path / "out").iterdir()}
    assert written == {"streams.png", "attention.png", "kernels.png", "visualization.json"}
    out = capsys.readouterr().out
    assert all(str(tmp_path / "out" / name) in out for name in written)
    with Image.open(tmp_path / "out" / "streams.png") as picture:
        # The image, Grad-CAM, two streams of four stages; three rows.
        assert picture.width > 10 * 80
        assert picture.height > 3 * 80
    numbers = json.loads((tmp_path / "out" / "visualization.json").read_text())
    assert [row["file"] for row in numbers["images"]] == [photos[0], photos[2], photos[4]]
    assert list(numbers["median_kernel_change"]) == [f"stage {n}" for n in (1, 2, 3, 4)]


def test_command_says_what_is_wrong(config_path, tmp_path, capsys):
    photo = str(config_path.parent / "photo0.jpg")
    (tmp_path / "broken.jpg").write_bytes(b"no image")
    for arguments, message in [
        ([str(tmp_path / "missing.jpg")], "missing.jpg cannot be read"),
        ([str(tmp_path / "broken.jpg")], "broken.jpg: "),
        ([photo, "--class_id", "99"], "the model has the classes 0 to 4"),
        ([photo, "--target_layer", "nonsense"], "classifier.0"),
    ]:
        assert main("visualize", ["-c", str(config_path), *arguments]) == 1
        assert message in capsys.readouterr().err
