"""Composing and checking the configuration."""

import json

import pytest
from pydantic import ValidationError

from vegas_fl.config import ConfigError, compose, parse, restored


@pytest.mark.parametrize("renderer", ["tiny", "flux_schnell"])
def test_every_renderer_composes(renderer: str) -> None:
    assert compose([f"renderer={renderer}"]).renderer.model


def test_default_is_the_guides_federation() -> None:
    config = compose()
    assert {n: (e.selected_classes, e.samples_per_node) for n, e in config.nodes.items()} == {
        "0": (("dog",), 200),
        "1": (("chainsaw",), 200),
    }
    assert config.classes == ("chainsaw", "dog")


def test_overrides_reach_a_node() -> None:
    config = compose(["nodes.0.samples_per_node=10", "nodes.1.selected_classes=[drum,rail_transport]"])
    assert config.nodes["0"].samples_per_node == 10
    assert config.nodes["1"].selected_classes == ("drum", "rail_transport")


def test_folders_follow_the_run() -> None:
    config = compose(["run=mine", "paths.checkpoints=/c"])
    assert config.generator.checkpoint_dir == "/c/generators/mine"
    assert config.adapter.checkpoint_dir == "/c/adapters/mine"
    assert config.images_output_dir == "output_images/mine"


def test_all_mistakes_are_listed_together() -> None:
    with pytest.raises(ConfigError) as error:
        compose(
            [
                "roundz=3",
                "nodes.0.sample_per_node=5",
                "adapter.lokal_epochs=3",
                "stages=[images,adapters]",
                "federation.min_nodes=7",
                "aggregation.wieghted=true",
            ]
        )
    text = str(error.value)
    assert "6 mistakes" in text
    assert "roundz: unknown key; did you mean rounds?" in text
    assert "nodes.0.sample_per_node: unknown key; did you mean samples_per_node?" in text
    assert "did you mean local_epochs?" in text
    assert "aggregation.wieghted" in text
    assert "use ['adapters', 'images']" in text
    assert "expected at most 2, the number of nodes; got 7" in text


@pytest.mark.parametrize(
    ("override", "seen"),
    [
        ("nodes.0.samples_per_node=0", "nodes.0.samples_per_node: input should be greater than 0; got 0"),
        ("nodes.0.samples_per_node=many", "got 'many'"),
        ("nodes.0.samples_per_node=true", "got True"),
        ("nodes.0.samples_per_node=2.5", "got 2.5"),
        ("nodes.0.selected_classes=[]", "nodes.0.selected_classes"),
        ("nodes.0.selected_classes=[dog,dog]", "names a class twice"),
        ("nodes.0.selected_classes=[../dog]", "cannot be part of a file name"),
        ("nodes.5.selected_classes=[dog]", "nodes.5.samples_per_node: required but not set"),
        ("seed=x", "seed"),
        ("run=a/b", "run"),
        ("device=gpu", "device"),
        ("conditioning.t5=audio", "conditioning.t5"),
        ("rounds=0", "rounds"),
        ("data=nowhere", "nowhere"),
        ("aggregation=standalone", "images.adapters=local"),
        ("adapter.local_checkpoint_dir=checkpoints/adapters/demo", "give the run another name"),
    ],
)
def test_a_wrong_value_is_named(override: str, seen: str) -> None:
    with pytest.raises(ConfigError) as error:
        compose([override])
    assert seen in str(error.value)


def test_nodes_are_numbered_from_zero() -> None:
    with pytest.raises(ConfigError, match="expected the names 0, 1 for 2 nodes"):
        compose(["~nodes.1", "+nodes.7={selected_classes: [drum], samples_per_node: 1}"])


def test_configuration_is_immutable() -> None:
    config = compose()
    with pytest.raises(ValidationError):
        config.seed = 1  # type: ignore[misc]


def test_resolved_configuration_survives_json() -> None:
    config = compose(["experiment=esc10_10n", "data.root=/x"])
    assert parse(json.loads(config.model_dump_json())) == config


def test_targets_of_clips_need_an_aggregation_that_hears_of_them() -> None:
    with pytest.raises(ConfigError, match="targets=attributes has no effect with aggregation=replay"):
        compose(["targets=attributes", "aggregation=replay"])
    assert compose(["targets=attributes", "aggregation=replay", "stages=[generators]"])


def test_a_stored_configuration_takes_overrides_of_its_own_nodes() -> None:
    stored = compose(["experiment=esc10_10n", "data.root=/x"]).model_dump(mode="json")
    config = restored(stored, ["nodes.5.samples_per_node=3", "nodes.0.dataset.root=/y", "images.round=2"])
    assert len(config.nodes) == 10 and config.nodes["5"].samples_per_node == 3 and config.images.round == 2
    assert config.data_of("0") == config.data.model_copy(update={"root": "/y"})
    again = restored(config.model_dump(mode="json"), ["images.round=null", "renderer=flux_schnell", "renderer.steps=7"])
    assert again.images.round is None and again.nodes == config.nodes
    assert again.renderer == compose(["renderer=flux_schnell", "renderer.steps=7"]).renderer


def test_sections_that_are_not_stored_follow_the_overrides() -> None:
    stored = {"renderer": compose(["renderer.steps=3"]).model_dump(mode="json")["renderer"]}
    config = restored(stored, ["run=mine", "device=cpu"])
    assert config.renderer.steps == 3 and config.adapter.checkpoint_dir == "checkpoints/adapters/mine"


@pytest.mark.parametrize(
    ("override", "seen"),
    [
        ("nodes.0.x=1", "nodes.0.x: unknown key"),
        ("images.round.y=2", "images.round: input should be a valid integer"),
        ("foo.bar=3", "foo: unknown key"),
        ("renderer=nowhere", "renderer/nowhere"),
        ("~nodes.1", "~nodes.1: a stored configuration cannot lose keys"),
    ],
)
def test_a_wrong_override_of_a_stored_configuration_is_named(override: str, seen: str) -> None:
    stored = compose(["experiment=esc10_10n", "data.root=/x"]).model_dump(mode="json")
    with pytest.raises(ConfigError) as error:
        restored(stored, [override])
    assert seen in str(error.value)
