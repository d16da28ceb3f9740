"""Compare the experiments of the corruption study: tables as parquet, figures, and a page that shows both."""

from collections.abc import Sequence
from pathlib import Path
from typing import get_args

import jinja2
import polars as pl

from moesift import flags
from moesift.config import Corruption
from moesift.files import atomic_write
from moesift.report import comparison
from moesift.report.detection import ALL_PAIRS
from study.comparison import best_of, markdown, mean_by_seed, minus, over_seeds, read_tables, shown
from study.experiments import CorruptionStudy
from study.figures import differences_figure, heat_map

MEAN = "mean over kinds"
PAGE = Path(__file__).with_name("corruption.md.j2")


def main(study: str, tables: list[Path], seeds: list[int], out: Path) -> None:
    """Read the tables of the experiments, write those of the study.

    Args:
        study: its configuration, as JSON.
        tables: `results/{experiment}/tables` of each experiment.
        seeds: of each experiment, in the same order.
        out: folder to write, with parquet, figures and README.md.
    """
    settings = CorruptionStudy.model_validate_json(study)
    folders = {folder: {"seed": seed} for folder, seed in zip(tables, seeds, strict=True)}
    found = detection(read_tables(folders, "auroc"), settings) | training(
        read_tables(folders, "outcomes"), read_tables(folders, "runs")
    )
    with atomic_write(out) as part:
        part.mkdir()
        for name, table in found.items():
            table.write_parquet(part / f"{name}.parquet")
        pool = found["auroc"].filter(within=ALL_PAIRS)
        heat_map(pool, ranked(pool), kinds_in_order(settings)).savefig(part / "auroc.png")
        differences_figure(found["training"]).savefig(part / "training.png")
        (part / "README.md").write_text(page(found, settings), encoding="utf-8")


def detection(auroc: pl.DataFrame, study: CorruptionStudy) -> dict[str, pl.DataFrame]:
    """Return how well each method separates clean from corrupted examples, over seeds.

    Args:
        auroc: of all experiments: columns method, seed, kind, within and auroc.
        study: its kinds, baselines and claim.

    Returns:
        By name: `auroc`, of each method and kind, and the mean over kinds without the control and those of `sanity`;
        `differences` of each to the best baseline, paired by seed; `claim`, the differences that decide it.
    """
    kinds = kinds_in_order(study)
    numbers = auroc.filter(pl.col("kind").is_in(kinds), pl.col("method").is_in(study.scores()))
    numbers = numbers.rename({"auroc": "value"})
    # The control is in the experiments of all halves.
    numbers = mean_by_seed(numbers, ["within", "method", "kind"])
    averaged = [kind for kind in kinds if kind not in study.left_out()]
    means = mean_by_seed(numbers.filter(pl.col("kind").is_in(averaged)), ["within", "method"], count=len(averaged))
    numbers = pl.concat([numbers, means.with_columns(kind=pl.lit(MEAN))], how="diagonal")
    table = over_seeds(numbers, ["within", "method", "kind"])

    def to_best(baselines: Sequence[str]) -> pl.DataFrame:
        """Return the differences of all methods to the best of some, on each kind."""
        by = ["within", "kind"]
        best = best_of(table, baselines, by)
        reference = numbers.join(best, on=by).filter(pl.col("method") == pl.col("against"))
        paired = minus(numbers.join(best, on=by), reference, by).filter(pl.col("method") != pl.col("against"))
        return over_seeds(paired, ["within", "kind", "method", "against"])

    claim = to_best(study.claim.against).filter(
        pl.col("kind").is_in(study.claim.kinds), method=study.claim.method, within=ALL_PAIRS
    )
    claim = claim.with_columns(holds=pl.col("low") > 0)  # null where one seed has no interval: it is not tested
    return {"auroc": table, "differences": to_best(study.baselines), "claim": claim}


