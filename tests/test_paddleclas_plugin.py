"""Our models through the PyPI package `paddleclas`, in a process of its own."""

import subprocess
import sys

import pytest

PROGRAM = """
import paddle
from paddleclas.ppcls.arch import backbone, build_model

theirs = backbone.ResNet18
import ppcls.integrations.paddleclas
import ppcls.integrations.paddleclas  # once is enough, twice does no harm
from ppcls.arch import Model, list_models

assert backbone.ResNet18 is theirs
built = build_model({"Arch": {"name": "ResNet18", "class_num": 5}})
assert type(built).__module__.startswith("paddleclas."), type(built)

for name in list_models():
    assert getattr(backbone, name).__name__ == name
for name in ("DSNet_tiny", "TransXNet_T", "DWNet_tiny", "VOLO_D1", "SAN10_patchwise"):
    model = build_model({"Arch": {"name": name, "class_num": 5, "pretrained": False}})
    assert isinstance(model, Model), name
    assert model.class_num == 5
section = {"name": "SAN", "layers": [1, 0, 0, 0, 0], "class_num": 5, "use_sync_bn": False}
model = build_model({"Arch": section, "Global": {"device": "cpu"}})
model.eval()
assert model(paddle.ones([1, 3, 32, 32])).shape == [1, 5]
assert backbone.DSNet(class_num=3, depth=[1, 1, 1, 1]).class_num == 3
print("fine")
"""


def test_paddleclas_builds_our_models(repo_root):
    pytest.importorskip("paddleclas")
    result = subprocess.run(
        [sys.executable, "-c", PROGRAM], cwd=repo_root, capture_output=True, text=True, check=False
    )
    assert result.returncode == 0, result.stderr
    assert result.stdout.splitlines()[-1] == "fine"


def test_without_paddleclas_the_import_says_what_to_install(repo_root):
    program = "import sys\nsys.modules['paddleclas'] = None\nimport ppcls.integrations.paddleclas\n"
    result = subprocess.run(
        [sys.executable, "-c", program], cwd=repo_root, capture_output=True, text=True, check=False
    )
    assert result.returncode != 0
    assert 'pip install "logoclas[paddleclas]"' in result.stderr
