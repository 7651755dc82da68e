"""Installs LoGoClas. Paddle is not a dependency: the build (CPU or GPU) is the user's choice."""

import re
from pathlib import Path

from setuptools import find_packages, setup

ROOT = Path(__file__).resolve().parent
VERSION = re.search(r'__version__ = "(.+)"', (ROOT / "ppcls" / "__init__.py").read_text()).group(1)

EXTRAS = {
    # paddleclas pins packages that have no builds for newer Pythons.
    "paddleclas": ["paddleclas>=2.6,<3; python_version < '3.12'"],
    "onnx": ["paddle2onnx>=2.0,<3", "onnx>=1.15,<2", "onnxslim>=0.1", "onnxruntime>=1.17,<2"],
    # What ONNX Runtime's quantisation needs besides.
    "int8": ["onnxruntime>=1.17,<2", "onnx>=1.15,<2", "ml_dtypes>=0.3,<0.6"],
    "openvino": ["openvino>=2024.0"],
    # Reading and writing .safetensors; PyTorch checkpoints need nothing.
    "convert": ["safetensors>=0.4"],
    "serve": [
        "fastapi>=0.110",
        "uvicorn>=0.29",
        "python-multipart>=0.0.9",
        "prometheus-client>=0.17",
        # For --grpc_port.
        "grpcio>=1.60",
        "protobuf>=4.22",
    ],
    "visualdl": ["visualdl>=2.5,<3"],
    "quickstart": ["scikit-learn>=1.2", "matplotlib>=3.6"],
    "dev": [
        *("pytest>=8", "pytest-xdist>=3.5", "ruff>=0.9", "safetensors>=0.4"),
        *("openvino>=2024.0", "ml_dtypes>=0.3,<0.6"),
        "tritonclient[grpc,http]>=2.40",
    ],
}
EXTRAS["dev"] += EXTRAS["serve"]

setup(
    name="logoclas",
    version=VERSION,
    description="Image classification with backbones that join local and global modelling, on "
    "PaddlePaddle",
    long_description=(ROOT / "README.md").read_text(encoding="utf-8"),
    long_description_content_type="text/markdown",
    license="Apache-2.0",
    python_requires=">=3.9",
    packages=find_packages(include=["ppcls", "ppcls.*"]),
    package_data={
        "ppcls": ["py.typed"],
        "ppcls.arch.layers.native": ["*.h", "*.cc", "*.cu"],
        "ppcls.serving": ["index.html"],
        "ppcls.data.transform.native": ["*.h", "*.cc"],
    },
    install_requires=[
        "numpy>=1.21",
        "opencv-python>=4.5",
        "pillow>=10.1",
        "pyyaml>=6",
        "tqdm>=4.60",
    ],
    extras_require=EXTRAS,
    entry_points={"console_scripts": ["ppcls=ppcls.commands:console"]},
    classifiers=[
        "Programming Language :: Python :: 3",
        "Topic :: Scientific/Engineering :: Image Recognition",
    ],
)
