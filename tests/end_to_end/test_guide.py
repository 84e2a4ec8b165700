"""The guide's workflow, step by step, as its users type it; numbers as in its checklist."""

from __future__ import annotations

import hashlib
import json
import re
import shlex
import shutil
import subprocess
import sys
import time
from pathlib import Path

import pytest
from PIL import Image

from tests.support.command import vegas
from tests.support.once import Once
from tests.support.project import step
from vegas_fl.core.errors import VegasError

SMALL = ["data.clips_per_class=24", "generator.epochs=20", "rounds=2"]
FEW = ["nodes.0.samples_per_node=5", "nodes.1.samples_per_node=3", "renderer.judge=null"]


def files(folder: Path) -> dict[str, str]:
    """Path → hash of everything below ``folder``."""
    return {
        str(p.relative_to(folder)): hashlib.sha256(p.read_bytes()).hexdigest()
        for p in sorted(folder.rglob("*"))
        if p.is_file()
    }


@pytest.fixture(scope="module")
def cache(embedding_cache: Path) -> str:
    return f"paths.cache={embedding_cache}"


@pytest.fixture(scope="module")
def trained(once: Once, cache: str) -> Path:
    """A folder in which steps 1, 2 and KD were run."""

    def fill(folder: Path) -> None:
        vegas(folder, step("train_generator"), *SMALL, *FEW, cache)
        vegas(folder, step("train_adapters"), *SMALL, *FEW, cache)
        vegas(folder, step("kd"), *SMALL, *FEW, "rounds=1", cache)

    return once.copy("guide", fill)


PLAIN = [step("generate"), "nodes.0.samples_per_node=2", "nodes.1.samples_per_node=1", "renderer.judge=null"]


@pytest.fixture(scope="module")
def plain(trained: Path, cache: str, once: Once) -> Path:
    """Pictures of the last step as it is."""

    def fill(folder: Path) -> None:
        vegas(trained, *PLAIN, cache, f"images_output_dir={folder / 'out'}", f"paths.runs={folder / 'runs'}")

    return once.copy("guide-pictures", fill) / "out"


def test_1_2_steps_leave_the_guides_checkpoints(trained: Path) -> None:
    generators = {p.name for p in (trained / "checkpoints/generators/vegas-2n-2c-200s").glob("*.safetensors")}
    assert generators == {f"vae_perclass_round_1_{c}.safetensors" for c in ("dog", "chainsaw")}
    adapters = {p.name for p in (trained / "checkpoints/adapters/vegas-2n-2c-200s").glob("*.safetensors")}
    run = "vegas-2n-2c-200s"
    assert {f"{run}_round_2_{b}.safetensors" for b in ("clip", "t5")} <= adapters
    assert {f"{run}_node_{n}_round_2_{b}.safetensors" for n in "01" for b in ("clip", "t5")} <= adapters
    merged = {p.name for p in (trained / "checkpoints/adapters/vegas-2n-2c-200s-kd").glob("*.safetensors")}
    assert merged == {f"{run}-kd_round_1_{b}.safetensors" for b in ("clip", "t5")}


def test_3_4_5_generation_trains_nothing_and_fills_a_folder_a_node(trained: Path, cache: str) -> None:
    before = files(trained / "checkpoints")
    vegas(trained, step("generate"), *FEW, cache)
    assert files(trained / "checkpoints") == before
    out = trained / "output_images/vegas-2n-2c-200s-generate"
    assert sorted(p.name for p in (out / "node_0").glob("*.png")) == [f"dog_{i:04d}.png" for i in range(1, 6)]
    assert sorted(p.name for p in (out / "node_1").glob("*.png")) == [f"chainsaw_{i:04d}.png" for i in range(1, 4)]
    assert (out / "node_0_sheet.png").exists() and (out / "node_1_sheet.png").exists()
    for path in out.glob("node_*/*.png"):
        with Image.open(path) as picture:
            assert picture.size == (64, 64) and len(picture.getcolors(5000) or range(5000)) > 10
    # Again: nothing is drawn anew, and nothing changes.
    made = files(out)
    vegas(trained, step("generate"), *FEW, cache)
    assert files(out) == made


