"""How much of each token the routers keep, layer by layer."""

import numpy as np
import polars as pl
from scipy.special import expit


def by_layer(layer_scores: pl.Series) -> pl.DataFrame:
    """Return how the keep share of each routed layer is spread over the examples.

    An example's keep share is sigmoid(s), of the mean s of its tokens' log odds, which is what scores are made of.

    Args:
        layer_scores: of each example its log odds by layer, or null where it has none.

    Returns:
        Columns layer (from 0), low, median and high: a tenth of the examples is below `low`, a tenth above `high`.
        No rows where no example has log odds.
    """
    found = layer_scores.drop_nulls()
    if found.is_empty():
        return pl.DataFrame(schema={"layer": pl.Int64, **dict.fromkeys(("low", "median", "high"), pl.Float64)})
    values = found.list.to_array(len(found[0])).to_numpy()  # (N, L)
    # The sigmoid keeps the order, so that the quantiles of the shares are those of the log odds.
    low, median, high = expit(np.quantile(values, [0.1, 0.5, 0.9], axis=0))
    return pl.DataFrame({"layer": np.arange(len(median)), "low": low, "median": median, "high": high})
