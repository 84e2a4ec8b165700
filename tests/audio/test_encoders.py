"""Audio encoders: fixed shapes, honest fingerprints, and YAMNet as good as the original on real recordings."""

from __future__ import annotations

import importlib.util
import json
import shutil
import time
from pathlib import Path

import numpy as np
import pytest
import torch
from transformers import ASTConfig, ASTFeatureExtractor, ASTModel

import vegas_tiny
from tests.support.datasets import data
from tests.support.memory import scarce
from tests.support.sounds import sound, yamnet
from vegas_fl.audio import encoders
from vegas_fl.audio.embeddings import embed
from vegas_fl.audio.encoders import load_encoder
from vegas_fl.audio.encoders.yamnet import YamNet, YamNetEncoder
from vegas_fl.config import EncoderConfig
from vegas_fl.core.errors import VegasError
from vegas_fl.data.datasets import open_dataset
from vegas_tiny.recipe import recognition


@pytest.fixture(scope="module")
def small_ast(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A two-layer AST with random weights and the true patch grid, as its library saves it."""
    folder = tmp_path_factory.mktemp("ast")
    torch.manual_seed(0)
    config = ASTConfig(hidden_size=32, num_hidden_layers=2, num_attention_heads=2, intermediate_size=64)
    ASTModel(config).save_pretrained(folder)
    ASTFeatureExtractor().save_pretrained(folder)
    return folder


def ast(folder: Path, tokens: int) -> EncoderConfig:
    return EncoderConfig(name="ast", model=str(folder), revision=None, tokens=tokens, batch_size=4)


@pytest.mark.parametrize("tokens", [1, 8, 10, 25])
def test_yamnet_gives_a_fixed_shape_for_any_length(tokens: int) -> None:
    encoder = load_encoder(yamnet(tokens=tokens))
    embeddings = encoder.encode([sound(0.05), sound(2.0), sound(5.0), sound(12.3)])
    assert embeddings.shape == (4, tokens, 1024)
    assert embeddings.dtype == torch.float32
    assert embeddings.shape[1:] == encoders.shape(yamnet(tokens=tokens)) == (encoder.tokens, encoder.width)
    assert torch.isfinite(embeddings).all()


def test_a_clip_is_heard_alike_alone_and_in_a_batch() -> None:
    encoder = load_encoder(yamnet())
    clips = [sound(seconds, seed) for seed, seconds in enumerate((5.0, 1.0, 3.3))]
    together = encoder.encode(clips)
    for clip, embedding in zip(clips, together, strict=True):
        torch.testing.assert_close(encoder.encode([clip])[0], embedding, atol=1e-4, rtol=1e-3)


def test_the_fingerprint_follows_weights_and_pooling_only(tmp_path: Path) -> None:
    copy = tmp_path / "yamnet"
    shutil.copytree(vegas_tiny.path("yamnet"), copy)
    one = encoders.fingerprint(yamnet())
    assert one == load_encoder(yamnet()).fingerprint
    assert one == encoders.fingerprint(yamnet(batch_size=3, model=str(copy)))
    assert one != encoders.fingerprint(yamnet(tokens=4))
    content = bytearray((copy / "yamnet.safetensors").read_bytes())
    content[-1] ^= 1
    (copy / "yamnet.safetensors").write_bytes(content)
    assert one != encoders.fingerprint(yamnet(model=str(copy)))


def test_missing_or_damaged_weights_are_a_sentence(tmp_path: Path) -> None:
    with pytest.raises(VegasError, match="weights not found at .*; set encoder.model=pack"):
        encoders.fingerprint(yamnet(model=str(tmp_path)))
    (tmp_path / "yamnet.safetensors").write_bytes(b"nonsense")
    with pytest.raises(VegasError, match="cannot be read"):
        load_encoder(yamnet(model=str(tmp_path)))


def test_ast_gives_its_cls_token(small_ast: Path) -> None:
    encoder = load_encoder(ast(small_ast, 1))
    embeddings = encoder.encode([sound(5.0), sound(1.0)])
    assert embeddings.shape == (2, 1, 32)
    everything = load_encoder(ast(small_ast, 1214)).encode([sound(5.0), sound(1.0)])
    torch.testing.assert_close(embeddings, everything[:, :1])


def test_ast_gives_all_its_tokens_as_the_library_does(small_ast: Path) -> None:
    embeddings = load_encoder(ast(small_ast, 1214)).encode([sound(5.0)])
    extractor, model = (
        ASTFeatureExtractor.from_pretrained(small_ast),
        ASTModel.from_pretrained(small_ast).eval(),
    )
    with torch.no_grad():
        expected = model(**extractor([sound(5.0)], sampling_rate=16_000, return_tensors="pt")).last_hidden_state
    assert embeddings.shape == (1, 1214, 32) == (1, *encoders.shape(ast(small_ast, 1214)))
    torch.testing.assert_close(embeddings, expected, atol=1e-5, rtol=1e-4)


def test_ast_pools_over_the_time_a_clip_lasts(small_ast: Path) -> None:
    everything = load_encoder(ast(small_ast, 1214)).encode([sound(5.0)])[0, 2:].reshape(12, 101, 32).mean(0)
    pooled = load_encoder(ast(small_ast, 2)).encode([sound(5.0)])[0]
    torch.testing.assert_close(pooled, torch.stack([everything[:25].mean(0), everything[25:50].mean(0)]))
    assert load_encoder(ast(small_ast, 101)).encode([sound(0.02), sound(15.0)]).shape == (2, 101, 32)


def test_ast_tells_which_numbers_of_tokens_there_are(small_ast: Path) -> None:
    for ask in (encoders.fingerprint, encoders.load_encoder):
        with pytest.raises(VegasError, match=r"tokens=500.*2 to 101.*1214"):
            ask(ast(small_ast, 500))
    assert encoders.fingerprint(ast(small_ast, 1)) != encoders.fingerprint(ast(small_ast, 1214))


def test_a_missing_ast_is_a_sentence(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text("{}")
    with pytest.raises(VegasError, match=r"lacks preprocessor_config.json, model.safetensors"):
        load_encoder(ast(tmp_path, 1))
    with pytest.raises(VegasError, match="download it first"):
        load_encoder(ast(Path("nobody/has-such-a-model"), 1))


def reference_outputs(esc10: Path) -> object:
    """The PyTorch port of YAMNet that was checked against TensorFlow; it lies beside the recordings."""
    folder = esc10.parent / "teachers"
    if not (folder / "yamnet.py").is_file():
        pytest.skip("no reference YAMNet beside the real recordings")
    spec = importlib.util.spec_from_file_location("reference_yamnet", folder / "yamnet.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module.YAMNet.load(str(folder / "yamnet.safetensors"))


def test_yamnet_agrees_with_the_reference_on_real_recordings(esc10: Path) -> None:
    reference = reference_outputs(esc10)
    encoder = load_encoder(yamnet(tokens=10))
    assert isinstance(encoder, YamNetEncoder)
    dataset = open_dataset(data(name="esc50", root=str(esc10)))
    for label in dataset.classes:
        wave = dataset.clips(label)[0].read(16_000, 5.0)
        scores, frames, _ = reference(torch.from_numpy(wave))  # type: ignore[operator]
        torch.testing.assert_close(encoder.encode([wave])[0], frames, atol=1e-3, rtol=0)
        torch.testing.assert_close(
            recognition.scores(encoder, encoder.features([wave])[0]), scores.mean(0), atol=1e-3, rtol=0
        )


def test_yamnet_names_what_it_hears(esc10: Path) -> None:
    encoder = load_encoder(yamnet())
    assert isinstance(encoder, YamNetEncoder)
    names = recognition.class_names()
    assert len(names) == 521
    clips = open_dataset(data(name="esc50", root=str(esc10))).clips("rooster")[:5]
    features = encoder.features([clip.read(16_000, 5.0) for clip in clips])
    heard = [{names[i] for i in recognition.scores(encoder, one).topk(5).indices} for one in features]
    assert sum("Chicken, rooster" in labels or "Crowing, cock-a-doodle-doo" in labels for labels in heard) >= 4


@pytest.mark.slow
def test_yamnet_embeds_twenty_clips_a_second(esc10: Path) -> None:
    dataset = open_dataset(data(name="esc50", root=str(esc10)))
    clips = [clip for label in dataset.classes for clip in dataset.clips(label)[:10]]
    embed(clips[:4], yamnet(), cache_dir=None, max_seconds=5.0)
    threads = torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        start = time.perf_counter()
        embed(clips, yamnet(), cache_dir=None, max_seconds=5.0)
        rate = len(clips) / (time.perf_counter() - start)
    finally:
        torch.set_num_threads(threads)
    assert rate >= 20, f"{rate:.1f} clips/s; is something else running?"


@pytest.mark.slow
def test_real_classes_lie_apart(esc10: Path) -> None:
    """Folds 1-3 → fold 4: nearest class mean by cosine, and logistic regression on standardised embeddings."""
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    dataset = open_dataset(data(name="esc50", root=str(esc10)))
    clips = [clip for label in dataset.classes for clip in dataset.clips(label)]
    labels = np.array([dataset.classes.index(clip.label) for clip in clips])
    train, test = (np.array([clip.fold in folds for clip in clips]) for folds in ((1, 2, 3), (4,)))
    embeddings = embed(clips, yamnet(), cache_dir=None, max_seconds=5.0).flatten(1)
    unit = torch.nn.functional.normalize(embeddings).numpy()
    means = np.stack([unit[train & (labels == c)].mean(0) for c in range(len(dataset.classes))])
    nearest = np.linalg.norm(unit[test][:, None] - means, axis=2).argmin(1)
    logistic = make_pipeline(StandardScaler(), LogisticRegression(C=0.01, max_iter=300))
    logistic.fit(embeddings.numpy()[train], labels[train])
    figures = {
        "nearest class mean": float((nearest == labels[test]).mean()),
        "logistic regression": float(logistic.score(embeddings.numpy()[test], labels[test])),
    }
    print(json.dumps(figures))
    assert figures["nearest class mean"] >= 0.87
    assert figures["logistic regression"] >= 0.93


def test_yamnet_with_little_memory_embeds_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    waves = [np.random.default_rng(i).normal(0, 0.1, 32_000).astype(np.float32) for i in range(4)]
    encoder = load_encoder(yamnet(tokens=2))
    whole = encoder.encode(waves)
    scarce(monkeypatch, YamNet, "features", RuntimeError("CUDNN_STATUS_ALLOC_FAILED"), lambda x: len(x) > 10)
    torch.testing.assert_close(encoder.encode(waves), whole, rtol=1e-4, atol=1e-5)
