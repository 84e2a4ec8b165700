"""Keys of the command line that have no effect are mistakes."""

from __future__ import annotations

import pytest

from vegas_fl.config import ConfigError, compose


@pytest.mark.parametrize(
    ("overrides", "told"),
    [
        ("data.root=/x", "data.root has no effect: data=toy does not use it, data=folder (or esc50, vegas"),
        ("data=folder data.root=/x data.clips_per_class=9", "data=folder does not use it, data=toy does"),
        ("data.dirichlet_alpha=9", "data.partition=even does not use it, data.partition=dirichlet does"),
        ("data.classes_per_node=9 data.partition=dirichlet", "data.partition=pathological does"),
        ("data=esc10 data.root=/x data.train_ratio=0.7", "data.train_folds=null data.test_folds=null does"),
        ("data=esc10 data.root=/x data.val_ratio=0.2", "data.val_folds=[] does not use it"),
        ("nodes.1.dataset={clips_per_class:9,root:/x}", "nodes.1.dataset.root has no effect: nodes.1.dataset.name=toy"),
        ("generator.components=2", "generator.components has no effect: generator=vae does not use it, generator=gmm"),
        ("generator=gmm generator.epochs=2", "generator=gmm does not use it, generator=vae does"),
        ("aggregation.weighted=true", "aggregation=kd does not use it, aggregation=fedavg does"),
        ("aggregation=fedavg aggregation.epochs=2", "aggregation=kd or aggregation=replay does"),
        ("engine.connection=x", "engine=inprocess does not use it, engine=flower does"),
        ("encoder.revision=x", "encoder=yamnet does not use it, encoder=ast does"),
        ("renderer.revision=x", "renderer.model=pack does not use it"),
        ("renderer.judge_revision=x", "renderer.judge=pack does not use it"),
        ("renderer.memory=full renderer.low_memory=false", "renderer.memory=full does not use it"),
        ("renderer.guidance_scale=3.5", "renderer.model=pack does not use it, renderer=flux_dev does"),
        ("renderer.judge=null images.judge_classes=[cat]", "renderer.judge=null does not use it"),
        ("images.server_samples=9", "images.where=nodes does not use it"),
        ("images={server_samples:9}", "images.server_samples has no effect"),
        ("images.output=embeddings images.sheet_columns=9", "images.output=embeddings does not use it"),
        ("evaluation.split=none evaluation.every=9", "evaluation.split=none does not use it"),
        ("evaluation.compare=[fedavg] evaluation.local_nodes=9", "evaluation.compare without local does not use it"),
        ("run=b adapter.local_checkpoint_dir=a adapter.local_epochs=9", "adapter.local_checkpoint_dir=a does not use"),
        ("samples_per_node=9 nodes.0.samples_per_node=1 nodes.1.samples_per_node=1", "a node without one does"),
    ],
)
def test_a_key_that_the_chosen_option_does_not_use_is_a_mistake(overrides: str, told: str) -> None:
    with pytest.raises(ConfigError) as error:
        compose(overrides.split())
    assert len(error.value.mistakes) == 1 and told in error.value.mistakes[0]


@pytest.mark.parametrize(
    "overrides",
    [
        "data.root=null encoder.revision=null images.judge_classes=[] renderer.judge=null",
        "data.root=/x nodes.1.dataset={name:folder}",
        "data=vggsound data.root=/x data.val_ratio=0.2",
        "data=folder data.root=/x data.train_ratio=0.7 data.val_ratio=0.2",
        "renderer=flux_dev renderer.guidance_scale=2 renderer.revision=x",
        "samples_per_node=9 nodes.0.samples_per_node=1",
        "generator=gmm generator.components=2",
        "stages=[images] data.clips_per_class=8 generator.epochs=2",
    ],
)
def test_a_key_that_somebody_uses_is_none(overrides: str) -> None:
    assert compose(overrides.split())
