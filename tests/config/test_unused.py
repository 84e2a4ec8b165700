"""Keys of the command line that have no effect are mistakes."""

from __future__ import annotations

import pytest

from tests.support.tables import table
from vegas_fl.config import ConfigError, compose


@pytest.mark.parametrize(("overrides", "told"), table(__file__, "unused"))
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
