"""Stands in for the package of this name, which has no builds for Python 3.10 and newer.

`paddle_serving_server.pipeline` imports the name `Client` and uses it only to reach C++ servers.
"""


class Client:
    """Cannot be made."""

    def __init__(self, *arguments: object, **settings: object):
        raise RuntimeError(
            "the package paddle_serving_client, which talks to Paddle Serving's C++ servers, needs "
            "Python 3.9 or older; pipelines with client_type: local_predictor do not need it"
        )
