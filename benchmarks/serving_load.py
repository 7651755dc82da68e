"""A bounded load on `ppcls serve` over the loopback: throughput, latency, and wrong answers.

    python benchmarks/serving_load.py inference/ photos/ --clients 1 8 64 --seconds 15
    python benchmarks/serving_load.py inference/ photos/ --clients 64 --batch 1 8

For each size of a batch a server is started in a process of its own. Clients keep their connection,
send one photo after the other, and compare every answer with the offline prediction of that photo:
the same classes in the same order, scores within 2e-5 (batches of other sizes round differently).
Exits with 1 if any answer was wrong, or was an error below the limit of the queue.
"""

import argparse
import base64
import http.client
import json
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

import numpy as np  # noqa: E402 (ppcls is found by the line above)

from ppcls.inference import Predictor  # noqa: E402

TOLERANCE = 2e-5
PATH = "/image-classification"


class Load:
    """What a number of clients saw."""

    def __init__(self) -> None:
        self.seconds: list[float] = []
        self.wrong = 0
        self.statuses: dict[int, int] = {}


def start(arguments: argparse.Namespace, batch: int) -> "tuple[subprocess.Popen, int]":
    """A server that is ready, and its port."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [sys.executable, str(ROOT / "deploy" / "server" / "serve.py")]
    command += ["--model_dir", arguments.model_dir, "--port", str(port)]
    command += ["--engine", arguments.engine, "--threads", str(arguments.threads)]
    command += ["--max_batch_size", str(batch), "--queue_size", str(arguments.queue_size)]
    process = subprocess.Popen(command, stderr=subprocess.DEVNULL)
    while True:
        try:
            socket.create_connection(("127.0.0.1", port), timeout=5).close()
            return process, port
        except ConnectionRefusedError:
            if process.poll() is not None:
                sys.exit("error: the server did not start; see `ppcls serve`")
            time.sleep(0.1)


def run_clients(
    port: int, count: int, seconds: float, bodies: "list[bytes]", expected: "list[dict]"
) -> Load:
    """`count` clients for `seconds`."""
    load, lock = Load(), threading.Lock()
    stop = time.monotonic() + seconds

    def client(number: int) -> None:
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
        sent = number
        while time.monotonic() < stop:
            index = sent % len(bodies)
            started = time.perf_counter()
            connection.request("POST", PATH, bodies[index])
            response = connection.getresponse()
            document = json.loads(response.read())
            elapsed = time.perf_counter() - started
            is_wrong = response.status == 200 and not is_right(document, expected[index])
            with lock:
                load.statuses[response.status] = load.statuses.get(response.status, 0) + 1
                load.wrong += is_wrong
                if response.status == 200:
                    load.seconds.append(elapsed)
            if response.status in (429, 503):
                time.sleep(0.1)
            sent += 1
        connection.close()

    threads = [threading.Thread(target=client, args=(number,)) for number in range(count)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return load


def is_right(document: dict, expected: dict) -> bool:
    """Whether an answer is the offline prediction."""
    categories = document["result"]["categories"]
    scores = [category["score"] for category in categories]
    return [category["id"] for category in categories] == expected["class_ids"] and np.allclose(
        scores, expected["scores"], rtol=0, atol=TOLERANCE
    )


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("model_dir", help="exported folder")
    parser.add_argument("photos", help="folder of images")
    parser.add_argument("--clients", type=int, nargs="+", default=[1, 8, 64])
    parser.add_argument("--batch", type=int, nargs="+", default=[1, 8], help="sizes of batches")
    parser.add_argument("--seconds", type=float, default=15, help="of each load")
    parser.add_argument("--engine", default="onnxruntime")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--queue_size", type=int, default=128)
    arguments = parser.parse_args()
    paths = sorted(Path(arguments.photos).rglob("*.jpg"))[:64]
    predictor = Predictor(arguments.model_dir, arguments.engine, threads=arguments.threads, topk=5)
    expected = predictor.predict(paths)
    bodies = [
        json.dumps({"image": base64.b64encode(path.read_bytes()).decode(), "topk": 5}).encode()
        for path in paths
    ]
    print(f"{len(paths)} photos, {sum(map(len, bodies)) // len(bodies)} bytes a request")
    print("| batch | clients | images/s | p50 ms | p99 ms | answers | wrong | errors |")
    print("|---|---|---|---|---|---|---|---|")
    failed = False
    for batch in arguments.batch:
        process, port = start(arguments, batch)
        try:
            run_clients(port, 4, 2, bodies, expected)
            for count in arguments.clients:
                load = run_clients(port, count, arguments.seconds, bodies, expected)
                p50, p99 = np.percentile(load.seconds, [50, 99]) * 1000
                errors = {status: n for status, n in load.statuses.items() if status != 200}
                failed |= bool(load.wrong) or (bool(errors) and count <= arguments.queue_size)
                print(
                    f"| {batch} | {count} | {len(load.seconds) / arguments.seconds:.1f} "
                    f"| {p50:.1f} | {p99:.1f} | {len(load.seconds)} | {load.wrong} "
                    f"| {errors or 0} |",
                    flush=True,
                )
        finally:
            process.terminate()
            process.wait(60)
    return int(failed)


if __name__ == "__main__":
    sys.exit(main())
