"""Malformed requests to a server, a kind of fault to a method: JSON, forms, tensors, HTTP, gRPC."""

import base64
import contextlib
import json
import random
import socket
import struct
import threading
import time
from collections import Counter
from collections.abc import Callable
from typing import Optional

import numpy as np
from serving_wrong_data import BROKEN_HTTP, WRONG_VALUES, encode_image, leaves, wrong_image

#: Seconds that the server gives a request's body, and that it may take to answer.
BODY_TIMEOUT, ANSWER_SECONDS = 1.0, 20


class MalformedRequests:
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
        image = wrong_image(rng, self._images)
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
