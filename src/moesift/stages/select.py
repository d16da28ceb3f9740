"""Keep a share of the pool: a random draw from what the filter leaves, or the top of the ranking.

The selection has the text that training reads; what the filter, or anything else than the budget, left out is
written beside it with the reason.
"""

from pathlib import Path

import numpy as np
import polars as pl

from moesift import config, flags
from moesift.data.blocks import blocks_of, write_blocks
from moesift.data.targets import selected
from moesift.files import atomic_write
from moesift.passes.stored import as_array
from moesift.select import ids
from moesift.select.diversity import k_centre
from moesift.select.ranking import (
    Spread,
    count_within,
    deduplicate,
    drop_lowest,
    drop_top,
    keep,
    mark_lowest,
    quotas,
    ranked,
    require,
    shuffled,
    ties,
    without,
)

BLOCK = 500_000  # rows of the pool, and of what was left out, that are in memory at once with their text


def main(
    scores: flags.Parquet,
    pool: flags.Parquet,
    budget: str,
    whole: bool,
    reject: float | None,
    select: config.Select,
    out: Path,
    dropped: Path,
    seed: int,
    queries: list[flags.Parquet],
    tokens: flags.Parquet | None = None,
    contaminated: flags.Parquet | None = None,
    near_duplicates: flags.Parquet | None = None,
    semantic_duplicates: flags.Parquet | None = None,
    instructions: flags.Parquet | None = None,
    per_instruction: int = 1,
    representation: flags.Parquet | None = None,
    most: int | None = None,
) -> None:
    """Read scores and pool, write the selection and what was dropped.

    Args:
        scores: parquet of `score`.
        pool: parquet of the pool.
        budget: ratio-0.1, a share of the pool's examples, or tokens-20000, response tokens (below 1 a share of them).
        whole: keep everything that has a response, whatever the budget.
        reject: share of each source that is rejected before a draw, first what has no score; null ranks.
        select: keys drop_top, quota and diversity.
        out: parquet of the selection to write.
        dropped: parquet to write of what anything else than the budget left out, with the reason.
        seed: of what is drawn at random.
        queries: parquet of the queries of targets, which are added to what is kept.
        tokens: the pass `tokens` of the target, for a budget in tokens.
        contaminated: parquet of `contaminated`, whose examples are dropped.
        near_duplicates: parquet of `near_duplicates`, of which only the best are kept.
        semantic_duplicates: parquet of `semantic_duplicates`, the same.
        instructions: parquet of `instructions`, of each of which only the best are kept.
        per_instruction: examples of an instruction that are kept.
        representation: the pass of this name, for diversity.
        most: queries of each target that are added; without it all.
    """
    # Of the pool only what is kept is ever in memory with its text, of the scores three numbers an example.
    texts = pl.scan_parquet(pool).select("id", "source", "source_index", "messages", "finished")
    sizes = dict(texts.group_by("source").len().sort("source").collect(engine="streaming").iter_rows())
    # Of the whole pool, so that every method keeps equally many, whatever it cannot score.
    size = sum(sizes.values())
    scored = pl.scan_parquet(scores)
    # What brought an example: columns that targeted methods have, beside the turn in which it was taken.
    brought_by = [name for name in ("target", "query") if name in scored.collect_schema()]
    table = scored.select("id", "source", "score", "reason", *(["turn"] if brought_by else []))
    as_numbers = ids.are_hexadecimal(table)

    def keyed(frame: pl.LazyFrame, *columns: str) -> pl.DataFrame:
        """Read a frame with its ids as numbers, a third of the memory, where all ids are hexadecimal."""
        numbers = [ids.numbers(pl.col(column)) for column in columns] if as_numbers else []
        return frame.with_columns(numbers).collect(engine="streaming")

    repeated = [pl.col(column).cast(pl.Categorical) for column in ("source", "reason")]
    ranking = ranked(keyed(table.with_columns(repeated), "id"))
    if reject is not None:
        ranking = mark_lowest(ranking, sizes, reject)
    if contaminated is not None:
        reason = pl.format("shares a run of words with question {} of {}: {}", "question", "task", "run")
        ranking = without(ranking, keyed(pl.scan_parquet(contaminated).select("id", reason=reason), "id"))
    ranking = drop_top(ranking, select.drop_top)
    if reject is not None:  # before near-duplicates: none should go for the sake of one that is rejected
        ranking = drop_lowest(ranking, reject)
    pairs = [
        keyed(pl.scan_parquet(path), "id", "other").with_columns(measure=pl.lit(measure))
        for measure, path in (("Jaccard", near_duplicates), ("cosine", semantic_duplicates))
        if path is not None
    ]
    if pairs or instructions is not None:
        answers = None if instructions is None else keyed(pl.scan_parquet(instructions), "id", "instruction")
        ranking = deduplicate(ranking, pl.concat(pairs) if pairs else None, answers, per_instruction)
    if reject is not None:
        ranking = shuffled(ranking, seed)

    kind, _, amount = budget.partition("-")
    if whole:
        count = ranking.left.height
    elif kind == "tokens":
        counted = keyed(pl.scan_parquet(str(tokens)).select("id", "n_tokens"), "id")
        reason = pl.lit("no response token of the target within data.max_length")  # it would cost nothing
        ranking = without(ranking, counted.filter(n_tokens=0).select("id", reason=reason))
        require(ranking, 1)
        count = count_within(ranking, counted, float(amount))
    else:
        count = max(1, round(float(amount) * size))
    require(ranking, max(1, count))
    by_source = None
    if select.quota is not None:
        left = dict(ranking.left["source"].cast(pl.String).value_counts().iter_rows())
        by_source = quotas(left, sizes, count, select.quota)
    spread = None
    if select.diversity is not None:
        vectors = pl.scan_parquet(str(representation)).select("id", "weighted")
        spread = Spread(select.diversity, lambda examples, number: k_centre(_vectors(vectors, examples), number))
    best, left_out = keep(ranking, count, by_source, spread)

    is_top = reject is None and not brought_by and by_source is None and spread is None
    if is_top and (equal := ties(ranking, best)):
        print(f"{equal} more have the score of the last one: among these the id decides")
    best = best.with_columns(ids.digits(best["id"]))
    rows = _rows_of(texts, best["id"], size)
    selection = best.join(rows, on="id", how="left", validate="1:1", maintain_order="left")
    if brought_by:
        reasons = scored.select("id", *brought_by).join(best.lazy().select("id"), on="id", how="semi").collect()
        selection = selection.join(reasons, on="id", how="left", maintain_order="left")
    if queries:
        added = selected(map(pl.read_parquet, queries), most, behind=count)
        selection = pl.concat([selection, added], how="diagonal")
        print(f"{added.height} queries added")
    with atomic_write(out) as part:
        selection.write_parquet(part)
    # In digits the ids of half a large pool take gigabytes.
    with atomic_write(dropped) as part:
        write_blocks((block.with_columns(ids.digits(block["id"])) for block in blocks_of(left_out, BLOCK)), part)
    print(f"{count} of {size} examples kept, scores {best['score'].max():.4g} to {best['score'].min():.4g}")
    print(f"{left_out.height} dropped with a reason, {size - count - left_out.height} beyond the budget")


def _vectors(pool: pl.LazyFrame, examples: pl.Series) -> np.ndarray:
    """Return the vectors of some examples of the pool, (examples, D) float16; of the others none is in memory."""
    wanted = ids.digits(examples).to_frame().lazy()
    found = wanted.join(pool, on="id", how="left", maintain_order="left").collect(engine="streaming")["weighted"]
    return as_array(found)


def _rows_of(pool: pl.LazyFrame, examples: pl.Series, size: int) -> pl.DataFrame:
    """Return the rows of some examples of the pool, without the text of all in memory at once."""
    rows = pool.select("id").with_row_index("row").join(examples.to_frame().lazy(), on="id", how="semi")
    found = rows.select("row").collect(engine="streaming")["row"].cast(pl.Int64).sort()
    parts = []
    for start in range(0, size, BLOCK):
        own = found.filter(found.is_between(start, start + BLOCK, closed="left")) - start
        parts.append(pool.slice(start, BLOCK).collect()[own])
    return pl.concat(parts)


if __name__ == "__main__":
    flags.run(main)
