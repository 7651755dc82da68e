"""Our models inside the PyPI package `paddleclas`: import this module, and they are there.

    import ppcls.integrations.paddleclas
    from paddleclas.ppcls.arch import build_model

    build_model({"Arch": {"name": "VOLO_D1", "class_num": 10}})

Every name of ours becomes an attribute of `paddleclas.ppcls.arch` and of its module `backbone`,
which is where that package looks models up. Where both have a name (`DSNet_tiny`, `DSNet_small`,
`DSNet_base`) ours takes its place: it loads the same weights and computes the same.
"""

from collections.abc import Callable
from typing import Any, Union

from paddle import nn

from ppcls.arch import build_model, paddleclas_zoo
from ppcls.registry import ARCHS


def _constructor(name: str) -> "Callable[..., nn.Layer]":
    def construct(pretrained: Union[bool, str] = False, **arguments: Any) -> nn.Layer:
        return build_model({"name": name, "pretrained": pretrained, **arguments})

    construct.__name__ = construct.__qualname__ = name
    construct.__doc__ = f"{name} of LoGoClas; arguments as in the `Arch` section of a YAML file."
    return construct


def _register() -> None:
    arch = paddleclas_zoo.import_module("paddleclas.ppcls.arch")
    for name in ARCHS.names():
        constructor = _constructor(name)
        for module in (arch, arch.backbone):
            setattr(module, name, constructor)


_register()
