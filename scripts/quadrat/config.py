"""The configuration: what a user wrote, checked against the schema."""

import difflib
import math
from collections.abc import Iterable
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import yaml

from quadrat.errors import ConfigError
from quadrat.files.text import visible
from quadrat.settings import Settings

# Every key: its type, its default, its meaning, and the message about a value that does not fit.
SCHEMA = Path(__file__).with_name("config.schema.yaml")

# Whole numbers up to this one are exact as floats.
LARGEST_EXACT = 2.0**53


def refuse_contradictions(predictor: dict[str, Any]) -> None:
    """Refuse keys of a predictor that do not go together.

    Parameters
    ----------
    predictor : dict
        The key `predictor` of the configuration; each value is valid by itself.

    Raises
    ------
    ConfigError
        One line with the keys, the expected values, and where to change them.
    """
    if predictor["kind"] == "torch" and find_spec("torch") is None:
        raise ConfigError(
            "predictor: kind torch needs PyTorch, which is not installed here; pip install torch, in the "
            "build for this machine (config.yaml: predictor: kind)"
        )
    if "histogram" in predictor.get("of", []):
        _refuse_missing_ends(predictor.get("bins"), predictor.get("range"))
    if predictor.get("split") and "resize" in predictor:
        raise ConfigError(
            "predictor: split and resize exclude each other; keep one of them "
            "(config.yaml: predictor: split, resize)"
        )
    if predictor.get("split") and "reduce" not in predictor:
        raise ConfigError(
            "predictor: reduce is missing; set it to mean, fraction or max, by which the tiles of a patch "
            "become one prediction (config.yaml: predictor: reduce)"
        )


def _refuse_missing_ends(bins: int | None, ends: list[float] | None) -> None:
    if bins is None or ends is None:
        raise ConfigError(
            "predictor: histogram needs bins and range; set both, such as bins: 16 and range: [0, 256] "
            "(config.yaml: predictor: bins, range)"
        )
    if not -math.inf < ends[0] < ends[1] < math.inf:
        raise ConfigError(
            f"predictor: range is {ends}; it must be the lower end of the first bin and the upper end of the "
            "last, such as [0, 256] (config.yaml: predictor: range)"
        )


def load_settings(config: dict[str, Any]) -> Settings:
    """Check a configuration and complete it.

    Parameters
    ----------
    config : dict
        As Snakemake read it from files and the command line.

    Returns
    -------
    Settings

    Raises
    ------
    ConfigError
        See `complete`.
    """
    return Settings(**complete(config))


def complete(config: dict[str, Any], keys: Iterable[str] | None = None) -> dict[str, Any]:
    """Check a configuration, or a part of it, and add the defaults of the keys that it leaves out.

    Parameters
    ----------
    config : dict
    keys : iterable of str, optional
        The keys of the part. Default: all.

    Returns
    -------
    dict
        Configuration key to value.

    Raises
    ------
    ConfigError
        If a key is unknown or a value does not fit: one line with the value, the expected values, and where
        to change it.
    """
    # By libyaml, eight times as fast: Snakemake's process of each job reads the schema again.
    properties = yaml.load(SCHEMA.read_text(encoding="utf-8"), yaml.CSafeLoader)["properties"]
    if keys is not None:
        properties = {key: properties[key] for key in keys}
    _refuse_unknown_keys(config, properties)
    values = {}
    for key, rule in properties.items():
        values[key] = _coerce(config[key], rule) if key in config else rule["default"]
        if key == "nodata":
            values[key] = _as_samples(values[key])
        _check(values[key], rule, key)
    if values["stride"] is None:
        values["stride"] = values["patch_size"]
    _refuse_two_resolutions(values)
    _refuse_other_count(values["nodata"], values["channels"])
    if "channels" in values:
        _refuse_wrong_channels(values["channels"], values.get("scenes"), properties["channels"])
    if "predictor" in values:
        if isinstance(values["predictor"], str):
            values["predictor"] = {"kind": values["predictor"]}
        refuse_contradictions(values["predictor"])
    return values


def _refuse_unknown_keys(config: dict[str, Any], properties: dict[str, Any], *above: str) -> None:
    for key in config:
        if key not in properties:
            close = difflib.get_close_matches(str(key), properties, n=1)
            meant = f"did you mean {close[0]}?" if close else f"the keys are {', '.join(properties)}"
            place = ": ".join(["config.yaml", *above])
            raise ConfigError(f"{': '.join([*above, visible(str(key))])}: unknown key; {meant} ({place})")


def _refuse_two_resolutions(values: dict[str, Any]) -> None:
    given = [key for key in ("level", "mpp", "gsd") if values[key]]
    if len(given) > 1:
        listed = " and ".join(f"{key} {values[key]}" for key in given)
        raise ConfigError(
            f"{listed} exclude each other; keep one of level, mpp and gsd (config.yaml: {', '.join(given)})"
        )


def _refuse_other_count(nodata: Any, channels: list[int] | None) -> None:
    if isinstance(nodata, list) and channels and len(nodata) != len(channels):
        raise ConfigError(
            f"nodata has {len(nodata)} values and channels has {len(channels)}; make it one value for each "
            "channel, or a number for all (config.yaml: nodata, channels)"
        )


