"""Write what the study found as a page, docs/results.md, and draw its figures; print the claim and the headline."""

import argparse
import json
import textwrap
from pathlib import Path

from moesift.errors import UserError, run
from moesift.files import whole
from moesift.study.answer import headline, reported, verdict
from moesift.study.figures import drawn, png
from moesift.study.page import claimed, page

WIDTH = 110  # columns of the terminal


def main() -> None:
    """Read study.json, write the page and a PNG a figure."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--study", type=Path, required=True, help="study.json of `study_results`")
    parser.add_argument("--page", type=Path, required=True, help="Markdown file to write")
    parser.add_argument("--figures", type=Path, required=True, help="folder for study-{name}.png, that of the page")
    args = parser.parse_args()
    if not args.study.is_file():
        raise UserError(
            f"{args.study}: there is no such file; `snakemake study --configfile config/study.yaml` makes it"
        )
    study = json.loads(args.study.read_text())

    _, numbers = reported(study)
    if numbers is not None:
        for name, figure in drawn(numbers, [study["made"]["control"], *study["made"]["sanity"]]).items():
            with whole(args.figures / f"study-{name}.png") as part:
                part.write_bytes(png(figure))
    with whole(args.page) as part:
        part.write_text(page(study))
    for text in (f"The claim: {claimed(study)}", verdict(study), headline(study)):
        print(textwrap.fill(text.replace("**", "").replace("`", ""), WIDTH, break_on_hyphens=False))
    print(f"page: {args.page}")


if __name__ == "__main__":
    run(main)