def test_it_is_told_which_adapter_drew_and_how_another_draws(
    trained: Path, plain: Path, cache: str, tmp_path: Path
) -> None:
    run = "vegas-2n-2c-200s"
    averaged = {"run": run, "round": 2, "aggregation": "fedavg", "node": None}
    assert json.loads((plain / "node_0/run.json").read_text("utf8"))["adapter"] == averaged
    lines = [json.loads(line) for line in (plain / "node_0/manifest.jsonl").read_text("utf8").splitlines()]
    assert [line["drawn"]["adapter"] for line in lines] == [averaged] * 2
    planned = vegas(trained, *PLAIN, cache, "--dry-run", f"images_output_dir={tmp_path / 'plain'}").stdout
    assert f"pictures will be drawn with the fedavg adapter of run {run}, round 2\n" in planned
    assert "to draw with each node's own adapter instead: vegas-fl" in planned
    told = re.search(f"to draw with the kd adapter of run {run}-kd, round 1 instead: vegas-fl (.*)\n", planned)
    assert told and f"adapter.checkpoint_dir=checkpoints/adapters/{run}-kd" in told[1]
    assert "images_output_dir" not in told[1]  # the pictures of one are not the other's
    places = [f"images_output_dir={tmp_path / 'out'}", f"paths.runs={tmp_path}"]
    done = vegas(trained, *shlex.split(told[1]), *places)
    assert f"drawing with the kd adapter of run {run}-kd, round 1" in done.stdout
    page = (tmp_path / f"{run}-kd-generate/report.html").read_text("utf8")
    assert f"drawn with the kd adapter of run {run}-kd, round 1" in page
    vegas(tmp_path, "gallery", "out")
    assert f"the kd adapter of run {run}-kd, round 1" in (tmp_path / "out/gallery.html").read_text("utf8")
    own = vegas(
        trained, *PLAIN, cache, "images.adapters=local", "--dry-run", f"images_output_dir={tmp_path / 'own'}"
    ).stdout
    assert f"each node's own adapter, such as node 0's own adapter of run {run}, round 2" in own


def test_a_checkpoint_with_another_ones_name_is_refused(trained: Path, cache: str, tmp_path: Path) -> None:
    shutil.copytree(trained / "checkpoints", tmp_path / "checkpoints")
    folder = tmp_path / "checkpoints/generators/vegas-2n-2c-200s"
    name = "vae_perclass_round_1_{}.safetensors"
    shutil.copy(folder / name.format("chainsaw"), folder / name.format("dog"))
    told = vegas(tmp_path, *PLAIN, cache, code=2).stderr
    assert "Generator for class 'dog' not found" in told
    assert f"{name.format('dog')} holds the generator of chainsaw" in told
    assert not (tmp_path / "output_images").exists()


def test_a_damaged_generator_is_told_before_adapters_are_trained(trained: Path, cache: str, tmp_path: Path) -> None:
    shutil.copytree(trained / "checkpoints/generators/vegas-2n-2c-200s", tmp_path / "g")
    path = tmp_path / "g/vae_perclass_round_1_dog.safetensors"
    path.write_bytes(path.read_bytes()[:-4] + b"????")
    words = ["stages=[adapters]", "generator.checkpoint_dir=g", "evaluation.generators=false", *SMALL, *FEW, cache]
    done = vegas(tmp_path, *words, code=1)
    assert "vae_perclass_round_1_dog.safetensors is damaged" in done.stderr
    assert not (tmp_path / "checkpoints/adapters").exists()


def test_4_a_node_uses_its_own_class_alone(trained: Path, cache: str, tmp_path: Path) -> None:
    """Without the other node's generator, a node still draws."""
    shared = trained / "checkpoints/generators/vegas-2n-2c-200s/vae_perclass_round_1_dog.safetensors"
    (tmp_path / "generators").mkdir()
    (tmp_path / "generators" / shared.name).write_bytes(shared.read_bytes())
    vegas(
        trained,
        step("generate"),
        "~nodes.1",
        "nodes.0.samples_per_node=2",
        f"generator.checkpoint_dir={tmp_path / 'generators'}",
        f"images_output_dir={tmp_path / 'out'}",
        f"paths.runs={tmp_path / 'runs'}",
        cache,
    )
    assert sorted(p.name for p in (tmp_path / "out").glob("node_*/*.png")) == ["dog_0001.png", "dog_0002.png"]


