"""`vegas-fl import-config`: a JSON configuration of the replaced system becomes an experiment."""

from pathlib import Path
from typing import Annotated

import typer

from vegas_fl.cli.app import app
from vegas_fl.config import ConfigError, compose
from vegas_fl.core.errors import VegasError
from vegas_fl.core.files import write_atomically
from vegas_fl.migration import commented_json, experiment, settings
from vegas_fl.migration.settings import Size, TextFlags


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
