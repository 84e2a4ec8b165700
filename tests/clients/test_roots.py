"""Whatever paths a server names, a node with folders of its own reads and writes nothing outside them."""

from __future__ import annotations

import functools
import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest
import soundfile
from flwr.app import Context, RecordDict

from clients.client_app import app
from clients.node import Node
from clients.roots import Roots
from tests.support.sounds import sound
from vegas_fl.config import Config, compose
from vegas_fl.core.errors import VegasError
from vegas_fl.engines.inprocess import InProcessGrid
from vegas_fl.federation.messages import (
    DESCRIBE,
    GENERATE,
    TRAIN_GENERATOR,
    Describe,
    Generate,
    Request,
)
from vegas_fl.federation.wire import pack, unpack
from vegas_fl.storage.headers import Spaces

SERVER = "/srv/of/the/server"
FOLDERS = [
    *("data=folder", f"data.root={SERVER}/sounds", f"paths.cache={SERVER}/cache", f"paths.runs={SERVER}/runs"),
    *(f"paths.checkpoints={SERVER}/checkpoints", f"images_output_dir={SERVER}/pictures"),
]


@pytest.fixture
def own(tmp_path: Path) -> dict[str, Any]:
    """The settings of a node with three dogs and three chainsaws; a secret lies outside its folders."""
    for label in ("dog", "chainsaw"):
        for index in range(3):
            path = tmp_path / "sounds" / label / f"{index}.wav"
            path.parent.mkdir(parents=True, exist_ok=True)
            soundfile.write(path, sound(1.0, index), 16_000)
    (tmp_path / "secret" / "dog").mkdir(parents=True)
    soundfile.write(tmp_path / "secret" / "dog" / "secret.wav", sound(1.0, 9), 16_000)
    return {"partition-id": 0, "data-root": str(tmp_path / "sounds"), "output-dir": str(tmp_path / "out")}


GENERATING = {"subfolder": "", "adapter": {}, "adapter_sha256": {}, "files": {}}
"""What a request for pictures has beside its tensors."""


def asked(own: dict[str, Any], values: dict[str, Any], request: type[Request[Any]] = Describe) -> Node:
    """The node that a request reaches."""
    context = Context(run_id=1, node_id=2, node_config=own, state=RecordDict(), run_config={})
    return Node.of(context, request, values, {})[0]


@functools.cache
def composed(*overrides: str) -> Config:
    """The configuration of a server that names folders of its own; composing takes a while."""
    return compose([*FOLDERS, *overrides])


def settings(*overrides: str, **sections: dict[str, Any]) -> dict[str, Any]:
    """What a server sends, with values no configuration of ours would pass."""
    values = composed(*overrides).model_dump(mode="json")
    for section, changes in sections.items():
        values[section] = values[section] | changes
    return {"config": values}


def test_the_nodes_own_folders_stand_for_the_servers(own: dict[str, Any], tmp_path: Path) -> None:
    node = asked(own, settings("run=mine", "generator.checkpoint_dir=/etc"))
    assert {clip.name for clip in node.clips.train["dog"]} <= {str(tmp_path / f"sounds/dog/{i}.wav") for i in range(3)}
    written = (
        node.config.images_output_dir,
        node.config.generator.checkpoint_dir,
        *node.config.paths.model_dump().values(),
    )
    assert all(Path(path).is_relative_to(tmp_path / "out") for path in written), written
    assert node.config.images_output_dir.endswith("/mine")  # runs do not mix
    elsewhere = {"generators-dir": str(tmp_path / "g"), "cache-dir": str(tmp_path / "c")}
    other = asked(own | elsewhere, settings()).config
    assert other.generator.checkpoint_dir == str(tmp_path / "g" / "demo")
    assert other.paths.cache == str(tmp_path / "c")


@pytest.mark.parametrize("root", ["/etc", "../secret", "~", "secret", "/proc/self/cwd"])
def test_the_server_cannot_name_what_is_read(own: dict[str, Any], tmp_path: Path, root: str) -> None:
    for hostile in (
        settings(data={"root": root}),
        settings(nodes={"0": {"selected_classes": ["dog"], "samples_per_node": 9, "dataset": {"root": root}}}),
    ):
        clips = asked(own, hostile).clips
        assert {Path(clip.name).parent for clip in clips.train["dog"]} == {tmp_path / "sounds" / "dog"}


