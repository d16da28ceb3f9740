"""Which part of the pool is kept: the section `select` of the configuration. It imports no torch."""

from typing import Annotated, Any, Literal, Self

from pydantic import BeforeValidator, Field, model_validator

from moesift.fields import Count, Name, NotNegative, OpenShare, Positive, Ratio, Section, Share, Unique, as_list

# What a selection can be written as.
SelectionFormat = Literal["parquet", "jsonl", "llama_factory", "axolotl"]


class Decontaminate(Section):
    """Which examples of the pool repeat a test question. A plain number is `words`."""

    words: Annotated[int, Field(ge=5)] = Field(
        description="consecutive words in common; a Chinese or Japanese character is a word"
    )
    ignore: Annotated[list[Annotated[str, Field(min_length=1)]], Unique] = Field(
        [], description="texts that are taken out of the questions: phrases that many have, and no run may touch"
    )

    @model_validator(mode="before")
    @classmethod
    def _from_number(cls, given: Any) -> Any:
        return {"words": given} if isinstance(given, int | float | str) else given


class NearDuplicates(Section):
    """Which examples are so alike that only the best is kept. A plain number is `jaccard`; both may be given."""

    jaccard: OpenShare | None = Field(
        None,
        description="Jaccard similarity of word shingles from which on two examples are near-duplicates; a Chinese or "
        "Japanese character is a word",
    )
    cosine: OpenShare | None = Field(
        None,
        description="cosine of the selector's pass `representation` from which on they are, whatever the words; look "
        "at what is dropped: in many models the cosine of unlike examples is above 0.9",
    )

    @model_validator(mode="before")
    @classmethod
    def _from_number(cls, given: Any) -> Any:
        return {"jaccard": given} if isinstance(given, int | float | str) else given

    @model_validator(mode="after")
    def _sound(self) -> Self:
        if self.jaccard is None and self.cosine is None:
            raise ValueError("jaccard: is not given, and neither is cosine")
        return self


class Select(Section):
    """Which part of the pool is kept: a draw from what the filter leaves, or the top of the ranking."""

    ratio: Annotated[list[Ratio], BeforeValidator(as_list), Unique] = Field(
        description="share of the pool that is kept: the best, or, with `reject`, a random part of what that leaves; "
        "one number or several"
    )
    tokens: Annotated[list[Positive], BeforeValidator(as_list), Unique] = Field(
        description="budgets in response tokens of the target beside `ratio`: a number of them, or a share of the "
        "pool's below 1; each selection keeps as many of its best as the budget holds"
    )
    format: Annotated[list[SelectionFormat], BeforeValidator(as_list), Unique] = Field(
        description="what each selection is written as, one or several: `parquet` always; `jsonl` is JSON lines of "
        "messages, for TRL; `llama_factory` and `axolotl` are these with the configuration of that trainer"
    )
    drop_top: Share = Field(description="share of the ranking that is left out from its top")
    decontaminate: Decontaminate | None = Field(
        description="drops examples that share so many consecutive words with a test question of `evaluate.tasks`; a "
        "number of words, or a section"
    )
    near_duplicates: NearDuplicates | None = Field(
        description="similarity from which on only the best of several examples is kept: a number, the Jaccard "
        "similarity of word shingles, or a section"
    )
    per_instruction: Count | None = Field(
        description="examples of an instruction (all turns before the last response) that are kept at most, the best; "
        "null keeps any number, and so does `full`"
    )
    quota: Literal["proportional", "equal"] | dict[Name, NotNegative] | None = Field(
        description="share of the selection that each source gets: as in the pool, equal, or by source"
    )
    reject: OpenShare | None = Field(
        description="share of each source's examples that is rejected, first what has no score, then the lowest, "
        "whatever else is dropped for another reason; of the rest the selection is drawn at random"
    )
    diversity: Annotated[float, Field(ge=1, allow_inf_nan=False)] | None = Field(
        description="candidates per kept example; those that the selector represents least alike are kept"
    )

    @model_validator(mode="after")
    def _sound(self) -> Self:
        if not self.ratio and not self.tokens:
            raise ValueError("ratio: is empty, and so is tokens: nothing would be kept")
        if self.tokens and (self.quota is not None or self.diversity is not None):
            raise ValueError("tokens: cannot be combined with quota or diversity, which count examples")
        return self

    def budgets(self) -> list[str]:
        """Return the budgets as they are called in paths, without rounding: ratio-0.1, tokens-20000."""
        values = [(kind, value) for kind in ("ratio", "tokens") for value in getattr(self, kind)]
        return [f"{kind}-{int(value) if value.is_integer() else repr(value)}" for kind, value in values]
