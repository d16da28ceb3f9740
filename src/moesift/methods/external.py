"""A method of scores that come from elsewhere: from a file, or with the rows of the pool's sources."""

from typing import Annotated, Any, Literal

import numpy as np
from pydantic import Field

from moesift.fields import File
from moesift.methods.declaration import Column, method
from moesift.passes.columns import BROUGHT, EXTERNAL, POOL

NOT_GIVEN = "no score was given for it"

ScoreFile = Annotated[File, Field(pattern=r"\.(parquet|csv|jsonl)$")]


def _reads(parameters: Any) -> dict[str, Column]:
    own = Column(POOL, f"{BROUGHT}{parameters.column}")
    return {"score": Column(EXTERNAL, "score") if parameters.path else own}


@method(
    reads=_reads,
    caption="a score from elsewhere: `column` of the file `path`, or of the rows where a source keeps it in `scores`",
    source="the user's own",
)
def external(
    score: np.ndarray,
    *,
    path: ScoreFile | None = None,
    column: Annotated[str, Field(min_length=1)] = "score",
    better: Literal["higher", "lower"] = "higher",
) -> tuple[np.ndarray, dict[str, np.ndarray]]:
    """Return the scores as they were given, or negated where lower is better, (N,); none where none was given."""
    return score if better == "higher" else -score, {NOT_GIVEN: np.isnan(score)}
