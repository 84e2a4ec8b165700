"""Sounds of the ten VEGAS classes, synthesised with random parameters for each clip.

Each recipe is a caricature of how the sound comes about: a voice is a buzz through resonances, an engine a
row of firings, a train a row of wheels over joints. Details were chosen by what YAMNet recognises.
"""

from collections.abc import Callable

import numpy as np
from numpy.random import Generator

from vegas_fl.data.classes import VEGAS
from vegas_fl.data.datasets.synthesis import (
    RATE,
    SECONDS,
    SIZE,
    buzz,
    curve,
    cycles,
    decay,
    filtered,
    grains,
    loguniform,
    noise,
    place,
    room,
    samples,
    swing,
    wander,
)


def baby_cry(rng: Generator) -> np.ndarray:
    """Wails of one breath each: a pitch arch around 450 Hz, strong upper harmonics, gasps between."""
    sound = np.zeros(SIZE, np.float32)
    base, at = rng.uniform(380, 520), rng.uniform(0, 0.3)
    f1, f2 = rng.uniform(1000, 1400), rng.uniform(2600, 3400)
    low = [(0, -30), (250, -12), (base, 0), (f1, 8), (f1 * 1.6, -4)]
    mouth = [*low, (f2, 6), (f2 * 1.3, -8), (5200, -10), (8000, -30)]
    while at < SECONDS - 0.3:
        size = samples(rng.uniform(0.5, 1.3))
        top = base * rng.uniform(1.05, 1.35)
        pitch = curve(size, (0, base * 0.8), (0.15, top), (0.6, top * 0.95), (1, base * 0.7))
        pitch = pitch * (
            1 + 0.02 * wander(rng, size, 30) + 0.012 * np.sin(2 * np.pi * rng.uniform(5, 8) * np.arange(size) / RATE)
        )
        voice = buzz(pitch, 0.6) * (1 + 0.3 * wander(rng, size, 40))
        voice = filtered(voice + 0.03 * rng.standard_normal(size, np.float32), mouth)
        loud = curve(size, (0, 0), (0.08, 0.8), (0.3, 1), (0.8, 0.8), (1, 0))
        place(sound, voice * loud, at, rng.uniform(0.7, 1.0))
        at += size / RATE
        gasp = samples(rng.uniform(0.15, 0.3))
        place(sound, noise(rng, gasp, [(0, -40), (800, 0), (3000, 0), (8000, -20)]) * np.hanning(gasp), at, 0.02)
        at += gasp / RATE + rng.uniform(0, 0.15)
    return sound


def chainsaw(rng: Generator) -> np.ndarray:
    """A two-stroke engine: firings at 90-180 Hz, distorted, sinking under load, chain noise on top."""
    idle, full = rng.uniform(70, 110), rng.uniform(130, 220)
    load = np.clip(0.75 + 0.45 * wander(rng, SIZE, rng.uniform(0.6, 1.6)), 0, 1)
    pitch = (idle + (full - idle) * load) * (1 + 0.02 * wander(rng, SIZE, 60))
    engine = np.tanh(3 * buzz(pitch, 0.5) * (1 + 0.3 * wander(rng, SIZE, 90)))
    chain = noise(rng, SIZE, [(0, -50), (500, -15), (2000, 0), (5000, 0), (8000, -10)])
    firing = 0.5 + 0.5 * swing(pitch)
    mixed = engine + rng.uniform(0.15, 0.4) * chain * (0.4 + 0.6 * firing) * (0.3 + load)
    body = [(0, -40), (80, -10), (200, -3), (rng.uniform(500, 900), 3), (2000, 0), (4000, 0), (8000, -12)]
    return filtered(mixed, body) * (0.5 + 0.5 * load)


