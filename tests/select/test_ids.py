import polars as pl

from moesift.select import ids

DIGITS = ["00000000000000ff", "ffffffffffffffff", "0000000000000000", "8000000000000000", "7fffffffffffffff"]


def test_digits_and_numbers_are_the_same_in_the_same_order():
    frame = pl.DataFrame({"id": DIGITS})
    numbers = frame.select(ids.numbers(pl.col("id")))["id"]
    assert numbers.to_list() == [255, 2**64 - 1, 0, 2**63, 2**63 - 1]
    assert ids.digits(numbers).to_list() == DIGITS
    assert ids.digits(numbers.sort()).to_list() == sorted(DIGITS)
    assert ids.digits(numbers.clear()).to_list() == []


def test_other_ids_stay_as_they_are():
    assert ids.are_hexadecimal(pl.LazyFrame({"id": DIGITS}))
    for other in ("00", "FF00000000000000", "00000000000000ff0", "g000000000000000"):
        assert not ids.are_hexadecimal(pl.LazyFrame({"id": [*DIGITS, other]}))
    assert ids.digits(pl.Series("id", ["b", "a"])).to_list() == ["b", "a"]
