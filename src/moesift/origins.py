"""Where examples come from: the sources of a pool, and the targets. It imports no torch."""

import os
from pathlib import PurePosixPath
from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from moesift.fields import Count, License, Name, Section, Unique, WheelTask


class Source(Section):
    """Where a part of the pool comes from: exactly one of `wheel`, `path` and `hub`."""

    name: Name = Field(description="name of the source in all results")
    wheel: WheelTask | None = Field(None, description="a task of the pinned data wheel, its training split")
    path: str | None = Field(None, description="a local file: .jsonl, .json, .parquet, .jsonl.gz or .json.gz")
    hub: str | None = Field(None, description="a data set on the hub, by name")
    split: str = Field(
        "train", description="the split of a data set on the hub, where no `file` is given, or of a `task`"
    )
    file: str | None = Field(None, description="hub: one file of the data set, not a split: as for `path`, or a .zip")
    member: str | None = Field(None, description="hub: the file to take from a .zip, by the end of its path")
    revision: str | None = Field(None, description="hub: commit, tag or branch; null takes the newest")
    format: Literal["auto", "messages", "alpaca", "sharegpt", "prompt_completion", "less"] = Field(
        "auto", description="format of its rows; `auto` detects it by their columns"
    )
    ignore: list[str] = Field([], description="keys of rows and turns to drop, where they would reject a row")
    scores: Annotated[list[str], Unique] = Field(
        [], description="keys of rows with a number that is kept as a score, for the method `external`"
    )
    limit: Count | None = Field(None, description="rows to take, sampled by `data.seed`; null takes all")
    # No result depends on it: only the cards are given it, so a change reruns nothing else.
    license: License | None = Field(
        None, exclude=True, description="licence for the cards, such as cc-by-4.0; null is the wheel task's, or unknown"
    )

    @property
    def origins(self) -> tuple[str, ...]:
        """The keys that say where it comes from, of which one is given."""
        return ("wheel", "path", "hub")

    @model_validator(mode="after")
    def _one_origin(self) -> Self:
        given = [origin for origin in self.origins if getattr(self, origin) is not None]
        if len(given) != 1:
            listed = f"{', '.join(self.origins[:-1])} and {self.origins[-1]}"
            raise ValueError(f"give exactly one of {listed}, not {' and '.join(given) or 'none'}")
        # os.path, since pathlib raises where a folder is closed or a name too long.
        if self.path is not None and not os.path.isfile(self.path):
            raise ValueError(f"path: {self.path} is not a file")
        for key in ("file", "revision"):
            if getattr(self, key) is not None and self.hub is None:
                raise ValueError(f"{key}: goes with a data set of the hub, but hub is not given")
        for key in ("file", "member"):
            inside = PurePosixPath(getattr(self, key) or "")
            if inside.is_absolute() or ".." in inside.parts:
                raise ValueError(f"{key}: {inside} points outside the data set")
        if self.revision is not None and os.path.isdir(str(self.hub)):
            raise ValueError(f"revision: {self.hub} is a directory here, and has no revisions")
        if (self.member is not None) != (self.file is not None and self.file.endswith(".zip")):
            raise ValueError("member: names the part of a file that ends in .zip; give both or neither")
        return self


class TargetTask(Source):
    """What the target should get better at, by examples: from where a source may come from, or a split of a `task`."""

    task: Name | None = Field(None, description="an lm-eval task or group, asked as `evaluate` asks it")
    queries: Count | None = Field(
        None, description="examples that methods compare the pool with; null takes all that `heldout` leaves"
    )
    heldout: Annotated[int, Field(ge=0)] = Field(description="further examples, on which evaluation measures the loss")

    @property
    def origins(self) -> tuple[str, ...]:
        """The keys that say where it comes from, of which one is given."""
        return ("wheel", "path", "hub", "task")

    @model_validator(mode="after")
    def _without_scores(self) -> Self:
        if self.scores:
            raise ValueError("scores: are kept of the pool, by data.sources; of a target, name the keys in ignore")
        return self
