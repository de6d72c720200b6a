"""Pictures of files: laid on a background, turned upright, cut and resized, or refused by name."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple, Self

import numpy as np
import numpy.typing as npt
from tqdm import tqdm

from ppl_disentangle.data.files.reading import reading

if TYPE_CHECKING:
    from PIL import Image

__all__ = ["SUFFIXES", "Canvas", "read_image", "read_images"]

SUFFIXES = (".bmp", ".gif", ".jpeg", ".jpg", ".pgm", ".png", ".ppm", ".tif", ".tiff", ".webp")
_MODES = {1: "L", 3: "RGB", 4: "RGBA"}  # of Pillow, by number of channels
_FORMATS_OF_SEVERAL_PICTURES = ("GIF", "PNG", "TIFF", "WEBP")


class Canvas(NamedTuple):
    """The form that all pictures of a data set get.

    Attributes:
        size: Height and width in pixels.
        channels: 1 for grey, 3 for RGB, 4 for RGB and opacity.
        background: Colour under transparent pixels, by name or as ``#rrggbb``. With four channels
            pixels keep their opacity.
    """

    size: tuple[int, int]
    channels: int = 3
    background: str = "white"

    @classmethod
    def of(cls, size: int | tuple[int, int], channels: int = 3, background: str = "white") -> Self:
        """Check the arguments of a reader of pictures; a single size makes a square.

        Raises:
            ValueError: A size is not positive, or the number of channels or the colour is unknown.
        """
        height, width = (size, size) if isinstance(size, int) else size
        if channels not in _MODES or min(height, width) < 1:
            expected = f"size > 0 and channels among {list(_MODES)}"
            raise ValueError(f"expected {expected}, got {size=}, {channels=}")
        from PIL import ImageColor

        try:
            is_opaque = len(ImageColor.getrgb(background)) == 3
        except ValueError:
            is_opaque = False
        if not is_opaque:
            raise ValueError(
                f"expected a background such as white, black or #ff8800, got {background!r}"
            )
        return cls((height, width), channels, background)


def read_images(
    files: Sequence[Path], canvas: Canvas, *, progress: bool = False
) -> npt.NDArray[np.uint8]:
    """Images of shape ``(len(files), channels, height, width)``.

    Args:
        files: Paths of the images.
        canvas: Size, channels and background.
        progress: Whether to show a progress bar in a terminal.
    """
    images = np.empty((len(files), canvas.channels, *canvas.size), dtype=np.uint8)
    bar = tqdm(files, desc="reading images", disable=None if progress else True)
    for image, file in zip(images, bar, strict=True):
        image[:] = read_image(file, canvas)
    return images


def read_image(file: Path, canvas: Canvas) -> npt.NDArray[np.uint8]:
    """An image of shape ``(channels, height, width)``, cut at its centre and resized.

    Args:
        file: Path of the image.
        canvas: Size, channels and background.

    Raises:
        ValueError: The image cannot be read, has more than 8 bits a channel or several pictures, or
            cannot be seen on the background.
    """
    from PIL import Image, ImageOps

    with reading(file, "an image that can be read", of_user=True), warnings.catch_warnings():
        # A large photograph is no attack; Pillow raises an error from twice its limit on.
        warnings.simplefilter("ignore", Image.DecompressionBombWarning)
        with Image.open(file) as image:
            _check_picture(image)
            upright = _on_background(ImageOps.exif_transpose(image), canvas)
            height, width = canvas.size
            pixels = np.asarray(ImageOps.fit(upright, (width, height)))
    return pixels.reshape(height, width, -1).transpose(2, 0, 1)


def _check_picture(image: Image.Image) -> None:
    """Raise an error unless a file has one picture of 8 bits a channel."""
    if image.mode.startswith(("I", "F")):
        raise ValueError(
            f"expected 8 bits a channel, got mode {image.mode}; convert it, or read the numbers into"
            " an array and save it as x in an npz file"
        )
    if image.format in _FORMATS_OF_SEVERAL_PICTURES and _has_second_picture(image):
        raise ValueError(
            "expected one picture, got an animation or several pages; save each as a file"
        )


def _has_second_picture(image: Image.Image) -> bool:
    """Whether a file has a second picture; the first stays the current one."""
    try:
        image.seek(1)
    except EOFError:
        return False
    image.seek(0)
    return True


def _on_background(image: Image.Image, canvas: Canvas) -> Image.Image:
    """A picture in the mode of the canvas, its transparent pixels filled with the background."""
    mode = _MODES[canvas.channels]
    if mode == "RGBA" or not image.has_transparency_data:
        return image.convert(mode)
    from PIL import Image

    with_opacity = image.convert("RGBA")
    ground = Image.new("RGBA", image.size, canvas.background)
    laid = Image.alpha_composite(ground, with_opacity).convert(mode)
    _check_visible(with_opacity, laid, canvas.background)
    return laid


def _check_visible(image: Image.Image, laid: Image.Image, background: str) -> None:
    """Raise an error if a picture is drawn by its opacity alone, in the colour of the background."""
    low, high = image.getchannel("A").getextrema()
    extremes = [laid.getchannel(band).getextrema() for band in laid.getbands()]
    if low != high and all(least == most for least, most in extremes):
        raise ValueError(
            f"expected a picture that can be seen on a {background} background, got one of its"
            " colour alone; choose another background"
        )
