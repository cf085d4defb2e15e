"""The miniature's parser: a small spaCy pipeline for captions, trained from nothing in about a minute."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Sequence
from pathlib import Path
from random import Random
from typing import Any

from fcbench.files import write_json
from fcbench.make_stack.annotate import annotate
from fcbench.make_stack.lexicon import UNIVERSAL, common_lexicon
from fcbench.make_stack.sentences import Writer, world_caption
from fcbench.world import Caption

WORLD, VARIED = 2500, 2500
"""Sentences to train on."""
HELD_OUT = 1000
EPOCHS, BATCH = 4, 32
WIDTH, DEPTH = 48, 2
TABLES = {"NORM": 1500, "PREFIX": 500, "SUFFIX": 1000, "SHAPE": 200}
"""Rows of the hashed word tables, most of the pipeline's size."""


def train_parser(out: Path, *, seed: int) -> dict[str, float]:
    """Train, save to ``out`` with ``card.json``, and return the card: scores on captions that it never saw.

    ``chunk_*``: noun chunks with exact spans, against the gold parse. ``person_recall``: people's chunks, against
    the world's own truth. ``varied_chunk_f1``: sentences with other words, a quarter of them invented.
    """
    from thinc.api import fix_random_seed

    fix_random_seed(seed)
    random = Random(f"parser {seed}")
    nlp = _pipeline()
    writer = Writer(random, common_lexicon())
    start = random.randrange(1 << 40)
    seen = [world_caption(start + k).text for k in range(WORLD)]
    texts = seen + [writer.sentence() for _ in range(VARIED)]
    gold = [_gold(nlp, text, writer) for text in texts]
    _train(nlp, gold, random)
    nlp.to_disk(out)
    unseen = [world_caption(start + WORLD + k) for k in range(HELD_OUT)]
    captions = [caption for caption in unseen if caption.text not in set(seen)]
    card = _scores(nlp, captions, writer)
    write_json(out / "card.json", card)
    return card


def _pipeline() -> Any:
    import spacy

    nlp = spacy.blank("en")
    embed = {
        "@architectures": "spacy.MultiHashEmbed.v2",
        "width": WIDTH,
        "attrs": list(TABLES),
        "rows": list(TABLES.values()),
        "include_static_vectors": False,
    }
    encode = {
        "@architectures": "spacy.MaxoutWindowEncoder.v2",
        "width": WIDTH,
        "depth": DEPTH,
        "window_size": 1,
        "maxout_pieces": 3,
    }
    shared = {"@architectures": "spacy.Tok2VecListener.v1", "width": WIDTH}
    tagger = {"@architectures": "spacy.Tagger.v2", "tok2vec": shared}
    parser = {
        "@architectures": "spacy.TransitionBasedParser.v2",
        "state_type": "parser",
        "extra_state_tokens": False,
        "hidden_width": 48,
        "maxout_pieces": 2,
        "use_upper": True,
        "tok2vec": shared,
    }
    nlp.add_pipe("tok2vec", config={"model": {"@architectures": "spacy.Tok2Vec.v2", "embed": embed, "encode": encode}})
    nlp.add_pipe("tagger", config={"model": tagger})
    nlp.add_pipe("morphologizer", config={"model": tagger})
    nlp.add_pipe("parser", config={"model": parser})
    nlp.meta.update(name="fcbench_mini", license="Apache-2.0", description="Captions of fcbench's miniature world")
    return nlp


def _gold(nlp: Any, text: str, writer: Writer) -> Any:
    from spacy.tokens import Doc

    plain = nlp.make_doc(text)
    words = [token.text for token in plain]
    parse = annotate(words, writer.lexicon, writer.people)
    return Doc(
        nlp.vocab,
        words=words,
        spaces=[bool(token.whitespace_) for token in plain],
        tags=parse.tags,
        pos=[UNIVERSAL[tag] for tag in parse.tags],
        heads=parse.heads,
        deps=parse.deps,
        sent_starts=[k == 0 for k in range(len(words))],
    )


def _train(nlp: Any, gold: Sequence[Any], random: Random) -> None:
    from spacy.training import Example

    examples = [Example(nlp.make_doc(doc.text), doc) for doc in gold]
    optimiser = nlp.initialize(lambda: examples)
    optimiser.learn_rate = 0.002
    for epoch in range(EPOCHS):
        random.shuffle(examples)
        losses: dict[str, float] = {}
        for k in range(0, len(examples), BATCH):
            nlp.update(examples[k : k + BATCH], sgd=optimiser, drop=0.1, losses=losses)
        told = ", ".join(f"{name} {loss:.0f}" for name, loss in losses.items())
        print(f"parser: epoch {epoch + 1}/{EPOCHS}, loss {told}", file=sys.stderr, flush=True)


def _scores(nlp: Any, captions: Sequence[Caption], writer: Writer) -> dict[str, float]:
    """Scores, rounded to four digits."""
    texts = [caption.text for caption in captions]
    found = [_spans(doc) for doc in nlp.pipe(texts)]
    truth = [_spans(_gold(nlp, text, writer)) for text in texts]
    precision, recall, f1 = _agreement(found, truth)
    people = [set(caption.spans) for caption in captions]
    varied = [writer.sentence() for _ in range(HELD_OUT)]
    varied_truth = [_spans(_gold(nlp, text, writer)) for text in varied]
    card = {
        "captions": len(captions),
        "chunk_precision": precision,
        "chunk_recall": recall,
        "chunk_f1": f1,
        "person_recall": _agreement(found, people)[1],
        "varied_chunk_f1": _agreement([_spans(doc) for doc in nlp.pipe(varied)], varied_truth)[2],
    }
    return {name: round(value, 4) for name, value in card.items()}


def _spans(doc: Any) -> set[tuple[int, int]]:
    return {(chunk.start_char, chunk.end_char) for chunk in doc.noun_chunks}


def _agreement(
    found: Iterable[set[tuple[int, int]]], truth: Iterable[set[tuple[int, int]]]
) -> tuple[float, float, float]:
    """Precision, recall and their harmonic mean."""
    pairs = list(zip(found, truth, strict=True))
    right = sum(len(one & other) for one, other in pairs)
    precision = right / max(1, sum(len(one) for one, _ in pairs))
    recall = right / max(1, sum(len(other) for _, other in pairs))
    return precision, recall, 2 * precision * recall / max(1e-9, precision + recall)
