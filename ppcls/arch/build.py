"""Building a model from its `Arch` section."""

import dataclasses
import fnmatch
import logging
from collections.abc import Mapping
from typing import Any, Optional, Union

import paddle
from paddle import nn

from ppcls.arch.base import FeaturePyramid, Model
from ppcls.arch.options import ArchOptions
from ppcls.errors import ConfigError
from ppcls.registry import ARCHS, parse_spec

logger = logging.getLogger("ppcls")


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
    """
    name, kwargs = parse_spec(spec)
    own = {field.name for field in dataclasses.fields(ArchOptions)}
    options = ArchOptions(**{key: value for key, value in kwargs.items() if key in own})
    model = ARCHS.get(name)(**{key: value for key, value in kwargs.items() if key not in own})
    if options.use_sync_bn:
        model = _with_sync_bn(model)
    if options.features_only:
        if not isinstance(model, Model):
            raise ConfigError(f"features_only: {name} comes from paddleclas and has no levels")
        return FeaturePyramid(model, options.out_indices)
    return model


def list_models(pattern: Optional[str] = None) -> "list[str]":
    """Names of our models, sorted; those that match a shell pattern such as `DSNet_*`."""
    return sorted(fnmatch.filter(ARCHS.names(), pattern or "*"))


def _with_sync_bn(model: nn.Layer) -> nn.Layer:
    if paddle.device.get_device().startswith("cpu"):
        logger.warning("use_sync_bn: needs GPUs, ignored on the CPU")
        return model
    return nn.SyncBatchNorm.convert_sync_batchnorm(model)
