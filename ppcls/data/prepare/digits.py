"""The handwritten digits that come with scikit-learn."""

from pathlib import Path

import numpy as np

from ppcls.data.prepare.lists import (
    Images,
    ListOptions,
    Prepared,
    free_parts,
    refuse_existing,
    write_lists,
)
from ppcls.errors import DataError

_SCALE = 4


def prepare_digits(output: Path, overwrite: bool = False) -> Prepared:
    """Writes the digits as PNG files, with lists.

    1797 images of 8x8 pixels of 17 greys (UCI "Optical Recognition of Handwritten Digits"),
    each pixel enlarged to 4x4; a fixed split into 1437 and 360, the same every time.

    Args:
        output: folder of the images and lists.
        overwrite: replace lists that exist; those of an earlier run always are.

    Raises:
        DataError: scikit-learn is not installed, or other lists exist.
    """
    try:
        from sklearn.datasets import load_digits
    except ImportError:
        raise DataError(
            "the digits come with scikit-learn, which is not installed: "
            "install the extra [quickstart] of this package, or `pip install scikit-learn`"
        ) from None
    from PIL import Image

    # The last one written: if it is there, so are the lists that this would write again.
    overwrite = overwrite or (output / "images" / "8" / "1796.png").is_file()
    refuse_existing(output, overwrite)
    digits = load_digits()
    names = []
    for index, (image, label) in enumerate(zip(digits.images, digits.target)):
        name = f"images/{label}/{index:04d}.png"
        pixels = np.round(image * (255 / 16)).astype(np.uint8)
        pixels = pixels.repeat(_SCALE, axis=0).repeat(_SCALE, axis=1)
        (output / name).parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(pixels).save(output / name)
        names.append(name)
    labels = np.asarray(digits.target, dtype=np.int64)
    classes = [str(name) for name in digits.target_names]
    images = Images(output, names, labels, classes, free_parts(len(names)))
    return write_lists(images, ListOptions(overwrite=True, check=False))
