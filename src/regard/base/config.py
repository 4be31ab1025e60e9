"""Strict configuration: YAML or JSON into frozen dataclasses, with errors that help.

An unknown key is an error that names the nearest known one; a value of the wrong
type says which setting it belongs to. ``a.b.c=value`` overrides are YAML values.
"""

import copy
import dataclasses
import json
import os
import re
import types
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, TypeVar, Union, get_args, get_origin, get_type_hints

from regard.base.errors import ConfigError, did_you_mean

T = TypeVar("T")


def from_dict(cls: type[T], values: Mapping[str, Any], where: str = "") -> T:
    """Build the dataclass ``cls`` from ``values``, recursively and strictly.

    Args:
        cls: a dataclass whose fields may be dataclasses, lists, tuples, dicts,
            ``Literal``, optional or plain types.
        values: what a YAML or JSON file held.
        where: dotted path of this section, for error messages.

    Raises:
        ConfigError: an unknown key, a missing one, or a value of another type.
    """
    if not isinstance(values, Mapping):
        raise ConfigError(f"{where or cls.__name__}: expected a section of settings, got {values!r}.")
    hints = get_type_hints(cls)
    fields = {field.name: field for field in dataclasses.fields(cls)}  # type: ignore[arg-type]
    prefix = f"{where}." if where else ""
    for key in values:
        if key not in fields:
            raise ConfigError(f"unknown setting '{prefix}{key}'.{did_you_mean(str(key), fields)}")
    arguments = {}
    for name, field in fields.items():
        if name in values:
            arguments[name] = _convert(hints[name], values[name], prefix + name)
        elif field.default is dataclasses.MISSING and field.default_factory is dataclasses.MISSING:
            raise ConfigError(f"missing setting '{prefix}{name}'.")
    try:
        return cls(**arguments)
    except ConfigError as error:
        raise ConfigError(f"{prefix.rstrip('.')}: {error}" if where else str(error)) from error


def _convert(hint: Any, value: Any, where: str) -> Any:
    origin, args = get_origin(hint), get_args(hint)
    if hint is Any:
        return value
    if origin in (Union, types.UnionType):
        if value is None and type(None) in args:
            return None
        choices = [a for a in args if a is not type(None)]
        if isinstance(value, Mapping):  # a section: its errors are those of the dataclass, if there is one
            choices = [a for a in choices if dataclasses.is_dataclass(a)] or choices
        errors = []
        for choice in choices:
            try:
                return _convert(choice, value, where)
            except ConfigError as error:
                errors.append(error)
        raise errors[-1]
    if origin is Literal:
        if value not in args:
            raise ConfigError(f"{where}: {value!r} is not a choice.{did_you_mean(str(value), map(str, args))}")
        return value
    if dataclasses.is_dataclass(hint):
        return from_dict(hint, value, where)  # type: ignore[arg-type]
    if origin in (list, tuple):
        if isinstance(value, str) or not isinstance(value, Sequence):
            raise ConfigError(f"{where}: expected a list, got {value!r}.")
        if origin is tuple and args and args[-1] is not Ellipsis:
            if len(value) != len(args):
                raise ConfigError(f"{where}: expected {len(args)} values, got {len(value)}.")
            return tuple(_convert(a, v, f"{where}[{i}]") for i, (a, v) in enumerate(zip(args, value, strict=True)))
        item = args[0] if args else Any
        return origin(_convert(item, v, f"{where}[{i}]") for i, v in enumerate(value))
    if origin is dict:
        if not isinstance(value, Mapping):
            raise ConfigError(f"{where}: expected a mapping, got {value!r}.")
        return {_convert(args[0], k, where): _convert(args[1], v, f"{where}.{k}") for k, v in value.items()}
    return _convert_plain(hint, value, where)


def _convert_plain(hint: Any, value: Any, where: str) -> Any:
    if hint is float and isinstance(value, int) and not isinstance(value, bool):
        return float(value)
    if hint is float and isinstance(value, str):  # YAML 1.1 reads 1e-3 as a string
        try:
            return float(value)
        except ValueError:
            pass
    if hint is int and isinstance(value, float) and value.is_integer():
        return int(value)
    if hint is Path and isinstance(value, str):
        return Path(value)
    if (isinstance(value, bool) and hint is not bool) or not isinstance(value, hint):
        # YAML reads the language code no as false, and 1.10 as a number
        quote = " Put it in quotes." if hint is str and isinstance(value, bool | int | float) else ""
        raise ConfigError(f"{where}: expected {hint.__name__}, got {value!r}.{quote}")
    return value


def to_dict(config: Any) -> Any:
    """Return ``config`` as plain dicts and lists, ready for JSON or YAML."""
    if dataclasses.is_dataclass(config) and not isinstance(config, type):
        return {f.name: to_dict(getattr(config, f.name)) for f in dataclasses.fields(config)}
    if isinstance(config, Mapping):
        return {k: to_dict(v) for k, v in config.items()}
    if isinstance(config, list | tuple):
        return [to_dict(v) for v in config]
    return str(config) if isinstance(config, Path) else config


