"""Compare the experiments of the target study: tables as parquet, figures, and a page that shows both."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import jinja2
import polars as pl

from moesift import flags
from moesift.files import atomic_write
from moesift.report.comparison import BASE, OF_TARGET
from study.comparison import markdown, mean_by_seed, minus, over_seeds, read_tables, shown
from study.experiments import RANDOM, TargetStudy
from study.figures import differences_figure

PAGE = Path(__file__).with_name("targets.md.j2")
MEAN = "mean over targets"
WHOLE = ["ratio-1", "queries"]  # the budgets of methods that keep all of the pool or of the queries, or None: base
PLACE = ["setting", "target"]


def main(study: str, tables: list[Path], seeds: list[int], out: Path) -> None:
    """Read the tables of the experiments, write those of the study.

    Args:
        study: its configuration, as JSON.
        tables: `results/{experiment}/tables` of each experiment.
        seeds: of each experiment, in the same order.
        out: folder to write, with parquet, figures and README.md.
    """
    settings = TargetStudy.model_validate_json(study)
    about = zip(tables, seeds, strict=True)
    folders = {folder: {"seed": seed, "pool": pool_of(folder, settings)} for folder, seed in about}
    names = ("outcomes", "taken", "costs", "overlap")
    outcomes, taken, took, kept = (read_tables(folders, name) for name in names)
    numbers = losses(outcomes, settings)
    found = compared(numbers, settings) | {
        "own": own_share(taken, settings),
        "costs": costs(took, settings),
        "overlap": overlap(kept, settings),
    }
    with atomic_write(out) as part:
        part.mkdir()
        for name, table in found.items():
            table.write_parquet(part / f"{name}.parquet")
        # Small enough to be kept and quoted; to the numbers by seed others can be added that were run elsewhere.
        found["differences"].write_csv(part / "differences.csv", float_precision=4)
        numbers.write_csv(part / "by_seed.csv", float_precision=4)
        for setting in ("present", "absent"):
            if (drawn := found["differences"].filter(setting=setting)).height:
                drawn = drawn.rename({"target": "outcome"})
                drawn = drawn.with_columns(metric=pl.lit("nll"), higher_is_better=False)
                differences_figure(drawn, MEAN).savefig(part / f"{setting}.png")
        (part / "README.md").write_text(page(found, settings), encoding="utf-8")


def pool_of(tables: Path, study: TargetStudy) -> str:
    """Return the name of the pool of an experiment, from the folder of its tables."""
    return tables.parent.name.removeprefix(f"{study.name}-").rpartition("-seed-")[0]


def losses(outcomes: pl.DataFrame, study: TargetStudy) -> pl.DataFrame:
    """Return the loss on each target of each method, the mean over its draws.

    Args:
        outcomes: of all experiments, see `report.comparison.outcomes_of`, and the column pool.
        study: its pools and drawn methods.

    Returns:
        Columns seed, setting, target, method, budget, value.
    """
    of_targets = outcomes.filter(pl.col("outcome").str.starts_with(OF_TARGET)).with_columns(
        target=pl.col("outcome").str.strip_prefix(OF_TARGET), method=without_draw(pl.col("method"), study)
    )
    placed = of_targets.join(settings_of(study), on=["pool", "target"], maintain_order="left")
    return mean_by_seed(placed, [*PLACE, "method", "budget"])


def settings_of(study: TargetStudy) -> pl.DataFrame:
    """Return the columns pool, target and setting: whether the target's own source is in the pool."""
    rows = [
        (name, target, "present" if target in pool.sources else "absent")
        for name, pool in study.pools.items()
        for target in pool.targets
    ]
    return pl.DataFrame(rows, schema=["pool", "target", "setting"], orient="row")


def without_draw(label: pl.Expr, study: TargetStudy) -> pl.Expr:
    """Return the label of a method without the number of its draw."""
    return label.str.replace(f"^({'|'.join(study.drawn)})_[0-9]+$", "${1}")


