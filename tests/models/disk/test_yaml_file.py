"""YAML written by hand: plain data or one sentence with the line, whatever stands there."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from zimage_app.domain.errors import ModelError
from zimage_app.models.disk.yaml_file import YamlReader


def plain(folder: Path, text: str) -> Any:
    path = folder / "a.yaml"
    path.write_bytes(text.encode("utf-8", "surrogatepass"))
    reader = YamlReader(path)
    return reader.plain(reader.tree())


def test_plain_data_is_read(tmp_path: Path) -> None:
    text = "a: [1, -2.5, yes, ~, '1', [x, {b: 1e3}]]\n猫: {c: |-\n    two\n    lines}\n".replace(
        "|-\n    two\n    lines", '"😀"'
    )
    assert plain(tmp_path, text) == {"a": [1, -2.5, True, None, "1", ["x", {"b": "1e3"}]], "猫": {"c": "😀"}}


def test_dates_and_ratios_may_stay_as_they_are_written(tmp_path: Path) -> None:
    reader = YamlReader(tmp_path / "a.yaml", as_written=True)
    tree = reader.tree_of("[2026-02-30, 3:4, 1:30.5, 34, 0.5, '5:6', ~]")
    assert reader.plain(tree) == ["2026-02-30", "3:4", "1:30.5", 34, 0.5, "5:6", None]
    with pytest.raises(ModelError, match=r"a\.yaml, line 2, column 3: aliases are not allowed"):
        reader.tree_of("- &x 1\n- *x\n")


@pytest.mark.parametrize(
    "value",
    [
        "2026-01-01", "2026-99-99", "2026-01-01T25:61:61Z", "!!int x", "!!int ''", "!!float x", "!!bool x", "!!set {a}",
        "!!omap [a: 1]", "!!timestamp x", "!!binary YQ==", "!!python/object:os.system x", "!own x", "9" * 5000,
        "0x" + "f" * 5000, "{? [a] : 1}", "{? {a: 1} : 1}", "&x [*x]", '"\\ud800"', "[a: 1, 2026-01-01]",
        "{a: 1, a: 2}", "'" + "x" * 9000,
    ],
)  # fmt: skip
def test_what_is_no_plain_data_is_told_with_its_line(tmp_path: Path, value: str) -> None:
    with pytest.raises(ModelError, match=r"a\.yaml, line [23], column \d+: .{1,400}$") as caught:
        plain(tmp_path, f"a: 1\nb: {value}\n")
    (caught.value.text.en + caught.value.text.zh).encode()


@pytest.mark.parametrize("text", ["[" * 90_000, "- " * 30_000, "? " * 30_000, "a" * 70_000, "[" * 51 + "]" * 51])
def test_what_would_take_long_is_refused_at_once(tmp_path: Path, text: str) -> None:
    with pytest.raises(ModelError, match=r"nested too deeply|too long"):
        plain(tmp_path, text)


def test_ten_thousand_keys_are_compared_once_each(tmp_path: Path) -> None:
    """In time that grows with their number: with its square it would be minutes."""
    assert len(plain(tmp_path, "".join(f"{number}:\n" for number in range(9000)))) == 9000
