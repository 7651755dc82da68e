"""Read every image of a configuration's datasets, report faults, draw what the model sees."""

import argparse
from pathlib import Path

from ppcls.commands import add_config_arguments, whole_number
from ppcls.commands.prepare_dataset import print_any_name
from ppcls.utils.processor import cpu_count


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add_config_arguments(parser)
    parser.add_argument(
        "--splits", nargs="+", default=["Train", "Eval"], help="which to check (Train Eval)"
    )
    parser.add_argument("--jobs", type=whole_number, help="worker processes (one per CPU)")
    parser.add_argument(
        "--output", type=Path, help="folder of the report (Global.output_dir/dataset_check)"
    )
    parser.add_argument(
        "--sheet",
        type=whole_number,
        default=16,
        help="images per split in the picture (16); 0 for none",
    )
    parser.add_argument(
        "--draws", type=whole_number, default=5, help="draws of each training image (5)"
    )
    parser.add_argument(
        "--near-duplicates", action="store_true", help="also find images that look alike"
    )


def run(arguments: argparse.Namespace) -> int:
    from ppcls.config import load_config

    print_any_name()
    config = load_config(arguments.config, arguments.override)
    from ppcls.data.inspection.check import check_of_config, write_report
    from ppcls.data.inspection.sheet import draw_sheet
    from ppcls.inference.postprocess import label_names_of

    check = check_of_config(config, arguments.splits, label_names_of(config))
    folder = arguments.output or Path(check.output_dir) / "dataset_check"
    jobs = cpu_count() if arguments.jobs is None else arguments.jobs
    report = check.run(jobs, arguments.near_duplicates)
    print(report)
    if arguments.sheet and check.has_images():
        report.sheet = "contact_sheet.png"
        draw_sheet(check, folder / report.sheet, arguments.sheet, arguments.draws)
    write_report(report, folder / "report.json")
    errors, warnings = len(report.of("error")), len(report.of("warning"))
    verdict = "The datasets have faults" if errors else "The datasets can be used"
    print(f"\n{verdict}; kinds of errors: {errors}, of warnings: {warnings}.")
    print(f"Report: {folder / 'report.json'}")
    if report.sheet:
        print(f"What the model sees: {folder / report.sheet}")
    return 1 if errors else 0