def dog(rng: Generator) -> np.ndarray:
    """Barks: a hoarse voice whose pitch jumps up and falls within a fifth of a second, in a room."""
    base, jitter = loguniform(rng, 485, 720), rng.uniform(0.08, 0.15)
    f1 = base * rng.uniform(1.4, 2.4)
    f2 = max(base * rng.uniform(2.6, 4.7), 1.5 * f1)
    resonance, tilt, hoarse = rng.uniform(4.5, 11.5), rng.uniform(0.85, 1.4), rng.uniform(0.1, 0.3)
    low = [(0, -40), (base * 0.7, -8), (f1 * 0.75, -2), (f1, resonance), (f1 * 1.3, -2)]
    mouth = [*low, (f2, resonance - 6), (f2 * 1.3, -14), (9000, -40)]
    start, end, top = rng.uniform(0.35, 0.7), rng.uniform(0.66, 0.94), rng.uniform(0.18, 0.4)
    length, gap = rng.uniform(0.17, 0.23), rng.uniform(0.3, 0.78)
    sound = np.zeros(SIZE, np.float32)
    at = rng.uniform(0.1, 0.6)
    while at < SECONDS - 0.3:
        for _ in range(int(rng.integers(2, 5))):
            size = samples(length * rng.uniform(0.9, 1.1))
            pitch = base * rng.uniform(0.93, 1.07) * curve(size, (0, start), (top, 1), (1, end))
            voice = buzz(pitch * (1 + jitter * wander(rng, size, 80)), tilt)
            bark = filtered(voice + hoarse * rng.standard_normal(size, np.float32), mouth)
            place(sound, bark * curve(size, (0, 0), (0.08, 1), (0.5, 0.8), (1, 0)) ** 1.5, at, rng.uniform(0.7, 1))
            at += size / RATE + gap * rng.uniform(0.8, 1.2)
        at += rng.uniform(0.25, 0.75)
    return room(rng, sound, loguniform(rng, 0.075, 0.14), rng.uniform(0.3, 0.55))


def drum(rng: Generator) -> np.ndarray:
    """A beat: bass drum (a sine whose pitch drops), snare (two tones and a noise), hi-hat (a high noise)."""
    low, snare = rng.uniform(45, 75), rng.uniform(160, 240)
    size = samples(0.35)
    time = np.arange(size) / RATE
    bass = np.sin(2 * np.pi * np.cumsum(low * (1 + 3 * np.exp(-time / 0.02))) / RATE) * decay(
        size, rng.uniform(0.08, 0.16)
    )
    rattle = noise(rng, size, [(0, -40), (800, -10), (2000, 0), (6000, 0), (8000, -6)]) * decay(
        size, rng.uniform(0.05, 0.11), 0.001
    )
    skin = (np.sin(2 * np.pi * snare * time) + 0.6 * np.sin(2 * np.pi * snare * 1.59 * time)) * decay(size, 0.06, 0.001)
    hit = 0.35 * rattle + 0.5 * skin
    hat = noise(rng, size, [(0, -80), (4000, -30), (6500, 0), (8000, 0)]) * decay(size, rng.uniform(0.02, 0.06), 0.001)
    step = 60 / rng.uniform(85, 150) / 4
    pattern = {
        0: [1, 0, 0, 0, 0, 0, 0, 0] if rng.random() < 0.5 else [1, 0, 0, 1, 0, 0, 1, 0],
        1: [0, 0, 0, 0, 1, 0, 0, int(rng.integers(2))],
        2: [1, 0, 1, 0, 1, 0, 1, 0] if rng.random() < 0.7 else [1, 1, 1, 1, 1, 1, 1, 1],
    }
    sound = np.zeros(SIZE, np.float32)
    hats = rng.uniform(0.0, 0.12)
    for beat in range(int(SECONDS / step)):
        for kind, (grain, gain) in enumerate(((bass, 1.0), (hit, 0.8), (hat, hats))):
            if pattern[kind][beat % 8]:
                place(sound, grain, beat * step + rng.uniform(0, 0.008), gain * rng.uniform(0.8, 1))
    return sound


