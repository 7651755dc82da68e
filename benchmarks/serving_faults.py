"""A thousand malformed requests against `ppcls serve`: no crash, hang, traceback or leak.

    python benchmarks/serving_faults.py inference/ --count 1000
    pip install schemathesis; python benchmarks/serving_faults.py inference/ --schemathesis

Request number i is made from (seed, i): wrong JSON, types, base64, images, forms, tensors, HTTP and
gRPC, slow clients, half-closed and reset connections, a few of them at a time. Exits with 1 if

- an answer is a status of 500 or above other than 503 and 504, or holds a traceback,
- an answer to a whole request does not come within 20 s,
- the server logs an internal error, ends, or does not classify a photo as before,
- it holds more files or threads than before, or 64 MiB more memory (after warming up).
"""

import argparse
import base64
import contextlib
import io
import json
import random
import shutil
import socket
import struct
import subprocess
import sys
import tempfile
import threading
import time
import zlib
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, Optional
from urllib.request import Request, urlopen

import numpy as np
from PIL import Image
from serving_process import Usage, free_port, start, usage

BODY_TIMEOUT = 1.0
ANSWER_SECONDS = 20
MEBIBYTES = 64
#: Between them the memory of the server is looked at.
_PARTS = 4
#: Values that stand where others are expected.
WRONG_VALUES: "list[Any]" = [
    *(None, True, -1, 0, 10**30, 1e308, -0.0, "", "\0", "ü" * 50, "a" * 100_000, [], {}, [[[[]]]]),
    *([None] * 1000, {"a": {"b": {}}}, "http://127.0.0.1:1/", "data:,", float("nan"), "[" * 5000),
]
_POST = b"POST /image-classification HTTP/1.1\r\nHost: a\r\n"
_CHUNKED = b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n"
#: Whole requests that are no proper HTTP.
BROKEN_HTTP = [
    b"\0" * 100,
    b"GET\r\n\r\n",
    b"GET / HTTP/9.9\r\n\r\n",
    _POST + b"Content-Length: -5\r\n\r\n",
    _POST + b"Content-Length: 1e3\r\n\r\n",
    _POST + b"Content-Length: 5\r\nContent-Length: 6\r\n\r\n",
    _POST + b"Content-Length: 99999999999999999999\r\n\r\n",
    _CHUNKED + b"\r\nZZ\r\n",
    _CHUNKED + b"\r\nFFFFFFFFFFFFFFFFF\r\n",
    _CHUNKED + b"Content-Length: 3\r\n\r\n0\r\n\r\n",
    b"GET / HTTP/1.1\r\nHost: a\r\n" + b"X: " + b"a" * 200_000 + b"\r\n\r\n",
    b"GET / HTTP/1.1\r\nHost: a\r\n" + b"X: a\r\n" * 20_000 + b"\r\n",
    b"GET /" + b"%2e%2e/" * 5000 + b" HTTP/1.1\r\nHost: a\r\n\r\n",
    b"GET /\xff\xfe HTTP/1.1\r\nHost: a\r\n\r\n",
    b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
    b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + b"\0" * 200,
    b"GET / HTTP/1.1\r\nHost: a\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\r\n",
]


