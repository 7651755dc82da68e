"""The Open Inference Protocol over gRPC, asked by Triton's client."""

import asyncio
import shutil
import struct
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

from ppcls.commands import main
from ppcls.inference import Predictor
from tests.serving.small_server import held, replace_content, running

grpc = pytest.importorskip("grpc")
triton = pytest.importorskip("tritonclient.grpc")

from ppcls.serving.open_inference import MESSAGES, SERVICE  # noqa: E402 (needs grpc)

Code = grpc.StatusCode


@pytest.fixture(scope="module")
def served(exported):
    """(address, HTTP client, service) of a server."""
    with running([exported], grpc_port=0) as (client, service, server):
        yield f"127.0.0.1:{server.grpc_port}", client, service


@pytest.fixture
def address(served):
    return served[0]


def bytes_input(images):
    tensor = triton.InferInput("image", [len(images)], "BYTES")
    tensor.set_data_from_numpy(np.array(images, object))
    return tensor


def ask(client, image, **settings):
    """The most probable class."""
    result = client.infer("small", [bytes_input([image])], **settings)
    return int(result.as_numpy("class_ids")[0, 0])


def call(address, method, message, timeout=10, metadata=(), options=()):
    """An answer; what is sent may be any bytes."""
    with grpc.insecure_channel(address, options) as channel:
        stub = channel.unary_unary(
            f"/{SERVICE}/{method}",
            lambda sent: sent if isinstance(sent, bytes) else sent.SerializeToString(),
            MESSAGES[f"{method}Response"].FromString,
        )
        return stub(message, timeout=timeout, metadata=metadata)


def refusal(address, message, **settings):
    with pytest.raises(grpc.RpcError) as caught:
        call(address, "ModelInfer", message, **settings)
    return caught.value.code(), caught.value.details()


def new_request(**changes):
    """A request of zeros for the small model."""
    tensor = {"name": "x", "datatype": "FP32", "shape": [1, 3, 32, 32]}
    tensor.update({key: changes.pop(key) for key in list(changes) if key in (*tensor, "contents")})
    fields = {
        "model_name": "small",
        "inputs": [tensor],
        "raw_input_contents": [bytes(3 * 32 * 32 * 4)],
    }
    return MESSAGES["ModelInferRequest"](**{**fields, **changes})


def test_triton_client(address, exported, jpegs, offline):
    client = triton.InferenceServerClient(address)
    assert client.is_server_live()
    assert client.is_server_ready()
    assert client.is_model_ready("small")
    assert client.is_model_ready("small", "1")
    assert client.get_server_metadata().name == "logoclas"
    description = client.get_model_metadata("small", as_json=True)
    assert description["versions"] == ["1"]
    assert description["inputs"][1] == {
        "name": "x",
        "datatype": "FP32",
        "shape": ["-1", "3", "32", "32"],
    }
    assert client.get_model_repository_index().models[0].state == "READY"
    result = client.infer("small", [bytes_input(jpegs)], request_id="7", parameters={"topk": 3})
    assert result.get_response().id == "7"
    expected = [prediction["class_ids"][:3] for prediction in offline]
    np.testing.assert_array_equal(result.as_numpy("class_ids"), expected)
    np.testing.assert_allclose(
        result.as_numpy("scores"), [p["scores"][:3] for p in offline], atol=2e-5
    )
    assert result.as_numpy("label_names")[2, 0].decode() == offline[2]["label_names"][0]
    predictor = Predictor(exported, "onnxruntime")
    array = np.stack([predictor.preprocess(image) for image in jpegs])
    x = triton.InferInput("x", list(array.shape), "FP32")
    x.set_data_from_numpy(array)
    outputs = [
        triton.InferRequestedOutput("prob"),
        triton.InferRequestedOutput("scores", class_count=2),
    ]
    result = client.infer("small", [x], "1", outputs=outputs)
    np.testing.assert_allclose(result.as_numpy("prob"), predictor.run(array), atol=1e-6)
    _, class_id, name = result.as_numpy("scores")[0, 0].decode().split(":")
    assert (int(class_id), name) == (offline[0]["class_ids"][0], offline[0]["label_names"][0])
    with pytest.raises(triton.InferenceServerException, match="unknown model"):
        client.is_model_ready("nothing")
    client.close()


