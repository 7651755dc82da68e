"""Text in pictures that Pillow draws."""

from PIL import ImageFont

#: Pillow's font has Latin letters only.
_LAST_DRAWN = 0x24F


def drawable(text: str, substitute: str) -> str:
    """`text`, or `substitute` where the font lacks a letter of it."""
    return text if max(map(ord, text), default=0) <= _LAST_DRAWN else substitute


def cut_to_width(text: str, font: ImageFont.FreeTypeFont, width: float) -> str:
    """As much of `text` as fits into `width` pixels; dots say that it goes on."""
    if font.getlength(text) <= width:
        return text
    while text and font.getlength(text + "...") > width:
        text = text[:-1]
    return text + "..."
