"""Malformed, oversized and slow requests: a sentence and a status, never a traceback or a hang."""

import base64
import http.server
import importlib.util
import io
import json
import socket
import struct
import subprocess
import sys
import threading
import time
import zlib
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from PIL import Image

from ppcls.inference import Predictor
from tests.inference.small_model import make_picture
from tests.serving.small_server import held, running

PADDLEX = "/image-classification"
SERVING = "/small/prediction"
KSERVE = "/v2/models/small/infer"


def encoded(image):
    return base64.b64encode(image).decode()


def png_header(width, height):
    """A PNG file that claims a size and holds no pixels."""

    def chunk(kind, data):
        checksum = struct.pack(">I", zlib.crc32(kind + data))
        return struct.pack(">I", len(data)) + kind + data + checksum

    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IEND", b"")


def tensor(**changes):
    return {
        "inputs": [
            {"name": "x", "shape": [1, 3, 32, 32], "datatype": "FP32", "data": [], **changes}
        ]
    }


ZEROS = np.zeros((1, 3, 32, 32)).tolist()
TRUNCATED = "truncated"  # replaced by half of a photo

MALFORMED = [
    (PADDLEX, b"", 400),
    (PADDLEX, b"{", 400),
    (PADDLEX, b"\xff\xfe\x00", 400),
    (PADDLEX, b"[" * 100_000, 400),
    (PADDLEX, b'{"image": NaN}', 422),
    (PADDLEX, [], 422),
    (PADDLEX, {}, 422),
    (PADDLEX, {"image": None}, 422),
    (PADDLEX, {"image": 7}, 422),
    (PADDLEX, {"image": ["a"]}, 422),
    (PADDLEX, {"image": ""}, 422),
    (PADDLEX, {"image": "no base64!"}, 422),
    (PADDLEX, {"image": "ü"}, 422),
    (PADDLEX, {"image": encoded(b"no image")}, 422),
    (PADDLEX, {"image": TRUNCATED}, 422),
    (PADDLEX, {"image": TRUNCATED, "topk": 0}, 422),
    (PADDLEX, {"image": TRUNCATED, "topk": "many"}, 422),
    (PADDLEX, {"image": TRUNCATED, "topk": 10**30}, 422),
    (PADDLEX, {"image": "http://127.0.0.1/a.jpg"}, 403),
    (PADDLEX, {"image": encoded(png_header(30_000, 30_000))}, 413),
    (PADDLEX, {"image": encoded(png_header(2**31 - 1, 2**31 - 1))}, 413),
    (PADDLEX, {"image": encoded(png_header(20, 20))}, 422),
    (PADDLEX + "?model=nothing", {"image": "a"}, 404),
    (PADDLEX + "?version=two", {"image": "a"}, 404),
    (PADDLEX + "?topk=-1", {"image": "a"}, 422),
    (SERVING, {"key": ["image"]}, 422),
    (SERVING, {"key": [], "value": []}, 422),
    (SERVING, {"key": ["image"], "value": []}, 422),
    (SERVING, {"key": ["a", "a"], "value": ["", ""]}, 422),
    (SERVING, {"key": "image", "value": "a"}, 422),
    (SERVING, {"key": ["image"], "value": [TRUNCATED]}, 422),
    (SERVING, {"key": ["image", "topk"], "value": [TRUNCATED, "x"]}, 422),
    (SERVING, {"key": [str(i) for i in range(200)], "value": ["aaaa"] * 200}, 413),
    ("/nothing/prediction", {"key": ["image"], "value": ["a"]}, 404),
    (KSERVE, b"{", 400),
    (KSERVE, {"inputs": []}, 422),
    (KSERVE, tensor(), 400),
    (KSERVE, tensor(name="y"), 400),
    (KSERVE, tensor(datatype="FP128"), 400),
    (KSERVE, tensor(datatype="INT8"), 400),
    (KSERVE, tensor(data=None), 400),
    (KSERVE, tensor(data=["a"]), 400),
    (KSERVE, tensor(data=[{}]), 400),
    (KSERVE, tensor(data=[[1, 2], [3]]), 400),
    (KSERVE, tensor(data=[10**400]), 400),
    (KSERVE, tensor(shape=[]), 400),
    (KSERVE, tensor(shape=[0, 3, 32, 32]), 400),
    (KSERVE, tensor(shape=[-1, 3, 32, 32], data=ZEROS), 400),
    (KSERVE, tensor(shape=[10**30, 3, 32, 32]), 400),
    (KSERVE, tensor(shape=[3, 1, 32, 32], data=ZEROS), 422),
    (KSERVE, tensor(data=[None] * 3072), 422),
    (KSERVE, tensor(data=[1e300] * 3072), 422),
    (KSERVE, {**tensor(data=ZEROS), "outputs": [{"name": "nothing"}]}, 400),
    (KSERVE, {**tensor(data=ZEROS), "parameters": {"topk": 0}}, 422),
    (KSERVE, tensor(name="image", shape=[1], datatype="BYTES", data=[7]), 400),
    (KSERVE, tensor(name="image", shape=[2], datatype="BYTES", data=["a"]), 400),
    (KSERVE, tensor(name="image", shape=[1], datatype="BYTES", data=[TRUNCATED]), 422),
    ("/v2/models/small/versions/9/infer", tensor(data=ZEROS), 404),
    ("/v2/models/small/versions/%2e%2e/infer", tensor(data=ZEROS), 404),
    ("/v2/nothing", {}, 404),
    ("/nothing", {}, 404),
]