def test_without_a_data_root_nothing_is_read(own: dict[str, Any]) -> None:
    del own["data-root"]
    with pytest.raises(VegasError, match="node 0 has no data-root and therefore reads no recordings .*data.root=/etc"):
        asked(own, settings(data={"root": "/etc"})).clips  # noqa: B018


def test_without_an_output_dir_nothing_is_written(own: dict[str, Any]) -> None:
    del own["output-dir"]
    with pytest.raises(VegasError, match="has no output-dir; start it with one"):
        asked(own, settings())


@pytest.mark.parametrize(
    "label", ["../../secret/dog", "/etc/passwd", "..", ".", "dog/../../secret", "a\\b", "a\0b", ""]
)
def test_a_class_is_a_name(own: dict[str, Any], label: str) -> None:
    nodes = {"0": {"selected_classes": [label], "samples_per_node": 9}}
    with pytest.raises(VegasError, match="cannot be part of a file name"):
        asked(own, settings(nodes=nodes))


@pytest.mark.parametrize("key", ["run", "series"])
@pytest.mark.parametrize("name", ["../../x", "/etc", "a/b", "..", ".hidden", ""])
def test_a_run_is_a_name(own: dict[str, Any], key: str, name: str) -> None:
    hostile = settings()
    hostile["config"][key] = name
    reply = answered(own, hostile)
    assert key in reply and "Traceback" not in reply
    assert not Path(own["output-dir"]).exists()


@pytest.mark.parametrize("subfolder", ["../../../x", "/tmp", "round_1/../../..", "round_"])
def test_a_subfolder_is_a_round(own: dict[str, Any], subfolder: str) -> None:
    with pytest.raises(VegasError, match="subfolder: string should match pattern"):
        asked(own, settings() | GENERATING | {"subfolder": subfolder}, Generate)


@pytest.mark.parametrize(("section", "key"), [("encoder", "model"), ("renderer", "model"), ("renderer", "judge")])
@pytest.mark.parametrize("model", ["/etc", "../secret", "~/.ssh", "somebody/model"])
def test_only_the_nodes_own_models_are_opened(own: dict[str, Any], section: str, key: str, model: str) -> None:
    with pytest.raises(VegasError, match=f"does not open {section}.{key}={model}.*it allows pack, MIT/ast"):
        asked(own | {"models": "MIT/ast"}, settings(**{section: {key: model}}))


def test_a_model_may_lie_elsewhere_on_the_node(own: dict[str, Any]) -> None:
    hub = "black-forest-labs/FLUX.1-schnell"
    node = asked(own | {"models": f"{hub}=/models/flux, MIT/ast"}, settings(renderer={"model": hub}))
    assert node.config.renderer.model == "/models/flux"
    assert node.config.encoder.model == "pack"


@pytest.mark.parametrize("key", ["encoder.revision", "renderer.revision", "renderer.judge_revision"])
@pytest.mark.parametrize("revision", ["../../x", "/etc", "a/../b", "a//b", ".", "-x", "a b"])
def test_a_revision_is_no_path(own: dict[str, Any], key: str, revision: str) -> None:
    """Of a hub's cache, it becomes a part of paths."""
    section, _, name = key.partition(".")
    with pytest.raises(VegasError, match=f"{key}=.*is not a revision"):
        asked(own, settings(**{section: {name: revision}}))
    for good in ("main", "refs/pr/1", "v1.0-rc", "0123abcdef"):
        asked(own, settings(**{section: {name: good}}))


@pytest.mark.parametrize("link", ["cat", "dog/9.wav", "dog/captions.json"])
def test_a_link_out_of_the_data_is_not_followed(own: dict[str, Any], tmp_path: Path, link: str) -> None:
    target = tmp_path / "secret" / "dog"
    (tmp_path / "sounds" / link).symlink_to(target if "." not in link else target / "secret.wav")
    with pytest.raises(VegasError, match="is a link to .*secret.*outside data-root"):
        asked(own, settings("nodes.0.selected_classes=[cat,dog]")).clips  # noqa: B018


def test_links_within_the_data_and_a_root_that_is_one_are_followed(own: dict[str, Any], tmp_path: Path) -> None:
    (tmp_path / "sounds" / "cat").symlink_to(tmp_path / "sounds" / "dog")
    (tmp_path / "link").symlink_to(tmp_path / "sounds")
    node = asked(own | {"data-root": str(tmp_path / "link")}, settings("nodes.0.selected_classes=[cat]"))
    assert node.clips.train["cat"]


