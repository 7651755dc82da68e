"""What is rewritten in OpenVINO programs, which must stay the same function."""

import numpy as np
import paddle
import pytest

from ppcls.engine.exporter import export_model
from ppcls.inference.engines import create_engine
from ppcls.inference.engines.openvino_graph import normalise_maps
from tests.inference.small_model import new_description, random_batch

openvino = pytest.importorskip("openvino")


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


def test_norms_over_whole_images_are_computed_on_maps(tmp_path):
    paddle.seed(1)
    model = _Normalising()
    model.eval()
    description = new_description(output="logits")
    export_model(model, tmp_path / "inference", description, formats=("pir", "onnx"))
    program = openvino.Core().read_model(str(tmp_path / "inference" / "inference.onnx"))
    assert normalise_maps(program) == 0  # Shapes are not known.
    batch = random_batch(2) + 3
    expected = model(paddle.to_tensor(batch)).numpy()
    for size in (1, 2):
        program = openvino.Core().read_model(str(tmp_path / "inference" / "inference.onnx"))
        program.reshape([size, 3, 32, 32])
        assert normalise_maps(program) == 1
        ranks = [
            len(node.output(0).shape)
            for node in program.get_ordered_ops()
            if node.get_type_name() == "MVN"
        ]
        assert sorted(ranks) == [3, 4]
        (logits,) = openvino.compile_model(program, "CPU")(batch[:size]).values()
        np.testing.assert_allclose(logits, expected[:size], rtol=0, atol=1e-5)
    # A single image has such a program.
    logits = create_engine(tmp_path / "inference", "openvino").run(batch[:1])
    np.testing.assert_allclose(logits, expected[:1], rtol=0, atol=1e-5)
