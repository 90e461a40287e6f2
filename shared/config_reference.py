"""What a configuration class takes, setting by setting: for the reference that operators read (docs/operations/configuration.md), and for
whoever got one wrong."""

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from difflib import get_close_matches
from functools import cache
from pathlib import Path
from typing import Any, Final

from pydantic import BaseModel, ValidationError

Schema = Mapping[str, Any]
# Files of ours are named as they lie in the repository, wherever that is.
_HERE: Final = f"{Path(__file__).resolve().parents[1]}/"


@dataclass(frozen=True)
class Setting:
    """One setting. name: dotted, with `[]` where one of a list is meant. default: as TOML writes it; empty where it has to be set, and
    where its parts have defaults of their own. meaning: empty where only its parts have one. of_several: whether it takes one of several
    forms."""

    name: str
    allowed: str
    is_required: bool
    default: str
    meaning: str
    of_several: bool


@cache
def settings_of(config_class: type[BaseModel]) -> tuple[Setting, ...]:
    """Every setting of a class and of its parts, in the class's order, each before its parts."""
    schema = config_class.model_json_schema()
    return tuple(_walk(schema, schema.get("$defs", {}), ""))


def explain(config_class: type[BaseModel], error: ValidationError) -> list[str]:
    """A line for each thing that is wrong: the setting, what is wrong with it, what is allowed. Never what it was set to."""
    known = {setting.name: setting for setting in settings_of(config_class)}
    lines = []
    for problem in error.errors(include_input=False, include_url=False):
        shown, key = _place(problem["loc"], known)
        prefix = f"{shown}: " if shown else ""  # rules over several settings name them themselves
        lines.append(prefix + _said(problem, key, known))
    return lines


def _said(problem: Mapping[str, Any], key: str, known: Mapping[str, Setting]) -> str:
    if problem["type"] == "extra_forbidden":
        return f"there is no such setting{_instead(key, known)}"
    what = "has to be set" if problem["type"] == "missing" else str(problem["msg"])
    what = what.removeprefix("Value error, ")
    setting = known.get(key)
    if setting is None:
        return what
    return f"{what}; allowed: {setting.allowed}{f' - {setting.meaning}' if setting.meaning else ''}"


def _instead(key: str, known: Mapping[str, Setting]) -> str:
    parent, _, name = key.rpartition(".")
    beside = [one.rpartition(".")[2] for one in known if one.rpartition(".")[0] == parent]
    close = get_close_matches(name, beside, n=1)
    return f"; there is {close[0]}" if close else f"; there are {', '.join(sorted(beside))}"


def _place(location: tuple[int | str, ...], known: Mapping[str, Setting]) -> tuple[str, str]:
    """How a place is shown, with the numbers of a list's parts, and the name of its setting."""
    shown, key, of_form = "", "", ""
    for part in location:
        if isinstance(part, int):
            shown, key = f"{shown}[{part}]", f"{key}[]"
            continue
        dotted = f"{key}.{part}" if key else part
        if dotted not in known and key != of_form and key in known and known[key].of_several:
            of_form = key  # this is the name of a form, which nobody wrote
            continue
        shown, key = f"{shown}.{part}" if shown else part, dotted
    parent = key.rpartition(".")[0]
    return shown, parent if key not in known and known.get(parent, _NONE).allowed.startswith(_NAMED) else key


def _walk(part: Schema, definitions: Mapping[str, Schema], prefix: str) -> Iterator[Setting]:
    required = set(part.get("required", ()))
    for name, raw in part["properties"].items():
        value = _resolved(raw, definitions)
        forms = [
            _resolved(one, definitions)
            for one in value.get("anyOf") or value.get("oneOf") or [value]
            if one.get("type") != "null"
        ]
        yield Setting(
            name=prefix + name,
            allowed=" or ".join(_allowed(form, definitions) for form in forms),
            is_required=name in required,
            default=_default(value, name in required),
            meaning=raw.get("description") or value.get("description", ""),
            of_several=len(forms) > 1,
        )
        for form in forms:
            if "properties" in form:
                yield from _walk(form, definitions, f"{prefix}{name}.")
            elif "properties" in (entry := _resolved(form.get("items", {}), definitions)):
                yield from _walk(entry, definitions, f"{prefix}{name}[].")


def _resolved(schema: Schema, definitions: Mapping[str, Schema]) -> Schema:
    reference = schema.get("$ref")
    return schema if reference is None else {**definitions[reference.rpartition("/")[2]], **schema}


def _default(value: Schema, is_required: bool) -> str:
    if is_required:
        return ""
    if "default" not in value:
        return "" if "properties" in value else "{}"
    return "none" if value["default"] is None else json.dumps(value["default"]).replace(_HERE, "")


_NAMED: Final = "a table of names"
_NONE: Final = Setting("", "", False, "", "", False)


def _allowed(form: Schema, definitions: Mapping[str, Schema]) -> str:
    if "enum" in form:
        return "one of " + ", ".join(map(str, form["enum"]))
    match form.get("type"):
        case "integer":
            return f"a whole number{_range(form)}"
        case "number":
            return f"a number{_range(form)}"
        case "boolean":
            return "true or false"
        case "array":
            counted = _counted(form, "minItems", "maxItems")
            return f"a list{counted}, each {_allowed(_resolved(form.get('items', {}), definitions), definitions)}"
        case "object":
            if "properties" in form:
                return "a table"
            return f"{_NAMED}, each with {_allowed(form.get('additionalProperties', {}), definitions)}"
        case _:
            return _text(form)


def _text(form: Schema) -> str:
    if form.get("format") == "path":
        return "a path"
    if "pattern" in form:
        return f"text that matches `{form['pattern']}`"
    counted = _counted(form, "minLength", "maxLength")
    return f"text{counted} characters" if counted else "text"


def _range(form: Schema) -> str:
    said = []
    for key, word in (
        ("minimum", "from"),
        ("exclusiveMinimum", "above"),
        ("maximum", "to"),
        ("exclusiveMaximum", "below"),
    ):
        if key in form:
            said.append(f"{word} {form[key]:g}" if isinstance(form[key], float) else f"{word} {form[key]}")
    return f" {' '.join(said)}" if said else ""


def _counted(form: Schema, least: str, most: str) -> str:
    if least in form and most in form:
        return f" of {form[least]} to {form[most]}"
    if least in form:
        return f" of at least {form[least]}"
    return f" of at most {form[most]}" if most in form else ""