@pytest.mark.parametrize(
    "folder",
    ["output_images", "output_images/demo", "output_images/demo/node_0", "checkpoints/generators/demo/node_0", "cache"],
)
def test_a_link_out_of_the_output_is_not_written_through(own: dict[str, Any], tmp_path: Path, folder: str) -> None:
    link = tmp_path / "out" / folder
    link.parent.mkdir(parents=True)
    link.symlink_to(tmp_path / "secret")
    with pytest.raises(VegasError, match="leads out of .*out"):
        asked(own, settings())
    assert [p.name for p in (tmp_path / "secret").iterdir()] == ["dog"]


def test_a_link_in_the_place_of_a_file_is_not_written_through(own: dict[str, Any], tmp_path: Path) -> None:
    folder = tmp_path / "out" / "output_images" / "demo" / "node_0"
    folder.mkdir(parents=True)
    (folder / "manifest.jsonl").symlink_to(tmp_path / "secret" / "dog" / "secret.wav")
    with pytest.raises(VegasError, match="manifest.jsonl is a link to"):
        asked(own, settings())


def test_the_server_is_told_in_a_sentence(own: dict[str, Any]) -> None:
    assert "does not open renderer.model=/etc" in answered(own, settings(renderer={"model": "/etc"}))
    told = answered(own, settings() | GENERATING | {"subfolder": "../x"}, GENERATE)
    assert "subfolder: string should match pattern" in told


def test_no_name_of_a_recording_and_no_folder_is_told(
    own: dict[str, Any], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Neither by a mistake that is understood, nor by one that is not; the node's own log has both."""
    silent = tmp_path / "sounds" / "dog" / "patient-7.wav"
    soundfile.write(silent, [0.0] * 16_000, 16_000)
    own["allow"] = '{"clips_per_class": 1}'
    asking = settings(data={"train_ratio": 1.0, "val_ratio": 0.0, "test_ratio": 0.0}) | {"training": "x"}
    asking |= {"spaces": asdict(Spaces(*(1,) * 5, audio="", text=""))}
    told = answered(own, asking, TRAIN_GENERATOR)
    assert told == "node 0 cannot use its recordings; see its own log"
    assert "patient-7.wav is silent" in caplog.text
    told = answered(own, settings(nodes={"0": {"selected_classes": ["cat"], "samples_per_node": 9}}))
    assert told == "node 0 cannot use its recordings; see its own log" and "chainsaw" in caplog.text
    silent.unlink()
    own["output-dir"] = str(tmp_path / "file")
    (tmp_path / "file").write_text("")
    told = answered(own, asking, TRAIN_GENERATOR)
    assert "output-dir" in told and "cannot be written" in told and str(tmp_path) not in told


def test_what_goes_wrong_unexpectedly_is_told_by_its_kind(
    own: dict[str, Any], caplog: pytest.LogCaptureFixture
) -> None:
    told = answered(own, settings() | GENERATING, GENERATE)  # without the tensors that such a message has
    assert told == "node 0 failed (KeyError); see its own log" and "Traceback" in caplog.text


def test_an_answer_names_the_nodes_folders_and_not_their_places(own: dict[str, Any], tmp_path: Path) -> None:
    roots = Roots.of("0", own)
    assert roots is not None
    answer = {"folder": f"{tmp_path}/out/output_images/r", "notes": [f"{tmp_path}/sounds/dog"], "pictures": 4}
    assert roots.without_places(answer) == {
        "folder": "output-dir/output_images/r",
        "notes": ["data-root/dog"],
        "pictures": 4,
    }


def test_a_node_without_folders_takes_the_servers(tmp_path: Path) -> None:
    config = asked({"partition-id": 0, "device": "cpu"}, settings()).config
    assert config.images_output_dir == f"{SERVER}/pictures" and config.data.root == f"{SERVER}/sounds"
    assert config.device == "cpu"


def answered(own: dict[str, Any], values: dict[str, Any], kind: str = DESCRIBE) -> str:
    """The problem a node answers a message with."""
    grid = InProcessGrid(app, 1)
    (node,) = grid.get_node_ids()
    grid._contexts[node].node_config = own
    (reply,) = grid.send_and_receive([grid.create_message(pack(values), kind, node, "")])
    problem = unpack(reply.content)[0]["problem"]
    assert json.dumps(problem)
    return str(problem)
