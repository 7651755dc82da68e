"""A table of pictures with titles, as one PNG."""

from pathlib import Path
from typing import NamedTuple, Optional

import cv2
import numpy as np
from PIL import Image, ImageDraw, ImageFont

from ppcls.utils.drawn_text import cut_to_width

_GAP, _MARGIN, _LINE, _GROUP_GAP = 6, 12, 17, 18
#: The first column says what an image is and what is predicted.
_FIRST_WIDTH = 150
#: Of a picture that is enlarged without smoothing.
_FEW_PIXELS = 64
_INK, _GREY, _WRONG, _FRAME = (25, 25, 25), (105, 105, 105), (190, 25, 30), (200, 200, 200)


class Tile(NamedTuple):
    """pixels: RGB (H, W, 3) uint8, None for none; text: below it, line by line."""

    pixels: Optional[np.ndarray]
    text: str = ""
    is_wrong: bool = False


class Column(NamedTuple):
    """Of neighbours with the same `group` it is written once, over the first."""

    title: str
    group: str = ""


def draw_grid(
    path: Path,
    heading: str,
    columns: "list[Column]",
    rows: "list[list[Tile]]",
    notes: str = "",
    tile: int = 160,
) -> None:
    """Writes a PNG: `heading`, the titles of the columns, the rows, and `notes` below them.

    Args:
        tile: longer side of a picture in pixels.
    """
    title_font, font = ImageFont.load_default(size=20), ImageFont.load_default(size=14)
    heads = [column.title.split("\n") for column in columns]
    title_lines = 1 + max(len(lines) for lines in heads)
    lefts, x = [], _MARGIN
    for number, column in enumerate(columns):
        if number and column.group != columns[number - 1].group:
            x += _GROUP_GAP
        lefts.append(x)
        x += (max(tile, _FIRST_WIDTH) if number == 0 else tile) + _GAP
    note_lines = _wrapped(notes, font, x - 2 * _MARGIN)
    heights = [_row_height(row, tile) for row in rows]
    top = _MARGIN + 34 + title_lines * _LINE + _GAP
    height = top + sum(heights) + len(note_lines) * _LINE + 2 * _MARGIN
    sheet = Image.new("RGB", (x - _GAP + _MARGIN, height), "white")
    draw = ImageDraw.Draw(sheet)
    draw.text((_MARGIN, _MARGIN), cut_to_width(heading, title_font, x), fill=_INK, font=title_font)
    for number, (column, lines) in enumerate(zip(columns, heads)):
        y = _MARGIN + 34
        if column.group and (not number or column.group != columns[number - 1].group):
            draw.text((lefts[number], y), column.group, fill=_INK, font=font, stroke_width=0.3)
        width = max(tile, _FIRST_WIDTH) if number == 0 else tile
        for line in lines:
            y += _LINE
            draw.text((lefts[number], y), cut_to_width(line, font, width), fill=_INK, font=font)
    for row, row_height in zip(rows, heights):
        for left, item in zip(lefts, row):
            width = max(tile, _FIRST_WIDTH) if left == lefts[0] else tile
            _draw_tile(sheet, draw, font, item, left, top, tile, width)
        top += row_height
    for line in note_lines:
        draw.text((_MARGIN, top + _GAP), line, fill=_GREY, font=font)
        top += _LINE
    path.parent.mkdir(parents=True, exist_ok=True)
    sheet.save(path, optimize=True)


def _draw_tile(
    sheet: Image.Image,
    draw: ImageDraw.ImageDraw,
    font: ImageFont.FreeTypeFont,
    item: Tile,
    left: int,
    top: int,
    tile: int,
    width: int,
) -> None:
    if item.pixels is not None:
        picture = Image.fromarray(_scaled(item.pixels, tile))
        sheet.paste(picture, (left, top))
        right, bottom = left + picture.width - 1, top + picture.height - 1
        draw.rectangle((left, top, right, bottom), outline=_FRAME)
    y = top + tile + 2
    for number, line in enumerate(item.text.split("\n")):
        color = _WRONG if item.is_wrong and number else _INK if number == 0 else _GREY
        draw.text((left, y), cut_to_width(line, font, width), fill=color, font=font)
        y += _LINE


def _scaled(pixels: np.ndarray, tile: int) -> np.ndarray:
    height, width = pixels.shape[:2]
    scale = tile / max(height, width)
    size = max(1, round(width * scale)), max(1, round(height * scale))
    if size == (width, height):
        return pixels
    # Kernels are a few pixels, of which each is to be seen.
    enlarging = cv2.INTER_NEAREST if max(height, width) <= _FEW_PIXELS else cv2.INTER_CUBIC
    method = cv2.INTER_AREA if scale < 1 else enlarging
    return cv2.resize(np.ascontiguousarray(pixels), size, interpolation=method)


def _row_height(row: "list[Tile]", tile: int) -> int:
    lines = max(item.text.count("\n") + 1 if item.text else 0 for item in row)
    return tile + lines * _LINE + 2 * _GAP


def _wrapped(text: str, font: ImageFont.FreeTypeFont, width: float) -> "list[str]":
    lines: list[str] = []
    for paragraph in text.split("\n") if text else ():
        line = ""
        for word in paragraph.split(" "):
            longer = f"{line} {word}" if line else word
            if line and font.getlength(longer) > width:
                lines.append(line)
                longer = word
            line = longer
        lines.append(line)
    return lines
