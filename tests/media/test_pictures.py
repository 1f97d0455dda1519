"""Opening pictures: each format and mode comes out as upright RGB; everything else is refused with its code."""

from __future__ import annotations

import contextlib
import io
import resource
import threading
import time

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from media import corpus
from postil import errors
from postil.media import pictures
from postil.media.pictures import EMBED_SIDE, PictureLimits, PictureReader, crop, open_picture
from postil.media.sniff import describe, video_format
from postil.v1.data_pb2 import BoundingBox
from postil.v1.status_code_pb2 import StatusCode

Pixel = tuple[int, int, int]


def refusal(data: bytes, limits: PictureLimits | None = None) -> errors.Failure:
    with pytest.raises(errors.Failure) as caught:
        PictureReader(limits).open(data)
    return caught.value


def corners(image: Image.Image) -> list[Pixel]:
    """The colours in the middle of the four quarters, row by row."""
    width, height = image.size
    places = [(x, y) for y in (height // 4, height * 3 // 4) for x in (width // 4, width * 3 // 4)]
    return [tuple(image.getpixel(place)) for place in places]  # type: ignore[arg-type,misc]


def near(found: list[Pixel], wanted: list[Pixel], tolerance: int = 12) -> bool:
    return bool(np.abs(np.subtract(found, wanted, dtype=np.int64)).max() <= tolerance)


QUARTERS = [corpus.RED, corpus.GREEN, corpus.BLUE, corpus.WHITE]


@pytest.mark.parametrize("kind", pictures.FORMATS)
def test_each_format_opens(kind: str) -> None:
    picture = open_picture(corpus.encode(corpus.quarters(), kind))
    assert (picture.format, picture.width, picture.height) == (kind, 64, 48)
    assert picture.image.mode == "RGB"
    assert near(corners(picture.image), QUARTERS)


@pytest.mark.parametrize(
    ("mode", "kind"),
    [
        *[("1", "PNG"), ("L", "PNG"), ("LA", "PNG"), ("P", "PNG"), ("RGBA", "PNG"), ("P", "BMP"), ("P", "GIF")],
        *[("L", "JPEG"), ("CMYK", "JPEG"), ("RGBA", "WEBP")],
        *[("L", "TIFF"), ("CMYK", "TIFF"), ("LAB", "TIFF"), ("YCbCr", "TIFF")],
    ],
)
def test_each_mode_comes_out_as_rgb(mode: str, kind: str) -> None:
    grey = Image.new("RGB", (40, 30), (0, 0, 0))
    grey.paste((255, 255, 255), (0, 0, 20, 30))
    converted = grey.convert("RGB").convert(mode) if mode != "LAB" else lab(grey)
    picture = open_picture(corpus.encode(converted, kind))
    assert picture.image.mode == "RGB"
    assert near(corners(picture.image), [(255, 255, 255), (0, 0, 0)] * 2)


def lab(image: Image.Image) -> Image.Image:
    lightness = image.convert("L")
    neutral = Image.new("L", image.size, 128)
    return Image.merge("LAB", (lightness, neutral, neutral))


def test_transparency_lies_over_white() -> None:
    image = corpus.quarters().convert("RGBA")
    image.putalpha(Image.linear_gradient("L").resize(image.size).point(lambda value: 255 if value > 127 else 0))
    picture = open_picture(corpus.encode(image, "PNG"))
    assert near(corners(picture.image), [corpus.WHITE, corpus.WHITE, corpus.BLUE, corpus.WHITE])


def test_a_transparent_palette_colour_lies_over_white() -> None:
    image = corpus.quarters().quantize(8)
    data = corpus.encode(image, "GIF", transparency=image.getpixel((1, 1)))
    assert near(corners(open_picture(data).image)[:1], [corpus.WHITE])


@pytest.mark.parametrize("kind", ["PNG", "TIFF"])
def test_sixteen_bits_are_scaled_and_not_cut(kind: str) -> None:
    ramp = np.linspace(0, 65535, 256, dtype=np.uint16)[None].repeat(4, 0)
    picture = open_picture(corpus.encode(Image.fromarray(ramp), kind))
    found = np.asarray(picture.image)[0, :, 0].astype(int)
    assert np.abs(found - np.arange(256)).max() <= 1


@pytest.mark.parametrize(
    ("values", "middle"),
    [
        (np.linspace(0, 1, 256, dtype=np.float32), 128),
        (np.linspace(0, 255, 256, dtype=np.float32), 128),
        (np.linspace(-1000, 1000, 256, dtype=np.float32), 128),
        (np.linspace(0, 60000, 256).astype(np.int32), 117),
        (np.full(256, np.nan, np.float32), 0),
    ],
)
def test_deep_tiffs_are_scaled(values: np.typing.NDArray[np.generic], middle: int) -> None:
    picture = open_picture(corpus.encode(Image.fromarray(values[None].repeat(4, 0)), "TIFF"))
    assert abs(int(np.asarray(picture.image)[0, 128, 0]) - middle) <= 1


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP", "TIFF"])
@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("side", [None, 16])
def test_exif_orientation_is_honoured(kind: str, orientation: int, side: int | None) -> None:
    turned = corpus.quarters(64, 48)
    if orientation in pictures._TURNS:
        inverse = {6: 8, 8: 6}.get(orientation, orientation)
        turned = turned.transpose(pictures._TURNS[inverse])
    exif = Image.Exif()
    exif[0x0112] = orientation
    picture = open_picture(corpus.encode(turned, kind, exif=exif), side=side)
    assert (picture.width, picture.height) == (64, 48)
    assert near(corners(picture.image), QUARTERS, tolerance=40)


@pytest.mark.filterwarnings("ignore:Corrupt EXIF data")
def test_damaged_exif_does_not_matter() -> None:
    exif = b"Exif\x00\x00MM\x00*\xff\xff\xff\xff" + bytes(40)
    assert open_picture(corpus.encode(corpus.quarters(), "JPEG", exif=exif)).width == 64


@pytest.mark.parametrize("kind", ["GIF", "PNG", "WEBP", "TIFF"])
def test_of_an_animation_the_first_frame_counts(kind: str) -> None:
    others = [Image.new("RGB", (64, 48), (0, 0, 0)) for _ in range(3)]
    data = corpus.encode(corpus.quarters(), kind, save_all=True, append_images=others)
    assert near(corners(open_picture(data).image), QUARTERS)


def test_a_file_of_several_jpegs_opens_as_jpeg() -> None:
    data = corpus.encode(corpus.quarters(), "MPO", save_all=True, append_images=[corpus.quarters()])
    picture = open_picture(data, side=16)
    assert (picture.format, picture.width, picture.height) == ("JPEG", 64, 48)


def test_one_pixel_is_a_picture() -> None:
    picture = open_picture(corpus.encode(Image.new("RGB", (1, 1), corpus.RED), "PNG"), side=EMBED_SIDE)
    assert (picture.width, picture.height, picture.image.size) == (1, 1, (1, 1))


@pytest.mark.parametrize("kind", ["JPEG", "PNG"])
@pytest.mark.parametrize(("size", "shorter"), [((4000, 3000), 512), ((1100, 1030), 512), ((400, 300), 300)])
def test_a_side_bounds_the_work(kind: str, size: tuple[int, int], shorter: int) -> None:
    data = corpus.encode(corpus.quarters(*size), kind)
    picture = open_picture(data, side=512)
    assert (picture.width, picture.height) == size
    assert shorter <= min(picture.image.size) <= 2 * shorter
    assert near(corners(picture.image), QUARTERS)
    assert picture.image.tobytes() == open_picture(data, side=512).image.tobytes()


@pytest.mark.parametrize(
    ("data", "looks_like"),
    [
        (b"I am a text, though my name ends in .jpg", "plain text"),
        (b"<!DOCTYPE html><title>404</title>", "a web page"),
        (b"<svg xmlns='http://www.w3.org/2000/svg'/>", "SVG"),
        (b'{"error": "not found"}', "JSON"),
        (b"%PDF-1.7 ...", "PDF"),
        (b"\x00\x00\x00\x18ftypheic\x00\x00\x00\x00", "HEIC"),
        (b"\x00\x00\x00\x18ftypisom\x00\x00\x00\x00", "MP4"),
        (b"\x00\x01\x02\x03" * 20, "no known format"),
        (b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 1 1\n", "plain text"),
        (b"P6\n1 1\n255\n\x00\x00\x00", "no known format"),
        (corpus.encode(corpus.quarters(), "ICO"), "an icon file"),
    ],
)
def test_what_is_no_picture_is_named(data: bytes, looks_like: str) -> None:
    failure = refusal(data)
    assert failure.code == StatusCode.INPUT_UNSUPPORTED_FORMAT
    assert looks_like in failure.details
    assert "JPEG" in failure.details


def test_no_bytes() -> None:
    assert refusal(b"").code == StatusCode.INPUT_INVALID_ARGUMENT


@pytest.mark.parametrize("kind", pictures.FORMATS)
def test_a_truncated_picture_is_refused(kind: str) -> None:
    data = corpus.encode(corpus.noise(200, 150), kind)
    for length in (12, len(data) // 3, len(data) * 2 // 3, len(data) - 60):
        failure = refusal(data[:length])
        assert failure.code == StatusCode.ALL_INPUT_INVALID_BYTES
        assert kind in failure.details


@pytest.mark.parametrize(
    "data",
    [
        corpus.png_bomb(10_000, 8_000),
        corpus.png_header(30_000, 30_000) + corpus.png_chunk(b"IDAT", b"x"),
        corpus.png_header(9_400, 9_600) + corpus.png_chunk(b"IDAT", b"x"),
        corpus.png_header(2**31 - 1, 2**31 - 1),
        corpus.gif_with_large_frame(60_000, 60_000),
        corpus.gif_with_large_frame(9_000, 8_000),
        corpus.webp_claiming(16_000, 16_000),
        corpus.encode(Image.new("1", (10_000, 8_000)), "TIFF", compression="group4"),
        corpus.encode(Image.new("1", (10_000, 8_000)), "BMP"),
    ],
    ids=[
        "png-80mp",
        "png-900mp",
        "png-90mp",
        "png-huge",
        "gif-huge",
        "gif-72mp",
        "webp-256mp",
        "tiff-80mp",
        "bmp-80mp",
    ],
)
def test_bombs_are_refused_before_they_are_decoded(data: bytes) -> None:
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    start = time.perf_counter()
    failure = refusal(data)
    assert failure.code in {StatusCode.INPUT_OVER_LIMIT, StatusCode.ALL_INPUT_INVALID_BYTES}
    assert time.perf_counter() - start < 0.5
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 60_000  # kilobytes


def test_eighty_megapixels_say_what_to_do() -> None:
    failure = refusal(corpus.png_bomb(10_000, 8_000))
    assert failure.code == StatusCode.INPUT_OVER_LIMIT
    assert "10,000 × 8,000" in failure.details
    assert "64,000,000" in failure.details


def test_too_many_bytes() -> None:
    failure = refusal(corpus.encode(corpus.noise(64, 64), "PNG"), PictureLimits(max_bytes=1000))
    assert failure.code == StatusCode.INPUT_OVER_LIMIT
    assert "1,000" in failure.details


def test_too_many_scans() -> None:
    assert open_picture(corpus.jpeg_with_scans(0)).width == 64
    assert refusal(corpus.jpeg_with_scans(1000)).code == StatusCode.INPUT_OVER_LIMIT


@settings(max_examples=300, deadline=None)
@given(kind=st.sampled_from(pictures.FORMATS), data=st.data())
def test_damage_never_raises_anything_but_a_failure(kind: str, data: st.DataObject) -> None:
    content = bytearray(corpus.encode(corpus.noise(24, 20), kind))
    for _ in range(data.draw(st.integers(1, 8))):
        content[data.draw(st.integers(0, len(content) - 1))] = data.draw(st.integers(0, 255))
    content = content[: data.draw(st.integers(1, len(content)))]
    with contextlib.suppress(errors.Failure):
        assert PictureReader(PictureLimits(max_pixels=100_000)).open(bytes(content)).image.mode == "RGB"


def test_large_pictures_are_decoded_one_after_the_other(monkeypatch: pytest.MonkeyPatch) -> None:
    running, most = 0, 0
    lock = threading.Lock()
    decode = pictures._decode

    def counting(image: Image.Image) -> Image.Image:
        nonlocal running, most
        with lock:
            running += 1
            most = max(most, running)
        time.sleep(0.02)
        out = decode(image)
        with lock:
            running -= 1
        return out

    monkeypatch.setattr(pictures, "_decode", counting)
    reader = PictureReader(PictureLimits(max_pixels=50_000))
    data = corpus.encode(corpus.noise(200, 100), "PNG")
    threads = [threading.Thread(target=reader.open, args=(data,)) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert most == 2  # 20,000 pixels each, 50,000 allowed


@pytest.mark.parametrize(
    ("box", "size"),
    [
        ((0.0, 0.0, 1.0, 1.0), (64, 48)),
        ((0.0, 0.0, 0.5, 0.5), (32, 24)),
        ((0.5, 0.5, 0.5001, 0.5001), (1, 1)),
        ((0.999, 0.999, 1.0, 1.0), (1, 1)),
        ((0.0, 0.25, 1.0, 0.75), (32, 48)),
    ],
)
def test_crop(box: tuple[float, float, float, float], size: tuple[int, int]) -> None:
    top, left, bottom, right = box
    part = crop(corpus.quarters(), BoundingBox(top_row=top, left_col=left, bottom_row=bottom, right_col=right))
    assert part.size == size


def test_crop_takes_the_right_part() -> None:
    part = crop(corpus.quarters(), BoundingBox(top_row=0.5, left_col=0.0, bottom_row=1.0, right_col=0.5))
    assert part.getcolors() == [(32 * 24, corpus.BLUE)]


def test_videos_are_known_by_their_container() -> None:
    assert video_format(b"\x00\x00\x00\x18ftypmp42" + bytes(16)) == "MP4"
    assert video_format(b"\x1aE\xdf\xa3\x9fB\x86\x81\x01B\xf7\x81\x01B\xf2\x81\x04B\xf3\x81\x08B\x82\x84webm") == "WEBM"
    with pytest.raises(errors.Failure) as caught:
        video_format(b"not a video at all")
    assert caught.value.code == StatusCode.INPUT_VIDEO_UNSUPPORTED_FORMAT
    assert "plain text" in caught.value.details


def test_describe_never_fails() -> None:
    rng = np.random.default_rng(0)
    for length in range(200):
        assert describe(rng.bytes(length))


def test_the_file_is_let_go() -> None:
    picture = open_picture(corpus.encode(corpus.noise(64, 64), "PNG"))
    assert isinstance(picture.image, Image.Image)
    assert not isinstance(getattr(picture.image, "fp", None), io.BytesIO)