def message_of(path, document):
    """The error's text, in the form of the path's protocol."""
    if path.startswith("/v2"):
        assert set(document) == {"error"}
        return document["error"]
    if path.endswith("/prediction"):
        assert (document["key"], document["value"]) == ([], [])
        return document["err_msg"]
    assert set(document) == {"logId", "errorCode", "errorMsg"}
    return document["errorMsg"]


def test_malformed_requests(server, jpegs, offline):
    half = encoded(jpegs[0][: len(jpegs[0]) // 2])
    for path, document, expected in MALFORMED:
        if not isinstance(document, bytes):
            document = json.dumps(document).replace(f'"{TRUNCATED}"', f'"{half}"').encode()
        status, answer = server.post(path, document)
        assert status == expected, (path, document[:200], answer)
        message = message_of(path, answer)
        assert 5 < len(message) < 400, message
        assert "Traceback" not in message
        assert "File " not in message
    assert server.classify(jpegs[0], 1)[0]["id"] == offline[0]["class_ids"][0]


def test_malformed_forms_and_methods(server, jpegs):
    for kind in ("multipart/form-data", "multipart/form-data; boundary=XX"):
        for body in (b"", b"--XX", b"--XX\r\n\r\n", b"--XX\r\nContent-Disposition: x\r\n\r\na"):
            status, answer, _ = server.send("POST", PADDLEX, body, {"Content-Type": kind})
            assert status in (400, 422), answer
            assert json.loads(answer)["errorCode"] == status
    status, answer, headers = server.send("GET", PADDLEX)
    assert status == 405
    assert headers["Allow"] == "POST"
    assert json.loads(answer)["errorCode"] == 405
    body = json.dumps(tensor(data=ZEROS))
    for headers, expected in (
        ({"Content-Encoding": "gzip"}, 415),
        ({"Inference-Header-Content-Length": "-5"}, 400),
        ({"Inference-Header-Content-Length": "99999999"}, 400),
        ({"Inference-Header-Content-Length": str(len(body) - 1)}, 400),
        ({"X-Timeout-Ms": "soon"}, 400),
    ):
        status, answer, _ = server.send("POST", KSERVE, body, headers)
        assert status == expected, answer


def test_large_bodies_and_images(exported, jpegs, offline):
    picture = Image.fromarray(np.zeros((200, 200, 3), np.uint8))
    buffer = io.BytesIO()
    picture.save(buffer, "JPEG")
    with running([exported], max_body_bytes=10_000, max_pixels=20_000) as (client, _, _):
        status, answer, _ = client.send("POST", PADDLEX, b"a" * 3_000_000)
        assert status == 413, answer
        # Without a length in advance, too.
        chunks = (b"a" * 5000 for _ in range(20))
        assert client.send("POST", PADDLEX, chunks)[0] == 413
        status, document = client.post(PADDLEX, {"image": encoded(buffer.getvalue())})
        assert status == 413
        assert "200x200" in document["errorMsg"]
        assert client.classify(jpegs[1], 1)[0]["id"] == offline[1]["class_ids"][0]


@pytest.mark.parametrize(
    "image",
    [
        b"\xff\xd8\xff" + bytes(11_000_000) + b"\xff\xd9",
        b"GIF89a" + bytes(11_000_000),
        b"GIF89a" + bytes(7) + b"!\xf9\1a" * 2_000_000,
    ],
    ids=["jpeg", "gif", "gif extensions"],
)
def test_images_without_an_image_cost_little(server, image):
    # Pillow would look for a header byte by byte, for several seconds.
    started = time.process_time()
    status, answer, _ = server.send("POST", PADDLEX, image, {"Content-Type": "image/x"})
    assert status == 422, answer
    assert time.process_time() - started < 1


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "GIF", "WEBP", "TIFF", "BMP"])
def test_kinds_of_images(server, exported, kind):
    buffer = io.BytesIO()
    frames = [Image.fromarray(make_picture(seed)) for seed in range(2)]
    several = {"save_all": True, "append_images": frames[1:]} if kind in ("GIF", "WEBP") else {}
    frames[0].save(buffer, kind, **several)
    expected = Predictor(exported, "onnxruntime", topk=1).predict(buffer.getvalue())
    categories = server.classify(buffer.getvalue(), 1)
    assert categories[0]["id"] == expected[0]["class_ids"][0]


