"""A small DSNet, what leads to its exports, and pictures to predict."""

import importlib.util
import io
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import paddle
import pytest
import yaml
from PIL import Image

from ppcls.arch import build_model
from ppcls.inference.model_dir import Description

ARCH = {
    "name": "DSNet",
    "embed_dim": [8, 16, 24, 32],
    "depth": [1, 1, 1, 1],
    "num_heads": [1, 2, 3, 4],
    "downsamples": [4, 2, 1, 1],
    "class_num": 10,
}
TRANSFORMS = [
    {"DecodeImage": {"to_rgb": True, "channel_first": False}},
    {"ResizeImage": {"resize_short": 36}},
    {"CropImage": {"size": 32}},
    {
        "NormalizeImage": {
            "scale": "1.0/255.0",
            "mean": [0.485, 0.456, 0.406],
            "std": [0.229, 0.224, 0.225],
            "order": "",
        }
    },
    {"ToCHWImage": None},
]
#: Every engine, for parametrised tests.
ENGINES = [
    "paddle",
    "onnxruntime",
    pytest.param(
        "openvino",
        marks=pytest.mark.skipif(
            importlib.util.find_spec("openvino") is None, reason="OpenVINO is not installed"
        ),
    ),
]
LABELS = {i: f"class number {i}" for i in range(10)}


def build_seeded(arch, head_scale=0.03):
    """A model with graded probabilities.

    Without trained statistics in batch normalisation logits are in the hundreds, and every
    probability is 0 or 1; `head_scale` is the factor on the head's weights against that.
    """
    paddle.seed(1)
    model = build_model(arch)
    head = [p for p in model.parameters() if p.shape[-1:] == [arch["class_num"]] and p.ndim == 2]
    head[-1].set_value(head[-1] * head_scale)
    model.eval()
    return model


def new_description(**changes):
    settings = {
        "model_name": "DSNet",
        "image_shape": [3, 32, 32],
        "transform_ops": TRANSFORMS,
        "postprocess": {"name": "Topk", "topk": 3},
        "label_names": LABELS,
    }
    return Description(**{**settings, **changes})


def write_training_config(folder, model, arch, transforms, image_shape, topk):
    """Weights and a configuration of `model` as training leaves them; the configuration's path."""
    paddle.save(model.state_dict(), str(folder / "weights.pdparams"))
    names = folder / "labels.txt"
    names.write_text("".join(f"{i} class number {i}\n" for i in range(arch["class_num"])))
    config = {
        "Global": {
            "pretrained_model": str(folder / "weights"),
            "device": "cpu",
            "image_shape": image_shape,
            "save_inference_dir": str(folder / "exported"),
        },
        "Arch": arch,
        "Infer": {
            "transforms": transforms,
            "PostProcess": {"name": "Topk", "topk": topk, "class_id_map_file": str(names)},
        },
    }
    path = folder / "config.yaml"
    path.write_text(yaml.safe_dump(config, sort_keys=False))
    return path


def run_script(script, *arguments):
    """Runs a script of the checkout; returns the finished process with its text output."""
    root = Path(__file__).resolve().parent.parent.parent
    return subprocess.run(
        [sys.executable, str(root / script), *map(str, arguments)],
        capture_output=True,
        text=True,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        timeout=120,
        check=False,
    )


def random_batch(count, seed=5):
    """(count, 3, 32, 32) float32, as the model takes them."""
    return np.random.default_rng(seed).standard_normal((count, 3, 32, 32)).astype(np.float32)


def make_picture(seed, size=(60, 44)):
    """A coloured gradient with noise, RGB (H, W, 3) uint8."""
    rng = np.random.default_rng(seed)
    x, y = np.meshgrid(np.linspace(0, 1, size[0]), np.linspace(0, 1, size[1]))
    slopes = rng.uniform(-255, 255, (2, 3))
    picture = rng.uniform(0, 255, 3) + x[..., None] * slopes[0] + y[..., None] * slopes[1]
    return np.clip(picture + rng.normal(0, 20, picture.shape), 0, 255).astype(np.uint8)


def to_jpeg(picture):
    buffer = io.BytesIO()
    Image.fromarray(picture).save(buffer, "JPEG", quality=95)
    return buffer.getvalue()
