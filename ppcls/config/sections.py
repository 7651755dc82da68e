"""The sections of a configuration: one typed field, with a sentence, per key.

Sections that hold components (`Arch`, `Loss`, ...) refer to the components' own signatures. The
engine reads the plain settings through these classes: `GlobalOptions(**config["Global"])`.
"""

from dataclasses import dataclass, field
from typing import Literal, Optional, Union

from ppcls.config.types import (
    Component,
    ComponentList,
    NonNegativeInt,
    PositiveFloat,
    PositiveInt,
    Probability,
)

Device = Literal["cpu", "gpu", "xpu", "npu", "mlu", "gcu"]


@dataclass(frozen=True)
class GlobalOptions:
    """Settings of a run."""

    #: Prefix of a checkpoint to resume from, without suffix, e.g. `output/DSNet_tiny/latest`;
    #: `auto` is `latest` of this run's own folder, if it has been saved.
    checkpoints: Optional[str] = None
    #: Weights to start from: a path with or without `.pdparams`.
    pretrained_model: Optional[str] = None
    #: Folder under which `<Arch name>/` receives checkpoints, logs and the resolved configuration.
    output_dir: str = "./output"
    device: Device = "gpu"
    #: Save `epoch_N` every this many epochs (`latest` is saved after every epoch).
    save_interval: PositiveInt = 1
    #: Keep the newest so many of the `epoch_N`; null keeps all.
    keep_last: Optional[PositiveInt] = None
    #: Also save `latest` every this many training steps; 0 saves at epoch ends only.
    save_interval_steps: NonNegativeInt = 0
    eval_during_train: bool = True
    #: The first epoch that is evaluated.
    start_eval_epoch: NonNegativeInt = 0
    #: Evaluate every this many epochs.
    eval_interval: PositiveInt = 1
    epochs: PositiveInt = 120
    #: A log line every this many iterations.
    print_batch_step: PositiveInt = 10
    use_visualdl: bool = False
    #: Channels, height, width of the model's input.
    image_shape: tuple[PositiveInt, PositiveInt, PositiveInt] = (3, 224, 224)
    #: Accepted from PaddleClas files, which give `image_shape` its first number by this name.
    image_channel: Optional[PositiveInt] = None
    #: Where `tools/export_model.py` writes.
    save_inference_dir: str = "./inference"
    #: Train the graph that `paddle.jit.to_static` makes instead of eager code.
    to_static: bool = False
    #: Gradient accumulation: an optimizer step every this many iterations.
    update_freq: PositiveInt = 1
    #: What a loss that is not a number does: end the run, or cost its step only.
    on_nan: Literal["stop", "skip"] = "stop"
    #: With `on_nan: skip`, so many skipped steps in a row end the run.
    max_skips: PositiveInt = 10
    #: Seed of everything random; same seed, same run.
    seed: NonNegativeInt = 0
    #: Accepted from PaddleClas files and reported: DALI is not used, images go through the loader.
    use_dali: bool = False
    #: Images may have several classes each: probabilities are sigmoids, not a softmax.
    use_multilabel: bool = False
    eval_mode: Literal["classification"] = "classification"
    #: `progressive` and `efficientnetv2` are accepted from PaddleClas files: `progress_size` and
    #: `progress_magnitude` of transforms act wherever they are written.
    train_mode: Literal["classification", "progressive", "efficientnetv2"] = "classification"


@dataclass(frozen=True)
class AMPOptions:
    """Mixed precision."""

    use_amp: bool = True
    #: Computation type; null chooses float16. CPUs compute in float32.
    dtype: Optional[Literal["float16", "bfloat16"]] = None
    level: Literal["O1", "O2"] = "O1"
    #: Initial scale of the float16 loss.
    scale_loss: PositiveFloat = 65536.0
    use_dynamic_loss_scaling: bool = True
    use_promote: bool = True
    #: Evaluate in the computation type too.
    use_fp16_test: bool = False


@dataclass(frozen=True)
class EMAOptions:
    """Exponential moving average of the weights; its presence turns it on."""

    decay: Probability = 0.9999


@dataclass(frozen=True)
class LossSection:
    Train: Optional[ComponentList("loss")] = None
    Eval: Optional[ComponentList("loss")] = None


@dataclass(frozen=True)
class MetricSection:
    Train: Optional[ComponentList("metric")] = None
    Eval: Optional[ComponentList("metric")] = None


@dataclass(frozen=True)
class LoaderOptions:
    """How batches are made; none of it changes what is in them."""

    #: Worker processes; 0 loads in the training process itself.
    num_workers: NonNegativeInt = 4
    #: Hand batches over in shared memory (Linux; elsewhere, and if false, through a pipe).
    use_shared_memory: bool = True
    #: Batches that each worker may be ahead.
    prefetch_factor: PositiveInt = 2


@dataclass(frozen=True)
class LoaderSection:
    """One split of `DataLoader`."""

    dataset: Component("dataset")
    sampler: Component("sampler")
    loader: LoaderOptions = field(default_factory=LoaderOptions)
    batch_transform_ops: Optional[ComponentList("batch transform")] = None


@dataclass(frozen=True)
class DataLoaderSection:
    Train: Optional[LoaderSection] = None
    Eval: Optional[LoaderSection] = None


@dataclass(frozen=True)
class InferSection:
    """What `tools/infer.py` reads, and what an export carries as postprocess."""

    infer_imgs: Optional[Union[str, list[str]]] = None
    batch_size: PositiveInt = 1
    transforms: Optional[ComponentList("transform")] = None
    PostProcess: Optional[Component("postprocess")] = None


@dataclass(frozen=True)
class ConfigSections:
    """The whole configuration."""

    Arch: Component("arch")
    Global: GlobalOptions = field(default_factory=GlobalOptions)
    AMP: Optional[AMPOptions] = None
    EMA: Optional[EMAOptions] = None
    Loss: Optional[LossSection] = None
    Optimizer: Optional[Component("optimizer")] = None
    DataLoader: Optional[DataLoaderSection] = None
    Infer: Optional[InferSection] = None
    Metric: Optional[MetricSection] = None
