"""Icons as pictures: rasterised once with transparency, then placed, tilted and coloured at random."""

import io
import re
import zlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import resvg_py
import torch
import torch.nn.functional as F
from PIL import Image

from vegas_tiny.recipe import sources
from vegas_tiny.recipe.table import SUBJECTS

SIZE = 64  # pixels of a picture
RASTER = 80  # pixels of a stored icon: a little more, so that placing it does not blur
TRAINING = ("noto", "noto-v1", "fluent-emoji-flat", "twemoji", "emojione")
FURTHER = ("fluent-emoji-high-contrast", "fxemoji", "streamline-emojis")  # more styles, only for the judge
DRAWN = ("noto", "fluent-emoji-flat", "twemoji")  # styles the renderer learns: similar, with all classes
UNSEEN = "openmoji"
STYLES = (*TRAINING, *FURTHER, UNSEEN)
# People in five skin tones, flags and letters would be most of the icons and teach nothing here.
SKIPPED = re.compile(
    r"skin-tone|(^|-)(dark|light|medium)(-|$)|flag|^(wo)?m[ae]n-|^person-|-oclock|-thirty|button|^keycap|regional|"
    r"letter|^input-|^squared|^family|^couple|^kiss|holding-hands"
)


@dataclass
class Atlas:
    """All rasterised icons.

    Attributes
    ----------
    rgba : torch.Tensor
        `[N, 4, RASTER, RASTER]` uint8, colour premultiplied by opacity.
    names : list of str
        Icon names, N.
    styles : torch.Tensor
        `[N]` index into `STYLES`.
    labels : torch.Tensor
        `[N]` class index into `NAMES`, −1 for icons of no class.
    held : torch.Tensor
        `[N]` bool: no model trains on this icon.
    """

    rgba: torch.Tensor
    names: list[str]
    styles: torch.Tensor
    labels: torch.Tensor
    held: torch.Tensor

    def where(self, mask: torch.Tensor) -> torch.Tensor:
        """Indices of the icons under a mask."""
        return mask.nonzero().flatten()

    @property
    def shown(self) -> torch.Tensor:
        """Mask of the icon names that the renderer learns, in any style."""
        names = {icon for subject in SUBJECTS for icon in subject.draw}
        return torch.tensor([name in names for name in self.names])

    @property
    def drawn(self) -> torch.Tensor:
        """Mask of the icons that the renderer learns."""
        styles = torch.tensor([TRAINING.index(style) for style in DRAWN])
        return self.shown & torch.isin(self.styles, styles)

    @property
    def training_style(self) -> torch.Tensor:
        """Mask of the styles that the autoencoder learns."""
        return self.styles < len(TRAINING)

    @property
    def unseen_style(self) -> torch.Tensor:
        """Mask of the style that is never trained on."""
        return self.styles == STYLES.index(UNSEEN)


def svg(icons: dict, name: str, size: int) -> str | None:
    """One icon of an Iconify set as an SVG document, or None if the set does not have it."""
    drawings, aliases = icons["icons"], icons.get("aliases", {})
    spellings = (name, name.replace("-", ""), f"{name}-1")  # fxemoji writes names together, streamline numbers them
    names = [s if s in drawings else aliases.get(s, {}).get("parent") for s in spellings]
    icon = next((drawings[n] for n in names if n in drawings), None)
    if icon is None:
        return None
    box = [icon.get(key, icons.get(key, default)) for key, default in BOX]
    return (
        '<svg xmlns="http://www.w3.org/2000/svg" xmlns:xlink="http://www.w3.org/1999/xlink" '
        f'viewBox="{" ".join(map(str, box))}" width="{size}" height="{size}">{icon["body"]}</svg>'
    )


BOX = (("left", 0), ("top", 0), ("width", 16), ("height", 16))


def rasterise(document: str) -> np.ndarray:
    """An SVG document as `[4, H, W]` uint8 with premultiplied colour."""
    with Image.open(io.BytesIO(bytes(resvg_py.svg_to_bytes(svg_string=document)))) as image:
        pixels = np.asarray(image.convert("RGBA"), dtype=np.float32)
    pixels = pixels.copy()
    pixels[..., :3] *= pixels[..., 3:] / 255
    return pixels.round().astype(np.uint8).transpose(2, 0, 1)


def class_icons() -> dict[str, int]:
    """Icon name to class index, for the icons of all classes."""
    return {icon: index for index, s in enumerate(SUBJECTS) for icon in s.draw + s.also}


