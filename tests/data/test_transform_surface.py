"""The operators of PaddleClas files, with the arguments those files use, on a real photo."""

from pathlib import Path

import numpy as np
import pytest
import yaml
from pictures import encode, make_picture

from ppcls.config import check_config
from ppcls.data.transform import build_transforms, complete_transforms
from ppcls.registry import BATCH_TRANSFORMS, TRANSFORMS, parse_spec

RECIPES = yaml.safe_load((Path(__file__).parent / "transform_surface.yaml").read_text())
#: What the 368 YAML files of PaddleClas for ImageNet and quick start use, counted over them; and
#: below the line, operators of its documentation.
USED = {
    "DecodeImage": "to_rgb channel_first to_np backend",
    "NormalizeImage": "scale mean std order channel_num output_fp16",
    "ResizeImage": "resize_short size interpolation backend",
    "CropImage": "size",
    "RandFlipImage": "flip_code",
    "RandCropImage": "size scale ratio interpolation backend use_log_aspect progress_size",
    "ToCHWImage": "",
    "TimmAutoAugment": "config_str interpolation img_size mean",
    "RandomErasing": "EPSILON sl sh r1 attempt use_log_aspect mode mean",
    "AutoAugment": "",
    "ColorJitter": "brightness contrast saturation hue",
    "RandAugmentV3": "num_layers magnitude",
    "RandAugmentV2": "num_layers magnitude progress_magnitude",
    "RandAugment": "num_layers magnitude",
    "CropImageAtRatio": "size pad interpolation",
    "Cutout": "n_holes length",
    "GridMask": "d1 d2 rotate ratio mode prob",
    "HideAndSeek": "",
    "PCALighting": "",
    "OpSampler": "MixupOperator CutmixOperator",
    "MixupOperator": "alpha",
    "CutmixOperator": "alpha",
    "FmixOperator": "alpha decay_power max_soft reformulate",
    # ---
    "Pad": "padding fill padding_mode backend",
    "RandCropImageV2": "size",
    "RandomRotation": "prob degrees interpolation",
    "RandomResizedCrop": "size scale ratio interpolation",
    "RandomCropImage": "size",
    "BlurImage": "ratio",
    "RandomGrayscale": "p",
    "ResizeKeepRatio": "size interpolation",
    "AugMix": "prob aug_prob_coeff mixture_width mixture_depth aug_severity",
}


def config(recipe) -> dict:
    dataset = {
        "name": "ImageNetDataset",
        "image_root": "./dataset/ILSVRC2012/",
        "cls_label_path": "./dataset/ILSVRC2012/train_list.txt",
        "transform_ops": recipe["transform_ops"],
        "batch_transform_ops": recipe.get("batch_transform_ops"),
    }
    split = {
        "dataset": dataset,
        "sampler": {"name": "DistributedBatchSampler", "batch_size": 4},
        "loader": {"num_workers": 0},
    }
    arch = {"name": "DSNet_tiny", "class_num": 10}
    infer = {"transforms": recipe["transform_ops"]}
    return {"Arch": arch, "DataLoader": {"Train": split, "Eval": split}, "Infer": infer}


@pytest.fixture(scope="module", params=["picture", "photo"])
def image_file(request) -> bytes:
    if request.param == "picture":
        return encode(make_picture(150, 110), "JPEG")
    return request.getfixturevalue("photos")[5]


@pytest.mark.parametrize("recipe", RECIPES.values(), ids=RECIPES)
def test_the_recipe_is_accepted(recipe):
    _, faults = check_config(config(recipe))
    assert faults == []


@pytest.mark.parametrize("recipe", RECIPES.values(), ids=RECIPES)
def test_the_recipe_gives_what_the_model_reads(recipe, image_file):
    pipeline = build_transforms(complete_transforms(recipe["transform_ops"])).at_epoch(0)
    images = [pipeline(image_file, np.random.default_rng(seed)) for seed in range(4)]
    for image in images:
        assert image.shape == tuple(recipe["shape"])
        assert image.dtype == recipe.get("dtype", "float32")
        assert np.isfinite(image).all()
    assert np.stack(images).astype(np.float32).std() > 0.1
    checked, _ = check_config(config(recipe))
    images, labels = np.stack(images), np.arange(4)
    for spec in checked["DataLoader"]["Train"].get("batch_transform_ops") or ():
        operator = BATCH_TRANSFORMS.build(spec, class_num=10)
        images, labels = operator(images, labels, np.random.default_rng(0))
        assert images.shape == (4, *recipe["shape"])
        assert np.allclose(labels.sum(axis=1), 1)


def test_the_recipes_cover_the_surface():
    covered = {}
    for recipe in RECIPES.values():
        for spec in [*recipe["transform_ops"], *recipe.get("batch_transform_ops", ())]:
            name, arguments = parse_spec(spec)
            covered.setdefault(name, set()).update(arguments)
            if name == "OpSampler":
                for inner, options in arguments.items():
                    covered.setdefault(inner, set()).update(options)
    for name, arguments in USED.items():
        assert set(arguments.split()) <= covered.get(name, {"-"}), name
    assert set(TRANSFORMS.names()) | set(BATCH_TRANSFORMS.names()) <= set(covered)


def test_a_wrong_argument_anywhere_is_found():
    """Each operator refuses an argument that it does not have."""
    for name in TRANSFORMS.names():
        recipe = {"transform_ops": [{name: {"no_such_argument": 1}}]}
        faults = check_config(config(recipe))[1]
        assert any(f"{name}.no_such_argument: unknown key" in fault for fault in faults), name