def test_contents_that_are_not_raw(address, exported, jpegs, offline):
    request = new_request(
        **{"name": "image", "datatype": "BYTES", "shape": [2]},
        contents={"bytes_contents": jpegs[:2]},
        raw_input_contents=[],
        outputs=[{"name": "class_ids"}],
    )
    (raw,) = call(address, "ModelInfer", request).raw_output_contents
    top = np.frombuffer(raw, np.int64).reshape(2, -1)[:, 0]
    assert top.tolist() == [prediction["class_ids"][0] for prediction in offline[:2]]
    array = Predictor(exported, "onnxruntime").preprocess(jpegs[3]).ravel()
    for datatype, field in (("FP32", "fp32_contents"), ("FP64", "fp64_contents")):
        request = new_request(
            datatype=datatype, contents={field: array.tolist()}, raw_input_contents=[]
        )
        answer = call(address, "ModelInfer", request)
        class_ids = np.frombuffer(answer.raw_output_contents[1], np.int64)
        assert class_ids[0] == offline[3]["class_ids"][0]


def test_malformed_requests(address, jpegs, offline):
    half = struct.pack("<I", 9000) + jpegs[0][:100]
    malformed = [
        b"\xff\xff\xff",
        new_request(inputs=[]),
        new_request(raw_input_contents=[]),
        new_request(raw_input_contents=[b""]),
        new_request(raw_input_contents=[b"abc"]),
        new_request(raw_input_contents=[b"", b""]),
        new_request(contents={"fp32_contents": [1.0]}),
        new_request(raw_input_contents=[b"\xff" * 3 * 32 * 32 * 4]),  # not a number
        new_request(name="y"),
        new_request(datatype="INT8"),
        new_request(shape=[]),
        new_request(shape=[-1, 3, 32, 32]),
        new_request(shape=[2**62, 2**62, 32, 32]),
        new_request(shape=[1] * 1000),
        new_request(shape=[3, 1, 32, 32]),
        new_request(outputs=[{"name": "nothing"}]),
        new_request(outputs=[{"name": "prob"}] * 9),
        new_request(parameters=[{"key": "topk", "value": {"string_param": "many"}}]),
        new_request(parameters=[{"key": "topk", "value": {"int64_param": 0}}]),
        new_request(parameters=[{"key": "timeout", "value": {"int64_param": -1}}]),
        new_request(name="image", datatype="BYTES", shape=[1], raw_input_contents=[half]),
        new_request(name="image", datatype="BYTES", shape=[2], raw_input_contents=[half[4:]]),
        new_request(
            **{"name": "image", "datatype": "BYTES", "shape": [1]},
            contents={"bytes_contents": [b"no image"]},
            raw_input_contents=[],
        ),
    ]
    for request in malformed:
        code, text = refusal(address, request)
        assert code == Code.INVALID_ARGUMENT, (request, code, text)
        assert 5 < len(text) < 400
        assert "Traceback" not in text
    assert refusal(address, new_request(model_name="nothing"))[0] == Code.NOT_FOUND
    assert refusal(address, new_request(model_version="9"))[0] == Code.NOT_FOUND
    assert refusal(address, new_request(model_name=""))[0] == Code.NOT_FOUND
    with pytest.raises(grpc.RpcError) as caught, grpc.insecure_channel(address) as channel:
        channel.unary_unary(f"/{SERVICE}/Nothing")(b"", timeout=5)
    assert caught.value.code() == Code.UNIMPLEMENTED
    client = triton.InferenceServerClient(address)
    assert ask(client, jpegs[0]) == offline[0]["class_ids"][0]
    client.close()


