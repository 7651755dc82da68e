"""Every published variant at its full width, with one block in each stage.

The contract (`test_contract.py`) goes into depth on small models; here every registered size is
built, differentiated, exported with a free batch and run in each engine.
"""

import inspect

import numpy as np
import paddle
import pytest
from paddle import nn

from ppcls.arch import build_model
from ppcls.arch.fusion import fuse_for_inference
from ppcls.registry import ARCHS
from tests.arch.exported import export, run_onnx, run_paddle

FAMILIES = ("DSNet", "TransXNet", "DWNet", "VOLO", "SAN")
VARIANTS = sorted(name for name in ARCHS.names() if name not in FAMILIES)
SIZE, OTHER_SIZE, SMALL_SIZE = (224, 224), (256, 192), (128, 128)
#: The smallest of each family are exported at the published size and at another.
SMALLEST = ("DSNet_tiny", "TransXNet_T", "DynamicDWNet_tiny", "IDynamicDWNet_tiny", "VOLO_D1")
SMALLEST += ("SAN10_pairwise", "SAN10_patchwise")
EXPORTS = [(name, size) for name in SMALLEST for size in (SIZE, OTHER_SIZE)]
EXPORTS += [(name, SMALL_SIZE) for name in VARIANTS if name not in SMALLEST]


def shallow(name: str) -> nn.Layer:
    """The variant with one block in each stage and ten classes."""
    parameters = inspect.signature(ARCHS.get(name)).parameters
    depth = next(key for key in ("depth", "depths", "layers") if key in parameters)
    blocks = [1] * len(parameters[depth].default)
    paddle.seed(1)
    return build_model({"name": name, depth: blocks, "class_num": 10})


def images(batch: int, size: "tuple[int, int]") -> paddle.Tensor:
    """Noise around a level of its own for each image."""
    values = np.random.RandomState(0).standard_normal((batch, 3, *size))
    values += np.linspace(-1, 1, batch).reshape(-1, 1, 1, 1)
    return paddle.to_tensor(values.astype("float32"))


@pytest.mark.parametrize("name", VARIANTS)
def test_learns(name):
    model = shallow(name)
    model.train()
    outputs = model(images(2, SMALL_SIZE))
    loss = nn.functional.cross_entropy(outputs, paddle.to_tensor([0, 1]))
    loss.backward()
    assert bool(paddle.isfinite(loss))
    for parameter_name, parameter in model.named_parameters():
        if not parameter.stop_gradient:
            assert parameter.grad is not None, parameter_name
            assert bool(paddle.isfinite(parameter.grad).all()), parameter_name


@pytest.mark.parametrize(("name", "size"), EXPORTS)
@pytest.mark.filterwarnings("ignore")
def test_exported_program_computes_the_same(name, size, tmp_path):
    model = shallow(name)
    x = images(3, size)
    # Running statistics of a model that has seen images, not zeros and ones.
    model.train()
    with paddle.no_grad():
        model(x)
    model.eval()
    program = export(fuse_for_inference(model), tmp_path, (3, *size))
    with paddle.no_grad():
        expected = model(x).numpy()
    tolerance = 1e-4 * np.abs(expected).max()
    for batch in (1, 3):
        part = x.numpy()[:batch]
        for logits in (run_paddle(program, part, onednn=True), run_onnx(program, part)):
            np.testing.assert_allclose(logits, expected[:batch], rtol=0, atol=tolerance)
