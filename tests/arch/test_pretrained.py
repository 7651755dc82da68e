"""Published weights: records, download, offline behaviour, and `pretrained` of `build_model`."""

import hashlib
import http.server
import threading
from dataclasses import replace

import numpy as np
import paddle
import pytest

from ppcls.arch import build_model, download, pretrained
from ppcls.arch.pretrained import RECORDS, find_record
from ppcls.errors import CheckpointError, ConfigError


class _Handler(http.server.BaseHTTPRequestHandler):
    """Serves `server.content` under every name, in parts when asked for them."""

    def do_GET(self):
        server = self.server
        server.requests.append(self.headers.get("Range"))
        if server.status != 200:
            self.send_error(server.status)
            return
        start = 0
        if server.ranges and self.headers.get("Range"):
            start = int(self.headers["Range"][len("bytes=") : -1])
            if start >= len(server.content):
                self.send_error(416)
                return
        self.send_response(206 if start else 200)
        body = server.content[start:]
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        sent = body if not server.cuts else body[: server.cuts.pop(0)]
        self.wfile.write(sent)

    def log_message(self, *arguments):
        pass


@pytest.fixture
def server():
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), _Handler) as server:
        server.content, server.requests, server.cuts = b"", [], []
        server.status, server.ranges = 200, True
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield server
        server.shutdown()


@pytest.fixture
def record(server, tmp_path, monkeypatch):
    """DSNet_tiny's record, served by `server`, kept in a folder of the test."""
    monkeypatch.setenv("LOGOCLAS_HOME", str(tmp_path / "home"))
    paddle.save({"w": paddle.arange(50000)}, str(tmp_path / "w.pdparams"))
    server.content = (tmp_path / "w.pdparams").read_bytes()
    return replace(
        RECORDS["DSNet_tiny"],
        url=f"http://127.0.0.1:{server.server_port}/tiny.pdparams",
        sha256=hashlib.sha256(server.content).hexdigest(),
    )


def test_download_once(record, server, tmp_path):
    path = download.fetch(record)
    assert path == tmp_path / "home" / "weights" / "tiny.pdparams"
    assert path.read_bytes() == server.content
    assert download.fetch(record) == path
    assert server.requests == [None]
    assert not list(path.parent.glob("*.part"))


def test_interrupted_download_goes_on(record, server):
    server.cuts = [70000, 50000]
    assert download.fetch(record).read_bytes() == server.content
    assert server.requests == [None, "bytes=70000-", "bytes=120000-"]


def test_download_resumes_in_another_process_and_without_ranges(record, server):
    server.cuts = [1000, 1000, 1000]
    with pytest.raises(CheckpointError, match="the connection ended after 3000 of"):
        download.fetch(record)
    assert (download.weights_folder() / "tiny.pdparams.part").stat().st_size == 3000
    server.ranges = False
    assert download.fetch(record).read_bytes() == server.content


def test_longer_left_over_starts_again(record, server):
    download.weights_folder().mkdir(parents=True)
    part = download.weights_folder() / "tiny.pdparams.part"
    part.write_bytes(b"x" * (len(server.content) + 5))
    assert download.fetch(record).read_bytes() == server.content


def test_another_file_is_not_kept(record, server):
    server.content = server.content[:-1] + b"!"
    with pytest.raises(CheckpointError, match=r"SHA-256 .* expected .* not kept"):
        download.fetch(record)
    assert not [p for p in download.weights_folder().iterdir() if p.suffix != ".lock"]


def test_page_instead_of_a_file_is_not_kept(record, server):
    server.content = b"<html>log in first</html>"
    with pytest.raises(CheckpointError, match="is no weight file"):
        download.fetch(replace(record, sha256=None))
    assert not [p for p in download.weights_folder().iterdir() if p.suffix != ".lock"]


def test_missing_on_the_server(record, server):
    server.status = 404
    with pytest.raises(CheckpointError, match="cannot download the weights of DSNet_tiny: "):
        download.fetch(record)
    assert len(server.requests) == 1


def test_offline_message_says_where_the_file_goes(record, server, tmp_path):
    server.shutdown()
    server.server_close()
    place = tmp_path / "home" / "weights" / "tiny.pdparams"
    with pytest.raises(CheckpointError) as caught:
        download.fetch(record)
    assert str(place) in str(caught.value)
    assert record.url in str(caught.value)
    assert "Arch.pretrained" in str(caught.value)
    place.write_bytes(server.content)
    assert download.fetch(record) == place


SMALL = {"embed_dim": [8, 8, 8, 8], "num_heads": [1, 1, 1, 1], "depth": [1, 1, 1, 1]}


def test_pretrained_true_loads_the_record(record, server, tmp_path, monkeypatch):
    published = build_model({"name": "DSNet_tiny", **SMALL, "class_num": 1000})
    paddle.save(published.state_dict(), str(tmp_path / "p.pdparams"))
    server.content = (tmp_path / "p.pdparams").read_bytes()
    monkeypatch.setitem(pretrained.RECORDS, "DSNet_tiny", replace(record, sha256=None))
    model = build_model({"name": "DSNet_tiny", **SMALL, "pretrained": True})
    for name, tensor in published.state_dict().items():
        np.testing.assert_array_equal(model.state_dict()[name].numpy(), tensor.numpy())
    # Other classes: everything but the head.
    model = build_model({"name": "DSNet_tiny", **SMALL, "pretrained": True, "class_num": 5})
    assert model.head.weight.shape == [8, 5]
    np.testing.assert_array_equal(model.norm.weight.numpy(), published.norm.weight.numpy())
    np.testing.assert_array_equal(
        model.blocks3[0].conv1.weight.numpy(), published.blocks3[0].conv1.weight.numpy()
    )


def test_pretrained_path(tmp_path):
    published = build_model({"name": "DSNet", **SMALL, "class_num": 7})
    paddle.save(published.state_dict(), str(tmp_path / "best.pdparams"))
    spec = {"name": "DSNet", **SMALL, "pretrained": str(tmp_path / "best")}
    model = build_model({**spec, "class_num": 7})
    np.testing.assert_array_equal(model.head.weight.numpy(), published.head.weight.numpy())
    with pytest.raises(CheckpointError, match="classifier is of another size"):
        build_model({**spec, "class_num": 9})
    assert build_model({**spec, "class_num": 9, "ignore_head": True}).class_num == 9
    with pytest.raises(CheckpointError, match="there is no weight file"):
        build_model({"name": "DSNet", **SMALL, "pretrained": str(tmp_path / "none")})


def test_no_published_weights():
    with pytest.raises(ConfigError, match=r"no published weights for 'DSNet'.*DSNet_tiny"):
        build_model({"name": "DSNet", **SMALL, "pretrained": True})


def test_preprocessing_follows_from_the_record():
    record = find_record("DSNet_small")
    assert abs(record.crop_pct - 224 / 248) < 1e-12
    names = [next(iter(op)) for op in record.transform_ops()]
    assert names == ["DecodeImage", "ResizeImage", "CropImage", "NormalizeImage", "ToCHWImage"]
    assert record.transform_ops()[1]["ResizeImage"] == {
        "resize_short": 248,
        "interpolation": "bicubic",
        "backend": "pil",
    }
