"""Paddle Serving's real server and client with a real export, each in a process of its own."""

import base64
import json
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from pathlib import Path

import pytest
import yaml

from ppcls.inference import Predictor
from tests.inference.small_model import (
    ARCH,
    TRANSFORMS,
    build_seeded,
    make_picture,
    run_script,
    to_jpeg,
    write_training_config,
)
from tests.serving.small_server import free_port

ROOT = Path(__file__).resolve().parent.parent.parent
FOLDER = ROOT / "deploy" / "paddleserving"
PYTHON = Path(os.environ.get("PPCLS_SERVING_ENV", ROOT / ".venv_serving")) / "bin" / "python"
ATOL = 2e-5

pytestmark = pytest.mark.skipif(
    not PYTHON.exists(),
    reason="needs the environment of Paddle Serving (deploy/paddleserving/setup_env.sh)",
)


def encoded(image):
    return base64.b64encode(image).decode()


@pytest.fixture(scope="module")
def legacy_export(tmp_path_factory):
    folder = tmp_path_factory.mktemp("legacy")
    config = write_training_config(folder, build_seeded(ARCH), ARCH, TRANSFORMS, [3, 32, 32], 3)
    finished = run_script("tools/export_model.py", "-c", config, "--format", "legacy")
    assert finished.returncode == 0, finished.stderr
    return folder / "exported"


@pytest.fixture(scope="module")
def photos(tmp_path_factory):
    folder = tmp_path_factory.mktemp("photos")
    paths = [folder / f"{i}.jpg" for i in range(4)]
    for i, path in enumerate(paths):
        path.write_bytes(to_jpeg(make_picture(i)))
    return paths


@pytest.fixture(scope="module")
def expected(legacy_export, photos):
    """All classes of each photo, by Paddle Inference with oneDNN as in the service."""
    predictions = Predictor(legacy_export, "paddle", topk=10).predict(photos)
    assert len({prediction["class_ids"][0] for prediction in predictions}) > 1
    return predictions


class Service:
    """A running web_service.py."""

    def __init__(self, folder):
        config = yaml.safe_load((folder / "config.yml").read_text())
        self.http_port, self.rpc_port = config["http_port"], config["rpc_port"]
        self.log = folder / "log.txt"
        with self.log.open("w") as log:
            # In a session of its own: Paddle Serving kills its process group when it cannot start.
            self.process = subprocess.Popen(
                [PYTHON, FOLDER / "web_service.py", folder],
                stdout=log,
                stderr=log,
                start_new_session=True,
                env={**os.environ, "OMP_NUM_THREADS": "1"},
            )

    def post(self, body):
        """(status, document) of a request to the service."""
        data = body if isinstance(body, bytes) else json.dumps(body).encode()
        url = f"http://127.0.0.1:{self.http_port}/small/prediction"
        try:
            with urllib.request.urlopen(urllib.request.Request(url, data), timeout=30) as response:
                return response.status, json.load(response)
        except urllib.error.HTTPError as error:
            return error.code, json.load(error)

    def wait_ready(self, body):
        deadline = time.monotonic() + 90
        while True:
            try:
                return self.post(body)
            except (urllib.error.URLError, ConnectionError):
                assert self.process.poll() is None, self.log.read_text()[-2000:]
                assert time.monotonic() < deadline, self.log.read_text()[-2000:]
                time.sleep(0.2)

    def stop(self):
        """Exit code after SIGTERM; nothing may listen then."""
        self.process.send_signal(signal.SIGTERM)
        code = self.process.wait(30)
        for port in (self.http_port, self.rpc_port):
            with pytest.raises(ConnectionRefusedError):
                socket.create_connection(("127.0.0.1", port), timeout=5)
        return code


