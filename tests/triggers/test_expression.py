"""What an expression may say, and what it gives when values are missing."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from common.config.model import Code, TriggerConfig, Where
from common.protocol import Reading
from vmmanager.state import Farm
from vmmanager.triggers.expression import CodeFault
from vmmanager.triggers.history import functions
from vmmanager.triggers.rule import Rule, Value, faults, unguarded
from vmmanager.triggers.unknown import Unknown
from vmmanager.triggers.views import Views

WHERE = Where("rules.ini", 7, "hot", "expr")
NOW = 1_000_000.0


def trigger(expr: str, **more: Any) -> TriggerConfig:
    return TriggerConfig("hot", Code(expr, WHERE), None, Where("rules.ini", 6, "hot"), on_update_check=True, **more)


def farm_with(values: dict[str, Any], age_s: float = 0.0) -> Farm:
    """One client x1 in group g. None: the property failed; missing ones are missing."""
    farm = Farm()
    farm.heard("x1", "#x1", NOW - 500)
    farm.introduce("x1", ("g",), "", "", ())
    for name, value in values.items():
        error = "no such file" if value is None else ""
        farm.read("x1", Reading(name=name, value=value, error=error, ticks=60, age_s=age_s), NOW, 100, 86_400)
    return farm


def value_of(expr: str, farm: Farm | None = None, wall: float = NOW) -> Value:
    rule = Rule(trigger(expr, each="g"))
    views = Views(farm or farm_with({}), 3.0)
    rule.bind(functions(views.reads), views)
    views.reads.start(wall)
    return rule.holds(views, views.client("x1"), unguarded)


def result(expr: str, farm: Farm | None = None, wall: float = NOW) -> str:
    """ "true", "false" or the reason why it is unknown."""
    truth = value_of(expr, farm, wall).truth
    return truth.reason if isinstance(truth, Unknown) else str(truth).lower()


# --- unknown --------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("expr", "said"),
    [
        ("client.load1 > 8", "x1 has no load1"),
        ("client.broken > 8", "broken of x1 failed: no such file"),
        ("client.broken + 1 > 8 and client.five == 5", "broken of x1 failed: no such file"),
        ("client.broken > 8 and client.five == 4", "false"),
        ("client.broken > 8 or client.five == 5", "true"),
        ("client.five == 5 or client.broken > 8", "true"),
        ("not client.broken", "broken of x1 failed: no such file"),
        ("1 < client.broken < 8", "broken of x1 failed: no such file"),
        ("1 < client.five < 4 < client.broken", "false"),
        ("client.broken in (1, 2)", "broken of x1 failed: no such file"),
        ("client.broken in ()", "false"),
        ("5 in (client.broken, client.five)", "true"),
        ("client.five not in (4, client.broken)", "broken of x1 failed: no such file"),
        ("client.broken is None", "broken of x1 failed: no such file"),
        ("(1 if client.broken else 2) == 2", "broken of x1 failed: no such file"),
        ("(2 if client.broken else 2) == 2", "true"),
        ("any([client.broken, True])", "true"),
        ("all([client.broken, False])", "false"),
        ("all([client.broken, True])", "broken of x1 failed: no such file"),
        ("any(c.five > 4 for c in manager.clients.values() if c.broken)", "broken of x1 failed: no such file"),
        ("any(c.five > 6 for c in manager.clients.values() if c.broken)", "false"),
        ("all(c.five > 4 for c in manager.clients.values() if c.broken)", "true"),
        ("len([c for c in manager.clients.values() if c.broken]) == 0", "broken of x1 failed: no such file"),
        ("{1: 2}[client.broken] == 2", "broken of x1 failed: no such file"),
        ("f'{client.broken}' == 'x'", "broken of x1 failed: no such file"),
        ("str(client.broken) == 'x'", "broken of x1 failed: no such file"),
        ("'%s' % client.broken == 'x'", "broken of x1 failed: no such file"),
        ("client.broken.startswith('x')", "broken of x1 failed: no such file"),
        ("client.broken == client.broken", "broken of x1 failed: no such file"),
        ("max(client.broken, 7) > 6", "broken of x1 failed: no such file"),
        ("sum([1, client.broken]) > 0", "broken of x1 failed: no such file"),
        ("max([]) > 0", "max of no values"),
        ("max([], default=0) > 0", "false"),
        ("known(client.broken)", "false"),
        ("known(client.five) and client.five == 5", "true"),
        ("client.broken != 0 and 1 / client.zero > 3", "broken of x1 failed: no such file"),
        ("manager.clients['nobody'].load1 > 3", "there is no client nobody"),
        ("manager.groups['g']['nobody'].load1 > 3", "nobody is not in group g"),
        ("len(manager.groups['empty']) == 0", "true"),
        ("manager.groups['empty'].values() == []", "true"),
        ("client.props['five'] == client.five == client.property('five').value", "true"),
        ("client.props.get('none', 3) == 3", "true"),
        ("client.property('broken').error == 'no such file'", "true"),
        ("client.groups == ('g',) and client.connected and client.name == 'x1'", "true"),
        ("count(c.five == 5 for c in manager.clients.values()) == 1", "true"),
        ("sum(values(manager.groups['g'], 'broken')) < 1", "no value of broken is known"),
        ("values(manager.groups['g'], 'five') == [5]", "true"),
        ("min(3, 2) == 2 and max([4, 5]) == 5 and sum([1, 2]) == 3 and avg([1, 2]) == 1.5", "true"),
        ("percentile([1, 2, 3, 4], 50) == 2", "true"),
    ],
)  # fmt: skip
def test_unknown_is_neither_true_nor_false(expr: str, said: str) -> None:
    assert result(expr, farm_with({"five": 5, "zero": 0, "broken": None})) == said


def test_a_stale_value_is_unknown_and_says_its_age() -> None:
    farm = farm_with({"ram_free": 5})
    assert result("client.ram_free == 5", farm, NOW + 180) == "true"
    assert result("client.ram_free == 5", farm, NOW + 200) == "ram_free of x1 is stale (age 200 s)"
    assert result("age(client, 'ram_free') == 200", farm, NOW + 200) == "true"
    assert result("nodata(client, 'ram_free', 150)", farm, NOW + 200) == "true"


def test_functions_over_history() -> None:
    farm = farm_with({})
    for at, value in ((0, 10), (60, 20), (120, 60), (180, 5), (240, 15)):
        farm.read("x1", Reading(name="n", value=value, ticks=60), NOW + at, 100, 86_400)
    for expr in (
        "last(client, 'n') == 15",
        "avg(client, 'n', 130) == (60 + 5 + 15) / 3",
        "min(client, 'n', 300) == 5 and max(client, 'n', 300) == 60 and sum(client, 'n', 70) == 20",
        "count(client, 'n', 300) == 5 and count(client, 'n', 300, lambda v: v > 12) == 3",
        "change(client, 'n') == 10 and change(client, 'n', 300) == 5",
        "rate(client, 'n', 300) == (10 + 40 + 5 + 10) / 240",
        "percentile(client, 'n', 300, 50) == 15",
        "not nodata(client, 'n', 30)",
    ):
        assert result(expr, farm, NOW + 240) == "true", expr
    assert result("avg(client, 'm', 300) > 1", farm, NOW + 240) == "x1 has no m"
    assert result("rate(client, 'n', 10) > 1", farm, NOW + 240) == "too few values of n of x1 within 10 s"


def test_a_python_error_names_the_line_of_the_file() -> None:
    value = value_of("\n\n client.five /\n  0 > 1", farm_with({"five": 5}))
    assert value.error == "rules.ini:9: [hot] expr: ZeroDivisionError: division by zero"
    assert isinstance(value.truth, Unknown)


# --- against a reference --------------------------------------------------------------------------------------------------

Three = bool | None
LEAVES = {"yes": True, "no": False, "broken": None}


def negation(a: Three) -> Three:
    return None if a is None else not a


def conjunction(a: Three, b: Three) -> Three:
    return False if a is False or b is False else None if a is None or b is None else True


def disjunction(a: Three, b: Three) -> Three:
    return negation(conjunction(negation(a), negation(b)))


def condition(a: Three, b: Three, c: Three) -> Three:
    if a is None:
        return b if b is c else None
    return b if a else c


def trees() -> st.SearchStrategy[tuple[str, Three]]:
    """(source, what it must give)."""
    leaf = st.sampled_from([(f"client.{name}", value) for name, value in LEAVES.items()])

    def grow(inner: st.SearchStrategy[tuple[str, Three]]) -> st.SearchStrategy[tuple[str, Three]]:
        return st.one_of(
            inner.map(lambda a: (f"(not {a[0]})", negation(a[1]))),
            st.tuples(inner, inner).map(lambda p: (f"({p[0][0]} and {p[1][0]})", conjunction(p[0][1], p[1][1]))),
            st.tuples(inner, inner).map(lambda p: (f"({p[0][0]} or {p[1][0]})", disjunction(p[0][1], p[1][1]))),
            st.tuples(inner, inner, inner).map(
                lambda t: (f"({t[1][0]} if {t[0][0]} else {t[2][0]})", condition(t[0][1], t[1][1], t[2][1]))
            ),
            st.lists(inner, max_size=3).map(lambda many: (f"any([{', '.join(s for s, _ in many)}])", _any(many))),
            st.lists(inner, max_size=3).map(lambda many: (f"all([{', '.join(s for s, _ in many)}])", _all(many))),
        )

    return st.recursive(leaf, grow, max_leaves=12)


def _any(many: list[tuple[str, Three]]) -> Three:
    found: Three = False
    for _, value in many:
        found = disjunction(found, value)
    return found


def _all(many: list[tuple[str, Three]]) -> Three:
    found: Three = True
    for _, value in many:
        found = conjunction(found, value)
    return found


FARM = farm_with({"yes": True, "no": False, "broken": None})


def three(expr: str) -> Three:
    value = value_of(expr, FARM)
    assert not value.error, value.error
    return None if isinstance(value.truth, Unknown) else value.truth


@given(trees())
def test_expressions_follow_kleene(tree: tuple[str, Three]) -> None:
    source, wanted = tree
    assert three(source) is wanted


@given(trees(), trees())
def test_de_morgan_holds_with_unknowns(a: tuple[str, Three], b: tuple[str, Three]) -> None:
    assert three(f"not ({a[0]} and {b[0]})") is three(f"not {a[0]} or not {b[0]}")


@given(trees())
def test_knowing_more_never_turns_a_result_around(tree: tuple[str, Three]) -> None:
    """What was true or false with an unknown in it stays so whatever the unknown turns out to be."""
    before = three(tree[0])
    if before is not None:
        assert three(tree[0].replace("client.broken", "client.yes")) is before
        assert three(tree[0].replace("client.broken", "client.no")) is before


NUMBERS = st.one_of(st.integers(-5, 5), st.none())


@given(NUMBERS, NUMBERS, NUMBERS, st.sampled_from(["<", "<=", "==", "!=", ">", ">="]), st.sampled_from("+-*"))
def test_arithmetic_with_an_unknown_is_unknown(a: int | None, b: int | None, c: int | None, op: str, sign: str) -> None:
    farm = farm_with({"a": a, "b": b, "c": c})
    value = value_of(f"client.a {sign} client.b {op} client.c", farm)
    if None in (a, b, c):
        assert isinstance(value.truth, Unknown)
    else:
        assert value.truth is eval(f"{a} {sign} ({b}) {op} {c}")  # noqa: S307


# --- what is refused ------------------------------------------------------------------------------------------------------

ESCAPES = [
    "'x'.ljust(10**12) == ''",
    "(1).to_bytes(10**12, 'big') == b''",
    "[c.name for c in manager.clients.values()].sort()",
    "client.five.clear()",
    "client.props['five'].pop('a')",
    "().__class__.__bases__[0].__subclasses__()",
    "client._farm.clients.clear()",
    "open('/etc/passwd').read()",
    "__import__('os').system('true')",
    "exec('1')", "eval('1')", "compile('1', '', 'eval')", "globals()", "locals()", "vars()", "dir()",
    "getattr(client, '_farm')", "setattr(client, 'name', 1)", "type(client)", "object()", "breakpoint()", "input()",
    "'{0.__class__}'.format(client)", "'{0._farm}'.format_map({})", "str.format('{}', 1)",
    "(c for c in [1]).gi_frame.f_globals", "(lambda: 0).__globals__", "(lambda: 0).func_globals",
    "[x for x in [1]].__len__()", "(x := 3) > 2", "f'{client.__class__}'", "f'{1:{client._farm}}'",
    "_k_and(1, 2)", "[_k_or for _k_or in [1]]", "(lambda __x: 1)(1)", "list.mro()", "nobody_knows_this > 3",
    "(await client)", "(yield 3)", "f'{1:9999999}' == ''",
]  # fmt: skip


@pytest.mark.parametrize("expr", ESCAPES)
def test_what_reaches_for_more_is_refused_at_load(expr: str) -> None:
    with pytest.raises(CodeFault) as refused:
        Rule(trigger(expr, each="g"))
    assert str(refused.value).startswith("rules.ini:7: [hot] expr: ")
    assert [str(fault) for fault in faults([trigger(expr, each="g")])] == [str(refused.value)]


@pytest.mark.parametrize(
    "expr", ["10 ** 10 ** 10 > 1", "1 << 10 ** 9 > 1", "len('x' * 10 ** 12) > 1", "sum(range(10 ** 12)) > 1",
             "len([0] * 10 ** 10) > 1", "'%1000000000d' % 1 == ''", "len('%*d' % (10**9, 1)) > 1", "2 ** -1 ** 0.5 > 1 / 0",
             "round(5, -10 ** 9) > 1"],
)  # fmt: skip
def test_what_python_could_not_be_stopped_at_is_an_error_at_once(expr: str) -> None:
    assert "rror" in value_of(expr).error


@pytest.mark.parametrize(
    ("expr", "fault"),
    [
        ("c.load1 > 5 for c in manager.clients.values()", "a generator is always true"),
        ("1 < 2, 3", "a tuple is always true"),
        ("lambda: 1", "a lambda is always true"),
        ("client.load1 >", "invalid syntax"),
        ("client.load1 = 3", "Maybe you meant '=='"),
        ("1 +" * 20_000 + "1", "characters, the limit is 20000"),
        ("not " * 4_000 + "1", "rules.ini:7"),
        ("(" * 500 + ")" * 500, "rules.ini:7"),
        ("x\0y", "null bytes"),
    ],
)
def test_what_is_no_condition_is_refused_with_a_sentence(expr: str, fault: str) -> None:
    with pytest.raises(CodeFault, match=fault):
        Rule(trigger(expr, each="g"))


@given(st.text(alphabet="ab(){}[]'\".,:+-*/%<>=! \n01_candotrif", max_size=40))
def test_any_text_is_a_rule_or_a_fault(text: str) -> None:
    assert (said := _refusal(text)) == "" or said.startswith("rules.ini:")


def _refusal(text: str) -> str:
    try:
        Rule(trigger(text, each="g"))
    except CodeFault as fault:
        return str(fault)
    return ""
