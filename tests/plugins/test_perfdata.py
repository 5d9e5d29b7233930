"""Performance data as check programs print it: recorded output, the guidelines' corner cases, and any text at all."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from plugins.perfdata import parse, perfdata


def item(value: float | None, unit: str = "", warn: str | None = None, crit: str | None = None, **limits: float) -> object:
    return {"value": value, "unit": unit, "warn": warn, "crit": crit, "min": limits.get("min"), "max": limits.get("max")}


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("/=2643MB;5948;5958;0;5968", {"/": item(2643, "MB", "5948", "5958", min=0, max=5968)}),
        ("time=0.001s", {"time": item(0.001, "s")}),
        ("a=1 b=2c", {"a": item(1), "b": item(2, "c")}),
        ("'two words'=3%;~:10;@5:20;;", {"two words": item(3, "%", "~:10", "@5:20")}),
        ("'it''s'=1", {"it's": item(1)}),
        ("'a=b'=-1.5e3B", {"a=b": item(-1500.0, "B")}),
        ("u=U;1;2", {"u": item(None, "", "1", "2")}),
        ("load1=0.1;;;0; load5=.5", {"load1": item(0.1, min=0), "load5": item(0.5)}),
        ("x=;1;2 y=3", {"y": item(3)}),
        ("no data here z=1", {"z": item(1)}),
        ("x=1\tx=2", {"x": item(2)}),
        ("'open=1 y=2", {"y": item(2)}),
        ("n=1,5s", {"n": item(1, ",5s")}),
        ("", {}),
    ],
)
def test_perfdata(text: str, expected: dict[str, object]) -> None:
    assert perfdata(text) == expected


def test_long_text_and_perfdata_over_several_lines() -> None:
    """The example of the Monitoring Plugins Development Guidelines."""
    printed = parse(
        "DISK OK - free space: / 3326 MB (56%); | /=2643MB;5948;5958;0;5968\n"
        "/ 15272 MB (77%);\n/boot 68 MB (69%);\n/home 69357 MB (27%);\n/var/log 819 MB (84%); | /boot=68MB;88;93;0;98\n"
        "/home=69357MB;253404;253409;0;253414\n/var/log=818MB;970;975;0;980\n"
    )
    assert printed.text == "DISK OK - free space: / 3326 MB (56%);"
    assert printed.long_text.splitlines()[0] == "/ 15272 MB (77%);"
    assert len(printed.long_text.splitlines()) == 4
    assert list(printed.perfdata) == ["/", "/boot", "/home", "/var/log"]
    assert printed.perfdata["/var/log"] == item(818, "MB", "970", "975", min=0, max=980)


@given(st.text(alphabet="abc'=;|U1.-%\n\t \\e", max_size=80))
def test_any_text_gives_an_answer(text: str) -> None:
    printed = parse(text)
    assert all(label and "\n" not in printed.text for label in printed.perfdata)


labels = st.text(st.characters(codec="ascii", exclude_characters="|\n\r", categories=("L", "N", "P", "Zs")), min_size=1)


@given(st.dictionaries(labels, st.integers(-(10**12), 10**12), max_size=6))
def test_what_is_written_by_the_rules_is_read_back(values: dict[str, int]) -> None:
    quoted = (f"'{label.replace(chr(39), chr(39) * 2)}'={value}B;1;2;0;9" for label, value in values.items())
    assert {label: one["value"] for label, one in perfdata(" ".join(quoted)).items()} == values  # type: ignore[index,call-overload]
