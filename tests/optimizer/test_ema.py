"""The moving average of weights against a loop in NumPy."""

import numpy as np
import paddle
import pytest
from paddle import nn

from ppcls.errors import CheckpointError
from ppcls.optimizer import ExponentialMovingAverage


class Model(nn.Layer):
    """A convolution with batch norm, and an integer buffer."""

    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2D(3, 4, 3)
        self.norm = nn.BatchNorm2D(4)
        self.register_buffer("seen", paddle.zeros([1], dtype="int64"))

    def forward(self, x):
        if self.training:
            self.seen += 1
        return self.norm(self.conv(x))


@pytest.fixture
def model():
    paddle.seed(2)
    return Model()


def values(model):
    return {name: tensor.numpy().copy() for name, tensor in model.state_dict().items()}


def train(model, ema, steps):
    """Changes parameters and statistics; returns the average that a plain loop keeps."""
    optimizer = paddle.optimizer.SGD(learning_rate=0.5, parameters=model.parameters())
    average = {name: value.astype("float64") for name, value in values(model).items()}
    for _ in range(steps):
        model(paddle.randn([2, 3, 8, 8])).pow(2).mean().backward()
        optimizer.step()
        optimizer.clear_grad()
        ema.update()
        for name, value in values(model).items():
            if value.dtype == np.int64:
                average[name] = value
            else:
                average[name] = ema.decay * average[name] + (1 - ema.decay) * value
    return average


def test_averages_parameters_and_buffers(model):
    ema = ExponentialMovingAverage(model, decay=0.9)
    expected = train(model, ema, 5)
    averages = ema.state_dict()
    assert set(averages) == set(model.state_dict())
    for name, average in averages.items():
        np.testing.assert_allclose(average.numpy(), expected[name], rtol=1e-5, atol=1e-7)
    assert averages["seen"].tolist() == [5]
    assert not np.allclose(averages["norm._mean"].numpy(), model.norm._mean.numpy())


def test_the_model_holds_the_averages_within_the_block_only(model):
    ema = ExponentialMovingAverage(model, decay=0.9)
    train(model, ema, 3)
    own = values(model)
    with ema.average_weights():
        for name, tensor in model.state_dict().items():
            np.testing.assert_array_equal(tensor.numpy(), ema.state_dict()[name].numpy())
    for name, value in values(model).items():
        np.testing.assert_array_equal(value, own[name])


def test_own_values_come_back_after_an_error(model):
    ema = ExponentialMovingAverage(model, decay=0.9)
    train(model, ema, 3)
    own = values(model)
    with pytest.raises(RuntimeError, match="evaluation"), ema.average_weights():
        raise RuntimeError("evaluation")
    np.testing.assert_array_equal(model.conv.weight.numpy(), own["conv.weight"])


def test_parameters_stay_trainable(model):
    ema = ExponentialMovingAverage(model, decay=0.9)
    train(model, ema, 1)
    with ema.average_weights():
        pass
    assert not model.conv.weight.stop_gradient
    train(model, ema, 1)
    assert model.conv.weight.stop_gradient is False


@pytest.mark.parametrize("as_numpy", [False, True])
def test_resumes_exactly(model, as_numpy):
    ema = ExponentialMovingAverage(model, decay=0.9)
    train(model, ema, 2)
    state = ema.state_dict()
    if as_numpy:
        state = {name: tensor.numpy() for name, tensor in state.items()}
    other = Model()
    other.set_state_dict(model.state_dict())
    resumed = ExponentialMovingAverage(other, decay=0.9)
    resumed.set_state_dict(state)
    paddle.seed(9)
    train(model, ema, 2)
    paddle.seed(9)
    train(other, resumed, 2)
    for name, average in resumed.state_dict().items():
        np.testing.assert_array_equal(average.numpy(), ema.state_dict()[name].numpy())


def test_a_state_of_another_model_is_refused(model):
    ema = ExponentialMovingAverage(model)
    state = ema.state_dict()
    state["conv.weight"] = paddle.zeros([1, 2])
    state["head.bias"] = state.pop("norm.bias")
    with pytest.raises(CheckpointError) as error:
        ema.set_state_dict(state)
    message = str(error.value)
    assert "conv.weight: shape [1, 2], not [4, 3, 3, 3]" in message
    assert "norm.bias: missing" in message
    assert "head.bias: not in the model" in message


def test_half_precision_models_are_averaged_in_float32(model):
    model.to(dtype="bfloat16")
    ema = ExponentialMovingAverage(model, decay=0.999)
    start = ema.state_dict()["conv.weight"].numpy().copy()
    for _ in range(3):
        with paddle.no_grad():
            paddle.assign(model.conv.weight + 1, output=model.conv.weight)
        ema.update()
    average = ema.state_dict()["conv.weight"]
    assert average.dtype == paddle.float32
    # 0.001 * (1 + 2 + 3), less what three decays take: no bfloat16 holds that next to 1.
    np.testing.assert_allclose(average.numpy() - start, 0.006, rtol=0.02)
    with ema.average_weights():
        assert model.conv.weight.dtype == paddle.bfloat16


def test_copies_made_by_a_state_dict_hook_are_no_obstacle(model):
    """As `paddle.amp.decorate(level="O2", save_dtype=...)` registers one."""

    def as_copies(state):
        for name in state:
            state[name] = paddle.assign(state[name])
        return state

    model.register_state_dict_hook(as_copies)
    ema = ExponentialMovingAverage(model, decay=0.9)
    train(model, ema, 2)
    with ema.average_weights():
        own = model.conv.weight.numpy()
        np.testing.assert_array_equal(own, ema.state_dict()["conv.weight"].numpy())