def training(outcomes: pl.DataFrame, runs: pl.DataFrame) -> dict[str, pl.DataFrame]:
    """Return what training on each selection reached, and its difference to random within the same budget, over seeds.

    Args:
        outcomes: of all experiments, see `report.comparison.outcomes_of`; their mean is the number of a seed.
        runs: of all experiments, see `report.comparison.runs_of`.

    Returns:
        By name: `outcomes`, with the share of corrupted examples among the kept, and `training`, the differences.
    """
    run = ["method", "budget"]
    key = [*run, *comparison.OUTCOME]
    # The ratio and the standard error are those of one experiment, and not of a seed.
    numbers = mean_by_seed(outcomes, key).with_columns(pl.lit(None, pl.Float64).alias(n) for n in ("ratio", "stderr"))
    kept = runs.group_by(run).agg(pl.mean("corrupted"))
    reached = comparison.over_seeds(numbers).join(kept, on=run, how="left", maintain_order="left")
    whole = numbers.filter(budget="ratio-1")["method"].unique()
    tuned = numbers.filter(pl.col("method") != comparison.BASE)
    differences = comparison.against_random(
        tuned, [{"label": method, "keeps": "pool", "each": None} for method in whole], tuned["seed"].n_unique()
    )
    differences = differences.drop("ratio").rename({"difference": "value"})
    return {"outcomes": reached.drop("ratio", "stderr"), "training": differences}


def kinds_in_order(study: CorruptionStudy) -> list[str]:
    """Return the kinds of the study in the order in which the configuration declares them, the control last."""
    chosen = {kind for half in study.halves for kind in half}
    return [*(kind for kind in get_args(Corruption) if kind in chosen), study.control]


def ranked(table: pl.DataFrame) -> list[str]:
    """Return the methods by their mean AUROC over kinds, the highest first."""
    return table.filter(kind=MEAN).sort("value", descending=True, nulls_last=True)["method"].to_list()


def page(found: dict[str, pl.DataFrame], study: CorruptionStudy) -> str:
    """Return the page in Markdown: its sentences are those of corruption.md.j2, its tables are made here."""
    methods = ranked(found["auroc"].filter(within=ALL_PAIRS))
    kinds = [MEAN, *kinds_in_order(study)]

    def by_kind(name: str, within: str, digits: int, *, difference: bool = False) -> str:
        """Return a table of kinds by methods."""
        table = found[name].filter(within=within)
        table = table.with_columns(cell=shown(table, digits, difference=difference))
        keys = ["kind", "against"] if difference else ["kind"]
        wide = table.pivot("method", index=keys, values="cell").sort(pl.col("kind").cast(pl.Enum(kinds)))
        return markdown(wide.select(*keys, *(method for method in methods if method in wide.columns)).fill_null("–"))

    reached, differences = (found[name].sort("outcome", "budget", "value") for name in ("outcomes", "training"))
    keys = ["outcome", "metric", "budget", "method"]
    share = pl.format("{}%", (100 * pl.col("corrupted")).round(1))
    reached = reached.select(*keys, value=shown(reached, 3), corrupted=share)
    differences = differences.select(*keys, "verdict", difference=shown(differences, 3, difference=True))
    template = jinja2.Environment(undefined=jinja2.StrictUndefined, keep_trailing_newline=True)
    claim = found["claim"].with_columns(pl.col("holds").cast(pl.String).fill_null("not tested"))
    return template.from_string(PAGE.read_text(encoding="utf-8")).render(
        study=study,
        kinds=kinds_in_order(study),
        auroc=by_kind("auroc", ALL_PAIRS, 2),
        stratified={
            within: by_kind("auroc", within, 2)
            for within in found["auroc"]["within"].unique().sort()
            if within != ALL_PAIRS
        },
        differences=by_kind("differences", ALL_PAIRS, 3, difference=True),
        claim=markdown(
            claim.select("kind", "method", "against", difference=shown(claim, 3, difference=True), holds="holds")
        ),
        outcomes=markdown(reached.fill_null("–")),
        training=markdown(differences.fill_null("–")),
    )


if __name__ == "__main__":
    flags.run(main)
