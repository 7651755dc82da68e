"""Classify photos with a running server; needs nothing but Python."""

import argparse
import json
import sys
import urllib.error
import urllib.parse
import urllib.request
from pathlib import Path


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("photos", nargs="+")
    parser.add_argument("--url", default="http://127.0.0.1:8080")
    parser.add_argument("--model", help="of several (the first)")
    parser.add_argument("--topk", type=int, default=5)
    parser.add_argument("--key", help="if the server asks for one")
    arguments = parser.parse_args()
    query = {"topk": arguments.topk, **({"model": arguments.model} if arguments.model else {})}
    url = f"{arguments.url}/image-classification?{urllib.parse.urlencode(query)}"
    headers = {"Content-Type": "application/octet-stream"}
    if arguments.key:
        headers["X-API-Key"] = arguments.key
    failed = 0
    for photo in arguments.photos:
        request = urllib.request.Request(url, Path(photo).read_bytes(), headers)
        try:
            with urllib.request.urlopen(request, timeout=30) as response:
                categories = json.load(response)["result"]["categories"]
        except urllib.error.HTTPError as error:
            print(f"{photo}: {json.load(error)['errorMsg']}", file=sys.stderr)
            failed += 1
            continue
        texts = [f"{category['name']} {category['score']:.3f}" for category in categories]
        print(f"{photo}: {', '.join(texts)}")
    return int(bool(failed))


if __name__ == "__main__":
    sys.exit(main())
