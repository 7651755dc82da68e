"""Versions, hot reload, start and stop; no request is lost on the way."""

import base64
import json
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request
from concurrent.futures import ThreadPoolExecutor

import pytest

from ppcls.commands import main
from tests.serving.small_server import Client, free_port, replace_content, running


def name_of(client, image, query=""):
    request = {"image": base64.b64encode(image).decode(), "topk": 1}
    status, document = client.post(f"/image-classification{query}", request)
    assert status == 200, document
    return document["result"]["categories"][0]["name"]


def test_versions(exported, other_exported, jpegs, tmp_path):
    root = tmp_path / "animals"
    shutil.copytree(exported, root / "1")
    shutil.copytree(other_exported, root / "3")
    with running([root], keep_versions=2) as (client, service, _):
        assert client.get("/v2/models/animals")[1]["versions"] == ["1", "3"]
        assert name_of(client, jpegs[0]).startswith("other")
        assert name_of(client, jpegs[0], "?version=1").startswith("class")
        shutil.copytree(exported, root / "10")
        service.repository.refresh()
        assert client.get("/v2/models/animals")[1]["versions"] == ["1", "3"]
        service.repository.refresh()
        assert client.get("/v2/models/animals")[1]["versions"] == ["3", "10"]
        assert name_of(client, jpegs[0]).startswith("class")
        assert client.get("/v2/models/animals/versions/1")[0] == 404
        shutil.rmtree(root / "10")
        service.repository.refresh()
        service.repository.refresh()
        assert client.get("/v2/models/animals")[1]["versions"] == ["1", "3"]


def test_reload_under_load_loses_no_request(exported, other_exported, jpegs, offline, tmp_path):
    folder = tmp_path / "inference"
    shutil.copytree(exported, folder)
    with running([f"m={folder}"], poll_interval=0) as (client, service, _):
        stop = threading.Event()
        answers = []

        def ask(number):
            while not stop.is_set():
                image = (number + len(answers)) % 12
                request = {"image": base64.b64encode(jpegs[image]).decode(), "topk": 1}
                status, document = client.post("/image-classification", request)
                answers.append((image, status, document))

        with ThreadPoolExecutor(4) as pool:
            for number in range(4):
                pool.submit(ask, number)
            for source in (other_exported, exported, other_exported):
                replace_content(source, folder)
                service.repository.refresh()
                service.repository.refresh()
            stop.set()
        assert {status for _, status, _ in answers} == {200}
        names = set()
        for image, _, document in answers:
            top = document["result"]["categories"][0]
            assert top["id"] == offline[image]["class_ids"][0]
            names.add(top["name"].split()[0])
        assert names == {"class", "other"}
        assert name_of(client, jpegs[0]).startswith("other")
        # Those that were replaced are gone, with their threads.
        deadline = time.monotonic() + 5
        while sum(t.name.startswith("batcher") for t in threading.enumerate()) > 1:
            assert time.monotonic() < deadline
            time.sleep(0.01)


def test_a_broken_version_changes_nothing(exported, jpegs, tmp_path):
    folder = tmp_path / "inference"
    shutil.copytree(exported, folder)
    with running([f"m={folder}"], poll_interval=0.05) as (client, _, _):
        for name in ("inference.onnx", "inference.yml"):
            (folder / name).write_bytes(b"\x00 [broken")
            deadline = time.monotonic() + 10
            failed = b'ppcls_model_loads_total{model="m",result="failed"}'
            while failed not in client.send("GET", "/metrics")[1]:
                assert time.monotonic() < deadline
                time.sleep(0.05)
            assert name_of(client, jpegs[0])
            shutil.copy2(exported / name, folder / name)
        shutil.rmtree(folder)
        time.sleep(0.2)
        assert name_of(client, jpegs[0])
        assert client.get("/v2/health/ready")[0] == 200


