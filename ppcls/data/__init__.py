"""From list files and images to batches.

`transform`, `dataset` and `batch_transform` work on NumPy arrays and do not import Paddle;
`loader` makes the tensors.
"""

from ppcls.data import sampler  # noqa: F401  (registers the samplers)
