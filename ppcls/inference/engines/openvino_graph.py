"""What is rewritten in OpenVINO programs whose shapes are all known."""

from typing import Any

import numpy as np


def normalise_maps(model: Any) -> int:
    """Norms over a whole image, in place: on the map itself instead of all of it in one row.

    ONNX has group normalisation with one group as a reshape to (B, 1, C * H * W), a norm and a
    reshape back. Rows lie channel after channel, so that the map, whose channels lie side by side
    between convolutions, is brought into another order and back (TransXNet_T takes 4 % longer).

    Returns:
        how many there were.
    """
    try:
        from openvino import opset6 as ops
    except ImportError:  # Before 2025.
        from openvino.runtime import opset6 as ops
    count = 0
    for norm in model.get_ordered_ops():
        if norm.get_type_name() != "MVN" or not norm.output(0).partial_shape.is_static:
            continue
        to_row = norm.input_value(0).get_node()
        row = list(norm.output(0).shape)
        if to_row.get_type_name() != "Reshape" or row[1:-1] != [1]:
            continue
        image = to_row.input_value(0)
        is_map = image.partial_shape.is_static and len(image.shape) == 4
        if not is_map or image.shape[0] != row[0]:
            continue
        how = norm.get_attributes()
        axes = np.array([1, 2, 3])
        on_map = ops.mvn(image, axes, how["normalize_variance"], how["eps"], how["eps_mode"])
        back = ops.reshape(on_map, np.array(row), False)
        norm.output(0).replace(back.output(0))
        count += 1
    return count