class Faults:
    """Makes and sends malformed requests to one server.

    Args:
        port, grpc_port: of the server.
        model: name of its model.
        shape: (C, H, W) of the model's input.
    """

    def __init__(self, port: int, grpc_port: Optional[int], model: str, shape: "list[int]"):
        self._port = port
        self._grpc_port = grpc_port
        self._model = model
        self._shape = shape
        self._lock = threading.Lock()
        self.kinds: Counter[str] = Counter()
        self.statuses: Counter[str] = Counter()
        self.problems: list[str] = []
        self.slowest = 0.0
        noise = np.random.default_rng(0).integers(0, 255, (64, 48, 3), dtype=np.uint8)
        self._images = [
            encode_image(noise, kind) for kind in ("JPEG", "PNG", "GIF", "WEBP", "TIFF")
        ]
        self._senders: list[Callable[[random.Random], None]] = [
            *(self.wrong_json, self.wrong_values, self.wrong_values, self.wrong_image),
            *(self.wrong_image, self.wrong_form, self.wrong_tensor, self.wrong_headers),
            *(self.broken_http, self.vanishing, self.slow),
        ]
        if grpc_port is not None:
            self._senders += [self.wrong_grpc, self.no_grpc]

    def send(self, seed: int, number: int) -> None:
        """Sends request `number`."""
        rng = random.Random(f"{seed} {number}")
        sender = self._senders[number % len(self._senders)]
        started = time.monotonic()
        try:
            sender(rng)
        except (ConnectionError, socket.timeout) as error:
            # The server may close a connection; it must not leave a client waiting.
            if isinstance(error, socket.timeout):
                self._complain(f"request {number} ({sender.__name__}): no answer in time")
            with self._lock:
                self.statuses[type(error).__name__] += 1
        with self._lock:
            self.kinds[sender.__name__] += 1
            self.slowest = max(self.slowest, time.monotonic() - started)

    # Each of the following is one kind of fault.

    def wrong_json(self, rng: random.Random) -> None:
        path, document = self._valid(rng)
        body = bytearray(json.dumps(document).encode())
        for _ in range(rng.randint(1, 5)):
            where = rng.randrange(len(body))
            way = rng.randrange(4)
            if way == 0:
                body[where] = rng.randrange(256)
            elif way == 1:
                del body[where : where + rng.randint(1, 20)]
            elif way == 2:
                body[where:where] = rng.choice([b"{", b"[", b'"', b"\\u", b"\0", b"\xff", b"1e999"])
            else:
                del body[where:]
            body = body or bytearray(b" ")
        self._post(path, bytes(body), {"Content-Type": "application/json"})

    def wrong_values(self, rng: random.Random) -> None:
        path, document = self._valid(rng)
        places = list(leaves(document))
        for _ in range(rng.randint(1, 2)):
            parent, key = rng.choice(places)
            with contextlib.suppress(IndexError, KeyError):
                if rng.random() < 0.2:
                    del parent[key]
                else:
                    parent[key] = rng.choice(WRONG_VALUES)
        self._post(path, json.dumps(document).encode(), {"Content-Type": "application/json"})

    def wrong_image(self, rng: random.Random) -> None:
        image = self._wrong_bytes(rng)
        if rng.random() < 0.5:
            kind = rng.choice(["image/jpeg", "application/octet-stream", "image/x"])
            self._post("/image-classification", image, {"Content-Type": kind})
            return
        path, document = self._valid(rng, image)
        self._post(path, json.dumps(document).encode())

    def wrong_form(self, rng: random.Random) -> None:
        image = rng.choice(self._images)
        head = b'--XX\r\nContent-Disposition: form-data; name="image"; filename="a"\r\n\r\n'
        body = bytearray(head + image + b"\r\n--XX--\r\n")
        for _ in range(rng.randint(0, 4)):
            where = rng.randrange(min(len(body), 200))
            body[where : where + rng.randint(0, 30)] = rng.randbytes(rng.randint(0, 20))
        kinds = [
            "multipart/form-data; boundary=XX",
            "multipart/form-data",
            "multipart/form-data; boundary=",
        ]
        self._post("/image-classification", bytes(body), {"Content-Type": rng.choice(kinds)})

    def wrong_tensor(self, rng: random.Random) -> None:
        """Binary data that does not fit what the JSON before it says."""
        raw = rng.randbytes(rng.randint(0, 2000))
        document = {
            "inputs": [
                {
                    "name": rng.choice(["image", "x"]),
                    "shape": rng.choice([[1], [0], [-1], [2**63], [1, *self._shape], [1] * 100]),
                    "datatype": rng.choice(["BYTES", "FP32", "FP16", "INT8"]),
                    "parameters": {"binary_data_size": rng.choice([len(raw), 0, 10**18, -1])},
                }
            ]
        }
        head = json.dumps(document).encode()
        length = rng.choice([len(head), len(head) - 1, 0, 10**9, "x", "-1"])
        headers = {"Inference-Header-Content-Length": str(length)}
        self._post(f"/v2/models/{self._model}/infer", head + raw, headers)

    def wrong_headers(self, rng: random.Random) -> None:
        path, document = self._valid(rng)
        name = rng.choice(
            ["Content-Encoding", "X-Timeout-Ms", "X-Request-Id", "Authorization", "Accept"]
        )
        value = rng.choice(["gzip", "-1", "1", "a" * 5000, "\xff", "'; --", "{}", "0x10"])
        method = rng.choice(["POST", "PUT", "DELETE", "GET", "OPTIONS", "FOO"])
        query = rng.choice(
            ["", "?model=no", "?version=-1", "?topk=0", "?topk=%00", "?model=%ff", "?a=b&a"]
        )
        self._post(path + query, json.dumps(document).encode(), {name: value}, method)

    def broken_http(self, rng: random.Random) -> None:
        data = (
            rng.choice(BROKEN_HTTP) if rng.random() < 0.7 else rng.randbytes(rng.randint(1, 5000))
        )
        with self._connect() as connection:
            connection.sendall(data)
            self._judge(read_all(connection), data[:60])

    def vanishing(self, rng: random.Random) -> None:
        """Leaves in the middle: an orderly close, half of one, or a reset."""
        path, document = self._valid(rng)
        data = request(path, json.dumps(document).encode())
        with self._connect() as connection:
            connection.sendall(data[: rng.randrange(len(data) + 1)])
            way = rng.randrange(3)
            if way == 0:
                connection.shutdown(socket.SHUT_WR)
                self._judge(read_all(connection), b"half-closed", must_answer=False)
            elif way == 1:
                connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))

    def slow(self, rng: random.Random) -> None:
        """Sends byte after byte, longer than a request may take."""
        path, document = self._valid(rng)
        data = request(path, json.dumps(document).encode())
        position = rng.choice([0, 5, data.index(b"\r\n\r\n") + 4])
        with self._connect() as connection:
            connection.sendall(data[:position])
            with contextlib.suppress(ConnectionError):
                for byte in data[position : position + 20]:
                    connection.sendall(bytes([byte]))
                    time.sleep(BODY_TIMEOUT / 15)
            self._judge(read_all(connection), b"slow", must_answer=False)

    def wrong_grpc(self, rng: random.Random) -> None:
        import grpc

        method = rng.choice(["ModelInfer", "ModelInfer", "ModelMetadata", "ServerLive", "Nothing"])
        data = rng.choice([rng.randbytes(rng.randint(0, 300)), bytes(20_000_000), b""])
        options = [("grpc.max_send_message_length", -1), ("grpc.use_local_subchannel_pool", 1)]
        with grpc.insecure_channel(f"127.0.0.1:{self._grpc_port}", options) as channel:
            future = channel.unary_unary(f"/inference.GRPCInferenceService/{method}").future(
                data, timeout=rng.choice([0.001, ANSWER_SECONDS])
            )
            if rng.random() < 0.2:
                future.cancel()
            with contextlib.suppress(grpc.FutureCancelledError):
                code, text = future.code(), future.details() or ""
                if code in (grpc.StatusCode.INTERNAL, grpc.StatusCode.UNKNOWN) or "Trace" in text:
                    self._complain(f"gRPC {method}: {code} {text[:200]}")
                with self._lock:
                    self.statuses[f"gRPC {code.name}"] += 1

    def no_grpc(self, rng: random.Random) -> None:
        """Anything else on the port of gRPC."""
        preface = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
        data = rng.choice(
            [b"GET / HTTP/1.1\r\n\r\n", rng.randbytes(500), preface + rng.randbytes(100)]
        )
        with self._connect(self._grpc_port) as connection:
            connection.sendall(data)
            connection.shutdown(socket.SHUT_WR)
            read_all(connection)

    def _valid(self, rng: random.Random, image: Optional[bytes] = None) -> "tuple[str, dict]":
        """A path and a document that would be answered, at least with a good image."""
        text = base64.b64encode(image or rng.choice(self._images)).decode()
        zeros = np.zeros((1, *self._shape)).tolist() if rng.random() < 0.1 else [0]
        return rng.choice(
            [
                ("/image-classification", {"image": text, "topk": 3}),
                (f"/{self._model}/prediction", {"key": ["image", "topk"], "value": [text, "2"]}),
                (
                    f"/v2/models/{self._model}/infer",
                    {
                        "inputs": [
                            {"name": "image", "shape": [1], "datatype": "BYTES", "data": [text]}
                        ],
                        "outputs": [{"name": "scores", "parameters": {"classification": 1}}],
                        "parameters": {"topk": 2},
                    },
                ),
                (
                    f"/v2/models/{self._model}/infer",
                    {
                        "inputs": [
                            {
                                "name": "x",
                                "shape": [1, *self._shape],
                                "datatype": "FP32",
                                "data": zeros,
                            }
                        ]
                    },
                ),
            ]
        )

    def _wrong_bytes(self, rng: random.Random) -> bytes:
        way = rng.randrange(6)
        if way == 0:
            return rng.randbytes(rng.randint(0, 5000))
        if way == 1:
            return png_bomb(rng.choice([1, 60_000, 2**31 - 1]), rng.choice([1, 60_000]))
        if way == 2:
            signatures = [
                b"\xff\xd8\xff",
                b"\x89PNG\r\n\x1a\n",
                b"GIF89a",
                b"RIFF\0\0\0\0WEBP",
                b"BM",
            ]
            signatures += [
                b"II*\0",
                b"%!PS-Adobe",
                b"P6 ",
                b"\0\0\1\0",
                b"/* XPM */",
                b"\0\0\0\x0cjP  ",
            ]
            return rng.choice(signatures) + bytes(rng.choice([0, 100, 3_000_000]))
        image = bytearray(rng.choice(self._images))
        if way == 3:
            return bytes(image[: rng.randrange(1, len(image))])
        for _ in range(rng.randint(1, 30)):
            image[rng.randrange(len(image))] = rng.randrange(256)
        return bytes(image)

    def _connect(self, port: Optional[int] = None) -> socket.socket:
        return socket.create_connection(("127.0.0.1", port or self._port), timeout=ANSWER_SECONDS)

    def _post(
        self,
        path: str,
        body: bytes,
        headers: "Optional[dict[str, str]]" = None,
        method: str = "POST",
    ) -> None:
        with self._connect() as connection:
            # The answer to what is too large may come before all is sent.
            with contextlib.suppress(BrokenPipeError, ConnectionResetError):
                connection.sendall(request(path, body, headers, method))
            self._judge(read_all(connection), f"{method} {path}".encode())

    def _judge(self, answer: bytes, what: bytes, must_answer: bool = True) -> None:
        status = answer[9:12].decode("latin-1") if answer.startswith(b"HTTP/1.1 ") else "closed"
        with self._lock:
            self.statuses[status] += 1
        if b"Traceback" in answer or b'File "' in answer:
            self._complain(f"{what!r}: a traceback: {answer[:300]!r}")
        if status[0] == "5" and status not in ("503", "504"):
            self._complain(f"{what!r}: {answer[:300]!r}")

    def _complain(self, text: str) -> None:
        with self._lock:
            self.problems.append(text)


