"""A data set on the disk to check, and what a report says."""

from pictures import RECIPE, encode, make_picture

from ppcls.data.inspection.check import DatasetCheck

EVAL_OPS = [
    {"DecodeImage": {}},
    {"ResizeImage": {"size": [48, 40]}},
    {"NormalizeImage": {"order": ""}},
    {"ToCHWImage": None},
]
CLASSES = 3


class Folder:
    """A dataset on the disk that grows by faults."""

    def __init__(self, root):
        self.root = root
        self.lines = {"train": [], "val": []}
        for part, count in (("train", 12), ("val", 6)):
            for index in range(count):
                self.add(part, f"{index}.jpg", self.jpeg(part, index), index % CLASSES)

    @staticmethod
    def jpeg(part: str, index: int, size=(70, 60)) -> bytes:
        picture = make_picture(*size, seed=index + 1000 * (part == "val"))
        return encode(picture, "JPEG", quality=92)

    def add(self, part: str, name: str, content: bytes, label: int):
        path = self.root / part / name
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(content)
        self.lines[part].append(f"{part}/{name}\t{label}")

    def sections(self) -> dict:
        for part, lines in self.lines.items():
            text = "".join(f"{line}\n" for line in lines)
            (self.root / f"{part}_list.txt").write_text(text, errors="surrogateescape")
        return {
            split: {
                "dataset": {
                    "name": "ImageNetDataset",
                    "image_root": str(self.root),
                    "cls_label_path": str(self.root / f"{part}_list.txt"),
                    "delimiter": "\t",
                    "transform_ops": operators,
                },
                "sampler": {"name": "DistributedBatchSampler", "batch_size": 4},
            }
            for split, part, operators in (("Train", "train", RECIPE), ("Eval", "val", EVAL_OPS))
        }

    def check(self, **options):
        check = DatasetCheck(self.sections(), CLASSES, {0: "cat"})
        return check.run(jobs=0, **options)


def kinds(report) -> "dict[tuple[str, str], int]":
    return {(finding.where, finding.kind): finding.count for finding in report.findings}


def example(report, kind: str) -> str:
    return next(finding for finding in report.findings if finding.kind == kind).examples[0]
