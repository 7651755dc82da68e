"""Golden fixtures: weights by rule, and the values a reference implementation computed with them.

The rules (weight formulas, tolerances, layouts) are those of the fixtures' README. A family needs
nothing of its own here: tensor names are the published ones, and the only differences between the
PyTorch and the Paddle layout are transposed linear weights and the names of running statistics.
"""

import contextlib
import gzip
import hashlib
import json
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Callable, Optional

import numpy as np
import paddle
from paddle import nn

from ppcls.arch.convert import linear_weights, paddle_name

Fixture = dict[str, Any]


def load_fixture(shared_dir: Path, name: str) -> Fixture:
    with gzip.open(shared_dir / "golden" / f"{name}.json.gz", "rt", encoding="utf-8") as file:
        return json.load(file)


def rule_tensor(entry: "dict[str, Any]") -> np.ndarray:
    """The value of one tensor, in the listed (PyTorch) layout."""
    rng = np.random.RandomState(zlib.crc32(entry["name"].encode("utf-8")))
    kind, shape = entry["kind"], tuple(entry["shape"])
    if kind == "running_var":
        return (1.0 + 0.2 * rng.rand(*shape)).astype(np.float32)
    z = rng.standard_normal(shape)
    if kind == "weight":
        value = z * np.sqrt(1.0 / entry["fan_in"]) * entry.get("gain", 1.0)
    else:
        offset, factor = {
            "running_mean": (0.0, 0.1),
            "norm_scale": (1.0, 0.1),
            "layer_scale": (0.5, 0.1),
            "bias": (0.0, 0.1),
            "table": (0.0, 0.02),
        }[kind]
        value = offset + factor * z
    return value.astype(np.float32)


def fixture_tensors(fixture: Fixture) -> "dict[str, np.ndarray]":
    """All tensors by official name, in the listed layout, checked against the fixture's hash."""
    tensors = {entry["name"]: rule_tensor(entry) for entry in fixture["tensors"]}
    digest = hashlib.sha256(b"".join(t.astype("<f4").tobytes() for t in tensors.values()))
    assert digest.hexdigest() == fixture["weights_sha256"]
    return tensors


def fixture_input(fixture: Fixture) -> np.ndarray:
    rng = np.random.RandomState(fixture["input"]["seed"])
    x = rng.standard_normal(fixture["input"]["shape"]).astype(np.float32)
    assert hashlib.sha256(x.astype("<f4").tobytes()).hexdigest() == fixture["input"]["sha256"]
    return x


def load_golden_weights(model: nn.Layer, fixture: Fixture, dtype: str = "float32") -> None:
    """Sets every tensor of `model` by the fixture's rule; the two sets of names must be equal."""
    transposed = linear_weights(model)
    weights = {}
    for name, value in fixture_tensors(fixture).items():
        name = paddle_name(name)
        weights[name] = (value.T if name in transposed else value).astype(dtype)
    own = model.state_dict()
    assert set(own) == set(weights), sorted(set(own) ^ set(weights))
    for name, tensor in own.items():
        assert list(tensor.shape) == list(weights[name].shape), name
        tensor.set_value(weights[name])


def logits_tolerance(record: "dict[str, Any]", largest: float) -> float:
    return 20 * record["max_abs_diff_32_64"] + 1e-6 * largest


def check_eval_logits(model: nn.Layer, fixture: Fixture) -> None:
    """Float32 logits in evaluation mode against the float64 truth."""
    model.eval()
    with paddle.no_grad():
        logits = model(paddle.to_tensor(fixture_input(fixture))).numpy()
    record = fixture["eval"]
    error = np.abs(logits - np.array(record["logits64"])).max()
    assert error <= logits_tolerance(record, record["max_abs_logit"]), error


@contextlib.contextmanager
def float64_by_default() -> "Iterator[None]":
    """Layers built inside have float64 parameters."""
    paddle.set_default_dtype("float64")
    try:
        yield
    finally:
        paddle.set_default_dtype("float32")


