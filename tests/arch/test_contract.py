"""What every model of ours promises, checked on small members of each family.

A new family adds its small members to `TINY`; `test_every_family_is_covered` fails until it does.
"""

import functools
import inspect
import os
import subprocess
import sys

import numpy as np
import paddle
import pytest
from paddle import nn

from ppcls.arch import build_model
from ppcls.arch.base import Model
from ppcls.arch.complexity import count_complexity
from ppcls.arch.pretrained import RECORDS
from ppcls.arch.weights import load_weights
from ppcls.errors import ConfigError, UserError
from ppcls.registry import ARCHS
from ppcls.utils.weight_file import read_tensors
from tests.arch.exported import export, operators, run_onnx, run_paddle

#: Case -> (Arch section, sizes (H, W) it is run at). The first size is also exported, that of
#: cases without a dash and one more in the legacy format too.
_DSNET = {
    "name": "DSNet",
    "embed_dim": [16, 32, 48, 64],
    "depth": [1, 1, 2, 1],
    "num_heads": [1, 2, 3, 4],
}
_DWNET = {"name": "DWNet", "embed_dim": 16, "depths": [1, 1, 2, 1]}
_SAN = {"name": "SAN", "layers": [1, 0, 1, 1, 1], "kernels": [3, 3, 5, 5, 3]}
_TRANSXNET = {
    "name": "TransXNet",
    "img_size": 64,
    "layers": [1, 1, 1, 1],
    "embed_dims": [16, 32, 48, 64],
    "num_heads": [1, 2, 3, 4],
}
_VOLO = {
    "name": "VOLO",
    "img_size": 64,
    "layers": [1, 1, 1, 1],
    "embed_dims": [16, 32, 32, 32],
    "num_heads": [2, 4, 4, 4],
    "stem_hidden_dim": 8,
}
TINY = {
    "DSNet": (_DSNET, [(96, 64), (32, 32)]),
    "DSNet-alpha0": ({**_DSNET, "alpha": 0.0}, [(32, 64), (64, 64)]),
    "DSNet-alpha1": ({**_DSNET, "alpha": 1.0}, [(32, 64), (64, 64)]),
    "DSNet-alpha0.25": ({**_DSNET, "alpha": 0.25, "depth": [1, 1, 1, 1]}, [(32, 32), (96, 96)]),
    "DSNet-unaligned": ({**_DSNET, "alignment": False}, [(64, 64), (32, 96)]),
    "DWNet": (_DWNET, [(64, 96), (32, 32)]),
    "DWNet-shared": (
        {**_DWNET, "share_channels": 4, "se": True, "kernel_size": 3, "depths": [1, 2]},
        [(40, 24), (8, 64)],
    ),
    "DWNet-dynamic": ({**_DWNET, "conv": "dynamic"}, [(64, 96), (32, 32)]),
    "DWNet-dynamic-shared": (
        {**_DWNET, "conv": "dynamic", "share_channels": 2, "depths": [1, 1, 1]},
        [(48, 32)],
    ),
    "DWNet-inhomogeneous": (
        {**_DWNET, "conv": "inhomogeneous", "group_channels": [2, 4, 8, 16]},
        [(64, 96), (32, 64)],
    ),
    "SAN": ({**_SAN, "sa_type": "pairwise"}, [(67, 64), (96, 128)]),
    "SAN-patchwise": ({**_SAN, "sa_type": "patchwise"}, [(67, 64), (96, 128)]),
    "TransXNet": (_TRANSXNET, [(64, 96), (64, 64), (50, 31)]),
    "TransXNet-groups": (
        {**_TRANSXNET, "num_groups": [1, 2, 3, 4], "kernel_size": [3, 5, 7, 7], "img_size": 32},
        [(64, 64)],
    ),
    "VOLO": (_VOLO, [(72, 40), (64, 64), (50, 31)]),
    "VOLO-even": ({**_VOLO, "img_size": 224, "post_layers": 1}, [(64, 96)]),
    "VOLO-attention": ({**_VOLO, "mixer": "attention", "qkv_bias": True}, [(40, 64)]),
    "VOLO-dwconv": ({**_VOLO, "mixer": "dwconv"}, [(72, 64)]),
    "VOLO-mean": ({**_VOLO, "return_mean": True}, [(64, 72)]),
    "VOLO-tokenless": ({**_VOLO, "return_mean": True, "post_layers": 0}, [(40, 40)]),
}
CLASSES = 7

cases = pytest.mark.parametrize("case", TINY)


def build(case: str, **extra: object) -> nn.Layer:
    """The case's model, always with the same weights."""
    paddle.seed(1)
    return build_model({**TINY[case][0], "class_num": CLASSES, **extra})