def test_large_and_compressed_messages(exported, jpegs, offline):
    with running([exported], grpc_port=0, max_body_bytes=100_000) as (_, _, server):
        address = f"127.0.0.1:{server.grpc_port}"
        code, _ = refusal(address, new_request(raw_input_contents=[bytes(200_000)]))
        assert code == Code.RESOURCE_EXHAUSTED
        # Of this size when unpacked; compression is refused altogether.
        options = (("grpc.default_compression_algorithm", 2),)
        code, text = refusal(
            address, new_request(raw_input_contents=[bytes(50_000_000)]), options=options
        )
        assert code in (Code.UNIMPLEMENTED, Code.INTERNAL, Code.RESOURCE_EXHAUSTED), text
        client = triton.InferenceServerClient(address)
        assert ask(client, jpegs[1]) == offline[1]["class_ids"][0]
        client.close()


def test_full_queue_deadlines_and_probes(exported, jpegs):
    limits = {"queue_size": 2, "max_requests": 3, "timeout": 5}
    with running([exported], grpc_port=0, **limits) as (http, service, server):
        address = f"127.0.0.1:{server.grpc_port}"
        with held(service) as release, ThreadPoolExecutor(8) as pool:
            waiting = [pool.submit(call, address, "ModelInfer", new_request()) for _ in range(2)]
            wait_until(lambda: admitted(service) == 2)
            assert refusal(address, new_request())[0] == Code.RESOURCE_EXHAUSTED
            waiting.append(pool.submit(http.send, "POST", "/image-classification", slowly()))
            wait_until(lambda: service._running == 3)
            assert refusal(address, new_request())[0] == Code.UNAVAILABLE
            assert call(address, "ServerReady", b"").ready
            release()
            assert all(future.result() for future in waiting)
        with held(service):
            started = time.monotonic()
            for settings in (
                {"timeout": 0.2},
                {"parameters": [{"key": "timeout", "value": {"int64_param": 200_000}}]},
            ):
                timeout = settings.pop("timeout", 10)
                code, _ = refusal(address, new_request(**settings), timeout=timeout)
                assert code == Code.DEADLINE_EXCEEDED
            assert time.monotonic() - started < 3
            wait_until(lambda: admitted(service) == 0 and service._running == 0)


def admitted(service):
    with service.repository.lease() as model:
        return model._batcher.admitted


def slowly():
    """The body of a request that keeps a place among the running ones."""
    yield b"{"
    time.sleep(1)
    yield b"}"


def wait_until(condition):
    deadline = time.monotonic() + 10
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def test_vanishing_and_slow_clients(exported, jpegs):
    """A call whose message does not come, or whose client leaves, frees its place."""
    with running([exported], grpc_port=0, body_timeout=0.5) as (_, service, server):
        address = f"127.0.0.1:{server.grpc_port}"

        async def begin_calls():
            async with grpc.aio.insecure_channel(address) as channel:
                begun = [channel.stream_unary(f"/{SERVICE}/ModelInfer")() for _ in range(3)]
                await begun[0].wait_for_connection()
                begun[0].cancel()
                await begun[1].done_writing()
                return [await call.code() for call in begun]

        codes = asyncio.run(begin_calls())
        assert codes == [Code.CANCELLED, Code.INVALID_ARGUMENT, Code.DEADLINE_EXCEEDED]
        with held(service):
            with grpc.insecure_channel(address) as channel:
                future = channel.unary_unary(f"/{SERVICE}/ModelInfer").future(
                    new_request().SerializeToString()
                )
                wait_until(lambda: admitted(service) == 1)
                future.cancel()
            wait_until(lambda: admitted(service) == 0)
        wait_until(lambda: service._running == 0)


