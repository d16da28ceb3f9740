import copy
from pathlib import Path

import pytest
import yaml

from moesift.fields import ConfigError
from moesift.plan import planned
from moesift.validation import validated
from study.experiments import merged, read_study

DEFAULTS, STUDY, FAST = (
    yaml.safe_load(Path(path).read_text(encoding="utf-8"))
    for path in ("config/config.yaml", "study/corruption.yaml", "study/corruption_fast.yaml")
)


@pytest.mark.parametrize("raw", [STUDY, merged(STUDY, FAST)], ids=["full", "fast"])
def test_every_experiment_is_a_configuration_that_the_workflow_accepts(raw):
    study = read_study(raw)
    configurations = [validated(one) for one in study.experiments(DEFAULTS)]
    assert len({config.experiment for config in configurations}) == len(study.seeds) * len(study.halves)
    for config in configurations:
        assert config.seeds == [config.data.seed] == [config.embedded.seed]
        assert study.control in config.data.corruptions
        assert not set(config.warmup.negatives) & set(config.data.corruptions)  # routers are judged on unseen kinds
        plan = planned(config)
        assert {*study.baselines, *study.claim.against, study.claim.method, "random"} <= set(plan.methods)
        # The score as a filter; everything else is a ranking.
        assert [label for label, chosen in plan.methods.items() if chosen.reject is not None] == ["filtered"]
        others = {"filtered", "bottom", "balanced", "oracle", "full"}
        assert study.scores() == [label for label in plan.methods if label not in others]


def test_defaults_and_settings_are_left_as_they_were():
    before = copy.deepcopy((DEFAULTS, STUDY))
    read_study(STUDY).experiments(DEFAULTS)
    assert before == (DEFAULTS, STUDY)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"halves": [["truncated"], ["truncated", "empty"]]}, "truncated is listed more than once"),
        ({"control": "empty"}, "empty is listed more than once"),
        ({"sanity": ["noise_10", "perturbed_instruction"]}, "perturbed_instruction of sanity or of the claim"),
        ({"baselines": ["nll", "lenght"]}, "settings.methods: lacks lenght"),
        ({"settings": {}}, "settings.methods: lacks .*random"),
        ({"seed": 3}, "seed: Extra inputs"),
        ({"seeds": [1, 1]}, "seeds: .*listed more than once"),
    ],
)
def test_a_study_that_contradicts_itself_is_refused(change, message):
    with pytest.raises(ConfigError, match=message):
        read_study(STUDY | change)