def wait_ready(port, process):
    deadline = time.monotonic() + 60
    while True:
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{port}/v2/health/ready", timeout=5):
                return
        except (urllib.error.URLError, ConnectionError):
            assert process.poll() is None
            assert time.monotonic() < deadline
            time.sleep(0.1)


def test_sigterm_under_load_loses_no_accepted_request(
    exported, jpegs, offline, repo_root, tmp_path
):
    port = free_port()
    log = tmp_path / "log.jsonl"
    with log.open("w") as stderr:
        process = subprocess.Popen(
            [
                *(sys.executable, "deploy/server/serve.py", "--model_dir", exported),
                *("--port", str(port), "--engine", "onnxruntime"),
            ],
            cwd=repo_root,
            stderr=stderr,
            env={**os.environ, "PPCLS_API_KEYS": "key"},
        )
    try:
        wait_ready(port, process)
        client = Client(port)
        results = []

        def ask(number):
            body = json.dumps({"image": base64.b64encode(jpegs[number]).decode(), "topk": 1})
            while True:
                try:
                    results.append(
                        (number, *client.send("POST", "/image-classification", body, KEY))
                    )
                except ConnectionRefusedError:
                    return

        with ThreadPoolExecutor(8) as pool:
            asking = [pool.submit(ask, number) for number in range(8)]
            time.sleep(0.5)
            process.send_signal(signal.SIGTERM)
            time.sleep(0.3)
            assert client.send("GET", "/v2/health/ready")[0] == 503
            for future in asking:
                future.result(20)
        assert process.wait(20) == 0
    finally:
        process.kill()
    assert len(results) > 20
    for number, status, body, _ in results:
        assert status == 200, body
        top = json.loads(body)["result"]["categories"][0]
        assert top["id"] == offline[number]["class_ids"][0]
    assert any(headers["Connection"] == "close" for *_, headers in results)
    # The log: one JSON object a line, without images or keys.
    lines = [json.loads(line) for line in log.read_text().splitlines() if line[:1] == "{"]
    events = [line["event"] for line in lines]
    assert events[0] == "model loaded"
    assert events[-1] == "stopped"
    requests = [line for line in lines if line["event"] == "request" and line["status"] == 200]
    assert len(requests) >= len(results)
    assert {"time", "level", "log_id", "path", "ms"} <= set(requests[-1])


def test_client_script(server, jpegs, offline, tmp_path, repo_root):
    (tmp_path / "a.jpg").write_bytes(jpegs[0])
    (tmp_path / "b.jpg").write_bytes(b"no image")
    url = f"http://127.0.0.1:{server.port}"
    finished = subprocess.run(
        [
            *(sys.executable, "deploy/server/client.py", tmp_path / "a.jpg", tmp_path / "b.jpg"),
            *("--url", url, "--topk", "1"),
        ],
        cwd=repo_root,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    expected = f"{offline[0]['label_names'][0]} {offline[0]['scores'][0]:.3f}"
    assert finished.stdout == f"{tmp_path / 'a.jpg'}: {expected}\n"
    assert "not an image" in finished.stderr
    assert finished.returncode == 1


KEY = {"X-API-Key": "key"}


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--model_dir", "{empty}"], "is not an exported model"),
        (["--model_dir", "{empty}/nothing"], "there is no folder"),
        (["--model_dir", "{exported}", "--model_dir", "{exported}"], "two models are called"),
        (["--model_dir", "{exported}", "--queue_size", "0"], "--queue_size must be positive"),
        (["--model_dir", "{exported}", "--engine", "onx"], "unknown engine"),
        (["--model_dir", "{exported}", "--api_key_file", "{empty}/no"], "No such file"),
    ],
)
def test_refused_at_the_start(exported, tmp_path, capsys, monkeypatch, arguments, message):
    monkeypatch.setattr("ppcls.serving.log.init_log", lambda: None)
    filled = [text.format(exported=exported, empty=tmp_path) for text in arguments]
    assert main("serve", ["--engine", "onnxruntime", *filled]) == 1
    assert message in capsys.readouterr().err
