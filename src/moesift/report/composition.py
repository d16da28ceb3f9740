"""What a selection keeps of each group of the pool: by source, length and script of the response, and corruption."""

import polars as pl

from moesift.data.corruption import CLEAN
from moesift.report.detection import BINS, length_bins

SOURCES = 10  # the largest ones; what the others keep is counted together
SCRIPT_OF = 1000  # characters at the beginning of a response that say what script it is in
# Unicode's names. A script says less than a language and is certain, where a language would be a model's guess.
SCRIPTS = [
    *("Latin", "Han", "Hiragana", "Katakana", "Hangul", "Cyrillic", "Greek", "Arabic", "Hebrew", "Devanagari"),
    *("Bengali", "Tamil", "Thai"),
]
OTHER_SCRIPT = "other scripts"
NO_LETTERS = "no letters"


def groups(pool: pl.DataFrame, n_tokens: pl.DataFrame) -> pl.DataFrame:
    """Return the groups that each example of the pool belongs to.

    Args:
        pool: columns id, source, messages, corruption.
        n_tokens: columns id, n_tokens (of the response), of all the pool.

    Returns:
        Columns id, source (the largest SOURCES by name), length (fifths of the pool by response tokens), script (of
        most letters of the response) and, in a corrupted pool, corruption. All but id are Enums in the order of a
        table: lengths from the shortest, the others from the largest group.
    """
    turn = pl.element().struct
    spoken = pl.when(turn.field("role") == "assistant").then(turn.field("content"))
    response = pl.col("messages").list.eval(spoken).list.drop_nulls().list.join("\n").str.head(SCRIPT_OF)
    sizes = by_size(pool["source"])
    rest = f"{len(sizes) - SOURCES} other sources"
    of_source = pl.when(pl.col("source").is_in(sizes[:SOURCES])).then("source").otherwise(pl.lit(rest))
    examples = pool.select("id", of_source.alias("source"), script=script(response), corruption="corruption")
    examples = examples.join(n_tokens, on="id", how="left", validate="1:1", maintain_order="left")
    codes = length_bins(examples["n_tokens"], BINS)
    ends = examples.group_by(codes.alias("code")).agg(low=pl.min("n_tokens"), high=pl.max("n_tokens")).sort("code")
    names = [f"{low:,}" if low == high else f"{low:,}–{high:,}" for _, low, high in ends.iter_rows()]
    labelled = (pool["corruption"] != CLEAN).any()
    return examples.select(
        "id",
        examples["source"].cast(pl.Enum([*sizes[:SOURCES], rest])),
        pl.Series("length", names).gather(codes).cast(pl.Enum(names)),
        examples["script"].cast(pl.Enum(by_size(examples["script"]))),
        *([examples["corruption"].cast(pl.Enum(by_size(examples["corruption"])))] if labelled else []),
    )


def by_size(names: pl.Series) -> list[str]:
    """Return the distinct names, the most frequent first."""
    return names.value_counts().sort("count", names.name, descending=[True, False])[names.name].to_list()


def script(text: pl.Expr) -> pl.Expr:
    """Return the script that most letters of a text belong to, of equally many the first of SCRIPTS."""
    counts = pl.concat_list(text.str.count_matches(rf"\p{{{name}}}") for name in SCRIPTS)
    named = counts.list.arg_max().replace_strict(range(len(SCRIPTS)), SCRIPTS, return_dtype=pl.String)
    unnamed = pl.when(text.str.contains(r"\p{L}")).then(pl.lit(OTHER_SCRIPT)).otherwise(pl.lit(NO_LETTERS))
    return pl.when(counts.list.max() > 0).then(named).otherwise(unnamed)


def kept_of_groups(selections: pl.DataFrame, examples: pl.DataFrame) -> pl.DataFrame:
    """Return the share of each group that a selection keeps.

    Args:
        selections: columns method, budget, seed, id: what was kept.
        examples: the frame of `groups`.

    Returns:
        Columns method, budget, seed, by (a column of `groups`), group, examples (of the pool in it), kept (share).
    """
    run = ["method", "budget", "seed"]
    runs = selections.select(run).unique(maintain_order=True)
    kept = selections.select(*run, "id").join(examples, on="id")
    parts = []
    for by in examples.columns[1:]:
        sizes = examples.group_by(by).len("examples").sort(by)
        counts = kept.group_by(*run, by).len("count")
        each = runs.join(sizes, how="cross").join(counts, on=[*run, by], how="left", maintain_order="left")
        share = pl.col("count").fill_null(0) / pl.col("examples")
        group = pl.col(by).cast(pl.String)
        parts.append(
            each.select(*run, by=pl.lit(by), group=group, examples=pl.col("examples").cast(pl.Int64), kept=share)
        )
    return pl.concat(parts)
