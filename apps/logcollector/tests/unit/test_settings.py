"""Settings from flags, the environment and files; errors name the place."""

from __future__ import annotations

from pathlib import Path

import pytest

from logcollector import __main__ as program
from logcollector import settings
from logcollector.config import Config, ConfigError
from logcollector.values import Address


def test_flags_win_over_the_environment_and_that_over_the_file(tmp_path: Path) -> None:
    file = tmp_path / "settings.toml"
    file.write_text('linger = "1ms"\nbatch_lines = 7\nlisten = ["127.0.0.1:1", "[::1]:2"]\n')
    environment = {"LOGCOLLECTOR_CONFIG": str(file), "LOGCOLLECTOR_LINGER": "2ms", "HOME": "/"}
    config = settings.read(["--max-line", "1KiB"], environment).config
    assert config.batch_lines == 7
    assert config.linger == 0.002
    assert config.max_line == 1024
    assert config.listen == (Address("127.0.0.1", 1), Address("::1", 2))
    assert settings.read(["--linger=3ms"], environment).config.linger == 0.003


@pytest.mark.parametrize(
    ("arguments", "environment", "text"),
    [
        (["--linger", "soon"], {}, "--linger: 'soon': expected a duration"),
        ([], {"LOGCOLLECTOR_LINGR": "1"}, "LOGCOLLECTOR_LINGR: no such setting"),
        ([], {"LOGCOLLECTOR_MAX_LINE": "many"}, "LOGCOLLECTOR_MAX_LINE: 'many': expected a size"),
        (["--listen", "here"], {}, "expected host:port"),
        (["--listen", "::1:5514"], {}, "needs brackets"),
        (["--sink", "oracle://x"], {}, "expected a URL that begins with one of"),
        (["--sink", "sqlite:"], {}, "expected sqlite:FILE"),
        (["--ack", "maybe"], {}, "expected one of: commit, spool, none"),
        (["--ack", "spool"], {}, "'spool' needs the setting 'spool'"),
        (["--tls-key", "x"], {}, "needs tls_cert"),
        (["--tls-cert", "/nowhere"], {}, "cannot read '/nowhere'"),
        (["--writers", "2"], {}, "at most 1 for sqlite"),
        (["--connection-bytes", "1GiB"], {}, "more than queue_bytes"),
        (["--max-connections", "0"], {}, "must be at least 1"),
        (["--config", "/nowhere.toml"], {}, "/nowhere.toml: No such file"),
    ],
)
def test_errors_say_what_and_where(
    arguments: list[str], environment: dict[str, str], text: str
) -> None:
    with pytest.raises(ConfigError) as caught:
        settings.read(arguments, environment)
    assert text in str(caught.value)


@pytest.mark.parametrize(
    ("content", "text"),
    [
        ("speed = 1", "speed: no such setting"),
        ("linger = {a = 1}", "linger: expected a string, a number or a list"),
        ("linger = ", "settings.toml: "),
        ("linger = true", "linger in "),
    ],
)
def test_errors_in_files(tmp_path: Path, content: str, text: str) -> None:
    file = tmp_path / "settings.toml"
    file.write_text(content)
    with pytest.raises(ConfigError) as caught:
        settings.read(["--config", str(file)], {})
    assert text in str(caught.value)


def test_what_is_printed_can_be_read_and_hides_the_password(tmp_path: Path) -> None:
    command = settings.read(["--sink", "postgresql://u:secret@h/d", "--http", "off"], {})
    text = settings.describe(command.config)
    assert "secret" not in text
    assert "postgresql://u:***@h/d" in text
    file = tmp_path / "settings.toml"
    file.write_text(text)
    again = settings.read(["--config", str(file)], {}).config
    for name in ("queue_bytes", "linger", "listen", "http"):
        assert getattr(again, name) == getattr(command.config, name)


def test_the_defaults_are_accepted_and_their_memory_is_bounded() -> None:
    config = Config()
    assert config.ack == "commit"
    assert config.queue_bytes < config.memory_bound < 1 << 30


def test_a_wrong_setting_ends_the_program_with_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    assert program.main(["--linger", "soon"]) == 2
    printed = capsys.readouterr()
    assert printed.err.startswith("logcollector: --linger: 'soon'")
    assert printed.err.count("\n") == 1


def test_checking_prints_the_settings(capsys: pytest.CaptureFixture[str]) -> None:
    assert program.main(["--check", "--linger", "4ms"]) == 0
    assert "linger = 0.004\n" in capsys.readouterr().out
