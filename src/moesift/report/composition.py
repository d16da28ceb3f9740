"""What a selection keeps of each group of the pool, and why the rest was left out."""

import re
from collections.abc import Mapping, Sequence
from typing import Any

import polars as pl

from moesift.data.corruption import CLEAN
from moesift.data.turns import text_of
from moesift.report.comparison import RUN
from moesift.report.detection import length_bins
from moesift.report.health import findings, health

SOURCES = 10  # the largest ones; what the others keep is counted together
PARTICULAR = r"\b(?:[0-9a-f]{16}|\d+(?:\.\d+)?)\b"  # ids and numbers, which do not distinguish kinds of reasons
REASONS = 20  # of a source, a method or a run: the most frequent
NEAREST = 3  # examples of a target that are shown beside their queries
SHOWN = 300  # characters of each turn that are shown
BLANK = re.compile(r"[\s\x00-\x1f\x7f-\x9f]+")
HEALTH = {
    "method": pl.String,
    "seed": pl.Int64,
    "examples": pl.Int64,
    "missing": pl.Float64,
    "distinct": pl.Int64,
    "length": pl.Float64,
    "source": pl.Float64,
    "reason": pl.String,
    "finding": pl.String,
}


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
    runs = selections.select(RUN).unique(maintain_order=True)
    kept, parts = selections.join(examples, on="id"), []
    for by in examples.columns[1:]:
        sizes = examples.group_by(by).agg(examples=pl.len().cast(pl.Int64)).sort(by)
        counts = kept.group_by(*RUN, by).len("count")
        part = runs.join(sizes, how="cross").join(counts, on=[*RUN, by], how="left", maintain_order="left")
        group, share = pl.col(by).cast(pl.String), pl.col("count").fill_null(0) / pl.col("examples")
        parts.append(part.select(*RUN, by=pl.lit(by), group=group, examples="examples", kept=share))
    return pl.concat(parts)


def overlap(selections: pl.DataFrame, methods: Sequence[Mapping[str, Any]]) -> pl.DataFrame:
    """Return the share of what a method keeps that another one keeps too, the mean over targets and seeds.

    Selections that a method made for each target by itself are compared with those of another for the same target.

    Args:
        selections: columns method, budget, seed, id.
        methods: what is said of each, in order; whoever keeps all of something is left out.

    Returns:
        Columns method, other, budget, shared; of a method with itself 1.
    """
    about = pl.DataFrame(
        [(one["label"], one["each"] or one["label"], one["targets"][0] if one["each"] else None) for one in methods],
        schema=dict.fromkeys(("label", "method", "target"), pl.String),
        orient="row",
    )
    ranked = [one["label"] for one in methods if one["keeps"] == "budget"]
    kept = selections.filter(pl.col("method").is_in(ranked)).rename({"method": "label"})
    # Most examples are kept by the same few methods: pairs are counted once for each such set, not for each example.
    runs = ["budget", "seed"]
    sets = kept.group_by(*runs, "id").agg(pl.col("label").sort()).group_by(*runs, "label").len("examples")
    members = sets.with_row_index("set").explode("label")
    pairs = members.join(members.select("set", other_label="label"), on="set")
    counts = pairs.group_by(*runs, "label", "other_label").agg(pl.sum("examples"))
    sizes = kept.group_by(*runs, "label").len("size")
    every = sizes.join(sizes.select(*runs, other_label="label"), on=runs)
    shares = every.join(counts, on=[*runs, "label", "other_label"], how="left").join(about, on="label")
    others = about.select(pl.all().name.prefix("other_"))
    shares = shares.join(others, on="other_label").rename({"other_method": "other"})
    shares = shares.filter((pl.col("target") == pl.col("other_target")).fill_null(True))
    order = pl.Enum(about["method"].unique(maintain_order=True))
    means = shares.group_by("method", "other", "budget").agg(
        shared=(pl.col("examples").fill_null(0) / pl.col("size")).mean()
    )
    means = means.sort("budget", pl.col("method").cast(order), pl.col("other").cast(order))
    return means.select("method", "other", "budget", "shared")


def taken_by_target(selections: pl.DataFrame) -> pl.DataFrame:
    """Return what each target took, from targeted selections (columns method, budget, seed, target, source, score).

    Returns:
        Columns method, budget, seed, target, source, examples, similarity (the mean), the largest source first.
    """
    groups = selections.group_by(*RUN, "target", "source", maintain_order=True)
    counts = groups.agg(examples=pl.len().cast(pl.Int64), similarity=pl.mean("score"))
    of_targets = counts.group_by(*RUN, "target", maintain_order=True)
    return pl.concat(part.sort("examples", descending=True, maintain_order=True) for _, part in of_targets)


def nearest(selections: pl.DataFrame, pool: pl.DataFrame, queries: pl.DataFrame) -> pl.DataFrame:
    """Return the NEAREST examples of each target with the highest similarity, each beside the query that took it.

    Args:
        selections: of one budget and seed; columns method, target, query (its id; null where the target took it as a
            whole), score, id, source.
        pool: columns id, messages.
        queries: columns target, id, messages.

    Returns:
        Columns method, target, query, query_text, similarity, id, source, text. Texts are the turns, each cut.
    """
    of_targets = selections.group_by("method", "target", maintain_order=True)
    best = pl.concat(part.sort("score", descending=True, maintain_order=True).head(NEAREST) for _, part in of_targets)
    asked = queries.select("target", query="id", query_text=_texts(queries["messages"]))
    best = best.join(asked, on=["target", "query"], how="left", validate="m:1", maintain_order="left")
    shown = pool.filter(pl.col("id").is_in(best["id"].implode()))
    texts = shown.select("id", text=_texts(shown["messages"]))
    best = best.join(texts, on="id", how="left", validate="m:1", maintain_order="left")
    return best.select("method", "target", "query", "query_text", "id", "source", "text", similarity="score")


def health_of_scores(scores: pl.DataFrame) -> pl.DataFrame:
    """Return how sound the scores (columns method, seed, source, score, n_tokens, reason) of each method and seed are.

    Returns:
        Columns method, seed, those of `moesift.report.health.Health`, finding (what is odd, null if nothing is).
    """
    rows = []
    for (method, seed), frame in scores.group_by("method", "seed", maintain_order=True):
        found = health(frame)
        rows.append((method, seed, *found, " ".join(findings(found)) or None))
    return pl.DataFrame(rows, schema=HEALTH, orient="row")


def _texts(conversations: pl.Series) -> pl.Series:
    shown = [[BLANK.sub(" ", text_of(turn)) for turn in turns] for turns in conversations.to_list()]
    cut = [[text[:SHOWN] + "…" * (len(text) > SHOWN) for text in texts] for texts in shown]
    return pl.Series(map(" → ".join, cut), dtype=pl.String)


def reason_counts(frame: pl.DataFrame, by: Sequence[str], seeds: int = 1) -> list[dict[str, Any]]:
    """Return how many examples have which kind of reason, the mean over seeds: the most frequent REASONS of each.

    The kind is the first part of a reason, without ids and numbers.
    """
    kind = pl.col("reason").str.split(":").list.first().str.replace_all(PARTICULAR, "…")
    counts = frame.group_by(*by, reason=kind).agg(count=pl.len() / seeds)
    counts = counts.sort(*by, "count", "reason", descending=[*[False] * len(by), True, False])
    return counts.filter(pl.int_range(pl.len()).over(by) < REASONS).to_dicts()
