"""``images.where=server``: the server renders every class, from the shared generators with the global adapter."""

import logging
from pathlib import Path

from strategies.stages.picture_progress import progress_line
from vegas_fl.algorithm.adapter import Conditioning
from vegas_fl.config import Config
from vegas_fl.core.devices import moved, resolve_device
from vegas_fl.federation.messages import Judged, Pictures
from vegas_fl.federation.wire import Reply
from vegas_fl.rendering.embeddings_file import write_embeddings
from vegas_fl.rendering.folder import plan
from vegas_fl.rendering.jobs import SERVER, AdapterFeed, Job, job_path, recipes, sampled_from_owners
from vegas_fl.rendering.judge import judge_job
from vegas_fl.rendering.render import render as draw
from vegas_fl.storage.adapters import adapter_from, load_newest
from vegas_fl.storage.generators import load_class_generator
from vegas_fl.storage.names import adapter_rounds, find_generators
from vegas_fl.storage.provenance import MadeBy, in_words

log = logging.getLogger("vegas_fl.server")


def render_here(config: Config, subfolder: str, targets: Conditioning | None) -> tuple[Reply[Pictures], MadeBy]:
    """Render the server's pictures; what a node would reply, and which adapter drew."""
    job = server_job(config, subfolder, targets)
    log.info("server: drawing with %s", in_words(job.adapter))
    values = Pictures(pictures=len(job.pictures), rendered=0, missing=len(job.pictures), folder=str(job.path))
    device, seconds, overwrite = resolve_device(config.device), 0.0, config.images.overwrite
    if config.images.output == "embeddings":
        drawn = write_embeddings(job, config, overwrite=overwrite)
        return Reply(values.model_copy(update={"rendered": drawn.new, "missing": drawn.missing}), {}), job.adapter
    while values.missing:
        drawn = draw(job, config, device, overwrite=overwrite, seconds=config.images.report_seconds)
        seconds, overwrite = seconds + drawn.seconds, False
        values = values.model_copy(update={"rendered": values.rendered + drawn.new, "missing": drawn.missing})
        if drawn.missing:
            log.info("%s", progress_line(SERVER, values, values.rendered / seconds))
    judged, features, notes = judge_job(job, config, device)
    update = {"judged": None if judged is None else Judged(**judged), "notes": notes}
    states = {} if features is None else {"pictures": {"features": features}}
    return Reply(values.model_copy(update=update), states), job.adapter


def server_job(config: Config, subfolder: str, targets: Conditioning | None) -> Job:
    """What the server is to render."""
    files, saved, device = *load_newest(adapter_rounds(config)), resolve_device(config.device)
    paths = find_generators(Path(config.generator.checkpoint_dir))
    generators = {
        label: load_class_generator(paths[label], saved.header["spaces"]["audio"]).to(device)
        for label in config.classes
    }
    feed = AdapterFeed(
        sampled_from_owners(generators),
        moved(adapter_from(saved.header, saved.state, "the global adapter"), device),
        {} if targets is None else targets.by_class(config.classes),
        config.conditioning,
        config.renderer.batch_size,
    )
    made_from = recipes(
        config,
        SERVER,
        config.classes,
        saved.hashes,
        generator={label: g.header["sha256"] for label, g in generators.items()},
    )
    pictures = plan(config.seed, SERVER, config.classes, config.images.server_samples)
    drawn_from = {
        "adapter": {branch: str(path) for branch, path in files.items()},
        "generators": {label: str(paths[label]) for label in config.classes},
    }
    return Job(SERVER, job_path(config, SERVER, subfolder), pictures, feed, made_from, drawn_from, saved.made_by)
