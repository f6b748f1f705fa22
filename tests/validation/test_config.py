"""The configuration of a run: strict keys, clear errors, JSON Schema, and settings of properties."""

from __future__ import annotations

import pytest

from calczoo_validation import registry
from calczoo_validation.config import check_config, config_schema, make_run, make_source, parse_changes, read_config
from calczoo_validation.options import NoOptions, resolve, schema
from calczoo_validation.properties.elastic import Options as ElasticOptions
from calczoo_validation.properties.vacancy import Options as VacancyOptions


@pytest.mark.parametrize(
    ("data", "message"),
    [
        ({"calculator": ["snap:Mo"]}, "unknown key 'calculator'; did you mean 'calculators'"),
        ({"mode": 3}, "mode is 3; expected string"),
        ({"jobs": 0}, "jobs is 0; it must be at least 1"),
        ({"jobs": True}, "jobs is True; expected integer"),
        ({"calculators": [{"spec": "snap:Mo", "modle": "x"}]}, "unknown key 'modle'; did you mean 'model'"),
        ({"calculators": [{"label": "x"}]}, "exactly one of spec and ase"),
        ({"calculators": [7]}, "give a spec"),
        ({"fail_on": ["fialed"]}, "did you mean 'failed'"),
        ({"proto": [1]}, "expected texts"),
    ],
)
def test_bad_configurations_name_the_culprit(data, message):
    with pytest.raises(ValueError, match=message):
        check_config(data)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("mode: fast\nmode: full\n", "line 2: key 'mode' is given twice"),
        ("mode: [fast\n", "line 2"),
        ("- a\n- b\n", "found list"),
        ("? [1, 2]\n: 3\n", "is no text"),
        ("mode: !!python/object/apply:os.system ['true']\n", "could not determine a constructor"),
        ("1: 2\n", "is no text"),
    ],
)
def test_bad_files_name_the_line(tmp_path, text, message):
    path = tmp_path / "val.yml"
    path.write_text(text)
    with pytest.raises(ValueError, match=message) as caught:
        read_config(path)
    assert "val.yml" in str(caught.value)


def test_files_are_found_beside_the_configuration(tmp_path):
    (tmp_path / "cell.xyz").write_text("x")
    (tmp_path / "val.yml").write_text("structure: cell.xyz\nproperties: elastic\n")
    data = read_config(tmp_path / "val.yml")
    assert data["structure"] == [str(tmp_path / "cell.xyz")]
    assert data["properties"] == ["elastic"]
    with pytest.raises(ValueError, match="does not exist"):
        read_config(tmp_path / "other.yml")


def test_changes_of_the_command_line():
    changes = parse_changes(["elastic.strain=1e-3", "vacancy.lengths=[10, 14]", "vacancy.fmax=0.01"])
    assert changes == {"elastic": {"strain": "1e-3"}, "vacancy": {"lengths": [10, 14], "fmax": 0.01}}
    assert resolve(ElasticOptions, "fast", changes["elastic"]).strain == 1e-3
    assert resolve(VacancyOptions, "fast", changes["vacancy"]).lengths == (10.0, 14.0)


@pytest.mark.parametrize("pair", ["strain=1", "elastic.strain", "=1", "elastic.=2"])
def test_bad_changes_are_explained(pair):
    with pytest.raises(ValueError, match="property.setting=value"):
        parse_changes([pair])


@pytest.mark.parametrize(
    ("cls", "changes", "message"),
    [
        (ElasticOptions, {"strian": 1e-3}, "unknown setting 'elastic.strian'; did you mean 'strain'"),
        (ElasticOptions, {"strain": 0.9}, "elastic.strain is 0.9; allowed"),
        (ElasticOptions, {"strain": "much"}, "elastic.strain is 'much'; expected number"),
        (ElasticOptions, {"strain": True}, "expected number"),
        (ElasticOptions, {"strain": float("nan")}, "not a number"),
        (VacancyOptions, {"lengths": []}, "is empty"),
        (VacancyOptions, {"lengths": [10, "x"]}, "expected number"),
        (NoOptions, {"a": 1}, "has: none"),
    ],
)
def test_bad_settings_are_explained(cls, changes, message):
    with pytest.raises(ValueError, match=message):
        resolve(cls, "fast", changes, where="elastic")


def test_unknown_property_in_settings_is_an_error():
    config = {"calculators": ["snap:Mo"], "proto": ["Mo:bcc"], "settings": {"elastik": {"strain": 0.01}}}
    with pytest.raises(ValueError, match="unknown property 'elastik'; did you mean 'elastic'"):
        make_run(config)


def test_settings_reach_the_property():
    config = {
        "calculators": [{"ase": "ase.calculators.emt:EMT"}], "proto": ["Cu:fcc"], "mode": "smoke",
        "properties": ["elastic"], "settings": {"elastic": {"strain": 0.004}},
    }  # fmt: skip
    (report,) = make_run(config).go(progress=False)
    assert report["elastic"].settings["strains"] == [0.004, 0.008]


def test_labels_of_calculators():
    assert make_source("snap:Mo").label == "snap:Mo"
    assert make_source("/somewhere/Mo.eam.fs").label == "Mo.eam.fs"
    assert make_source({"spec": "snap:Mo", "label": "mine"}).label == "mine"
    with pytest.raises(ValueError, match="dtype belong to the zoo's own"):
        make_source({"ase": "a:B", "dtype": "float32"})


def test_the_schema_describes_every_setting_of_every_property():
    data = config_schema()
    groups = data["properties"]["settings"]["properties"]
    known = registry.built_in()
    assert set(groups) == {"general", *known}
    for name in known:
        assert groups[name]["additionalProperties"] is False
        for key, item in groups[name]["properties"].items():
            assert item["description"].strip(), f"{name}.{key} lacks a description"
            assert "default" in item
    assert schema(ElasticOptions)["properties"]["strain"]["maximum"] == 0.05


@pytest.mark.parametrize("name", sorted(registry.built_in()))
def test_every_property_declares_itself(name):
    prop = registry.built_in()[name]
    assert prop.title and prop.about.endswith(".") and len(prop.about) > 40
    assert prop.outputs, f"{name} declares no outputs"
    assert all(need in registry.built_in() for need in prop.needs)
    for mode in ("smoke", "fast", "full"):
        resolve(prop.options, mode)
