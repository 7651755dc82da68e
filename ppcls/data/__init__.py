"""From list files and images to batches.

`transform`, `dataset`, `batch_transform` and `sampler` work on NumPy arrays and do not import
Paddle; `loader` makes the tensors.
"""
