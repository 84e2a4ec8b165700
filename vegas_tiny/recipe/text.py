"""The renderer's two text encoders, with small vocabularies, trained only on the class prompts.

Both learn to tell the sixteen classes apart in any phrasing: CLIP by its pooled vector, T5 by each token of its
sequence. So classes are far apart and phrasings of a class are close together, which makes targets that an audio
adapter can reach and the renderer can rely on.
"""

import json
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from tokenizers import Tokenizer, models, pre_tokenizers, trainers
from torch import nn
from transformers import CLIPTextConfig, CLIPTextModel, CLIPTokenizer, T5Config, T5EncoderModel, T5TokenizerFast

from vegas_tiny.recipe.schedule import Budget, cosine, progress
from vegas_tiny.recipe.table import NAMES, TEMPLATES, phrasings

WIDTH = 64  # of both encoders: the adapters' P and C
CLIP_LENGTH = 32
T5_LENGTH = 16  # tokens the tiny renderer is trained with; the pipeline's max_sequence_length
LONG = 512  # what FluxPipeline pads to by default
TEXT_STEPS = 600


@dataclass
class TextStack:
    """The renderer's text encoders and tokenizers; frozen after their training."""

    clip: CLIPTextModel
    t5: T5EncoderModel
    clip_words: CLIPTokenizer
    t5_words: T5TokenizerFast


def corpus(further: list[str]) -> list[str]:
    """The sentences from which both vocabularies are built: all phrasings of the classes, and names of other things."""
    sentences = [sentence for name in NAMES for sentence in phrasings(name)]
    return sentences + [template.format(name) for name in further for template in TEMPLATES[:2]]


def clip_tokenizer(sentences: list[str], size: int = 1200) -> CLIPTokenizer:
    """CLIP's byte-level BPE with a small vocabulary; any text can be encoded."""
    bpe = Tokenizer(models.BPE(end_of_word_suffix="</w>"))
    bpe.pre_tokenizer = CLIPTokenizer().backend_tokenizer.pre_tokenizer
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(
        vocab_size=size, initial_alphabet=alphabet, end_of_word_suffix="</w>", show_progress=False
    )
    bpe.train_from_iterator([sentence.lower() for sentence in sentences], trainer)
    # every byte also ends words, as in CLIP's own vocabulary
    vocabulary = dict(bpe.get_vocab())
    for letter in sorted(alphabet):
        vocabulary.setdefault(letter + "</w>", len(vocabulary))
    merges = [tuple(pair.split(" ")) if isinstance(pair, str) else tuple(pair) for pair in _merges(bpe)]
    for special in ("<|startoftext|>", "<|endoftext|>"):
        vocabulary[special] = len(vocabulary)
    return CLIPTokenizer(vocab=vocabulary, merges=merges, model_max_length=CLIP_LENGTH)


def t5_tokenizer(sentences: list[str], size: int = 1200) -> T5TokenizerFast:
    """T5's unigram pieces with a small vocabulary; unknown characters become `<unk>`."""
    blank = T5TokenizerFast(extra_ids=0).backend_tokenizer
    unigram = Tokenizer(models.Unigram())
    unigram.pre_tokenizer = blank.pre_tokenizer
    letters = [chr(code) for code in range(33, 127)]
    trainer = trainers.UnigramTrainer(
        vocab_size=size,
        special_tokens=["<pad>", "</s>", "<unk>"],
        unk_token="<unk>",
        initial_alphabet=letters,
        show_progress=False,
    )
    unigram.train_from_iterator(sentences, trainer)
    pieces = [(piece, score) for piece, score in json.loads(unigram.to_str())["model"]["vocab"]]
    known = {piece for piece, _ in pieces}
    lowest = min(score for _, score in pieces) - 5
    pieces += [(letter, lowest) for letter in letters if letter not in known]
    return T5TokenizerFast(vocab=pieces, extra_ids=0, model_max_length=LONG)


