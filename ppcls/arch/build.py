"""Building a model from its `Arch` section."""

import dataclasses
import fnmatch
import inspect
from collections.abc import Mapping
from typing import Any, Optional, Union

import paddle
from paddle import nn

from ppcls.arch import paddleclas_zoo
from ppcls.arch.base import FeaturePyramid, Model
from ppcls.arch.convert import load_published, read_published
from ppcls.arch.download import fetch
from ppcls.arch.freezing import freeze, freeze_all_but_head
from ppcls.arch.intermediate import return_outputs_of
from ppcls.arch.options import ArchOptions
from ppcls.arch.pretrained import find_record
from ppcls.errors import ConfigError
from ppcls.registry import ARCHS, parse_spec
from ppcls.utils.logger import logger
from ppcls.utils.weight_file import find_weight_file


def build_model(spec: "Union[str, Mapping[str, Any]]") -> nn.Layer:
    """The model that an `Arch` section describes.

    Args:
        spec: a name, or `{"name": ..., **kwargs}` with the model's own arguments and those of
            `ArchOptions`. Names are looked up among our models, then among the backbones of the
            `paddleclas` package.

    Returns:
        A `ppcls.arch.base.Model` (or whatever layer `paddleclas` builds), or with `features_only`
        a `FeaturePyramid`.

    Raises:
        ConfigError: no such model, or arguments that do not fit together.
        CheckpointError: weights that cannot be had or do not fit.
    """
    name, kwargs = parse_spec(spec)
    keys = {field.name for field in dataclasses.fields(ArchOptions)}
    options = ArchOptions(**{key: value for key, value in kwargs.items() if key in keys})
    kwargs = {key: value for key, value in kwargs.items() if key not in keys}
    is_foreign = name not in ARCHS.names() and name in paddleclas_zoo.names()
    component = ARCHS.get(name)
    if is_foreign and "pretrained" in inspect.signature(component).parameters:
        # paddleclas knows where its own published weights are; some of its backbones fetch them
        # unless they are told not to.
        kwargs["pretrained"] = options.pretrained is True
        if options.pretrained is True:
            options = dataclasses.replace(options, pretrained=False)
    if is_foreign and options.return_patterns:
        kwargs["return_patterns"] = list(options.return_patterns)
    model = component(**kwargs)
    if is_foreign:
        _make_constants_float32(model)
    if is_foreign and not hasattr(model, "class_num"):
        model.class_num = kwargs.get("class_num", 1000)
    if options.pretrained:
        _load_pretrained(model, name, options, kwargs.get("img_size"))
    if options.freeze:
        freeze(model, options.freeze)
    if options.linear_probe:
        freeze_all_but_head(model)
    if options.use_sync_bn:
        model = _with_sync_bn(model)
    if options.return_patterns and not is_foreign:
        return_outputs_of(model, options.return_patterns)
    if options.features_only:
        if not isinstance(model, Model):
            raise ConfigError(f"features_only: {name} comes from paddleclas and has no levels")
        return FeaturePyramid(model, options.out_indices)
    return model


def list_models(pattern: Optional[str] = None, paddleclas: bool = False) -> "list[str]":
    """Names of our models, sorted.

    Args:
        pattern: keep those that match this shell pattern, e.g. `DSNet_*`.
        paddleclas: add the backbones that only the installed `paddleclas` package has.
    """
    names = set(ARCHS.names())
    if paddleclas:
        names |= set(paddleclas_zoo.names())
    return sorted(fnmatch.filter(names, pattern or "*"))


def _load_pretrained(
    model: nn.Layer, name: str, options: ArchOptions, image_size: Optional[int]
) -> None:
    ignore_head = options.ignore_head
    if options.pretrained is True:
        record = find_record(name, image_size)
        path = fetch(record)
        # A model for other classes can only want the rest of the published weights.
        ignore_head = ignore_head or model.class_num != record.class_num
    else:
        path = find_weight_file(options.pretrained)
    report = load_published(model, read_published(path), str(path), ignore_head=ignore_head)
    logger.info(f"{name}: loaded {path}; {report}")


def _make_constants_float32(model: nn.Layer) -> None:
    """Makes float32 of the float64 tensors that some backbones of `paddleclas` keep: added to
    weights, they make float64 of them in Paddle 3."""
    for layer in model.sublayers(include_self=True):
        for name, value in {**vars(layer), **layer._buffers}.items():
            if isinstance(value, paddle.Tensor) and value.dtype == paddle.float64:
                setattr(layer, name, paddle.cast(value, "float32"))


def _with_sync_bn(model: nn.Layer) -> nn.Layer:
    if paddle.device.get_device().startswith("cpu"):
        logger.warning("use_sync_bn: needs GPUs, ignored on the CPU")
        return model
    return nn.SyncBatchNorm.convert_sync_batchnorm(model)
