import dataclasses

from given.costs import DENSE, H100, MOE, POOL, ROOT, configured

from moesift.report.estimate import lines


def test_the_text_says_what_it_rests_on(monkeypatch):
    monkeypatch.chdir(ROOT)
    config = configured(evaluate={"tasks": [{"name": "mmlu"}, {"name": "bbh"}]}, estimate={"memory_gib": 0.0001})
    text = "\n".join(lines(config, MOE, DENSE, POOL, H100))
    assert "1,000 examples of 20.0 tokens for the selector and 25.0 for the target\n  by hand\n" in text
    assert "5,000 parameters, 2,000 active per token: 2 of 8 experts in 4 layers" in text
    assert "989 TFLOP/s, assumed, x 0.35, assumed" in text
    assert "not counted, no size in estimate.tasks: bbh" in text
    assert "MORE THAN THE 0.0001 THERE ARE" in text
    assert "54 A100 hours" in text
    assert "GPU hours" in text
    assert "LESS" not in "\n".join(lines(configured(methods=["nll"]), MOE, DENSE, POOL, H100))
    processor = dataclasses.replace(H100, tflops=0.05, known="measured", name="CPU", memory=None)
    text = "\n".join(lines(config, MOE, DENSE, POOL, processor))
    assert "operations / (0.05 TFLOP/s, measured, x 0.35, assumed)" in text
    assert "CPU hours" in text
    assert "LESS" not in text  # a comparison of GPUs
