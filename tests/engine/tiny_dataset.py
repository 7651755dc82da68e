"""Small folders of random pictures with their lists, and the data sections that read them."""

import numpy as np
from PIL import Image

TRANSFORMS = [
    {"DecodeImage": {}},
    {"NormalizeImage": {"scale": 1 / 255, "order": ""}},
    {"ToCHWImage": {}},
]


def write_split(folder, name, count, draw):
    """Writes pictures and their list `name.txt`.

    Args:
        draw: number of a picture -> its pixels (32, 32, 3), and its label as the list has it.
    """
    lines = []
    for index in range(count):
        pixels, label = draw(index)
        Image.fromarray(pixels.astype(np.uint8)).save(folder / f"{name}{index}.png")
        lines.append(f"{name}{index}.png\t{label}\n")
    (folder / f"{name}.txt").write_text("".join(lines))


def write_brightnesses(folder, classes, **counts):
    """Pictures of random pixels, a brightness per class; `counts`: split -> number of pictures."""
    random = np.random.RandomState(0)

    def draw(index):
        label = index % classes
        return random.randint(0, 64, (32, 32, 3)) + 48 * label, label

    for name, count in counts.items():
        write_split(folder, name, count, draw)


def read_split(folder, name, batch_size, dataset=(), sampler=()):
    """A section of `DataLoader`; `dataset` and `sampler` replace keys of theirs."""
    return {
        "dataset": {
            "name": "ImageNetDataset",
            "image_root": str(folder),
            "cls_label_path": str(folder / f"{name}.txt"),
            "transform_ops": TRANSFORMS,
            **dict(dataset),
        },
        "sampler": {
            "name": "DistributedBatchSampler",
            "batch_size": batch_size,
            **dict(sampler),
        },
        "loader": {"num_workers": 0},
    }