def images(size: "tuple[int, int]", batch: int = 2) -> paddle.Tensor:
    values = np.random.RandomState(0).standard_normal((batch, 3, *size))
    return paddle.to_tensor(values.astype("float32"))


def without_dropping(case: str) -> "dict[str, float]":
    """Arguments that turn off everything random in a model."""
    component = ARCHS.get(TINY[case][0]["name"])
    rates = ("drop_rate", "attn_drop_rate", "drop_path_rate")
    return {name: 0.0 for name in inspect.signature(component).parameters if name in rates}


def test_every_family_is_covered():
    def family(name):
        component = ARCHS.get(name)
        return component.func if isinstance(component, functools.partial) else component

    covered = {family(section["name"]) for section, _ in TINY.values()}
    missing = [name for name in ARCHS.names() if family(name) not in covered]
    assert not missing, f"add small members of these to TINY: {missing}"


def test_records_name_registered_models():
    for name, record in RECORDS.items():
        assert record.key == name
        assert record.model in ARCHS.names()
        assert record.url.startswith("https://")
        assert record.file_name.endswith((".pdparams", ".pth", ".pth.tar"))
        assert record.image_size <= record.resize_short
        assert 50 < record.top1 < 100
        assert record.licence
        assert record.paper
        assert record.origin


@cases
def test_logits_at_every_size(case):
    model = build(case)
    assert isinstance(model, Model)
    assert model.class_num == CLASSES
    model.eval()
    for size in TINY[case][1]:
        with paddle.no_grad():
            x = images(size)
            logits = model(x)
            assert logits.shape == [2, CLASSES]
            assert bool(paddle.isfinite(logits).all())
            # A sample's logits do not depend on its neighbours in the batch.
            tolerance = 1e-5 * float(logits.abs().max())
            np.testing.assert_allclose(
                model(x[1:]).numpy(), logits[1:].numpy(), rtol=0, atol=tolerance
            )


@cases
def test_every_parameter_learns(case):
    model = build(case, **without_dropping(case))
    model.train()
    logits = model(images(TINY[case][1][0]))
    nn.functional.cross_entropy(logits, paddle.to_tensor([0, 1])).backward()
    for name, parameter in model.named_parameters():
        if not parameter.stop_gradient:
            assert parameter.grad is not None, name
            assert bool(paddle.isfinite(parameter.grad).all()), name


@cases
def test_recomputed_gradients_are_the_same(case):
    gradients = []
    for use_recompute in (False, True):
        model = build(case, use_recompute=use_recompute, **without_dropping(case))
        model.train()
        nn.functional.cross_entropy(
            model(images(TINY[case][1][0])), paddle.to_tensor([0, 1])
        ).backward()
        gradients.append(
            {name: p.grad for name, p in model.named_parameters() if p.grad is not None}
        )
    plain, recomputed = gradients
    assert set(plain) == set(recomputed)
    for name, gradient in plain.items():
        np.testing.assert_allclose(
            recomputed[name].numpy(), gradient.numpy(), rtol=1e-4, atol=1e-6, err_msg=name
        )


@cases
def test_training_changes_statistics_only(case):
    model = build(case, **without_dropping(case))
    model.train()
    before = {name: tensor.numpy().copy() for name, tensor in model.state_dict().items()}
    with paddle.no_grad():
        model(images(TINY[case][1][0]))
    for name, tensor in model.state_dict().items():
        if name.endswith(("._mean", "._variance")):
            assert not np.array_equal(tensor.numpy(), before[name]), name
        else:
            np.testing.assert_array_equal(tensor.numpy(), before[name], err_msg=name)


@cases
def test_evaluation_is_repeatable_and_changes_nothing(case):
    model = build(case)
    model.eval()
    before = {name: tensor.numpy().copy() for name, tensor in model.state_dict().items()}
    x = images(TINY[case][1][0])
    with paddle.no_grad():
        first, second = model(x).numpy(), model(x).numpy()
    np.testing.assert_array_equal(first, second)
    for name, tensor in model.state_dict().items():
        np.testing.assert_array_equal(tensor.numpy(), before[name], err_msg=name)