def new_stack(sentences: list[str]) -> TextStack:
    """Build both vocabularies from the sentences and initialise both encoders."""
    clip_words, t5_words = clip_tokenizer(sentences), t5_tokenizer(sentences)
    clip = CLIPTextModel(
        CLIPTextConfig(
            vocab_size=len(clip_words),
            hidden_size=WIDTH,
            projection_dim=WIDTH,
            intermediate_size=2 * WIDTH,
            num_hidden_layers=2,
            num_attention_heads=4,
            max_position_embeddings=CLIP_LENGTH,
            bos_token_id=clip_words.bos_token_id,
            eos_token_id=clip_words.eos_token_id,
            pad_token_id=clip_words.pad_token_id,
        )
    )
    t5 = T5EncoderModel(
        T5Config(
            vocab_size=len(t5_words),
            d_model=WIDTH,
            d_kv=16,
            d_ff=2 * WIDTH,
            num_layers=2,
            num_heads=4,
            dropout_rate=0.0,
            pad_token_id=0,
            eos_token_id=1,
        )
    )
    return TextStack(clip, t5, clip_words, t5_words)


def token_ids(tokenizer: CLIPTokenizer | T5TokenizerFast, sentences: list[str], length: int) -> torch.Tensor:
    """Token ids `[B, length]`, padded like FluxPipeline does."""
    return tokenizer(sentences, padding="max_length", max_length=length, truncation=True, return_tensors="pt").input_ids


def train(stack: TextStack, steps: int = TEXT_STEPS, seed: int = 0) -> None:
    """Train both encoders in place to tell the classes of the phrasings."""
    clip, t5 = stack.clip, stack.t5
    torch.manual_seed(seed)
    sentences = [(s, index) for index, name in enumerate(NAMES) for s in phrasings(name)]
    classes = torch.tensor([index for _, index in sentences])
    texts = [s for s, _ in sentences]
    clip_ids = token_ids(stack.clip_words, texts, CLIP_LENGTH)
    t5_ids = token_ids(stack.t5_words, texts, LONG)
    heads = nn.ModuleList([nn.Linear(WIDTH, len(NAMES), bias=False) for _ in range(2)])
    words = nn.Linear(WIDTH, len(stack.t5_words))
    parameters = [*clip.parameters(), *t5.parameters(), *heads.parameters(), *words.parameters()]
    optimiser = torch.optim.AdamW(parameters, lr=2e-3, weight_decay=1e-2)
    for step, done in progress(Budget(0, steps)):
        optimiser.param_groups[0]["lr"] = 2e-3 * cosine(done, step, 50)
        long = step % 20 == 19  # the pipeline's own padding, now and then
        chosen = torch.randint(len(texts), (16 if long else 64,))
        length = LONG if long else T5_LENGTH
        pooled = clip(clip_ids[chosen]).pooler_output
        tokens = t5(t5_ids[chosen, :length]).last_hidden_state
        target = classes[chosen]
        loss = F.cross_entropy(heads[0](pooled), target, label_smoothing=0.1)
        each = target[:, None].expand(-1, length).flatten()
        loss = loss + F.cross_entropy(heads[1](tokens).flatten(0, 1), each, label_smoothing=0.1)
        if not long:  # each token keeps its own word
            own = t5_ids[chosen, :length].flatten()
            loss = loss + 0.1 * F.cross_entropy(words(tokens).flatten(0, 1), own)
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        if step % 100 == 0:
            print(f"text {step} loss {loss:.3f}", flush=True)
    clip.eval().requires_grad_(False)
    t5.eval().requires_grad_(False)


@torch.no_grad()
def embed(stack: TextStack, sentences: list[str]) -> tuple[torch.Tensor, torch.Tensor]:
    """The renderer's inputs for the sentences: tokens `[B, T, C]` and pooled `[B, P]`."""
    tokens = stack.t5(token_ids(stack.t5_words, sentences, T5_LENGTH)).last_hidden_state
    return tokens, stack.clip(token_ids(stack.clip_words, sentences, CLIP_LENGTH)).pooler_output


def _merges(tokenizer: Tokenizer) -> list:
    return json.loads(tokenizer.to_str())["model"]["merges"]
