"""The build, stage by stage; each stage reads the pack folder's earlier parts and writes its own."""

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
    """What every stage needs: where the pack is, where scratch is, the pictures, the time."""

    out: Path
    work: Path
    atlas: Atlas
    steps: int | None
    minutes: dict[str, float]
    resume: bool

    def budget(self, stage: str) -> Budget:
        """The time of one stage."""
        return Budget(self.minutes.get(stage, 0), self.steps)

    def resumes(self, stage: str) -> bool:
        """Whether a stage goes on from the checkpoint of an interrupted training."""
        return self.resume and (self.work / f"{stage}.pt").is_file()

    def texts(self, pipeline: FluxPipeline) -> text.TextStack:
        """The text side of an opened pipeline."""
        return text.TextStack(pipeline.text_encoder, pipeline.text_encoder_2, pipeline.tokenizer, pipeline.tokenizer_2)


def build(
    out: Path, work: Path, minutes: float, steps: int | None, others: int, stages: list[str], resume: bool
) -> None:
    """Make the pack, or the chosen parts of it, in `out`.

    Parameters
    ----------
    out : Path
        Folder that gets `yamnet/`, `flux/` and `clip/`.
    work : Path
        Folder for downloads, rasterised icons and checkpoints.
    minutes : float
        Time for all chosen trainings together, on one core.
    steps : int or None
        So many steps for each training instead.
    others : int
        How many names of icons besides the classes' own are used.
    stages : list of str
        Any of `STAGES`; they run in that order.
    resume : bool
        Go on from the checkpoints in `work` where there are any.
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
    for file in out.rglob("*.safetensors"):  # written readable by their owner alone, which an installation would keep
        file.chmod(0o644)


def make_yamnet(site: Site) -> None:
    """`yamnet/`: converted, not trained."""
    yamnet.build(site.work, site.out / "yamnet")


def make_text(site: Site) -> None:
    """The text encoders, and with them the folder `flux/`, whose other parts are still untrained."""
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
    """`flux/transformer`, on the latents of the autoencoder as it is."""
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
    """`flux/vae` again: its decoder trained further; the encoder and the latents stay."""
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