def _as_samples(value: Any) -> Any:
    """Return each value of samples in one form, which names its results: 0 for 0.0, and 'nan' for .nan.

    YAML takes some numbers for text, such as 1e3. Integers of 64 bit stay exact.
    """
    if isinstance(value, list):
        return [_as_samples(one) for one in value]
    if isinstance(value, str):
        try:
            value = float(value)
        except ValueError:
            return value
    if not isinstance(value, float):
        return value
    if not math.isfinite(value):
        return str(value)
    return int(value) if value.is_integer() and abs(value) < LARGEST_EXACT else value


def _refuse_wrong_channels(
    channels: list[Any] | None, scenes: str | dict[str, Any] | None, rule: dict[str, Any]
) -> None:
    are_names = channels is not None and isinstance(channels[0], str)
    if are_names and not scenes:
        raise ConfigError(_refusal(channels, rule, ("channels",)))
    if scenes and not (are_names or (channels is None and scenes == "sentinel-2")):
        given = "is missing" if channels is None else f"is {_as_typed(channels)}"
        raise ConfigError(
            f"channels {given}; with scenes, set it to the names of the bands, such as [SR_B4, SR_B3, SR_B2] "
            "(config.yaml: channels)"
        )


def _coerce(value: Any, rule: dict[str, Any]) -> Any:
    """Turn a value of the command line into the type of its key, if there is no doubt.

    `--config` passes values within JSON, and whole JSON within quotes, as text.
    """
    types = rule.get("type", [])
    if isinstance(value, str) and (not _takes_text(rule, value) or value.startswith(("[", "{"))):
        value = _parse(value)
    if "array" in types and isinstance(value, (str, int)) and not isinstance(value, bool):
        value = [value]
    for option in _options(rule):
        if isinstance(value, list) and "items" in option:
            value = [_coerce(item, option["items"]) for item in value]
    if isinstance(value, dict):
        inner = (_rule_of(value, rule) or rule).get("properties", {})
        value = {key: _coerce(item, inner[key]) if key in inner else item for key, item in value.items()}
    if "number" in types and type(value) is int:
        value = float(value)  # both name the same results
    return value


def _parse(text: str) -> Any:
    try:
        return yaml.safe_load(text)
    except yaml.YAMLError:
        return text


def _options(rule: dict[str, Any]) -> list[dict[str, Any]]:
    return [rule, *rule.get("anyOf", [])]


def _takes_text(rule: dict[str, Any], text: str) -> bool:
    return _is_text(rule) or any(text in option.get("enum", []) for option in _options(rule))


def _rule_of(value: dict[str, Any], rule: dict[str, Any]) -> dict[str, Any] | None:
    """Return the rule for a mapping of this kind whose keys have expectations; None if none exists."""
    for option in _options(rule):
        properties = option.get("properties", {})
        is_of_kind = "kind" not in properties or value.get("kind") in properties["kind"]["enum"]
        if is_of_kind and any("expected" in inner for inner in properties.values()):
            return option
    return None


def _check(value: Any, rule: dict[str, Any], *keys: str) -> None:
    """Check a value; in a mapping whose keys have expectations, also check the value of each key."""
    of_kind = _rule_of(value, rule) if isinstance(value, dict) else None
    if of_kind and len(value) >= of_kind.get("minProperties", 0):
        _refuse_unknown_keys(value, of_kind["properties"], *keys)
        for key in of_kind.get("required", []):
            if key not in value:
                place, expected = ": ".join([*keys, key]), of_kind["properties"][key]["expected"]
                raise ConfigError(f"{place} is missing; set it to {expected} (config.yaml: {place})")
        for key, inner in value.items():
            _check(inner, of_kind["properties"][key], *keys, key)
    elif not _validator()(rule).is_valid(value):
        raise ConfigError(_refusal(value, rule, keys))


@cache
def _validator() -> Any:
    """Make the class that checks values, once: that takes longer than all checks of a configuration."""
    # Imported here: jobs get checked settings, and need no checks.
    from jsonschema import Draft202012Validator
    from jsonschema.validators import extend

    # JSON Schema takes 512.0 for an integer; a range does not.
    types = Draft202012Validator.TYPE_CHECKER.redefine("integer", lambda _, number: type(number) is int)
    return extend(Draft202012Validator, type_checker=types)


def _refusal(value: Any, rule: dict[str, Any], keys: tuple[str, ...]) -> str:
    place = ": ".join(keys)
    line = f"{place} is {_as_typed(value)}; it must be {rule['expected']}"
    if keys == ("channels",) and isinstance(value, list) and 0 in value:
        counted = "they must be counted from 1, as in GDAL and QGIS: channel 0 does not exist"
        line = f"{place} are {_as_typed(value)}; {counted}"
    if _is_text(rule) and not isinstance(value, (str, list, dict)):
        line += f"; YAML read {value!r} as {type(value).__name__}: quote it, --config '{place}=\"...\"'"
    return f"{line} (config.yaml: {place})"


def _is_text(rule: dict[str, Any]) -> bool:
    return any(option.get("type") == "string" for option in _options(rule))


def _as_typed(value: Any) -> str:
    text = yaml.safe_dump(value, default_flow_style=True, width=10**6, allow_unicode=True)
    return " ".join(text.removesuffix("\n...\n").split())
