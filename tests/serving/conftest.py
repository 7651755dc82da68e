"""Exports of two small models, their offline predictions, and real servers on the loopback."""

import base64
import http.client
import json
import shutil
import threading
import time
from contextlib import contextmanager

import pytest

pytest.importorskip("fastapi", reason="the server needs the extra [serve]")
pytest.importorskip("uvicorn", reason="the server needs the extra [serve]")
pytest.importorskip("prometheus_client", reason="the server needs the extra [serve]")

from ppcls.engine.exporter import export_model
from ppcls.inference import Predictor
from ppcls.serving.server import create_server, create_service
from ppcls.serving.settings import Settings
from tests.inference.small_model import ARCH, build_seeded, make_picture, new_description, to_jpeg


@pytest.fixture(scope="session")
def exported(tmp_path_factory):
    """The folder of an export for both engines."""
    folder = tmp_path_factory.mktemp("export") / "inference"
    export_model(build_seeded(ARCH), folder, new_description(), formats=("pir", "onnx"))
    return folder


@pytest.fixture(scope="session")
def other_exported(exported, tmp_path_factory):
    """The same weights under other names of classes, which say who answered."""
    folder = tmp_path_factory.mktemp("other") / "inference"
    shutil.copytree(exported, folder)
    new_description(label_names={i: f"other {i}" for i in range(10)}).write(folder)
    return folder


@pytest.fixture(scope="session")
def jpegs():
    """Twelve image files of different content."""
    return [to_jpeg(make_picture(seed)) for seed in range(12)]


@pytest.fixture(scope="session")
def offline(exported, jpegs):
    """What the predictor says about each of `jpegs`, all ten classes."""
    return Predictor(exported, "onnxruntime", topk=10).predict(jpegs)


class Client:
    """Plain HTTP requests to one server."""

    def __init__(self, port):
        self.port = port

    def send(self, method, path, body=None, headers=None, timeout=20):
        """(status, body, headers) of an answer."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=timeout)
        try:
            connection.request(method, path, body, headers or {})
            response = connection.getresponse()
            return response.status, response.read(), response.headers
        finally:
            connection.close()

    def post(self, path, document, headers=None):
        """(status, document) of a JSON request."""
        body = document if isinstance(document, (bytes, str)) else json.dumps(document)
        headers = {"Content-Type": "application/json", **(headers or {})}
        status, answer, _ = self.send("POST", path, body, headers)
        return status, json.loads(answer)

    def get(self, path, headers=None):
        """(status, document) of a GET."""
        status, answer, _ = self.send("GET", path, headers=headers)
        return status, json.loads(answer)

    def classify(self, image, topk=None):
        """The categories of an image file."""
        request = {"image": base64.b64encode(image).decode()}
        if topk is not None:
            request["topk"] = topk
        status, document = self.post("/image-classification", request)
        assert status == 200, document
        return document["result"]["categories"]


@contextmanager
def running(model_dirs, predictor_options=None, **settings):
    """(client, service, server) of a server in a thread, stopped at the end."""
    settings = Settings(**{"poll_interval": 0, "decode_threads": 2, **settings})
    service = create_service(
        [str(folder) for folder in model_dirs],
        settings,
        predictor_options or {"engine": "onnxruntime"},
    )
    if settings.poll_interval:
        service.repository.watch(settings.poll_interval)
    server = create_server(service, port=0, drain_delay=0)
    thread = threading.Thread(target=server.run, daemon=True)
    thread.start()
    deadline = time.monotonic() + 20
    while not server.started:
        assert time.monotonic() < deadline, "the server did not start"
        time.sleep(0.01)
    port = server.servers[0].sockets[0].getsockname()[1]
    try:
        yield Client(port), service, server
    finally:
        server.drain()
        thread.join(20)
        service.repository.close()
        assert not thread.is_alive()


@pytest.fixture(scope="module")
def server(exported):
    """A client of a server with default settings."""
    with running([exported]) as (client, _, _):
        yield client
