"""`vegas-fl import-config` and `import-checkpoint`: files of the replaced system become those of vegas-fl."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from vegas_fl.cli.app import app
from vegas_fl.config import ConfigError, MLPConfig, compose
from vegas_fl.core.errors import VegasError
from vegas_fl.core.files import write_atomically
from vegas_fl.migration import commented_json, experiment, settings
from vegas_fl.migration.settings import Size, TextFlags

if TYPE_CHECKING:
    from vegas_fl.migration.checkpoints import Decoder


@app.command("import-config")
def import_config(
    file: Annotated[Path, typer.Argument(help="JSON file; comments are allowed.")],
    output: Annotated[Path | None, typer.Option(help="File to write; default: experiment/NAME.yaml.")] = None,
    size: Annotated[Size, typer.Option(help="Models: those it used (AST, FLUX.1-schnell), or the tiny pack.")] = "flux",
    text_flags: Annotated[
        TextFlags, typer.Option(help="Meaning of generate_from_…_text_embeddings: that of its guide, or of its code.")
    ] = "guide",
    overwrite: Annotated[bool, typer.Option(help="Replace the output file.")] = False,
) -> None:
    """Import a JSON configuration of the replaced system.

    It becomes an experiment; what became of each key is printed.
    """
    old = commented_json.read(file)
    name = experiment.file_name(file.stem)
    imported = f"{name}_imported" if experiment.built_in(name) else name
    output = output or Path("experiment") / f"{imported}.yaml"
    if experiment.built_in(output.stem):
        raise VegasError(f"vegas-fl has its own experiment {output.stem}, which takes precedence; choose another name")
    if output.exists() and not overwrite:
        raise VegasError(f"{output} exists; choose another --output, or replace it with --overwrite")
    new = settings.translate(
        old,
        experiment.run_name(file.stem),
        size=size,
        text_flags=text_flags,
        esc50_classes=compose(["experiment=a2v_esc50_50n_50c"]).classes,
    )
    made = experiment.text(new, file.name)
    write_atomically(output, made.encode())
    for title, sentences in {"taken over": new.taken, **new.remarks}.items():
        if sentences:
            print(f"{title}:\n" + "\n".join(f"- {sentence}" for sentence in sentences))
    try:
        experiment.tried(made)
    except ConfigError as error:
        raise VegasError(
            f"{output} was written, but cannot be run yet; correct it:\n" + "\n".join(f"- {m}" for m in error.mistakes)
        ) from error
    folder = output.parent.parent if output.parent.name == "experiment" else None
    where = f"--config-dir {folder} " if folder is not None else ""
    print(f"{output} was written; run it with: vegas-fl {where}experiment={output.stem} data.root=FOLDER")


@app.command("import-checkpoint")
def import_checkpoint(
    files: Annotated[list[Path], typer.Argument(help="Its generators: .pt or .pth files.")],
    output: Annotated[Path, typer.Option(help="Folder to write to: generator.checkpoint_dir of later runs.")],
    activation: Annotated[
        str | None,
        typer.Option(
            help="Function between the layers: relu (its class VAEs), leaky_relu, leaky_relu_0.2, gelu, silu, tanh."
        ),
    ] = None,
    label: Annotated[str | None, typer.Option(help="Class, if the name of the file does not end in it.")] = None,
    encoder: Annotated[
        list[str] | None,
        typer.Option(
            "--set", help="KEY=VALUE for the audio encoder that made its training embeddings; default: encoder=ast."
        ),
    ] = None,
) -> None:
    """Import generators of the replaced system.

    Only weights are read from the files. Generators whose architecture follows from the shapes are written.
    """
    from vegas_fl.algorithm.generators.mlp import ACTIVATIONS
    from vegas_fl.migration import checkpoints

    if activation is None or activation not in ACTIVATIONS:
        seen = "is not given" if activation is None else f"is {activation}"
        raise VegasError(
            f"--activation {seen}: the function between a decoder's layers cannot be inferred from its weights; look "
            f"it up in the code that trained it, and give one of {', '.join(ACTIVATIONS)}"
        )
    overrides = encoder or ["encoder=ast"]
    built = [
        _generator(decoders, overrides, activation, output) for decoders in checkpoints.decoders(files, label).values()
    ]
    for save, description in built:
        print(f"{save()}: {description}")
    print(
        f"Use them with generator.checkpoint_dir={output} and the encoder and encoder.tokens above. Weights do not "
        "show whether the embeddings were pooled as encoder.tokens does: compare pictures."
    )


def _generator(
    decoders: "Sequence[Decoder]", overrides: list[str], activation: str, output: Path
) -> tuple[Callable[[], Path], str]:
    """A function that saves the generator of a class, and its description."""
    from vegas_fl.algorithm.generators.mlp import MLPSampler
    from vegas_fl.audio import encoders
    from vegas_fl.storage.generators import save_class_generator

    first = decoders[0]
    width = encoders.shape(compose(overrides).encoder)[1]
    tokens, rest = divmod(first.widths[-1], width)
    if rest or not tokens:
        raise VegasError(
            f"{first.origin} returns {first.widths[-1]} values, not a multiple of the encoder's width {width}; choose "
            "the encoder with --set encoder=…"
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
        sampler.load_state_dict(decoder.state, strict=False)  # its outputs are in units of the embeddings
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
    description = f"{first.label}, {layers}, {tokens} tokens of {width} ({config.encoder.name}){of}"
    notes = "".join(f"; {decoder.note}" for decoder in decoders[:1] if decoder.note)
    samples = dict.fromkeys(states, 1)
    return lambda: save_class_generator(output, 1, first.label, states, samples, header), description + notes
