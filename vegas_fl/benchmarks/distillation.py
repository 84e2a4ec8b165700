"""What a distillation costs the server at FLUX.1's widths: time of all cores, and peak memory, by number of nodes."""

import tempfile
import time
from pathlib import Path

import torch

from vegas_fl.algorithm.adapter import Adapter, AdapterShape, Conditioning
from vegas_fl.algorithm.distillation import Teacher, distil, distillation_targets, room_for
from vegas_fl.algorithm.generators import build_sampler
from vegas_fl.algorithm.span import TokenSpan
from vegas_fl.benchmarks.runs import apart, markdown, peak_bytes
from vegas_fl.config import StudentConfig, compose
from vegas_fl.core import seeds
from vegas_fl.core.devices import resolve_device
from vegas_fl.storage import tensorfiles

CLASSES, SAMPLES = 10, 200


def distillation(nodes: int, tokens: int, name: str) -> tuple[float, float, float]:
    """Distil ``nodes`` random adapters on samples ``[tokens, 768]`` of ten random generators; CPU seconds, seconds,
    and peak memory (GB) of the process."""
    config, device = compose(["adapter=attention"]), resolve_device(name)
    settings = config.aggregation
    assert isinstance(settings, StudentConfig)
    shape = AdapterShape(audio_tokens=tokens, audio_width=768, clip_width=768, t5_tokens=17, t5_width=4096)
    with tempfile.TemporaryDirectory() as folder, seeds.reproducible("bench", threads=config.threads):
        text = Conditioning(torch.randn(CLASSES, 768), torch.randn(CLASSES, 17, 4096))
        files = [Path(folder) / f"{node}.safetensors" for node in range(nodes)]
        for path in files:
            tensorfiles.save(path, Adapter(shape, config.adapter, text).state_dict(), {}, durable=False)
        cpu, start = time.process_time(), time.perf_counter()

        def teacher(path: Path) -> Teacher:
            def load() -> Adapter:
                adapter = Adapter(shape, config.adapter)
                adapter.load_state_dict(tensorfiles.load(path).tensors)
                return span.narrow(adapter).to(device)

            return load, {str(files.index(path) % CLASSES): 1.0}

        span = TokenSpan(text.t5, config.adapter.hidden)
        samples = room_for(map(str, range(CLASSES)), SAMPLES, tokens, 768)
        for label, room in samples.items():
            sampler = build_sampler(tokens, 768, config.generator).to(device)
            room.copy_(sampler.sample(SAMPLES, generator=seeds.generator(label)))
        x, targets = distillation_targets(samples, [teacher(path) for path in files])
        student = span.narrow(Adapter(shape, config.adapter, text)).to(device)
        distil(student, x, targets, settings, span.coordinates(text))
        span.widen(student.cpu())
        return time.process_time() - cpu, time.perf_counter() - start, peak_bytes() / 1e9


def table(counts: tuple[int, ...], tokens: int, device: str) -> str:
    """A Markdown row per number of nodes."""
    rows = []
    for count in counts:
        cpu, seconds, memory = apart(distillation, count, tokens, device)
        rows.append([str(count), f"{cpu:.0f} s", f"{seconds:.0f} s", f"{memory:.2f} GB"])
    return markdown(["nodes", "CPU time", "time", "peak memory"], rows)
