"""A picture of the images as the model sees them."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Callable, NamedTuple, Optional

import cv2
import numpy as np
from PIL import Image, ImageDraw, ImageFont

from ppcls.data.batching import BatchMaker
from ppcls.data.inspection.check import DatasetCheck
from ppcls.data.inspection.image_facts import examine
from ppcls.data.inspection.survey import Survey
from ppcls.data.randomness import SampleKey
from ppcls.data.transform.display import displayable
from ppcls.errors import DataError
from ppcls.registry import BATCH_TRANSFORMS
from ppcls.utils.drawn_text import cut_to_width, drawable

_TILE, _LINE, _GAP, _HEADING = 112, 15, 6, 30
#: Of the picture: two images with five draws each, side by side.
_WIDTH = 12 * (_TILE + _GAP) + 3 * _GAP
_INK, _GREY, _BACKGROUND = (30, 30, 30), (120, 120, 120), (255, 255, 255)


class Tile(NamedTuple):
    """pixels: RGB (H, W, 3) uint8; None where there is none."""

    pixels: Optional[np.ndarray]
    text: str


class Part(NamedTuple):
    """A heading and what stands under it: rows of tiles that stay together."""

    heading: str
    rows: "list[list[Tile]]"

    @property
    def row_height(self) -> int:
        """A tile, the lines of text under it, and a gap."""
        texts = [tile.text for row in self.rows for tile in row]
        lines = max([text.count("\n") + 1 for text in texts], default=0)
        return _TILE + lines * _LINE + 2 * _GAP


def draw_sheet(check: DatasetCheck, path: Path, images: int, draws: int) -> None:
    """Draws every split of a check that has run.

    Args:
        check: see `DatasetCheck`.
        path: the PNG file.
        images: how many of each split.
        draws: of each training image; other splits have one.
    """

    def name(class_id: int) -> str:
        return drawable(check.class_name(class_id), f"class {class_id}")

    def describe(label: Any) -> str:
        return label_text(label, name)

    parts = []
    for split, dataset in check.datasets.items():
        indices = choose_images(dataset.labels, check.surveys[split], images, check.seed)
        if not indices:
            continue
        epochs = draws if split == "Train" else 1
        parts.append(draw_part(split, dataset, indices, epochs, check.seed, describe))
        section = check.sections[split]
        specs = section.get("batch_transform_ops") or dataset.batch_transform_ops
        operators = [
            BATCH_TRANSFORMS.build(spec, class_num=check.report.class_num) for spec in specs
        ]
        mixable = [i for i in indices if _fits(dataset.labels[i], check.report.class_num)]
        if operators and mixable:
            parts.append(draw_batch(split, dataset, mixable, operators, check.seed, describe))
    write_sheet(parts, path)


def _fits(label: np.ndarray, class_num: int) -> bool:
    """Whether a label can be one of a model of `class_num` classes."""
    return len(label) == class_num if label.ndim else 0 <= label < class_num


def choose_images(labels: np.ndarray, found: Survey, count: int, seed: int) -> "list[int]":
    """Indices of readable images, of all classes in turn.

    Args:
        labels: (N,) class ids, or (N, C) where 1 means that a class is present.
    """
    random = np.random.RandomState(seed)
    order = random.permutation(np.flatnonzero(found.is_readable))
    if labels.ndim == 2:
        return sorted(order[:count].tolist())
    of_class: dict[int, list[int]] = {}
    for index in order:
        members = of_class.setdefault(int(labels[index]), [])
        if len(members) < count:
            members.append(int(index))
    chosen: list[int] = []
    for turn in range(count):
        turns = [of_class[label][turn] for label in sorted(of_class) if turn < len(of_class[label])]
        chosen += turns[: count - len(chosen)]
        if not turns or len(chosen) == count:
            break
    return sorted(chosen, key=lambda index: (int(labels[index]), index))


def draw_part(
    split: str,
    dataset: Any,
    indices: Sequence[int],
    draws: int,
    seed: int,
    describe: Callable[[Any], str],
) -> Part:
    """The images beside what the transforms make of them in the first epochs.

    Args:
        draws: number of epochs; each draw is exactly what training would show.
        describe: the name of a label.
    """
    make = BatchMaker(dataset, [], seed)
    rows = []
    for index in indices:
        tiles = [Tile(examine(dataset.read(index))[1], describe(dataset.label(index)))]
        for epoch in range(draws):
            try:
                (images, *_), _ = make([SampleKey(epoch, index)])
                tiles.append(Tile(displayable(images[0], dataset.transform), f"epoch {epoch + 1}"))
            except DataError:
                tiles.append(Tile(None, "cannot be transformed"))
        rows.append(tiles)
    epochs = "the first epoch" if draws == 1 else f"the first {draws} epochs"
    return Part(f"{split}: each image, then as the model sees it in {epochs}", rows)


def draw_batch(
    split: str,
    dataset: Any,
    indices: Sequence[int],
    operators: "list[Any]",
    seed: int,
    describe: Callable[[Any], str],
) -> Part:
    """The images after the operators on batches."""
    keys = [SampleKey(0, index) for index in indices]
    names = ", ".join(type(operator).__name__ for operator in operators)
    try:
        (images, labels, _), _ = BatchMaker(dataset, operators, seed)(keys)
    except DataError as error:
        return Part(f"{split}: no batch can be made: {error}", [])
    rows = [
        [Tile(displayable(image, dataset.transform), describe(label))]
        for image, label in zip(images, labels)
    ]
    return Part(f"{split}: a batch after {names}", rows)


def write_sheet(parts: "Sequence[Part]", path: Path) -> None:
    """Writes the picture as PNG."""
    places, height = _arrange(parts)
    sheet = Image.new("RGB", (_WIDTH, height), _BACKGROUND)
    draw = ImageDraw.Draw(sheet)
    heading_font, font = ImageFont.load_default(size=15), ImageFont.load_default(size=12)
    for part, (top, rows) in zip(parts, places):
        draw.text((_GAP, top + 8), part.heading, fill=_INK, font=heading_font)
        for row, (left, row_top) in zip(part.rows, rows):
            for number, tile in enumerate(row):
                x = left + number * (_TILE + _GAP)
                if tile.pixels is not None:
                    _paste(sheet, tile.pixels, x, row_top)
                color = _INK if number == 0 else _GREY
                text = "\n".join(cut_to_width(line, font, _TILE) for line in tile.text.split("\n"))
                draw.text((x, row_top + _TILE + 2), text, fill=color, font=font, spacing=2)
    path.parent.mkdir(parents=True, exist_ok=True)
    sheet.save(path)


def _arrange(parts: "Sequence[Part]") -> "tuple[list[Any], int]":
    """For each part its top and the (left, top) of its rows; the height of all."""
    places, top = [], _GAP
    for part in parts:
        part_top, left = top, _GAP
        top += _HEADING
        rows = []
        for row in part.rows:
            width = len(row) * (_TILE + _GAP) + _GAP
            if left > _GAP and left + width > _WIDTH:
                left, top = _GAP, top + part.row_height
            rows.append((left, top))
            left += width
        top += part.row_height if rows else 0
        places.append((part_top, rows))
    return places, top + _GAP


def _paste(sheet: Image.Image, pixels: np.ndarray, left: int, top: int) -> None:
    height, width = pixels.shape[:2]
    scale = _TILE / max(height, width)
    size = max(1, round(width * scale)), max(1, round(height * scale))
    method = cv2.INTER_AREA if scale < 1 else cv2.INTER_NEAREST
    small = cv2.resize(np.ascontiguousarray(pixels), size, interpolation=method)
    if small.ndim == 2:
        small = np.repeat(small[:, :, None], 3, axis=2)
    sheet.paste(
        Image.fromarray(small), (left + (_TILE - size[0]) // 2, top + (_TILE - size[1]) // 2)
    )


def label_text(label: Any, name: "Callable[[int], str]") -> str:
    """A class id, or a row of probabilities, in words."""
    if np.ndim(label) == 0:
        return name(int(label))
    row = np.asarray(label).reshape(-1, np.shape(label)[-1])[0]
    present = [i for i in np.argsort(-row, kind="stable") if row[i] > 0]
    if not present:
        return "no class"
    if row[present[-1]] == 1:
        return " + ".join(name(i) for i in present)
    return "\n".join(f"{name(i)} {row[i]:.0%}" for i in present[:2])
