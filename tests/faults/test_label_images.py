"""Test that labelled images of every kind are read correctly or refused in one line."""

import struct
import zlib

import cv2
import numpy as np
import pytest
from PIL import Image, TiffImagePlugin

from pipeline_lib.core.errors import LabelError, StoreError
from pipeline_lib.io.image_header import read_header
from pipeline_lib.io.images import read_image
from pipeline_lib.io.labels.deeplabcut import read_deeplabcut

HEIGHT, WIDTH = 12, 20
# Red, green, blue and gray quarters: every turn and every mirror gives another picture.
RGB = np.zeros((HEIGHT, WIDTH, 3), np.uint8)
RGB[:6, :10], RGB[:6, 10:], RGB[6:, :10], RGB[6:, 10:] = (255, 0, 0), (0, 255, 0), (0, 0, 255), 90
GRAY = np.arange(HEIGHT * WIDTH, dtype=np.uint16).reshape(HEIGHT, WIDTH)


def turn(image, orientation):
    """Turn an image by its EXIF orientation, independent of the code under test."""
    return {
        1: image,
        2: np.fliplr(image),
        3: np.rot90(image, 2),
        4: np.flipud(image),
        5: image.swapaxes(0, 1),
        6: np.rot90(image, -1),
        7: np.rot90(image.swapaxes(0, 1), 2),
        8: np.rot90(image, 1),
    }[orientation]


def exif_of(orientation):
    exif = Image.Exif()
    exif[0x0112] = orientation
    return exif


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("kind", ["JPEG", "PNG", "TIFF", "WEBP", "deep TIFF", "late PNG"])
def test_every_orientation(tmp_path, orientation, kind):
    path = tmp_path / "image"
    exif = exif_of(orientation)
    if kind == "deep TIFF":
        tags = TiffImagePlugin.ImageFileDirectory_v2()
        tags[0x0112] = orientation
        Image.fromarray(RGB[..., 0].astype(np.uint16) * 257).save(path, "TIFF", tiffinfo=tags)
    elif kind == "late PNG":
        # The orientation stands behind the pixels.
        Image.fromarray(RGB).save(path, "PNG")
        data = path.read_bytes()
        body = b"eXIf" + exif.tobytes().removeprefix(b"Exif\0\0")
        chunk = struct.pack(">I", len(body) - 4) + body + struct.pack(">I", zlib.crc32(body))
        path.write_bytes(data[:-12] + chunk + data[-12:])
    else:
        Image.fromarray(RGB).save(path, kind, exif=exif, lossless=True, quality=98, subsampling=0)
    image = read_image(path)
    expected = turn(RGB, orientation)
    if kind == "deep TIFF":
        expected = np.repeat(expected[..., :1], 3, axis=2)
    # JPEG is not exact.
    tolerance = 40 if kind == "JPEG" else 0
    assert image.shape == expected.shape
    assert np.abs(image.astype(int) - expected).max() <= tolerance
    # Geometry is that of the pixels.
    header = read_header(path)
    assert header.upright == image.shape[1::-1]
    assert header.stored == (WIDTH, HEIGHT)
    assert header.orientation == orientation


@pytest.mark.parametrize("orientation", [0, 9, 255])
def test_an_orientation_that_there_is_not(tmp_path, orientation):
    Image.fromarray(RGB).save(tmp_path / "a.png", exif=exif_of(orientation))
    np.testing.assert_array_equal(read_image(tmp_path / "a.png"), RGB)


def save_png(path, image):
    cv2.imwrite(str(path.with_suffix(".png")), image)
    path.with_suffix(".png").rename(path)


@pytest.mark.parametrize("bits", [8, 10, 12, 14, 16])
@pytest.mark.parametrize("save", ["PNG", "TIFF", "RGB PNG", "I;16B"])
def test_the_highest_8_bits_of_cameras(tmp_path, bits, save):
    """Check that a bright image of any bit depth is as bright as its 8-bit copy."""
    path = tmp_path / "image"
    eight = np.linspace(0, 255, HEIGHT * WIDTH).astype(np.uint16).reshape(HEIGHT, WIDTH)
    deep = (eight << (bits - 8)) + (2 ** (bits - 8) - 1)
    if save == "RGB PNG":
        save_png(path, np.dstack([deep] * 3))
    elif save == "I;16B":
        header = b"MM\0*\0\0\0\x08\0\x08"
        values = deep.astype(">u2").tobytes()
        entries = [
            (256, 3, WIDTH << 16), (257, 3, HEIGHT << 16), (258, 3, 16 << 16), (259, 3, 1 << 16),
            (262, 3, 1 << 16), (273, 4, 110), (278, 3, HEIGHT << 16), (279, 4, len(values)),
        ]  # fmt: skip
        fields = b"".join(struct.pack(">HHII", tag, kind, 1, value) for tag, kind, value in entries)
        path.write_bytes(header + fields + b"\0\0\0\0" + values)
        assert path.read_bytes().index(values) == 110
    else:
        Image.fromarray(deep).save(path, save)
    np.testing.assert_array_equal(read_image(path), np.dstack([eight] * 3))


