"""Draws an evaluation as one PNG: the confusion matrix, and the ROC curve of each concept. Pillow alone."""

from __future__ import annotations

import colorsys
from collections.abc import Sequence
from pathlib import Path

from PIL import Image, ImageDraw, ImageFont

from postil.v1.evaluation_pb2 import BinaryMetrics, EvalMetrics

SIDE = 640  # pixels of each of the two drawings
_MARGIN = 110
_TITLE = 34
_MOST_NAMES = 40  # concepts; of more, names and numbers in cells would not be readable
_CURVES = 12  # in the legend
_INK, _PALE, _PAPER = (30, 30, 36), (208, 210, 216), (255, 255, 255)
_DARK = 0.55  # share from which on a cell's number is white

Colour = tuple[int, int, int]


def draw(metrics: EvalMetrics, path: Path) -> None:
    """Writes the picture. Raises OSError."""
    picture = Image.new("RGB", (2 * (SIDE + _MARGIN) + _MARGIN, SIDE + 2 * _MARGIN), _PAPER)
    pen = ImageDraw.Draw(picture)
    _confusion(pen, metrics, _MARGIN, _MARGIN)
    _curves(pen, metrics.binary_metrics, 2 * _MARGIN + SIDE, _MARGIN)
    picture.save(path, "PNG")


def _confusion(pen: ImageDraw.ImageDraw, metrics: EvalMetrics, left: int, top: int) -> None:
    """Rows are labels, columns what was said; shades are shares of the row."""
    names = {one.concept.id: one.concept.name or one.concept.id for one in metrics.binary_metrics}
    ids = list(metrics.confusion_matrix.concept_ids)
    cells = {(cell.actual, cell.predicted): cell.value for cell in metrics.confusion_matrix.matrix}
    pen.text((left, top - _MARGIN + _TITLE), "Labelled (rows) and likeliest (columns)", _INK, _font(20))
    size = SIDE / max(1, len(ids))
    text = _font(max(9, min(15, int(size * 0.4))))
    for row, actual in enumerate(ids):
        total = sum(cells.get((actual, said), 0.0) for said in ids) or 1.0
        for column, said in enumerate(ids):
            value = cells.get((actual, said), 0.0)
            x, y = left + column * size, top + row * size
            pen.rectangle((x, y, x + size, y + size), _shade(value / total), _PALE if len(ids) <= _MOST_NAMES else None)
            if value and len(ids) <= _MOST_NAMES:
                ink = _PAPER if value / total > _DARK else _INK
                pen.text((x + size / 2, y + size / 2), f"{value:g}"[:5], ink, text, anchor="mm")
        if len(ids) <= _MOST_NAMES:
            middle = top + (row + 0.5) * size
            pen.text((left - 6, middle), _short(names.get(actual, actual)), _INK, text, anchor="rm")
            pen.text(
                (left + (row + 0.5) * size, top + SIDE + 12), _short(names.get(actual, actual), 9), _INK, text, "ma"
            )


def _curves(pen: ImageDraw.ImageDraw, metrics: Sequence[BinaryMetrics], left: int, top: int) -> None:
    """True against false positives, with a legend of those with the smallest areas."""
    pen.text((left, top - _MARGIN + _TITLE), "ROC: found, over falsely found", _INK, _font(20))
    pen.rectangle((left, top, left + SIDE, top + SIDE), _PAPER, _PALE)
    pen.line((left, top + SIDE, left + SIDE, top), _PALE, 2)
    for tick in range(0, 11, 2):
        share = tick / 10
        pen.text((left - 6, top + SIDE * (1 - share)), f"{share:.1f}", _INK, _font(13), anchor="rm")
        pen.text((left + SIDE * share, top + SIDE + 8), f"{share:.1f}", _INK, _font(13), anchor="ma")
    judged = [one for one in metrics if one.num_pos and one.num_neg]
    colours = {id(one): _colour(place, len(judged)) for place, one in enumerate(judged)}
    for one in judged:
        points = zip(one.roc_curve.fpr, one.roc_curve.tpr, strict=True)
        pen.line([(left + SIDE * x, top + SIDE * (1 - y)) for x, y in points], colours[id(one)], 2)
    worst = sorted(judged, key=lambda one: one.roc_auc)[:_CURVES]
    for place, one in enumerate(worst):
        y = top + SIDE - 22 * (len(worst) - place)
        pen.line((left + SIDE - 200, y, left + SIDE - 176, y), colours[id(one)], 4)
        text = f"{_short(one.concept.name or one.concept.id, 14)} {one.roc_auc:.3f}"
        pen.text((left + SIDE - 168, y), text, _INK, _font(14), anchor="lm")


def _shade(share: float) -> Colour:
    return (round(255 - 215 * share), round(255 - 165 * share), round(255 - 95 * share))


def _colour(place: int, count: int) -> Colour:
    red, green, blue = colorsys.hsv_to_rgb(place / max(1, count), 0.75, 0.75)
    return (round(255 * red), round(255 * green), round(255 * blue))


def _short(name: str, most: int = 13) -> str:
    return name if len(name) <= most else name[: most - 1] + "…"


def _font(size: int) -> ImageFont.FreeTypeFont | ImageFont.ImageFont:
    return ImageFont.load_default(size)
