"""Operators on a batch. They are called as `operator(images, labels, rng)`.

images: (B, C, H, W) float32; labels: (B,) int64, or (B, class_num) float32 of a multi-label
dataset. They return images and soft labels (B, class_num) float32, also for a batch they leave as
it is. The images they are given are theirs: the result may be the same memory.
"""

from ppcls.data.batch_transform import fmix, mix  # noqa: F401  (registers the operators)