@pytest.mark.parametrize(
    "change",
    [
        ["conditioning.t5=none"],
        ["conditioning.clip=none"],
        ["conditioning.clip=text", "conditioning.t5=text"],
        ["images.adapters=local"],
        ["images.round=1"],
        ["adapter.checkpoint_dir=checkpoints/adapters/vegas-2n-2c-200s-kd"],
        ["nodes.0.selected_classes=[chainsaw]"],
    ],
)
def test_6_12_one_override_changes_what_is_drawn(
    trained: Path, plain: Path, cache: str, tmp_path: Path, change: list[str]
) -> None:
    vegas(trained, *PLAIN, cache, f"images_output_dir={tmp_path / 'out'}", f"paths.runs={tmp_path / 'runs'}", *change)
    before, changed = (sorted((out / "node_0").glob("*.png")) for out in (plain, tmp_path / "out"))
    assert len(before) == len(changed) == 2
    for one, other in zip(before, changed, strict=True):
        with Image.open(one) as a, Image.open(other) as b:
            assert a.tobytes() != b.tobytes()


def test_7_missing_checkpoints_are_told(trained: Path, cache: str, tmp_path: Path) -> None:
    done = vegas(tmp_path, step("generate"), cache, code=2)
    assert "Checkpoint not found: no generator in checkpoints/generators/vegas-2n-2c-200s" in done.stderr
    assert "Checkpoint not found: no global adapter in checkpoints/adapters/vegas-2n-2c-200s" in done.stderr
    assert list(tmp_path.iterdir()) == []
    done = vegas(trained, step("generate"), "nodes.1.selected_classes=[cat]", cache, code=2)
    assert "Generator for class 'cat' not found" in done.stderr
    assert "chainsaw, dog" in done.stderr


def test_8_low_memory_is_on_by_default_and_batches_can_be_smaller(trained: Path, cache: str, tmp_path: Path) -> None:
    job = vegas(tmp_path, "--cfg", "job").stdout
    assert "low_memory: true" in job
    vegas(
        trained,
        step("generate"),
        *FEW,
        "renderer.batch_size=1",
        f"images_output_dir={tmp_path / 'out'}",
        f"paths.runs={tmp_path / 'runs'}",
        cache,
    )
    assert len(list((tmp_path / "out").glob("node_*/*.png"))) == 8


def test_11_verbose_and_progress(trained: Path, cache: str, tmp_path: Path) -> None:
    done = vegas(
        trained,
        step("generate"),
        *FEW,
        "--verbose",
        f"images_output_dir={tmp_path / 'out'}",
        f"paths.runs={tmp_path / 'runs'}",
        cache,
    )
    assert "DEBUG sending query.generate to nodes 0, 1" in done.stdout
    assert "node 0: 5 pictures in" in done.stdout
    assert "%|" not in done.stdout + done.stderr  # a bar belongs on a terminal