@cases
def test_levels_are_as_announced(case):
    model = build(case)
    model.eval()
    H, W = TINY[case][1][0]
    x = images((H, W))
    with paddle.no_grad():
        levels = model.forward_levels(x)
        for level, info in zip(levels, model.feature_info):
            r = info["reduction"]
            assert level.shape == [2, info["channels"], H // r, W // r]
        assert len(levels) == len(model.feature_info)
        assert len({info["name"] for info in model.feature_info}) == len(levels)

        pyramid = build(case, features_only=True, out_indices=[-1, 0])
        pyramid.eval()
        last, first = pyramid(x)
    np.testing.assert_array_equal(last.numpy(), levels[-1].numpy())
    np.testing.assert_array_equal(first.numpy(), levels[0].numpy())
    assert pyramid.feature_info == [model.feature_info[-1], model.feature_info[0]]


@cases
def test_pyramid_has_no_idle_parameter(case):
    pyramid = build(case, features_only=True)
    pyramid.train()
    sum(level.sum() for level in pyramid(images(TINY[case][1][0]))).backward()
    idle = [n for n, p in pyramid.named_parameters() if not p.stop_gradient and p.grad is None]
    assert not idle


@cases
def test_head_is_separate_and_replaceable(case):
    model = build(case)
    model.eval()
    with paddle.no_grad():
        x = images(TINY[case][1][0])
        features = model.forward_features(x)
        pooled = model.forward_head(features, pre_logits=True)
        np.testing.assert_array_equal(model.forward_head(features).numpy(), model(x).numpy())
        model.reset_classifier(3)
        assert model(x).shape == [2, 3]
        assert model.class_num == 3
        model.reset_classifier(0)
        np.testing.assert_array_equal(model(x).numpy(), pooled.numpy())


@cases
def test_wrong_size_is_explained(case):
    model = build(case)
    divisor = model.size_divisor
    if divisor == 1:
        pytest.skip("takes every size")
    with pytest.raises(UserError, match=f"multiples of {divisor}.*height {divisor + 1}"):
        model(images((divisor + 1, divisor)))


def test_wrong_levels_are_explained():
    with pytest.raises(ConfigError, match=r"out_indices: .* 0 to 3, received \[0, 4\]"):
        build("DSNet", features_only=True, out_indices=[0, 4])


@cases
def test_weights_survive_a_file(case, tmp_path):
    model = build(case)
    paddle.save(model.state_dict(), str(tmp_path / "w.pdparams"))
    paddle.seed(2)
    other = build_model({**TINY[case][0], "class_num": CLASSES})
    report = load_weights(other, read_tensors(tmp_path / "w.pdparams"))
    assert report.fits
    for name, tensor in model.state_dict().items():
        np.testing.assert_array_equal(other.state_dict()[name].numpy(), tensor.numpy())


@cases
def test_complexity_grows_with_the_image(case):
    model = build(case)
    small, large = (count_complexity(model, (3, s, s)) for s in (96, 192))
    assert small.parameters == large.parameters
    assert small.macs["conv_linear"] > 0
    # The head and what works on pooled maps do not grow, attention grows faster.
    assert 3 * small.total_macs < large.total_macs


@cases
@pytest.mark.filterwarnings("ignore")
def test_exported_program_computes_the_same(case, tmp_path):
    model = build(case)
    # Running statistics of a trained model, not zeros and ones.
    model.train()
    with paddle.no_grad():
        model(2 * images(TINY[case][1][0], batch=4) + 0.5)
    program = export(model, tmp_path, (3, *TINY[case][1][0]))
    x = images(TINY[case][1][0], batch=3)
    with paddle.no_grad():
        expected = model(x).numpy()
    assert not [name for name in operators(program) if "interp" in name]
    tolerance = 1e-5 * np.abs(expected).max()
    for batch in (1, 3):
        part = x.numpy()[:batch]
        for logits in (
            run_paddle(program, part, onednn=False),
            run_paddle(program, part, onednn=True),
            run_onnx(program, part),
        ):
            np.testing.assert_allclose(logits, expected[:batch], rtol=0, atol=tolerance)


@pytest.mark.parametrize(
    "case", [*(case for case in TINY if "-" not in case), "DWNet-inhomogeneous"]
)
def test_legacy_program_computes_the_same(case, tmp_path, repo_root):
    subprocess.run(
        [sys.executable, "-m", "tests.arch.legacy_export", case, str(tmp_path)],
        cwd=repo_root,
        env={**os.environ, "FLAGS_enable_pir_api": "0"},
        check=True,
        capture_output=True,
    )
    expected = np.load(tmp_path / "expected.npy")
    x = images(TINY[case][1][0], batch=3).numpy()
    programs = [tmp_path / "inference.pdmodel"] * 2 + [*tmp_path.glob("fused/*.pdmodel")]
    for program, onednn in zip(programs, (False, True, True)):
        logits = run_paddle(program, x, onednn)
        tolerance = 1e-5 * np.abs(expected).max()
        np.testing.assert_allclose(logits, expected, rtol=0, atol=tolerance)
