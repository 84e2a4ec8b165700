"""FLUX in memory: draws batches of one size, and reduces its memory use when memory runs out."""

from __future__ import annotations

import functools
import logging
from collections.abc import Sequence
from contextlib import AbstractContextManager
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from vegas_fl.algorithm.adapter import Conditioning
from vegas_fl.config import RendererConfig
from vegas_fl.core import devices
from vegas_fl.core.errors import VegasError
from vegas_fl.rendering import flux, memory

if TYPE_CHECKING:
    from PIL.Image import Image

log = logging.getLogger("vegas_fl.node")


class Unusable(VegasError):
    """FLUX returned a picture that shows nothing."""


class Painter:
    """A FluxPipeline without its text encoders.

    Every call of the pipeline gets a batch of :attr:`batch` pictures, the last one padded, because kernels may round
    differently for other sizes: at one batch size, a picture does not depend on the others in its batch.

    Attributes
    ----------
    batch : int
        Pictures drawn at once; halved when memory runs out.
    mode : str
        Memory mode; a smaller one is taken when a single picture runs out of memory.
    """

    def __init__(self, config: RendererConfig, device: str) -> None:
        self.config, self.device = config, device
        self.pipeline: Any = None
        devices.release(device)  # frees the memory of other networks
        sizes, width = flux.dimensions(config)
        choice = memory.choose(config, device, sizes, devices.free_bytes(device), width)
        self.mode, self.batch, self._streamed = choice.mode, choice.batch, choice.streamed
        log.info("renderer.memory=%s: %s", choice.mode, choice.reason)
        self._load()

    def paint(self, conditioning: Conditioning, seeds: Sequence[int], names: Sequence[str] = ()) -> list[Image]:
        """Draw N pictures.

        Parameters
        ----------
        conditioning : Conditioning
            clip ``[N, P]`` and t5 ``[N, T, C]``.
        seeds : sequence of int
            N seeds, one for each picture's initial noise.
        names : sequence of str, optional
            What errors call the N pictures.

        Raises
        ------
        Unusable
            A picture is not finite, or one flat colour.
        VegasError
            An embedding is not finite (FLUX would draw it black) or has another width, or one picture does not
            fit into memory in any mode.
        """
        self._check(conditioning, seeds)
        images: list[Image] = []
        while len(images) < len(seeds):
            start, count = len(images), min(self.batch, len(seeds) - len(images))
            rows = [min(start + i, start + count - 1) for i in range(self.batch)]
            part = Conditioning(*(branch[rows] for branch in conditioning))
            drawn = self._attempt(part, [seeds[row] for row in rows])
            if drawn is None:
                self._retreat()
            else:
                for position, picture in enumerate(drawn[:count], start):
                    self._check_drawn(picture, names[position] if names else f"picture {position + 1}")
                images += self.pipeline.image_processor.numpy_to_pil(drawn[:count])
        return images

    def _attempt(self, conditioning: Conditioning, seeds: Sequence[int]) -> np.ndarray | None:
        """One call of the pipeline, ``[B, H, W, 3]`` from 0 to 1; None if memory ran out."""
        config, dtype, device = self.config, self.pipeline.transformer.dtype, self.pipeline._execution_device
        try:
            images: np.ndarray = self.pipeline(
                prompt_embeds=conditioning.t5.to(device, dtype),
                pooled_prompt_embeds=conditioning.clip.to(device, dtype),
                height=config.height,
                width=config.width,
                num_inference_steps=config.steps,
                guidance_scale=config.guidance_scale,
                max_sequence_length=config.max_sequence_length,
                generator=[torch.Generator().manual_seed(seed) for seed in seeds],
                output_type="np",
            ).images
        except Exception as error:
            if not devices.out_of_memory(error):
                raise
            return None
        return images

    def _retreat(self) -> None:
        """Halve the batch; at one picture, take the next memory mode."""
        devices.release(self.device)
        if self.batch > 1:
            before, self.batch = self.batch, -(-self.batch // 2)
            log.warning("out of memory with %d pictures at once: continuing with %d", before, self.batch)
            return
        self._step_down("one picture")

    def _step_down(self, what: str) -> None:
        """Take the next memory mode."""
        rungs = memory.rungs(self.config, self.device)
        below = rungs[rungs.index(self.mode) + 1 :]
        if self.mode == "group_offload" and self._streamed < 1:
            below = (self.mode, *below)  # all of it
        if not below:
            less = "" if self.config.quantization != "none" else ", renderer.quantization=nf4 (or int8)"
            raise VegasError(
                f"Out of memory with {what} of {self.config.width}x{self.config.height} and "
                f"renderer.memory={self.mode}; set a smaller renderer.height and renderer.width{less}, "
                "or free memory used by other programs"
            )
        log.warning("out of memory with %s and renderer.memory=%s: continuing with %s", what, self.mode, below[0])
        self.mode, self._streamed = below[0], 1.0
        # Loaded again, because not every kind of offloading can be undone.
        self._load()

    def _load(self) -> None:
        """Load the models for the memory mode, or for the next one if memory runs out."""
        self.pipeline = None
        devices.release(self.device)
        try:
            self.pipeline = flux.load_pipeline(self.config, self.device if self.mode == "full" else "cpu")
            memory.place(self.pipeline, self.mode, self.device, self._streamed)
            fits = True
        except Exception as error:
            if not devices.out_of_memory(error):
                raise
            fits = False
        if not fits:  # outside the handler, whose traceback would keep the memory from being freed
            self._step_down("the weights for pictures")
        elif self.config.compile:
            # Whole blocks without interruption, unless something is copied between their parts.
            self.pipeline.transformer.compile_repeated_blocks(fullgraph=self.mode in ("full", "vae_offload"))

    def _check(self, conditioning: Conditioning, seeds: Sequence[int]) -> None:
        shape = self.pipeline.transformer.config
        widths = {"clip": (shape.pooled_projection_dim,), "t5": (None, shape.joint_attention_dim)}
        for branch, value in conditioning._asdict().items():
            wanted = (len(seeds), *widths[branch])
            fits = value.ndim == len(wanted) and all(w in (None, s) for w, s in zip(wanted, value.shape, strict=True))
            if not fits:
                shown = " x ".join("T" if w is None else str(w) for w in wanted)
                raise VegasError(
                    f"The {branch} embeddings are {' x '.join(map(str, value.shape))}, but renderer.model="
                    f"{self.config.model} expects {shown}; use the renderer the adapters were trained for"
                )
            if not torch.isfinite(value).all():
                raise VegasError(f"The {branch} embeddings hold values that are not finite; train the adapters again")

    def _check_drawn(self, picture: np.ndarray, name: str) -> None:
        """Raise :class:`Unusable` if a picture ``[H, W, 3]`` shows nothing, as when its decoder overflows."""
        if not np.isfinite(picture).all():
            seen = "has values that are not finite"
        elif (picture == picture[0, 0]).all():
            seen = "is one flat colour"
        else:
            return
        remedy = (
            "set renderer.dtype=float32 or bfloat16, because float16 can overflow"
            if self.config.dtype == "float16"
            else f"the weights of renderer.model={self.config.model} may be damaged: copy them again"
            + (", or set renderer.dtype=float32" if self.config.dtype != "float32" else "")
        )
        raise Unusable(
            f"{name}: the picture {seen}, so it was not saved (renderer.dtype={self.config.dtype}); {remedy}"
        )


def rendering_threads(config: RendererConfig) -> AbstractContextManager[None]:
    """Compute with the configured number of CPU threads inside the block."""
    return devices.threads(config.threads or devices.cores())


@functools.lru_cache(maxsize=1)
def painter(config: RendererConfig, device: str) -> Painter:
    """The painter of this process, loaded once for all nodes and requests."""
    return Painter(config, device)
