"""Serve the folder that prepare.py wrote with Paddle Serving's pipeline server.

    python deploy/paddleserving/web_service.py serving/

HTTP: `POST /<name>/prediction`; gRPC: `paddle_serving_server.pipeline.PipelineClient`. Logs are in
`PipelineServingLogs/` of the folder. It ends on SIGTERM or Ctrl-C.
"""

import argparse
import os
import signal
import sys
from pathlib import Path
from typing import Any, Optional

os.environ.setdefault("FLAGS_enable_pir_api", "0")
sys.path.insert(0, str(Path(__file__).resolve().parent.parent.parent))

import numpy as np
import yaml

from ppcls.errors import DataError
from ppcls.inference.model_dir import Description
from ppcls.inference.predictor import PredictionPipeline
from ppcls.serving.errors import RequestError
from ppcls.serving.images import check_pixels, from_text
from ppcls.serving.pipeline_form import read_pairs, write_answer
from ppcls.serving.settings import Settings
from ppcls.serving.topk import choose_classes

#: Codes of errors are HTTP's, as in `ppcls serve`.
UNPROCESSABLE = 422
UNSUPPORTED = 415


def create_operators(name: str) -> "tuple[Any, Any]":
    """What reads a request, and what answers it.

    Paddle Serving makes a folder of logs where it is imported, so that it is imported here.
    """
    from paddle_serving_server.pipeline import Op, RequestOp

    class ReadPairs(RequestOp):
        """Takes pairs of texts, and no tensors: those may hold pickled objects, which run code."""

        def unpack_request_package(self, request: Any) -> "tuple[dict, Any, Optional[int], str]":
            if request.tensors:
                return {}, request.logid, UNSUPPORTED, "send key and value, not tensors"
            try:
                read_pairs(request.key, request.value)
            except RequestError as error:
                return {}, request.logid, error.status, str(error)
            return dict(zip(request.key, request.value)), request.logid, None, ""

    class Classify(Op):
        """Images -> the exported preprocessing -> the model -> labels and scores."""

        def init_op(self) -> None:
            description = Description.read(self.model_config)
            self._pipeline = PredictionPipeline(
                self._run_model,
                description.transform_ops,
                description.postprocess,
                description.output,
                description.label_names,
                activation=description.activation,
            )
            self._feed = self.right_feed_names[0]
            self._fetch = self.right_fetch_names[0]
            self._settings = Settings()
            # The first run takes longest.
            self._run_model(np.zeros((1, *description.image_shape), np.float32))

        def preprocess(
            self, input_dicts: "dict[str, dict]", data_id: int = 0, log_id: int = 0
        ) -> "tuple[dict, bool, Optional[int], str]":
            (pairs,) = input_dicts.values()
            texts, _ = read_pairs(list(pairs), list(pairs.values()))
            try:
                images = np.stack([self._prepare(text) for text in texts])
            except RequestError as error:
                return {}, False, error.status, str(error)
            except DataError as error:
                return {}, False, UNPROCESSABLE, str(error)
            return {self._feed: images}, False, None, ""

        def postprocess(
            self, input_data: "dict[str, dict]", fetch_data: dict, data_id: int = 0, log_id: int = 0
        ) -> "tuple[dict[str, str], Optional[int], str]":
            (pairs,) = input_data.values()
            _, topk = read_pairs(list(pairs), list(pairs.values()))
            outputs = fetch_data[self._fetch]
            activate = self._pipeline.activate
            probabilities = activate(outputs) if activate else outputs
            results = choose_classes(self._pipeline.postprocess, probabilities, topk or 1)
            return write_answer(results, topk), None, ""

        def _prepare(self, text: str) -> np.ndarray:
            data = from_text(text, self._settings, timeout=0)
            check_pixels(data, self._settings.max_pixels)
            return self._pipeline.preprocess(data)

        def _run_model(self, images: np.ndarray) -> np.ndarray:
            feed = {self._feed: images}
            return self.client.predict(feed=feed, fetch=[self._fetch], batch=True)[self._fetch]

    request = ReadPairs()
    return request, Classify(name=name, input_ops=[request])


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("folder", type=Path, help="written by prepare.py")
    # Its paths are relative to the folder, and Paddle Serving's files belong there.
    os.chdir(parser.parse_args().folder)
    config = yaml.safe_load(Path("config.yml").read_text(encoding="utf-8"))
    (name,) = config["op"]
    from paddle_serving_server.pipeline import PipelineServer, ResponseOp

    _, classify = create_operators(name)
    server = PipelineServer(name)
    server.set_response_op(ResponseOp(input_ops=[classify]))
    server.prepare_server(yml_dict=config)
    # Ends the processes of the service with it; those end by the signal itself.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    os.register_at_fork(after_in_child=lambda: signal.signal(signal.SIGTERM, signal.SIG_DFL))
    server.run_server()


if __name__ == "__main__":
    main()