def fireworks(rng: Generator) -> np.ndarray:
    """Rockets that whistle up and burst far off with a boom, a crackle and a sizzle, between houses."""
    often, share = loguniform(rng, 0.95, 1.3), rng.uniform(0.25, 0.72)
    depth, roll, boom = loguniform(rng, 315, 465), rng.uniform(-37, -22), loguniform(rng, 0.127, 0.36)
    attack, crack, snap = (
        loguniform(rng, 0.0015, 0.0054),
        loguniform(rng, 0.048, 0.35),
        loguniform(rng, 0.0086, 0.024),
    )
    pops, pop, brief = loguniform(rng, 3.3, 32), loguniform(rng, 0.019, 0.25), loguniform(rng, 0.0023, 0.0058)
    spark, spread, delay = loguniform(rng, 1200, 3950), rng.uniform(0.2, 0.8), rng.uniform(0.17, 0.39)
    whistle, low, high = (loguniform(rng, 0.0126, 0.1), loguniform(rng, 1280, 2250), loguniform(rng, 1360, 3600))
    sizzle = loguniform(rng, 0.012, 0.113)
    crackle = grains(rng, [(0, -40), (spark / 3, -12), (spark, 0), (9000, -6)])
    thud = grains(rng, [(0, -20), (depth / 2, -4), (depth, 0), (depth * 5, roll / 2), (8000, roll)], 3.0)
    sharp = grains(rng, [(0, -20), (500, -5), (3000, 0), (8000, -10)])
    rain = grains(rng, [(0, -60), (2000, -6), (5000, 0), (8000, -3)], 3.0)
    sound = np.zeros(SIZE, np.float32)
    at = rng.uniform(0, 0.4)
    while at < SECONDS - 0.3:
        if rng.random() < share:
            size = samples(rng.uniform(0.4, 0.9))
            pitch = curve(size, (0, low), (1, high)) * (1 + 0.01 * wander(rng, size, 30))
            place(sound, buzz(pitch, 2.5) * curve(size, (0, 0), (0.3, 1), (1, 0.1)), at, whistle)
            at += size / RATE * rng.uniform(0.6, 1)
        near = rng.uniform(0.3, 1)
        size = samples(1.4)
        place(sound, thud(size) * decay(size, boom * rng.uniform(0.7, 1.4), attack), at, near)
        size = samples(0.2)
        place(sound, sharp(size) * decay(size, snap, 0.0005), at, near * crack)
        size = samples(0.05)
        for _ in range(int(pops * rng.uniform(0.3, 1))):
            later = delay + abs(rng.standard_normal()) * spread
            place(sound, crackle(size) * decay(size, brief, 0.0003), at + later, pop * rng.uniform(0.2, 1) * near)
        size = samples(1.2)
        shower = rain(size) * (0.6 + 0.4 * wander(rng, size, 40)) * np.hanning(size)
        place(sound, shower, at + delay, sizzle * near)
        at += rng.uniform(0.35, 1.05) / often
    return room(rng, sound, loguniform(rng, 0.2, 0.4), rng.uniform(0.33, 0.84))


def helicopter(rng: Generator) -> np.ndarray:
    """Rotor blades: pulses of low noise 9-16 times a second over a turbine's hiss and a gear's tone."""
    rate = rng.uniform(9, 16)
    phase = cycles(rate * (1 + 0.01 * wander(rng, SIZE, 1))).astype(np.float32)
    blade = np.exp(-((phase % 1.0) * rng.uniform(4, 7)))
    thump = noise(rng, SIZE, [(0, -12), (40, 0), (150, 0), (500, -10), (2000, -26), (8000, -50)])
    slap = noise(rng, SIZE, [(0, -40), (300, 0), (1500, -4), (8000, -30)])
    wind = noise(rng, SIZE, [(0, -20), (100, 0), (800, -8), (4000, -18), (8000, -30)])
    gear = buzz(np.full(SIZE, rng.uniform(280, 480)), 1.2)
    near = 0.7 + 0.3 * wander(rng, SIZE, 0.4)
    return near * (thump * (0.15 + blade) + 0.35 * slap * blade + rng.uniform(0.15, 0.3) * wind + 0.03 * gear)


