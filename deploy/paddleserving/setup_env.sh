#!/usr/bin/env bash
# Makes a virtual environment in which the servers of Paddle Serving 0.9 run on Python 3.9-3.11:
#   deploy/paddleserving/setup_env.sh [FOLDER (.venv_serving)]
# It is one of its own because Paddle Serving needs an old protobuf, which ONNX does not work with.
# With a GPU, install Paddle's GPU build into it afterwards.
set -euo pipefail
here="$(cd "$(dirname "$0")" && pwd)"
folder="${1:-.venv_serving}"

test -x "$folder/bin/python" || "${PYTHON:-python3}" -m venv "$folder"
pip() { "$folder/bin/python" -m pip "$@"; }
pip install -q --no-compile -r "$here/requirements.txt"
# Their own requirements cannot be met any more and are not needed.
pip install -q --no-compile --no-deps paddle-serving-server==0.9.0 paddle-serving-app==0.9.0
packages="$("$folder/bin/python" -c 'import sysconfig; print(sysconfig.get_path("purelib"))')"
cp "$here/stand_in/paddle_serving_client.py" "$packages"
"$folder/bin/python" - <<'END'
import os
import tempfile

os.chdir(tempfile.mkdtemp())  # Paddle Serving makes a folder of logs when it is imported
import paddle_serving_app.local_predict  # noqa: F401
import paddle_serving_server.pipeline  # noqa: F401
END
echo "$folder is ready"