def test_generation_embeds_no_sound_and_no_text(trained: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Neither recordings nor an encoder are opened, though nothing is in the cache."""

    def never(*arguments: object) -> None:
        raise VegasError("loaded what generation does not need")

    monkeypatch.setattr("vegas_fl.audio.embeddings.load_encoder", never)
    monkeypatch.setattr("vegas_fl.rendering.flux.load_text_encoders", never)
    generate = [step("generate"), *FEW, f"paths.cache={tmp_path / 'cache'}", f"paths.runs={tmp_path / 'r'}"]
    generate += ["data=folder", "data.root=/does/not/exist"]
    vegas(trained, *generate, f"images_output_dir={tmp_path / 'out'}")
    assert len(list((tmp_path / "out").glob("node_*/*.png"))) == 8
    # What asks for an encoder would be seen.
    done = vegas(trained, *generate, f"images_output_dir={tmp_path / 'text'}", "conditioning.clip=text", code=1)
    assert "loaded what generation does not need" in done.stderr


def test_metrics_of_all_steps_are_kept(trained: Path) -> None:
    lines = [json.loads(line) for line in (trained / "runs/vegas-2n-2c-200s/metrics.jsonl").read_text().splitlines()]
    assert [line["stages"] for line in lines if line["stage"] == "start"] == [["generators"], ["adapters"]]
    accuracies = {(line["round"], line["adapter"]) for line in lines if line["stage"] == "evaluation"}
    assert accuracies == {(r, a) for r in (1, 2) for a in ("local", "fedavg")}


@pytest.mark.slow
def test_multirun_keeps_its_runs_apart(trained: Path, cache: str, tmp_path: Path) -> None:
    generators = trained / "checkpoints/generators/vegas-2n-2c-200s"
    adapters = trained / "checkpoints/adapters/vegas-2n-2c-200s"
    vegas(
        tmp_path,
        *["--multirun", "seed=1,2", "stages=[images]", "run=sweep", *FEW, cache],
        *[f"generator.checkpoint_dir={generators}", f"adapter.checkpoint_dir={adapters}"],
    )
    one, two = ((tmp_path / f"output_images/sweep-seed={seed}/node_0/dog_0001.png").read_bytes() for seed in (1, 2))
    assert one != two


@pytest.mark.slow
def test_a_later_sweep_goes_on_from_the_generators_of_a_job(trained: Path, cache: str, tmp_path: Path) -> None:
    made = tmp_path / "checkpoints/generators/m-seed=2"
    shutil.copytree(trained / "checkpoints/generators/vegas-2n-2c-200s", made)
    quick = ["adapter.local_epochs=1", "aggregation.epochs=1", "evaluation.split=none", "evaluation.generators=false"]
    sweep = ["--multirun", "run=m", "aggregation=kd,replay", "stages=[adapters]", "seed=2"]
    vegas(tmp_path, *sweep, *quick, *FEW, *SMALL[:1], cache)
    runs = {path.name for path in (tmp_path / "runs").iterdir() if path.is_dir()}
    assert runs == {"m-aggregation=kd", "m-aggregation=replay", "multirun"}
    assert list(made.parent.iterdir()) == [made]


@pytest.mark.slow
def test_standalone_nodes_go_on_from_their_own_adapters(trained: Path, cache: str, tmp_path: Path) -> None:
    """Two rounds are not one round twice, and draw with images.adapters=local."""
    generators = trained / "checkpoints/generators/vegas-2n-2c-200s"
    vegas(
        tmp_path,
        *["aggregation=standalone", "images.adapters=local", "stages=[adapters,images]", "run=alone", *SMALL, *FEW],
        *[f"generator.checkpoint_dir={generators}", "adapter.t5_learning_rate=3e-4", cache],
    )
    folder = tmp_path / "checkpoints/adapters/alone"
    assert not list(folder.glob("alone_round_*"))
    lines = [json.loads(line) for line in (tmp_path / "runs/alone/metrics.jsonl").read_text().splitlines()]
    losses = {
        (x["node"], x["round"]): x["training"]["t5_loss"] for x in lines if x["stage"] == "adapters" and "node" in x
    }
    assert losses["0", 2] < 0.5 * losses["0", 1]
    assert len(list((tmp_path / "output_images/alone").glob("node_*/*.png"))) == 8


@pytest.mark.slow
def test_a_killed_generation_goes_on_and_ends_with_the_same_pictures(trained: Path, cache: str, tmp_path: Path) -> None:
    many = ["nodes.0.samples_per_node=90", "nodes.1.samples_per_node=30", f"paths.runs={tmp_path / 'runs'}", cache]
    vegas(trained, step("generate"), *many, f"images_output_dir={tmp_path / 'whole'}")
    arguments = [step("generate"), *many, f"images_output_dir={tmp_path / 'killed'}"]
    command = [sys.executable, "-m", "vegas_fl", *arguments]
    with subprocess.Popen(command, cwd=trained, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as process:
        while process.poll() is None and len(list((tmp_path / "killed").glob("node_0/*.png"))) < 25:
            time.sleep(0.02)
        assert process.poll() is None, "it ended before it could be killed"
        process.kill()
    left = len(list((tmp_path / "killed").glob("node_*/*.png")))
    assert 25 <= left < 120
    vegas(trained, *arguments)
    whole, killed = (
        {name: digest for name, digest in files(tmp_path / kind).items() if name.endswith(".png")}
        for kind in ("whole", "killed")
    )
    assert len(whole) == 120 + 2
    assert killed == whole


@pytest.mark.slow
def test_the_demo_ends_with_400_pictures(tmp_path: Path, cache: str) -> None:
    done = vegas(tmp_path, cache)
    assert len(list((tmp_path / "output_images/demo").glob("node_*/*.png"))) == 400
    assert re.search(r"kd +1\.000 +1\.000", done.stdout)
    judged = re.search(r"pictures judged right: ([\d.]+) of 400 \(zero-shot among 10 classes\)", done.stdout)
    assert judged and float(judged[1]) >= 0.9
