r"""A bounded load on `ppcls serve` over the loopback: throughput, latency, and wrong answers.

    python benchmarks/serving_load.py inference/ photos/ --clients 1 8 64 --seconds 15
    python benchmarks/serving_load.py inference/ photos/ --clients 64 --batch 1 8 --rounds 5
    python benchmarks/serving_load.py inference/ photos/ --clients 8 --batch 8 --seconds 1200 \
        --memory

For each size of a batch a server is started in a process of its own; they take turns, `--rounds` of
them, so that ratios hold on a machine with other work. Clients keep their connection, send one
photo after the other, and compare every answer with the offline prediction of that photo: the same
classes in the same order, scores within 2e-5 (batches of other sizes round differently). Exits with
1 if any answer was wrong, or was an error below the limit of the queue.
"""

import argparse
import base64
import http.client
import json
import subprocess
import sys
import threading
import time
from collections import Counter
from pathlib import Path

from serving_process import ROOT, cpu_seconds, start, usage

sys.path.insert(0, str(ROOT))

import numpy as np

from ppcls.inference import Predictor

TOLERANCE = 2e-5
PATH = "/image-classification"


class Load:
    """What a number of clients saw."""

    def __init__(self) -> None:
        self.seconds: list[float] = []
        self.wrong = 0
        self.statuses: Counter[int] = Counter()
        self.duration = 0.0
        self.cpu_seconds = 0.0


def run_clients(
    load: Load,
    port: int,
    count: int,
    seconds: float,
    bodies: "list[bytes]",
    expected: "list[dict]",
) -> None:
    """`count` clients for `seconds`; adds to `load`."""
    lock = threading.Lock()
    load.duration += seconds
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
                load.statuses[response.status] += 1
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
    parser.add_argument("--rounds", type=int, default=1, help="of all loads, each of --seconds")
    parser.add_argument("--memory", action="store_true", help="of the server, once a minute")
    arguments = parser.parse_args()
    paths = sorted(Path(arguments.photos).rglob("*.jpg"))[:64]
    predictor = Predictor(arguments.model_dir, arguments.engine, threads=arguments.threads, topk=5)
    expected = predictor.predict(paths)
    bodies = [
        json.dumps({"image": base64.b64encode(path.read_bytes()).decode(), "topk": 5}).encode()
        for path in paths
    ]
    print(f"{len(paths)} photos, {sum(map(len, bodies)) // len(bodies)} bytes a request")
    options = ["--engine", arguments.engine, "--threads", str(arguments.threads)]
    options += ["--queue_size", str(arguments.queue_size)]
    servers = {
        batch: start(arguments.model_dir, *options, "--max_batch_size", str(batch))
        for batch in arguments.batch
    }
    loads = {(b, n): Load() for b in arguments.batch for n in arguments.clients}
    try:
        for _, port in servers.values():
            run_clients(Load(), port, 4, 2, bodies, expected)
        if arguments.memory:
            for process, _ in servers.values():
                threading.Thread(target=watch, args=(process,), daemon=True).start()
        for _ in range(arguments.rounds):
            for (batch, count), load in loads.items():
                process, port = servers[batch]
                before = cpu_seconds(process.pid)
                run_clients(load, port, count, arguments.seconds, bodies, expected)
                load.cpu_seconds += cpu_seconds(process.pid) - before
    finally:
        for process, _ in servers.values():
            process.terminate()
        for process, _ in servers.values():
            process.wait(60)
    return report(loads, arguments.queue_size)


def watch(process: subprocess.Popen) -> None:
    """Prints what the server holds, once a minute."""
    started = time.monotonic()
    while process.poll() is None:
        minutes = (time.monotonic() - started) / 60
        print(f"minute {minutes:.0f}: {usage(process.pid)}", flush=True)
        time.sleep(60)


def report(loads: "dict[tuple[int, int], Load]", queue_size: int) -> int:
    """Prints a line per load; 1 if one of them had wrong answers or errors."""
    failed = False
    columns = ["batch", "clients", "images/s", "p50 ms", "p99 ms", "server CPU ms per image"]
    columns += ["answers", "wrong", "errors"]
    print(f"| {' | '.join(columns)} |\n|{'---|' * len(columns)}")
    for (batch, count), load in loads.items():
        answers = len(load.seconds)
        p50, p99 = np.percentile(load.seconds, [50, 99]) * 1000
        errors = {status: n for status, n in load.statuses.items() if status != 200}
        failed |= bool(load.wrong) or (bool(errors) and count <= queue_size)
        print(
            f"| {batch} | {count} | {answers / load.duration:.1f} | {p50:.1f} | {p99:.1f} "
            f"| {load.cpu_seconds / answers * 1000:.1f} | {answers} | {load.wrong} "
            f"| {errors or 0} |"
        )
    return int(failed)


if __name__ == "__main__":
    sys.exit(main())