def read_all(connection):
    """What the server sends until it closes the connection."""
    received = b""
    while data := connection.recv(65536):
        received += data
    return received


def test_slow_and_vanishing_clients(exported, jpegs, offline):
    with running([exported], body_timeout=0.5) as (client, _, _):
        head = b"POST /image-classification HTTP/1.1\r\nHost: a\r\n"
        connections = []
        for begun in (b"", b"POST /im", head, head + b"Content-Length: 100\r\n\r\n{"):
            connections.append(socket.create_connection(("127.0.0.1", client.port), timeout=10))
            connections[-1].sendall(begun)
        vanishing = socket.create_connection(("127.0.0.1", client.port))
        vanishing.sendall(head + b"Content-Length: 100\r\n\r\n{")
        vanishing.close()
        half_closed = socket.create_connection(("127.0.0.1", client.port), timeout=10)
        half_closed.sendall(head + b"Content-Length: 100\r\n\r\n{")
        half_closed.shutdown(socket.SHUT_WR)
        assert client.classify(jpegs[2], 1)[0]["id"] == offline[2]["class_ids"][0]
        # All are closed by the server; the one whose request began is told why.
        answers = [read_all(connection) for connection in connections]
        assert answers[:3] == [b"", b"", b""]
        assert answers[3].startswith(b"HTTP/1.1 408")
        read_all(half_closed)
        for connection in [*connections, half_closed]:
            connection.close()


def test_full_queue(exported, jpegs, offline):
    with running([exported], queue_size=4, max_batch_size=2) as (client, service, _):
        body = json.dumps({"image": encoded(jpegs[0]), "topk": 10})
        with ThreadPoolExecutor(12) as pool:
            with held(service):
                answers = [pool.submit(client.send, "POST", PADDLEX, body) for _ in range(12)]
                # Four have room; the others are refused at once.
                deadline = time.monotonic() + 10
                while sum(answer.done() for answer in answers) < 8:
                    assert time.monotonic() < deadline
                    time.sleep(0.01)
            results = [answer.result() for answer in answers]
        refused = [result for result in results if result[0] == 429]
        assert len(refused) == 8
        assert all(result[2]["Retry-After"] == "1" for result in refused)
        for status, answer, _ in results:
            if status == 200:
                top = json.loads(answer)["result"]["categories"][0]
                assert top["id"] == offline[0]["class_ids"][0]
        assert sorted({result[0] for result in results}) == [200, 429]
        assert client.classify(jpegs[0], 1)


