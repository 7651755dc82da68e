"""The layout of an exported folder, in one place.

inference.json | inference.pdmodel   the program (new format | legacy format)
inference.pdiparams                  its weights
inference.onnx                       the same model for ONNX Runtime and OpenVINO
inference_fp16.onnx                  the same with weights and arithmetic in float16
inference_int8.onnx                  the same quantised to 8 bits
inference*.onnx.data                 the weights of an ONNX file that would be larger than 2 GiB
inference.yml                        input shape, preprocessing, postprocess, label names
export_report.json                   how far each engine is from the model in training
"""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Optional, Union

import yaml

from ppcls.config import load_yaml, to_plain
from ppcls.errors import ConfigError
from ppcls.utils import atomic

STEM = "inference"
PROGRAM, LEGACY_PROGRAM, PARAMS, ONNX = ".json", ".pdmodel", ".pdiparams", ".onnx"
ONNX_FP16, ONNX_INT8 = "_fp16.onnx", "_int8.onnx"
#: Precision -> the ONNX file that is run.
ONNX_OF = {"fp32": ONNX, "bf16": ONNX, "fp16": ONNX_FP16, "int8": ONNX_INT8}
DESCRIPTION, REPORT = "inference.yml", "export_report.json"

_EXPORT = "tools/export_model.py --format"
_MAKERS = {
    "fp32": f"{_EXPORT} onnx",
    "bf16": f"{_EXPORT} onnx",
    "fp16": f"{_EXPORT} onnx_fp16",
    "int8": "tools/quantize.py",
}


@dataclass
class Description:
    """What `inference.yml` says."""

    model_name: str
    image_shape: "list[int]"
    transform_ops: "list[Any]"
    postprocess: "dict[str, Any]"
    #: "prob": the program ends in `activation`; "logits": it does not; "topk": it gives the best
    #: `postprocess["topk"]` probabilities and, as second output, their classes.
    output: str = "prob"
    #: "softmax", or for multi-label models "sigmoid".
    activation: str = "softmax"
    #: Identifies the weights, so that files of different models are never mixed in one folder.
    weights_sha256: str = ""
    #: Images per run of the program; None: any number.
    batch_size: Optional[int] = None
    label_names: "dict[int, str]" = field(default_factory=dict)
    versions: "dict[str, str]" = field(default_factory=dict)

    def write(self, folder: Path) -> None:
        """Writes `inference.yml`; the sections are PaddleClas's."""
        document = {
            "Global": {
                "model_name": self.model_name,
                "image_shape": self.image_shape,
                "output": self.output,
                "activation": self.activation,
                "weights_sha256": self.weights_sha256,
                "batch_size": self.batch_size,
                "versions": self.versions,
            },
            "PreProcess": {"transform_ops": self.transform_ops},
            "PostProcess": self.postprocess,
            "label_names": self.label_names,
        }
        text = yaml.safe_dump(to_plain(document), sort_keys=False, allow_unicode=True)
        atomic.write_text(folder / DESCRIPTION, text)

    @classmethod
    def read(cls, folder: Union[str, Path]) -> "Description":
        """Reads `inference.yml`.

        Raises:
            ConfigError: the folder is not an export; says which command makes one.
        """
        path = Path(folder) / DESCRIPTION
        if not path.exists():
            raise ConfigError(
                f"{folder} is not an exported model, it has no {DESCRIPTION}; make one with "
                "tools/export_model.py"
            )
        document = load_yaml(path)
        try:
            return cls(
                model_name=document["Global"]["model_name"],
                image_shape=document["Global"]["image_shape"],
                transform_ops=document["PreProcess"]["transform_ops"],
                postprocess=document["PostProcess"],
                output=document["Global"]["output"],
                activation=document["Global"].get("activation", "softmax"),
                weights_sha256=document["Global"].get("weights_sha256", ""),
                batch_size=document["Global"].get("batch_size"),
                label_names=document.get("label_names") or {},
                versions=document["Global"].get("versions") or {},
            )
        except (KeyError, TypeError) as error:
            raise ConfigError(f"{path}: the key {error} is missing") from error


def find_file(folder: Union[str, Path], suffix: str) -> Optional[Path]:
    """`inference<suffix>` in `folder`, or None."""
    path = Path(folder) / f"{STEM}{suffix}"
    return path if path.exists() else None


def data_file(path: Path) -> Path:
    """Where the weights of an ONNX file are that do not fit into it; most have no such file."""
    return path.with_name(f"{path.name}.data")


def find_program(folder: Union[str, Path]) -> "tuple[Path, Path]":
    """Program and weights for Paddle Inference, the new format first.

    Raises:
        ConfigError: one of them is missing.
    """
    program = find_file(folder, PROGRAM) or find_file(folder, LEGACY_PROGRAM)
    params = find_file(folder, PARAMS)
    if program is None or params is None:
        raise ConfigError(
            f"{folder} holds no model for Paddle Inference: {STEM}{PROGRAM} or "
            f"{STEM}{LEGACY_PROGRAM}, with {STEM}{PARAMS}; make one with tools/export_model.py"
        )
    return program, params


def find_onnx(folder: Union[str, Path], precision: str = "fp32") -> Path:
    """The ONNX file of `folder` for a precision of `ONNX_OF`.

    Raises:
        ConfigError: there is none.
    """
    path = find_file(folder, ONNX_OF[precision])
    if path is None:
        raise ConfigError(
            f"{folder} holds no {STEM}{ONNX_OF[precision]}; make one with {_MAKERS[precision]}"
        )
    return path
