"""JSON configurations of the replaced system, as its guide shows them, become experiments."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from docs.configuration import tables
from tests.support.command import vegas
from tests.support.guide import GUIDE
from tests.support.project import ROOT
from vegas_fl.config import Config
from vegas_fl.core.errors import VegasError
from vegas_fl.migration import commented_json, experiment
from vegas_fl.migration.keys import KEYS, NODE_KEYS
from vegas_fl.migration.settings import Import, translate

PAGE = ROOT / "docs" / "coming-from-json.md"


def imported(old: dict[str, Any], run: str = "vegas-2n-2c-200s", **options: Any) -> tuple[Import, Config]:
    new = translate(old, run, **{"size": "tiny", **options})
    return new, experiment.tried(experiment.text(new, "old.json"))


def node(*classes: str, **more: Any) -> dict[str, Any]:
    return {"selected_classes": list(classes), "samples_per_node": 200, **more}


def two(**more: Any) -> dict[str, Any]:
    return {"nodes": {"0": node("dog"), "1": node("chainsaw")}, **more}


def test_the_guides_generation_step(tmp_path: Path) -> None:
    (tmp_path / "a2v_vegas_2n_2c_200s_generate.json").write_text(GUIDE)
    done = vegas(tmp_path, "import-config", "a2v_vegas_2n_2c_200s_generate.json")
    assert "num_clients is 3, but nodes has 2" in done.stdout
    assert "generator_load_checkpoint: checkpoints are always saved" in done.stdout
    shown = vegas(
        tmp_path, "--config-dir", ".", "experiment=a2v_vegas_2n_2c_200s_generate_imported", "--cfg", "job"
    ).stdout
    for line in (
        "run: vegas-2n-2c-200s-generate",
        "images_output_dir: output_images/vegas-2n-2c-200s-generate",
        "checkpoint_dir: checkpoints/generators/vegas-2n-2c-200s",
        "checkpoint_dir: checkpoints/adapters/vegas-2n-2c-200s",
        "name: vegas",
        "model: black-forest-labs/FLUX.1-schnell",
    ):
        assert line in shown
    assert "clip: adapter\n  t5: none" in shown
    again = vegas(tmp_path, "import-config", "a2v_vegas_2n_2c_200s_generate.json", code=1)
    assert "--overwrite" in again.stderr
    same = vegas(tmp_path, "import-config", "a2v_vegas_2n_2c_200s_generate.json", "--output", "esc10_10n.yaml", code=1)
    assert "choose another name" in same.stderr


def test_a_file_name_that_cannot_be_typed(tmp_path: Path) -> None:
    (tmp_path / "my größe=1.json").write_text(json.dumps(two()))
    done = vegas(tmp_path, "import-config", "my größe=1.json", "--size", "tiny")
    assert "experiment=my_gr_e_1 data.root=FOLDER" in done.stdout
    assert "run: my-gr-e-1" in vegas(tmp_path, "--config-dir", ".", "experiment=my_gr_e_1", "--cfg", "job").stdout


def test_it_is_the_experiment_of_that_name() -> None:
    old = commented_json.json.loads(json.dumps(two(generator_training_mode=True)))
    _, config = imported(old)
    assert config.stages == ("generators",)
    assert {n: e.selected_classes for n, e in config.nodes.items()} == {"0": ("dog",), "1": ("chainsaw",)}


@pytest.mark.parametrize(
    ("more", "name", "stages"),
    [
        ({"adapter_aggregation_mode": "none"}, "standalone", ("adapters",)),
        ({"adapter_aggregation_mode": "avg"}, "fedavg", ("adapters",)),
        ({"adapter_aggregation_mode": "kd", "kd_training_epochs": 10}, "kd", ("adapters",)),
        ({"global_model_train_from_generator": True, "adapter_aggregation_mode": "avg"}, "replay", ("adapters",)),
        ({"adapter_aggregation_mode": "kd", "generate_nodes_images_frequency": 5}, "kd", ("adapters", "images")),
        (
            {"adapter_aggregation_mode": "none", "generate_nodes_images_frequency": 1},
            "standalone",
            ("adapters", "images"),
        ),
        ({"generator_training_mode": True, "generate_nodes_images_frequency": 1}, "standalone", ("generators",)),
    ],
)
def test_modes(more: dict[str, Any], name: str, stages: tuple[str, ...]) -> None:
    _, config = imported(two(**more))
    assert (config.aggregation.name, config.stages) == (name, stages)


@pytest.mark.parametrize(
    ("more", "stages"),
    [
        ({}, ("generators", "adapters")),
        ({"use_pretrained_generators": True}, ("adapters",)),
        ({"generator_load_checkpoint": True}, ("adapters",)),
        ({"generate_nodes_images_frequency": 1}, ("generators", "adapters", "images")),
        ({"global_model_train": False, "generate_nodes_images_frequency": 1}, ("generators", "images")),
        ({"generator_training_mode": False}, ("adapters",)),
    ],
)
def test_generators_that_are_not_loaded_are_trained(more: dict[str, Any], stages: tuple[str, ...]) -> None:
    new, config = imported(two(use_generator=True, **{"adapter_aggregation_mode": "kd", **more}))
    assert config.stages == stages
    told = any("no generator is trained" in sentence for sentence in new.suspicious)
    assert told == ("generator_training_mode" in more)


def test_pictures_without_a_generator_are_of_recordings() -> None:
    old = two(adapter_aggregation_mode="avg", generate_nodes_images_frequency=1)
    assert imported(old)[1].images.source == "generator"
    assert imported({**old, "use_generator": False})[1].images.source == "recordings"


@pytest.mark.parametrize(("mode", "local"), [("kd", "there"), ("avg", "there"), ("none", None)])
def test_adapters_that_were_loaded_are_merged_not_trained(mode: str, local: str | None) -> None:
    old = two(adapter_load_checkpoint=True, adapter_checkpoint_dir="there", adapter_aggregation_mode=mode)
    new, config = imported(old)
    assert config.adapter.local_checkpoint_dir == local
    assert any("trained again" in sentence for sentence in new.suspicious) == (local is None)


def test_asts_cls_token() -> None:
    assert translate(two(cls_token_only=True, generator_sequence_length=4), "x").values["encoder"] == {"tokens": 1}
    assert translate(two(cls_token_only=False, generator_sequence_length=4), "x").values["encoder"] == {"tokens": 4}


def test_values_of_a_wrong_type_are_told_and_left_out() -> None:
    odd = {"global_rounds": "ten", "local_epochs": 2.5, "seed": None, "batch_size": "8", "eval_gap": True}
    nodes = {"0": node("dog", samples_per_node="many", train_folds="x"), "1": {"selected_classes": "chainsaw"}}
    nodes["1"] |= {"excluded_classes": "saw"}  # no class, and no part of one
    new, config = imported({**odd, "nodes": nodes, "generate_low_memomy_footprint": "false"})
    wrong = [s.partition(",")[0] for s in new.suspicious if s.endswith("left out")]
    assert wrong == [
        "global_rounds is 'ten'",
        "local_epochs is 2.5",
        "eval_gap is True",
        "nodes.0.samples_per_node is 'many'",
        "nodes.0.train_folds is 'x'",
    ]
    assert "seed: null counts as not set" in new.notes
    assert (config.rounds, config.adapter.batch_size, config.renderer.low_memory) == (1, 8, False)
    assert config.nodes["1"].selected_classes == ("chainsaw",)
    with pytest.raises(VegasError, match=r"nodes\.0 is 3, expected .*; correct it"):
        translate({"nodes": {"0": 3}}, "x")


def test_folds_that_are_not_said() -> None:
    new, _ = imported({"nodes": {"0": node("rooster", dataset="ESC50", use_folds=True)}})
    assert any("use_folds without train_folds or test_folds" in sentence for sentence in new.suspicious)


def test_values_are_taken_over_whatever_section_they_stand_in() -> None:
    old = two(
        general={"global_rounds": 7, "seed": 3},
        feda2v={"kd_learning_rate": 0.002, "kd_samples_per_class": 50, "adapter_aggregation_mode": "kd"},
        eval_gap=2,
        local_epochs=4,
        batch_size=8,
        generate_low_memomy_footprint=False,
    )
    _, config = imported(old)
    assert (config.rounds, config.seed, config.evaluation.every, config.adapter.local_epochs) == (7, 3, 2, 4)
    assert config.aggregation.model_dump(include={"learning_rate", "samples_per_class"}) == {
        "learning_rate": 0.002,
        "samples_per_class": 50,
    }
    assert (config.adapter.batch_size, config.renderer.low_memory) == (8, False)


def test_text_flags_mean_what_is_asked_for() -> None:
    old = two(generate_from_clip_text_embeddings=True, generate_from_t5_text_embeddings=False)
    assert imported(old)[1].conditioning.model_dump() == {"clip": "adapter", "t5": "none"}
    assert imported(old, text_flags="code")[1].conditioning.model_dump() == {"clip": "text", "t5": "adapter"}


@pytest.mark.parametrize(
    ("frequencies", "where", "every"),
    [({"nodes": 1}, "nodes", 1), ({"global": 2}, "server", 2), ({"nodes": 5, "global": 5}, "both", 5)],
)
def test_pictures_are_drawn_by_those_and_after_those_rounds(
    frequencies: dict[str, int], where: str, every: int
) -> None:
    old = {f"generate_{who}_images_frequency": k for who, k in frequencies.items()}
    _, config = imported(two(**old, global_rounds=10, adapter_aggregation_mode="kd"))
    assert (config.images.where, config.images.every, config.images.adapters) == (where, every, "global")
    _, config = imported(two(**old, adapter_aggregation_mode="kd", generate_embeddings_only=True))
    assert (config.images.every, config.images.output) == (None, "embeddings")


def test_learning_rates_and_weight_decays() -> None:
    rates = {"adapters_learning_rate": 0.02, "t5_adapter_learning_rate": 0.01, "clip_adapter_weight_decay": 0.1}
    _, config = imported(two(**rates))
    assert (config.adapter.clip_learning_rate, config.adapter.t5_learning_rate) == (0.02, 0.01)
    assert config.adapter.weight_decay == 0.1
    new, _ = imported(two(**rates, t5_adapter_weight_decay=0.2))
    assert any("both branches share one weight decay" in sentence for sentence in new.unsupported)


def test_folds_counted_from_zero() -> None:
    old = {"nodes": {"0": node("rooster", dataset="ESC50", train_folds=[0, 1, 2, 3], test_folds=[4])}}
    new, config = imported(old)
    assert (config.data_of("0").train_folds, config.data_of("0").test_folds) == ((1, 2, 3, 4), (5,))
    assert any("counted from 0" in sentence for sentence in new.notes)


def test_a_section_that_is_called_dataset() -> None:
    _, config = imported({"dataset": {"name": "ESC50"}, "nodes": {"0": node("rooster")}})
    assert config.data.name == "esc50"


def test_data_sets_classes_and_samples() -> None:
    nodes = {
        "0": {"dataset": "ESC50", "selected_classes": ["rooster"], "train_folds": [1, 2], "test_folds": [4]},
        "1": {"dataset": "VEGAS", "excluded_classes": ["dog"], "num_samples": 20, "node_split_seed": 7},
        "2": {"dataset": "VEGAS", "selected_classes": ["dog"], "samples_per_node": 30},
    }
    _, config = imported({"nodes": nodes})
    assert config.data.name == "vegas"
    first = config.data_of("0")
    assert (first.name, first.train_folds, first.test_folds) == ("esc50", (1, 2), (4,))
    assert len(config.nodes["1"].selected_classes) == 9
    assert [config.nodes[i].samples_per_node for i in "012"] == [200, 180, 30]
    assert config.data.split_seed == 7


@pytest.mark.parametrize(
    ("old", "seen"),
    [
        (two(num_clients=3), "num_clients is 3, but nodes has 2"),
        (two(generator_checkpoint_dir="checkpoints/generators/vegas-10n-10c-400s"), "another run's checkpoints"),
        ({"nodes": {"0": node("dgo")}}, "unknown class 'dgo'; did you mean dog?"),
        ({"nodes": {"0": node("dog"), "1": node("dog")}}, "all had all clips of dog"),
        (
            {"nodes": {"0": node("dog", num_nodes=4, node_split_id=0)}},
            "num_nodes is 4, but the number of nodes with dog is 1",
        ),
        (
            {"nodes": {str(i): node("dog", num_nodes=2, node_split_id=0) for i in range(2)}},
            "overlap: they have the same share of dog (node_split_id)",
        ),
        (two(adapter_aggregation_mode="mean"), "is mean, expected none, avg or kd"),
        ({"nodes": {"0": node("dog", dataset="AudioSet")}}, "taken as a folder per class"),
        ({"nodes": {str(i): node("dog", node_split_seed=i) for i in range(2)}}, "differ (0, 1)"),
        (two(generate_global_images_frequency=1), "the server has no adapter to draw with"),
        (two(generator_only_mode=True, generate_nodes_images_frequency=1), "they are left to a later step"),
    ],
)
def test_known_mistakes_are_pointed_out(old: dict[str, Any], seen: str) -> None:
    assert any(seen in sentence for sentence in imported(old)[0].suspicious)


def test_granularity_of_generators_is_taken_over() -> None:
    old = {"nodes": {"0": node("dog", "rain", generator_granularity="unified"), "1": node("drum", "rooster")}}
    shared = {"generator_granularity": "per_group", "generator_class_group": {"birds": ["rooster", "drum"]}}
    _, config = imported(
        {**old, "generators": {**shared, "generator_train_classes": ["dog", "rain", "drum", "rooster"]}}
    )
    assert config.trained_together("0") == [("dog", "rain")]
    assert config.trained_together("1") == [("drum", "rooster")]
    found, _ = imported({**two(), "generator_granularity": "per_planet"})
    assert any("is per_planet, expected per_class, per_group or unified" in line for line in found.suspicious)


def test_a_typo_is_told_and_so_is_what_it_meant() -> None:
    new, _ = imported(two(gloabl_rounds=3, favourite_colour="blue"))
    assert "gloabl_rounds: did you mean global_rounds? The replaced system ignored it" in new.unsupported
    assert "favourite_colour: unknown key" in new.unsupported


REFERENCE = """dataset selected_classes excluded_classes num_nodes samples_per_node node_split_id node_split_seed
num_samples_per_class train_ratio val_ratio test_ratio use_folds train_folds test_folds generator_granularity
generator_augmentation_noise generator_sequence_length generator_training_epochs generator_checkpoint_dir
generator_checkpoint_base_name generator_checkpoint_frequency generator_load_checkpoint generator_save_checkpoint
use_generator use_pretrained_generators generator_training_mode adapter_checkpoint_dir adapter_checkpoint_base_name
adapter_checkpoint_frequency adapter_load_checkpoint adapter_save_checkpoint clip_adapter_learning_rate
t5_adapter_learning_rate clip_adapter_weight_decay t5_adapter_weight_decay clip_adapter_learning_rate_schedule
adapter_aggregation_mode kd_training_epochs kd_learning_rate kd_samples_per_class global_model_train_from_generator
global_model_train global_rounds local_epochs eval_gap generate_nodes_images_frequency
generate_global_images_frequency images_output_dir generate_low_memomy_footprint generate_embeddings_only
generate_from_t5_text_embeddings generate_from_clip_text_embeddings num_clients nodes batch_size"""


def test_no_key_of_its_guide_and_code_is_unknown() -> None:
    assert [key for key in REFERENCE.split() if key not in KEYS and key not in NODE_KEYS] == []


def test_every_key_has_its_fate() -> None:
    """No key passes silently: each is taken over, a note, or unsupported."""
    values: dict[str, Any] = {"train_folds": [1], "test_folds": [2], "dataset": "VEGAS", "device": "cpu"}
    values |= {"nodes": {}, "selected_classes": ["dog"], "excluded_classes": [], "generator_type": "vae"}
    texts = ("dir", "name", "project", "mode", "granularity", "method")
    split = {"train_ratio": 0.5, "val_ratio": 0.25, "test_ratio": 0.25}
    flat = {k: values.get(k, split.get(k, "per_class" if k.endswith(texts) else 1)) for k in KEYS if k != "nodes"}
    flat |= {"adapter_aggregation_mode": "kd", "generator_training_mode": False}
    new = translate({**flat, "nodes": {"0": node("dog", train_folds=[1], num_nodes=1)}}, "x")
    told = "\n".join([*new.taken, *new.notes, *new.unsupported, *new.suspicious])
    aside = {"nodes", "selected_classes", "excluded_classes", "samples_per_node", "num_samples_per_class"}
    aside |= {"num_samples", "adapter_aggregation_method"}  # older names
    silent = [k for k in KEYS if k not in told and k not in aside]
    assert silent == []


def test_the_page_has_every_key() -> None:
    page = PAGE.read_text("utf8")
    assert tables() in page
    assert all(f"`{key}`" in page for key in {**KEYS, **NODE_KEYS})


@pytest.mark.parametrize(
    ("content", "seen"),
    [
        ('{"a": 1, "a": 2}', "'a' appears twice"),
        ("[1]", "is not a JSON object"),
        ('{"a": }', "is not valid JSON: .*line 1 column 7"),
    ],
)
def test_files_that_are_no_configuration(tmp_path: Path, content: str, seen: str) -> None:
    (tmp_path / "x.json").write_text(content)
    with pytest.raises(VegasError, match=seen):
        commented_json.read(tmp_path / "x.json")


def test_texts_keep_what_looks_like_a_comment(tmp_path: Path) -> None:
    (tmp_path / "x.json").write_text('{"a": "http://x, }", /* b */ "c": ["#1",], // d\n}')
    assert commented_json.read(tmp_path / "x.json") == {"a": "http://x, }", "c": ["#1"]}