def printer(rng: Generator) -> np.ndarray:
    """A carriage driven to and fro by a stepping motor, scraping dot by dot, two clacks at each turn, a fan."""
    step, tilt = loguniform(rng, 635, 1150), rng.uniform(0.8, 1.5)
    case, turn, paper = loguniform(rng, 710, 2160), loguniform(rng, 555, 1280), loguniform(rng, 1665, 4220)
    motor, scrape = loguniform(rng, 0.045, 0.14), loguniform(rng, 0.047, 0.21)
    dots, duty = loguniform(rng, 62, 129), rng.uniform(-0.4, 0.32)
    clack, length, gap = loguniform(rng, 0.38, 1.07), rng.uniform(0.25, 0.46), rng.uniform(0.11, 0.24)
    ramp, back = rng.uniform(0.38, 0.8), 1 + rng.uniform(-0.12, 0.09)
    hit = grains(rng, [(0, -40), (turn / 3, -10), (turn, 0), (turn * 3, -10), (9000, -30)])
    rub = grains(rng, [(0, -60), (paper / 4, -20), (paper, 0), (8000, -10)])
    knock = samples(0.08)
    hum, sound = np.zeros(SIZE, np.float32), np.zeros(SIZE, np.float32)
    at, forth = 0.0, True
    while at < SECONDS:
        size = samples(length * rng.uniform(0.9, 1.1))
        pitch = step * (1 if forth else back) * curve(size, (0, ramp), (0.12, 1), (0.88, 1), (1, ramp))
        needle = 0.5 + 0.5 * np.tanh(8 * (swing(np.full(size, dots)) - duty))
        moving = curve(size, (0, 0), (0.05, 1), (0.95, 1), (1, 0))
        place(hum, buzz(pitch, tilt) * moving, at)
        place(sound, rub(size) * needle * moving, at, scrape)
        at += size / RATE
        place(sound, hit(knock) * decay(knock, 0.012, 0.0005), at, clack)
        place(sound, hit(knock) * decay(knock, 0.012, 0.0005), at + gap * 0.4, clack * 0.6)
        at += gap * rng.uniform(0.7, 1.3)
        forth = not forth
    hum = filtered(hum, [(0, -40), (case / 4, -15), (case, 0), (case * 3, -15), (9000, -35)])
    sound += hum * (motor / hum.std())
    fan = noise(rng, SIZE, [(0, -30), (120, 0), (800, -8), (4000, -20), (8000, -30)])
    sound += loguniform(rng, 0.024, 0.088) * fan
    return room(rng, sound, rng.uniform(0.024, 0.044), rng.uniform(0.42, 0.54))


def rail_transport(rng: Generator) -> np.ndarray:
    """A carriage from inside: rumble, wheels over rail joints in pairs, a motor's hum, flanges that squeal."""
    low, middle, high = rng.uniform(-11, 0), rng.uniform(-15, -4), rng.uniform(-44, -30)
    rumble = noise(
        rng, SIZE, [(0, -25), (40, low), (150, 0), (600, middle), (2500, middle + high / 2), (8000, middle + high)]
    )
    sound = rumble * (0.8 + 0.2 * wander(rng, SIZE, loguniform(rng, 1.4, 9)))
    joint, fade, attack = (loguniform(rng, 305, 635), loguniform(rng, 0.034, 0.064), loguniform(rng, 0.0044, 0.022))
    hit = grains(rng, [(0, -40), (joint / 3, -12), (joint, 0), (joint * 3, -12), (8000, -35)])
    loud, beat, axle = loguniform(rng, 1.04, 2.2), rng.uniform(0.32, 0.9), rng.uniform(0.18, 0.27)
    size = samples(0.3)
    at = rng.uniform(0, 0.4)
    while at < SECONDS:
        for offset in (0, axle * beat):
            place(sound, hit(size) * decay(size, fade, attack), at + offset, loud * rng.uniform(0.7, 1))
        at += beat * rng.uniform(0.97, 1.03)
    flange = buzz(loguniform(rng, 2200, 4700) * (1 + 0.01 * wander(rng, SIZE, 5)), 2)
    sound += loguniform(rng, 0.0056, 0.096) * flange * np.clip(wander(rng, SIZE, 2), 0, 1)
    sound += loguniform(rng, 0.015, 0.08) * noise(rng, SIZE, [(0, -60), (1000, -8), (3000, 0), (8000, -10)])
    motor = buzz(loguniform(rng, 86, 390) * (1 + 0.03 * wander(rng, SIZE, 0.5)), rng.uniform(0.9, 1.65))
    sound += loguniform(rng, 0.011, 0.23) * motor
    return room(rng, sound, loguniform(rng, 0.028, 0.087), rng.uniform(0.37, 0.54))