def load_atlas(work: Path, others: int = 1200) -> Atlas:
    """Rasterise the icons of all classes and `others` further names that at least three styles draw.

    One further name in twenty (by a hash of the name) is held back in every style: the autoencoder is
    measured on those. The result is cached in `work`.
    """
    cache = work / f"atlas-{len(STYLES)}-{others}.pt"
    if cache.is_file():
        return Atlas(**torch.load(cache, weights_only=True))
    sets = {style: sources.icon_set(style, work) for style in STYLES}
    classes = class_icons()
    counts: dict[str, int] = {}
    for style in TRAINING:
        for name in sets[style]["icons"]:
            if not SKIPPED.search(name) and name not in classes:
                counts[name] = counts.get(name, 0) + 1
    common = sorted((name for name, count in counts.items() if count >= 3), key=lambda n: zlib.crc32(n.encode()))
    further = common[:others]
    held_names = set(further[: max(1, len(further) // 20)])
    rgba, names, styles, labels = [], [], [], []
    for number, style in enumerate(STYLES):
        for name in (*classes, *further) if style != UNSEEN else tuple(classes):
            document = svg(sets[style], name, RASTER)
            if document is not None:
                rgba.append(rasterise(document))
                names.append(name)
                styles.append(number)
                labels.append(classes.get(name, -1))
    content: dict[str, Any] = {
        "rgba": torch.from_numpy(np.stack(rgba)),
        "names": names,
        "styles": torch.tensor(styles),
        "labels": torch.tensor(labels),
        "held": torch.tensor([n in held_names for n in names]),
    }
    work.mkdir(parents=True, exist_ok=True)
    torch.save(content, cache)
    return Atlas(**content)


def backgrounds(labels: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
    """Plain colours `[B, 3]` in [0, 1]: white, light and pastel ones; night blue for classes that need it."""
    n = len(labels)
    white = torch.rand(n, 1, generator=generator) < 0.25
    hue = torch.rand(n, 1, generator=generator) * 6 + torch.tensor([0.0, 4.0, 2.0])
    pure = ((hue % 6 - 3).abs() - 1).clamp(0, 1)
    saturation = torch.rand(n, 1, generator=generator) * 0.35
    light = (1 - saturation * (1 - pure)) * (0.9 + 0.1 * torch.rand(n, 1, generator=generator))
    night = torch.tensor([0.04, 0.05, 0.18]) + 0.1 * torch.rand(n, 3, generator=generator)
    dark = torch.tensor([s.dark for s in SUBJECTS] + [False])[labels]
    return torch.where(dark[:, None], night, torch.where(white, torch.ones(n, 3), light))


def place(
    rgba: torch.Tensor,
    labels: torch.Tensor,
    generator: torch.Generator,
    tilt: float = 10.0,
    zoom: float = 0.12,
    mirrored: float = 0.5,
) -> torch.Tensor:
    """Icons on plain backgrounds, a little tilted, scaled, moved, some of them mirrored.

    Parameters
    ----------
    rgba : torch.Tensor
        `[B, 4, RASTER, RASTER]` uint8, premultiplied.
    labels : torch.Tensor
        `[B]` class indices, −1 for none; they choose the background.
    tilt : float
        Largest angle in degrees.
    zoom : float
        Icons fill between 1 − 2·zoom and 1 of the picture.
    mirrored : float
        Share of pictures that are mirrored.

    Returns
    -------
    torch.Tensor
        `[B, 3, SIZE, SIZE]` float32 in [−1, 1].
    """
    n = len(rgba)

    def uniform(low: float, high: float) -> torch.Tensor:
        return low + (high - low) * torch.rand(n, generator=generator)

    angle = uniform(-tilt, tilt) * np.pi / 180
    scale = 1 / uniform(1 - 2 * zoom, 1.0)
    mirror = 1 - 2 * (torch.rand(n, generator=generator) < mirrored).float()
    room = (scale - 1).clamp(min=0.02)
    cos, sin = angle.cos() * scale, angle.sin() * scale
    matrix = torch.stack(
        [
            torch.stack([cos * mirror, -sin * mirror, room * uniform(-1, 1)], 1),
            torch.stack([sin, cos, room * uniform(-1, 1)], 1),
        ],
        1,
    )
    grid = F.affine_grid(matrix, [n, 4, SIZE, SIZE], align_corners=False)
    layer = F.grid_sample(rgba.float() / 255, grid, mode="bilinear", padding_mode="zeros", align_corners=False)
    colour, opacity = layer[:, :3], layer[:, 3:]
    ground = backgrounds(labels, generator)[:, :, None, None]
    return ((colour + (1 - opacity) * ground) * 2 - 1).clamp(-1, 1)


def place_gently(rgba: torch.Tensor, labels: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
    """The pictures the renderer learns: like `place`, with less change of place, which is easier to draw well."""
    return place(rgba, labels, generator, tilt=5.0, zoom=0.06, mirrored=0.0)


def class_batch(
    atlas: Atlas, pool: torch.Tensor, size: int, generator: torch.Generator
) -> tuple[torch.Tensor, torch.Tensor]:
    """A class-balanced draw of icon indices `[size]` out of `pool`, with their class indices `[size]`."""
    labels = atlas.labels[pool]
    present = labels.unique()
    wanted = present[torch.randint(len(present), (size,), generator=generator)]
    scores = torch.rand(size, len(pool), generator=generator)
    chosen = pool[scores.masked_fill(labels[None] != wanted[:, None], -1).argmax(1)]
    return chosen, wanted


def to_images(pictures: torch.Tensor) -> list[Image.Image]:
    """`[B, 3, H, W]` in [−1, 1] as Pillow images."""
    pixels = ((pictures.clamp(-1, 1) + 1) * 127.5).round().byte().permute(0, 2, 3, 1).numpy()
    return [Image.fromarray(p) for p in pixels]


def sheet(images: list[Image.Image], columns: int, gap: int = 2) -> Image.Image:
    """A contact sheet, filled row by row."""
    width, height = images[0].size
    rows = -(-len(images) // columns)
    canvas = Image.new("RGB", (columns * (width + gap) - gap, rows * (height + gap) - gap), "white")
    for position, image in enumerate(images):
        row, column = divmod(position, columns)
        canvas.paste(image, (column * (width + gap), row * (height + gap)))
    return canvas
