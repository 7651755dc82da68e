"""Multi-scale training: sizes travel from the sampler through the dataset to the batches."""

import numpy as np
import pytest
from pictures import RECIPE

from ppcls.data.dataset.multi_scale import MultiScaleDataset
from ppcls.data.loader import build_loader
from ppcls.data.randomness import SampleKey
from ppcls.errors import ConfigError


def make(folder, **options) -> MultiScaleDataset:
    options.setdefault("transform_ops", RECIPE)
    return MultiScaleDataset(str(folder), str(folder / "list.txt"), **options)


def test_the_key_says_the_size(picture_dataset):
    dataset = make(picture_dataset)
    assert dataset[SampleKey(0, 1, 0, (32, 64))].image.shape == (3, 32, 64)
    assert dataset[SampleKey(0, 1, 0, (96, 96))].image.shape == (3, 96, 96)
    assert dataset[1].image.shape == (3, 48, 48)


def test_other_arguments_stay(picture_dataset):
    resize = {"resize_short": 52, "interpolation": "bicubic", "backend": "pil"}
    dataset = make(picture_dataset, transform_ops=[{"ResizeImage": resize}, "RandFlipImage"])
    key = SampleKey(0, 1, 0, (40, 36))
    same = make(
        picture_dataset,
        transform_ops=[
            {"ResizeImage": {"size": [36, 40], "interpolation": "bicubic", "backend": "pil"}},
            "RandFlipImage",
        ],
    )
    assert np.array_equal(dataset[key].image, same[key._replace(size=None)].image)


def test_without_an_operator_that_has_a_size(picture_dataset):
    with pytest.raises(ConfigError, match="needs one of RandCropImage, ResizeImage, CropImage"):
        make(picture_dataset, transform_ops=["DecodeImage", "RandFlipImage"])


@pytest.mark.parametrize("num_workers", [0, 2])
def test_batches_of_a_loader(picture_dataset, num_workers):
    section = {
        "dataset": {
            "name": "MultiScaleDataset",
            "image_root": str(picture_dataset),
            "cls_label_path": str(picture_dataset / "list.txt"),
            "transform_ops": RECIPE,
        },
        "sampler": {
            "name": "MultiScaleSampler",
            "scales": [64, 32, 48],
            "first_bs": 3,
            "divided_factor": 16,
        },
        "loader": {"num_workers": num_workers},
    }
    loader = build_loader(section, "Train", class_num=5, seed=1)
    shapes = [tuple(batch.images.shape) for batch in loader]
    loader.close()
    assert len(shapes) == len(loader)
    assert set(shapes) <= {(3, 3, 64, 64), (12, 3, 32, 32), (5, 3, 48, 48)}
    assert len(set(shapes)) > 1
