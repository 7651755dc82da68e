"""Every protocol answers with the offline prediction of the image it was sent."""

import ast
import base64
import json
import struct
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

from ppcls.inference import Predictor
from tests.inference.small_model import new_description
from tests.serving.small_server import running, write_model


def encoded(image):
    return base64.b64encode(image).decode()


def check(categories, expected, count=10):
    """Categories of PaddleX's form against a prediction of all classes."""
    assert [c["id"] for c in categories] == expected["class_ids"][:count]
    assert [c["name"] for c in categories] == expected["label_names"][:count]
    np.testing.assert_allclose(
        [c["score"] for c in categories], expected["scores"][:count], atol=2e-5
    )


def test_paddlex(server, jpegs, offline):
    assert len({prediction["class_ids"][0] for prediction in offline}) > 1
    for image, expected in zip(jpegs, offline):
        check(server.classify(image, topk=10), expected)
    status, document = server.post("/image-classification", {"image": encoded(jpegs[0])})
    assert status == 200
    assert document["errorCode"] == 0
    assert document["errorMsg"] == "Success"
    assert document["logId"]
    assert set(document["result"]) == {"categories"}
    # The exported postprocess gives three classes.
    check(document["result"]["categories"], offline[0], count=3)
    assert set(document["result"]["categories"][0]) == {"id", "name", "score"}
    assert server.get("/health")[1]["errorMsg"] == "Healthy"


def test_more_classes_than_there_are(server, jpegs, offline):
    check(server.classify(jpegs[0], topk=1000), offline[0])


def form(image, **fields):
    parts = [
        f'--XX\r\nContent-Disposition: form-data; name="{name}"\r\n\r\n{value}\r\n'.encode()
        for name, value in fields.items()
    ]
    head = b'--XX\r\nContent-Disposition: form-data; name="image"; filename="a.jpg"\r\n\r\n'
    return b"".join([*parts, head, image, b"\r\n--XX--\r\n"])


def test_uploads(server, jpegs, offline):
    kind = {"Content-Type": "multipart/form-data; boundary=XX"}
    path = "/image-classification"
    status, body, _ = server.send("POST", path, form(jpegs[3], topk=4), kind)
    assert status == 200, body
    check(json.loads(body)["result"]["categories"], offline[3], count=4)
    kind = {"Content-Type": "image/jpeg"}
    status, body, _ = server.send("POST", f"{path}?topk=2", jpegs[4], kind)
    assert status == 200, body
    check(json.loads(body)["result"]["categories"], offline[4], count=2)


def test_paddle_serving(server, jpegs, offline):
    request = {"key": ["image"], "value": [encoded(jpegs[0])]}
    status, document = server.post("/small/prediction", request)
    assert status == 200
    assert (document["err_no"], document["err_msg"]) == (0, "")
    assert document["key"] == ["label", "prob", "result"]
    assert document["tensors"] == []
    labels, scores = map(ast.literal_eval, document["value"][:2])
    assert labels == offline[0]["label_names"][:1]
    np.testing.assert_allclose(scores, offline[0]["scores"][:1], atol=2e-5)
    keys = [f"image_{i}" for i in range(12)]
    request = {"key": [*keys, "topk"], "value": [*map(encoded, jpegs), "3"]}
    status, document = server.post("/small/prediction", request)
    assert status == 200
    labels, scores = map(ast.literal_eval, document["value"][:2])
    assert labels == [prediction["label_names"][:3] for prediction in offline]
    results = json.loads(document["value"][2])
    assert [result["class_ids"] for result in results] == [p["class_ids"][:3] for p in offline]
    assert [result["label_names"] for result in results] == labels
    assert [result["scores"] for result in results] == scores


