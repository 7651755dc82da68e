"""Whether every engine gives what the model in training gives, on real photos, for every family.

    python benchmarks/engines.py dataset/photos
    python benchmarks/engines.py dataset/photos DSNet_tiny VOLO_D1 --count 20

Each model is exported as `tools/export_model.py` does it, with a free batch, and compared the same
way (`ppcls.engine.export_comparison`): photos in batches of 1 and of 3, random images too, on every
engine that is installed. Then a `Predictor` of each engine predicts the photos from their files, in
batches of `--batch`, and its best classes are compared with those of the model in dygraph.

Weights are random, but the statistics are those of photos, as after training: batch norms are
calibrated on all of them and on noise, and the mean logits are taken off, so that the best class
differs from photo to photo. Exits with 1 if a logit differs by more than 1e-4 of the largest of its
batch, or a best class differs.
"""

import argparse
import logging
import sys
import tempfile
import time
from pathlib import Path
from typing import Any, NamedTuple, Union

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

MODELS = ["DSNet_tiny", "TransXNet_T", "DWNet_tiny", "DynamicDWNet_tiny", "IDynamicDWNet_tiny"]
MODELS += ["VOLO_D1", "SAN10_pairwise", "SAN10_patchwise"]
CONFIG = "configs/DSNet/DSNet_tiny.yaml"
SIZE, DYGRAPH_BATCH = 224, 10


class Row(NamedTuple):
    """One engine's agreement with one model."""

    model: str
    engine: str
    #: Relative to the largest output of the batch.
    random_error: float
    photo_error: float
    #: Of the comparison of the export, and of the predictions from files.
    top1_agreement: float
    from_files: float
    top1_margin: float
    #: Different best classes among the photos.
    classes: int


def build_calibrated(name: str, photos: Any) -> Any:
    """The model with running statistics, and mean logits of 0, of `photos` (N, C, H, W)."""
    import paddle

    from ppcls.arch import build_model

    paddle.seed(1)
    model = build_model(name)
    batch_norms = [layer for layer in model.sublayers() if hasattr(layer, "_momentum")]
    momenta = [layer._momentum for layer in batch_norms]
    for layer in batch_norms:
        layer._momentum = 0.0
    model.train()
    with paddle.no_grad():
        model(paddle.to_tensor(photos))
    for layer, momentum in zip(batch_norms, momenta):
        layer._momentum = momentum
    model.eval()
    bias = next(
        value
        for key, value in model.named_parameters()
        if key.endswith("bias") and value.shape == [model.class_num]
    )
    bias.set_value(bias.numpy() - in_dygraph(model, photos).mean(axis=0))
    return model


def in_dygraph(model: Any, photos: Any) -> Any:
    """Photos (N, C, H, W) -> logits (N, classes)."""
    import numpy as np
    import paddle

    with paddle.no_grad():
        parts = [
            model(paddle.to_tensor(photos[start : start + DYGRAPH_BATCH])).numpy()
            for start in range(0, len(photos), DYGRAPH_BATCH)
        ]
    return np.concatenate(parts)


def check(
    name: str, paths: "list[Path]", specs: "list[Any]", formats: "list[str]", batch: int
) -> "list[Row]":
    """Exports one model and compares every engine with it.

    Raises:
        ExportError: an engine's output differs by more than the tolerance.
    """
    import numpy as np

    from ppcls.data.transform import build_transforms
    from ppcls.engine.exporter import export_model
    from ppcls.inference import Predictor
    from ppcls.inference.model_dir import Description

    transforms = build_transforms(specs)
    photos = np.stack([transforms(path.read_bytes()) for path in paths])
    # The comparison's own noise: images that are far from the statistics may overflow.
    noise = np.random.default_rng(0).standard_normal((4, 3, SIZE, SIZE)).astype(np.float32)
    model = build_calibrated(name, np.concatenate([photos, noise]))
    expected = in_dygraph(model, photos).argmax(axis=1)
    description = Description(
        model_name=name,
        image_shape=[3, SIZE, SIZE],
        transform_ops=specs,
        postprocess={"name": "Topk", "topk": 1},
        output="logits",
    )
    rows = []
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch) / "inference"
        report = export_model(model, folder, description, formats=formats, images=photos)
        for engine in report.errors:
            found = [one for one in report.comparisons if one.engine == engine]
            real = [one for one in found if one.images == "real"]
            predictor = Predictor(folder, engine=engine, batch_size=batch)
            best = [result["class_ids"][0] for result in predictor.predict(paths)]
            rows.append(
                Row(
                    name,
                    engine,
                    max(one.max_relative_error for one in found if one.images == "random"),
                    max(one.max_relative_error for one in real),
                    min(one.top1_agreement for one in real),
                    float(np.mean(np.array(best) == expected)),
                    min(one.top1_margin for one in real),
                    len(set(expected.tolist())),
                )
            )
    return rows


def select(folder: Path, count: int) -> "list[Path]":
    """`count` photos of a folder and those in it, evenly spread."""
    from ppcls.data.image_files import is_image_name

    paths = sorted(path for path in folder.rglob("*") if is_image_name(path.name))
    if len(paths) < count:
        sys.exit(f"error: {folder} holds {len(paths)} photos, fewer than --count {count}")
    return [paths[number * len(paths) // count] for number in range(count)]


def format_row(row: "Union[Row, list[str]]") -> str:
    if isinstance(row, Row):
        row = [
            row.model,
            row.engine,
            f"{row.random_error:.1e}",
            f"{row.photo_error:.1e}",
            f"{row.top1_agreement:.0%}",
            f"{row.from_files:.0%}",
            f"{row.top1_margin:.1e}",
            str(row.classes),
        ]
    return "".join(
        f"{text:{width}}" for text, width in zip(row, (20, 13, 10, 10, 8, 12, 10, 8))
    ).rstrip()


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("photos", type=Path, help="a folder of photos, at any depth")
    parser.add_argument("models", nargs="*", default=MODELS, help="ours, by name")
    parser.add_argument("--count", type=int, default=100, help="photos (100)")
    parser.add_argument("--batch", type=int, default=8, help="photos per run of a predictor (8)")
    parser.add_argument(
        "--format", choices=("pir", "onnx"), default="onnx", help="pir: Paddle Inference only"
    )
    arguments = parser.parse_args()
    import paddle

    from ppcls.config import load_config
    from ppcls.errors import ExportError
    from ppcls.utils.cpu import use_fast_kernels

    use_fast_kernels()
    logging.disable(logging.INFO)
    formats = ["pir"] if arguments.format == "pir" else ["pir", "onnx"]
    specs = load_config(CONFIG)["DataLoader"]["Eval"]["dataset"]["transform_ops"]
    paths = select(arguments.photos, arguments.count)
    titles = ["model", "engine", "random", "photos", "top-1", "from files", "margin", "classes"]
    print(f"Paddle {paddle.__version__}, {len(paths)} photos, {SIZE} x {SIZE}; largest errors")
    print(format_row(titles), flush=True)
    faults = 0
    for name in arguments.models:
        start = time.process_time()
        try:
            rows = check(name, paths, specs, formats, arguments.batch)
        except ExportError as error:
            print(f"{name}: {error}", flush=True)
            faults += 1
            continue
        for row in rows:
            faults += min(row.top1_agreement, row.from_files) < 1
            print(format_row(row), flush=True)
        print(f"{name}: {time.process_time() - start:.0f} s", file=sys.stderr, flush=True)
    print("every engine agrees with dygraph" if not faults else f"{faults} disagreement(s)")
    return 1 if faults else 0


if __name__ == "__main__":
    sys.exit(main())
