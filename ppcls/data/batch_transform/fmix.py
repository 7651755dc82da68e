"""Mixing images with masks of random, smooth shapes."""

import numpy as np

from ppcls.config.types import PositiveFloat, PositiveInt, Probability
from ppcls.data.batch_transform.mix import mix_images, mix_labels
from ppcls.registry import BATCH_TRANSFORMS


@BATCH_TRANSFORMS.register()
class FmixOperator:
    """FMix: a mask cut out of low-frequency noise (Harris et al. 2020, arXiv:2002.12047).

    Args:
        class_num: number of classes.
        alpha: the part that is kept is drawn from Beta(alpha, alpha), once per batch.
        decay_power: amplitudes of the noise fall as 1 / frequency^decay_power.
        max_soft: part of the mask, on either side of its edge, that is blended.
        reformulate: draw from Beta(alpha + 1, alpha), for losses of the image's own label only.
    """

    def __init__(
        self,
        class_num: PositiveInt,
        alpha: PositiveFloat = 1.0,
        decay_power: PositiveFloat = 3.0,
        max_soft: Probability = 0.0,
        reformulate: bool = False,
    ):
        self.class_num = class_num
        self.alpha = alpha
        self.decay_power = decay_power
        self.max_soft = max_soft
        self.reformulate = reformulate

    def __call__(
        self, images: np.ndarray, labels: np.ndarray, rng: np.random.Generator
    ) -> "tuple[np.ndarray, np.ndarray]":
        order = rng.permutation(len(images))
        kept = rng.beta(self.alpha + self.reformulate, self.alpha)
        mask = self._mask(low_frequency_noise(images.shape[2:], self.decay_power, rng), kept)
        mix_images(images, order, mask)
        return images, mix_labels(labels, order, mask.mean(), self.class_num)

    def _mask(self, noise: np.ndarray, kept: float) -> np.ndarray:
        """(H, W) in 0..1: 1 at the highest `kept` part of the noise, 0 elsewhere."""
        size = noise.size
        soft = int(size * min(self.max_soft, kept, 1 - kept))
        edge = round(size * kept)
        low, high = max(edge - soft, 0), min(edge + soft, size)
        values = np.zeros(size, dtype=np.float32)
        values[:low] = 1
        values[low:high] = np.linspace(1, 0, high - low)
        mask = np.empty(size, dtype=np.float32)
        mask[np.argsort(noise, axis=None)[::-1]] = values
        return mask.reshape(noise.shape)


def low_frequency_noise(
    shape: "tuple[int, int]", decay_power: float, rng: np.random.Generator
) -> np.ndarray:
    """(H, W) of real noise whose amplitude falls with the frequency."""
    height, width = shape
    frequency = np.hypot(np.fft.fftfreq(height)[:, None], np.fft.rfftfreq(width)[None, :])
    amplitude = np.maximum(frequency, 1 / max(shape)) ** -decay_power
    phases = rng.standard_normal((2, *frequency.shape))
    return np.fft.irfft2(amplitude * (phases[0] + 1j * phases[1]), s=shape)
