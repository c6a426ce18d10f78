"""The configuration: checked against its schema, completed with defaults, as one immutable value."""

import difflib
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import yaml

from quadrat.errors import ConfigError
from quadrat.reading import Reading


@dataclass(frozen=True)
class Settings:
    """All settings of a run; `workflow/schemas/config.schema.yaml` describes each key and its default."""

    images: str | list[str]
    include: list[str]
    exclude: list[str]
    extensions: list[str]
    results: str
    patch_size: int
    stride: int
    edge: str
    channels: list[int] | None
    level: int
    plane: dict[str, int] | None
    predictor: dict[str, Any]
    on_failure: str
    retries: int
    allow_removed: bool
    json_max_values: int
    verify: str

    @property
    def reading(self) -> Reading:
        """What is read of each image."""
        return Reading(**{field.name: getattr(self, field.name) for field in fields(Reading)})

    def as_dict(self) -> dict[str, Any]:
        """Give the settings as a mapping of key to value."""
        return {field.name: getattr(self, field.name) for field in fields(self)}


def load_settings(config: dict[str, Any], schema_path: Path) -> Settings:
    """Check a configuration and complete it.

    Parameters
    ----------
    config : dict
        As Snakemake read it from files and the command line.
    schema_path : Path
        The JSON schema of the configuration, in YAML.

    Returns
    -------
    Settings

    Raises
    ------
    ConfigError
        If a key is unknown or a value does not fit: one line with the value, what was expected, and where
        to change it.
    """
    schema = yaml.safe_load(schema_path.read_text(encoding="utf-8"))
    properties = schema["properties"]
    _refuse_unknown_keys(config, properties)
    values = {}
    for key, rule in properties.items():
        values[key] = _coerce(config[key], rule) if key in config else rule["default"]
        _check(key, values[key], rule)
    if values["stride"] is None:
        values["stride"] = values["patch_size"]
    if isinstance(values["predictor"], str):
        values["predictor"] = {"kind": values["predictor"]}
    return Settings(**values)


def _refuse_unknown_keys(config: dict[str, Any], properties: dict[str, Any]) -> None:
    for key in config:
        if key not in properties:
            close = difflib.get_close_matches(str(key), properties, n=1)
            meant = f"did you mean {close[0]}?" if close else f"the keys are {', '.join(properties)}"
            raise ConfigError(f"{key}: unknown key; {meant} (config.yaml)")


def _coerce(value: Any, rule: dict[str, Any]) -> Any:
    """Turn a value of the command line into the type that its key has, where there is no doubt.

    `--config` hands over values within JSON, and whole JSON within quotes, as text.
    """
    types = rule.get("type", [])
    takes_text = _is_text(rule) or "enum" in rule
    if isinstance(value, str) and (not takes_text or value.startswith(("[", "{"))):
        value = _parse(value)
    if "array" in types and isinstance(value, (str, int)) and not isinstance(value, bool):
        value = [value]
    if "array" in types and isinstance(value, list) and rule["items"]["type"] == "integer":
        value = [_number(item) for item in value]
    if isinstance(value, dict):
        numbers = [key for key, inner in rule.get("properties", {}).items() if inner["type"] == "integer"]
        value = {key: _number(item) if key in numbers else item for key, item in value.items()}
    return value


def _number(item: Any) -> Any:
    return int(item) if isinstance(item, str) and item.isdecimal() else item


def _parse(text: str) -> Any:
    try:
        return yaml.safe_load(text)
    except yaml.YAMLError:
        return text


def _check(key: str, value: Any, rule: dict[str, Any]) -> None:
    # Imported here: jobs carry their settings with them and check nothing.
    from jsonschema import Draft202012Validator
    from jsonschema.validators import extend

    # JSON Schema takes 512.0 for an integer; a range does not.
    types = Draft202012Validator.TYPE_CHECKER.redefine("integer", lambda _, number: type(number) is int)
    if extend(Draft202012Validator, type_checker=types)(rule).is_valid(value):
        return
    line = f"{key} {_shown(value)}: must be {rule['expected']}"
    if key == "channels" and isinstance(value, list) and 0 in value:
        line = (
            f"{key} {_shown(value)}: channels are counted from 1, as in GDAL and QGIS; there is no channel 0"
        )
    if _is_text(rule) and not isinstance(value, (str, list, dict)):
        line += f"; YAML read {value!r} as {type(value).__name__}: quote it, --config '{key}=\"...\"'"
    raise ConfigError(f"{line} (config.yaml: {key})")


def _is_text(rule: dict[str, Any]) -> bool:
    return any(option.get("type") == "string" for option in [rule, *rule.get("anyOf", [])])


def _shown(value: Any) -> str:
    text = yaml.safe_dump(value, default_flow_style=True, width=10**6, allow_unicode=True)
    return " ".join(text.removesuffix("\n...\n").split())
