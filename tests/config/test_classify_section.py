"""The section `classify`: one encoder or one bundle, and mistakes told in one line."""

from __future__ import annotations

from pathlib import Path

import pytest

from raycxr.config.load import load_config, to_yaml
from raycxr.errors import ConfigurationError


@pytest.mark.parametrize(
    ("text", "part"),
    [
        ("{label: tuberculosis}", "give either encoder or bundle"),
        ("{label: tuberculosis, encoder: resnet18, bundle: runs/a}", "give either encoder or bundle"),
        ("{label: tuberculosis, bundle: runs/a, encoder_weights: imagenet}", "a bundle brings its own"),
        ("{encoder: resnet18}", "classify.label is missing"),
        ("{label: a, encoder: resnet18, poling: max}", "did you mean 'pooling'?"),
        ("{label: a, encoder: resnet18, pooling: median}", "classify.pooling = 'median' is unknown"),
        ("{label: a, encoder: resnet18, lungs: {bundle: b, use: box}}", "classify.lungs.use = 'box' is unknown"),
        ("{label: a, encoder: resnet18, validation: {rule: fraction}}", "classify.validation.rule = 'fraction'"),
        ("{label: a, encoder: resnet18, batch_size: 1}", "classify.batch_size = 1"),
    ],
)
def test_mistakes(tmp_path: Path, text: str, part: str) -> None:
    path = tmp_path / "c.yaml"
    path.write_text(f"classify: {text}")
    with pytest.raises(ConfigurationError) as caught:
        load_config(path)
    assert part in f"{caught.value.message} - {caught.value.remedy}"


def test_what_is_written_is_read_back(tmp_path: Path) -> None:
    path = tmp_path / "c.yaml"
    path.write_text("classify: {label: a, encoder: vgg16, hidden: [], lungs: {bundle: b, use: mask}}")
    config = load_config(path)
    (tmp_path / "again.yaml").write_text(to_yaml(config))
    assert load_config(tmp_path / "again.yaml") == config


@pytest.mark.parametrize("name", ["classify_vgg16", "classify_resnet50", "classify_inceptionresnetv2"])
def test_published_recipes_stand_on_imagenet_features(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RAYCXR_DATA", "/data")
    config = load_config(Path(__file__).parents[2] / "configs" / "tb" / f"{name}.yaml")
    assert config.classify is not None
    assert config.classify.encoder == name.removeprefix("classify_")
    assert (config.classify.encoder_weights, config.classify.frozen) == ("imagenet", True)
