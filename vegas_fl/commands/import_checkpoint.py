"""`vegas-fl import-checkpoint`: generators that the replaced system saved become generators of ours."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from vegas_fl.commands import app


@app.command("import-checkpoint")
def import_checkpoint(
    files: Annotated[list[Path], typer.Argument(help="Its .pt or .pth files of generators.")],
    output: Annotated[Path, typer.Option(help="Folder: generator.checkpoint_dir of the runs that use them.")],
    activation: Annotated[
        str | None, typer.Option(help="What stands between the layers: relu, leaky_relu, gelu, silu, tanh.")
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
    from vegas_fl import encoders
    from vegas_fl.checkpoints import save_class_generator
    from vegas_fl.config import MLPConfig, compose
    from vegas_fl.errors import VegasError
    from vegas_fl.generators.mlp import ACTIVATIONS, MLPSampler
    from vegas_fl.importing import checkpoints

    if activation is None or activation not in ACTIVATIONS:
        seen = "is not given" if activation is None else f"is {activation}"
        raise VegasError(
            f"--activation {seen}: the function between a decoder's layers cannot be told from its weights; look it up "
            f"in the code that trained it, and give one of {', '.join(ACTIVATIONS)}"
        )
    overrides = encoder or ["encoder=ast"]
    for file in files:
        for name, state in checkpoints.read(file).items():
            origin = f"{file}{f' ({name})' if name else ''}"
            found = checkpoints.decoder(state, origin)
            of = label or checkpoints.label_of(file, name)
            if of is None:
                raise VegasError(f"{origin}: the class cannot be told from the name; add --label CLASS")
            width = encoders.shape(compose(overrides).encoder)[1]
            tokens, rest = divmod(found.widths[-1], width)
            if rest or not tokens:
                raise VegasError(
                    f"{origin} gives {found.widths[-1]} values, which is no multiple of the encoder's width {width}; "
                    "choose the encoder by --set encoder=…"
                )
            config = compose([*overrides, f"encoder.tokens={tokens}"])
            imported = MLPConfig(
                name="mlp",
                checkpoint_dir=str(output),
                widths=found.widths,
                activation=activation,  # type: ignore[arg-type]
            )
            header = {
                "audio_tokens": tokens,
                "audio_width": width,
                "audio": encoders.fingerprint(config.encoder),
                "config": imported.model_dump(mode="json"),
            }
            sampler = MLPSampler(tokens, width, imported)
            sampler.load_state_dict(found.state, strict=False)  # its outputs are in the embeddings' own units
            path = save_class_generator(output, 1, of, {"0": sampler.state_dict()}, {"0": 1}, header)
            layers = " → ".join(map(str, found.widths))
            print(f"{path}: {of}, {layers}, {tokens} tokens of {width} ({config.encoder.name})")
    print(
        f"Use them by generator.checkpoint_dir={output}. Whether its embeddings were pooled as "
        f"encoder.tokens={tokens} does cannot be told from weights: compare pictures."
    )