def snoring(rng: Generator) -> np.ndarray:
    """Breath drawn through a flapping palate: a rough buzz and noise pulsed with it; a soft breath out between."""
    flap, jitter, tilt = loguniform(rng, 78, 108), rng.uniform(0.11, 0.24), rng.uniform(0.9, 1.18)
    f1, f2 = loguniform(rng, 570, 800), loguniform(rng, 2000, 2750)
    nose, mouth, hiss = rng.uniform(5, 10), rng.uniform(-18, -12), rng.uniform(-8, -2)
    low = [(0, -30), (80, -8), (f1 * 0.7, -2), (f1, nose), (f1 * 1.5, -6)]
    throat = [*low, (f2 * 0.8, mouth - 5), (f2, mouth), (f2 * 1.3, mouth - 5), (4500, hiss), (8000, hiss - 8)]
    breath, flutter, depth = rng.uniform(0.5, 1.0), loguniform(rng, 5, 12.5), rng.uniform(0.15, 0.38)
    length, pause, bend = rng.uniform(1.1, 1.4), rng.uniform(0.25, 0.7), rng.uniform(0.8, 1.22)
    rise, fall = rng.uniform(0.24, 0.55), rng.uniform(0.74, 0.85)
    outward, soft = loguniform(rng, 900, 1600), loguniform(rng, 0.017, 0.075)
    sound = np.zeros(SIZE, np.float32)
    at = rng.uniform(0, 0.4)
    while at < SECONDS - 0.4:
        size = samples(length * rng.uniform(0.9, 1.1))
        pitch = flap * curve(size, (0, 1), (0.5, bend), (1, 1)) * (1 + jitter * wander(rng, size, 30))
        pulse = 0.6 + 0.5 * swing(pitch)
        voice = buzz(pitch, tilt) * (1 + 0.3 * wander(rng, size, 60)) + breath * pulse * rng.standard_normal(size)
        trill = swing(flutter * (1 + 0.2 * wander(rng, size, 8)))
        snore = filtered(voice * (1 - depth * (0.5 + 0.5 * trill)), throat)
        place(sound, snore * curve(size, (0, 0), (rise, 0.7), (fall, 1), (1, 0)), at)
        at += size / RATE + pause * rng.uniform(0.5, 1.5)
        size = samples(0.7 * rng.uniform(0.8, 1.2))
        out = noise(rng, size, [(0, -40), (outward / 3, -12), (outward, 0), (outward * 3, -12), (8000, -25)])
        place(sound, out * np.hanning(size), at, soft * np.abs(sound).max())
        at += size / RATE + rng.uniform(0.05, 0.4)
    return room(rng, sound, loguniform(rng, 0.034, 0.058), rng.uniform(0.3, 0.46))


def water_flowing(rng: Generator) -> np.ndarray:
    """A rush of noise and many bubbles: short sines whose pitch rises as they close."""
    rush = noise(rng, SIZE, [(0, -30), (200, -12), (600, -4), (1500, 0), (4000, -4), (8000, -10)])
    sound = rng.uniform(0.1, 0.3) * rush * (0.9 + 0.1 * wander(rng, SIZE, 8))
    size = samples(0.06)
    time = np.arange(size) / RATE
    bubbles = []
    for _ in range(30):
        pitch, closing = loguniform(rng, 400, 2800), rng.uniform(1, 4)
        tone = np.sin(2 * np.pi * pitch * (time + closing * time**2))
        bubbles.append(tone * decay(size, rng.uniform(0.006, 0.02), 0.002))
    for _ in range(int(rng.uniform(100, 250))):
        place(sound, bubbles[rng.integers(30)], rng.uniform(0, SECONDS), rng.uniform(0.1, 0.8) ** 2)
    return sound


RECIPES: dict[str, Callable[[Generator], np.ndarray]] = {label: globals()[label] for label in VEGAS}


def synthesise(label: str, rng: Generator) -> np.ndarray:
    """Five seconds of a class at 16 kHz: ``[80000]`` float32, peak between 0.3 and 0.95."""
    sound = RECIPES[label](rng)
    sound = sound / np.abs(sound).max()
    sound += 10 ** rng.uniform(-4.0, -3.0) * rng.standard_normal(SIZE, np.float32)  # the room
    return (sound * (rng.uniform(0.3, 0.95) / np.abs(sound).max())).astype(np.float32)
