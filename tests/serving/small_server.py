"""A small model, and real servers of it on the loopback."""

import base64
import http.client
import json
import os
import shutil
import socket
import threading
import time
from contextlib import contextmanager

import numpy as np
import onnx

from ppcls.serving.server import create_server, create_service
from ppcls.serving.settings import Settings


def write_model(path, class_num=10, best=None):
    """Means of 8x8 squares -> a linear layer -> softmax: fast, and different for every picture.

    Args:
        best: give only so many scores and classes.
    """
    weights = np.random.default_rng(0).normal(0, 1.5, (48, class_num)).astype(np.float32)
    constants = [onnx.numpy_helper.from_array(weights, "weights")]
    outputs = [onnx.helper.make_tensor_value_info("prob", onnx.TensorProto.FLOAT, ["N", class_num])]
    nodes = [
        onnx.helper.make_node("AveragePool", ["x"], ["means"], kernel_shape=[8, 8], strides=[8, 8]),
        onnx.helper.make_node("Flatten", ["means"], ["features"]),
        onnx.helper.make_node("MatMul", ["features", "weights"], ["logits"]),
        onnx.helper.make_node("Softmax", ["logits"], ["prob"], axis=1),
    ]
    if best is not None:
        nodes.append(onnx.helper.make_node("TopK", ["prob", "best"], ["scores", "ids"], axis=1))
        constants.append(onnx.numpy_helper.from_array(np.array([best], np.int64), "best"))
        outputs = [
            onnx.helper.make_tensor_value_info("scores", onnx.TensorProto.FLOAT, ["N", best]),
            onnx.helper.make_tensor_value_info("ids", onnx.TensorProto.INT64, ["N", best]),
        ]
    graph = onnx.helper.make_graph(
        nodes,
        "small",
        [onnx.helper.make_tensor_value_info("x", onnx.TensorProto.FLOAT, ["N", 3, 32, 32])],
        outputs,
        constants,
    )
    opset = [onnx.helper.make_opsetid("", 13)]
    onnx.save(onnx.helper.make_model(graph, opset_imports=opset, ir_version=8), str(path))


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


def free_port():
    """A port that nobody listens on."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return free.getsockname()[1]


@contextmanager
def running(model_dirs, predictor_options=None, grpc_port=None, **settings):
    """(client, service, server) of a server in a thread, stopped at the end."""
    settings = Settings(**{"poll_interval": 0, "decode_threads": 2, **settings})
    service = create_service(
        [str(folder) for folder in model_dirs],
        settings,
        predictor_options or {"engine": "onnxruntime"},
    )
    if settings.poll_interval:
        service.repository.watch(settings.poll_interval)
    server = create_server(service, port=0, drain_delay=0, grpc_port=grpc_port)
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


@contextmanager
def held(service):
    """The engine does not answer within this context, until what it yields is called."""
    with service.repository.lease() as model:
        gate = threading.Event()
        run = model._predictor.run

        def wait(images):
            gate.wait(20)
            return run(images)

        model._predictor.run = wait
        try:
            yield gate.set
        finally:
            gate.set()
            model._predictor.run = run


def replace_content(source, folder):
    """A new export into the same folder."""
    for path in source.iterdir():
        shutil.copy2(path, folder / path.name)
    os.utime(folder / "inference.yml", ns=(time.time_ns(), time.time_ns()))
