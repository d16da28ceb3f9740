from typing import get_args

import pytest

from moesift.config import Method
from moesift.scoring.measurements import READS, USAGE, Measured, by_pass, planned, what_is_read


def test_every_method_says_what_it_reads():
    assert set(READS) == set(get_args(Method))


@pytest.mark.parametrize(
    ("made", "wanted", "names"),
    [
        ([], ["nats_alone", "nats"], {"nats": "nats+nats_alone", "nats_alone": "nats+nats_alone"}),
        # One more method: what was measured stays where it is.
        (["nats"], ["nats", "nats_alone"], {"nats": "nats", "nats_alone": "nats_alone"}),
        (["a+b"], ["b", "c", "d"], {"b": "a+b", "c": "c+d", "d": "c+d"}),
        # Of two that share a quantity the first counts, and what only the second has is measured.
        (["a+b", "b+c"], ["b", "c"], {"b": "a+b", "c": "c"}),
        # Tokens are counted by every measurement; alone only where nothing else is asked for.
        ([], ["tokens"], {"tokens": "tokens"}),
        ([], ["tokens", "nats"], {"tokens": "nats", "nats": "nats"}),
        (["nats"], ["tokens"], {"tokens": "nats"}),
        (["tokens"], ["tokens", "nats"], {"tokens": "tokens", "nats": "nats"}),
        (["nats", "nats_alone"], ["tokens", "nats_alone"], {"tokens": "nats", "nats_alone": "nats_alone"}),
    ],
)
def test_what_was_measured_is_not_measured_again(made, wanted, names):
    assert planned(made, wanted) == names
    # The plan of a run stays the same while it goes on.
    assert planned([*made, *sorted(set(names.values()) - set(made))], wanted) == names


def test_what_one_pass_gives_is_read_in_one():
    first, last = (Measured("signals", model) for model in ("first", "last"))
    assert what_is_read(["router", "router_untrained"], diverse=True) == {first, last, USAGE}
    assert by_pass([USAGE, last, first, last]) == [(first,), (last, USAGE)]
    read = what_is_read(["typical_pmi", "reducible", "length"], diverse=False)
    assert [(group[0].model, *(one.quantity for one in group)) for group in by_pass(read)] == [
        ("first", "nats"),
        ("last", "nats"),
        ("selector", "nats", "nats_end"),
        ("selector", "nats_alone"),
    ]
