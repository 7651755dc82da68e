"""What an operator may set; `ppcls serve` has an option for each."""

from dataclasses import dataclass

from ppcls.utils.processor import cpu_count

MEBIBYTE = 2**20


@dataclass(frozen=True)
class Settings:
    """Limits of the server. Times are in seconds."""

    #: Images per run of the engine.
    max_batch_size: int = 8
    #: How long a batch waits for images that are being decoded.
    max_delay: float = 0.005
    #: Images of one model that are admitted and not answered yet; more are refused (429).
    queue_size: int = 128
    #: Runs of one model's engine at a time.
    instances: int = 1
    #: Threads that decode and prepare images.
    decode_threads: int = cpu_count()
    #: An answer later than this is refused (504); a request may ask for less.
    timeout: float = 10.0
    #: The body of a request must have arrived by then (408).
    body_timeout: float = 10.0
    #: Larger bodies are refused (413).
    max_body_bytes: int = 16 * MEBIBYTE
    #: Larger images are refused (413) before they are decoded.
    max_pixels: int = 50_000_000
    #: Requests at a time; more are refused (503).
    max_requests: int = 256
    #: Keys of clients; without any, everybody may ask.
    api_keys: "tuple[str, ...]" = ()
    #: Hosts (`name` or `name:port`) from which images are fetched; without any, none are.
    url_hosts: "tuple[str, ...]" = ()
    #: How often the model folders are looked at for new versions; 0: never.
    poll_interval: float = 5.0
    #: Newest versions of a model that are served at a time.
    keep_versions: int = 1
