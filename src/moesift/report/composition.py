"""What a selection keeps of each group of the pool, why the rest was left out, and examples of each ranking."""

from collections.abc import Sequence
from typing import Any

import polars as pl

from moesift.data.corruption import CLEAN
from moesift.report.comparison import RANDOM
from moesift.report.detection import length_bins

SOURCES = 10  # the largest ones; what the others keep is counted together
PARTICULAR = r"\b(?:[0-9a-f]{16}|\d+(?:\.\d+)?)\b"  # ids and numbers, which do not distinguish kinds of reasons
REASONS = 20  # of a source, a method or a run: the most frequent
SHOWN = 3  # examples from each end of a ranking
CHARACTERS = 400  # from each end of a conversation: a question often stands at the end of its text


def groups(pool: pl.DataFrame, n_tokens: pl.DataFrame) -> pl.DataFrame:
    """Return the groups that each example of the pool (columns id, source, corruption) belongs to.

    Returns:
        Columns id, source (the largest SOURCES by name), length (fifths of the pool by `n_tokens` of the response) and,
        in a corrupted pool, corruption. All but id are Enums in the order of a table: lengths from the shortest, the
        others from the largest group.
    """
    sizes, kinds = by_size(pool["source"]), by_size(pool["corruption"])
    rest = f"{len(sizes) - SOURCES} other sources"
    source = pl.when(pl.col("source").is_in(sizes[:SOURCES])).then("source").otherwise(pl.lit(rest))
    examples = pool.join(n_tokens, on="id", how="left", validate="1:1", maintain_order="left")
    codes = length_bins(examples["n_tokens"])
    ends = examples.group_by(codes.alias("code")).agg(low=pl.min("n_tokens"), high=pl.max("n_tokens")).sort("code")
    names = [f"{low:,}" if low == high else f"{low:,}–{high:,}" for _, low, high in ends.iter_rows()]
    return examples.select(
        "id",
        source.alias("source").cast(pl.Enum([*sizes[:SOURCES], rest])),
        pl.Series("length", names).gather(codes).cast(pl.Enum(names)),
        *([] if kinds == [CLEAN] else [pl.col("corruption").cast(pl.Enum(kinds))]),
    )


def by_size(names: pl.Series) -> list[str]:
    """Return the distinct names, the most frequent first."""
    return names.value_counts().sort("count", names.name, descending=[True, False])[names.name].to_list()


def kept_of_groups(selections: pl.DataFrame, examples: pl.DataFrame) -> pl.DataFrame:
    """Return the share of each of the `groups` that a selection (columns method, budget, seed, id) keeps.

    Returns:
        Columns method, budget, seed, by (a column of `groups`), group, examples (of the pool in it), kept (share).
    """
    run = ["method", "budget", "seed"]
    runs = selections.select(run).unique(maintain_order=True)
    kept, parts = selections.join(examples, on="id"), []
    for by in examples.columns[1:]:
        sizes = examples.group_by(by).agg(examples=pl.len().cast(pl.Int64)).sort(by)
        counts = kept.group_by(*run, by).len("count")
        part = runs.join(sizes, how="cross").join(counts, on=[*run, by], how="left", maintain_order="left")
        share = pl.col("count").fill_null(0) / pl.col("examples")
        parts.append(
            part.select(*run, by=pl.lit(by), group=pl.col(by).cast(pl.String), examples="examples", kept=share)
        )
    return pl.concat(parts)


def reason_counts(frame: pl.DataFrame, by: Sequence[str], seeds: int = 1) -> list[dict[str, Any]]:
    """Return how many examples have which kind of reason, the mean over seeds: the most frequent REASONS of each.

    The kind is the first part of a reason, without ids and numbers.
    """
    kind = pl.col("reason").str.split(":").list.first().str.replace_all(PARTICULAR, "…")
    counts = frame.group_by(*by, reason=kind).agg(count=pl.len() / seeds)
    counts = counts.sort(*by, "count", "reason", descending=[*[False] * len(by), True, False])
    return counts.filter(pl.int_range(pl.len()).over(by) < REASONS).to_dicts()


def extremes(scores: pl.DataFrame, selections: pl.DataFrame, pool: pl.DataFrame) -> list[dict[str, Any]]:
    """Return the examples that each method but `random` ranks highest and lowest, the most extreme first.

    Args:
        scores: columns method, id, score, of one seed; an example without a score has no place.
        selections: columns method, id, of the same seed: what was kept within any budget.
        pool: columns id, source, corruption, messages.

    Returns:
        Their method, end (highest or lowest), id, score, source, corruption, kept (null or true) and text (the turns
        with their roles; of a long text both ends).
    """
    columns = ["method", "id", "score"]
    ends = [scores.clear().select(*columns, end=pl.lit(""))]
    for _, ranked in scores.filter(pl.col("method") != RANDOM).group_by("method", maintain_order=True):
        ranked = ranked.drop_nulls("score").sort("score", "id", descending=[True, False])
        ends.append(ranked.head(SHOWN).select(*columns, end=pl.lit("highest")))
        ends.append(ranked.tail(SHOWN).reverse().select(*columns, end=pl.lit("lowest")))
    kept = selections.select("method", "id", kept=True).unique()
    shown = pl.concat(ends).join(pool, on="id", maintain_order="left")
    shown = shown.join(kept, on=["method", "id"], how="left", maintain_order="left")
    turns = pl.concat_str(pl.element().struct.field("role"), pl.lit(":\n"), pl.element().struct.field("content"))
    text = pl.col("messages").list.eval(turns).list.join("\n\n")
    parts = pl.concat_str(text.str.head(CHARACTERS), pl.lit(" […] "), text.str.tail(CHARACTERS))
    text = pl.when(text.str.len_chars() > 2 * CHARACTERS).then(parts).otherwise(text)
    return shown.select(*columns, "end", "source", "corruption", "kept", text=text).to_dicts()
