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
import json
import shutil
import subprocess
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Optional
from urllib.request import Request, urlopen

import numpy as np
from serving_process import Usage, free_port, start, usage
from serving_requests import BODY_TIMEOUT, MalformedRequests
from serving_wrong_data import encode_image

MEBIBYTES = 64
#: Between them the memory of the server is looked at.
_PARTS = 4


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
    faults = MalformedRequests(port, grpc_port, model["name"], model["input_shape"])
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


if __name__ == "__main__":
    sys.exit(main())