def read_yaml(path: str | Path, *, expand: bool = True) -> dict[str, Any]:
    """Read a YAML mapping.

    Args:
        path: the file.
        expand: replace ``${NAME}`` from the environment.

    Raises:
        ConfigError: the file cannot be read, is not UTF-8 or not YAML, holds no mapping or a key twice.
    """
    values = _parse_yaml(_read_text(Path(path)), str(path))
    if not isinstance(values, dict):
        raise ConfigError(f"{path}: expected a mapping of settings at the top.")
    return expand_environment(values, str(path)) if expand else values


def read_json(path: str | Path) -> dict[str, Any]:
    """Read a JSON object.

    Raises:
        ConfigError: the file cannot be read, is not UTF-8 or not JSON, or holds no object.
    """
    try:
        values = json.loads(_read_text(Path(path)))
    except json.JSONDecodeError as error:
        raise ConfigError(f"{path} is not valid JSON: {error}") from error
    if not isinstance(values, dict):
        raise ConfigError(f"{path}: expected a JSON object.")
    return values


def _read_text(path: Path) -> str:
    try:
        return path.read_bytes().decode("utf-8-sig")
    except OSError as error:
        raise ConfigError(f"cannot read {path}: {error.strerror}.") from error
    except UnicodeDecodeError as error:
        line = error.object.count(b"\n", 0, error.start) + 1
        raise ConfigError(f"{path}, line {line}: this is not UTF-8 text. Save the file as UTF-8.") from error


def _parse_yaml(text: str, where: str) -> Any:
    """Parse YAML without its silent trap: of a key given twice the first value would be lost."""
    import yaml

    seen: set[int] = set()  # an alias leads to a node that was looked at already

    def check(node: Any, parents: tuple[Any, ...] = ()) -> None:
        if node in parents:
            line = node.start_mark.line + 1
            raise ConfigError(f"{where}, line {line}: this value is an alias for a part of itself.")
        if id(node) in seen or isinstance(node, yaml.ScalarNode):
            return
        seen.add(id(node))
        first_lines: dict[str, int] = {}
        for item in node.value:
            key, value = item if isinstance(node, yaml.MappingNode) else (None, item)
            if isinstance(key, yaml.ScalarNode):
                line = key.start_mark.line + 1
                if key.value in first_lines and key.value != "<<":
                    first = first_lines[key.value]
                    raise ConfigError(f"{where}, line {line}: '{key.value}' was already given in line {first}.")
                first_lines[key.value] = line
            check(value, (*parents, node))

    loader = yaml.SafeLoader(text)
    try:
        node = loader.get_single_node()
        if node is None:
            return None
        check(node)
        return loader.construct_document(node)
    except yaml.YAMLError as error:
        raise ConfigError(f"{where} is not valid YAML: {error}") from error
    except RecursionError as error:
        raise ConfigError(f"{where} is not valid YAML: it is nested too deeply.") from error
    finally:
        loader.dispose()


def expand_environment(value: Any, where: str) -> Any:
    """Replace ``${NAME}`` in every string of a nested structure; an unset name is an error."""

    def lookup(match: re.Match[str]) -> str:
        name = match.group(1)
        if name not in os.environ:
            raise ConfigError(f"{where} uses ${{{name}}}, but the environment variable {name} is not set.")
        return os.environ[name]

    if isinstance(value, str):
        return re.sub(r"\$\{(\w+)\}", lookup, value)
    if isinstance(value, dict):
        return {k: expand_environment(v, where) for k, v in value.items()}
    if isinstance(value, list):
        return [expand_environment(v, where) for v in value]
    return value


def override(values: dict[str, Any], assignments: Sequence[str]) -> dict[str, Any]:
    """Return a copy of ``values`` with ``a.b.c=value`` assignments applied (values are YAML; list items by number).

    Raises:
        ConfigError: an assignment has no ``=``, a value that is not YAML, or a path through something without parts.
    """
    values = copy.deepcopy(values)
    for assignment in assignments:
        path, equals, text = assignment.partition("=")
        if not equals:
            raise ConfigError(f"'{assignment}' is not an override; write section.name=value.")
        path = path.strip().lstrip("-")
        value = _parse_yaml(text, f"the value of '{path}'")
        *parents, name = path.split(".")
        section: Any = values
        for depth, parent in enumerate(parents):
            key = _key(section, parent, path)
            if isinstance(section, dict) and section.get(key) is None:
                section[key] = {}
            section = section[key]
            if not isinstance(section, dict | list):
                raise ConfigError(f"cannot override '{path}': '{'.'.join(parents[: depth + 1])}' is not a section.")
        section[_key(section, name, path)] = value
    return values


def _key(section: dict[str, Any] | list[Any], name: str, path: str) -> Any:
    """Return ``name`` as a key of ``section``: an index where that is a list."""
    if isinstance(section, dict):
        return name
    if not name.isdecimal() or int(name) >= len(section):
        numbers = f"numbers 0 to {len(section) - 1}" if section else "no items"
        raise ConfigError(f"cannot override '{path}': '{name}' names an item of a list, which has {numbers}.")
    return int(name)
