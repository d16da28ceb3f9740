"""Near-duplicate texts: MinHash proposes pairs, and an exact comparison of their word shingles decides."""

from collections.abc import Sequence

import polars as pl
from datasketch import MinHash, MinHashLSH

from moesift.data.words import words_of

SHINGLE = 5  # words
PERMUTATIONS = 128
# Of false positives and false negatives: a proposed pair is checked, a missed one is lost.
WEIGHTS = (0.05, 0.95)


def shingles(text: str) -> set[str]:
    """Return the runs of five words of a text; a shorter text is one run, one without words has none."""
    words = words_of(text)
    if not words:
        return set()
    return {" ".join(words[start : start + SHINGLE]) for start in range(max(1, len(words) - SHINGLE + 1))}


def near_duplicates(ids: Sequence[str], texts: Sequence[str], threshold: float) -> pl.DataFrame:
    """Return the pairs of texts whose shingles have a Jaccard similarity of `threshold` or more.

    MinHash with banding (Broder 1997; Leskovec et al., Mining of Massive Datasets, ch. 3) proposes the pairs. There are
    no false positives, since shingles are then compared exactly, and few false negatives. A text without words is
    similar to no other.

    Args:
        ids: of the texts, unique.
        texts: to be compared.
        threshold: in (0, 1).

    Returns:
        Columns id, other (later in the given order), similarity.
    """
    index = MinHashLSH(threshold=threshold, num_perm=PERMUTATIONS, weights=WEIGHTS)
    runs = dict(zip(ids, map(shingles, texts), strict=True))
    places = {example: place for place, example in enumerate(ids)}
    pairs = []
    for example, own in runs.items():
        if not own:
            continue
        sketch = MinHash(num_perm=PERMUTATIONS)
        sketch.update_batch([run.encode() for run in own])
        for other in sorted(map(str, index.query(sketch)), key=places.__getitem__):
            similarity = len(own & runs[other]) / len(own | runs[other])
            if similarity >= threshold:
                pairs.append((other, example, similarity))
        index.insert(example, sketch)
    return pl.DataFrame(pairs, schema={"id": pl.String, "other": pl.String, "similarity": pl.Float64}, orient="row")
