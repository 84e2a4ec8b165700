"""The renderer: a small FLUX transformer, and the pipeline folder it is stored in."""

import json
from pathlib import Path

from diffusers import AutoencoderKL, FlowMatchEulerDiscreteScheduler, FluxPipeline, FluxTransformer2DModel, ModelMixin

from vegas_tiny.recipe.table import NAMES
from vegas_tiny.recipe.text import WIDTH, TextStack


def new_transformer() -> FluxTransformer2DModel:
    """The architecture, freshly initialised: schnell's interface, no guidance input."""
    return FluxTransformer2DModel(
        patch_size=1,
        in_channels=64,  # 16 latent channels, two by two
        num_layers=3,
        num_single_layers=4,
        attention_head_dim=32,
        num_attention_heads=4,
        joint_attention_dim=WIDTH,
        pooled_projection_dim=WIDTH,
        guidance_embeds=False,
        axes_dims_rope=(8, 12, 12),
    )


def assemble(texts: TextStack, autoencoder: AutoencoderKL, transformer: FluxTransformer2DModel) -> FluxPipeline:
    """All parts as one pipeline, with schnell's schedule (no shift of the times)."""
    return FluxPipeline(
        scheduler=FlowMatchEulerDiscreteScheduler(shift=1.0, use_dynamic_shifting=False),
        vae=autoencoder,
        text_encoder=texts.clip,
        tokenizer=texts.clip_words,
        text_encoder_2=texts.t5,
        tokenizer_2=texts.t5_words,
        transformer=transformer,
    )


def save(pipeline: FluxPipeline, folder: Path) -> None:
    """Store the whole pipeline folder, and beside the model's files the classes it was trained for."""
    pipeline.save_pretrained(folder, safe_serialization=True)
    (folder / "classes.json").write_text(json.dumps(NAMES, indent=1) + "\n", encoding="utf-8")
    save_half(pipeline.vae, folder / "vae")
    save_half(pipeline.transformer, folder / "transformer")


def save_half(model: ModelMixin, folder: Path) -> None:
    """Store a large part in half precision, which halves the pack; diffusers opens it in single precision.

    The text encoders stay in single precision, because transformers would open them in half.
    """
    model.half()
    try:
        model.save_pretrained(folder, safe_serialization=True)
    finally:
        model.float()
    config = folder / "config.json"
    content = json.loads(config.read_text(encoding="utf-8"))
    content.pop("_name_or_path", None)  # a path on the machine that built the pack
    config.write_text(json.dumps(content, indent=2, sort_keys=True) + "\n", encoding="utf-8")


def load(folder: Path) -> FluxPipeline:
    """Open a pipeline folder, quietly."""
    pipeline = FluxPipeline.from_pretrained(folder)
    pipeline.set_progress_bar_config(disable=True)
    return pipeline
