"""Converting a published weight file to ours, with a certificate of what was done."""

import io
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Optional, Union

import numpy as np
import paddle
from paddle import nn

from ppcls.arch.build import build_model
from ppcls.arch.convert import load_published, read_published
from ppcls.arch.pretrained import find_record_of_file
from ppcls.arch.weights import load_weights
from ppcls.errors import CheckpointError
from ppcls.utils import atomic
from ppcls.utils.hashing import sha256_of
from ppcls.utils.weight_file import read_any

_CHECK_SEED = 0


@dataclass(frozen=True)
class Certificate:
    """What a conversion matched and wrote."""

    model: str
    source: Path
    source_sha256: str
    #: Whether `source_sha256` is that of a published file we know; None where none is known.
    known_hash: Optional[bool]
    tensors: int
    values: int
    output: Path
    output_sha256: str
    #: Largest logit of the forward check, and its five best classes; None where not asked for.
    check: "Optional[tuple[float, list[int]]]" = None

    def __str__(self) -> str:
        hash_note = {
            True: "the published file",
            False: "NOT the published file",
            None: "no published hash is known",
        }[self.known_hash]
        lines = [
            f"model    {self.model}",
            f"source   {self.source}",
            f"         sha256 {self.source_sha256} ({hash_note})",
            f"matched  {self.tensors} of {self.tensors} tensors, {self.values} values, none left",
        ]
        if self.check:
            largest, best = self.check
            lines.append(
                f"checked  forward pass on a fixed image: finite, largest logit {largest:.4f}, "
                f"best classes {best}; the written file gives the same logits"
            )
        lines += [f"output   {self.output}", f"         sha256 {self.output_sha256}"]
        return "\n".join(lines)


def convert_weights(
    spec: "Mapping[str, Any]",
    source: Union[str, Path],
    output: Union[str, Path],
    ema: bool = False,
    check: bool = False,
    image_size: int = 224,
) -> Certificate:
    """Converts an author's file to `.pdparams` or `.safetensors`, after the suffix of `output`.

    Args:
        spec: the `Arch` section of the model the weights belong to.
        source: `.pth`, `.pth.tar`, `.pdparams` or `.safetensors`.
        output: written atomically; an existing file is replaced.
        ema: convert the averaged copy in the file.
        check: run the model on a fixed image of `image_size`, before and after.

    Raises:
        CheckpointError: the file cannot be read, or not every tensor has its place.
    """
    source, output = Path(source), Path(output)
    if output.suffix not in (".pdparams", ".safetensors"):
        raise CheckpointError(f"{output}: the output is called .pdparams or .safetensors")
    model = build_model(spec)
    report = load_published(model, read_published(source, ema), str(source))
    logits = _logits(model, image_size) if check else None
    write_weights(model, output)
    result = None
    if logits is not None:
        if not np.isfinite(logits).all():
            raise CheckpointError(f"{source}: the model gives logits that are not finite")
        again = build_model(spec)
        load_weights(again, read_any(output), str(output))
        if not np.array_equal(_logits(again, image_size), logits):
            raise CheckpointError(f"{output} does not give the logits of {source}")
        result = (float(np.abs(logits).max()), np.argsort(-logits)[:5].tolist())
    digest = sha256_of(source)
    record = find_record_of_file(source.name)
    known = record.sha256 if record else None
    return Certificate(
        model=spec["name"],
        source=source,
        source_sha256=digest,
        known_hash=None if known is None else digest == known,
        tensors=len(report.loaded),
        values=sum(int(np.prod(tensor.shape)) for tensor in model.state_dict().values()),
        output=output,
        output_sha256=sha256_of(output),
        check=result,
    )


def write_weights(model: nn.Layer, path: Path) -> None:
    """Writes the tensors of `model` to a `.pdparams` or `.safetensors` file, atomically."""
    if path.suffix == ".safetensors":
        try:
            from safetensors.numpy import save
        except ImportError as error:
            raise CheckpointError(
                f'{path}: writing this needs safetensors: pip install "logoclas[convert]"'
            ) from error
        tensors = {name: tensor.numpy() for name, tensor in model.state_dict().items()}
        atomic.write_bytes(path, save(tensors, metadata={"format": "paddle"}))
    else:
        buffer = io.BytesIO()
        paddle.save(model.state_dict(), buffer)
        atomic.write_bytes(path, buffer.getvalue())


def _logits(model: nn.Layer, image_size: int) -> np.ndarray:
    """Logits (class_num,) of an image of fixed random numbers."""
    values = np.random.RandomState(_CHECK_SEED).standard_normal((1, 3, image_size, image_size))
    model.eval()
    with paddle.no_grad():
        return model(paddle.to_tensor(values.astype("float32"))).numpy()[0]
