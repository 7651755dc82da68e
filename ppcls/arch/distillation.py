"""Several models in one: teachers and students, or one after the other."""

from collections.abc import Mapping
from typing import Any, Optional, Union

import paddle
from paddle import nn

from ppcls.arch.build import build_model
from ppcls.config.schema import component_schema
from ppcls.config.types import Component, PositiveInt
from ppcls.errors import ConfigError
from ppcls.registry import ARCHS, parse_spec

ModelSpecs = list[dict[str, Component("arch")]]
Pretrained = list[Optional[Union[bool, str]]]


class _Composition(nn.Layer):
    """Models by name, some of them frozen.

    A frozen model is a constant: no gradients, and evaluation mode even in training, so that its
    batch norms use the statistics they were trained with. (PaddleClas leaves it in training mode,
    where those statistics drift with every batch.)

    Args:
        models: `[{name: Arch section}, ...]`.
        class_num: for the models that take one and do not name their own.
        pretrained_list: weights per model, in place of each model's own `pretrained`.
        freeze_params_list: per model, whether it is frozen.

    Raises:
        ConfigError: the lists differ in length, or names are taken.
    """

    def __init__(
        self,
        models: ModelSpecs,
        class_num: Optional[PositiveInt] = None,
        pretrained_list: Optional[Pretrained] = None,
        freeze_params_list: Optional[list[bool]] = None,
    ):
        super().__init__()
        specs = model_specs(models, class_num)
        for key, values in [
            ("pretrained_list", pretrained_list),
            ("freeze_params_list", freeze_params_list),
        ]:
            if values and len(values) != len(specs):
                raise ConfigError(
                    f"Arch.{key}: {len(values)} entries for {len(specs)} models "
                    f"({', '.join(specs)})"
                )
        weights = pretrained_list or [None] * len(specs)
        frozen = freeze_params_list or [False] * len(specs)
        self.model_names = list(specs)
        self.frozen_names = [name for name, is_frozen in zip(specs, frozen) if is_frozen]
        for (name, spec), pretrained in zip(specs.items(), weights):
            if pretrained:
                spec = {**spec, "pretrained": pretrained}
            self.add_sublayer(name, _build_apart(name, spec))
        for name in self.frozen_names:
            for parameter in self[name].parameters():
                parameter.stop_gradient = True

    def __getitem__(self, name: str) -> nn.Layer:
        """The model called `name`."""
        return self._sub_layers[name]

    def run(self, name: str, x: Any) -> Any:
        """The output of one model."""
        model = self[name]
        if name not in self.frozen_names:
            return model(x)
        for layer in model.sublayers(include_self=True):
            # `train()` of a layer around this one reaches every sub-layer.
            layer.training = False
        with paddle.no_grad():
            return model(x)

    def no_weight_decay(self) -> "list[str]":
        """Names of the parameters that the models exempt from decay."""
        return [
            f"{name}.{parameter}"
            for name in self.model_names
            if hasattr(self[name], "no_weight_decay")
            for parameter in self[name].no_weight_decay()
        ]


class DistillationModel(_Composition):
    """Models that see the same images, to learn from each other.

    Args:
        infer_model_name: the model that is evaluated by plain losses and metrics, predicts, and is
            exported; by default `Student`, or without one the last.
        models, class_num, pretrained_list, freeze_params_list: see `_Composition`.
    """

    def __init__(
        self,
        models: ModelSpecs,
        class_num: Optional[PositiveInt] = None,
        pretrained_list: Optional[Pretrained] = None,
        freeze_params_list: Optional[list[bool]] = None,
        infer_model_name: Optional[str] = None,
    ):
        self.infer_model_name = infer_name(models, infer_model_name)
        super().__init__(models, class_num, pretrained_list, freeze_params_list)
        self.class_num = class_num or self[self.infer_model_name].class_num

    def forward(self, x: paddle.Tensor) -> "dict[str, Any]":
        """Images (B, C, H, W) -> each model's output by its name, and `logits`, (B, class_num), of
        the model that infers."""
        outputs = {name: self.run(name, x) for name in self.model_names}
        outputs["logits"] = _logits(outputs[self.infer_model_name])
        return outputs


