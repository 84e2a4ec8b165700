"""`vegas-fl import-checkpoint`: generators that the replaced system saved become generators of ours."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from vegas_fl.cli.app import app

if TYPE_CHECKING:
    from vegas_fl.migration.checkpoints import Decoder


@app.command("import-checkpoint")
def import_checkpoint(
    files: Annotated[list[Path], typer.Argument(help="Its .pt or .pth files of generators.")],
    output: Annotated[Path, typer.Option(help="Folder: generator.checkpoint_dir of the runs that use them.")],
    activation: Annotated[
        str | None,
        typer.Option(
            help="Between the layers: relu (its VAE of a class), leaky_relu, leaky_relu_0.2, gelu, silu, tanh."
        ),
    ] = None,
    label: Annotated[str | None, typer.Option(help="Class, where the file's name does not end in it.")] = None,
    encoder: Annotated[
        list[str] | None,
        typer.Option(
            "--set", help="KEY=VALUE of the audio encoder whose embeddings it was trained on; default: encoder=ast."
        ),
    ] = None,
) -> None:
    """Read generators safely (weights alone), and write those whose architecture can be told from the shapes."""
    from vegas_fl.algorithm.generators.mlp import ACTIVATIONS
    from vegas_fl.core.errors import VegasError
    from vegas_fl.migration import checkpoints

    if activation is None or activation not in ACTIVATIONS:
        seen = "is not given" if activation is None else f"is {activation}"
        raise VegasError(
            f"--activation {seen}: the function between a decoder's layers cannot be told from its weights; look it up "
            f"in the code that trained it, and give one of {', '.join(ACTIVATIONS)}"
        )
    overrides = encoder or ["encoder=ast"]
    built = [
        _generator(decoders, overrides, activation, output) for decoders in checkpoints.decoders(files, label).values()
    ]
    for save, told in built:
        print(f"{save()}: {told}")
    print(
        f"Use them by generator.checkpoint_dir={output}, with the encoder and encoder.tokens above. Whether its "
        "embeddings were pooled as encoder.tokens does cannot be told from weights: compare pictures."
    )


def _generator(
    decoders: Sequence[Decoder], overrides: list[str], activation: str, output: Path
) -> tuple[Callable[[], Path], str]:
    """A class's generator, ready to be written, and what it is."""
    from vegas_fl.algorithm.generators.mlp import MLPSampler
    from vegas_fl.audio import encoders
    from vegas_fl.config import MLPConfig, compose
    from vegas_fl.core.errors import VegasError
    from vegas_fl.storage.generators import save_class_generator

    first = decoders[0]
    width = encoders.shape(compose(overrides).encoder)[1]
    tokens, rest = divmod(first.widths[-1], width)
    if rest or not tokens:
        raise VegasError(
            f"{first.origin} gives {first.widths[-1]} values, which is no multiple of the encoder's width {width}; "
            "choose the encoder by --set encoder=…"
        )
    config = compose([*overrides, f"encoder.tokens={tokens}"])
    imported = MLPConfig(
        name="mlp",
        checkpoint_dir=str(output),
        widths=first.widths,
        activation=activation,  # type: ignore[arg-type]
    )
    states = {}
    for decoder in decoders:
        sampler = MLPSampler(tokens, width, imported)
        sampler.load_state_dict(decoder.state, strict=False)  # its outputs are in the embeddings' own units
        sampler.centre()
        states[decoder.owner] = sampler.state_dict()
    header = {
        "audio_tokens": tokens,
        "audio_width": width,
        "audio": encoders.fingerprint(config.encoder),
        "config": imported.model_dump(mode="json"),
    }
    layers = " → ".join(map(str, first.widths))
    of = f", of nodes {', '.join(states)}" if len(states) > 1 else ""
    told = f"{first.label}, {layers}, {tokens} tokens of {width} ({config.encoder.name}){of}"
    notes = "".join(f"; {decoder.note}" for decoder in decoders[:1] if decoder.note)
    samples = dict.fromkeys(states, 1)
    return lambda: save_class_generator(output, 1, first.label, states, samples, header), told + notes
