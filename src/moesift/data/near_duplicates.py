"""Examples whose texts are nearly the same: MinHash finds the candidates, their word shingles decide."""

import re
from collections.abc import Sequence

import polars as pl
from datasketch import MinHash, MinHashLSH

SHINGLE = 5  # words
PERMUTATIONS = 128
# A pair that the hashes miss is lost, one that they report in vain is only checked: so few are missed.
WEIGHTS = (0.05, 0.95)  # of false positives and false negatives

WORD = re.compile(r"\w+")


def shingles(text: str) -> set[str]:
    """Return the runs of five words of a text, in lower case; of a shorter text all of its words as one run.

    A text without words has none.
    """
    words = WORD.findall(text.lower())
    if not words:
        return set()
    return {" ".join(words[start : start + SHINGLE]) for start in range(max(1, len(words) - SHINGLE + 1))}


def near_duplicates(ids: Sequence[str], texts: Sequence[str], threshold: float) -> pl.DataFrame:
    """Return the pairs of texts whose shingles have a Jaccard similarity of `threshold` or more.

    MinHash with banding (Broder 1997; Leskovec et al., Mining of Massive Datasets, ch. 3) proposes pairs, and their
    shingles are compared exactly: a pair that is found is one, and nearly every pair is found. A text without words is
    like no other.

    Args:
        ids: of the texts, unique.
        threshold: in (0, 1).

    Returns:
        Columns id, other (later in the given order), similarity.
    """
    runs = [shingles(text) for text in texts]
    index = MinHashLSH(threshold=threshold, num_perm=PERMUTATIONS, weights=WEIGHTS)
    place = {example: number for number, example in enumerate(ids)}
    rows = []
    for number, example in enumerate(ids):
        if not runs[number]:
            continue
        sketch = MinHash(num_perm=PERMUTATIONS)
        sketch.update_batch([run.encode() for run in runs[number]])
        for other in sorted(map(str, index.query(sketch)), key=place.__getitem__):
            mine, its = runs[number], runs[place[other]]
            similarity = len(mine & its) / len(mine | its)
            if similarity >= threshold:
                rows.append((other, example, similarity))
        index.insert(example, sketch)
    return pl.DataFrame(rows, schema={"id": pl.String, "other": pl.String, "similarity": pl.Float64}, orient="row")
