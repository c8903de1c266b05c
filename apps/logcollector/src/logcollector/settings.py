"""Where settings come from: flags, then the environment, then a TOML file, then defaults.

Here: reading and merging the three; errors that name the place.
Not here: what the settings are (config.py). Thread: any.
Invariant: every source goes through the same parsers, and an unknown name is an error.
"""

from __future__ import annotations

import argparse
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import fields
from typing import Any, NamedTuple

from . import __version__
from .config import Config, ConfigError

PREFIX = "LOGCOLLECTOR_"


class Command(NamedTuple):
    """What the command line asks for."""

    config: Config
    watch: bool
    check: bool


def parser() -> argparse.ArgumentParser:
    """The command line: a flag for each setting."""
    result = argparse.ArgumentParser(
        prog="logcollector",
        description="Collects newline-delimited log lines over TCP and answers each with ok "
        "once it is stored.",
        epilog=f"Each setting is also a name in the TOML file and, in upper case after {PREFIX}, "
        "an environment variable. Flags win over the environment, that over the file.",
        allow_abbrev=False,
    )
    result.add_argument("--version", action="version", version=f"logcollector {__version__}")
    result.add_argument("--config", metavar="FILE", help="TOML file with settings")
    result.add_argument("--check", action="store_true", help="check the settings, print them, end")
    result.add_argument(
        "--watch", action="store_true", help="show a running collector (the one at --http)"
    )
    for entry in fields(Config):
        default = entry.metadata["default"]
        result.add_argument(
            "--" + entry.name.replace("_", "-"),
            dest=entry.name,
            metavar="VALUE",
            help=f"{entry.metadata['help']} (default: {default or 'none'})".replace("%", "%%"),
        )
    return result


def read(arguments: Sequence[str], environment: Mapping[str, str]) -> Command:
    """Everything merged; ConfigError says what is wrong and where."""
    flags = parser().parse_args(arguments)
    found: dict[str, tuple[str, str]] = {}
    path = flags.config or environment.get(PREFIX + "CONFIG")
    if path:
        for name, value in from_file(path).items():
            found[name] = (value, f"{name} in {path}")
    known = {entry.name for entry in fields(Config)}
    for variable, value in environment.items():
        if not variable.startswith(PREFIX) or variable == PREFIX + "CONFIG":
            continue
        name = variable.removeprefix(PREFIX).lower()
        if name not in known:
            raise ConfigError(f"{variable}: no such setting")
        found[name] = (value, variable)
    for name in known:
        if (value := getattr(flags, name)) is not None:
            found[name] = (value, "--" + name.replace("_", "-"))
    return Command(build(found), flags.watch, flags.check)


def from_file(path: str) -> dict[str, str]:
    """The settings of a TOML file, as text."""
    try:
        with open(path, "rb") as file:
            table = tomllib.load(file)
    except OSError as error:
        raise ConfigError(f"{path}: {error.strerror}") from error
    except tomllib.TOMLDecodeError as error:
        raise ConfigError(f"{path}: {error}") from error
    known = {entry.name for entry in fields(Config)}
    result = {}
    for name, value in table.items():
        if name not in known:
            raise ConfigError(f"{path}: {name}: no such setting")
        result[name] = written(value, f"{path}: {name}")
    return result


def written(value: object, place: str) -> str:
    """A TOML value as it would be written on the command line."""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, str | int | float):
        return str(value)
    if isinstance(value, list):
        return ",".join(written(item, place) for item in value)
    raise ConfigError(f"{place}: expected a string, a number or a list of them")


def build(found: Mapping[str, tuple[str, str]]) -> Config:
    """A Config from texts, each with the place it came from."""
    parsed: dict[str, Any] = {}
    for entry in fields(Config):
        if entry.name not in found:
            continue
        value, place = found[entry.name]
        try:
            parsed[entry.name] = entry.metadata["parse"](value)
        except ValueError as error:
            raise ConfigError(f"{place}: {value!r}: {error}") from error
    return Config(**parsed)


def describe(config: Config) -> str:
    """Every setting as a line of TOML; passwords are left out."""
    lines = []
    for entry in fields(Config):
        value = getattr(config, entry.name)
        if isinstance(value, tuple):
            shown = ",".join(str(item) for item in value)
        elif value is None:
            shown = "off"
        else:
            shown = str(value)
        number = isinstance(value, int | float)
        lines.append(f"{entry.name} = {shown}" if number else f'{entry.name} = "{shown}"')
    return "\n".join(lines) + "\n"