def compared(numbers: pl.DataFrame, study: TargetStudy) -> dict[str, pl.DataFrame]:
    """Return losses and differences over seeds, of each target and of their mean.

    Args:
        numbers: of `losses`.
        study: its claim, and the pairs.

    Returns:
        By name: `losses`; `differences` to random within the same budget, paired by seed, to which base, full and
        queries are compared within each; `to_full`, to training on the whole pool; `pairs`, of methods to each other,
        likewise; `claim`, the difference that decides it.
    """
    key = [*PLACE, "method", "budget"]
    random = numbers.filter(method=RANDOM)
    budgets = random.select("budget").unique()
    fixed = pl.col("budget").is_null() | pl.col("budget").is_in(WHOLE)
    against = pl.concat(
        [numbers.filter(~fixed), numbers.filter(fixed).drop("budget").join(budgets, how="cross")], how="diagonal"
    )
    paired = minus(against.filter(pl.col("method") != RANDOM), random, [*PLACE, "budget"])
    pairs = [
        minus(against.filter(method=one), against.filter(method=other), [*PLACE, "budget"]).with_columns(
            method=pl.format("{} minus {}", "method", pl.lit(other))
        )
        for one, other in study.pairs
    ]
    full = numbers.filter(method="full")
    to_full = minus(numbers.filter(~fixed), full, PLACE)
    found = {
        name: over_seeds(with_mean(frame.select("seed", *key, "value")), key).sort(key, maintain_order=True)
        for name, frame in (
            ("losses", numbers),
            ("differences", paired),
            ("to_full", to_full),
            ("pairs", pl.concat([paired.clear(), *pairs])),
        )
    }
    claim = found["differences"].filter(
        method=study.claim.method, setting=study.claim.setting, budget=study.claim.budget, target=MEAN
    )
    return found | {"claim": claim.with_columns(holds=pl.col("high") < 0)}


def with_mean(numbers: pl.DataFrame) -> pl.DataFrame:
    """Return numbers with the mean over the targets of a setting, null where one of them has none."""
    by = ["setting", "method", "budget"]
    counts = numbers.group_by("setting").agg(pl.n_unique("target"))
    means = [
        mean_by_seed(numbers.filter(setting=setting), by, count)
        for setting, count in counts.sort("setting").iter_rows()
    ]
    return pl.concat([numbers, *(frame.with_columns(target=pl.lit(MEAN)) for frame in means)], how="diagonal_relaxed")


def own_share(taken: pl.DataFrame, study: TargetStudy) -> pl.DataFrame:
    """Return which share of what a target took is of its own source, over seeds, where it is in the pool.

    Args:
        taken: of all experiments, see `report.composition.taken_by_target`, and the column pool.
        study: its pools.
    """
    counts = taken.group_by("seed", "pool", "method", "budget", "target").agg(
        value=pl.col("examples").filter(pl.col("source") == pl.col("target")).sum() / pl.sum("examples")
    )
    own = counts.join(settings_of(study).filter(setting="present"), on=["pool", "target"])
    own = own.with_columns(pl.col("method").str.split(".").list.first())
    own = own.select("seed", *PLACE, "method", "budget", "value")
    return over_seeds(with_mean(own), [*PLACE, "method", "budget"]).sort(*PLACE, "budget", "value", maintain_order=True)


def largest_pool(study: TargetStudy) -> str:
    """Return the name of the pool with the most sources."""
    return max(study.pools, key=lambda name: len(study.pools[name].sources))


def overlap(tables: pl.DataFrame, study: TargetStudy) -> pl.DataFrame:
    """Return the share of what a method keeps that another keeps too, in the largest pool, over seeds.

    Of a method that is drawn it is also that of one of its draws in another: what chance gives.

    Args:
        tables: of all experiments, see `report.composition.overlap`, and the column pool.
        study: its pools and drawn methods.
    """
    pairs = tables.filter(pl.col("method") != pl.col("other"), pool=largest_pool(study)).rename({"shared": "value"})
    pairs = pairs.with_columns(without_draw(pl.col(name), study) for name in ("method", "other"))
    by = ["method", "other", "budget"]
    return over_seeds(mean_by_seed(pairs, by), by)


