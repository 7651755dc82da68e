"""The whole way on handwritten digits: prepare, train, evaluate, export, predict, summarise."""

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from ppcls.engine.exporter import ExportReport
    from ppcls.inference.contact_sheet import Tile

CONFIG = Path("configs/quick_start/digits/DSNet_digits.yaml")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--data", type=Path, default=Path("dataset/digits"))
    parser.add_argument("--output", type=Path, default=Path("output/quickstart"))
    parser.add_argument(
        "-o",
        "--override",
        action="append",
        default=[],
        metavar="KEY.PATH=VALUE",
        help="override a value of the configuration; repeatable",
    )


def run(arguments: argparse.Namespace) -> int:
    import time

    from ppcls.config import load_config
    from ppcls.data.prepare import prepare_digits
    from ppcls.utils.signals import Interrupted

    data, output = arguments.data, arguments.output
    print(f"Wrote {prepare_digits(data)}")
    started = time.perf_counter()
    overrides = _paths(data, output) + arguments.override
    from ppcls.engine.deployment import export
    from ppcls.engine.evaluation import evaluate
    from ppcls.engine.trainer import Trainer

    try:
        trained = Trainer(load_config(CONFIG, overrides)).fit()
    except Interrupted as interrupted:
        return interrupted.exit_code
    run_folder = Path(trained["folder"])
    best = load_config(CONFIG, [*overrides, f"Global.pretrained_model={run_folder}/best_model"])
    results = evaluate(best)
    report = export(best, output / "inference", formats=("pir", "onnx"))
    predictions, speeds = _predict(report.folder, data)

    from ppcls.engine.learning_curves import LEARNING_CURVES
    from ppcls.inference.contact_sheet import draw_contact_sheet

    curves, sheet = run_folder / LEARNING_CURVES, output / "predictions.png"
    draw_contact_sheet(predictions, sheet)
    seconds = time.perf_counter() - started
    _print_summary(results, report, speeds, [run_folder, curves, sheet], seconds)
    return 0


def _paths(data: Path, output: Path) -> "list[str]":
    loaders = [
        f"DataLoader.{phase}.dataset.{key}={value}"
        for phase, name in (("Train", "train_list.txt"), ("Eval", "val_list.txt"))
        for key, value in (("image_root", data), ("cls_label_path", data / name))
    ]
    labels = f"Infer.PostProcess.class_id_map_file={data / 'label_list.txt'}"
    return [*loaders, labels, f"Global.output_dir={output}"]


def _predict(folder: Path, data: Path) -> "tuple[list[Tile], dict[str, float]]":
    """Predicts held-out images with both engines: tiles of a sheet, and ms per image."""
    import time

    from ppcls.errors import ExportError
    from ppcls.inference import Predictor
    from ppcls.inference.contact_sheet import Tile

    lines = (data / "val_list.txt").read_text().splitlines()[:32]
    paths, labels = zip(*(line.rsplit(" ", 1) for line in lines))
    files = [str(data / path) for path in paths]
    speeds, answers = {}, {}
    for engine in ("paddle", "onnxruntime"):
        predictor = Predictor(folder, engine=engine, batch_size=1)
        predictor.predict(files[:4])  # warm-up
        started = time.perf_counter()
        answers[engine] = predictor.predict(files)
        speeds[engine] = (time.perf_counter() - started) * 1000 / len(files)
    classes = {engine: [a["class_ids"][0] for a in found] for engine, found in answers.items()}
    if classes["paddle"] != classes["onnxruntime"]:
        raise ExportError(f"the engines disagree on {folder}: {classes}")
    tiles = [
        Tile(file, answer["label_names"][0], answer["scores"][0], label)
        for file, label, answer in zip(files, labels, answers["paddle"])
    ]
    return tiles, speeds


def _print_summary(
    results: "dict[str, float]",
    report: "ExportReport",
    speeds: "dict[str, float]",
    others: "list[Path]",
    seconds: float,
) -> None:
    names = {"paddle": "Paddle Inference", "onnxruntime": "ONNX Runtime"}
    print("\n" + "=" * 72)
    print(f"top-1 on the held-out digits: {results['top1'] * 100:.2f} %")
    for engine, milliseconds in speeds.items():
        error = report.errors[engine]
        print(
            f"{names[engine]:17s} {milliseconds:6.2f} ms per image (file to label, batch 1), "
            f"{error:.0e} from the trained model"
        )
    print(f"training and the rest took {seconds:.0f} s; written:")
    for path in [*report.files, *others]:
        print(f"  {path}")
    print("=" * 72)
