"""Classify photos with web_service.py over HTTP; needs nothing but Python.

python deploy/paddleserving/http_client.py --name DSNet_tiny --topk 3 a.jpg b.jpg
"""

import argparse
import base64
import json
import sys
import urllib.request
from pathlib import Path


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("photos", nargs="+", type=Path, help="sent in one request")
    parser.add_argument("--name", required=True, help="of the service, as in config.yml")
    parser.add_argument("--url", default="http://127.0.0.1:18080")
    parser.add_argument("--topk", type=int, default=5)
    arguments = parser.parse_args()
    # Every value is a text. Images may have any key.
    pairs = {f"image_{i}": encode(path) for i, path in enumerate(arguments.photos)}
    pairs["topk"] = str(arguments.topk)
    body = {"key": list(pairs), "value": list(pairs.values())}
    request = urllib.request.Request(
        f"{arguments.url}/{arguments.name}/prediction",
        json.dumps(body).encode(),
        {"Content-Type": "application/json"},
    )
    with urllib.request.urlopen(request, timeout=30) as response:
        answer = json.load(response)
    if answer["err_no"]:
        print(f"error {answer['err_no']}: {answer['err_msg']}", file=sys.stderr)
        return 1
    results = json.loads(dict(zip(answer["key"], answer["value"]))["result"])
    for path, result in zip(arguments.photos, results):
        print(f"{path}: {json.dumps(result, ensure_ascii=False)}")
    return 0


def encode(path: Path) -> str:
    """The base64 of a file."""
    return base64.b64encode(path.read_bytes()).decode()


if __name__ == "__main__":
    sys.exit(main())