def check_eval_logits_float64(build: "Callable[[], nn.Layer]", fixture: Fixture) -> None:
    """Float64 logits against the truth: separates small differences that float32 noise hides.

    `build` is called with float64 as the default type.
    """
    with float64_by_default():
        model = build()
        load_golden_weights(model, fixture, dtype="float64")
        model.eval()
        with paddle.no_grad():
            logits = model(paddle.to_tensor(fixture_input(fixture).astype("float64"))).numpy()
    record = fixture["eval"]
    error = np.abs(logits - np.array(record["logits64"])).max()
    assert error <= 1e-7 * record["max_abs_logit"], error


def check_gradients(model: nn.Layer, fixture: Fixture, keep_mode: bool = False) -> None:
    """Gradients of sum(logits * g) in evaluation mode, for every parameter and the input.

    With `keep_mode` the caller has put the layers into the modes that they shall have.
    """
    if not keep_mode:
        model.eval()
    dtype = model.parameters()[0].dtype
    x = paddle.cast(paddle.to_tensor(fixture_input(fixture)), dtype)
    x.stop_gradient = False
    logits = model(x)
    cotangent = np.random.RandomState(7).standard_normal(logits.shape).astype(np.float32)
    paddle.sum(logits * paddle.cast(paddle.to_tensor(cotangent), dtype)).backward()

    record = fixture["backward"]
    transposed = linear_weights(model)
    parameters = {name: p for name, p in model.named_parameters() if not p.stop_gradient}
    faults = []
    for name, expected in record["grads"].items():
        gradient = parameters[paddle_name(name)].grad.numpy()
        if paddle_name(name) in transposed:
            gradient = gradient.T
        faults += _gradient_faults(name, gradient, expected, record["global_grad_l2"])
    assert len(record["grads"]) == len(parameters)
    faults += _gradient_faults("input", x.grad.numpy(), record["input"], record["global_grad_l2"])
    assert not faults, "\n".join(faults)


def _gradient_faults(
    name: str, gradient: np.ndarray, expected: "dict[str, Any]", global_l2: float
) -> "list[str]":
    gradient = gradient.astype(np.float64)
    bound = (20 * expected.get("r32", 0.0) + 1e-4) * expected["l2"] + 1e-7 * global_l2
    head = np.array(expected["head"])
    errors = {
        "l2": abs(np.linalg.norm(gradient) - expected["l2"]),
        "head": np.abs(gradient.ravel()[: head.size] - head).max(),
    }
    return [
        f"{name}: {what} is off by {e:.3g} > {bound:.3g}"
        for what, e in errors.items()
        if not e <= bound
    ]


def check_train_mode(
    model: nn.Layer,
    fixture: Fixture,
    outputs: "Optional[Callable[[Any], dict[str, paddle.Tensor]]]" = None,
) -> None:
    """One forward pass with batch statistics: outputs and updated running statistics.

    Args:
        model: with all dropout and stochastic-depth rates 0.
        outputs: names what the model returns in training; by default it is {"logits": ...}.
    """
    record = fixture["train"]
    offsets = np.array(record["input_row_offsets"], np.float32).reshape(-1, 1, 1, 1)
    x = paddle.to_tensor(fixture_input(fixture) + offsets)
    model.train()
    with paddle.no_grad():
        result = model(paddle.cast(x, model.parameters()[0].dtype))
    named = outputs(result) if outputs else {"logits": result}
    for name, expected in record["outputs"].items():
        if not expected["well_conditioned"]:
            continue
        value = named[name].numpy().astype(np.float64)
        tolerance = logits_tolerance(expected, expected["max_abs"])
        if "values64" in expected:
            error = np.abs(value - np.array(expected["values64"])).max()
        else:
            head = np.array(expected["head"])
            error = np.abs(value.ravel()[: head.size] - head).max()
            assert abs(np.linalg.norm(value) / expected["l2"] - 1) < 1e-5, name
        assert error <= tolerance, (name, error)
    state = model.state_dict()
    for name, expected in record["batch_norm"].items():
        for ours, theirs in [("_mean", "running_mean_l2"), ("_variance", "running_var_biased_l2")]:
            length = np.linalg.norm(state[f"{name}.{ours}"].numpy().astype(np.float64))
            assert abs(length / expected[theirs] - 1) < 1e-5, (name, ours, length)
