"""Models of the true shapes (FLUX.1's widths, its whole VAE and CLIP-L, CLIP B/32, AST-base), with random weights."""

import json
import shutil
from pathlib import Path
from typing import Any

import torch

import vegas_tiny
from vegas_fl.rendering.components import quiet

VAE: dict[str, Any] = {
    "down_block_types": ("DownEncoderBlock2D",) * 4,
    "up_block_types": ("UpDecoderBlock2D",) * 4,
    "block_out_channels": (128, 256, 512, 512),
    "layers_per_block": 2,
    "latent_channels": 16,
    "sample_size": 1024,
    "scaling_factor": 0.3611,
    "shift_factor": 0.1159,
    "use_quant_conv": False,
    "use_post_quant_conv": False,
}


def flux(folder: Path, device: str = "cpu", double: int = 1, single: int = 1, t5: int = 1, heads: int = 24) -> Path:
    """A FLUX.1-schnell made on a device: ``double`` and ``single`` blocks (of 19 and 38) with ``heads`` heads, and
    ``t5`` layers of T5 (of 24)."""
    from diffusers import AutoencoderKL, FlowMatchEulerDiscreteScheduler, FluxTransformer2DModel
    from transformers import CLIPTextConfig, CLIPTextModel, T5Config, T5EncoderModel

    quiet()
    torch.manual_seed(0)
    before = torch.get_default_dtype()
    torch.set_default_dtype(torch.bfloat16)
    widths = {"joint_attention_dim": 4096, "pooled_projection_dim": 768, "num_attention_heads": heads}
    layers = {"num_hidden_layers": 12, "num_attention_heads": 12, "intermediate_size": 3072}
    clip = CLIPTextConfig(vocab_size=49408, hidden_size=768, **layers, eos_token_id=2, hidden_act="quick_gelu")
    encoder = T5Config(d_model=4096, d_kv=64, d_ff=10240, num_layers=t5, num_heads=64, feed_forward_proj="gated-gelu")
    shard = {"max_shard_size": "4GB" if t5 > 1 else "300MB"}
    try:
        with torch.device(device):  # one at a time: each is freed when it is stored
            FluxTransformer2DModel(
                num_layers=double, num_single_layers=single, guidance_embeds=False, **widths
            ).save_pretrained(folder / "transformer", **shard)
            AutoencoderKL(**VAE).save_pretrained(folder / "vae")
            CLIPTextModel(clip).save_pretrained(folder / "text_encoder")
            T5EncoderModel(encoder).save_pretrained(folder / "text_encoder_2", **shard)
    finally:
        torch.set_default_dtype(before)
    FlowMatchEulerDiscreteScheduler(shift=1.0).save_pretrained(folder / "scheduler")
    for name in ("tokenizer", "tokenizer_2", "model_index.json"):
        source = vegas_tiny.path("flux") / name
        (shutil.copytree if source.is_dir() else shutil.copy)(source, folder / name)
    return folder


def judge(folder: Path) -> Path:
    """A CLIP ViT-B/32, stored as on the hub in 2021: pickled, with positions."""
    from transformers import CLIPConfig, CLIPImageProcessor, CLIPModel

    torch.manual_seed(0)
    model = CLIPModel(CLIPConfig())
    model.config.save_pretrained(folder)
    state = model.state_dict() | {"text_model.embeddings.position_ids": torch.arange(77)[None]}
    torch.save(state, folder / "pytorch_model.bin")
    CLIPImageProcessor().save_pretrained(folder)
    for name in ("tokenizer.json", "tokenizer_config.json"):
        shutil.copy(vegas_tiny.path("clip") / name, folder)
    return folder


def ast(folder: Path) -> Path:
    """An AST-base."""
    from transformers import ASTConfig, ASTFeatureExtractor, ASTModel

    torch.manual_seed(0)
    ASTModel(ASTConfig()).save_pretrained(folder)
    ASTFeatureExtractor().save_pretrained(folder)
    return folder


if __name__ == "__main__":
    import sys

    root = Path(sys.argv[1])
    places = {make.__name__: str(make(root / make.__name__)) for make in (flux, judge, ast)}
    print(json.dumps(places))
