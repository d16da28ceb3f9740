"""The shards of a measurement, put together."""

import polars as pl

from moesift.errors import UserError


def merged(shards: list[pl.DataFrame], ids: pl.Series) -> pl.DataFrame:
    """Return the rows of all shards in the order of the pool, and check that each of its examples came back once.

    Args:
        shards: frames with the column id, and any more.
        ids: the ids of the pool.

    Raises:
        UserError: ids are missing, repeated or unknown; the message names the first few.
    """
    rows = pl.concat(shards)
    repeated = rows.filter(pl.col("id").is_duplicated())["id"].unique().sort()
    expected = ids.to_frame("id")
    missing = expected.join(rows, on="id", how="anti", maintain_order="left")["id"]
    unknown = rows.join(expected, on="id", how="anti", maintain_order="left")["id"]
    for problem, found in (("missing", missing), ("there more than once", repeated), ("not in the pool", unknown)):
        if len(found):
            raise UserError(
                f"the shards do not make the pool: {len(found)} ids are {problem}: {found.head(5).to_list()}"
            )
    return expected.join(rows, on="id", how="left", validate="1:1", maintain_order="left")