def costs(tables: pl.DataFrame, study: TargetStudy) -> pl.DataFrame:
    """Return what the jobs of a method took in the largest pool, the mean over seeds and draws.

    Args:
        tables: of all experiments, see `report.costs.costs_of`, and the column pool.
        study: its pools and drawn methods.

    Returns:
        Columns method, budget, select, train (seconds) and whole (seconds of training on the whole pool; null where no
        run did).
    """
    own = tables.filter(pool=largest_pool(study)).with_columns(method=without_draw(pl.col("method"), study))
    means = own.group_by("method", "budget", maintain_order=True).agg(pl.mean("select", "train"))
    return means.with_columns(whole=pl.lit(means.filter(budget=WHOLE[0])["train"].first(), pl.Float64))


def evidence(differences: pl.DataFrame) -> str:
    """Return each method's difference to random, the mean over targets, by setting and budget, as Markdown."""
    means = differences.filter(target=MEAN).sort("setting", "budget", descending=[True, False])
    kind, amount = (pl.col("budget").str.split("-").list.get(place) for place in (0, 1))
    cells = means.with_columns(
        cell=shown(means, 3, difference=True),
        column=pl.format(
            "{}, {} of the {}", "setting", percent(amount.cast(pl.Float64)), kind.replace({"ratio": "examples"})
        ),
    )
    wide = cells.pivot("column", index="method", values="cell", maintain_order=True).fill_null("–")
    order = means.group_by("method").agg(pl.mean("value")).sort("value", nulls_last=True)["method"]
    return markdown(wide.sort(pl.col("method").cast(pl.Enum(order))))


def percent(share: pl.Expr) -> pl.Expr:
    """Return a share as text, such as 5%."""
    return pl.format("{}%", (100 * share).round(0).cast(pl.Int64))


def page(found: Mapping[str, pl.DataFrame], study: TargetStudy) -> str:
    """Return the page in Markdown: its sentences are those of targets.md.j2, its tables are made here."""

    def by_target(name: str, setting: str, budget: str, *, difference: bool = True) -> str:
        table = found[name].filter(setting=setting, budget=budget)
        if table.is_empty():
            return "Not run."
        order = table.filter(target=MEAN).sort("value", nulls_last=True)["method"].to_list()
        wide = table.with_columns(cell=shown(table, 3 if difference else 2, difference=difference))
        wide = wide.pivot("target", index="method", values="cell").sort(pl.col("method").cast(pl.Enum(order)))
        targets = sorted(column for column in wide.columns if column not in ("method", MEAN))
        return markdown(wide.select("method", MEAN, *targets).fill_null("–"))

    random = found["losses"].filter(pl.col("method").is_in([BASE, RANDOM, "full"]))
    rows = ["setting", "target", "budget", "method"]
    numbers = random.select(*rows, value=shown(random, 3)).sort(rows)
    ratio = (pl.col("select") + pl.col("train")) / pl.col("whole")
    cost = found["costs"].select(
        "method",
        "budget",
        pl.col("select", "train", "whole").round(1),
        share=percent(ratio),
    )
    common = found["overlap"].with_columns(cell=percent(pl.col("value")))
    budgets = sorted(random.filter(method=RANDOM)["budget"].unique())
    settings = sorted(random["setting"].unique(), reverse=True)
    claim = found["claim"]
    template = jinja2.Environment(undefined=jinja2.StrictUndefined, keep_trailing_newline=True)
    values: dict[str, Any] = {
        "study": study,
        "budgets": budgets,
        "settings": settings,
        "by_target": by_target,
        "own": {budget: by_target("own", "present", budget, difference=False) for budget in budgets},
        "losses": markdown(numbers.fill_null("–")),
        "overlap": {
            budget: markdown(common.filter(budget=budget).pivot("other", index="method", values="cell").fill_null("–"))
            for budget in budgets
        },
        "evidence": evidence(found["differences"]),
        "costs": markdown(cost),
        "claim": markdown(
            claim.select(
                *("method", "setting", "budget"),
                difference=shown(claim, 3, difference=True),
                holds=pl.col("holds").cast(pl.String).fill_null("not tested"),
            )
        ),
    }
    return template.from_string(PAGE.read_text(encoding="utf-8")).render(values)


if __name__ == "__main__":
    flags.run(main)
