"""Operators that change in the course of training."""

import pytest
from pictures import make_picture

from ppcls.data.loader import build_loader
from ppcls.data.transform import build_transforms
from ppcls.data.transform.progress import stage

PICTURE = make_picture(120, 90)


def paddleclas_stage(epoch, epochs, stages):
    """PaddleClas counts epochs from 1 and moves on after `int(epochs * part)` of them."""
    ends = [int(epochs * (number + 1) / stages) for number in range(stages)]
    return sum(epoch + 1 > end for end in ends)


@pytest.mark.parametrize("epochs", [1, 3, 4, 7, 100, 350])
@pytest.mark.parametrize("stages", [1, 3, 4])
def test_stages_are_those_of_paddleclas(epochs, stages):
    ours = [stage(epoch, epochs, stages) for epoch in range(epochs)]
    assert ours == [paddleclas_stage(epoch, epochs, stages) for epoch in range(epochs)]
    assert max(ours) == stages - 1


def test_the_crop_grows_with_the_epochs():
    pipeline = build_transforms(
        [{"RandCropImage": {"size": 10, "progress_size": [8, [16, 12], 32]}}]
    )
    pipeline.epochs = 6
    shapes = [pipeline.at_epoch(epoch)(PICTURE).shape[:2] for epoch in range(6)]
    assert shapes == [(8, 8), (8, 8), (12, 16), (12, 16), (32, 32), (32, 32)]
    # The pipeline itself stays as it is: the epoch is in the key, not in the state.
    assert pipeline(PICTURE).shape[:2] == (10, 10)


def test_the_magnitude_grows_with_the_epochs():
    pipeline = build_transforms([{"RandAugmentV2": {"progress_magnitude": [5, 8, 10]}}])
    pipeline.epochs = 3
    magnitudes = [pipeline.at_epoch(epoch).operators[0].magnitude for epoch in range(3)]
    assert magnitudes == [5, 8, 10]


def test_without_such_operators_nothing_is_built_anew():
    pipeline = build_transforms([{"ResizeImage": {"size": 8}}, "ToCHWImage"])
    assert pipeline.at_epoch(3) is pipeline


@pytest.mark.parametrize("num_workers", [0, 1])
def test_the_loader_gives_each_epoch_its_size(picture_dataset, num_workers):
    section = {
        "dataset": {
            "name": "ImageNetDataset",
            "image_root": str(picture_dataset),
            "cls_label_path": str(picture_dataset / "list.txt"),
            "transform_ops": [{"RandCropImage": {"size": 8, "progress_size": [16, 24]}}],
        },
        "sampler": {"name": "DistributedBatchSampler", "batch_size": 19},
        "loader": {"num_workers": num_workers},
    }
    loader = build_loader(section, "Train", class_num=5, epochs=4)
    sides = []
    for epoch in (0, 1, 2, 3, 1):  # Going back is what a resumed run does.
        loader.set_epoch(epoch)
        sides.append({tuple(batch.images.shape[2:]) for batch in loader})
    loader.close()
    assert sides == [{(16, 16)}, {(16, 16)}, {(24, 24)}, {(24, 24)}, {(16, 16)}]