class AttentionModel(_Composition):
    """Models in a row, each fed by the one before it: the first is a backbone, which names in
    `return_patterns` what the next ones take.

    Args:
        models, class_num, pretrained_list, freeze_params_list: see `_Composition`.
    """

    def __init__(
        self,
        models: ModelSpecs,
        class_num: Optional[PositiveInt] = None,
        pretrained_list: Optional[Pretrained] = None,
        freeze_params_list: Optional[list[bool]] = None,
    ):
        super().__init__(models, class_num, pretrained_list, freeze_params_list)
        self.class_num = class_num or self[self.model_names[0]].class_num

    def forward(self, x: paddle.Tensor) -> "dict[str, Any]":
        """Images (B, C, H, W) -> the mappings that the models return, in one."""
        outputs: dict[str, Any] = {}
        for name in self.model_names:
            x = self.run(name, x)
            outputs.update(x)
        return outputs


def inference_spec(spec: "Union[str, Mapping[str, Any]]") -> "tuple[dict[str, Any], str]":
    """The `Arch` section of the one model that infers, and what its tensors' names start with.

    That is `spec` and "" for a plain model, the model `infer_model_name` of a distillation, the
    backbone of an attention model.
    """
    name, arguments = parse_spec(spec)
    if name not in ("DistillationModel", "AttentionModel"):
        return {"name": name, **arguments}, ""
    specs = model_specs(arguments["models"], arguments.get("class_num"))
    key = next(iter(specs))
    if name == "DistillationModel":
        key = infer_name(arguments["models"], arguments.get("infer_model_name"))
    inner, prefix = inference_spec(specs[key])
    inner.pop("return_patterns", None)
    return inner, f"{key}.{prefix}"


def model_specs(models: ModelSpecs, class_num: Optional[int]) -> "dict[str, dict[str, Any]]":
    """`models` of a composition as one mapping, with `class_num` where it was left out.

    Raises:
        ConfigError: an entry does not have one name, or names are taken.
    """
    specs: dict[str, dict[str, Any]] = {}
    for index, entry in enumerate(models):
        if len(entry) != 1:
            raise ConfigError(
                f"Arch.models.{index}: expected one model, `Name: {{name: ...}}`, received the "
                f"keys {', '.join(entry)}"
            )
        (key, spec), *_ = entry.items()
        if key in specs or key == "logits":
            raise ConfigError(f"Arch.models.{index}: the name '{key}' is taken; choose another")
        name, arguments = parse_spec(spec)
        schema, open_ended = component_schema(ARCHS, ARCHS.get(name))
        takes_class_num = "class_num" in schema or open_ended
        if class_num is not None and "class_num" not in arguments and takes_class_num:
            arguments = {**arguments, "class_num": class_num}
        specs[key] = {"name": name, **arguments}
    return specs


def infer_name(models: ModelSpecs, chosen: Optional[str]) -> str:
    """The name of the model that infers.

    Raises:
        ConfigError: there is no model of the chosen name.
    """
    names = [key for entry in models for key in entry]
    if chosen is None:
        return "Student" if "Student" in names else names[-1]
    if chosen not in names:
        raise ConfigError(
            f"Arch.infer_model_name: there is no model '{chosen}' among {', '.join(names)}"
        )
    return chosen


def _build_apart(name: str, spec: "Mapping[str, Any]") -> nn.Layer:
    """A model whose parameters have names (`parameter.name`) that nothing else in the process has.

    Some backbones of `paddleclas` give their parameters fixed names, and optimizers tell
    parameters apart by them.
    """
    with paddle.utils.unique_name.guard():
        model = build_model(spec)
    for tensor in [*model.parameters(), *model.buffers()]:
        tensor.name = paddle.utils.unique_name.generate(f"{name}.{tensor.name}")
    return model


def _logits(output: Any) -> paddle.Tensor:
    if isinstance(output, Mapping):
        return output["logits"]
    return output[0] if isinstance(output, (list, tuple)) else output
