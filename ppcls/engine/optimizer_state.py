"""Optimizer state keyed by the model's structured names.

Paddle keys accumulators by a parameter's own name (`conv2d_12.w_0_moment1_0`), which counts the
layers made in the process before it. A checkpoint must load in any process, so its keys are the
names of the state dict: `blocks1.0.conv1.weight/moment1_0`. Losses may have weights too, which are
trained like the model's: theirs are `loss.<name>`, and their values are part of this state.
"""

from typing import Any

import numpy as np
import paddle

from ppcls.errors import CheckpointError

SCHEDULE, MASTER_WEIGHTS, LOSS_WEIGHTS = "LR_Scheduler", "master_weights", "loss_weights"


def collect_state(
    optimizer: Any, model: paddle.nn.Layer, loss: paddle.nn.Layer
) -> "dict[str, Any]":
    """The optimizer's state with tensors as NumPy arrays."""
    parameters = _parameters(model, loss)
    names = {parameter.name: name for name, parameter in parameters.items()}
    state: dict[str, Any] = {}
    weights = {name: tensor.numpy() for name, tensor in loss.state_dict().items()}
    if weights:
        state[LOSS_WEIGHTS] = weights
    for key, value in optimizer.state_dict().items():
        if key == SCHEDULE:
            state[SCHEDULE] = dict(value)
        elif key == MASTER_WEIGHTS:
            state[MASTER_WEIGHTS] = {
                names[own_name]: tensor.numpy() for own_name, tensor in value.items()
            }
        else:
            own_name = _owner(key, names)
            state[f"{names[own_name]}/{key[len(own_name) + 1 :]}"] = value.numpy()
    return state


def restore_state(
    optimizer: Any, model: paddle.nn.Layer, loss: paddle.nn.Layer, state: "dict[str, Any]"
) -> None:
    """Gives the optimizer, and the loss, what `collect_state` took from those of the same run.

    Raises:
        CheckpointError: the state belongs to other parameters.
    """
    weights = state.get(LOSS_WEIGHTS, {})
    own = loss.state_dict()
    if {name: list(value.shape) for name, value in weights.items()} != {
        name: list(value.shape) for name, value in own.items()
    }:
        raise CheckpointError(
            "the weights of losses in the checkpoint are not those of Loss.Train; continue with "
            "the same losses, or start from the model's weights with Global.pretrained_model"
        )
    own_names = {name: p.name for name, p in _parameters(model, loss).items()}
    translated: dict[str, Any] = {}
    unknown = []
    for key, value in state.items():
        if key == LOSS_WEIGHTS:
            continue
        if key == SCHEDULE:
            translated[key] = dict(value)
        elif key == MASTER_WEIGHTS:
            translated[key] = {
                own_names[name]: _named(v, own_names[name]) for name, v in value.items()
            }
        else:
            name, _, slot = key.rpartition("/")
            if name not in own_names:
                unknown.append(key)
                continue
            translated[f"{own_names[name]}_{slot}"] = np.asarray(value)
    if unknown:
        raise CheckpointError(
            f"the optimizer state does not fit the model, it has no parameter for {unknown[:5]}"
        )
    optimizer.set_state_dict(translated)
    for name, value in weights.items():
        own[name].set_value(value)


def _parameters(model: paddle.nn.Layer, loss: paddle.nn.Layer) -> "dict[str, paddle.Tensor]":
    of_loss = {f"loss.{name}": parameter for name, parameter in loss.named_parameters()}
    return {**dict(model.named_parameters()), **of_loss}


def _named(array: np.ndarray, name: str) -> paddle.Tensor:
    tensor = paddle.to_tensor(array)
    tensor.name = name
    return tensor


def _owner(key: str, names: "dict[str, str]") -> str:
    owners = [own_name for own_name in names if key.startswith(own_name + "_")]
    return max(owners, key=len)
