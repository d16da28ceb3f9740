from given.study import NOTHING, interval

from moesift.study.words import duration, number, shown


def test_numbers_are_written_briefly():
    assert shown(interval(0.25, 0.125), ".2f") == "0.25 [0.12, 0.38]"
    assert shown(NOTHING, ".2f") == "not computed"
    assert number(-0.0001, ".3f") == "0.000"
    assert number(-0.0001, "+.3f") == "-0.000"  # the sign says on which side of zero it is
    assert number(-0.0, "+.3f") == "+0.000"
    assert number(None, ".3f") == "–"
    assert [duration(seconds) for seconds in (12.0, 600.0, 4321.0)] == ["12 s", "10 min", "1 h 12 min"]
