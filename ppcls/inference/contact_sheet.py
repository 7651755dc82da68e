"""A picture of predictions: every image with its label, predicted label and score."""

from pathlib import Path
from typing import NamedTuple, Optional, Union

from PIL import Image, ImageDraw, ImageFont

_TILE, _TEXT, _GAP = 128, 34, 8
_RIGHT, _WRONG, _UNKNOWN = (24, 128, 56), (200, 30, 30), (40, 40, 40)


class Tile(NamedTuple):
    """One image of the sheet; `truth` is None where the label is not known."""

    path: Union[str, Path]
    predicted: str
    score: float
    truth: Optional[str] = None


def draw_contact_sheet(tiles: "list[Tile]", path: Union[str, Path], columns: int = 8) -> None:
    """Writes a PNG with one tile per prediction; wrong ones are framed and marked in red.

    Raises:
        ValueError: there are no tiles.
    """
    if not tiles:
        raise ValueError("a contact sheet needs at least one prediction")
    columns = min(columns, len(tiles))
    rows = -(-len(tiles) // columns)
    width, height = _TILE + _GAP, _TILE + _TEXT + _GAP
    sheet = Image.new("RGB", (columns * width + _GAP, rows * height + _GAP), "white")
    draw = ImageDraw.Draw(sheet)
    font = ImageFont.load_default(size=13)
    for number, tile in enumerate(tiles):
        left = _GAP + number % columns * width
        top = _GAP + number // columns * height
        _draw_tile(sheet, draw, font, tile, left, top)
    Path(path).parent.mkdir(parents=True, exist_ok=True)
    sheet.save(path)


def _draw_tile(
    sheet: Image.Image,
    draw: ImageDraw.ImageDraw,
    font: ImageFont.ImageFont,
    tile: Tile,
    left: int,
    top: int,
) -> None:
    with Image.open(tile.path) as file:
        image = file.convert("RGB")
    scale = _TILE / max(image.size)
    size = tuple(max(1, round(side * scale)) for side in image.size)
    image = image.resize(size, Image.Resampling.BICUBIC)
    sheet.paste(image, (left + (_TILE - size[0]) // 2, top + (_TILE - size[1]) // 2))
    is_wrong = tile.truth is not None and tile.truth != tile.predicted
    color = _UNKNOWN if tile.truth is None else (_WRONG if is_wrong else _RIGHT)
    if is_wrong:
        draw.rectangle((left, top, left + _TILE - 1, top + _TILE - 1), outline=_WRONG, width=3)
    lines = [f"{tile.predicted}  {tile.score:.2f}"]
    if is_wrong:
        lines.append(f"is {tile.truth}")
    draw.text((left + 2, top + _TILE + 2), "\n".join(lines), fill=color, font=font, spacing=2)