def leaves(node: Any) -> "Any":
    """(container, key) of every value in a document."""
    items = node.items() if isinstance(node, dict) else enumerate(node)
    for key, value in list(items):
        yield node, key
        if isinstance(value, (dict, list)) and len(value) < 10:
            yield from leaves(value)


def request(
    path: str, body: bytes, headers: "Optional[dict[str, str]]" = None, method: str = "POST"
) -> bytes:
    """The bytes of a request after whose answer the connection is closed."""
    lines = [f"{method} {path} HTTP/1.1", "Host: a", f"Content-Length: {len(body)}"]
    lines += ["Connection: close", *(f"{key}: {value}" for key, value in (headers or {}).items())]
    return "\r\n".join(lines).encode("latin-1") + b"\r\n\r\n" + body


def read_all(connection: socket.socket) -> bytes:
    """What the server sends until it closes the connection."""
    received = b""
    with contextlib.suppress(ConnectionResetError):
        while data := connection.recv(65536):
            received += data
    return received


def encode_image(pixels: np.ndarray, kind: str) -> bytes:
    """An image file."""
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, kind)
    return buffer.getvalue()


def png_bomb(width: int, height: int) -> bytes:
    """A PNG file that claims a size and holds a megabyte of zeros, packed."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return (
            struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
        )

    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    pixels = zlib.compress(bytes(1_000_000))
    return (
        b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", pixels) + chunk(b"IEND", b"")
    )


def classify(port: int, image: bytes) -> "list[dict]":
    """The categories of a good image."""
    request = Request(
        f"http://127.0.0.1:{port}/image-classification", image, {"Content-Type": "image/png"}
    )
    with urlopen(request, timeout=60) as response:
        return json.load(response)["result"]["categories"]


def settle(pid: int) -> Usage:
    """What the server holds when connections are closed and requests are done."""
    time.sleep(BODY_TIMEOUT + 1)
    return usage(pid)


def run_schemathesis(port: int) -> int:
    """Requests made from the OpenAPI document by the program `schemathesis`; its exit code."""
    program = shutil.which("schemathesis", path=str(Path(sys.executable).parent)) or "schemathesis"
    command = [program, "run", f"http://127.0.0.1:{port}/openapi.json", "--workers", "2"]
    command += ["--checks", "not_a_server_error", "--max-examples", "100", "--no-color"]
    # Its phase "coverage" ends in an error of Hypothesis on Python 3.11.
    command += ["--phases", "examples,fuzzing,stateful"]
    return subprocess.run(command, check=False).returncode


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("model_dir", help="exported folder")
    parser.add_argument("--count", type=int, default=1000, help="requests")
    parser.add_argument("--clients", type=int, default=8, help="at a time")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--engine", default="onnxruntime")
    parser.add_argument("--no_grpc", action="store_true", help="HTTP only")
    parser.add_argument("--schemathesis", action="store_true", help="run it too")
    arguments = parser.parse_args()
    grpc_port = None if arguments.no_grpc else free_port()
    options = ["--engine", arguments.engine, "--body_timeout", str(BODY_TIMEOUT)]
    options += [] if grpc_port is None else ["--grpc_port", str(grpc_port)]
    with tempfile.TemporaryFile("w+") as log:
        process, port = start(arguments.model_dir, *options, log=log)
        try:
            is_good = flood(process, port, grpc_port, arguments)
        finally:
            process.terminate()
            code = process.wait(60)
        log.seek(0)
        lines = [line for line in log if '"level": "error"' in line or "Traceback" in line]
    for line in lines[:5]:
        print(f"PROBLEM in the log: {line[:120]} ... {line[-400:]}")
    if code:
        print(f"PROBLEM: the server ended with {code}")
    return int(bool(lines) or bool(code) or not is_good)


def flood(
    process: subprocess.Popen, port: int, grpc_port: Optional[int], arguments: argparse.Namespace
) -> bool:
    """Sends everything; whether all went well."""
    with urlopen(f"http://127.0.0.1:{port}/models", timeout=30) as response:
        (model,) = json.load(response)
    faults = Faults(port, grpc_port, model["name"], model["input_shape"])
    noise = np.random.default_rng(1).integers(0, 255, (64, 64, 3), dtype=np.uint8)
    photo = encode_image(noise, "PNG")
    expected = classify(port, photo)

    def send_all(numbers: range) -> None:
        with ThreadPoolExecutor(arguments.clients) as pool:
            list(pool.map(lambda number: faults.send(arguments.seed, number), numbers))

    # Threads are made and libraries loaded at their first use.
    warm_up = max(100, arguments.count // 5)
    send_all(range(arguments.count, arguments.count + warm_up))
    series = [settle(process.pid)]
    started = time.monotonic()
    for part in range(_PARTS):
        send_all(range(arguments.count * part // _PARTS, arguments.count * (part + 1) // _PARTS))
        series.append(usage(process.pid))
    seconds = time.monotonic() - started
    before, after = series[0], settle(process.pid)
    problems = faults.problems
    if arguments.schemathesis and run_schemathesis(port):
        problems.append("schemathesis found faults")
    if classify(port, photo) != expected:
        problems.append("a photo is not classified as before")
    if after.files > before.files or after.threads > before.threads:
        problems.append("files or threads are left")
    if after.mebibytes > before.mebibytes + MEBIBYTES:
        problems.append("memory has grown")
    print(f"{arguments.count} requests in {seconds:.0f} s, the slowest {faults.slowest:.1f} s")
    print(f"with the warm-up: {dict(faults.kinds)}")
    print(f"answers: {dict(sorted(faults.statuses.items()))}")
    print(f"before: {before}\nafter:  {after}")
    print(f"MiB on the way: {', '.join(f'{held.mebibytes:.0f}' for held in series)}")
    for problem in problems[:20]:
        print(f"PROBLEM: {problem}")
    return not problems


if __name__ == "__main__":
    sys.exit(main())