def test_a_dark_and_an_empty_deep_image(tmp_path):
    Image.fromarray(GRAY).save(tmp_path / "dark.png")
    np.testing.assert_array_equal(read_image(tmp_path / "dark.png")[..., 0], GRAY)
    Image.fromarray(GRAY * 0).save(tmp_path / "black.png")
    assert read_image(tmp_path / "black.png").max() == 0


@pytest.mark.parametrize(
    ("mode", "kind"),
    [
        ("1", "PNG"), ("L", "PNG"), ("LA", "PNG"), ("P", "PNG"), ("RGB", "PNG"), ("RGBA", "PNG"),
        ("1", "TIFF"), ("L", "TIFF"), ("P", "TIFF"), ("RGB", "TIFF"), ("RGBA", "TIFF"),
        ("CMYK", "TIFF"), ("P", "GIF"), ("P", "BMP"), ("RGB", "BMP"), ("RGB", "PPM"), ("L", "PPM"),
        ("RGB", "WEBP"), ("RGB", "JPEG2000"),
    ],
)  # fmt: skip
def test_colours_of_every_mode(tmp_path, mode, kind):
    path = tmp_path / "image"
    image = Image.fromarray(RGB).convert(mode)
    image.save(path, kind, lossless=True)
    expected = np.asarray(image.convert("RGB"))
    np.testing.assert_array_equal(read_image(path), expected)


def test_alpha_is_dropped(tmp_path):
    Image.fromarray(np.dstack([RGB, RGB[..., 0] * 0])).save(tmp_path / "a.png")
    np.testing.assert_array_equal(read_image(tmp_path / "a.png"), RGB)


def write_tiff(path, values, **options):
    Image.fromarray(values).save(path, "TIFF", **options)


def cut(path, kind, keep):
    Image.fromarray(np.random.default_rng(0).integers(0, 255, (64, 64, 3), np.uint8)).save(
        path, kind
    )
    data = path.read_bytes()
    path.write_bytes(data[: int(len(data) * keep)])


BAD = {
    "gone": (lambda path: path.unlink(missing_ok=True), "no such image"),
    "empty": (lambda path: path.touch(), "expected an image .* found 0 bytes"),
    "text": (lambda path: path.write_text("no image"), "expected an image .* found 8 bytes"),
    "svg": (lambda path: path.write_text("<svg/>"), "expected an image .* found 6 bytes"),
    "folder": (lambda path: path.mkdir(), "no regular file"),
    "float": (
        lambda path: write_tiff(path, GRAY.astype(np.float32)),
        "32-bit floating-point numbers, expected gray or RGB of 8 or 16 bits",
    ),
    "int32": (lambda path: write_tiff(path, GRAY.astype(np.int32)), "32-bit numbers with a sign"),
    "pages": (
        lambda path: write_tiff(path, RGB, save_all=True, append_images=[Image.fromarray(RGB)] * 2),
        "holds several images .* expected one",
    ),
    "gif": (
        lambda path: Image.fromarray(RGB).save(
            path, "GIF", save_all=True, append_images=[Image.fromarray(RGB[::-1])]
        ),
        "holds several images .* expected one",
    ),
    "apng": (
        lambda path: Image.fromarray(RGB).save(
            path, "PNG", save_all=True, append_images=[Image.fromarray(RGB[::-1])]
        ),
        "holds several images .* expected one",
    ),
    "webp": (
        lambda path: Image.fromarray(RGB).save(
            path, "WEBP", save_all=True, append_images=[Image.fromarray(RGB[::-1])]
        ),
        "holds several images .* expected one",
    ),
    "chunks": (
        lambda path: path.write_bytes(b"\x89PNG\r\n\x1a\n" + b"\0\0\0\0tEXt1234" * 1_100_000),
        "is cut short",
    ),
    "lab": (
        lambda path: Image.fromarray(RGB).convert("LAB").save(path, "TIFF"),
        "colours of a kind that is not read",
    ),
    "cut JPEG": (lambda path: cut(path, "JPEG", 0.5), "is cut short"),
    "cut PNG": (lambda path: cut(path, "PNG", 0.9), "is cut short"),
    "cut TIFF": (lambda path: cut(path, "TIFF", 0.5), "is cut short|is a damaged image"),
    "start of a PNG": (lambda path: path.write_bytes(b"\x89PNG\r\n\x1a\n"), "is cut short"),
    "start of a JPEG": (
        lambda path: path.write_bytes(b"\xff\xd8\xff\xe0"),
        "found 4 bytes|cut|dam",
    ),
    "start of a TIFF": (lambda path: path.write_bytes(b"II*\0\x08\0\0\0"), "damaged|cut short"),
}


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize(("make", "message"), BAD.values(), ids=BAD)
def test_one_line_says_why_an_image_is_not_read(tmp_path, make, message):
    path = tmp_path / "img1.png"
    make(path)
    for read in (read_header, read_image):
        with pytest.raises(StoreError, match=message) as error:
            read(path)
        assert str(error.value).startswith(f"{path}: ")
        assert "\n" not in str(error.value)


