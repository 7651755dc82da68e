"""What is rewritten in OpenVINO programs, which must stay the same function."""

import numpy as np
import paddle
import pytest

from ppcls.arch.layers import dynamic_depthwise_conv2d
from ppcls.engine.exporter import export_model
from ppcls.inference.engines import create_engine
from tests.inference.small_model import new_description, random_batch

graph = pytest.importorskip("ppcls.inference.engines.openvino_graph")
CORE = pytest.importorskip("ppcls.inference.engines.openvino_engine").CORE


class _Normalising(paddle.nn.Layer):
    """Convolutions around a norm over the whole image and one over groups, and class scores."""

    def __init__(self):
        super().__init__()
        self.first = paddle.nn.Conv2D(3, 8, 3, stride=2, padding=1)
        self.whole = paddle.nn.GroupNorm(1, 8)
        self.second = paddle.nn.Conv2D(8, 8, 3, padding=1)
        self.groups = paddle.nn.GroupNorm(2, 8)
        self.head = paddle.nn.Linear(8, 10)
        for norm in (self.whole, self.groups):
            norm.weight.set_value(1 + 0.5 * paddle.randn([8]))
            norm.bias.set_value(paddle.randn([8]))

    def forward(self, x):
        x = self.second(self.whole(self.first(x)))
        return self.head(paddle.tanh(self.groups(x)).mean(axis=[2, 3]))


class _Dynamic(paddle.nn.Layer):
    """Two convolutions with kernels that are computed from the image, on maps 16 high, 32 wide."""

    def __init__(self):
        super().__init__()
        self.stem = paddle.nn.Conv2D(3, 8, 3, stride=[2, 1], padding=1)
        self.sides = 3, 7
        self.kernels = paddle.nn.LayerList([paddle.nn.Linear(8, 8 * K * K) for K in self.sides])
        self.head = paddle.nn.Linear(8, 10)

    def forward(self, x):
        x = self.stem(x)
        for K, to_kernels in zip(self.sides, self.kernels):
            kernels = paddle.reshape(to_kernels(x.mean(axis=[2, 3])), [-1, 8, K, K])
            x = paddle.tanh(dynamic_depthwise_conv2d(x, kernels))
        return self.head(x[:, :, 0, 0] + x[:, :, -1, -1] + x.mean(axis=[2, 3]))


@pytest.fixture
def export(tmp_path):
    """Exports a model and gives the folder."""

    def export(model, **options):
        model.eval()
        folder = tmp_path / "inference"
        description = new_description(output="logits")
        export_model(model, folder, description, formats=("pir", "onnx"), **options)
        return folder

    return export


def test_norms_over_whole_images_are_computed_on_maps(export):
    paddle.seed(1)
    model = _Normalising()
    folder = export(model)
    program = read(folder)
    assert graph.normalise_maps(program) == 0  # Shapes are not known.
    batch = random_batch(2) + 3
    expected = model(paddle.to_tensor(batch)).numpy()
    for size in (1, 2):
        program = read(folder, size)
        assert graph.normalise_maps(program) == 1
        ranks = [len(node.output(0).shape) for node in nodes_of(program, "MVN")]
        assert sorted(ranks) == [3, 4]
        np.testing.assert_allclose(run(program, batch[:size]), expected[:size], rtol=0, atol=1e-5)
    # A single image has such a program.
    logits = create_engine(folder, "openvino").run(batch[:1])
    np.testing.assert_allclose(logits, expected[:1], rtol=0, atol=1e-5)


@pytest.mark.parametrize("simplify", [True, False])
def test_dynamic_convolutions_are_convolutions(export, simplify):
    paddle.seed(1)
    model = _Dynamic()
    folder = export(model, simplify=simplify)
    program = read(folder)
    assert graph.convolve_maps(program) == 0  # Shapes are not known.
    batch = random_batch(2)
    expected = model(paddle.to_tensor(batch)).numpy()
    for size in (1, 2):
        program = read(folder, size)
        assert nodes_of(program, "GroupConvolution") == []
        assert graph.convolve_maps(program) == 2
        shapes = [list(node.output(0).shape) for node in nodes_of(program, "GroupConvolution")]
        assert shapes == [[1, 8 * size, 16, 32]] * 2
        np.testing.assert_allclose(run(program, batch[:size]), expected[:size], rtol=0, atol=1e-5)
    # A single image has such a program.
    logits = create_engine(folder, "openvino").run(batch[:1])
    np.testing.assert_allclose(logits, expected[:1], rtol=0, atol=1e-5)


def read(folder, size=None):
    program = CORE.read_model(str(folder / "inference.onnx"))
    if size is not None:
        program.reshape([size, 3, 32, 32])
    return program


def nodes_of(program, kind):
    return [node for node in program.get_ordered_ops() if node.get_type_name() == kind]


def run(program, batch):
    (logits,) = CORE.compile_model(program, "CPU")(batch).values()
    return logits
