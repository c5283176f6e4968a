"""A portrait that comes into being as a diffusion model's does: each step draws it once more and takes away noise."""

from typing import Final

from PIL import Image, ImageChops, ImageFilter

from actors.mflux.demo.look import Look
from actors.mflux.demo.portrait import draw_portrait

GRAIN: Final = 4


class Painter:
    """Refines one portrait over `steps` steps; the same look, size and number of steps give the same pixels.

    Every step draws the full scene on a pixel grid shifted by a part of a pixel; the picture is the mean of these
    drawings, so its edges gain real detail each time. What `preview` shows is that mean under the noise still left.
    """

    def __init__(self, look: Look, width: int, height: int, steps: int) -> None:
        self._look = look
        self._steps = steps
        self._done = 0
        self._noise = _noise(look, width, height)
        self._mean = Image.new("RGB", (width, height))

    def step(self) -> None:
        """Draw the scene once more and fold it into the mean."""
        offset = (_halton(self._done, 2) - 0.5, _halton(self._done, 3) - 0.5) if self._done else (0.0, 0.0)
        drawing = draw_portrait(self._look, self._mean.width, self._mean.height, offset)
        self._done += 1
        self._mean = Image.blend(self._mean, drawing, 1 / self._done)

    def preview(self) -> Image.Image:
        """The picture as far as it has come: sharp and free of noise after the last step only."""
        left = 1 - self._done / self._steps
        radius = 0.05 * min(self._mean.size) * left**1.6
        soft = self._mean.filter(ImageFilter.GaussianBlur(radius)) if left else self._mean
        return Image.blend(soft, self._noise, 0.92 * left**1.25)

    def decode(self) -> Image.Image:
        """The finished picture: light that blooms, a darker frame, and grain fine enough to hide banding."""
        image = self._mean
        side = min(image.size)
        light = image.point([max(0, v - 150) for v in range(256)] * 3).filter(ImageFilter.GaussianBlur(0.025 * side))
        image = ImageChops.screen(image, light.point([round(v * 0.55) for v in range(256)] * 3))
        frame = Image.radial_gradient("L").point([255 - round(78 * (v / 255) ** 2.6) for v in range(256)])
        image = ImageChops.multiply(image, frame.resize(image.size, Image.Resampling.BICUBIC).convert("RGB"))
        grain = Image.frombytes("L", image.size, self._look.dice("grain").randbytes(image.width * image.height))
        grain = grain.point([round(v * GRAIN / 255) for v in range(256)])
        return ImageChops.add(image, Image.merge("RGB", (grain, grain, grain)), offset=-(GRAIN // 2))


def _noise(look: Look, width: int, height: int) -> Image.Image:
    """Coloured noise, half of it in blotches of eight pixels, as a latent's would be."""
    dice = look.dice("noise")
    fine = Image.frombytes("RGB", (width, height), dice.randbytes(3 * width * height))
    small = (max(1, width // 8), max(1, height // 8))
    blotches = Image.frombytes("RGB", small, dice.randbytes(3 * small[0] * small[1]))
    return Image.blend(fine, blotches.resize((width, height), Image.Resampling.BICUBIC), 0.55)


def _halton(index: int, base: int) -> float:
    """The index-th member (from 0) of the Halton sequence of a base, which fills 0-1 evenly however many are taken."""
    value, share, index = 0.0, 1.0, index + 1
    while index:
        share /= base
        value += share * (index % base)
        index //= base
    return value