def test_kserve_json(server, exported, jpegs, offline):
    assert server.get("/v2")[1]["name"] == "logoclas"
    assert server.get("/v2/health/live")[0] == 200
    assert server.get("/v2/health/ready")[0] == 200
    assert server.get("/v2/models/small/ready")[0] == 200
    assert server.get("/v2/models/small/versions/1/ready")[0] == 200
    assert server.get("/v2/models/small/versions/2/ready")[0] == 404
    status, document = server.get("/v2/models/small")
    assert status == 200
    assert document["inputs"][1] == {"name": "x", "datatype": "FP32", "shape": [-1, 3, 32, 32]}
    assert document["outputs"][0] == {"name": "prob", "datatype": "FP32", "shape": [-1, 10]}
    predictor = Predictor(exported, "onnxruntime")
    images = np.stack([predictor.preprocess(image) for image in jpegs])
    tensor = {"name": "x", "shape": list(images.shape), "datatype": "FP32"}
    request = {"id": "7", "inputs": [{**tensor, "data": images.tolist()}]}
    status, document = server.post("/v2/models/small/infer", request)
    assert status == 200, document
    assert (document["id"], document["model_version"]) == ("7", "1")
    outputs = {output["name"]: output for output in document["outputs"]}
    prob = np.reshape(outputs["prob"]["data"], outputs["prob"]["shape"])
    np.testing.assert_allclose(prob, predictor.run(images), atol=1e-6)
    assert outputs["class_ids"]["data"][:5] == offline[0]["class_ids"][:5]
    assert outputs["label_names"]["data"][5:10] == offline[1]["label_names"][:5]


def test_kserve_binary(server, jpegs, offline):
    raw = b"".join(struct.pack("<I", len(image)) + image for image in jpegs)
    parameters = {"binary_data_size": len(raw)}
    tensor = {"name": "image", "shape": [12], "datatype": "BYTES", "parameters": parameters}
    outputs = [
        {"name": "scores", "parameters": {"binary_data": True}},
        {"name": "class_ids"},
        {"name": "prob", "parameters": {"classification": 2}},
    ]
    request = {"inputs": [tensor], "outputs": outputs, "parameters": {"topk": 3}}
    head = json.dumps(request).encode()
    headers = {"Inference-Header-Content-Length": str(len(head))}
    path = "/v2/models/small/versions/1/infer"
    status, body, headers = server.send("POST", path, head + raw, headers)
    assert status == 200, body
    length = int(headers["Inference-Header-Content-Length"])
    scores, class_ids, texts = json.loads(body[:length])["outputs"]
    assert scores["parameters"]["binary_data_size"] == len(body) - length == 12 * 3 * 4
    np.testing.assert_allclose(
        np.frombuffer(body[length:], "<f4").reshape(12, 3),
        [prediction["scores"][:3] for prediction in offline],
        atol=2e-5,
    )
    assert class_ids["data"][3:6] == offline[1]["class_ids"][:3]
    assert texts["shape"] == [12, 2]
    score, class_id, name = texts["data"][0].split(":")
    assert (int(class_id), name) == (offline[0]["class_ids"][0], offline[0]["label_names"][0])
    assert abs(float(score) - offline[0]["scores"][0]) < 2e-5


def test_triton_client(server, exported, jpegs, offline):
    triton = pytest.importorskip("tritonclient.http")
    client = triton.InferenceServerClient(f"127.0.0.1:{server.port}")
    assert client.is_server_live()
    assert client.is_server_ready()
    assert client.is_model_ready("small")
    assert client.is_model_ready("small", "1")
    assert client.get_model_metadata("small")["name"] == "small"
    assert client.get_server_metadata()["name"] == "logoclas"
    assert client.get_model_repository_index()[0]["name"] == "small"
    image = triton.InferInput("image", [2], "BYTES")
    image.set_data_from_numpy(np.array(jpegs[:2], object))
    result = client.infer("small", [image])
    np.testing.assert_array_equal(result.as_numpy("class_ids")[1], offline[1]["class_ids"][:5])
    assert result.as_numpy("label_names")[0, 0].decode() == offline[0]["label_names"][0]
    predictor = Predictor(exported, "onnxruntime")
    array = predictor.preprocess(jpegs[2])[None]
    x = triton.InferInput("x", list(array.shape), "FP32")
    x.set_data_from_numpy(array)
    for is_binary in (True, False):
        outputs = [triton.InferRequestedOutput("prob", binary_data=is_binary)]
        result = client.infer("small", [x], outputs=outputs, model_version="1", request_id="a")
        np.testing.assert_allclose(result.as_numpy("prob"), predictor.run(array), atol=1e-6)
    with pytest.raises(triton.InferenceServerException, match="unknown model"):
        client.infer("nothing", [x])


