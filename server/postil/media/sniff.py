"""Tells what bytes are by how they begin. Nothing is decoded."""

from __future__ import annotations

from postil import errors
from postil.v1.status_code_pb2 import StatusCode

_STARTS = (
    (b"%PDF", "a PDF document"),
    (b"\x1f\x8b", "gzip data"),
    (b"PK\x03\x04", "a ZIP archive"),
    (b"\x1aE\xdf\xa3", "a WebM or Matroska video"),
    (b"8BPS", "a Photoshop file"),
    (b"\x00\x00\x01\x00", "an icon file"),
)
_STILL_BRANDS = {b"avif": "an AVIF picture", b"avis": "an AVIF picture"} | dict.fromkeys(
    (b"heic", b"heix", b"hevc", b"heim", b"heis", b"mif1", b"msf1"), "a HEIC picture"
)
_PICTURES = (
    (b"\xff\xd8\xff", "JPEG"),
    (b"\x89PNG\r\n\x1a\n", "PNG"),
    (b"GIF8", "GIF"),
    (b"BM", "BMP"),
    (b"II*\x00", "TIFF"),
    (b"MM\x00*", "TIFF"),
)
_TEXT_SPAN = 512


def picture_format(data: bytes) -> str | None:
    """The format that a file claims by its first bytes, whether or not the rest is in order."""
    if data[:4] == b"RIFF" and data[8:12] == b"WEBP":
        return "WEBP"
    return next((name for start, name in _PICTURES if data.startswith(start)), None)


def describe(data: bytes) -> str:
    """What unknown bytes look like, in a few words for a person."""
    if data[4:8] == b"ftyp":
        return _STILL_BRANDS.get(data[8:12], "an MP4 video")
    for start, name in _STARTS:
        if data.startswith(start):
            return name
    head = data[:_TEXT_SPAN].lstrip().lower()
    if head.startswith((b"<!doctype html", b"<html")):
        return "a web page"
    if head.startswith((b"<svg", b"<?xml")):
        return "SVG or XML"
    if head.startswith((b"{", b"[")):
        return "JSON"
    return "plain text" if _is_text(data[:_TEXT_SPAN]) else "no known format"


def video_format(data: bytes) -> str:
    """The container of a video, "MP4" or "WEBM"; the video itself is kept as it is and not decoded.

    Raises:
        Failure: INPUT_VIDEO_UNSUPPORTED_FORMAT, it is neither.
    """
    if data[4:8] == b"ftyp" and data[8:12] not in _STILL_BRANDS:
        return "MP4"
    if data.startswith(b"\x1aE\xdf\xa3") and (b"webm" in data[:64] or b"matroska" in data[:64]):
        return "WEBM"
    raise errors.Failure(
        StatusCode.INPUT_VIDEO_UNSUPPORTED_FORMAT,
        f"The bytes are not an MP4 or WebM video: they look like {describe(data)}. Convert the video to MP4 or WebM.",
    )


def _is_text(head: bytes) -> bool:
    try:
        head.decode()
    except UnicodeDecodeError as error:
        if error.start < len(head) - 3:  # else a character is only cut off at the end
            return False
    return not any(byte < 9 or 13 < byte < 32 for byte in head)
