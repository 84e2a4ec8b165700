"""`vegas-fl audit` on runs of the command line."""

import json
import shutil
from pathlib import Path

import pytest

from tests.support.command import vegas
from tests.support.once import Once

RUN = ["data.clips_per_class=24", "generator.epochs=30", "stages=[generators,adapters]", "evaluation.generators=false"]


@pytest.fixture(scope="module")
def ran(once: Once, embedding_cache: Path) -> Path:
    """The folder of a run with a VAE."""
    return once.copy("audit", lambda folder: vegas(folder, *RUN, "run=small", f"paths.cache={embedding_cache}"))


@pytest.mark.slow
def test_an_audit_says_what_leaks_which_clip_is_worst_and_that_noiseless_training_is_not_private(ran: Path) -> None:
    done = vegas(ran, "audit", "small", "--shadows", "2", "--canaries", "64")
    results = json.loads((ran / "runs/small/audit.json").read_text("utf8"))
    attacks = {line["attack"]: line for line in results["attacks"]}
    for name in ("latent reconstruction (vae)", "mean embedding (vae)", "loss of the node's adapter"):
        assert name in done.stdout and f"{name}, calibrated" in attacks
        low, high = attacks[name]["interval"]
        assert 0 <= low <= attacks[name]["auc"] <= high <= 1
    assert attacks["mean embedding (vae)"]["auc"] > 0.8
    assert results["canaries"]["epsilon"] > 1.5
    page = (ran / "runs/small/report.html").read_text("utf8")
    assert "latent reconstruction" in page and "Lower bound on ε" in page
    worst = attacks["mean embedding (vae)"]["worst"]
    assert worst in done.stdout and worst not in page


@pytest.mark.slow
def test_a_run_of_which_only_adapters_are_there_is_audited(ran: Path) -> None:
    vegas(ran, "audit", "small", "generator.checkpoint_dir=nowhere", "--shadows", "0", "--node", "1")
    results = json.loads((ran / "runs/small/audit.json").read_text("utf8"))
    assert {line["attack"] for line in results["attacks"]} == {
        "loss of the node's adapter",
        "loss of the global adapter",
    }
    assert results["nodes"] == ["1"] and "canaries" not in results


@pytest.mark.slow
@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (["generator.checkpoint_dir=no", "adapter.checkpoint_dir=no"], "left nothing to attack"),
        (["data=folder", "data.root=nowhere"], "nowhere"),
        (["data.split_seed=5"], "are others than those"),
        (["--node", "7"], "has no node 7"),
    ],
)
def test_what_cannot_be_audited_is_said_and_leaves_no_results(
    ran: Path, tmp_path: Path, words: list[str], sentence: str
) -> None:
    folder = Path(shutil.copytree(ran, tmp_path / "copy"))
    (folder / "runs/small/audit.json").unlink(missing_ok=True)
    done = vegas(folder, "audit", "small", *words, code=1)
    assert sentence in done.stderr
    assert not (folder / "runs/small/audit.json").exists()
