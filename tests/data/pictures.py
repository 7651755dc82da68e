"""Pictures, files and recipes that the tests of `ppcls.data` share."""

import io
from pathlib import Path

import numpy as np
from PIL import Image

RECIPE = [
    {"DecodeImage": {"to_rgb": True, "channel_first": False}},
    {"RandCropImage": {"size": 48, "interpolation": "bicubic", "backend": "pil"}},
    {"RandFlipImage": {"flip_code": 1}},
    {
        "TimmAutoAugment": {
            "config_str": "rand-m9-mstd0.5-inc1",
            "interpolation": "bicubic",
            "img_size": 48,
        }
    },
    {
        "NormalizeImage": {
            "scale": "1.0/255.0",
            "mean": [0.485, 0.456, 0.406],
            "std": [0.229, 0.224, 0.225],
            "order": "",
        }
    },
    {
        "RandomErasing": {
            "EPSILON": 0.25,
            "sl": 0.02,
            "sh": 1 / 3,
            "r1": 0.3,
            "attempt": 10,
            "use_log_aspect": True,
            "mode": "pixel",
        }
    },
    {"ToCHWImage": None},
]
"""The training operators of the DSNet recipe, at 48 pixels."""

MIX = [
    {
        "OpSampler": {
            "MixupOperator": {"alpha": 0.8, "prob": 0.5},
            "CutmixOperator": {"alpha": 1.0, "prob": 0.4},
        }
    }
]


def make_picture(width: int, height: int, seed: int = 0) -> np.ndarray:
    """A smooth colour picture with some noise, (height, width, 3) uint8."""
    rng = np.random.default_rng(seed)
    coarse = rng.integers(0, 256, (4, 5, 3), dtype=np.uint8)
    smooth = np.asarray(Image.fromarray(coarse).resize((width, height), Image.Resampling.BICUBIC))
    noisy = smooth.astype(int) + rng.integers(-9, 10, smooth.shape)
    return np.clip(noisy, 0, 255).astype(np.uint8)


def encode(image, format: str, **options) -> bytes:
    """An array or Pillow image as the bytes of a file."""
    if isinstance(image, np.ndarray):
        image = Image.fromarray(image)
    file = io.BytesIO()
    image.save(file, format, **options)
    return file.getvalue()


def write_dataset(folder: Path, count: int, classes: int = 5, size: "tuple[int, int]" = (70, 60)):
    """Writes `count` JPEG pictures and `list.txt`; label i % classes."""
    lines = []
    for index in range(count):
        name = f"picture {index}.jpg"
        (folder / name).write_bytes(encode(make_picture(*size, seed=index), "JPEG", quality=90))
        lines.append(f"{name} {index % classes}\n")
    (folder / "list.txt").write_text("".join(lines))
