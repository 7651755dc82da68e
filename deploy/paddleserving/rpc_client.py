"""Classify photos with web_service.py over gRPC, with Paddle Serving's own client.

.venv_serving/bin/python deploy/paddleserving/rpc_client.py --topk 3 a.jpg b.jpg
"""

import argparse
import contextlib
import json
import os
import sys
import tempfile
from pathlib import Path

from http_client import encode


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("photos", nargs="+", type=Path, help="sent in one request")
    parser.add_argument("--server", default="127.0.0.1:9993", help="host:rpc_port")
    parser.add_argument("--topk", type=int, default=5)
    arguments = parser.parse_args()
    pairs = {f"image_{i}": encode(path) for i, path in enumerate(arguments.photos)}
    # Paddle Serving makes a folder of logs when it is imported.
    os.environ.setdefault("SERVING_LOG_PATH", tempfile.gettempdir())
    from paddle_serving_server.pipeline import PipelineClient

    client = PipelineClient()
    client.connect([arguments.server])
    with contextlib.redirect_stdout(sys.stderr):  # it prints the time
        answer = client.predict({**pairs, "topk": str(arguments.topk)})
    if answer.err_no:
        print(f"error {answer.err_no}: {answer.err_msg}", file=sys.stderr)
        return 1
    results = json.loads(dict(zip(answer.key, answer.value))["result"])
    for path, result in zip(arguments.photos, results):
        print(f"{path}: {json.dumps(result, ensure_ascii=False)}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
