"""Composing and checking the configuration."""

import json
import unicodedata
from pathlib import Path

import pytest
from pydantic import ValidationError

from tests.support.project import EXPERIMENTS
from tests.support.tables import table
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


@pytest.mark.parametrize(("override", "seen"), table(__file__, "values"))
def test_a_wrong_value_is_named(override: str, seen: str) -> None:
    with pytest.raises(ConfigError) as error:
        compose(override.split())
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


def test_only_targets_of_attributes_hear_of_them() -> None:
    config = compose(["targets=attributes"])
    assert config.encoder.attributes and config.adapter.architecture == "attributes"
    assert parse(json.loads(config.model_dump_json())) == config
    with pytest.raises(ConfigError, match="architecture=attributes needs embeddings with measured attributes"):
        compose(["adapter.architecture=attributes"])
    config = compose()
    assert not config.encoder.attributes and config.adapter.architecture == "attention"


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


@pytest.mark.parametrize("name", [n for n in EXPERIMENTS if n == "demo" or n.startswith("esc10") or n.endswith("_kd")])
def test_samples_per_node_reaches_every_node_of_every_federation(name: str) -> None:
    config = compose([f"experiment={name}", "samples_per_node=100"])
    assert {entry.samples_per_node for entry in config.nodes.values()} == {100}


def test_a_node_without_a_number_takes_that_of_all() -> None:
    config = compose(["nodes.2.selected_classes=[drum]", "samples_per_node=7"])
    assert {entry.samples_per_node for entry in config.nodes.values()} == {7}
    assert parse(json.loads(config.model_dump_json())) == config


def test_an_unknown_key_is_told_by_its_own_name() -> None:
    with pytest.raises(ConfigError) as error:
        compose(["++data.kd=1", "aggregation.kd=1", "engine.flower=1", "generator.epoch=2", "generator.componets=2"])
    told = error.value.mistakes
    assert [mistake.partition(":")[0] for mistake in told] == [
        *("data.kd", "generator.epoch", "generator.componets", "aggregation.kd", "engine.flower"),
    ]
    assert "did you mean epochs?" in told[1] and "did you mean components" not in told[2]


def test_a_wrong_entry_of_a_list_is_one_mistake() -> None:
    with pytest.raises(ConfigError) as error:
        compose(["stages=[generatorz]", "nodes.0.selected_classes=[[1],[2]]"])
    assert [mistake.partition(":")[0] for mistake in error.value.mistakes] == [
        *("stages.0", "nodes.0.selected_classes.0", "nodes.0.selected_classes.1")
    ]


@pytest.mark.parametrize("form", ["NFC", "NFD"])
def test_classes_are_the_same_in_either_unicode_form(form: str) -> None:
    typed = unicodedata.normalize(form, "café")
    config = compose([f'nodes.0.selected_classes=["{typed}"]', f'images.judge_classes=["{typed}"]'])
    assert config.nodes["0"].selected_classes == config.images.judge_classes == ("café",)
    with pytest.raises(ConfigError, match="names a class twice"):
        compose([f'nodes.0.selected_classes=["{typed}","café"]'])


@pytest.mark.parametrize("name", ["कुत्ता", "สุนัข", "เสียงฝน", "كلب", "می‌خواهم", "שֶׁלֶג", "犬の鳴き声", "chó sủa", "க்ஷ"])
def test_letters_of_every_script_name_a_class(name: str) -> None:
    assert compose([f'nodes.0.selected_classes=["{name}"]']).classes[-1] == unicodedata.normalize("NFC", name)


@pytest.mark.parametrize(
    ("name", "seen"),
    [("dog" * 61, "183 bytes in UTF-8, expected at most 180"), ("कुत्ता" * 11, "198 bytes in UTF-8"), ("́a", "begin")],
)
def test_a_class_that_no_file_can_be_named_after(name: str, seen: str) -> None:
    with pytest.raises(ConfigError, match=seen):
        compose([f'nodes.0.selected_classes=["{name}"]'])
    assert compose([f'nodes.0.selected_classes=["{"क" * 60}"]'])


def test_a_value_that_is_not_utf8_is_named() -> None:
    with pytest.raises(ConfigError) as error:
        compose(["data=folder", 'data.root="/m\udcfcll"'])
    assert r"data.root: /m\xfcll is not in UTF-8" in str(error.value)


NUMBERED = """\
# @package _global_
{}
run: mine
nodes:
  0: {{selected_classes: [drum]}}
  1: {{selected_classes: [printer]}}
"""


@pytest.mark.parametrize("base", ["", "defaults: [demo]\n"])
def test_node_ids_need_no_quotes_in_a_file(tmp_path: Path, base: str) -> None:
    (tmp_path / "experiment").mkdir()
    (tmp_path / "experiment" / "mine.yaml").write_text(NUMBERED.format(base))
    mine = [f"hydra.searchpath=[file://{tmp_path}]", "experiment=mine"]
    config = compose([*mine, "nodes.0.samples_per_node=4"])
    assert config.classes == ("drum", "printer") and config.nodes["0"].samples_per_node == 4
    assert list(compose([*mine, "~nodes.1"]).nodes) == ["0"]
    assert compose([*mine, "nodes.1.selected_classes=[dog]"]).classes == ("dog", "drum")