@pytest.fixture(scope="module")
def service(legacy_export, photos, tmp_path_factory):
    folder = tmp_path_factory.mktemp("serving")
    finished = run_script(
        "deploy/paddleserving/prepare.py",
        *("--model_dir", legacy_export, "--output", folder, "--name", "small"),
        *("--http_port", free_port(), "--rpc_port", free_port(), "--batch_size", 4),
    )
    assert finished.returncode == 0, finished.stderr
    service = Service(folder)
    try:
        service.wait_ready({"key": ["image"], "value": [encoded(photos[0].read_bytes())]})
        yield service
        assert service.stop() == 0
    finally:
        if service.process.poll() is None:
            os.killpg(service.process.pid, signal.SIGKILL)


def check(result, prediction, count):
    assert result["class_ids"] == prediction["class_ids"][:count]
    assert result["label_names"] == prediction["label_names"][:count]
    assert result["scores"] == pytest.approx(prediction["scores"][:count], abs=ATOL)


def test_http(service, photos, expected):
    for path, prediction in zip(photos, expected):
        status, answer = service.post({"key": ["image"], "value": [encoded(path.read_bytes())]})
        assert status == 200
        assert (answer["err_no"], answer["err_msg"]) == (0, "")
        fields = dict(zip(answer["key"], answer["value"]))
        assert fields["label"] == str(prediction["label_names"][:1])
        check(*json.loads(fields["result"]), prediction, 1)
        assert fields["prob"] == str(json.loads(fields["result"])[0]["scores"])


def test_wrong_requests(service, photos, expected):
    photo = encoded(photos[1].read_bytes())
    wrong = [
        ({"key": ["image"], "value": ["no base64!"]}, 422),
        ({"key": ["image"], "value": [encoded(b"no image")]}, 422),
        ({"key": ["image"], "value": [photo[: len(photo) // 2]]}, 422),
        ({"key": ["image"], "value": []}, 422),
        ({"key": [], "value": []}, 422),
        ({"key": ["a", "a"], "value": [photo, photo]}, 422),
        ({"key": ["image", "topk"], "value": [photo, "many"]}, 422),
        ({"key": ["image"], "value": ["http://127.0.0.1/a.jpg"]}, 403),
        ({"tensors": [{"name": "x", "elem_type": 13, "byte_data": photo}]}, 415),
    ]
    for body, number in wrong:
        status, answer = service.post(body)
        assert (status, answer["err_no"]) == (200, number), answer
        assert (answer["key"], answer["value"]) == ([], [])
        assert 5 < len(answer["err_msg"]) < 200
    # What is no request at all is refused by Paddle Serving's gateway.
    assert service.post(b"{")[0] == 400
    assert service.post({"key": "image", "value": photo})[0] == 400
    status, answer = service.post({"key": ["image"], "value": [photo]})
    check(*json.loads(answer["value"][2]), expected[1], 1)


@pytest.mark.parametrize("script", ["http_client.py", "rpc_client.py"])
def test_clients(service, photos, expected, script):
    where = {
        "http_client.py": ["--name", "small", "--url", f"http://127.0.0.1:{service.http_port}"],
        "rpc_client.py": ["--server", f"127.0.0.1:{service.rpc_port}"],
    }[script]
    python = PYTHON if script == "rpc_client.py" else sys.executable

    def run(*paths):
        return subprocess.run(
            [python, FOLDER / script, *where, "--topk", "3", *paths],
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )

    finished = run(*photos)
    assert finished.returncode == 0, finished.stderr
    lines = finished.stdout.splitlines()
    assert len(lines) == len(photos)
    for line, path, prediction in zip(lines, photos, expected):
        name, _, result = line.partition(": ")
        assert name == str(path)
        check(json.loads(result), prediction, 3)
    finished = run(photos[0], __file__)
    assert finished.returncode == 1
    assert "error 422" in finished.stderr


def test_exports_that_cannot_be_served(exported, tmp_path):
    finished = run_script(
        *("deploy/paddleserving/prepare.py", "--model_dir", exported, "--output", tmp_path / "a")
    )
    assert finished.returncode == 1
    assert "--format legacy" in finished.stderr
    assert not (tmp_path / "a").exists()
