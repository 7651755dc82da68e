"""ONNX files: converted from a program, simplified, described, and in float16."""

import graphlib
import importlib.metadata
import importlib.util
import json
from pathlib import Path
from typing import Any, Optional

from ppcls.engine import onnx_conversion
from ppcls.errors import ConfigError, ExportError
from ppcls.inference.model_dir import (
    LEGACY_PROGRAM,
    ONNX,
    ONNX_FP16,
    PROGRAM,
    STEM,
    Description,
    data_file,
    find_file,
)
from ppcls.utils.logger import logger

#: Packages whose versions decide what an ONNX file looks like.
PACKAGES = ("paddle2onnx", "onnx", "onnxslim")


def write_onnx(
    folder: Path,
    opset: int = 13,
    simplify: bool = True,
    description: Optional[Description] = None,
) -> "dict[str, Any]":
    """Converts the program in `folder` to `inference.onnx` beside it.

    Args:
        folder: holds the program and its weights.
        opset: ONNX operator set.
        simplify: merge and remove nodes with onnxslim, where it is installed.
        description: goes into the file, each value as JSON: it can be deployed alone.

    Returns:
        for the report: `opset`, `nodes`, and `simplified_by`, or None if it is not.

    Raises:
        ConfigError: a package is missing.
        ExportError: the file was not written or breaks ONNX's rules.
    """
    try:
        import onnx
        import onnxruntime  # noqa: F401 (the comparison needs it)
        import paddle2onnx  # noqa: F401
    except ImportError as error:
        raise ConfigError(
            f'export to ONNX needs {error.name}: pip install "logoclas[onnx]"'
        ) from error
    path = folder / f"{STEM}{ONNX}"
    program = find_file(folder, PROGRAM) or folder / f"{STEM}{LEGACY_PROGRAM}"
    model = onnx_conversion.convert(program, opset)
    simplified_by = None
    if simplify:
        model, simplified_by = _simplify(model, path.name)
    _use_initializers(model.graph)
    if description is not None:
        onnx.helper.set_model_props(model, _metadata(description))
    facts = {
        "opset": next(entry.version for entry in model.opset_import if entry.domain == ""),
        "nodes": len(model.graph.node),
        "simplified_by": simplified_by,
    }
    save_onnx(model, path)
    return facts


def write_onnx_fp16(folder: Path) -> None:
    """Converts `inference.onnx` to `inference_fp16.onnx`: float16 but for input and output."""
    from onnxruntime.transformers.float16 import convert_float_to_float16

    # By its path: shapes of a model in memory are inferred up to 2 GiB only.
    half = convert_float_to_float16(str(folder / f"{STEM}{ONNX}"), keep_io_types=True)
    _sort_nodes(half.graph)
    # Shapes that the conversion has inferred; whoever runs the file infers them again.
    del half.graph.value_info[:]
    save_onnx(half, folder / f"{STEM}{ONNX_FP16}")


def save_onnx(model: Any, path: Path) -> None:
    """Writes a model, the weights of one that is larger than a file can be to `<path>.data`.

    Raises:
        ExportError: the file breaks the rules of ONNX.
    """
    import onnx

    if weights_bytes(model) > onnx_conversion.LARGEST_FILE:
        data = data_file(path)
        data.unlink(missing_ok=True)  # onnx would append to it.
        onnx.save(model, str(path), save_as_external_data=True, location=data.name)
    else:
        onnx.save(model, str(path))
    try:
        onnx.checker.check_model(str(path))
    except onnx.checker.ValidationError as error:
        raise ExportError(f"{path.name} breaks the rules of ONNX: {error}") from error


def weights_bytes(model: Any) -> int:
    """Bytes of all constants of a model whose external data are loaded."""
    values = [
        attribute.t
        for node in model.graph.node
        if node.op_type == "Constant"
        for attribute in node.attribute
    ]
    return sum(len(tensor.raw_data) for tensor in (*model.graph.initializer, *values))


def read_metadata(path: Path) -> "dict[str, Any]":
    """The description that `write_onnx` put into a file."""
    import onnx

    model = onnx.load(str(path), load_external_data=False)
    return {entry.key: json.loads(entry.value) for entry in model.metadata_props}


def _metadata(description: Description) -> "dict[str, str]":
    facts = {
        "model_name": description.model_name,
        "image_shape": description.image_shape,
        "output": description.output,
        "activation": description.activation,
        "preprocess": description.transform_ops,
        "postprocess": description.postprocess,
        "labels": {str(number): name for number, name in description.label_names.items()},
        "versions": description.versions,
    }
    return {key: json.dumps(value, ensure_ascii=False) for key, value in facts.items()}


def _simplify(model: Any, name: str) -> "tuple[Any, Optional[str]]":
    """The model, simpler where onnxslim can do that, and what did it."""
    if importlib.util.find_spec("onnxslim") is None:
        logger.info("the ONNX file is not simplified: pip install onnxslim for that")
        return model, None
    if weights_bytes(model) > onnx_conversion.LARGEST_FILE:
        logger.info("the ONNX file is not simplified: onnxslim takes no model above 2 GiB")
        return model, None
    import onnxslim

    simple = onnxslim.slim(model)
    if simple is None:
        raise ExportError(f"onnxslim could not simplify {name}; export with --no-simplify")
    return simple, f"onnxslim {importlib.metadata.version('onnxslim')}"


def _use_initializers(graph: Any) -> None:
    """Makes initializers of Constant nodes, among them the weights.

    Conversion to float16 and quantisation find weights only there.
    """
    kept = []
    for node in graph.node:
        if node.op_type == "Constant" and node.attribute[0].name == "value":
            tensor = graph.initializer.add()
            tensor.CopyFrom(node.attribute[0].t)
            tensor.name = node.output[0]
        else:
            kept.append(node)
    del graph.node[:]
    graph.node.extend(kept)


def _sort_nodes(graph: Any) -> None:
    """Puts every node behind those whose outputs it takes, as ONNX demands."""
    maker = {name: number for number, node in enumerate(graph.node) for name in node.output}
    waits = {
        number: {maker[name] for name in node.input if name in maker}
        for number, node in enumerate(graph.node)
    }
    order = list(graphlib.TopologicalSorter(waits).static_order())
    nodes = [graph.node[number] for number in order]
    del graph.node[:]
    graph.node.extend(nodes)
