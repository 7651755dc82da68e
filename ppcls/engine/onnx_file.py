"""ONNX files: converted from a Paddle program, simplified, described, and in float16."""

import graphlib
import importlib.metadata
import importlib.util
import json
from pathlib import Path
from typing import Any, Optional

from ppcls.errors import ConfigError, ExportError
from ppcls.inference.model_dir import (
    LEGACY_PROGRAM,
    ONNX,
    ONNX_FP16,
    PARAMS,
    PROGRAM,
    STEM,
    Description,
)
from ppcls.utils.logger import logger

#: Packages whose versions decide what an ONNX file looks like.
PACKAGES = ("paddle2onnx", "onnx", "onnxslim")


def write_onnx(folder: Path, opset: int = 13, simplify: bool = True) -> "dict[str, Any]":
    """Converts the program in `folder` to `inference.onnx` beside it.

    Args:
        folder: holds the program and its weights.
        opset: ONNX operator set.
        simplify: merge and remove nodes with onnxslim, where it is installed.

    Returns:
        for the report: `opset`, `nodes`, and `simplified_by`, or None if it is not.

    Raises:
        ConfigError: a package is missing.
        ExportError: the file was not written or breaks ONNX's rules.
    """
    try:
        import onnx
        import onnxruntime  # noqa: F401 (the comparison needs it)
        import paddle2onnx
    except ImportError as error:
        raise ConfigError(
            f'export to ONNX needs {error.name}: pip install "logoclas[onnx]"'
        ) from error
    path = folder / f"{STEM}{ONNX}"
    program = next(
        folder / f"{STEM}{suffix}"
        for suffix in (PROGRAM, LEGACY_PROGRAM)
        if (folder / f"{STEM}{suffix}").exists()
    )
    # optimize_tool: its default installs packages at run time.
    paddle2onnx.export(
        str(program),
        str(folder / f"{STEM}{PARAMS}"),
        str(path),
        opset_version=opset,
        optimize_tool=None,
        verbose=False,
    )
    if not path.exists():
        raise ExportError(
            f"paddle2onnx did not write {path.name}; its own messages above say which operator it "
            "cannot convert"
        )
    simplified_by = _simplify(path) if simplify else None
    model = onnx.load(str(path))
    _use_initializers(model.graph)
    _save(model, path)
    return {
        "opset": next(entry.version for entry in model.opset_import if entry.domain == ""),
        "nodes": len(model.graph.node),
        "simplified_by": simplified_by,
    }


def describe_onnx(folder: Path, description: Description) -> None:
    """Writes metadata into `inference.onnx`, each value as JSON: the file can be deployed alone."""
    import onnx

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
    texts = {key: json.dumps(value, ensure_ascii=False) for key, value in facts.items()}
    path = folder / f"{STEM}{ONNX}"
    model = onnx.load(str(path))
    onnx.helper.set_model_props(model, texts)
    _save(model, path)


def write_onnx_fp16(folder: Path) -> None:
    """Converts `inference.onnx` to `inference_fp16.onnx`: float16 but for input and output."""
    import onnx
    from onnxruntime.transformers.float16 import convert_float_to_float16

    model = onnx.load(str(folder / f"{STEM}{ONNX}"))
    half = convert_float_to_float16(model, keep_io_types=True)
    _sort_nodes(half.graph)
    # Shapes that the conversion has inferred; whoever runs the file infers them again.
    del half.graph.value_info[:]
    _save(half, folder / f"{STEM}{ONNX_FP16}")


def read_metadata(path: Path) -> "dict[str, Any]":
    """What `describe_onnx` wrote into a file."""
    import onnx

    model = onnx.load(str(path), load_external_data=False)
    return {entry.key: json.loads(entry.value) for entry in model.metadata_props}


def _simplify(path: Path) -> Optional[str]:
    if importlib.util.find_spec("onnxslim") is None:
        logger.info("the ONNX file is not simplified: pip install onnxslim for that")
        return None
    import onnx
    import onnxslim

    simple = onnxslim.slim(onnx.load(str(path)))
    if simple is None:
        raise ExportError(f"onnxslim could not simplify {path.name}; export with --no-simplify")
    _save(simple, path)
    return f"onnxslim {importlib.metadata.version('onnxslim')}"


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


def _save(model: Any, path: Path) -> None:
    import onnx

    onnx.save(model, str(path))
    try:
        onnx.checker.check_model(str(path))
    except onnx.checker.ValidationError as error:
        raise ExportError(f"{path.name} breaks the rules of ONNX: {error}") from error
