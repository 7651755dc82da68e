"""Registries of components, one per kind, and the one way to build a component from its YAML.

A component is a class or function registered under the name that YAML uses. The schema of its YAML
section IS its signature, less the `runtime` arguments that the engine passes itself:

    LRS = Registry(
    "lr",
    package="ppcls.optimizer",
    runtime=("epochs", "steps_per_epoch"),
    common="ppcls.optimizer.options:ScheduleOptions",
)

    @LRS.register()
    class Cosine: ...

    schedule = LRS.build({"name": "Cosine", "learning_rate": 0.1}, epochs=90, steps_per_epoch=40)
"""

import importlib
from collections.abc import Mapping
from typing import Any, Callable, Optional

from ppcls.errors import ConfigError, did_you_mean


class Registry:
    """Name -> component, for one kind.

    Args:
        kind: what errors call it, e.g. "loss".
        package: the package whose import registers the components; imported on first look-up, so
            that a registry costs nothing until it is used.
        runtime: names of the arguments the engine passes to `build`; they are not part of YAML.
        fallback: a module that knows further components, with `find(name)` (the component, or
            None) and `names()`; imported only for a name that is not registered.
        refused: why a name that PaddleClas knows is not supported, by name.
        common: "module:Class", a dataclass of the options that every component of this kind
            accepts besides its own arguments (handled by whoever builds it).
        trial: runtime arguments with which a check of a configuration may build a component, to
            find what its constructor alone can tell; None where building costs too much.
    """

    def __init__(
        self,
        kind: str,
        package: str,
        runtime: tuple[str, ...] = (),
        fallback: Optional[str] = None,
        common: Optional[str] = None,
        refused: Optional[Mapping[str, str]] = None,
        trial: Optional[Mapping[str, Any]] = None,
    ):
        self.kind = kind
        self.package = package
        self.runtime = runtime
        self.fallback = fallback
        self.common = common
        self.refused = refused or {}
        self.trial = trial
        self._components: dict[str, Callable[..., Any]] = {}

    def register(self, name: Optional[str] = None) -> Callable:
        """Decorator: registers a class or function under `name` (default: its `__name__`)."""

        def decorate(component: Callable) -> Callable:
            self.add(name or component.__name__, component)
            return component

        return decorate

    def add(self, name: str, component: Callable[..., Any]) -> None:
        """Registers `component` (also a `functools.partial`); a name taken twice is a bug."""
        if name in self._components:
            raise ValueError(f"{self.kind} '{name}' is registered twice")
        self._components[name] = component

    def names(self) -> list[str]:
        """Registered names in order of registration."""
        importlib.import_module(self.package)
        return list(self._components)

    def get(self, name: str) -> Callable[..., Any]:
        """The component called `name`; `ConfigError` with the closest known name otherwise."""
        known = self.names()
        if name in self._components:
            return self._components[name]
        if name in self.refused:
            raise ConfigError(f"{self.kind} '{name}': {self.refused[name]}")
        if self.fallback:
            fallback = importlib.import_module(self.fallback)
            component = fallback.find(name)
            if component is not None:
                return component
            known = known + fallback.names()
        raise ConfigError(f"unknown {self.kind} '{name}'{did_you_mean(name, known)}")

    def common_options(self) -> Optional[type]:
        """The dataclass named by `common`."""
        if self.common is None:
            return None
        module, _, name = self.common.partition(":")
        return getattr(importlib.import_module(module), name)

    def build(self, spec: "str | Mapping[str, Any]", **runtime: Any) -> Any:
        """Builds the component a spec names.

        Args:
            spec: `{"name": X, **kwargs}`, `{X: kwargs}` or plain `X`.
            runtime: the arguments named by `Registry.runtime`.
        """
        name, kwargs = parse_spec(spec)
        return self.get(name)(**kwargs, **runtime)