def make_project(folder, name, points):
    images = folder / "labeled-data" / "v"
    images.mkdir(parents=True, exist_ok=True)
    rows = "".join(f"labeled-data/v/{name},{x},{y}\n" for x, y in points)
    header = "scorer,a,a\nbodyparts,nose,nose\ncoords,x,y\n"
    (images / "CollectedData_a.csv").write_text(header + rows)
    return images / name


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("name", [name for name in BAD if name not in ("gone", "folder")])
def test_bad_images_are_told_at_import(tmp_path, name):
    """Check that the import refuses it, not a later step."""
    make, message = BAD[name]
    make(make_project(tmp_path, "img1.png", [(5, 6)]))
    with pytest.raises(LabelError, match=message) as error:
        read_deeplabcut(tmp_path)
    assert len(error.value.problems) == 1


def test_an_image_of_182_megapixels(tmp_path):
    path = make_project(tmp_path, "img1.png", [(5, 6)])
    Image.new("1", (14000, 13000)).save(path)
    with pytest.raises(LabelError, match=r"14000 x 13000 px, 182 megapixels; at most 178") as error:
        read_deeplabcut(tmp_path)
    assert len(error.value.problems) == 1
    # One that declares much more, and a JPEG.
    data = bytearray(path.read_bytes())
    data[16:24] = struct.pack(">II", 2**31 - 1, 2**31 - 1)
    path.write_bytes(data)
    with pytest.raises(LabelError, match="megapixels"):
        read_deeplabcut(tmp_path)
    Image.new("L", (16, 16)).save(path, "JPEG")
    data = bytearray(path.read_bytes())
    start = data.index(b"\xff\xc0") + 5
    data[start : start + 4] = struct.pack(">HH", 65000, 65000)
    path.write_bytes(data)
    with pytest.raises(LabelError, match="more than 178 megapixels"):
        read_deeplabcut(tmp_path)


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "TIFF"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_labels_refer_to_upright_images(tmp_path, kind, orientation):
    """Store 20 x 12 px; a turned image is seen as 12 x 20 px."""
    path = make_project(tmp_path, "img1.png", [(18, 10)])  # on the stored image
    Image.fromarray(RGB).save(path, kind, exif=exif_of(orientation))
    if orientation in (5, 6, 7, 8):
        with pytest.raises(LabelError) as error:
            read_deeplabcut(tmp_path)
        (problem,) = error.value.problems
        assert problem == (
            "v/img1.png: its labels are on the stored image of 20 x 12 px, but its EXIF "
            f"orientation ({orientation}) turns it to 12 x 20 px, which people see and labels "
            "must refer to: write the image anew without the orientation, or label it turned"
        )
        make_project(tmp_path, "img1.png", [(10, 18)])
    assert len(read_deeplabcut(tmp_path)) == 1


def test_labels_outside_of_both_are_just_outside(tmp_path):
    path = make_project(tmp_path, "img1.png", [(30, 30)])
    Image.fromarray(RGB).save(path, exif=exif_of(6))
    with pytest.raises(LabelError, match="is outside its image of 12 x 20 px"):
        read_deeplabcut(tmp_path)
