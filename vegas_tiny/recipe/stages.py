"""The build in stages: each reads the parts of the pack made by earlier stages and writes its own."""

from dataclasses import dataclass
from pathlib import Path

import torch
from diffusers import FluxPipeline
from transformers import CLIPTokenizer

from vegas_tiny.recipe import autoencoder, flow, flux, judge, text, yamnet
from vegas_tiny.recipe.icons import Atlas, load_atlas
from vegas_tiny.recipe.schedule import Budget

STAGES = ("yamnet", "text", "autoencoder", "judge", "flux", "decoder")
SHARES = {"autoencoder": 0.17, "judge": 0.15, "flux": 0.55, "decoder": 0.13}  # of the minutes


@dataclass
class Site:
    """What all stages need: the folders, the icons and the time."""

    out: Path
    work: Path
    atlas: Atlas
    steps: int | None
    minutes: dict[str, float]
    resume: bool

    def budget(self, stage: str) -> Budget:
        """The budget of one stage."""
        return Budget(self.minutes.get(stage, 0), self.steps)

    def resumes(self, stage: str) -> bool:
        """Whether a stage continues from the checkpoint of an interrupted training."""
        return self.resume and (self.work / f"{stage}.pt").is_file()

    def texts(self, pipeline: FluxPipeline) -> text.TextStack:
        """The text encoders and tokenizers of a loaded pipeline."""
        return text.TextStack(pipeline.text_encoder, pipeline.text_encoder_2, pipeline.tokenizer, pipeline.tokenizer_2)


def build(
    out: Path, work: Path, minutes: float, steps: int | None, others: int, stages: list[str], resume: bool
) -> None:
    """Build the pack, or some of its parts, in `out`.

    Parameters
    ----------
    out : Path
        Receives `yamnet/`, `flux/` and `clip/`.
    work : Path
        For downloads, rasterised icons and checkpoints.
    minutes : float
        Time for all chosen trainings together.
    steps : int or None
        Number of steps of each training, instead of `minutes`.
    others : int
        Number of icon names used besides those of the classes.
    stages : list of str
        Any of `STAGES`; they run in the order of `STAGES`.
    resume : bool
        Continue from the checkpoints in `work`, if there are any.
    """
    chosen = [stage for stage in STAGES if stage in stages]
    total = sum(SHARES.get(stage, 0) for stage in chosen) or 1
    times = {stage: minutes * SHARES.get(stage, 0) / total for stage in chosen}
    if chosen == ["yamnet"]:
        yamnet.build(work, out / "yamnet")
        return
    site = Site(out, work, load_atlas(work, others), steps, times, resume)
    for stage in chosen:
        print(f"stage {stage}", flush=True)
        RUN[stage](site)
    for file in out.rglob("*.safetensors"):  # readable only by their owner, which an installation would keep
        file.chmod(0o644)


def make_yamnet(site: Site) -> None:
    """`yamnet/`: converted, not trained."""
    yamnet.build(site.work, site.out / "yamnet")


def make_text(site: Site) -> None:
    """`flux/`, with trained text encoders; its other parts are not trained yet."""
    torch.manual_seed(0)
    names = sorted({name.replace("-", " ") for name in site.atlas.names})
    stack = text.new_stack(text.corpus(names))
    text.train(stack, min(text.TEXT_STEPS, site.steps or text.TEXT_STEPS))
    flux.save(flux.assemble(stack, autoencoder.new_autoencoder(), flux.new_transformer()), site.out / "flux")


def make_autoencoder(site: Site) -> None:
    """`flux/vae`."""
    model = autoencoder.train(site.atlas, site.budget("autoencoder"), site.work, resume=site.resumes("autoencoder"))
    flux.save_half(model, site.out / "flux" / "vae")


def make_judge(site: Site) -> None:
    """`clip/`; it shares the vocabulary of the renderer's CLIP text encoder."""
    words = CLIPTokenizer.from_pretrained(site.out / "flux" / "tokenizer")
    model = judge.train(site.atlas, words, site.budget("judge"), site.work, resume=site.resumes("judge"))
    words.backend_tokenizer.no_padding()  # training left its own settings
    words.backend_tokenizer.no_truncation()
    judge.save(model, words, site.out / "clip")


def make_flux(site: Site) -> None:
    """`flux/transformer`, trained on the latents of `flux/vae`."""
    pipeline = flux.load(site.out / "flux")
    pool = flow.POOL if site.steps is None else min(flow.POOL, 64)
    model = flow.train(
        site.atlas,
        pipeline.vae,
        site.texts(pipeline),
        site.budget("flux"),
        site.work,
        pool=pool,
        resume=site.resumes("flux"),
    )
    flux.save_half(model, site.out / "flux" / "transformer")


def make_decoder(site: Site) -> None:
    """`flux/vae` again, with its decoder trained further; the encoder and the latents do not change."""
    pipeline = flux.load(site.out / "flux")
    model = autoencoder.refine(pipeline.vae, site.atlas, site.budget("decoder"), site.work)
    flux.save_half(model, site.out / "flux" / "vae")


RUN = {
    "yamnet": make_yamnet,
    "text": make_text,
    "autoencoder": make_autoencoder,
    "judge": make_judge,
    "flux": make_flux,
    "decoder": make_decoder,
}