def parse_spec(spec: "str | Mapping[str, Any]") -> "tuple[str, dict[str, Any]]":
    """Splits a component's YAML into its name and its arguments.

    PaddleClas writes components in two ways, `{name: Cosine, learning_rate: 0.1}` and
    `{CELoss: {weight: 1.0}}` (arguments may be null); a bare string is a name without arguments.
    """
    if isinstance(spec, str):
        return spec, {}
    if isinstance(spec, Mapping):
        if "name" in spec:
            return str(spec["name"]), {key: spec[key] for key in spec if key != "name"}
        if len(spec) == 1:
            name, kwargs = next(iter(spec.items()))
            if kwargs is None or isinstance(kwargs, Mapping):
                return str(name), dict(kwargs or {})
    raise ConfigError(
        f"expected a component, `{{name: X, ...}}` or `{{X: {{...}}}}`, received {spec!r}"
    )


RETRIEVAL = "retrieval is not supported yet, only classification is"
_NO_SUCH_DISTILLATION = "this distillation loss of PaddleClas is not supported"

ARCHS = Registry(
    "arch",
    package="ppcls.arch.backbone",
    fallback="ppcls.arch.further_models",
    common="ppcls.arch.options:ArchOptions",
)
NECKS = Registry("neck", package="ppcls.arch.neck")
LOSSES = Registry(
    "loss",
    package="ppcls.loss",
    refused={
        **dict.fromkeys(
            (
                "DistillationATLoss",
                "DistillationGuidedDMLLoss",
                "DistillationGuidedKLDivLoss",
            ),
            _NO_SUCH_DISTILLATION,
        ),
        **dict.fromkeys(
            (
                "CenterLoss",
                "ContrastiveLoss",
                "ContrastiveLoss_XBM",
                "DCHLoss",
                "DSHSDLoss",
                "EmlLoss",
                "LCDSHLoss",
                "MSMLoss",
                "NpairsLoss",
                "PairwiseCosface",
                "SupConLoss",
                "TriHardLoss",
                "TripletAngularMarginLoss",
                "TripletLoss",
                "TripletLossV2",
            ),
            RETRIEVAL,
        ),
    },
)
METRICS = Registry(
    "metric",
    package="ppcls.metric",
    refused=dict.fromkeys(("Precisionk", "Recallk", "mINP"), RETRIEVAL),
)
OPTIMIZERS = Registry(
    "optimizer",
    package="ppcls.optimizer",
    runtime=("parameters", "learning_rate", "decay", "grad_clip"),
    common="ppcls.optimizer.options:OptimizerOptions",
)
LRS = Registry(
    "lr",
    package="ppcls.optimizer",
    runtime=("epochs", "steps_per_epoch"),
    common="ppcls.optimizer.options:ScheduleOptions",
)
DATASETS = Registry(
    "dataset",
    package="ppcls.data.dataset",
    runtime=("seed",),
    refused={
        "CustomLabelDataset": "labels that a transform makes up are not supported",
        **dict.fromkeys(
            (
                "AdaFaceDataset",
                "CompCars",
                "FiveValidationDataset",
                "ICartoonDataset",
                "LogoDataset",
                "MSMT17",
                "Market1501",
                "VeriWild",
            ),
            RETRIEVAL,
        ),
    },
)
SAMPLERS = Registry(
    "sampler",
    package="ppcls.data.sampler",
    runtime=("dataset", "seed", "rank", "world_size"),
    refused=dict.fromkeys(
        (
            "DistributedRandomIdentitySampler",
            "DomainShuffleBatchSampler",
            "NaiveIdentityBatchSampler",
            "PKSampler",
        ),
        RETRIEVAL,
    ),
)
TRANSFORMS = Registry("transform", package="ppcls.data.transform", trial={})
BATCH_TRANSFORMS = Registry(
    "batch transform",
    package="ppcls.data.batch_transform",
    runtime=("class_num",),
    trial={"class_num": 2},
)
POSTPROCESSES = Registry("postprocess", package="ppcls.inference.postprocess")

REGISTRIES = {
    registry.kind: registry
    for registry in (
        ARCHS,
        NECKS,
        LOSSES,
        METRICS,
        OPTIMIZERS,
        LRS,
        DATASETS,
        SAMPLERS,
        TRANSFORMS,
        BATCH_TRANSFORMS,
        POSTPROCESSES,
    )
}
