"""Rules as a configuration asks for them: what is general, what differs for a class, what is refused in one line."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from raycxr.config.load import load_config, to_yaml
from raycxr.config.postprocess import PostprocessSection
from raycxr.errors import ConfigurationError
from raycxr.postprocess.configured import configured_rules
from raycxr.postprocess.rule import DecisionRule

CLASSES = ("lungs", "heart")


def rules(section: dict[str, Any], multiclass: bool = False, image_head: bool = False) -> list[DecisionRule]:
    return configured_rules(PostprocessSection.model_validate(section), CLASSES, multiclass, image_head)


def refusal(path: Path, *overrides: str) -> str:
    with pytest.raises(ConfigurationError) as caught:
        load_config(path, overrides)
    return str(caught.value)


def test_without_a_word_a_threshold_or_the_most_probable_class() -> None:
    assert rules({}) == [DecisionRule(threshold=0.5)] * 2
    assert rules({}, multiclass=True) == [DecisionRule()] * 2


def test_a_class_takes_the_general_keys_that_it_does_not_have() -> None:
    section = {
        "triplet": {"top": 0.8, "area": 0.01},
        "min_area": 0.001,
        "fill_holes": True,
        "classes": {"lungs": {"threshold": 0.4, "components": 2, "fill_holes": False}},
    }
    lungs, heart = rules(section)
    assert lungs == DecisionRule(threshold=0.4, components=2, min_area=0.001)
    assert heart == DecisionRule(top=0.8, area=0.01, bottom=0.3, min_area=0.001, fill_holes=True)
    other = rules({"threshold": 0.4, "classes": {"heart": {"triplet": {}}}})
    assert [rule.kind for rule in other] == ["threshold", "triplet"]


def test_components_and_gates_go_with_the_most_probable_class() -> None:
    section = {"components": 1, "image_threshold": 0.3, "classes": {"lungs": {"components": 2}}}
    expected = [DecisionRule(components=2, image_threshold=0.3), DecisionRule(components=1, image_threshold=0.3)]
    assert rules(section, multiclass=True, image_head=True) == expected


@pytest.mark.parametrize(
    ("section", "multiclass", "message", "remedy"),
    [
        ({"classes": {"lung": {}}}, False, "names 'lung'", "choose from lungs, heart"),
        ({"threshold": 0.4}, True, "postprocess.threshold for lungs does not apply", "leave postprocess.threshold out"),
        ({"classes": {"heart": {"triplet": {}}}}, True, "postprocess.triplet for heart", "target=multilabel"),
        ({"search": True}, True, "postprocess.search finds nothing", "postprocess.search=false"),
        ({"image_threshold": 0.5}, False, "no image head", "model.image_head=true"),
    ],
)
def test_what_does_not_fit_the_data(section: dict[str, Any], multiclass: bool, message: str, remedy: str) -> None:
    with pytest.raises(ConfigurationError) as caught:
        rules(section, multiclass)
    assert message in caught.value.message
    assert remedy in caught.value.remedy


def test_what_is_wrong_by_itself(tmp_path: Path) -> None:
    path = tmp_path / "config.yaml"
    path.write_text("postprocess: {triplet: {top: 0.8}, classes: {lungs: {components: 2}}}\n")
    assert "top (0.2) lies below bottom (0.3)" in refusal(path, "postprocess.triplet.top=0.2")
    assert "postprocess.triplet.area = 1.5" in refusal(path, "postprocess.triplet.area=1.5")
    assert "threshold and triplet exclude each other" in refusal(path, "postprocess.threshold=0.5")
    assert "postprocess.classes.lungs.components = 0" in refusal(path, "postprocess.classes.lungs.components=0")
    assert "did you mean 'components'?" in refusal(path, "postprocess.classes.lungs.component=1")
    assert "every top lies below every bottom" in refusal(path, "postprocess.grid.top=[0.01]")
    assert "unknown key 'evaluate.threshold'" in refusal(path, "evaluate.threshold=0.4")
    again = tmp_path / "again.yaml"
    again.write_text(to_yaml(load_config(path)))
    assert load_config(again) == load_config(path)
