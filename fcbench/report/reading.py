"""How to read a leaderboard, in the words that its page and its Markdown share."""

from __future__ import annotations

from collections.abc import Sequence

from fcbench.report.numbers import ABSENT, rank
from fcbench.report.statistics import LEAST_CLUSTERS
from fcbench.report.table import Ranking

READING = {
    "Identity": "is the cosine between face embeddings of the picture and of the subject's one reference photo. Of a "
    "picture for several subjects the largest faces are matched greedily and the worst matched subject counts; "
    "negative cosines count 0, as does a picture without a face. A face that is missing beside one that was found is, "
    "as in the paper's code, a blank picture, whose cosine may lie above 0; strict identity counts it 0.",
    "Prompt": "is the CLIP cosine between the picture and the prompt in class words.",
    "Attributes": "is the share of what the prompt asks for (hat, scarf, place, style, ...) that a reader trained on "
    "drawn pictures finds: it reads no text, and so checks the prompt by other means.",
    "Own prompt first": "is the share of pictures that are nearer to their own prompt than to any other of the suite; "
    "of an incomplete run, than to any other that it has a picture of, which may be fewer.",
    "Faces found": "is the share of the people asked for whose face was found; further faces do not count.",
    "Outcomes": "are shares of pictures of several people, by the largest faces, as many as people. Right: each "
    "subject has a face that passes for it, nearer than 95 % of other people's photos come; none is a blend, none "
    "swapped. Blended: a face passes for two and hardly tells them apart. Swapped: all are there, but two of different "
    "class words have each other's faces; asked where the prompt tells them apart. Cloned: two faces pass for one "
    "subject. Missing, extra: fewer or more faces than people. A picture may hold several faults, or none and not be "
    "right, as where a face passes for nobody. Margin is how much nearer a face is to its own subject than to another, "
    "in cosine, of the subject that fares worst: next to none in a blend, below 0 in a clone or a swap. Mean identity "
    "is of all subjects in place of the worst; strict identity of the worst, faces matched for the largest sum, a "
    "missing face 0, others not raised to 0.",
    "Ranks": "are the places by identity that cannot be excluded at 5 % after comparing all pairs of complete runs "
    f"(sign-flip test, Holm): “{rank(2, 4)}” means that the method may hold any of the places 2 to 4. “{ABSENT}” is no "
    "rank: incomplete runs, sweeps of alpha and yardsticks have none. Ranks heed neither the prompt nor whether the "
    "given photo was copied, which “fcbench score --metric copy-paste” measures where people have further photos.",
    "Intervals": "are bootstrap-t: people and prompts are drawn anew 999 times, of pictures of several people those "
    "whose people were all drawn, and each draw is measured in its own standard error. So a suite is as large as its "
    "number of people, however many pictures. Of three people in a picture few draws keep all, and intervals come out "
    f"rather too wide than too short. Below {LEAST_CLUSTERS} people none is given, nor where all pictures score "
    f"alike; below {LEAST_CLUSTERS} prompts they are of those prompts, drawn over people alone.",
    "Differences": "have an interval (bootstrap-t) and a p (signs flipped at random, Holm-corrected for the number of "
    "methods, which the intervals are not). These are different tests and may disagree near the edge: ‡ marks where "
    "the interval holds 0 but p tells a difference at 5 %, or leaves out 0 but p tells none.",
    "Cost": "is measured around the method, in a fresh process: fit and picture (sample) are medians, over groups of "
    "subjects and over pictures, drawn warm, each its share of a batch; total is one fit and one picture drawn alone, "
    "the median of three, and so not the sum of the two; loading stands apart; peak is the highest of any fit and of a "
    "picture alone (in runs where none was drawn alone: of any batch).",
}
"""Term -> what it is, to be read after the term."""


def reading(rankings: Sequence[Ranking]) -> dict[str, str]:
    """The terms that stand in these rankings, and what they are."""
    rows = [row for ranking in rankings for row in ranking.rows]
    columns = {column for row in rows for column, score in row.scores.items() if score.count}
    asked = {"Attributes": "attributes", "Outcomes": "both_right"}
    return {term: words for term, words in READING.items() if asked.get(term) in {None, *columns}}
