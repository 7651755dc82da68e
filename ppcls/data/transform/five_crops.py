"""Five views of an image instead of one, for evaluation."""

from typing import Optional, Union

import numpy as np

from ppcls.data.transform.crop import CropImage
from ppcls.data.transform.pipeline import Pipeline
from ppcls.errors import ConfigError

#: Views of an image that `FiveCrops` gives.
FIVE = 5


class FiveCrops(Pipeline):
    """A pipeline that cuts out the four corners and the centre where it cut out the centre.

    It gives (5, C, H, W): upper left, upper right, lower left, lower right, centre; the operators
    after `CropImage` are applied to each. Krizhevsky et al. 2012, section 4.1.

    Args:
        pipeline: one with a single `CropImage`.

    Raises:
        ConfigError: it has none, or several.
    """

    def __init__(self, pipeline: Pipeline):
        super().__init__(pipeline.operators)
        names = [type(operator).__name__ for operator in self.operators]
        places = [n for n, operator in enumerate(self.operators) if isinstance(operator, CropImage)]
        if len(places) != 1:
            raise ConfigError(
                "crops are taken where the preprocessing of evaluation has its CropImage, after "
                f"the image has been resized; of {', '.join(names)}, {len(places)} are CropImage"
            )
        (place,) = places
        self._crop = self.operators[place]
        self._before = Pipeline(self.operators[:place])
        self._after = Pipeline(self.operators[place + 1 :])

    def __call__(
        self, image: Union[bytes, np.ndarray], rng: Optional[np.random.Generator] = None
    ) -> np.ndarray:
        if rng is None:
            rng = np.random.default_rng(0)
        image = self._before(image, rng)
        height, width = image.shape[:2]
        centre = self._crop.part(width, height)
        right, bottom = width - centre.width, height - centre.height
        corners = [(0, 0), (right, 0), (0, bottom), (right, bottom), (centre.left, centre.top)]
        views = [image[y : y + centre.height, x : x + centre.width] for x, y in corners]
        return np.stack([self._after(view, rng) for view in views])

    def at_epoch(self, epoch: int) -> "FiveCrops":
        return self
