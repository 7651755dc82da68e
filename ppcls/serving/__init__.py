"""The network server: exported folders behind HTTP and gRPC, with dynamic batching.

`ppcls serve` starts it. A request walks `middleware` (limits, key, log) -> a protocol
(`classification`, `pipeline`, `kserve`) -> `model` (preprocessing in threads) -> `batcher` (one run
of the engine for the images of many requests) and back. `repository` holds the models and their
versions and replaces them while requests run.
"""