def test_many_clients_at_once(exported, jpegs, offline):
    with running([exported], max_batch_size=8, instances=2) as (client, service, _):
        with ThreadPoolExecutor(24) as pool:
            answers = list(pool.map(lambda i: client.classify(jpegs[i % 12], 10), range(192)))
        for number, categories in enumerate(answers):
            check(categories, offline[number % 12])
        # Batches were formed: fewer runs than images.
        text = service.metrics.text().decode()
        lines = dict(line.rsplit(" ", 1) for line in text.splitlines() if line[:1] != "#")
        assert float(lines['ppcls_images_total{model="small",version="1"}']) == 192
        assert float(lines['ppcls_batch_size_count{model="small"}']) < 192
        assert float(lines['ppcls_admitted_images{model="small",version="1"}']) == 0


def test_several_models(exported, other_exported, jpegs, offline):
    with running([exported, f"other={other_exported}"]) as (client, _, _):
        expected = Predictor(other_exported, "onnxruntime", topk=10).predict(jpegs[:3])
        for image, of_first, of_other in zip(jpegs, offline, expected):
            request = {"image": encoded(image), "topk": 10}
            first = client.post("/image-classification", request)[1]
            other = client.post("/image-classification?model=other", request)[1]
            check(first["result"]["categories"], of_first)
            check(other["result"]["categories"], of_other)
        names = [model["name"] for model in client.get("/models")[1]]
        assert names == ["small", "other"]


def test_exports_that_give_only_the_best_classes(jpegs, offline, tmp_path):
    write_model(tmp_path / "inference.onnx", best=3)
    new_description(model_name="small", output="topk").write(tmp_path)
    with running([tmp_path], max_batch_size=2) as (client, _, _):
        check(client.classify(jpegs[0], topk=9), offline[0], count=3)
        pairs = {str(i): encoded(image) for i, image in enumerate(jpegs)}
        request = {"key": list(pairs), "value": list(pairs.values())}
        labels = ast.literal_eval(client.post("/small/prediction", request)[1]["value"][0])
        assert labels == [prediction["label_names"][0] for prediction in offline]
        assert client.get("/v2/models/small")[1]["outputs"][0]["shape"] == [-1, -1]


def test_exports_that_describe_attributes(jpegs, tmp_path):
    """Without `topk` all classes are given, since words have no place in the protocols."""
    write_model(tmp_path / "inference.onnx", class_num=6)
    description = {"postprocess": {"name": "TableAttribute"}, "activation": "sigmoid"}
    new_description(model_name="small", **description, label_names={}).write(tmp_path)
    with running([tmp_path]) as (client, _, _):
        categories = client.classify(jpegs[0])
        assert sorted(category["id"] for category in categories) == list(range(6))
        assert len(client.classify(jpegs[0], topk=2)) == 2


def test_openapi(server):
    status, document = server.get("/openapi.json")
    assert status == 200
    assert {"/image-classification", "/{name}/prediction", "/v2/models/{model}/infer"} <= set(
        document["paths"]
    )
    references = set()

    def collect(node):
        if isinstance(node, dict):
            references.update([node["$ref"]] if "$ref" in node else [])
            list(map(collect, node.values()))
        elif isinstance(node, list):
            list(map(collect, node))

    collect(document)
    schemas = document["components"]["schemas"]
    assert {f"#/components/schemas/{name}" for name in schemas} >= references
    assert schemas["ClassificationRequest"]["required"] == ["image"]
    page = server.send("GET", "/docs")[1].decode()
    assert all(f"{path}</code>" in page for path in document["paths"])
    assert all(f"<summary>{name}</summary>" in page for name in schemas)


def test_metrics(server, jpegs):
    server.classify(jpegs[0])
    status, body, headers = server.send("GET", "/metrics")
    assert status == 200
    assert headers["Content-Type"].startswith("text/plain")
    assert b'ppcls_requests_total{method="POST",protocol="classification",status="200"}' in body