def test_too_many_requests(exported, jpegs):
    with running([exported], max_requests=1) as (client, service, _):
        body = json.dumps({"image": encoded(jpegs[0])})
        with held(service) as release, ThreadPoolExecutor(1) as pool:
            first = pool.submit(client.send, "POST", PADDLEX, body)
            deadline = time.monotonic() + 10
            status = 200
            while status != 503:
                assert time.monotonic() < deadline
                status, _, headers = client.send("GET", "/models")
            assert headers["Retry-After"] == "1"
            # Probes are answered at any load.
            assert client.get("/v2/health/live")[0] == 200
            release()
            assert first.result()[0] == 200


def test_deadlines(exported, jpegs):
    with running([exported], timeout=3) as (client, service, _):
        request = {"image": encoded(jpegs[0])}
        with held(service):
            started = time.monotonic()
            assert client.post(PADDLEX, request, {"X-Timeout-Ms": "50"})[0] == 504
            assert time.monotonic() - started < 3
            status, document = client.post(
                SERVING, {"key": ["image"], "value": [encoded(jpegs[0])]}
            )
            assert (status, document["err_no"]) == (504, 504)
            assert (
                client.post(KSERVE, {**tensor(data=ZEROS), "parameters": {"timeout": 9000}})[0]
                == 504
            )
        assert client.post(PADDLEX, request)[0] == 200
        with service.repository.lease() as model:
            assert model._batcher.admitted == 0


def test_keys(exported, jpegs):
    with running([exported], api_keys=("one", "two")) as (client, _, _):
        request = {"image": encoded(jpegs[0])}
        for headers in ({}, {"X-API-Key": "three"}, {"Authorization": "Bearer "}):
            status, document = client.post(PADDLEX, request, headers)
            assert status == 401
            assert "key" in document["errorMsg"]
        for headers in ({"X-API-Key": "two"}, {"Authorization": "Bearer one"}):
            assert client.post(PADDLEX, request, headers)[0] == 200
        assert client.send("GET", "/metrics")[0] == 401
        assert client.get("/v2/health/ready")[0] == 200


def test_addresses_of_images(exported, jpegs, offline):
    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self):
            place = {"/a.jpg": 200, "/away": 302}.get(self.path, 404)
            self.send_response(place)
            self.send_header("Location", f"http://localhost:{self.server.server_port}/a.jpg")
            self.end_headers()
            if place == 200:
                self.wfile.write(jpegs[5])

        def log_message(self, *arguments):
            pass

    files = http.server.HTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=files.serve_forever, daemon=True).start()
    host = f"127.0.0.1:{files.server_port}"
    try:
        with running([exported], url_hosts=(host,)) as (client, _, _):

            def status_of(url):
                return client.post(PADDLEX, {"image": url, "topk": 1})[0]

            status, document = client.post(PADDLEX, {"image": f"http://{host}/a.jpg", "topk": 1})
            assert status == 200
            top = document["result"]["categories"][0]
            assert top["id"] == offline[5]["class_ids"][0]
            assert status_of(f"http://{host}/missing.jpg") == 422
            assert status_of(f"http://{host}/away") == 422
            assert status_of(f"http://localhost:{files.server_port}/a.jpg") == 403
            assert status_of(f"http://{host}@localhost/a.jpg") == 403
            assert status_of("http://[::1/a.jpg") == 422
            assert status_of("file:///etc/passwd") == 422
    finally:
        files.shutdown()
        files.server_close()


@pytest.mark.parametrize("fault", [RuntimeError("secret detail"), MemoryError()])
def test_internal_errors_stay_inside(exported, jpegs, fault):
    def fail(images):
        raise fault

    with running([exported]) as (client, service, _):
        with service.repository.lease() as model:
            model._predictor.run, run = fail, model._predictor.run
        status, document = client.post(PADDLEX, {"image": encoded(jpegs[0])})
        assert status == 500
        assert document["errorMsg"] == "internal error; the server's log says more"
        model._predictor.run = run
        assert client.classify(jpegs[0])


def test_a_flood_of_malformed_requests(exported, repo_root):
    """A short form of the benchmark: no crash, hang, traceback, or leak of files and threads."""
    finished = subprocess.run(
        [
            *(sys.executable, "benchmarks/serving_faults.py", exported, "--count", "100"),
            *([] if importlib.util.find_spec("grpc") else ["--no_grpc"]),
        ],
        cwd=repo_root,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert finished.returncode == 0, finished.stdout + finished.stderr
