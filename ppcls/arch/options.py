"""Keys of the `Arch` section that every model accepts besides its own arguments."""

from dataclasses import dataclass
from typing import Optional, Union


@dataclass(frozen=True)
class ArchOptions:
    """How `build_model` treats the model it has built."""

    #: Published weights (true), or those of a file (its path; `.pdparams`, which may be left out,
    #: `.safetensors`, or the authors' PyTorch checkpoint).
    pretrained: Union[bool, str] = False
    #: Load `pretrained` without its classifier, to fine-tune on other classes.
    ignore_head: bool = False
    #: Names of layers or parameters that are not trained, e.g. `patch_embed1`, `blocks?.0`.
    freeze: Optional[list[str]] = None
    #: Train the classifier only.
    linear_probe: bool = False
    #: Batch normalisation over all processes; needs GPUs.
    use_sync_bn: bool = False
    #: Return a mapping: `logits`, and under these names the outputs of sub-layers, written as
    #: `blocks1[0].conv1`; for losses that compare features.
    return_patterns: Optional[list[str]] = None
    #: Return feature levels, from fine to coarse, instead of logits.
    features_only: bool = False
    #: Which levels `features_only` returns: positions, negative ones from the coarsest; null
    #: returns all.
    out_indices: Optional[list[int]] = None