def test_keys(exported, jpegs):
    with running([exported], grpc_port=0, api_keys=("one", "two")) as (_, _, server):
        address = f"127.0.0.1:{server.grpc_port}"
        for metadata in ((), (("x-api-key", "three"),), (("authorization", "Bearer "),)):
            code, text = refusal(address, new_request(), metadata=metadata)
            assert code == Code.UNAUTHENTICATED
            assert "key" in text
        client = triton.InferenceServerClient(address)
        assert client.is_server_ready()
        for headers in ({"x-api-key": "two"}, {"authorization": "Bearer one"}):
            assert isinstance(ask(client, jpegs[0], headers=headers), int)
        client.close()


def test_internal_errors_stay_inside(served):
    address, _, service = served

    def fail(images):
        raise RuntimeError("secret detail")

    with service.repository.lease() as model:
        run, model._predictor.run = model._predictor.run, fail
        try:
            code, text = refusal(address, new_request())
        finally:
            model._predictor.run = run
    assert code == Code.INTERNAL
    assert text == "internal error; the server's log says more"


def test_a_port_that_is_taken(exported, address, capsys, monkeypatch):
    monkeypatch.setattr("ppcls.serving.log.init_log", lambda: None)
    port = address.rpartition(":")[2]
    arguments = ["--model_dir", str(exported), "--engine", "onnxruntime", "--port", "0"]
    assert main("serve", [*arguments, "--grpc_port", port]) == 1
    assert f"--grpc_port {port}: cannot listen" in capsys.readouterr().err


def test_metrics(served):
    address, client, _ = served
    call(address, "ModelInfer", new_request())
    text = client.send("GET", "/metrics")[1].decode()
    assert 'ppcls_requests_total{method="ModelInfer",protocol="grpc",status="OK"}' in text


def test_stopping_under_load_loses_no_accepted_call(exported, jpegs, offline):
    """Every call that the server begins gets its answer; others see that it is gone."""
    answers, errors = [], []
    with running([exported], grpc_port=0) as (_, service, server):
        address = f"127.0.0.1:{server.grpc_port}"

        def ask_on(number):
            client = triton.InferenceServerClient(address)
            while True:
                try:
                    answers.append((number, ask(client, jpegs[number])))
                except triton.InferenceServerException as error:
                    errors.append(error)
                    client.close()
                    return

        threads = [threading.Thread(target=ask_on, args=(n,)) for n in range(6)]
        for thread in threads:
            thread.start()
        wait_until(lambda: len(answers) > 50)
        server.drain()
        for thread in threads:
            thread.join(20)
    assert all(top == offline[number]["class_ids"][0] for number, top in answers)
    assert {error.status() for error in errors} == {"StatusCode.UNAVAILABLE"}
    requests = service.metrics.requests.collect()[0].samples
    by_status = {
        sample.labels["status"]: sample.value
        for sample in requests
        if sample.name.endswith("_total") and sample.labels["protocol"] == "grpc"
    }
    assert by_status.pop("OK") == len(answers)
    assert set(by_status) <= {"UNAVAILABLE"}


def test_reload_under_load_loses_no_call(exported, other_exported, jpegs, offline, tmp_path):
    folder = tmp_path / "inference"
    shutil.copytree(exported, folder)
    with running([f"small={folder}"], grpc_port=0) as (_, service, server):
        stop = threading.Event()

        def ask_on(number):
            client = triton.InferenceServerClient(f"127.0.0.1:{server.grpc_port}")
            answers = []
            while not stop.is_set():
                result = client.infer("small", [bytes_input([jpegs[number]])])
                answers.append(result.as_numpy("label_names")[0, 0].decode().split()[0])
                assert result.as_numpy("class_ids")[0, 0] == offline[number]["class_ids"][0]
            client.close()
            return answers

        with ThreadPoolExecutor(4) as pool:
            asking = [pool.submit(ask_on, number) for number in range(4)]
            for source in (other_exported, exported, other_exported):
                replace_content(source, folder)
                service.repository.refresh()
                service.repository.refresh()
            stop.set()
            answers = [name for future in asking for name in future.result(20)]
    assert set(answers) == {"class", "other"}
