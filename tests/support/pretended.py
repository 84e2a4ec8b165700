"""A pretended GPU: PyTorch's fake tensors know devices that are not there, and refuse to mix them. To be run in a
process of its own, as it replaces parts of PyTorch."""

from __future__ import annotations

import sys
from typing import Any

import torch
from torch import nn


def pretend() -> None:
    """Let "gpu" be a device, and let fake tensors move and be read."""
    from torch.utils.backend_registration import _setup_privateuseone_for_python_backend

    _setup_privateuseone_for_python_backend("gpu")

    def to(self: nn.Module, *args: Any, **options: Any) -> nn.Module:
        given = (*args, *options.values())
        device = next((x for x in given if isinstance(x, str | torch.device)), None)
        dtype = next((x for x in given if isinstance(x, torch.dtype)), None)
        for part in self.modules():
            for name, weight in part._parameters.items():
                if weight is not None:
                    moved = weight.detach().to(device=device or weight.device, dtype=dtype or weight.dtype)
                    part._parameters[name] = nn.Parameter(moved, requires_grad=False)
            for name, buffer in part._buffers.items():
                if buffer is not None:
                    part._buffers[name] = buffer.to(device=device or buffer.device)
        return self

    values: dict[str, Any] = {
        "item": lambda self: 1.0 if self.is_floating_point() else 0,
        "tolist": lambda self: [0.0] * self.numel() if self.ndim else 0.0,
        "__int__": lambda self: 0,
        "__bool__": lambda self: True,
        "__float__": lambda self: 1.0,
    }
    for name, value in values.items():
        setattr(torch.Tensor, name, value)
    nn.Module.to = to  # type: ignore[method-assign, assignment]
    torch.from_numpy = lambda array: torch.zeros(array.shape, dtype=torch.float32)  # type: ignore[assignment]


def draw(mode: str, streamed: float) -> None:
    """Draw two pictures with a FLUX of two blocks of each kind whose models are placed as ``mode`` says."""
    from diffusers import AutoencoderKL, FlowMatchEulerDiscreteScheduler, FluxPipeline, FluxTransformer2DModel
    from torch._subclasses.fake_tensor import FakeTensorMode

    from vegas_fl.benchmarks.standins import VAE
    from vegas_fl.rendering import memory, streaming

    # Fake tensors of different devices cannot exchange their data; real ones can.
    streaming._put = lambda slot, tensor: setattr(slot[0], "fake_device", tensor.fake_device)
    with FakeTensorMode(allow_non_fake_inputs=True):
        widths = {"joint_attention_dim": 4096, "pooled_projection_dim": 768, "num_attention_heads": 2}
        transformer = FluxTransformer2DModel(num_layers=2, num_single_layers=2, **widths)
        small = VAE | {"block_out_channels": (32, 32, 32, 32), "layers_per_block": 1}
        pipeline = FluxPipeline(
            FlowMatchEulerDiscreteScheduler(), AutoencoderKL(**small), None, None, None, None, transformer
        )
        pipeline.set_progress_bar_config(disable=True)
        memory.place(pipeline, mode, "gpu", streamed)
        assert pipeline._execution_device.type == "gpu"
        images = pipeline(
            prompt_embeds=torch.randn(2, 17, 4096, device="gpu"),
            pooled_prompt_embeds=torch.randn(2, 768, device="gpu"),
            height=64,
            width=64,
            num_inference_steps=1,
            guidance_scale=0.0,
            max_sequence_length=17,
            generator=[torch.Generator().manual_seed(i) for i in range(2)],
            output_type="pt",
        ).images
        assert (images.device.type, tuple(images.shape)) == ("gpu", (2, 3, 64, 64))
        blocks = [*transformer.transformer_blocks, *transformer.single_transformer_blocks]
        away = sum({weight.device.type for weight in block.parameters()} == {"cpu"} for block in blocks)
        print(mode, streamed, "blocks in main memory:", away)


if __name__ == "__main__":
    pretend()
    for choice in sys.argv[1:]:
        name, _, share = choice.partition(":")
        draw(name, float(share or 0))
