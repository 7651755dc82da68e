"""What is rewritten in OpenVINO programs whose shapes are all known."""

from typing import Any, Callable, Optional

import numpy as np

try:
    from openvino import opset6 as ops
except ImportError:  # Before 2025.
    from openvino.runtime import opset6 as ops


def normalise_maps(model: Any) -> int:
    """Norms over a whole image, in place: on the map itself instead of all of it in one row.

    ONNX has group normalisation with one group as a reshape to (B, 1, C * H * W), a norm and a
    reshape back. Rows lie channel after channel, so that the map, whose channels lie side by side
    between convolutions, is brought into another order and back (TransXNet_T takes 4 % longer).

    Returns:
        how many there were.
    """
    return _replace(model, "MVN", _norm_of_map)


def _norm_of_map(norm: Any) -> Optional[Any]:
    to_row = norm.input_value(0).get_node()
    row = list(norm.output(0).shape)
    if to_row.get_type_name() != "Reshape" or row[1:-1] != [1]:
        return None
    image = to_row.input_value(0)
    is_map = image.partial_shape.is_static and len(image.shape) == 4
    if not is_map or image.shape[0] != row[0]:
        return None
    how = norm.get_attributes()
    axes = np.array([1, 2, 3])
    on_map = ops.mvn(image, axes, how["normalize_variance"], how["eps"], how["eps_mode"])
    return ops.reshape(on_map, np.array(row), False)


def convolve_maps(model: Any) -> int:
    """Dynamic depth-wise convolutions, in place: as convolutions instead of band products.

    A file for any batch has them as products of rows, K side by side, with band matrices, since the
    number of groups would not be known (`ppcls.arch.layers.dynamic_conv`). Where the batch is
    known, the convolution has a group for every sample and channel.

    Returns:
        how many there were.
    """
    return _replace(model, "MatMul", _convolution_of_maps)


def _convolution_of_maps(product: Any) -> Optional[Any]:
    maps_and_kernels = _of_band_product(product)
    if maps_and_kernels is None:
        return None
    maps, kernels = maps_and_kernels
    B, C, H, W = maps.shape
    _, K = kernels.shape
    groups = ops.reshape(maps, np.array([1, B * C, H, W]), False)
    weight = ops.reshape(kernels, np.array([B * C, 1, 1, K, K]), False)
    padding = [K // 2] * 2
    y = ops.group_convolution(groups, weight, [1, 1], padding, padding, [1, 1])
    return ops.reshape(y, np.array([B * C, H, W]), False)


def _of_band_product(product: Any) -> "Optional[tuple[Any, Any]]":
    """The maps (B, C, H, W) and the kernels (B * C * K, K), if it is such a product."""
    side_by_side = _follow(product.input_value(0), "Reshape", "Concat")
    bands = _follow(product.input_value(1), "Reshape", "MatMul")
    if side_by_side is None or bands is None or len(product.output(0).shape) != 3:
        return None
    K, (_, _, W) = side_by_side.get_input_size(), product.output(0).shape
    selector = _constant(bands.input_value(1))
    if selector is None or selector.shape != (K, W * W):
        return None
    shifts = selector.reshape(K, W, W)
    if not all(np.array_equal(shifts[k], np.eye(W, k=K // 2 - k)) for k in range(K)):
        return None
    rows = [_follow(side_by_side.input_value(k), "Slice") for k in range(K)]
    if any(row is None or _constant(row.input_value(1)) != k for k, row in enumerate(rows)):
        return None
    volume = _follow(rows[0].input_value(0), "Squeeze", "Pad", "Unsqueeze")
    return volume and (volume.input_value(0), bands.input_value(0))


def _replace(model: Any, kind: str, rewritten: "Callable[[Any], Optional[Any]]") -> int:
    """How many nodes of a kind and of known shapes were replaced by what `rewritten` gave."""
    count = 0
    for node in model.get_ordered_ops():
        if node.get_type_name() != kind or not node.output(0).partial_shape.is_static:
            continue
        new = rewritten(node)
        if new is not None:
            node.output(0).replace(new.output(0))
            count += 1
    return count


def _follow(value: Any, *kinds: str) -> Optional[Any]:
    """The last of these kinds of nodes upwards from a value, along first inputs."""
    for kind in kinds:
        node = _producer(value)
        if node.get_type_name() != kind:
            return None
        value = node.input_value(0)
    return node


def _constant(value: Any) -> Optional[np.ndarray]:
    node = _producer(value)
    return node.data if node.get_type_name() == "Constant" else None


def _producer(value: Any) -> Any:
    """Above what a file that is not simplified has in between."""
    node = value.get_node()
    while node.get_type_name() in ("Identity", "Convert"):
        node = node.input_value(0).get_node()
    return node
