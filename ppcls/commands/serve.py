"""Serve exported models over the network: HTTP with JSON, forms, Paddle Serving and KServe v2."""

import argparse
import os
from pathlib import Path

from ppcls.errors import ConfigError
from ppcls.utils.processor import cpu_count


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--model_dir",
        action="append",
        required=True,
        metavar="[NAME=]FOLDER",
        help="an exported folder, or a folder of versions 1/, 2/, ... of one; repeatable, the "
        "first is the default model",
    )
    add = parser.add_argument
    add("--host", default="127.0.0.1", help="address to listen on; 0.0.0.0: all (127.0.0.1)")
    add("--port", type=int, default=8080, help="port for HTTP (8080)")
    add("--grpc_port", type=int, help="port for KServe v2 over gRPC (none)")
    add("--engine", default="auto", help="as of the predictor (auto)")
    add("--precision", default="fp32", help="as of the predictor (fp32)")
    add("--device", choices=("cpu", "gpu"), default="cpu", help="where models run (cpu)")
    add("--threads", type=int, default=1, help="CPU threads of one run of the engine (1)")
    add("--instances", type=int, default=1, help="runs of a model at a time (1)")
    add("--decode_threads", type=int, help="threads that decode images (one per core)")
    add("--max_batch_size", type=int, default=8, help="images per run (8)")
    add("--max_delay_ms", type=float, default=5, help="a batch waits so long for images (5)")
    add("--queue_size", type=int, default=128, help="images waiting per model; 429 above (128)")
    add("--timeout", type=float, default=10, help="seconds for an answer; 504 after (10)")
    add("--body_timeout", type=float, default=10, help="seconds for a request to arrive (10)")
    add("--max_body_mb", type=float, default=16, help="size of a request in MiB; 413 above (16)")
    add("--max_pixels", type=int, default=50_000_000, help="of an image; 413 above (50000000)")
    add("--max_requests", type=int, default=256, help="requests at a time; 503 above (256)")
    add(
        "--api_key_file",
        help="file with a key a line that clients must send; or PPCLS_API_KEYS, comma-separated",
    )
    add(
        "--allow_url_host",
        action="append",
        default=[],
        metavar="HOST[:PORT]",
        help="fetch images from this host when a request names an address (none); repeatable",
    )
    add("--poll_interval", type=float, default=5, help="seconds between looks at the folders (5)")
    add("--keep_versions", type=int, default=1, help="newest versions of a model served (1)")
    add("--drain_delay", type=float, default=1, help="seconds not ready before stopping (1)")
    add("--drain_timeout", type=float, default=30, help="seconds for the last answers (30)")


def run(arguments: argparse.Namespace) -> int:
    _check(arguments)
    try:
        from ppcls.serving.server import create_server, create_service

        if arguments.grpc_port is not None:
            from ppcls.serving import kserve_grpc  # noqa: F401  (whether its packages are there)
    except ImportError as error:
        raise ConfigError(
            f'the server needs the package {error.name}: pip install "logoclas[serve]"'
        ) from error
    from ppcls.serving.log import init_log, log
    from ppcls.serving.settings import MEBIBYTE, Settings

    settings = Settings(
        max_batch_size=arguments.max_batch_size,
        max_delay=arguments.max_delay_ms / 1000,
        queue_size=arguments.queue_size,
        instances=arguments.instances,
        decode_threads=arguments.decode_threads or cpu_count(),
        timeout=arguments.timeout,
        body_timeout=arguments.body_timeout,
        max_body_bytes=int(arguments.max_body_mb * MEBIBYTE),
        max_pixels=arguments.max_pixels,
        max_requests=arguments.max_requests,
        api_keys=_read_keys(arguments.api_key_file),
        url_hosts=tuple(arguments.allow_url_host),
        poll_interval=arguments.poll_interval,
        keep_versions=arguments.keep_versions,
    )
    init_log()
    options = {
        "engine": arguments.engine,
        "device": arguments.device,
        "threads": arguments.threads,
        "precision": arguments.precision,
        "batch_size": settings.max_batch_size,
    }
    service = create_service(arguments.model_dir, settings, options)
    if settings.poll_interval:
        service.repository.watch(settings.poll_interval)
    server = create_server(
        service,
        arguments.host,
        arguments.port,
        arguments.drain_delay,
        arguments.drain_timeout,
        arguments.grpc_port,
    )
    try:
        server.run()
    finally:
        service.repository.close()
    log("stopped")
    return 0 if server.started else 1


def _check(arguments: argparse.Namespace) -> None:
    positive = (
        "threads",
        "instances",
        "max_batch_size",
        "queue_size",
        "timeout",
        "body_timeout",
        "max_body_mb",
        "max_pixels",
        "max_requests",
        "keep_versions",
    )
    faults = [f"--{name} must be positive" for name in positive if getattr(arguments, name) <= 0]
    for name in ("port", "grpc_port"):
        if not 0 <= (getattr(arguments, name) or 0) < 65536:
            faults.append(f"--{name} must be between 0 and 65535")
    if faults:
        raise ConfigError("; ".join(faults))


def _read_keys(path: "str | None") -> "tuple[str, ...]":
    """Keys of the file and of the environment.

    Raises:
        ConfigError: the file holds none, which would leave the server open.
    """
    keys = [key.strip() for key in os.environ.get("PPCLS_API_KEYS", "").split(",")]
    if path is not None:
        of_file = [line.strip() for line in Path(path).read_text(encoding="utf-8").splitlines()]
        if not any(of_file):
            raise ConfigError(f"--api_key_file {path} holds no key")
        keys += of_file
    return tuple(key for key in keys if key)
