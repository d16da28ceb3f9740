"""What a selection keeps and what it throws away: by source, by the length of the response and by its script."""

from collections.abc import Sequence

import numpy as np
import polars as pl

from moesift.data.corruption import CLEAN

SOURCES = 10  # the largest ones; what the others keep is counted together
SCRIPT_OF = 1000  # characters at the beginning of a response that say what script it is in
BY = ("source", "length", "script")

# Unicode's scripts, by the classes that regular expressions have for them. A script says less than a language and is
# certain, where a language would be a model's guess.
SCRIPTS = {
    "Latin": r"\p{Latin}",
    "Han": r"\p{Han}",
    "Kana": r"[\p{Hiragana}\p{Katakana}]",
    "Hangul": r"\p{Hangul}",
    "Cyrillic": r"\p{Cyrillic}",
    "Greek": r"\p{Greek}",
    "Arabic": r"\p{Arabic}",
    "Hebrew": r"\p{Hebrew}",
    "Devanagari": r"\p{Devanagari}",
    "Bengali": r"\p{Bengali}",
    "Tamil": r"\p{Tamil}",
    "Thai": r"\p{Thai}",
}
OTHER_SCRIPT = "other scripts"
NO_LETTERS = "no letters"


def described(pool: pl.DataFrame) -> pl.DataFrame:
    """Return the groups that each example of the pool belongs to.

    Args:
        pool: columns id, source, messages, corruption.

    Returns:
        Columns id, corrupted (bool), characters (of all that the assistant says), and BY: source (the largest SOURCES
        by name), length (fifths of the pool by characters, fewer where many are equally long) and script, each an Enum
        in the order of a table: sources and scripts by their size, lengths by length.
    """
    turn = pl.element().struct
    spoken = pl.when(turn.field("role") == "assistant").then(turn.field("content"))
    response = pl.col("messages").list.eval(spoken).list.drop_nulls().list.join("\n")
    examples = pool.select(
        "id",
        "source",
        corrupted=pl.col("corruption") != CLEAN,
        characters=response.str.len_chars().cast(pl.Int64),
        script=script(response.str.head(SCRIPT_OF)),
    )
    sizes = examples["source"].value_counts().sort("count", "source", descending=[True, False])
    largest = sizes["source"].head(SOURCES).to_list()
    rest = f"{sizes.height - SOURCES} other sources"
    lengths, place = fifths(examples["characters"].to_numpy())
    scripts = examples["script"].value_counts().sort("count", "script", descending=[True, False])["script"].to_list()
    return examples.with_columns(
        source=pl.when(pl.col("source").is_in(largest))
        .then("source")
        .otherwise(pl.lit(rest))
        .cast(pl.Enum([*largest, rest])),
        length=pl.Series(lengths).gather(place).cast(pl.Enum(lengths)),
        script=pl.col("script").cast(pl.Enum(scripts)),
    )


def script(text: pl.Expr) -> pl.Expr:
    """Return the script that most letters of a text belong to, of equally many the first of SCRIPTS."""
    counts = pl.concat_list(text.str.count_matches(letters) for letters in SCRIPTS.values())
    named = counts.list.arg_max().replace_strict(range(len(SCRIPTS)), list(SCRIPTS), return_dtype=pl.String)
    unnamed = pl.when(text.str.contains(r"\p{L}")).then(pl.lit(OTHER_SCRIPT)).otherwise(pl.lit(NO_LETTERS))
    return pl.when(counts.list.max() > 0).then(named).otherwise(unnamed)


def fifths(lengths: np.ndarray) -> tuple[list[str], np.ndarray]:
    """Return the names of the fifths of some whole numbers, and which of them each number is in, (N,).

    Equal numbers are in the same part, so that there are fewer parts where many are equal.
    """
    edges = np.unique(np.quantile(lengths, [0.2, 0.4, 0.6, 0.8], method="lower"))  # the last number of each part
    edges = edges[edges < lengths.max()]
    starts = [int(lengths.min()), *(int(edge) + 1 for edge in edges)]
    ends = [*(int(edge) for edge in edges), int(lengths.max())]
    names = [f"{start:,}" if start == end else f"{start:,}–{end:,}" for start, end in zip(starts, ends, strict=True)]
    return names, np.searchsorted(edges, lengths, "left")


def kept_of_groups(selections: pl.DataFrame, examples: pl.DataFrame) -> pl.DataFrame:
    """Return the share of each group that a selection keeps, the mean over the seeds; the rest it throws away.

    Args:
        selections: columns method, ratio, seed, id: what was kept.
        examples: the frame of `described`.

    Returns:
        Columns by (one of BY), group, pool (how many examples of the pool are in the group), method, ratio and kept.
    """
    runs = selections.select("method", "ratio", "seed").unique(maintain_order=True)
    grouped = selections.join(examples.select("id", *BY), on="id")
    parts = []
    for by in BY:
        sizes = examples.group_by(by).len("pool").sort(by)
        counts = grouped.group_by("method", "ratio", "seed", by).len("count")
        each = runs.join(sizes, how="cross").join(
            counts, on=["method", "ratio", "seed", by], how="left", maintain_order="left"
        )
        parts.append(
            each.group_by("method", "ratio", by, maintain_order=True)
            .agg(pl.col("pool").first().cast(pl.Int64), kept=(pl.col("count").fill_null(0) / pl.col("pool")).mean())
            .select(
                pl.lit(by).alias("by"), pl.col(by).cast(pl.String).alias("group"), "pool", "method", "ratio", "kept"
            )
        )
    return pl.concat(parts)


def kept_and_thrown(selections: pl.DataFrame, examples: pl.DataFrame, methods: Sequence[str]) -> pl.DataFrame:
    """Return what a selection keeps beside what it throws away, of one seed.

    Args:
        selections: columns method, ratio, id, of one seed.
        examples: the frame of `described`.
        methods: the order of the rows at each ratio.

    Returns:
        Columns ratio, method; kept and thrown (numbers of examples), kept_characters and thrown_characters (medians of
        the response), kept_corrupted and thrown_corrupted (shares); null where nothing is thrown away.
    """
    rows = []
    for ratio in selections["ratio"].unique().sort():
        for method in methods:
            kept = selections.filter(ratio=ratio, method=method)["id"]
            is_kept = examples["id"].is_in(kept.implode())
            both = [examples.filter(is_kept), examples.filter(~is_kept)]
            rows.append(
                (
                    ratio,
                    method,
                    *(part.height for part in both),
                    *(part["characters"].median() for part in both),
                    *(part["corrupted"].mean() for part in both),
                )
            )
    parts = ("kept", "thrown")
    schema = {
        **{"ratio": pl.Float64, "method": pl.String},
        **dict.fromkeys(parts, pl.Int64),
        **{f"{part}_{of}": pl.Float64 for of in ("characters", "corrupted") for part in parts},
    }
    return pl.DataFrame(rows, schema=schema, orient="row")
